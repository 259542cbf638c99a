"""We as the peer of an NVE that was there before: packets go to it, and what the tenant behind it answers comes back.

A frame counts as delivered exactly if the tenant system answered the echo request in it. Nothing is sent but to the
target (and questions for its MAC address), at most 800 packets a second, and everything is gone with the sockets.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, NoReturn, Self

from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.packet import Packet, Raw

from experiments.conformance.foreign.neighbours import Station, answer, question, told
from experiments.conformance.journal import Frame, Journal
from experiments.conformance.peer import QUIET_MS, Peer, Shot, mark, marks
from experiments.watch import Sighting, Spot, Watch, packet_socket
from nvgre_node.errors import BadInputError
from nvgre_node.namespace import NAMED, entered, netlink
from nvgre_node.outer import outer_of
from nvgre_node.packet import take_nothing
from nvgre_node.wire import ETHERTYPE_IPV4, ETHERTYPE_IPV6, GRE_PROTOCOL, octets
from topologies.target import INSIDE, TARGET, US, Target

_TRIES, _SECONDS = 3, 1.0
_BURST, _PACE_SECONDS = 4, 0.005
_PATIENCE_SECONDS = 0.06
_PADDING = bytes(range(42))
_ID, _ICMP_BYTES = 0x7637, 8
_ICMPV6 = 58


class NoAnswerError(BadInputError):
    """The target, or the tenant system behind it, says nothing at all, so that nothing can be judged."""


@dataclass(frozen=True)
class Here:
    """A network namespace of this machine by its name in `ip netns`; without a name, the one that we are in."""

    namespace: str | None
    name: str = US

    @contextmanager
    def inside(self) -> Iterator[None]:
        """The calling thread works there until the block ends."""
        if self.namespace is None:
            yield
            return
        with entered(NAMED / self.namespace):
            yield


class Attentive(Watch):
    """A watch that answers for our addresses, and keeps what concerns the target."""

    def __init__(self, spot: Spot, answer_to: Callable[[bytes], None], concerns: Callable[[bytes], bool]) -> None:
        super().__init__([spot])
        self._answer_to, self._concerns = answer_to, concerns

    def heard(self, milliseconds: float) -> list[Sighting]:
        """What has been seen of the target since the last call; waits up to `milliseconds` for the first frame."""
        found = super().heard(milliseconds)
        for sighting in found:
            self._answer_to(sighting.frame)
        return [sighting for sighting in found if self._concerns(sighting.frame)]


class Foreign(Peer):
    """A conversation with a target. `receiver` is the tenant system behind it, and `sender` is ours."""

    def __init__(self, target: Target, seed: int, journal: Journal | None = None) -> None:
        policy = target.scenario.policy
        outside, inside = policy.vms
        super().__init__(policy, (outside, inside), seed, journal)
        self.target, self.options = target, target.options
        self.accepts_optional_fields = target.options.optional_fields == "accept"
        self.version = inside.cas[0].version
        self.ethertype = ETHERTYPE_IPV4 if self.version == 4 else ETHERTYPE_IPV6
        self.patience = _PATIENCE_SECONDS
        self.mac = self.target_mac = ""
        self._pa, self._own_pa = target.said.nve.pa, target.said.us.pa
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._open(stack)
            self._get_acquainted()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _open(self, stack: ExitStack) -> None:
        said = self.target.said
        here = Here(said.namespace)
        if said.namespace is not None and not (NAMED / said.namespace).exists():
            self._refuse("namespace", f"there is no network namespace {said.namespace} here (`ip netns` lists them)")
        with here.inside():
            self.mac, self._has_pa = self._interface(said.interface)
            quiet = stack.enter_context(socket.socket(_FAMILIES[self._pa.version], socket.SOCK_RAW, GRE_PROTOCOL))
            take_nothing(quiet)  # a kernel that has a socket for GRE does not answer it with "protocol unreachable"
        spot = Spot(here, said.interface)
        self._watch = stack.enter_context(Attentive(spot, self._answer_to, self._concerns))
        self._mouth = stack.enter_context(packet_socket(spot))

    def _interface(self, name: str) -> tuple[str, bool]:
        """MAC address of our interface, and whether it has our PA itself."""
        with netlink() as ip:
            links = {link.get("ifname"): link for link in ip.get_links()}
            if name not in links:
                self._refuse("interface", f"there is no {name} here (there are: {', '.join(sorted(links))})")
            link = links[name]
            if link.get("operstate") == "DOWN" or not link["flags"] & 1:
                self._refuse("interface", f"{name} is down")
            if link.get("mtu") < self.target.said.mtu:
                self._refuse("mtu", f"{name} carries no more than {link.get('mtu')} bytes")
            addresses = [own.get("address") for own in ip.get_addr() if own["index"] == link["index"]]
        return str(link.get("address")), str(self._own_pa) in addresses

    def _refuse(self, key: str, what: str) -> NoReturn:
        raise BadInputError(f"{self.target.scenario.path}: {key}: {what}")

    # Getting acquainted

    def _get_acquainted(self) -> None:
        """Finds the next hop and the tenant system, and sees that a sound packet is answered."""
        nve, ca = self.target.said.nve, self.receiver.cas[0].ip
        hop = nve.via or nve.pa
        self.target_mac = nve.mac or self._resolve(question(Station(self._own_pa, self.mac), hop), hop, bytes)
        if not self.target_mac:
            self._give_up(f"nobody has the address {hop}", "is it up, and is that its interface?")
        asked = self.nvgre(question(self._outside(), ca))
        inner = self.target.said.inside.mac or self._resolve(asked, ca, self._inner)
        own = self._outside()
        knows = f"does it serve VSID {self.vsid}, and know {own.address}, {own.mac}, behind PA {self._own_pa}?"
        if not inner:
            self._give_up(
                f"nobody behind it says where {ca} is", f"{knows} (`inside: {{mac: ...}}` saves the question)"
            )
        self.turn_to(self.sender, replace(self.receiver, mac=inner))
        if not any(self.inject(self.nvgre())[0].heard for _ in range(_TRIES)):
            self._give_up(f"{ca}, {inner}, answers no ping in VSID {self.vsid}", knows)

    def _give_up(self, what: str, hint: str) -> NoReturn:
        raise NoAnswerError(f"no answer from {self._pa} on {self.target.said.interface}: {what}: {hint}")

    def _resolve(self, asked: Packet, wanted: Any, read: Callable[[bytes], bytes]) -> str:
        """The MAC address of somebody, or nothing."""

        def found(seen: Sequence[Sighting]) -> list[str]:
            stations = [told(read(sighting.frame)) for sighting in seen]
            return [station.mac for station in stations if station and station.address == wanted]

        for _ in range(_TRIES):
            self._mouth.send(bytes(asked))
            if macs := found(self._watch.until(lambda seen: bool(found(seen)), _SECONDS)):
                return macs[0]
        return ""

    def _answer_to(self, frame: bytes) -> None:
        """Says where we are, unless the kernel does, and where the tenant system is that we play."""
        reply = None if self._has_pa else answer(Station(self._own_pa, self.mac), frame)
        if reply is not None:
            self._mouth.send(bytes(reply))
        inner = self._inner(frame) if self.target_mac else b""
        if inner and (said := answer(self._outside(), inner)):
            self._mouth.send(bytes(self.nvgre(said)))

    def _outside(self) -> Station:
        return Station(self.sender.cas[0].ip, self.sender.mac)

    def _inner(self, frame: bytes) -> bytes:
        """The inner frame of an NVGRE packet for us; nothing of anything else."""
        outer = outer_of(frame)
        return outer.inner if outer and outer.is_gre and outer.destination == self._own_pa else b""

    def _concerns(self, frame: bytes) -> bool:
        """Whether it is a packet of the target's or GRE for us, or an answer to a question."""
        outer = outer_of(frame)
        if outer is None:
            return frame[12:14] == b"\x08\x06"
        return (
            outer.source == self._pa
            or (outer.is_gre and outer.destination == self._own_pa)
            or outer.protocol == _ICMPV6
        )

    # What rows use

    def outer_macs(self) -> tuple[str, str]:
        """Ours, and that of the next hop."""
        return self.mac, self.target_mac

    def payload(self, times: int = 1) -> Packet:
        """An echo request for the tenant system."""
        return self.echo() / Raw(mark().load * times + _PADDING)

    def network(self, traffic_class: int = 0) -> Packet:
        """An IP header from our tenant system to the other."""
        ends = {"src": str(self.sender.cas[0].ip), "dst": str(self.receiver.cas[0].ip)}
        return IP(tos=traffic_class, **ends) if self.version == 4 else IPv6(tc=traffic_class, **ends)

    def echo(self, traffic_class: int = 0) -> Packet:
        """The headers of an echo request."""
        kind = ICMP if self.version == 4 else ICMPv6EchoRequest
        return self.network(traffic_class) / kind(id=_ID, seq=1)

    def inject(self, *packets: Packet | bytes, quiet_ms: float = QUIET_MS) -> list[Shot]:
        """Packets go to the target; each carries a mark, by which its answer is known."""
        sent = [bytes(packet) for packet in packets]
        frames, seen = self._send(sent)
        alive, tries = False, 0
        while not alive and tries < _TRIES:
            tries += 1
            sound = bytes(self.nvgre())
            frames.append(Frame(time.time(), _PLACE, sound, "sent behind it: a sound frame, which must be answered"))
            (awaited,) = marks(sound)
            self._mouth.send(sound)

            def answered(latest: list[Sighting], awaited: bytes = awaited) -> bool:
                return any(awaited in s.frame and self._is_answer(self._inner(s.frame)) for s in latest)

            seen += self._watch.until(answered, _SECONDS)
            alive = answered(seen)
        seen += self._watch.until(lambda _: False, max(self.patience, quiet_ms / 1000))
        self.journal.record([*frames, *_seen(seen, sent)])
        return [self._shot(packet, seen, alive) for packet in sent]

    def exchange(self, *inner: Packet | bytes) -> list[bytes]:
        """Sound packets with these inner frames go to the target; all packets that it sends us meanwhile."""
        sent = [bytes(self.outer() / self.gre() / bytes(frame)) for frame in inner]
        frames, seen = self._send(sent)
        seen += self._watch.until(lambda _: False, max(4 * self.patience, 0.2))
        self.journal.record([*frames, *_seen(seen, sent)])
        return [s.frame for s in seen if self._inner(s.frame) or self._is_fragment(s.frame)]

    def gre(self) -> Raw:
        """The header of a sound NVGRE packet."""
        return Raw(b"\x20\x00\x65\x58" + (self.vsid << 8).to_bytes(4, "big"))

    def is_answer(self, packet: bytes) -> bool:
        """Whether a packet carries something that the tenant system said."""
        return self._is_answer(self._inner(packet))

    def _is_answer(self, inner: bytes) -> bool:
        return inner[:12] == octets(self.sender.mac) + octets(self.receiver.mac)

    def _is_fragment(self, frame: bytes) -> bool:
        outer = outer_of(frame)
        return bool(outer and outer.is_fragment and outer.source == self._pa)

    def _send(self, sent: Sequence[bytes]) -> tuple[list[Frame], list[Sighting]]:
        """Sends, at a bounded rate, and listens meanwhile."""
        frames, seen = list[Frame](), list[Sighting]()
        for number, packet in enumerate(sent, start=1):
            frames.append(Frame(time.time(), _PLACE, packet, f"sent, {number} of {len(sent)}", sent=True))
            self._mouth.send(packet)
            if number % _BURST == 0:
                seen += self._watch.until(lambda _: False, _PACE_SECONDS)
        return frames, seen

    def _shot(self, sent: bytes, seen: Sequence[Sighting], alive: bool) -> Shot:
        """What became of a packet: `into` us came answers; `out` of the target are those that bring the frame back."""
        own = marks(sent)
        mine = [s.frame for s in seen if own and own[0] in s.frame and self._inner(s.frame)]
        answers = [packet for packet in mine if self.is_answer(packet)]
        heard = tuple((INSIDE, _as_sent(sent, self._inner(packet))) for packet in answers)
        back = [packet for packet in mine if packet not in answers]
        return Shot(sent, alive, heard, {TARGET: back, US: []}, {TARGET: [], US: mine}, "")


_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_PLACE = "sent:to-target"


def _as_sent(sent: bytes, answered: bytes) -> bytes:
    """The inner frame that was sent, if the answer shows that what was in it arrived whole; else the answer."""
    outer, echo = outer_of(sent), outer_of(answered)
    data = echo.payload[_ICMP_BYTES:] if echo else b""
    return outer.inner if outer and data and data in sent else answered


def _seen(seen: Sequence[Sighting], sent: Sequence[bytes]) -> Iterator[Frame]:
    """Sightings as the journal keeps them."""
    numbers = {found: number for number, packet in enumerate(sent, start=1) for found in marks(packet)}
    for sighting in seen:
        own = [f"answers {numbers[found]} of {len(sent)}" for found in marks(sighting.frame) if found in numbers]
        yield Frame(sighting.time, f"us:{sighting.interface}", sighting.frame, own[0] if own else "seen")
