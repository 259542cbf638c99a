"""ARP and Neighbour Discovery: the NVE answers for the router, and for VMs where it is their proxy (S2). Pure.

A request for the router's address in the asker's subnet is always answered, since no VM could. All else here is done
where the scenario asks for a proxy, and only with what is for everybody: a request to one VM (neighbour unreachability
detection) goes to that VM. Records are policy, so nothing is learnt from what VMs say, and none can take another's CA:

- A request for a CA that a record knows is answered with the record's MAC, be it a probe for duplicates or not.
- One for the asker's own CA (such a probe, or gratuitous ARP) is dropped: silence says that nobody else has it.
- One for a CA that no record knows is dropped, unless the subnet has an `l2only` record: then everybody is asked.
- The same goes for announcements, which are unsolicited: gratuitous ARP replies, and advertisements to a group.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from nvgre_node.choices import Neighbours, RecordType
from nvgre_node.dataplane.base import Drop
from nvgre_node.dataplane.model.headers import ICMPV6, checksum, ethertype, is_group, with_checksum
from nvgre_node.dataplane.model.source_check import ARP_BYTES, NEIGHBOUR_ADVERTISEMENT, NEIGHBOUR_SOLICITATION
from nvgre_node.dataplane.model.state import Result, State, dropped
from nvgre_node.dataplane.model.vlan import handed
from nvgre_node.policy import Address, Port
from nvgre_node.routing import ROUTER_MAC
from nvgre_node.wire import ETHERNET_BYTES, ETHERTYPE_ARP, ETHERTYPE_IPV6, IPV6_BYTES, octets

_ARP_IPV4 = struct.pack("!HHBB", 1, 0x0800, 6, 4)  # of Ethernet and IPv4: hardware, protocol, and their lengths
_REQUEST, _REPLY = 1, 2
_ND_BYTES, _ND_HOP_LIMIT = 24, 255  # RFC 4861 section 7.1: another hop limit has passed a router
_ROUTER, _SOLICITED, _OVERRIDE = 0x80, 0x40, 0x20
_TARGET_LINK_LAYER_ADDRESS = b"\x02\x01"
_ALL_NODES, _ALL_NODES_MAC = IPv6Address("ff02::1").packed, bytes.fromhex("333300000001")


@dataclass(frozen=True)
class Message:
    """A message of ARP or Neighbour Discovery: about whom, and whether it asks for an answer."""

    target: Address
    asks: bool


def asked(state: State, port: Port, frame: bytes) -> Result | None:
    """What becomes of a VM's frame to a group or to the router, or None where it is like any other."""
    message, vsid, router = read(frame), port.vsid, state.policy.router(port.vsid)
    if message is None:
        return None
    if message.asks and router and message.target in router.addresses:
        return _answered(port, answer(frame, octets(ROUTER_MAC), is_router=True))
    if not is_group(frame) or state.policy.nve.neighbours is not Neighbours.PROXY:
        return None
    record = state.record_of_ca(vsid, message.target)
    if message.asks and record is not None:
        if record.vm == port.name and state.policy.is_local(record):
            return dropped(vsid, Drop.OWN_ADDRESS)
        is_gateway = record.type is RecordType.GATEWAY_WILDCARD
        return _answered(port, answer(frame, octets(record.mac), is_router=is_gateway))
    if any(r.type is RecordType.L2ONLY for r in state.policy.records if r.vsid == vsid):
        return None
    return dropped(vsid, Drop.UNKNOWN_NEIGHBOUR if message.asks else Drop.ANNOUNCEMENT)


def read(frame: bytes) -> Message | None:
    """The message that a frame carries, or None. Checksums are not looked at: they may be left to hardware."""
    packet = frame[ETHERNET_BYTES:]
    if ethertype(frame) == ETHERTYPE_ARP and len(packet) >= ARP_BYTES and packet[:6] == _ARP_IPV4:
        return Message(IPv4Address(packet[24:28]), int.from_bytes(packet[6:8], "big") == _REQUEST)
    if ethertype(frame) != ETHERTYPE_IPV6 or len(packet) < IPV6_BYTES + _ND_BYTES:
        return None
    kind, code = packet[IPV6_BYTES], packet[IPV6_BYTES + 1]
    is_discovery = (packet[6], packet[7], code) == (ICMPV6, _ND_HOP_LIMIT, 0)
    if not is_discovery or kind not in {NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT}:
        return None
    return Message(IPv6Address(packet[48:64]), kind == NEIGHBOUR_SOLICITATION)


def _answered(port: Port, frame: bytes) -> Result:
    return handed(port, frame, {(port.vsid, "answered"): 1})


def answer(frame: bytes, mac: bytes, *, is_router: bool) -> bytes:
    """The answer to a request, as whoever has this MAC address would give it."""
    return _reply(frame, mac) if ethertype(frame) == ETHERTYPE_ARP else _advertisement(frame, mac, is_router)


def _reply(frame: bytes, mac: bytes) -> bytes:
    """The ARP reply (RFC 826), as long as the request."""
    asker, packet = frame[6:12], frame[ETHERNET_BYTES:]
    ethernet = asker + mac + frame[12:14]
    target = packet[24:28]
    return ethernet + _ARP_IPV4 + struct.pack("!H", _REPLY) + mac + target + packet[8:18] + packet[ARP_BYTES:]


def _advertisement(frame: bytes, mac: bytes, is_router: bool) -> bytes:
    """The Neighbour Advertisement (RFC 4861 section 7.2.4): to all nodes if the asker has no address yet."""
    source, target = frame[22:38], frame[62:78]
    flags = _OVERRIDE | (_ROUTER if is_router else 0)
    if any(source):
        destination, ethernet, flags = source, frame[6:12] + mac + frame[12:14], flags | _SOLICITED
    else:
        destination, ethernet = _ALL_NODES, _ALL_NODES_MAC + mac + frame[12:14]
    message = struct.pack("!BBHB3x", NEIGHBOUR_ADVERTISEMENT, 0, 0, flags) + target + _TARGET_LINK_LAYER_ADDRESS + mac
    pseudo = target + destination + struct.pack("!II", len(message), ICMPV6)
    ip = struct.pack("!IHBB", 6 << 28, len(message), ICMPV6, _ND_HOP_LIMIT) + target + destination
    return ethernet + ip + with_checksum(message, 2, checksum(pseudo + message))
