"""TTL, DSCP, ECN and ID of the outer header, and what comes in from it again (O8, RFC 2983, RFC 6040, RFC 9601)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from experiments.conformance.lab import NOBODY, Lab, Shot, distinct, mark
from experiments.conformance.peer import Peer
from experiments.conformance.rows import Finding
from nvgre_node.choices import COPY, Ecn
from nvgre_node.outer import Outer
from nvgre_node.policy import Nve

INNER_DSCP, OUTER_DSCP = 10, 46  # AF11, EF
ECN_NAMES = ("Not-ECT", "ECT(1)", "ECT(0)", "CE")  # by codepoint
_NOT_ECT, _ECT_1, _ECT_0, _CE = range(4)
# RFC 6040 section 4.2, by inner ECN: what goes on for an outer Not-ECT, ECT(1), ECT(0) and CE; None: it is dropped.
EGRESS = {
    _NOT_ECT: (_NOT_ECT, _NOT_ECT, _NOT_ECT, None),
    _ECT_1: (_ECT_1, _ECT_1, _ECT_1, _CE),
    _ECT_0: (_ECT_0, _ECT_1, _ECT_0, _CE),
    _CE: (_CE, _CE, _CE, _CE),
}


def packet(lab: Lab, version: int, dscp: int, ecn: int) -> Packet:
    """A UDP packet of the sender for the receiver, from nobody's address, so that nobody answers; without its mark."""
    if version == 4:
        return lab.ethernet(type=0x0800) / IP(src="192.0.2.1", dst="192.0.2.2", tos=dscp << 2 | ecn) / UDP(chksum=0)
    return lab.ethernet(type=0x86DD) / IPv6(src="2001:db8::1", dst="2001:db8::2", tc=dscp << 2 | ecn, nh=59)


def sent(lab: Lab) -> Iterator[Finding]:
    """O8: the header that a frame gets on its way out, for each inner ECN, and for what is not IP."""
    nve = lab.policy.nve(lab.sender.host)
    kinds = {f"IPv{v}, {ECN_NAMES[ecn]}": (v, ecn) for v in (4, 6) for ecn in range(4)}
    shots = lab.say(*(packet(lab, v, INNER_DSCP, ecn) / mark() for v, ecn in kinds.values()), lab.ethernet() / mark())
    yield _all(lab, shots, f"TTL {nve.ttl}", lambda outer: f"TTL {outer.ttl}")
    if lab.outer_version == 4:  # RFC 6864 section 4.1: the ID of what is never fragmented says nothing
        yield _all(lab, shots, "ID 0", lambda outer: f"ID {int.from_bytes(outer.header[4:6], 'big')}")
    dscp = INNER_DSCP if nve.dscp == COPY else nve.dscp
    yield _all(lab, shots[:-1], _dscp(nve, dscp), lambda outer: _dscp(nve, outer.traffic_class >> 2))
    yield _all(lab, shots[-1:], f"not IP, {ECN_NAMES[_NOT_ECT]} out", lambda outer: f"not IP, {_ecn(outer)} out")
    for what, shot in zip(kinds, shots, strict=False):
        ecn = kinds[what][1] if nve.ecn is Ecn.COPY else _NOT_ECT
        said, seen = f"a packet of {lab.sender.name}, {what}", distinct(map(_ecn, shot.carriers(lab.sender.host)))
        yield Finding("O8", f"ECN {nve.ecn}, {what} out", said, ECN_NAMES[ecn], seen)


def _dscp(nve: Nve, value: int) -> str:
    return f"{'uniform' if nve.dscp == COPY else 'pipe'} model, DSCP {value} out"


def _ecn(outer: Outer) -> str:
    return ECN_NAMES[outer.traffic_class & 3]


def marked(lab: Peer, inner: Packet, ecn: int) -> Packet:
    """An inner frame in a packet with this outer ECN."""
    return lab.nvgre(inner, **{"tos" if lab.outer_version == 4 else "tc": OUTER_DSCP << 2 | ecn})


def _all(lab: Lab, shots: list[Shot], expected: str, read: Callable[[Outer], str]) -> Finding:
    seen = distinct(read(outer) for shot in shots for outer in shot.carriers(lab.sender.host))
    return Finding("O8", expected, f"{len(shots)} frames of {lab.sender.name}", expected, seen)


def received(lab: Lab) -> Iterator[Finding]:
    """O8: each cell of RFC 6040 section 4.2, for either inner IP version; and the DSCP that comes in, or does not."""
    nve = lab.policy.nve(lab.receiver.host)
    dscp = OUTER_DSCP if nve.dscp == COPY else INNER_DSCP
    for version in (4, 6):
        for inner, row in EGRESS.items():
            for outer, cell in enumerate(row):
                what = f"IPv{version}, {ECN_NAMES[inner]} in {ECN_NAMES[outer]}"
                yield _received(lab, what, version, (inner, outer), None if cell is None else dscp << 2 | cell)
    plain = bytes(lab.ethernet() / mark())
    (shot,) = lab.inject(marked(lab, Ether(plain), _CE))
    yield Finding(
        "O8", "not IP, in CE", "an experimental EtherType", lab.to_receiver, shot.recovered(plain), shot.reason
    )


def _received(lab: Lab, what: str, version: int, ecn: tuple[int, int], wanted: int | None) -> Finding:
    """One cell: the inner packet arrives with the traffic class that is wanted, and is otherwise unchanged."""
    inner, outer = ecn
    payload = mark()
    (shot,) = lab.inject(marked(lab, packet(lab, version, INNER_DSCP, inner) / payload, outer))
    said = f"{what}; inner DSCP {INNER_DSCP}, outer {OUTER_DSCP}"
    if wanted is None:
        return Finding("O8", what, said, NOBODY, shot.delivered, shot.reason)
    arrived = bytes(packet(lab, version, wanted >> 2, wanted & 3) / payload)
    as_wanted = f" with DSCP {wanted >> 2} and {ECN_NAMES[wanted & 3]}"
    observed = shot.recovered(arrived)
    return Finding("O8", what, said, lab.to_receiver + as_wanted, observed + as_wanted * ("changed" not in observed))


OTHER_TTL = 255


def otherwise(lab: Lab) -> Iterator[Finding]:
    """O8: NVEs that were told another TTL, the uniform model, or ECN's compatibility mode."""
    yield from sent(lab)
    for version in (4, 6) if lab.policy.nve(lab.receiver.host).dscp == COPY else ():
        yield _received(lab, f"uniform model, IPv{version}", version, (_ECT_0, _NOT_ECT), OUTER_DSCP << 2 | _ECT_0)


ROWS: tuple[Callable[[Lab], Iterator[Finding]], ...] = (sent, received)
