"""Unknown unicast: each of the three things that an NVE can be told to do with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from scapy.packet import Packet

from experiments.conformance.lab import DEAD, NOBODY, Lab, Shot, mark
from experiments.conformance.rows import Finding
from nvgre_node.choices import UnknownUnicast
from nvgre_node.wire import octets
from topologies import Scenario

_NOBODYS = "02:00:5e:00:53:01"  # locally administered, and of no VM


def dropping(scenario: Scenario) -> Scenario:
    """The same network, in which unknown unicast is dropped."""
    return scenario.with_nve(unknown=UnknownUnicast.DROP)


def flooding(scenario: Scenario) -> Scenario:
    """The same network, in which unknown unicast is flooded."""
    return scenario.with_nve(unknown=UnknownUnicast.FLOOD)


def punting(scenario: Scenario) -> Scenario:
    """The same network, in which unknown unicast is handed to user space."""
    return scenario.with_nve(unknown=UnknownUnicast.PUNT)


def unknown(lab: Lab) -> Iterator[Finding]:
    """B6: a frame to a MAC address that no lookup record knows, from a VM and from the wire."""
    mode = lab.policy.nve(lab.sender.host).unknown
    lab.net[lab.sender.host].punted()
    frame = lab.ethernet(dst=_NOBODYS) / mark()
    (shot,) = lab.say(frame)
    punted = sum(found.frame[:6] == octets(_NOBODYS) for found in lab.net[lab.sender.host].punted())
    others = [vm for vm in lab.policy.vms if vm.subnet == lab.sender.subnet and vm != lab.sender]
    flooded = mode is UnknownUnicast.FLOOD
    expected = _outcome(
        len({vm.host for vm in others} - {lab.sender.host}) if flooded else 0,
        f"delivered to {', '.join(sorted(vm.name for vm in others))}" if flooded else NOBODY,
        int(mode is UnknownUnicast.PUNT),
    )
    observed = _outcome(len(shot.out[lab.sender.host]), shot.delivered, punted) if shot.alive else DEAD
    yield Finding(
        "B6", f"{mode}, from a VM", f"a frame of {lab.sender.name} to {_NOBODYS}", expected, observed, shot.reason
    )
    yield from _from_the_wire(lab, mode, frame)


def _outcome(copies: int, delivered: str, punted: int) -> str:
    return f"{copies} on the wire, {delivered}, {punted} to user space"


def _from_the_wire(lab: Lab, mode: UnknownUnicast, frame: Packet) -> Iterator[Finding]:
    shot: Shot
    (shot,) = lab.inject(lab.nvgre(frame))
    own = [vm for vm in lab.policy.vms if vm.subnet == lab.receiver.subnet and vm.host == lab.receiver.host]
    heard = f"delivered to {', '.join(sorted(vm.name for vm in own))}" if mode is UnknownUnicast.FLOOD else NOBODY
    sent = f"a frame to {_NOBODYS} from {lab.pa(lab.sender)}"
    yield Finding("B6", f"{mode}, from the wire", sent, heard, shot.delivered, shot.reason)


MODES: tuple[Callable[[Scenario], Scenario], ...] = (dropping, flooding, punting)
"""A variant for each mode; `unknown` is what to try on it."""
