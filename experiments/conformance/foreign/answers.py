"""What a target sends: the packets that the tenant system's answers become, as they reach us."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from scapy.layers.inet import TCP, fragment
from scapy.layers.inet6 import IPv6ExtHdrFragment, fragment6
from scapy.packet import Packet, Raw

from experiments.conformance.foreign.neighbours import Station, question
from experiments.conformance.foreign.peer import Foreign
from experiments.conformance.lab import distinct
from experiments.conformance.peer import DEAD, NOBODY, mark
from experiments.conformance.receiving import accepted, spelled
from experiments.conformance.rows import Finding
from experiments.conformance.sending import gre_headers, outer_macs, reading
from experiments.conformance.traffic_class import ECN_NAMES, EGRESS, INNER_DSCP, OUTER_DSCP, marked
from nvgre_node.choices import COPY, TTL_DEFAULT, Ecn, FlowIds
from nvgre_node.outer import Outer, outer_of
from nvgre_node.wire import ETHERNET_BYTES, IPV6_BYTES
from topologies.target import US

_REPEATS, _FLOWS, _CLOSED_PORT = 16, 4096, 7637  # nobody listens there
_PIECE = 512
_ICMPV6 = 58


def _outers(packets: Sequence[bytes]) -> list[Outer]:
    return [outer for packet in packets if (outer := outer_of(packet))]


def _packet_in(outer: Outer) -> Outer | None:
    """The inner IP packet, where there is one."""
    return outer_of(outer.inner)


def headers(peer: Foreign) -> Iterator[Finding]:
    """O1 to O3, G1 to G5, I4, U1, F1, F5: what each header says of all that the target sends."""
    asker = Station(peer.sender.cas[0].ip, peer.sender.mac)
    echoes = [peer.ethernet() / peer.payload() for _ in range(_REPEATS)]
    packets = [*filter(peer.is_answer, peer.exchange(*echoes, question(asker, peer.receiver.cas[0].ip)))]
    sent = f"{_REPEATS} echo requests, and a question for the MAC address"
    yield Finding(
        "O1", "answers arrive", sent, "yes", "yes" if len(packets) >= _REPEATS else f"{len(packets)} of {_REPEATS}"
    )
    if peer.target.said.nve.via is None:  # else the last router's
        yield from outer_macs(peer.target_mac, peer.mac, sent, packets)
    yield from gre_headers(peer, sent, packets)
    pas = f"{peer.pa(peer.receiver)} -> {peer.pa(peer.sender)}"
    seen = distinct(reading(lambda outer: f"{outer.source} -> {outer.destination}")(packet) for packet in packets)
    yield Finding("U1", "outer addresses", sent, pas, seen)
    more = distinct(f"{_surplus(outer)} bytes" for outer in _outers(packets) if _surplus(outer) is not None)
    yield Finding("I2", "inner frame less its IP packet and header", sent, "0 bytes", more)


def _surplus(outer: Outer) -> int | None:
    """Bytes behind the inner IP packet; an inner frame may be filled up to Ethernet's least, but ours are longer."""
    packet = _packet_in(outer)
    return len(outer.inner) - ETHERNET_BYTES - packet.length if packet else None


def frames(peer: Foreign) -> Iterator[Finding]:
    """I3, O7, U3: what the tenant system got is what was sent, over the outer IP version that there is."""
    version = f"IPv{peer.version}"
    yield accepted(peer, "I3", f"{version}, received", peer.nvgre())
    yield accepted(peer, "U3", "an echo request, whole", peer.nvgre())
    if peer.version != peer.outer_version:
        yield accepted(peer, "O7", f"{version} over IPv{peer.outer_version}", peer.nvgre())


