"""ICMP and ICMPv6 errors about packets that go nowhere: what they say and quote, and when there must be none. Pure."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from nvgre_node.dataplane.model.headers import (
    ANSWER_TTL,
    ICMP,
    ICMPV6,
    OFFSET,
    checksum,
    ethertype,
    ipv4,
    with_checksum,
)
from nvgre_node.dataplane.model.state import State
from nvgre_node.policy import Port
from nvgre_node.routing import ROUTER_MAC
from nvgre_node.wire import ETHERNET_BYTES, ETHERTYPE_IPV4, ETHERTYPE_IPV6, IPV4_BYTES, IPV6_BYTES, octets

QUOTE_BYTES = 128  # of the offending packet: the headers that a sender needs to find its socket
_VERSIONS = {ETHERTYPE_IPV4: 4, ETHERTYPE_IPV6: 6}
_HEADER_BYTES = 8
_ECHO_REPLY, _ECHO = 0, 8
_INFORMATIONAL6, _REDIRECT6 = 128, 137


@dataclass(frozen=True)
class Error:
    """What an error says: type and code in ICMP and in ICMPv6, and the MTU (bytes of IP packet) if it is about that."""

    icmp: tuple[int, int]
    icmpv6: tuple[int, int]
    mtu: int = 0


def error_about(state: State, port: Port, frame: bytes, error: Error) -> bytes | None:
    """The frame that tells a sender what became of its own, or None where none may.

    It comes from the addresses to which the frame was sent, as RFC 7588 wants of a tunnel. If that was the router, it
    comes from the router's own in the sender's subnet, be the frame sent there or already on its way from there.
    """
    packet, version = frame[ETHERNET_BYTES:], _VERSIONS.get(ethertype(frame))
    if version is None:
        return None
    ethernet, source = frame[6:12] + frame[:6], packet[16:20] if version == 4 else packet[24:40]
    router = state.policy.router(port.vsid)
    if router and octets(ROUTER_MAC) in {frame[:6], frame[6:12]}:
        own = router.address(version)
        if own is None:
            return None
        ethernet, source = octets(port.mac) + octets(ROUTER_MAC), own.packed
    answer = (_about4 if version == 4 else _about6)(packet, source, error)
    return ethernet + frame[12:14] + answer if answer else None


def _about4(packet: bytes, answerer: bytes, error: Error) -> bytes | None:
    """None where RFC 1122 section 3.2.2 forbids an answer."""
    if len(packet) < IPV4_BYTES:
        return None
    source, destination = packet[12], packet[16]  # first bytes: neither may stand for many hosts, nor for none
    if source == 0 or source >= 224 or destination >= 224:
        return None
    if int.from_bytes(packet[6:8], "big") & OFFSET:
        return None
    header = (packet[0] & 0xF) * 4
    if packet[9] == ICMP and (len(packet) < header + _HEADER_BYTES or packet[header] not in {_ECHO_REPLY, _ECHO}):
        return None
    message = struct.pack("!BBHI", *error.icmp, 0, error.mtu) + packet[:QUOTE_BYTES]
    message = with_checksum(message, 2, checksum(message))
    return ipv4(answerer, packet[12:16], ICMP, IPV4_BYTES + len(message)) + message


def _about6(packet: bytes, answerer: bytes, error: Error) -> bytes | None:
    """None where RFC 4443 section 2.4 (e) forbids an answer."""
    if len(packet) < IPV6_BYTES or packet[8] == 0xFF or not any(packet[8:24]):
        return None
    if packet[6] == ICMPV6 and not _is_informational(packet[IPV6_BYTES:]):
        return None
    message = struct.pack("!BBHI", *error.icmpv6, 0, error.mtu) + packet[:QUOTE_BYTES]
    source, destination = answerer, packet[8:24]
    pseudo = source + destination + struct.pack("!II", len(message), ICMPV6)
    message = with_checksum(message, 2, checksum(pseudo + message))
    return struct.pack("!IHBB", 6 << 28, len(message), ICMPV6, ANSWER_TTL) + source + destination + message


def _is_informational(message: bytes) -> bool:
    return len(message) >= _HEADER_BYTES and message[0] >= _INFORMATIONAL6 and message[0] != _REDIRECT6
