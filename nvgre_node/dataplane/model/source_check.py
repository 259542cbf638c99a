"""Whether a frame comes from the VM that sends it: its MAC address, and its CAs in IP, ARP and ND (C1). Pure.

What a VM without an address must be able to say stays possible: DHCP from 0.0.0.0 and ARP probes (RFC 5227); from `::`,
duplicate address detection (RFC 4862), router solicitations and multicast listener reports (RFC 3590), if to the link.
Who asks without an address may ask for its own only: a forged question would make another VM give its address up. A
VM's IPv6 link-local address is the one made from its MAC address. What cannot be read is taken for forged: an IP header
cut short, more extension headers than MAX_EXTENSIONS, ND options that no receiver would read. Frames of other
EtherTypes have their MAC address checked. Of gateways and `l2only` records no CA can be checked, so it is for them too.
"""

from __future__ import annotations

from nvgre_node.choices import SourceCheck
from nvgre_node.dataplane.base import Drop
from nvgre_node.dataplane.model.headers import ICMPV6, ethertype
from nvgre_node.dataplane.model.inner import InnerPacket, read
from nvgre_node.policy import Port
from nvgre_node.wire import ETHERNET_BYTES, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, IPV6_BYTES, octets

UDP = 17
DHCP_PORTS = bytes([0, 68, 0, 67])
ARP_BYTES, ARP_LAYOUT = 28, bytes.fromhex("08000604")  # behind the hardware type: IPv4, addresses of 6 and 4 bytes
ARP_REQUEST = b"\0\1"
ROUTER_SOLICITATION, NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT = 133, 135, 136
ND_BYTES = {133: 8, 134: 16, 135: 24, 136: 24, 137: 40}  # of each ND message, in front of its options
LISTENER_REPORTS = frozenset({131, 132, 143})  # MLD: report, done, version 2 report
LINK_LAYER_OPTIONS = frozenset({1, 2})  # source and target link-layer address
MAX_OPTIONS = 16


def source_fault(check: SourceCheck, port: Port, frame: bytes) -> Drop | None:
    """Why an untagged frame is not from the VM at this port, or None."""
    if check is SourceCheck.NONE:
        return None
    if frame[6:12] != octets(port.mac):
        return Drop.SOURCE_MAC
    is_own = {ETHERTYPE_IPV4: _ipv4, ETHERTYPE_IPV6: _ipv6, ETHERTYPE_ARP: _arp}.get(ethertype(frame))
    if check is SourceCheck.MAC or port.any_ca or is_own is None or is_own(port, frame):
        return None
    return Drop.SOURCE_CA


def _is_ca(port: Port, address: bytes) -> bool:
    return any(address == source.packed for source in port.sources)


def _ipv4(port: Port, frame: bytes) -> bool:
    packet = read(frame)
    if packet is None:
        return False
    if any(packet.source):
        return _is_ca(port, packet.source)
    if packet.protocol != UDP or packet.at is None or packet.destination != b"\xff" * 4:
        return False
    return frame[packet.at : packet.at + 4] == DHCP_PORTS


def _arp(port: Port, frame: bytes) -> bool:
    arp = frame[ETHERNET_BYTES:]
    if len(arp) < ARP_BYTES or arp[2:6] != ARP_LAYOUT or arp[8:14] != octets(port.mac):
        return False
    if any(arp[14:18]):
        return _is_ca(port, arp[14:18])
    return arp[6:8] == ARP_REQUEST and _is_ca(port, arp[24:28])


def _ipv6(port: Port, frame: bytes) -> bool:
    packet = read(frame)
    if packet is None or (packet.protocol is None and not packet.later):
        return False
    from_nobody = not any(packet.source)
    if not from_nobody and not _is_ca(port, packet.source):
        return False
    message = frame[packet.at :][:1] if packet.protocol == ICMPV6 and packet.at is not None else b""
    if not message:
        return not from_nobody
    if from_nobody and not _may_come_from_nobody(message[0], packet):
        return False
    return message[0] not in ND_BYTES or _nd(port, frame, packet.at or 0, from_nobody)


def _may_come_from_nobody(message: int, packet: InnerPacket) -> bool:
    kinds = LISTENER_REPORTS | {ROUTER_SOLICITATION, NEIGHBOUR_SOLICITATION}
    return message in kinds and packet.destination[:2] == b"\xff\x02"


def _nd(port: Port, frame: bytes, at: int, from_nobody: bool) -> bool:
    """Whether a neighbour discovery message claims nothing but this VM's own addresses (RFC 4861 section 4)."""
    message, options = frame[at], at + ND_BYTES[frame[at]]
    end = ETHERNET_BYTES + IPV6_BYTES + int.from_bytes(frame[18:20], "big")
    if end > len(frame):
        return False
    claims = message == NEIGHBOUR_ADVERTISEMENT or (message == NEIGHBOUR_SOLICITATION and from_nobody)
    if claims and not _is_ca(port, frame[at + 8 : at + 24]):
        return False
    for _ in range(MAX_OPTIONS):
        if options + 8 > end or not frame[options + 1]:
            break
        if frame[options] in LINK_LAYER_OPTIONS and frame[options + 2 : options + 8] != octets(port.mac):
            return False
        options += frame[options + 1] * 8
    return options == end