def another_subnet(peer: Foreign) -> Iterator[Finding]:
    """T4: a VSID that the target does serve leads into that virtual subnet, and not to this tenant system.

    Who answers there may have the same addresses: the VSID tells them apart.
    """
    for vsid in (subnet.vsid for subnet in peer.policy.subnets if subnet.vsid != peer.vsid):
        packet = peer.nvgre(vsid=vsid)
        (shot,) = peer.inject(packet)
        ours = sum(outer.key >> 8 == peer.vsid for outer in _outers(shot.into[US]))
        observed = f"{ours} answers" if shot.alive else DEAD
        yield Finding("T4", f"VSID {vsid} of another virtual subnet", spelled(packet), "0 answers", observed)


# FlowID


def _flow_ids(peer: Foreign, packets: Sequence[bytes]) -> list[int]:
    return [outer.key & 0xFF for outer in _outers([*filter(peer.is_answer, packets)])]


def flow_ids(peer: Foreign) -> Iterator[Finding]:
    """G6, G8, G9: one FlowID throughout a flow, many over many flows, or zero in all."""
    one = set(_flow_ids(peer, peer.exchange(*(peer.ethernet() / peer.payload() for _ in range(_REPEATS)))))
    yield Finding("G6", "one flow", f"{_REPEATS} echo requests of one flow", "1 FlowID", f"{len(one)} FlowID")
    ports = peer.rng.sample(range(1024, 65536), _FLOWS)
    found = _flow_ids(peer, peer.exchange(*(_segment(peer, port) for port in ports)))
    sent, ids = f"{len(found)} answers to TCP segments from ports drawn by lot", set(found)
    if len(found) < _FLOWS // 2:  # a tenant system with a firewall
        yield Finding("G8", "many flows", sent, "256 FlowIDs", f"{len(ids)} FlowIDs", judged=False)
        return
    said = peer.options.flow_ids
    if said is not FlowIds.NONE and not (said is None and len(ids) == 1):
        yield Finding("G8", "many flows", sent, "256 FlowIDs", f"{len(ids)} FlowIDs")
    if said is FlowIds.NONE or len(ids) == 1:  # one value in all flows is not generated from them
        what = "FlowIDs switched off" if said is FlowIds.NONE else "the same FlowID in all flows"
        yield Finding("G9", what, sent, "0x00", distinct(f"0x{found:02x}" for found in ids))


def _segment(peer: Foreign, port: int) -> Packet:
    """A TCP segment of no connection: it is answered by a reset, and opens nothing."""
    return peer.ethernet() / peer.network() / TCP(sport=port, dport=_CLOSED_PORT, flags="A", seq=1, ack=1)


# Sizes


def sizes(peer: Foreign) -> Iterator[Finding]:
    """F1, F3: the largest packet that fits, and an answer that may be too large: no NVGRE packet is ever a fragment."""
    mtu = peer.target.said.mtu
    largest = peer.target.scenario.tenant_mtu
    fitting = peer.ethernet() / _filled(peer, largest)
    (shot,) = peer.inject(peer.nvgre(fitting))
    what = f"a packet of {largest} bytes"
    yield Finding("F3", what, f"{what}, underlay MTU {mtu}", peer.to_receiver, shot.recovered(bytes(fitting)))
    whole = _filled(peer, mtu)
    packets = peer.exchange(*(peer.ethernet() / part for part in _cut(peer, whole)))
    fragments = sum(outer.is_fragment for outer in _outers(packets))
    answers = sum(map(peer.is_answer, packets))
    alive = peer.inject(peer.nvgre())[0].alive
    sent = f"an echo request of {mtu} bytes in inner fragments; {answers} packets of an answer"
    yield Finding("F1", "an answer that does not fit", sent, "0 fragments", f"{fragments} fragments" if alive else DEAD)


def _filled(peer: Foreign, size: int) -> Packet:
    """An echo request in an IP packet of this size; its mark comes first."""
    packet = peer.echo() / mark()
    return packet / Raw(bytes(size - len(packet)))


def _cut(peer: Foreign, packet: Packet) -> list[Packet]:
    """The inner fragments of a packet: the sender's own, which any network carries."""
    if peer.version == 4:
        return list(fragment(packet, fragsize=_PIECE))
    whole = Raw(bytes(packet)[IPV6_BYTES:])  # with its checksum
    return list(fragment6(peer.network() / IPv6ExtHdrFragment(nh=_ICMPV6) / whole, _PIECE))


