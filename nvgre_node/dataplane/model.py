"""The NVE of RFC 7637 as one pure function: read this beside the RFC to learn what an NVGRE endpoint does.

`handle` takes what an NVE knows, an interface and a frame that came in there, and says which frames go out where and
what is counted. It touches nothing and remembers nothing; the data planes are tested against it.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from nvgre_node.dataplane.base import NO_SUBNET, Drop
from nvgre_node.policy import FlowIds, LookupRecord, NvePolicy, TooBig, UnknownUnicast
from nvgre_node.wire import (
    ETHERNET_BYTES,
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    ETHERTYPE_TEB,
    GRE_PROTOCOL,
    HEADER_BYTES,
    IPV4_BYTES,
    OVERHEAD_IPV4,
    TAG_ETHERTYPES,
    VSID_FIRST,
    VSID_LAST,
    NvgreHeader,
    flow_id,
)

OUTER_BYTES = ETHERNET_BYTES + IPV4_BYTES + HEADER_BYTES
OUTER_TTL = 64
MAX_TAGS = 4
QUOTE_BYTES = 128  # of a packet that does not fit, in the ICMP error about it
_DF, _FRAGMENT, _OFFSET = 0x4000, 0x3FFF, 0x1FFF
_ICMP, _ICMPV6 = 1, 58
_LARGEST_IP_PACKET = 0xFFFF


@dataclass(frozen=True)
class Path:
    """The way to a remote PA: interface, Ethernet addresses of this NVE and of the next hop (O2, O3), and path MTU."""

    interface: str
    source_mac: bytes
    next_hop_mac: bytes
    mtu: int


@dataclass(frozen=True)
class State:
    """What an NVE knows: its policy, its uplinks' MAC addresses, and the ways to the other NVEs that it can reach."""

    policy: NvePolicy
    uplink_macs: frozenset[bytes]
    paths: Mapping[IPv4Address, Path]

    def vsid_of(self, interface: str) -> int | None:
        """The VSID of a VM's port, or None for an uplink."""
        return next((port.vsid for port in self.policy.ports if port.interface == interface), None)

    def ports_in(self, vsid: int) -> list[str]:
        """The ports of a virtual subnet on this host."""
        return [port.interface for port in self.policy.ports if port.vsid == vsid]

    def record(self, vsid: int, mac: bytes) -> LookupRecord | None:
        """The lookup record of a MAC address in a virtual subnet."""
        text = mac.hex(":")
        return next((r for r in self.policy.records if (r.vsid, r.mac.lower()) == (vsid, text)), None)


Counted = tuple[int, str]
"""What is counted: the VSID (or NO_SUBNET), and the name of a counter or of a Drop."""


@dataclass(frozen=True)
class Result:
    """What becomes of a frame: (interface, frame) for each that goes out, and what is counted.

    `left_alone` says that the frame is the provider host's own business: the NVE hands it on untouched.
    """

    out: tuple[tuple[str, bytes], ...] = ()
    counted: Mapping[Counted, int] = field(default_factory=dict)
    left_alone: bool = False


def handle(state: State, interface: str, frame: bytes) -> Result:
    """What the NVE does with a frame that came in on an interface."""
    vsid = state.vsid_of(interface)
    return from_uplink(state, frame) if vsid is None else from_port(state, interface, vsid, frame)


def dropped(vsid: int, reason: Drop) -> Result:
    """Nothing goes out, and exactly one reason is counted (G16)."""
    return Result(counted={(vsid, reason.name): 1})


# From a VM to the wire


def from_port(state: State, port: str, vsid: int, frame: bytes) -> Result:
    """A VM sends a frame: to everybody in its virtual subnet, to a VM of this host, or to another NVE."""
    untagged = strip_tags(frame)
    if untagged is None:
        return dropped(vsid, Drop.TAG_DEPTH)
    if len(untagged) < ETHERNET_BYTES:
        return dropped(vsid, Drop.MALFORMED)
    destination = untagged[:6]
    if is_group(destination):
        return flood(state, port, vsid, untagged)
    record = state.record(vsid, destination)
    if record is None:
        if state.policy.nve.unknown is UnknownUnicast.FLOOD:
            return flood(state, port, vsid, untagged)
        return dropped(vsid, Drop.UNKNOWN_UNICAST)
    if state.policy.is_local(record):
        if record.vm == port:
            return dropped(vsid, Drop.OWN_ADDRESS)
        return Result(out=((record.vm, untagged),), counted={(vsid, "local"): 1})
    return to_nve(state, port, vsid, record, untagged)


