"""What does not fit: never fragmented (F1), and its sender is told which packet would fit. Pure."""

from __future__ import annotations

import struct

from nvgre_node.dataplane.base import Drop
from nvgre_node.dataplane.model.headers import ICMP, ICMPV6, OFFSET, OUTER_TTL, checksum, ethertype, ipv4, with_checksum
from nvgre_node.dataplane.model.state import Result, State
from nvgre_node.policy import TooBig
from nvgre_node.wire import ETHERNET_BYTES, ETHERTYPE_IPV4, ETHERTYPE_IPV6, IPV4_BYTES, OVERHEAD_IPV4

QUOTE_BYTES = 128  # of a packet that does not fit, in the ICMP error about it


def too_big(state: State, port: str, vsid: int, frame: bytes, mtu: int) -> Result:
    """Drops a frame that does not fit, and tells its sender which packet would (RFC 1191, RFC 8201, RFC 7588)."""
    counted = {(vsid, Drop.TOO_BIG.name): 1}
    answer = None
    if state.policy.nve.too_big is TooBig.TELL and len(frame) >= ETHERNET_BYTES + QUOTE_BYTES:
        build = {ETHERTYPE_IPV4: answer4, ETHERTYPE_IPV6: answer6}.get(ethertype(frame))
        answer = build(frame[ETHERNET_BYTES:], mtu - OVERHEAD_IPV4) if build else None
    if answer is None:
        return Result(counted=counted)
    ethernet = frame[6:12] + frame[:6] + frame[12:14]
    return Result(out=((port, ethernet + answer),), counted=counted | {(vsid, "told_too_big"): 1})


def answer4(packet: bytes, mtu: int) -> bytes | None:
    """ICMP "fragmentation needed" from the destination, or None where RFC 1122 section 3.2.2 forbids an answer."""
    source, destination = packet[12], packet[16]  # first bytes: neither may stand for many hosts, nor for none
    if source == 0 or source >= 224 or destination >= 224:
        return None
    header = (packet[0] & 0xF) * 4
    is_error = packet[9] == ICMP and (len(packet) <= header or packet[header] not in {0, 8})
    if int.from_bytes(packet[6:8], "big") & OFFSET or is_error:
        return None
    message = struct.pack("!BBHI", 3, 4, 0, mtu) + packet[:QUOTE_BYTES]
    message = with_checksum(message, 2, checksum(message))
    return ipv4(packet[16:20], packet[12:16], ICMP, IPV4_BYTES + len(message), 0) + message


def answer6(packet: bytes, mtu: int) -> bytes | None:
    """ICMPv6 "packet too big" from the destination, or None where RFC 4443 section 2.4 (e) forbids an answer."""
    sender = packet[8:24]
    if (packet[6] == ICMPV6 and packet[40] < 128) or sender[0] == 0xFF or not any(sender):
        return None
    message = struct.pack("!BBHI", 2, 0, 0, mtu) + packet[:QUOTE_BYTES]
    source, destination = packet[24:40], sender
    pseudo = source + destination + struct.pack("!II", len(message), ICMPV6)
    message = with_checksum(message, 2, checksum(pseudo + message))
    return struct.pack("!IHBB", 6 << 28, len(message), ICMPV6, OUTER_TTL) + source + destination + message