# Traffic class and TTL


def sent_traffic_class(peer: Foreign) -> Iterator[Finding]:
    """O8: TTL, DSCP and ECN of the outer header, beside those of the answer in it."""
    answered = peer.exchange(
        *(peer.ethernet() / peer.echo(traffic_class=INNER_DSCP << 2 | ecn) / mark() for ecn in range(4))
    )
    packets = [*filter(peer.is_answer, answered)]
    pairs = [(outer, inner) for outer in _outers(packets) if (inner := _packet_in(outer))]
    sent, options = "echo requests of each ECN codepoint", peer.options
    ttl = options.ttl or TTL_DEFAULT
    seen = distinct(f"TTL {outer.ttl}" for outer, _ in pairs)
    as_sent = peer.target.said.nve.via is None  # else routers have taken from it
    yield Finding("O8", f"TTL {ttl}", sent, f"TTL {ttl}", seen, judged=as_sent and options.ttl is not None)
    if options.dscp == COPY:
        differs = sum(outer.traffic_class >> 2 != inner.traffic_class >> 2 for outer, inner in pairs)
        observed = f"{differs} differ" if pairs else "nothing"
        yield Finding("O8", "uniform model, DSCP out", sent, "0 differ", observed)
    else:
        dscp = f"DSCP {options.dscp or 0}"
        seen = distinct(f"DSCP {outer.traffic_class >> 2}" for outer, _ in pairs)
        yield Finding("O8", f"pipe model, {dscp} out", sent, dscp, seen, judged=options.dscp is not None)
    by_inner = {ecn: [o for o, inner in pairs if inner.traffic_class & 3 == ecn] for ecn in range(4)}
    for ecn, own in by_inner.items():
        if own:
            wanted = ECN_NAMES[ecn if options.ecn is not Ecn.ZERO else 0]
            seen = distinct(ECN_NAMES[outer.traffic_class & 3] for outer in own)
            what = f"ECN {options.ecn or Ecn.COPY}, {ECN_NAMES[ecn]} out"
            yield Finding("O8", what, f"an answer with {ECN_NAMES[ecn]}", wanted, seen, judged=options.ecn is not None)


def received_traffic_class(peer: Foreign) -> Iterator[Finding]:
    """O8: each cell of RFC 6040 section 4.2, read from answers of a tenant system that sends back what it got."""
    plain = {inner: _came_back(peer, inner, 0) for inner in EGRESS}
    mirrors = all(back == ECN_NAMES[inner] for inner, back in plain.items())
    for inner, row in EGRESS.items():
        for outer, cell in enumerate(row):
            what = f"{ECN_NAMES[inner]} in {ECN_NAMES[outer]}"
            said = f"{what}; inner DSCP {INNER_DSCP}, outer {OUTER_DSCP}"
            expected = NOBODY if cell is None else ECN_NAMES[cell]
            known = peer.options.ecn is not None and (mirrors or cell is None)
            yield Finding("O8", what, said, expected, _came_back(peer, inner, outer), judged=known)


def _came_back(peer: Foreign, inner: int, outer: int) -> str:
    """The ECN codepoint with which the tenant system answered."""
    frame = peer.ethernet() / peer.echo(traffic_class=INNER_DSCP << 2 | inner) / mark()
    (shot,) = peer.inject(marked(peer, frame, outer))
    answers = [_packet_in(found) for found in _outers([packet for packet in shot.into[US] if peer.is_answer(packet)])]
    return distinct(ECN_NAMES[packet.traffic_class & 3] for packet in answers if packet) if answers else shot.delivered


SENT: tuple[Callable[[Foreign], Iterator[Finding]], ...] = (headers, flow_ids, sizes, sent_traffic_class)
RECEIVED: tuple[Callable[[Foreign], Iterator[Finding]], ...] = (frames, another_subnet, received_traffic_class)
