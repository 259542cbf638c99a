"""What a machine says that has changed its place: ARP announcements and unsolicited Neighbour Advertisements. Pure."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from ipaddress import IPv6Address

from nvgre_node.dataplane.model.headers import ICMPV6, checksum, ipv6, with_checksum
from nvgre_node.dataplane.model.source_check import NEIGHBOUR_ADVERTISEMENT
from nvgre_node.policy import Address
from nvgre_node.wire import ETHERTYPE_ARP, ETHERTYPE_IPV6, octets

_ARP_REQUEST = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)
_OVERRIDE, _HOP_LIMIT = 0x20, 255
_TARGET_LINK_LAYER_ADDRESS = b"\x02\x01"
_BROADCAST = b"\xff" * 6
_ALL_NODES, _ALL_NODES_MAC = IPv6Address("ff02::1").packed, bytes.fromhex("333300000001")


def announcements(mac: str, addresses: Iterable[Address]) -> Iterator[bytes]:
    """A frame per address of a machine: to everyone in its virtual subnet (RFC 5227 section 3, RFC 4861 7.2.6)."""
    own = octets(mac)
    for address in addresses:
        yield _arp(own, address.packed) if address.version == 4 else _advertisement(own, address.packed)


def _arp(mac: bytes, address: bytes) -> bytes:
    return _BROADCAST + mac + struct.pack("!H", ETHERTYPE_ARP) + _ARP_REQUEST + mac + address + bytes(6) + address


def _advertisement(mac: bytes, address: bytes) -> bytes:
    message = struct.pack("!BBHB3x", NEIGHBOUR_ADVERTISEMENT, 0, 0, _OVERRIDE) + address
    message += _TARGET_LINK_LAYER_ADDRESS + mac
    pseudo_header = address + _ALL_NODES + struct.pack("!II", len(message), ICMPV6)
    summed = with_checksum(message, 2, checksum(pseudo_header + message))
    ethernet = _ALL_NODES_MAC + mac + struct.pack("!H", ETHERTYPE_IPV6)
    return ethernet + ipv6(address, _ALL_NODES, ICMPV6, len(message), ttl=_HOP_LIMIT) + summed
