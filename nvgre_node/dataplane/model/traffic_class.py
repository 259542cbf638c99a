"""DSCP and ECN between the inner and the outer IP header (RFC 2983, RFC 6040, RFC 9601 section 6). Pure.

A traffic class is the byte that IPv4 once called type of service: DSCP in its upper six bits, ECN in its lower two. The
two are treated apart (RFC 9601 section 4). What holds no IP packet has neither: its outer header says 0, and what an
outer header says is lost on it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from nvgre_node.choices import COPY, Deviation, Ecn
from nvgre_node.dataplane.model.headers import changed_checksum, ethertype, with_checksum
from nvgre_node.policy import Nve
from nvgre_node.wire import ETHERNET_BYTES, ETHERTYPE_IPV4, ETHERTYPE_IPV6, IPV4_BYTES, IPV6_BYTES

NOT_ECT, ECT_1, ECT_0, CE = 0b00, 0b01, 0b10, 0b11
ECN_MASK = 0b11

EGRESS: Mapping[int, Mapping[int, int | None]] = {
    NOT_ECT: {NOT_ECT: NOT_ECT, ECT_0: NOT_ECT, ECT_1: NOT_ECT, CE: None},
    ECT_0: {NOT_ECT: ECT_0, ECT_0: ECT_0, ECT_1: ECT_1, CE: CE},
    ECT_1: {NOT_ECT: ECT_1, ECT_0: ECT_1, ECT_1: ECT_1, CE: CE},
    CE: {NOT_ECT: CE, ECT_0: CE, ECT_1: CE, CE: CE},
}
"""The table of RFC 6040 section 4.2: by inner, then by outer ECN, that which goes on. None: the packet is dropped."""


def inner_traffic_class(frame: bytes) -> int | None:
    """The traffic class of the IP packet in a frame, or None where there is no whole IP header."""
    packet = frame[ETHERNET_BYTES:]
    version = packet[0] >> 4 if packet else 0
    if (ethertype(frame), version) == (ETHERTYPE_IPV4, 4) and len(packet) >= IPV4_BYTES:
        return packet[1]
    if (ethertype(frame), version) == (ETHERTYPE_IPV6, 6) and len(packet) >= IPV6_BYTES:
        return (packet[0] << 4 | packet[1] >> 4) & 0xFF
    return None


def outer_traffic_class(nve: Nve, frame: bytes) -> int:
    """What the outer header of a frame gets: a DSCP of its own or the inner one, and the inner ECN or Not-ECT."""
    inner = inner_traffic_class(frame) or 0
    dscp = inner & ~ECN_MASK if nve.dscp == COPY else nve.dscp << 2
    ecn = inner & ECN_MASK if nve.ecn is Ecn.COPY else NOT_ECT
    return dscp | (ECT_0 if ecn == CE and Deviation.HIDES_CE in nve.deviations else ecn)


def with_outer_traffic_class(nve: Nve, outer: int, frame: bytes) -> bytes | None:
    """The inner frame with what its outer header says of congestion, or None where it must be dropped for that.

    In the uniform model the outer DSCP goes in as well; in the pipe model the inner one stays as the tenant set it.
    """
    inner = inner_traffic_class(frame)
    if inner is None:
        return frame
    ecn = EGRESS[inner & ECN_MASK][outer & ECN_MASK]
    if ecn is None:
        return None
    if outer & ECN_MASK == ECT_1 and Deviation.IGNORES_ECT1 in nve.deviations:
        ecn = inner & ECN_MASK
    dscp = (outer if nve.dscp == COPY else inner) & ~ECN_MASK
    return with_traffic_class(frame, dscp | ecn)


def with_traffic_class(frame: bytes, traffic_class: int) -> bytes:
    """A frame with an IP packet, in which the traffic class is another; IPv4's checksum follows (RFC 1624)."""
    (word,) = struct.unpack_from("!H", frame, ETHERNET_BYTES)
    if ethertype(frame) == ETHERTYPE_IPV6:
        return _with_word(frame, word & 0xF00F | traffic_class << 4)
    changed = word & 0xFF00 | traffic_class
    if changed == word:
        return frame
    at = ETHERNET_BYTES + 10
    (old,) = struct.unpack_from("!H", frame, at)
    return with_checksum(_with_word(frame, changed), at, changed_checksum(old, word, changed))


def _with_word(frame: bytes, word: int) -> bytes:
    return frame[:ETHERNET_BYTES] + struct.pack("!H", word) + frame[ETHERNET_BYTES + 2 :]