def strip_tags(frame: bytes) -> bytes | None:
    """The frame without 802.1Q and 802.1ad tags (I4, I5), or None where a tag is left that cannot be taken off."""
    for _ in range(MAX_TAGS):
        if ethertype(frame) in {0x8100, 0x88A8}:
            frame = frame[:12] + frame[16:]
    return None if ethertype(frame) in TAG_ETHERTYPES else frame


def to_nve(state: State, port: str, vsid: int, record: LookupRecord, frame: bytes) -> Result:
    """Encapsulates a unicast frame for the NVE that its lookup record names (U1); never fragments it (F1)."""
    path = state.paths.get(record.pa)
    if len(frame) - ETHERNET_BYTES + OVERHEAD_IPV4 > _LARGEST_IP_PACKET:
        return too_big(state, port, vsid, frame, _LARGEST_IP_PACKET)
    if path is None:
        return dropped(vsid, Drop.NO_ROUTE)
    if len(frame) - ETHERNET_BYTES + OVERHEAD_IPV4 > path.mtu:
        return too_big(state, port, vsid, frame, path.mtu)
    packet = encapsulate(state, record.pa, path, record.deliver_vsid, frame)
    return Result(out=((path.interface, packet),), counted=_encapsulated(vsid, frame, 1))


def flood(state: State, port: str, vsid: int, frame: bytes) -> Result:
    """Broadcast and multicast: a copy to each other port of the subnet here, and one to each other NVE of it (B5)."""
    out = [(other, frame) for other in state.ports_in(vsid) if other != port]
    counted: Counter[Counted] = Counter()
    for pa in state.policy.members.get(vsid, ()):
        path = state.paths.get(pa)
        if path is None:
            counted[vsid, Drop.NO_ROUTE.name] += 1
        elif len(frame) - ETHERNET_BYTES + OVERHEAD_IPV4 > path.mtu:
            counted[vsid, Drop.TOO_BIG.name] += 1
        else:
            out.append((path.interface, encapsulate(state, pa, path, vsid, frame)))
            counted.update(_encapsulated(vsid, frame, 1))
    return Result(out=tuple(out), counted=counted)


def encapsulate(state: State, pa: IPv4Address, path: Path, vsid: int, frame: bytes) -> bytes:
    """Outer Ethernet, outer IPv4 and GRE in front of an untagged inner frame (section 3.2)."""
    entropy = flow_id(frame) if state.policy.nve.flow_ids is FlowIds.FLOW else 0  # G8, G9
    ethernet = path.next_hop_mac + path.source_mac + struct.pack("!H", ETHERTYPE_IPV4)
    length = IPV4_BYTES + HEADER_BYTES + len(frame)
    ip = ipv4(state.policy.nve.pa.ip.packed, pa.packed, GRE_PROTOCOL, length, _DF)  # F5: DF, so the IPv4 ID may be 0
    return ethernet + ip + NvgreHeader(vsid, entropy).pack() + frame


def _encapsulated(vsid: int, frame: bytes, copies: int) -> dict[Counted, int]:
    return {(vsid, "encapsulated"): copies, (vsid, "encapsulated_bytes"): copies * len(frame)}


# What does not fit


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
    is_error = packet[9] == _ICMP and (len(packet) <= header or packet[header] not in {0, 8})
    if int.from_bytes(packet[6:8], "big") & _OFFSET or is_error:
        return None
    message = struct.pack("!BBHI", 3, 4, 0, mtu) + packet[:QUOTE_BYTES]
    message = with_checksum(message, 2, checksum(message))
    return ipv4(packet[16:20], packet[12:16], _ICMP, IPV4_BYTES + len(message), 0) + message


def answer6(packet: bytes, mtu: int) -> bytes | None:
    """ICMPv6 "packet too big" from the destination, or None where RFC 4443 section 2.4 (e) forbids an answer."""
    sender = packet[8:24]
    if (packet[6] == _ICMPV6 and packet[40] < 128) or sender[0] == 0xFF or not any(sender):
        return None
    message = struct.pack("!BBHI", 2, 0, 0, mtu) + packet[:QUOTE_BYTES]
    source, destination = packet[24:40], sender
    pseudo = source + destination + struct.pack("!II", len(message), _ICMPV6)
    message = with_checksum(message, 2, checksum(pseudo + message))
    return struct.pack("!IHBB", 6 << 28, len(message), _ICMPV6, OUTER_TTL) + source + destination + message


# From the wire to a VM


