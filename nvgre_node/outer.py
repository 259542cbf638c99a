"""Reads the outer headers of packets on the underlay, for who looks at NVGRE from outside. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from nvgre_node.policy import Address
from nvgre_node.wire import (
    ETHERNET_BYTES,
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    FRAGMENT_HEADER,
    GRE_PROTOCOL,
    HEADER_BYTES,
    IPV4_BYTES,
    IPV6_BYTES,
    TAG_ETHERTYPES,
)


@dataclass(frozen=True)
class Outer:
    """An IP packet: its header, and `payload`, what follows it to the end of the packet (in a fragment: its part)."""

    source: Address
    destination: Address
    protocol: int
    header: bytes
    payload: bytes

    @property
    def version(self) -> int:
        """Its IP version."""
        return self.source.version

    @property
    def length(self) -> int:
        """Bytes of the whole IP packet."""
        return len(self.header) + len(self.payload)

    @property
    def traffic_class(self) -> int:
        """DSCP and ECN (O8)."""
        return self.header[1] if self.version == 4 else (self.header[0] << 4 | self.header[1] >> 4) & 0xFF

    @property
    def ttl(self) -> int:
        """TTL, or hop limit (O8)."""
        return self.header[8] if self.version == 4 else self.header[7]

    @property
    def is_gre(self) -> bool:
        """Whether it carries GRE (O1)."""
        return self.protocol == GRE_PROTOCOL

    @property
    def is_fragment(self) -> bool:
        """Whether it is a part of a larger packet (F1)."""
        if self.version == 6:
            return self.protocol == FRAGMENT_HEADER
        return bool(int.from_bytes(self.header[6:8], "big") & 0x3FFF)

    @property
    def gre(self) -> bytes:
        """The eight bytes of NVGRE's header."""
        return self.payload[:HEADER_BYTES]

    @property
    def key(self) -> int:
        """The 32-bit GRE key: VSID and FlowID."""
        return int.from_bytes(self.payload[4:8], "big")

    @property
    def inner(self) -> bytes:
        """The inner frame."""
        return self.payload[HEADER_BYTES:]


def outer_of(frame: bytes) -> Outer | None:
    """The IP packet in an Ethernet frame, behind any tags (O4); None if there is none that is whole."""
    at = ETHERNET_BYTES
    while int.from_bytes(frame[at - 2 : at], "big") in TAG_ETHERTYPES:
        at += 4
    ethertype, packet = int.from_bytes(frame[at - 2 : at], "big"), frame[at:]
    if ethertype == ETHERTYPE_IPV4 and len(packet) >= IPV4_BYTES:
        options, total = (packet[0] & 0xF) * 4, int.from_bytes(packet[2:4], "big")
        source, destination = IPv4Address(packet[12:16]), IPv4Address(packet[16:20])
        return Outer(source, destination, packet[9], packet[:options], packet[options:total])
    if ethertype == ETHERTYPE_IPV6 and len(packet) >= IPV6_BYTES:
        total = IPV6_BYTES + int.from_bytes(packet[4:6], "big")
        source6, destination6 = IPv6Address(packet[8:24]), IPv6Address(packet[24:40])
        return Outer(source6, destination6, packet[6], packet[:IPV6_BYTES], packet[IPV6_BYTES:total])
    return None
