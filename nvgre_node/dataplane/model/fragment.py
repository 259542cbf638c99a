"""Fragments of IP packets (RFC 791 section 3.2, RFC 8200 section 4.5): what does not fit is cut. Pure."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from zlib import crc32

from nvgre_node.dataplane.model.headers import DF, OFFSET, checksum, ethertype, with_checksum
from nvgre_node.wire import ETHERNET_BYTES, ETHERTYPE_IPV4, FRAGMENT_HEADER, IPV4_BYTES, IPV6_BYTES

MF = 0x2000
UNIT = 8  # bytes that an offset counts, and those of an IPv6 fragment header


def is_fragmentable(frame: bytes, largest: int) -> bool:
    """Whether the packet in a frame may be cut into packets of at most `largest` bytes.

    It is sound IPv4 without DF, and has no options: those would have to be sorted into what each fragment needs.
    """
    packet = frame[ETHERNET_BYTES:]
    if ethertype(frame) != ETHERTYPE_IPV4 or len(packet) < IPV4_BYTES or packet[0] != 0x45:
        return False
    total, word = struct.unpack("!H2xH", packet[2:8])
    if word & DF or total != len(packet) or checksum(packet[:IPV4_BYTES]) != 0:
        return False
    return (word & OFFSET) + (total - IPV4_BYTES) // UNIT <= OFFSET and largest >= IPV4_BYTES + UNIT


def fragments(packet: bytes, largest: int) -> Iterator[bytes]:
    """An IPv4 packet without options as packets of at most `largest` bytes; one that is a fragment is cut again."""
    header, payload = packet[:IPV4_BYTES], packet[IPV4_BYTES:]
    room = (largest - IPV4_BYTES) // UNIT * UNIT
    (word,) = struct.unpack("!H", header[6:8])
    while len(payload) + IPV4_BYTES > largest:
        yield _with_length(header, len(payload[:room]), word | MF) + payload[:room]
        payload, word = payload[room:], word + room // UNIT
    yield _with_length(header, len(payload), word) + payload


def _with_length(header: bytes, payload: int, word: int) -> bytes:
    changed = struct.pack("!2sHHHH2x8s", header[:2], IPV4_BYTES + payload, *struct.unpack("!H", header[4:6]), word,
                          *struct.unpack("!H", header[8:10]), header[12:])  # fmt: skip
    return with_checksum(changed, 10, checksum(changed))


def without_df(header: bytes, identification: int) -> bytes:
    """An outer IPv4 header that allows fragments, which RFC 7637 wants to avoid (F5), and can tell whose they are."""
    changed = header[:4] + struct.pack("!HH", identification, 0) + header[8:]
    return with_checksum(changed, 10, checksum(with_checksum(changed, 10, 0)))


def outer_fragments(frame: bytes, largest: int) -> Iterator[bytes]:
    """An outer packet as frames with packets of at most `largest` bytes: against F1."""
    ethernet, packet = frame[:ETHERNET_BYTES], frame[ETHERNET_BYTES:]
    cut = fragments if ethertype(frame) == ETHERTYPE_IPV4 else fragments6
    return (ethernet + piece for piece in cut(packet, largest))


def fragments6(packet: bytes, largest: int) -> Iterator[bytes]:
    """An IPv6 packet that is too large as packets of at most `largest` bytes, by its source."""
    header, payload, identification = packet[:IPV6_BYTES], packet[IPV6_BYTES:], crc32(packet)
    room = (largest - IPV6_BYTES - UNIT) // UNIT * UNIT
    for at in range(0, len(payload), room):
        part = payload[at : at + room]
        extension = struct.pack("!BxHI", header[6], at | (at + room < len(payload)), identification)
        length = struct.pack("!HB", UNIT + len(part), FRAGMENT_HEADER)
        yield header[:4] + length + header[7:] + extension + part
