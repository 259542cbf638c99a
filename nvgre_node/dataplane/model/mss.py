"""TCP's maximum segment size, lowered in passing: both ends then send what fits, whoever is told what. Pure.

The NVE of the VM that sends a SYN or SYN/ACK lowers the option; each direction's passes one, so that one NVE of two is
enough. A packet without the option (RFC 9293: 536 bytes, or 1220) is left as it is, as are fragments and TCP behind
IPv6 extension headers, and whatever is flooded.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from nvgre_node.dataplane.model.headers import FRAGMENT, changed_checksum, ethertype, with_checksum
from nvgre_node.wire import ETHERNET_BYTES, ETHERTYPE_IPV4, ETHERTYPE_IPV6, IPV4_BYTES, IPV6_BYTES

TCP = 6
TCP_BYTES = 20  # without options
SYN, RST = 0x02, 0x04
END_OF_OPTIONS, NO_OPERATION, MSS = 0, 1, 2
_CHECKSUM_AT = 16


def clamped(frame: bytes, largest: int) -> bytes:
    """The frame; where it opens a TCP connection, with no MSS above what an IP packet of `largest` bytes holds."""
    start, end = tcp_header(frame)
    if not start or end > len(frame) or len(frame) < start + TCP_BYTES:
        return frame
    offset, flags = frame[start + 12] >> 4, frame[start + 13]
    headers = (IPV4_BYTES if ethertype(frame) == ETHERTYPE_IPV4 else IPV6_BYTES) + TCP_BYTES  # RFC 6691: no options
    if flags & (SYN | RST) != SYN or start + offset * 4 > end or largest <= headers:
        return frame
    for at in mss_values(frame, start + TCP_BYTES, start + offset * 4):
        frame = lowered(frame, start, at, largest - headers)
    return frame


def tcp_header(frame: bytes) -> tuple[int, int]:
    """Where TCP starts and its IP packet ends, as offsets into the frame; (0, 0) if this is no unfragmented TCP."""
    if ethertype(frame) == ETHERTYPE_IPV4 and len(frame) >= ETHERNET_BYTES + IPV4_BYTES:
        header, fragment = (frame[14] & 0xF) * 4, int.from_bytes(frame[20:22], "big") & FRAGMENT
        if frame[23] == TCP and header >= IPV4_BYTES and not fragment:
            return ETHERNET_BYTES + header, ETHERNET_BYTES + int.from_bytes(frame[16:18], "big")
    if ethertype(frame) == ETHERTYPE_IPV6 and len(frame) >= ETHERNET_BYTES + IPV6_BYTES and frame[20] == TCP:
        start = ETHERNET_BYTES + IPV6_BYTES
        return start, start + int.from_bytes(frame[18:20], "big")
    return 0, 0


def mss_values(frame: bytes, at: int, end: int) -> Iterator[int]:
    """Where the values of MSS options are. Options that contradict themselves end the search (RFC 9293 section 3.1)."""
    while at < end and frame[at] != END_OF_OPTIONS:
        if frame[at] == NO_OPERATION:
            at += 1
            continue
        length = frame[at + 1] if at + 1 < end else 0
        if length < 2 or at + length > end:
            return
        if (frame[at], length) == (MSS, 4):
            yield at + 2
        at += length


def lowered(frame: bytes, tcp: int, at: int, most: int) -> bytes:
    """The frame with the MSS at an offset lowered, never raised, and its checksum mended (RFC 1624)."""
    was = int.from_bytes(frame[at : at + 2], "big")
    if was <= most:
        return frame
    old, new = struct.pack("!H", was), struct.pack("!H", most)
    frame = frame[:at] + new + frame[at + 2 :]
    if (at - tcp) % 2:  # the sum is over words from an even offset on: there, the two bytes are far from each other
        old, new = old[::-1], new[::-1]
    before = int.from_bytes(frame[tcp + _CHECKSUM_AT : tcp + _CHECKSUM_AT + 2], "big")
    after = changed_checksum(before, int.from_bytes(old, "big"), int.from_bytes(new, "big"))
    return with_checksum(frame, tcp + _CHECKSUM_AT, after)
