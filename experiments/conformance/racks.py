"""The same network with its NVEs in top-of-rack switches: servers and their VMs have plain Ethernet with VLAN tags."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import count

from scapy.layers.l2 import Dot1Q

from experiments.conformance.lab import DEAD, NOBODY, Lab, Shot, distinct, is_marked, mark
from experiments.conformance.rows import Finding
from experiments.probes import BROADCAST, untagged
from experiments.watch import Sighting
from nvgre_node.outer import outer_of
from nvgre_node.policy import Behind, Vm
from topologies import Scenario

_FIRST_VID, _UNKNOWN_VID = 101, 99


def racked(scenario: Scenario) -> Scenario:
    """The same network, in which each host is the switch of a server, and the host's VMs are on that server."""
    policy = scenario.policy
    taken = {*scenario.fabric.routers, *policy.machines, *(network.name for network in policy.outside)}
    taken |= {*policy.servers, *(nve.host for nve in policy.nves)}
    free = (name for name in (f"server{n}" for n in count(1)) if name not in taken)
    servers = {nve.host: next(free) for nve in policy.nves}
    vids = {nve.host: count(_FIRST_VID) for nve in policy.nves}
    plain = {node for node, vms in policy.machines.items() if vms[0].vid is None and len(vms) == 1}
    vms = tuple(
        replace(vm, behind=Behind(servers[vm.host], next(vids[vm.host])))
        if vm.node in plain and not vm.behind and not vm.leg
        else vm
        for vm in policy.vms
    )
    return replace(scenario, policy=replace(policy, vms=vms))


def unicast(lab: Lab) -> Iterator[Finding]:
    """T3, D5: from VLAN to VSID to VLAN, in every virtual subnet and either direction."""
    for pair in lab.pairs:
        for a, b in (pair, pair[::-1]):
            frame = lab.ethernet(src=a.mac, dst=b.mac) / mark()
            (shot,) = lab.say(frame, vm=a)
            what, sent = f"{a.name} to {b.name}", f"a unicast frame of {a.name}"
            yield Finding("T3", what, sent, f"delivered to {b.name}", shot.recovered(bytes(frame)))
            outer = distinct(f"{o.source} -> {o.destination}, VSID {o.key >> 8}" for o in shot.carriers(a.host))
            wanted = f"{lab.pa(a)} -> {lab.pa(b)}, VSID {lab.policy.vsid_of(a)}"
            yield Finding("T3", f"{what}, between the switches", sent, wanted, outer)
            yield Finding("D5", f"{what}, on the servers' links", sent, _wanted(a, b), _links(shot))


def broadcast(lab: Lab) -> Iterator[Finding]:
    """T3: a broadcast reaches everybody in its virtual subnet and nobody else, on whichever server they are."""
    for a, _ in lab.pairs:
        (shot,) = lab.say(lab.ethernet(src=a.mac, dst=BROADCAST) / mark(), vm=a)
        others = sorted(vm.name for vm in lab.policy.vms if vm.subnet == a.subnet and vm != a)
        sent = f"a broadcast of {a.name}"
        yield Finding("T3", sent, sent, f"delivered to {', '.join(others)}", shot.delivered)


def other_vlans(lab: Lab) -> Iterator[Finding]:
    """D5: what a VM tags by itself gets nowhere: not to an unknown VLAN, nor to that of another VM of its server."""
    other = next((vm for vm in lab.policy.vms if vm.behind and vm.subnet != lab.sender.subnet), None)
    for vid in (_UNKNOWN_VID, *([other.behind.vid] if other and other.behind else [])):
        (shot,) = lab.say(lab.ethernet(dst=BROADCAST, type=0x8100) / Dot1Q(vlan=vid, type=0x88B5) / mark())
        packets = sum(map(len, shot.out.values()))
        observed = f"{packets} packets, {shot.delivered}" if shot.alive else DEAD
        yield Finding(
            "D5", f"VID {vid} of a VM", f"tagged frame of {lab.sender.name}", f"0 packets, {NOBODY}", observed
        )


def no_tunnels(lab: Lab) -> Iterator[Finding]:
    """T3: servers see neither NVGRE nor a provider address."""
    seen = [sighting for sighting in lab.everything if sighting.interface in lab.server_links]
    lab.look_back(seen)
    packets = [outer for sighting in seen if (outer := outer_of(untagged(sighting.frame)[0]))]
    tunnels = sum(packet.is_gre for packet in packets)
    observed = f"{tunnels} of NVGRE" if _passed(seen) else DEAD
    yield Finding("T3", "all packets on the servers' links", "everything else", "0 of NVGRE", observed)


def _passed(seen: Iterable[Sighting]) -> bool:
    """Whether a VM's frame was on more than one server's link: then what was seen is what NVEs carry."""
    links: dict[bytes, set[str]] = {}
    for sighting in seen:
        frame, vid = untagged(sighting.frame)
        if vid is not None and is_marked(frame):
            links.setdefault(frame, set()).add(sighting.interface)
    return any(len(interfaces) > 1 for interfaces in links.values())


def _wanted(a: Vm, b: Vm) -> str:
    ends = [vm.behind for vm in (a, b) if vm.behind]
    return distinct(f"VID {at.vid} at {at.port}" for at in ends)


def _links(shot: Shot) -> str:
    """Under which VLAN ids a frame passed which servers' links, and whether it was the same but for the tag."""
    return distinct(
        f"{'no tag' if vid is None else f'VID {vid}'} at {server}{'' if frame == shot.sent else ', changed'}"
        for server, frames in shot.outside.items()
        for frame, vid in map(untagged, frames)
    )


RACKED: tuple[Callable[[Lab], Iterator[Finding]], ...] = (unicast, broadcast, other_vlans, no_tunnels)
