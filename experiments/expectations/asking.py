"""Asks a running network: sends what should get there until it does, and watches for what should not. Needs root."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import count, takewhile
from typing import Self

from experiments.base import Progress
from experiments.expectations import packets
from experiments.expectations.packets import Packet
from experiments.expectations.questions import Answer, Flight, Question, State, vms_of
from experiments.watch import Place, Sighting, Watch, packet_socket
from nvgre_node.gateway import PhysicalSegment, Site
from nvgre_node.net import NvgreNet
from nvgre_node.node import TenantVM
from nvgre_node.outside import OUTSIDE, TUNNEL
from nvgre_node.policy import Policy
from topologies.expectation import By, Way

PATIENCE = 10.0
"""Seconds for which what should get there is tried, again and again."""
_ROUND = 0.5
_TIMES = 3
_FIRST, _NUMBERS = 20000, 40000
_NEIGHBOURS = 4
_LEAST = 68  # what every IPv4 link must carry (RFC 791)


@dataclass(frozen=True)
class _Group:
    """Packets of which all or any should get there."""

    packets: list[Packet]
    enough: Callable[[Iterable[bool]], bool]

    @property
    def is_done(self) -> bool:
        """Whether enough of them have."""
        return not self.packets or self.enough(map(_is_done, self.packets))


class Asker:
    """A running network that is asked."""

    def __init__(self, net: NvgreNet, policy: Policy, patience: float | None = None) -> None:
        self._net, self._policy = net, policy
        self._patience = PATIENCE if patience is None else patience
        self._numbers = count()
        self._sent: list[Packet] = []
        self._stack = ExitStack()
        self._sockets: dict[str, socket.socket] = {}
        places = [Place(vm, TenantVM.INTERFACE) for vm in net.vms]
        places += [place for node in net.hosts if isinstance(node, PhysicalSegment) for place in _ears(node)]
        self._wire = {node.name for node in (*net.provider_hosts, *net.fabric_routers)}
        places += [Place(host, uplink) for host in net.provider_hosts for uplink in host.uplinks]
        places += [Place(own, name) for own in net.fabric_routers for name in own.nameToIntf if name != "lo"]
        self._watch = self._stack.enter_context(Watch(places))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._forget()
        self._stack.close()

    def ask(self, asked: list[Question], progress: Progress) -> list[Answer]:
        """The answers, in the order of the questions: first what should get there, which then vouches for the rest."""
        wanted = [own for own in asked if own.expected.reaches]
        unwanted = [own for own in asked if not own.expected.reaches]
        progress(0, len(asked), "what should get there")
        answers = self._reached(wanted)
        progress(len(wanted), len(asked), "what should not")
        answers |= self._not_reached(unwanted, [own for own, answer in answers.items() if _reaches(own, answer.states)])
        progress(len(asked), len(asked), "done")
        return [answers[own] for own in asked]

    def _reached(self, wanted: list[Question]) -> dict[Question, Answer]:
        """Of what should get there, how far it got, how large a packet may be, and by which way."""
        tried = {own: self._packets(own) for own in wanted}
        self._try([_Group(sent, _enough(own)) for own, sent in tried.items()])
        states = {own: tuple(map(_state, sent)) for own, sent in tried.items()}
        self._forget()
        answers = {}
        for own in wanted:
            if not _reaches(own, states[own]):
                answers[own] = Answer(states[own], self._why(own))
                continue
            largest = tuple(self._largest(own, flight) for flight in own.flights) if own.expected.mtu else ()
            via = own.expected.via
            ways = tuple(way for flight in own.flights for way in self._way(own, flight)) if via is not None else ()
            answers[own] = Answer(states[own], largest=largest, ways=ways)
        return answers

    def _not_reached(self, unwanted: list[Question], got: list[Question]) -> dict[Question, Answer]:
        """Sends what should not get there, then something that does, and says what was heard of the former."""
        tried = {own: self._packets(own) for own in unwanted}
        self._sent += [packet for sent in tried.values() for packet in sent]
        for packet in self._sent * _TIMES:
            self._send(packet)
            self._send_straight(packet)
        controls = {own: _Group(self._controls(own, got), any) for own in unwanted}
        self._try(list(controls.values()))
        self._take(self._watch.until_quiet())
        self._forget()
        answers = {}
        for own, sent in tried.items():
            through = next((control for control in controls[own].packets if _is_done(control)), None)
            states = tuple(State.ARRIVES if packet.arrived else State.SILENT for packet in sent)
            answers[own] = Answer(states, control=f"{through.source.name} -> {through.place}" if through else "")
        return answers

    def _controls(self, own: Question, got: list[Question]) -> list[Packet]:
        """What should get through: from the same sender, else to the same receiver, else to others of the tenant's."""
        same = [q for q in got if q.source == own.source] or [q for q in got if q.destination == own.destination]
        if same:
            return self._packets(same[0])
        others = vms_of(self._policy, (self._policy.tenant_of(own.source),))
        return [
            Packet(self._number(), Flight(Way(), at, to), own.source, vm.name)
            for vm in [vm for vm in others if vm != own.source][:_NEIGHBOURS]
            for version in (4, 6)
            if (at := own.source.ca(version)) and (to := vm.ca(version))
        ]

    def _try(self, groups: list[_Group]) -> None:
        """Sends packets again and again, until enough of each group are where they should be, or patience is gone."""
        known = set(map(id, self._sent))
        self._sent += [packet for group in groups for packet in group.packets if id(packet) not in known]
        deadline = time.monotonic() + self._patience
        while (left := [group for group in groups if not group.is_done]) and time.monotonic() < deadline:
            for packet in (packet for group in left for packet in group.packets if not _is_done(packet)):
                self._send(packet)
            self._listen(lambda: all(group.is_done for group in groups))

    def _listen(self, done: Callable[[], bool]) -> list[Sighting]:
        taken = 0

        def is_done(seen: list[Sighting]) -> bool:
            nonlocal taken
            self._take(seen[taken:])
            taken = len(seen)
            return done()

        seen = self._watch.until(is_done, _ROUND)
        self._take(seen[taken:])
        return seen

    def _take(self, sightings: Iterable[Sighting]) -> None:
        """Notes which of the packets that are under way have arrived, and which answers."""
        for sighting in sightings:
            for packet in self._sent:
                if sighting.node == packet.place and packet.is_in(sighting.frame):
                    packet.arrived = True
                elif sighting.node == packet.source.name and packet.is_answered_in(sighting.frame):
                    packet.answered = True

    def _largest(self, own: Question, flight: Flight) -> int:
        """The largest packet that gets there: around what is expected, and where that is wrong, found by halving."""
        expected = own.expected.mtu or 0
        if not self._fits(own, flight, expected):
            low, high = 0, expected
        elif self._fits(own, flight, expected + 1):
            low, high = expected + 1, 1 << 16
        else:
            return expected
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._fits(own, flight, middle) else (low, middle)
        return low

    def _fits(self, own: Question, flight: Flight, size: int) -> bool:
        """Whether a packet of so many bytes of IP gets there: judged once a small one behind it has."""
        if size < _LEAST:
            return True
        for _ in range(_TIMES):
            large, small = self._packet(own, flight), self._packet(own, flight)
            self._sent += [large, small]
            if packets.send(large, self._net[own.source.name], size):
                self._try([_Group([small], all)])
                self._take(self._watch.until_quiet(20))
            self._forget()
            if large.arrived:
                return True
        return False

    def _way(self, own: Question, flight: Flight) -> list[tuple[str, ...]]:
        """The nodes at which one packet arrives on its way, in their order, and nothing if none gets there."""
        for _ in range(_TIMES):
            packet = self._packet(own, flight)
            self._sent.append(packet)
            self._send(packet)
            seen = self._listen(partial(getattr, packet, "arrived"))
            seen += self._watch.until_quiet(20)  # where it passed may be read after where it arrived
            self._forget()
            if packet.arrived:
                return [_passed(packet, seen, self._wire)]
        return []

    def _why(self, own: Question) -> str:
        """What NVEs dropped of a question's packets, by reason."""
        before = self._net.dropped()
        sent = self._packets(own)
        for packet in sent:
            self._send(packet)
        self._watch.until_quiet()
        for packet in sent:
            packets.close(packet)
        return ", ".join(sorted(reason.label for reason in self._net.dropped() - before))

    def _packets(self, own: Question) -> list[Packet]:
        return [self._packet(own, flight) for flight in own.flights]

    def _packet(self, own: Question, flight: Flight) -> Packet:
        return Packet(self._number(), flight, own.source, own.destination)

    def _number(self) -> int:
        return _FIRST + next(self._numbers) % _NUMBERS

    def _send(self, packet: Packet) -> None:
        """Has the VM's own stack send it, unless it would never leave the VM."""
        if packet.flight.to not in {ca.ip for ca in packet.source.cas}:
            packets.send(packet, self._net[packet.source.name])

    def _send_straight(self, packet: Packet) -> None:
        """Sends it in a frame to the MAC address of the VM that should not hear it."""
        if packet.flight.way.by is By.BROADCAST or packet.place not in {vm.name for vm in self._policy.vms}:
            return
        place = Place(self._net[packet.source.name], TenantVM.INTERFACE)
        if place.node.name not in self._sockets:
            self._sockets[place.node.name] = self._stack.enter_context(packet_socket(place))
        self._sockets[place.node.name].send(packets.frame(packet, self._policy.vm(packet.place).mac))

    def _forget(self) -> None:
        for packet in self._sent:
            packets.close(packet)
        self._sent.clear()


