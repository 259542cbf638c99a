"""Fragments of IPv4 packets (RFC 791 section 3.2): what does not fit is cut, where its sender allows that. Pure."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from nvgre_node.dataplane.model.headers import DF, OFFSET, checksum, ethertype, with_checksum
from nvgre_node.wire import ETHERNET_BYTES, ETHERTYPE_IPV4, IPV4_BYTES

MF = 0x2000
UNIT = 8  # bytes that an offset counts


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
