"""Reading and writing the headers of Ethernet and IP, and the checksums of the Internet. Pure; knows no policy."""

from __future__ import annotations

import struct

from nvgre_node.wire import ETHERNET_BYTES, TAG_ETHERTYPES

ANSWER_TTL = 64  # of ICMP answers into a VM
MAX_TAGS = 4
TAG_BYTES = 4
MOVABLE_TAGS = frozenset({0x8100, 0x88A8})  # those that can be taken off
ICMP, ICMPV6 = 1, 58
DF, FRAGMENT, OFFSET = 0x4000, 0x3FFF, 0x1FFF  # in the word that holds IPv4's flags and fragment offset


def ethertype(frame: bytes) -> int:
    """The EtherType of a frame, or 0 where it is too short to have one."""
    return int.from_bytes(frame[12:14], "big") if len(frame) >= ETHERNET_BYTES else 0


def is_group(mac: bytes) -> bool:
    """Whether an Ethernet address is broadcast or multicast."""
    return bool(mac[0] & 1)


def kept_tags(frame: bytes) -> bytes | None:
    """The frame as it is (against I5), or None where it has more tags than can be kept, or a broken one."""
    return None if ethertype(without_tags(frame)) in MOVABLE_TAGS else frame


def strip_tags(frame: bytes) -> bytes | None:
    """The frame without 802.1Q and 802.1ad tags (I4, I5), or None where a tag is left that cannot be taken off."""
    rest = without_tags(frame)
    return None if ethertype(rest) in TAG_ETHERTYPES else rest


def without_tags(frame: bytes) -> bytes:
    """The frame without its first 802.1Q and 802.1ad tags: as many as can be taken off."""
    for _ in range(MAX_TAGS):
        if ethertype(frame) in MOVABLE_TAGS and len(frame) >= ETHERNET_BYTES + TAG_BYTES:
            frame = frame[:12] + frame[16:]
    return frame


def ipv4(
    source: bytes,
    destination: bytes,
    protocol: int,
    length: int,
    *,
    flags: int = 0,
    ttl: int = ANSWER_TTL,
    traffic_class: int = 0,
    identification: int = 0,
) -> bytes:
    """An IPv4 header without options, with its checksum."""
    first = struct.pack("!BBHHH", 0x45, traffic_class, length, identification, flags)
    header = first + struct.pack("!BBH", ttl, protocol, 0) + source + destination
    return with_checksum(header, 10, checksum(header))


def ipv6(
    source: bytes, destination: bytes, protocol: int, length: int, *, ttl: int = ANSWER_TTL, traffic_class: int = 0
) -> bytes:
    """An IPv6 header in front of `length` bytes, with flow label 0; the TTL is its hop limit."""
    return struct.pack("!IHBB", 6 << 28 | traffic_class << 20, length, protocol, ttl) + source + destination


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071): 0 over data that carries its own."""
    padded = data + bytes(len(data) % 2)
    return _folded(sum(struct.unpack(f"!{len(padded) // 2}H", padded)))


def changed_checksum(value: int, old: int, new: int) -> int:
    """A checksum after a 16-bit word of its data changed (RFC 1624): as wrong as before, if it was wrong."""
    return _folded((value ^ 0xFFFF) + (old ^ 0xFFFF) + new)


def _folded(total: int) -> int:
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def with_checksum(data: bytes, offset: int, value: int) -> bytes:
    """The data with a 16-bit checksum written at an offset."""
    return data[:offset] + struct.pack("!H", value) + data[offset + 2 :]
