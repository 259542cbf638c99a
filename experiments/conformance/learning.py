"""Data-plane learning: an NVE that is told to learns from packets where a MAC address is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from experiments.base import distant_pair
from experiments.conformance.lab import DEAD, NOBODY, Lab, mark
from experiments.conformance.rows import Finding
from experiments.probes import BROADCAST
from nvgre_node.choices import UnknownUnicast
from topologies import Scenario

_NOBODYS = "02:00:5e:00:53:02"  # locally administered, and of no VM
_SECONDS = 300


def learning(scenario: Scenario) -> Scenario:
    """The same network, in which NVEs learn from packets; the first sender's drops what it has not learnt."""
    policy, (sender, _) = scenario.policy, distant_pair(scenario.policy)
    modes = {sender.host: UnknownUnicast.DROP}  # the others hand it to all their VMs, as they know none of that address
    nves = (replace(nve, learning=_SECONDS, unknown=modes.get(nve.host, UnknownUnicast.FLOOD)) for nve in policy.nves)
    return replace(scenario, policy=replace(policy, nves=tuple(nves)))


def learnt(lab: Lab) -> Iterator[Finding]:
    """T8: a MAC address that no record knows is reached once it has spoken, and from its own virtual subnet alone."""
    to_it = lab.ethernet(dst=_NOBODYS)
    (before,) = lab.say(to_it / mark())
    sent = f"a frame of {lab.sender.name} to {_NOBODYS}"
    observed = f"{len(before.out[lab.sender.host])} packets, {before.delivered}"
    yield Finding("T8", "not learnt yet", sent, f"0 packets, {NOBODY}", observed, before.reason)
    lab.say(lab.ethernet(src=_NOBODYS, dst=BROADCAST) / mark(), vm=lab.receiver)
    (after,) = lab.say(to_it / mark())
    there = sorted(v.name for v in lab.policy.vms if (v.subnet, v.host) == (lab.sender.subnet, lab.receiver.host))
    observed = f"{len(after.out[lab.sender.host])} packet, {after.delivered}"
    expected = f"1 packet, delivered to {', '.join(there)}"
    yield Finding("T8", "learnt from its own packet", sent, expected, observed, after.reason)
    other = next((v for v in lab.policy.vms if v.subnet != lab.sender.subnet and v.host == lab.sender.host), None)
    if other is not None:
        (crossing,) = lab.say(lab.ethernet(src=other.mac, dst=_NOBODYS) / mark(), vm=other)
        seen = f"{len(crossing.out[other.host])} packets, {crossing.delivered}" if after.out[lab.sender.host] else DEAD
        sent = f"a frame of {other.name} to {_NOBODYS}"
        yield Finding("T8", "learnt in another virtual subnet", sent, f"0 packets, {NOBODY}", seen, crossing.reason)
