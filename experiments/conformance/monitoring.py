"""Devices on the way: what one that only looks can tell of the tenants' traffic, beside what the NVEs counted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack

from experiments.conformance.lab import DEAD, Lab, mark
from experiments.conformance.rows import Finding
from experiments.conformance.sending import every_kind, flow
from nvgre_node.dataplane.base import NO_SUBNET, SubnetCounters
from nvgre_node.monitor import Account, Direction, Monitor, by_vsid

_FLOWS = 64
Totals = dict[tuple[Direction, int], Account]


def totals(before: dict[int, SubnetCounters], after: dict[int, SubnetCounters]) -> Totals:
    """What an NVE has sent and received between two readings of its counters."""
    found: Totals = {}
    for vsid, now in after.items():
        then = before.get(vsid, SubnetCounters())
        out = Account(now.encapsulated - then.encapsulated, now.encapsulated_bytes - then.encapsulated_bytes)
        into = Account(now.decapsulated - then.decapsulated, now.decapsulated_bytes - then.decapsulated_bytes)
        found |= {(Direction.OUT, vsid): out, (Direction.IN, vsid): into}
    return {key: account for key, account in sorted(found.items()) if account.packets and key[1] != NO_SUBNET}


def spelled(found: Totals) -> str:
    """Totals in words: `out VSID 5001: 3 packets, 180 bytes`."""
    accounts = (f"{way} VSID {vsid}: {a.packets} packets, {a.bytes} bytes" for (way, vsid), a in found.items())
    return "; ".join(accounts) or "nothing"


def monitored(lab: Lab) -> Iterator[Finding]:
    """D1: a passive monitor on each uplink accounts per VSID exactly what the NVEs count."""
    with ExitStack() as stack:
        monitors = {}
        members = {vm.host for vm in lab.policy.vms if vm.subnet == lab.sender.subnet}  # the others get none of it
        for host in (host for host in lab.net.provider_hosts if host.name in members):
            with host.inside():
                monitors[host.name] = [stack.enter_context(Monitor(name)) for name in host.uplinks]
        before = lab.net.counters()
        flows = [flow(lab) for _ in range(_FLOWS)]
        for number, packet in enumerate(flows):
            packet["UDP"].sport = number
        lab.say(*every_kind(lab).values(), *(packet / mark() for packet in flows))
        after = lab.net.counters()
        seen = {host: _together(own) for host, own in monitors.items()}
    sent = f"a frame of every kind and {_FLOWS} flows of {lab.sender.name}"
    for host, looked in seen.items():
        counted = totals(before[host], after[host])
        dead = not counted and host in {lab.sender.host, lab.receiver.host}
        observed = DEAD if dead else spelled(looked)
        yield Finding("D1", f"monitor on the uplink of {host}", sent, spelled(counted), observed)


def _together(monitors: Iterable[Monitor]) -> Totals:
    """What passed any of the uplinks of a host."""
    found: Totals = {}
    for monitor in monitors:
        for key, account in by_vsid(monitor.flows()).items():
            found[key] = found.get(key, Account()) + account
    return dict(sorted(found.items()))


MONITORING: tuple[Callable[[Lab], Iterator[Finding]], ...] = (monitored,)
