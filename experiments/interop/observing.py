"""What is tried between the two ends of a running network, and what is seen there. Needs root and a running network."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import GRE, Ether
from scapy.packet import Raw

from experiments.interop import expecting
from experiments.interop.ends import silent_about_streams
from experiments.interop.network import Meeting, Side
from experiments.interop.rows import Row, Tried
from experiments.probes import Kind, probe, sized
from experiments.watch import Spot, Watch, packet_socket
from nvgre_node.outer import outer_of
from nvgre_node.wire import ETHERTYPE_TEB, GRE_PROTOCOL, NvgreHeader

_PATIENCE, _QUIET_MS = 3.0, 100
_PING_SECONDS = {True: 5, False: 2}  # more for what must be answered, which a busy machine may delay
_AROUND = (-1, 0, 1, 2, 8)
_FLOWS = 16
_FLOW_IDS, _TRIES = (1, 0x5A, 0xFF), 4
_PORT = 7637
_SEGMENT_SLACK = 100
_NUMBERS = count(1)


def _token() -> bytes:
    return b"interop" + next(_NUMBERS).to_bytes(4, "big")


def copies(receiver: Side, frames: Sequence[bytes], awaited: Sequence[bytes] | None = None) -> list[int]:
    """How often the tenant of an end heard each frame; call it when they have been sent.

    It is patient with those that are `awaited`, all of them unless told otherwise.
    """
    seen: list[bytes] = []
    listen(receiver, seen, frames if awaited is None else awaited, _PATIENCE)
    return [_count(frame, seen) for frame in frames]


def listen(receiver: Side, seen: list[bytes], awaited: Sequence[bytes], patience: float) -> None:
    """Adds what the tenant of an end hears until all that is awaited was there, and for a while thereafter."""
    deadline = time.monotonic() + patience
    while not all(_count(frame, seen) for frame in awaited) and time.monotonic() < deadline:
        seen += receiver.station.hear(20)
    while late := receiver.station.hear(_QUIET_MS):  # copies of copies
        seen += late
        if time.monotonic() > deadline + patience:
            break


def _count(frame: bytes, seen: Sequence[bytes]) -> int:
    return sum(heard[: len(frame)] == frame for heard in seen)


def delivered(sender: Side, receiver: Side, frames: Sequence[bytes]) -> list[int]:
    """How often each frame that one tenant sends is heard by the other."""
    receiver.station.hear(0)
    sender.station.say(frames)
    return copies(receiver, frames)


def ping(sender: Side, receiver: Side, seconds: int) -> str:
    """Whether the other tenant answers within so many seconds."""
    return expecting.ANSWERED if sender.station.ping(str(receiver.vm.ca(4)), seconds) else expecting.SILENT


def largest(sender: Side, receiver: Side, limit: int) -> str:
    """The largest of packets around the limit that got through, in bytes of IP packet; those below it must, too."""
    sizes = [limit + offset for offset in _AROUND]
    frames = [sized(Kind.ICMP, 4, sender.vm, receiver.vm, size, tag=next(_NUMBERS)) for size in sizes]
    behind = probe(Kind.UDP, sender.vm, receiver.vm, _token())  # where this has come, nothing is under way any more
    receiver.station.hear(0)
    sender.station.say([*frames, behind])
    fitting = [frame for size, frame in zip(sizes, frames, strict=True) if size <= limit]
    got = [size for size, n in zip(sizes, copies(receiver, frames, [*fitting, behind]), strict=True) if n]
    if not got:
        return "none"
    lost = [size for size in sizes if size < max(got) and size not in got]
    return f"{max(got)}, and {', '.join(map(str, lost))} lost" if lost else str(max(got))


def flooded(sender: Side, receiver: Side, kind: Kind) -> str:
    """How often a broadcast or a multicast arrives (B5)."""
    (times,) = delivered(sender, receiver, [probe(kind, sender.vm, receiver.vm, _token())])
    return str(times)


def flow_ids_sent(sender: Side, receiver: Side) -> str:
    """What FlowIDs the packets of several flows have as they leave (G8, G9): `0`, `several`, or the only one."""
    head = Ether(src=sender.vm.mac, dst=receiver.vm.mac) / IP(src=str(sender.vm.ca(4)), dst=str(receiver.vm.ca(4)))
    tokens = [_token() for _ in range(_FLOWS)]
    frames = [bytes(head / UDP(sport=1024 + n, dport=_PORT) / Raw(token)) for n, token in enumerate(tokens)]
    with Watch([Spot(sender.uplink.far.node, sender.uplink.far.interface)]) as watch:
        sender.station.say(frames)
        seen = watch.until(lambda seen: all(any(token in own.frame for own in seen) for token in tokens), _PATIENCE)
    outer = [outer_of(own.frame) for own in seen if any(token in own.frame for token in tokens)]
    found = {packet.key & 0xFF for packet in outer if packet and packet.is_gre}
    return str(*found) if len(found) == 1 else "several" if found else "nothing was sent"


def flow_ids_accepted(sender: Side, receiver: Side, vsid: int) -> str:
    """Of packets that differ in FlowID, as from the sender's PA: `any` arrives (G10), or which do.

    Behind them goes one with FlowID 0, which everybody takes: where it has come, nothing is under way any more. It may
    need several tries, and none goes right behind another, for the driver of User-Mode Linux 6.1 loses its place after
    a packet of another key: it drops, and frees again, what it has read in the same go.
    """
    forged = {flow_id: _forged(sender, receiver, NvgreHeader(vsid, flow_id).key) for flow_id in _FLOW_IDS}
    place = Spot(receiver.uplink.far.node, receiver.uplink.far.interface)
    receiver.station.hear(0)
    seen: list[bytes] = []
    with packet_socket(place) as mouth:
        for packet, _ in forged.values():
            mouth.send(packet)
            listen(receiver, seen, (), 0)
        for _ in range(_TRIES):
            packet, zero = forged[0] = _forged(sender, receiver, NvgreHeader(vsid, 0).key)
            mouth.send(packet)
            listen(receiver, seen, [zero], _PATIENCE / 2)
            if _count(zero, seen):
                break
    got = [flow_id for flow_id in (0, *_FLOW_IDS) if _count(forged[flow_id][1], seen)]
    return "any" if got == [0, *_FLOW_IDS] else ", ".join(map(str, got)) or "none"


def _forged(sender: Side, receiver: Side, key: int) -> tuple[bytes, bytes]:
    """An NVGRE packet as it would arrive at the receiver, and its inner frame."""
    inner = Ether(src=sender.vm.mac, dst=receiver.vm.mac)
    inner /= IP(src=str(sender.vm.ca(4)), dst=str(receiver.vm.ca(4))) / UDP(sport=_PORT, dport=_PORT) / Raw(_token())
    ends = {"src": str(sender.pa), "dst": str(receiver.pa)}
    v6 = receiver.pa.version == 6
    outer: Any = IPv6(nh=GRE_PROTOCOL, **ends) if v6 else IP(proto=GRE_PROTOCOL, id=0, flags="DF", **ends)
    at = Ether(src=receiver.uplink.far_mac, dst=receiver.uplink.mac)
    return bytes(at / outer / GRE(key_present=1, proto=ETHERTYPE_TEB, key=key) / inner), bytes(inner)


def stream(sender: Side, receiver: Side, seconds: int, limit: int) -> float:
    """Gigabits per second of one TCP stream whose packets fit."""
    address = str(receiver.vm.ca(4))
    with receiver.station.serve(address):
        return sender.station.stream(address, seconds, limit - _SEGMENT_SLACK)


def observe(of: Meeting, seconds: int, *, in_full: bool) -> Iterator[Row]:
    """Everything that is tried in a meeting; what is not `in_full` only shows what FlowIDs do.

    Then what a third party may not take comes last: see `flow_ids_accepted`.
    """
    for sender, receiver in of.directions if in_full else reversed([*of.directions]):

        def row(
            tried: Tried, observed: str, value: float | None = None, sender: Side = sender, receiver: Side = receiver
        ) -> Row:
            return Row.of(of.pair, of.setting, tried, (sender.end, receiver.end), of.limit, observed, value)

        yield row(Tried.PING, ping(sender, receiver, _PING_SECONDS[of.pair.works(of.setting.flow_ids)]))
        yield row(Tried.SENT, flow_ids_sent(sender, receiver))
        if not in_full:
            continue
        yield row(Tried.ACCEPTED, flow_ids_accepted(sender, receiver, of.vsid))
        yield row(Tried.LARGEST, largest(sender, receiver, of.limit))
        yield row(Tried.BROADCAST, flooded(sender, receiver, Kind.BROADCAST))
        yield row(Tried.MULTICAST, flooded(sender, receiver, Kind.MULTICAST))
        if seconds and not silent_about_streams([of.pair.left.name, of.pair.right.name]):
            speed = stream(sender, receiver, seconds, of.limit)
            yield row(Tried.STREAM, expecting.ARRIVES if speed else expecting.STALLS, speed)