def _ears(segment: PhysicalSegment) -> list[Place]:
    """Where the host of a physical network hears: on its segment; that of a site from outside and its tunnel too."""
    names = [segment.segment]
    if isinstance(segment, Site):
        names += [OUTSIDE, TUNNEL] if segment.peer else [OUTSIDE]
    return [Place(segment, name) for name in names]


def _passed(packet: Packet, seen: Iterable[Sighting], wire: set[str]) -> tuple[str, ...]:
    """The nodes that a packet passed before it arrived; a host that hands it to its VM does not stamp it again."""
    in_order = sorted(seen, key=lambda own: (own.time, own.node == packet.place))
    its_own = (sighting for sighting in in_order if packet.is_in(sighting.frame))
    on_its_way = takewhile(lambda sighting: sighting.node != packet.place, its_own)
    return tuple(sighting.node for sighting in on_its_way if sighting.node in wire)


def _state(packet: Packet) -> State:
    if packet.arrived and (packet.answered or not packet.wants_answer):
        return State.REACHES
    return State.ARRIVES if packet.arrived else State.SILENT


def _is_done(packet: Packet) -> bool:
    return _state(packet) is State.REACHES


def _enough(own: Question) -> Callable[[Iterable[bool]], bool]:
    """Whether all of a question's packets have to get there, or of any way one."""
    return any if own.expected.way.by is By.ANY else all


def _reaches(own: Question, states: tuple[State, ...]) -> bool:
    return bool(states) and _enough(own)(state is State.REACHES for state in states)