def from_uplink(state: State, frame: bytes) -> Result:
    """An NVGRE packet arrives: every check that it must pass, then the inner frame to the VM it is for."""
    ip = frame[ETHERNET_BYTES : ETHERNET_BYTES + IPV4_BYTES]
    if ethertype(frame) != ETHERTYPE_IPV4 or len(ip) < IPV4_BYTES or ip[9] != GRE_PROTOCOL:
        return Result(left_alone=True)
    if ip[16:20] != state.policy.nve.pa.ip.packed or frame[:6] not in state.uplink_macs:
        return Result(left_alone=True)
    total = int.from_bytes(ip[2:4], "big")
    if ip[0] != 0x45 or checksum(ip) != 0 or ETHERNET_BYTES + total > len(frame):
        return dropped(NO_SUBNET, Drop.BAD_OUTER)
    if int.from_bytes(ip[6:8], "big") & _FRAGMENT:
        return dropped(NO_SUBNET, Drop.OUTER_FRAGMENT)  # F2
    if total < OVERHEAD_IPV4:
        return dropped(NO_SUBNET, Drop.TRUNCATED)
    gre, inner = frame[34:OUTER_BYTES], frame[OUTER_BYTES : ETHERNET_BYTES + total]  # what follows is padding
    fault = gre_fault(gre)
    if fault is not None:
        return dropped(NO_SUBNET, fault)
    return deliver(state, NvgreHeader.unpack(gre).vsid, IPv4Address(ip[12:16]), inner)


def gre_fault(gre: bytes) -> Drop | None:
    """Why a GRE header is not NVGRE's, or None (G11 to G15). Bits 6 to 12 are ignored (G13)."""
    flags, protocol = struct.unpack("!HH", gre[:4])
    refused = {0x0007: Drop.VERSION, 0x4C00: Drop.RESERVED_BITS, 0x8000: Drop.CHECKSUM_BIT, 0x1000: Drop.SEQUENCE_BIT}
    for mask, reason in refused.items():
        if flags & mask:
            return reason
    if not flags & 0x2000:
        return Drop.NO_KEY
    return None if protocol == ETHERTYPE_TEB else Drop.PROTOCOL_TYPE


def deliver(state: State, vsid: int, sender: IPv4Address, inner: bytes) -> Result:
    """Hands an inner frame to the ports it is for: of its virtual subnet, on this host, and nowhere else (T4, T6)."""
    if sender not in state.policy.members.get(vsid, ()):
        if not VSID_FIRST <= vsid <= VSID_LAST:
            return dropped(NO_SUBNET, Drop.RESERVED_VSID)  # V1, V2
        if vsid not in state.policy.vsids:
            return dropped(NO_SUBNET, Drop.UNKNOWN_VSID)
        return dropped(vsid, Drop.SOURCE_PA)  # C1
    if ethertype(inner) in TAG_ETHERTYPES:
        return dropped(vsid, Drop.INNER_TAG)  # I6
    counted = {(vsid, "decapsulated"): 1, (vsid, "decapsulated_bytes"): len(inner)}
    record = state.record(vsid, inner[:6])
    if is_group(inner[:6]) or (record is None and state.policy.nve.unknown is UnknownUnicast.FLOOD):
        return Result(out=tuple((port, inner) for port in state.ports_in(vsid)), counted=counted)
    if record is None or not state.policy.is_local(record):
        return dropped(vsid, Drop.NOT_LOCAL)  # split horizon: the wire never feeds the wire
    return Result(out=((record.vm, inner),), counted=counted)


# Small parts


def ethertype(frame: bytes) -> int:
    """The EtherType of a frame, or 0 where it is too short to have one."""
    return int.from_bytes(frame[12:14], "big") if len(frame) >= ETHERNET_BYTES else 0


def is_group(mac: bytes) -> bool:
    """Whether an Ethernet address is broadcast or multicast."""
    return bool(mac[0] & 1)


def ipv4(source: bytes, destination: bytes, protocol: int, length: int, flags: int) -> bytes:
    """An IPv4 header without options: TTL 64, DSCP and ECN 0, ID 0, and its checksum."""
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, length, 0, flags, OUTER_TTL, protocol, 0, source, destination)
    return with_checksum(header, 10, checksum(header))


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071): 0 over data that carries its own."""
    padded = data + bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def with_checksum(data: bytes, offset: int, value: int) -> bytes:
    """The data with a 16-bit checksum written at an offset."""
    return data[:offset] + struct.pack("!H", value) + data[offset + 2 :]
