"""The distributed router: IP packets to its MAC address go on into the virtual subnet of their destination (X6). Pure.

Every NVE routes what its own VMs send, and nothing that comes from the wire: a routed packet travels once, to the
destination's host, with the destination's VSID. Routes, records and addresses are those of the sender's routing domain,
so no packet can name another tenant's. A host that has no port in the destination's virtual subnet needs none.

What IP asks of a router (RFC 1812, RFC 8200): the header must be sound, the TTL is decremented, addresses that stay on
their link are not routed, and senders are told what cannot be delivered, from the router's address in their subnet and
within the limits of `icmp`. It answers echo requests to its addresses; nothing else listens there. IP options and
extension headers stay as they are. It sends no redirects, and never asks who has a CA: one that no record knows is
unreachable, `l2only` records or not.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from nvgre_node.dataplane.base import Drop
from nvgre_node.dataplane.model.headers import ANSWER_TTL, FRAGMENT, ICMP, ICMPV6, checksum, ethertype, with_checksum
from nvgre_node.dataplane.model.icmp import Error, error_about
from nvgre_node.dataplane.model.state import Result, State, dropped
from nvgre_node.dataplane.model.vlan import handed
from nvgre_node.policy import Address, Port
from nvgre_node.routing import ROUTER_MAC, RouterInterface, look_up
from nvgre_node.wire import ETHERNET_BYTES, ETHERTYPE_IPV4, ETHERTYPE_IPV6, IPV4_BYTES, IPV6_BYTES, octets

ROUTER = octets(ROUTER_MAC)
NETWORK_UNREACHABLE = Error(icmp=(3, 0), icmpv6=(1, 0))
HOST_UNREACHABLE = Error(icmp=(3, 1), icmpv6=(1, 3))
PORT_UNREACHABLE = Error(icmp=(3, 3), icmpv6=(1, 4))
TIME_EXCEEDED = Error(icmp=(11, 0), icmpv6=(3, 0))
_ECHO_BYTES, _ECHO, _ECHO6 = 8, b"\x08\x00", b"\x80\x00"  # type and code


@dataclass(frozen=True)
class Packet:
    """What a router reads of an IP packet."""

    source: Address
    destination: Address
    hops: int


@dataclass(frozen=True)
class NextHop:
    """Where a routed frame goes on: a MAC address in a virtual subnet."""

    vsid: int
    mac: bytes
    frame: bytes


def route(state: State, port: Port, router: RouterInterface, frame: bytes) -> NextHop | Result:
    """The next hop of a frame that a VM sent to the router, with the frame as it goes there; or what becomes of it."""
    packet = read(frame)
    if packet is None:
        return dropped(port.vsid, Drop.MALFORMED)
    if not (is_routable(packet.source) and is_routable(packet.destination)):
        return dropped(port.vsid, Drop.MARTIAN)
    found = look_up(state.policy.routes, router.domain, packet.destination)
    if found is None:
        return refused(state, port, frame, Drop.NO_CUSTOMER_ROUTE, NETWORK_UNREACHABLE)
    target = found.next_hop or packet.destination
    interface = state.policy.router(found.vsid)
    if interface and target in interface.addresses:
        return to_router(state, port, frame)
    if packet.hops <= 1:
        return refused(state, port, frame, Drop.TTL_EXCEEDED, TIME_EXCEEDED)
    record = state.record_of_ca(found.vsid, target)
    if record is None:
        return refused(state, port, frame, Drop.UNKNOWN_NEIGHBOUR, HOST_UNREACHABLE)
    mac = octets(record.mac)
    return NextHop(found.vsid, mac, mac + ROUTER + frame[12:14] + one_hop_less(frame))


def read(frame: bytes) -> Packet | None:
    """The IP packet in a frame, or None where there is none that is sound."""
    packet = frame[ETHERNET_BYTES:]
    if ethertype(frame) == ETHERTYPE_IPV4 and len(packet) >= IPV4_BYTES and packet[0] >> 4 == 4:
        header, total = (packet[0] & 0xF) * 4, int.from_bytes(packet[2:4], "big")
        if not IPV4_BYTES <= header <= total <= len(packet) or checksum(packet[:header]):
            return None
        return Packet(IPv4Address(packet[12:16]), IPv4Address(packet[16:20]), packet[8])
    if ethertype(frame) == ETHERTYPE_IPV6 and len(packet) >= IPV6_BYTES and packet[0] >> 4 == 6:
        if IPV6_BYTES + int.from_bytes(packet[4:6], "big") > len(packet):
            return None
        return Packet(IPv6Address(packet[8:24]), IPv6Address(packet[24:40]), packet[7])
    return None


def is_routable(address: Address) -> bool:
    """Whether an address is one of a host beyond its link (RFC 1812 section 5.3.7, RFC 3927, RFC 4291 section 2.5)."""
    first, second = address.packed[:2]
    if address.version == 4:
        return first not in {0, 127} and first < 224 and (first, second) != (169, 254)
    return first != 0xFF and not (first == 0xFE and second & 0xC0 == 0x80) and int(address) > 1


def refused(state: State, port: Port, frame: bytes, reason: Drop, error: Error) -> Result:
    """Drops a frame, and tells its sender why where that is allowed."""
    counted = {(port.vsid, reason.name): 1}
    answer = error_about(state, port, frame, error)
    if answer is None:
        return Result(counted=counted)
    return handed(port, answer, counted | {(port.vsid, "answered"): 1})


def to_router(state: State, port: Port, frame: bytes) -> Result:
    """A packet to the router itself: an echo request is answered, and nothing else is there to take it."""
    reply = _echo_reply4(frame) if ethertype(frame) == ETHERTYPE_IPV4 else _echo_reply6(frame)
    if reply is None:
        return refused(state, port, frame, Drop.ROUTER_ADDRESS, PORT_UNREACHABLE)
    ethernet = frame[6:12] + ROUTER + frame[12:14]
    return handed(port, ethernet + reply, {(port.vsid, "answered"): 1})


def _echo_reply4(frame: bytes) -> bytes | None:
    """The reply to an echo request that is whole and has no IP options."""
    packet = frame[ETHERNET_BYTES:]
    message = packet[IPV4_BYTES:]
    is_fragment = int.from_bytes(packet[6:8], "big") & FRAGMENT
    if (packet[0], packet[9], message[:2]) != (0x45, ICMP, _ECHO) or is_fragment or len(message) < _ECHO_BYTES:
        return None
    header = packet[:8] + bytes([ANSWER_TTL, ICMP, 0, 0]) + packet[16:20] + packet[12:16]
    return with_checksum(header, 10, checksum(header)) + _changed(message, b"\0\0")


def _echo_reply6(frame: bytes) -> bytes | None:
    packet = frame[ETHERNET_BYTES:]
    message = packet[IPV6_BYTES:]
    if packet[6] != ICMPV6 or message[:2] != _ECHO6 or len(message) < _ECHO_BYTES:
        return None
    return packet[:7] + bytes([ANSWER_TTL]) + packet[24:40] + packet[8:24] + _changed(message, b"\x81\0")


def _changed(message: bytes, kind: bytes) -> bytes:
    """The message with other type and code, and its checksum following (RFC 1624): what was wrong stays wrong."""
    update = ~int.from_bytes(message[2:4], "big") & 0xFFFF, ~int.from_bytes(message[:2], "big") & 0xFFFF
    words = b"".join(word.to_bytes(2, "big") for word in update) + kind
    return with_checksum(kind + message[2:], 2, checksum(words))


def one_hop_less(frame: bytes) -> bytes:
    """The IP packet in a frame with one hop less to go, and its header's checksum following."""
    packet = frame[ETHERNET_BYTES:]
    if ethertype(frame) == ETHERTYPE_IPV6:
        return packet[:7] + bytes([packet[7] - 1]) + packet[8:]
    length = (packet[0] & 0xF) * 4
    header = packet[:8] + bytes([packet[8] - 1, packet[9], 0, 0]) + packet[12:length]
    return with_checksum(header, 10, checksum(header)) + packet[length:]
