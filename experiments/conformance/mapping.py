"""Policy that changes while the network runs: lookup records alone say where a VM is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address

from experiments.base import distant_pair
from experiments.conformance.lab import DEAD, NOBODY, Lab, Shot, distinct, mark
from experiments.conformance.rows import Finding
from nvgre_node.policy import LookupRecord, Vm
from topologies import Scenario

_MANY = 1000
_TWIN = "twin"
_FIRST_MAC, _FIRST_CA = 0x02005E100000, int(IPv4Address("198.18.0.1"))  # locally administered; RFC 2544: nobody's


def remapped(lab: Lab) -> Iterator[Finding]:
    """T2: one record changes, and with it the outer destination alone."""
    vm, host = lab.receiver, lab.net[lab.sender.host]
    record = next(r for r in host.policy.records if (r.vsid, r.mac) == (lab.vsid, vm.mac))
    other = next(pa for pa in lab.policy.nve(vm.host).pas_of(record.pa.version) if pa != record.pa)
    for pa, what in ((record.pa, "as the policy began"), (other, "after one record changed")):
        host.install(*(replace(r, pa=pa) for r in host.policy.records if (r.vsid, r.mac) == (lab.vsid, vm.mac)))
        (shot,) = lab.say(lab.ethernet() / mark())
        sent = f"a unicast frame of {lab.sender.name}"
        yield Finding("T2", what, sent, f"to {pa}, as it was sent, {lab.to_receiver}", _carried(lab, shot))


def _carried(lab: Lab, shot: Shot) -> str:
    carriers = shot.carriers(lab.sender.host)
    inner = "as it was sent" if all(outer.inner == shot.sent for outer in carriers) else "changed"
    return f"to {distinct(str(outer.destination) for outer in carriers)}, {inner}, {shot.delivered}"


def at_scale(lab: Lab) -> Iterator[Finding]:
    """P2: a thousand records at once, into a running NVE, and each of them is in force."""
    pa, host = lab.policy.pa_of(lab.receiver), lab.net[lab.sender.host]
    macs = [(_FIRST_MAC + n).to_bytes(6, "big").hex(":") for n in range(_MANY)]
    cas = [IPv4Address(_FIRST_CA + n) for n in range(_MANY)]
    for known in (0, _MANY):
        made = zip(macs[:known], cas[:known], strict=True)
        host.install(*(LookupRecord(lab.vsid, ca, mac, pa, mac, lab.vsid) for mac, ca in made))
        shots = lab.say(*(lab.ethernet(dst=mac) / mark() for mac in macs))
        carried = sum([str(o.destination) for o in shot.carriers(lab.sender.host)] == [str(pa)] for shot in shots)
        observed = f"{carried} of {_MANY} to {pa}" if shots[-1].alive else DEAD
        sent = f"a frame to each of {_MANY} MAC addresses"
        yield Finding("P2", f"{known} records more", sent, f"{known} of {_MANY} to {pa}", observed)


# A VM moves


def with_a_twin(scenario: Scenario) -> Scenario:
    """The receiver's port is ready at the sender's host too, and no record says so yet (S3)."""
    policy, (sender, receiver) = scenario.policy, distant_pair(scenario.policy)
    moved = replace(receiver, name=_TWIN, host=sender.host, pa=None)
    stays = tuple(r for r in policy.records if r.mac == receiver.mac and r.vsid == policy.vsid_of(receiver))
    return replace(scenario, policy=replace(policy, vms=(*policy.vms, moved), overrides=(*policy.overrides, *stays)))


def spans(lab: Lab) -> Iterator[Finding]:
    """S3: a virtual subnet has its VMs behind PAs of different prefixes, if the scenario has them so."""
    for a, b in lab.pairs:
        prefixes = [pa.network for vm in (a, b) for pa in lab.policy.nve(vm.host).pas if pa.ip == lab.policy.pa_of(vm)]
        if prefixes[0] != prefixes[1]:
            (shot,) = lab.say(lab.ethernet(src=a.mac, dst=b.mac) / mark(), vm=a)
            what = f"{a.subnet} behind {prefixes[0]} and {prefixes[1]}"
            yield Finding("S3", what, f"a frame of {a.name}", f"delivered to {b.name}", shot.delivered)


def moved(lab: Lab) -> Iterator[Finding]:
    """S3: a VM moves to another host with its addresses; each NVE needs its records, and the old host is silent."""
    vm, twin = lab.receiver, lab.policy.vm(_TWIN)
    sent = f"a frame of {lab.sender.name} to {vm.mac}"
    (before,) = lab.say(lab.ethernet() / mark())
    yield Finding("S3", "before the move", sent, _seen_as(1, f"delivered to {vm.name}"), _seen(before))
    pa = lab.policy.pa_of(twin)
    for host in lab.net.provider_hosts:
        own = [r for r in host.policy.records if (r.vsid, r.mac) == (lab.vsid, vm.mac)]
        host.install(*(replace(r, pa=pa, vm=_TWIN) for r in own))
    lab.turn_to(lab.sender, twin)
    (after,) = lab.say(lab.ethernet() / mark())
    yield Finding("S3", "after the move", sent, _seen_as(0, f"delivered to {twin.name}"), _seen(after))
    yield from _late(lab, vm)


def _late(lab: Lab, vm: Vm) -> Iterator[Finding]:
    """What was on its way to the old host; another virtual subnet shows that the way there is open."""
    others = (pair for pair in lab.pairs if pair[0].subnet != vm.subnet and pair[1].host == vm.host)
    if (pair := next(others, None)) is None:
        return
    frame = lab.ethernet() / mark()
    lab.turn_to(*pair)
    (late,) = lab.inject(lab.nvgre(frame, vsid=lab.policy.vsid_of(vm)))
    sent = f"a frame to {vm.mac}, on its way to {vm.host} meanwhile"
    yield Finding("S3", "at the old host", sent, NOBODY, late.delivered, late.reason)


def _seen_as(packets: int, delivered: str) -> str:
    return f"{packets} on the wire, {delivered}"


def _seen(shot: Shot) -> str:
    return _seen_as(sum(map(len, shot.out.values())), shot.delivered)


MOVING: tuple[Callable[[Lab], Iterator[Finding]], ...] = (spans, moved)
