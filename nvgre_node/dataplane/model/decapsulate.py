"""From the wire to a VM: every check that a received packet must pass, then the inner frame to whom it is for. Pure."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address

from nvgre_node.acl import Direction
from nvgre_node.choices import Deviation, Fragments, UnknownUnicast
from nvgre_node.dataplane.base import NO_PA, NO_SUBNET, Drop
from nvgre_node.dataplane.model import learn
from nvgre_node.dataplane.model.acl import denies
from nvgre_node.dataplane.model.encapsulate import local_copies
from nvgre_node.dataplane.model.headers import FRAGMENT, checksum, ethertype, is_group
from nvgre_node.dataplane.model.inner import is_carried
from nvgre_node.dataplane.model.state import Result, State, dropped
from nvgre_node.dataplane.model.traffic_class import with_outer_traffic_class
from nvgre_node.dataplane.model.vendor import from_peer
from nvgre_node.dataplane.model.vlan import handed
from nvgre_node.groups import group_mac
from nvgre_node.policy import Address, Nve
from nvgre_node.vendor import VSID_VENDOR
from nvgre_node.wire import (
    ETHERNET_BYTES,
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    ETHERTYPE_TEB,
    FRAGMENT_HEADER,
    GRE_PROTOCOL,
    HEADER_BYTES,
    IPV4_BYTES,
    IPV6_BYTES,
    TAG_ETHERTYPES,
    VSID_FIRST,
    VSID_LAST,
    NvgreHeader,
)

CHECKSUM, SEQUENCE = 0x8000, 0x1000  # C and S (G1)


@dataclass(frozen=True)
class Arrival:
    """A GRE packet for this NVE: the PAs of its sender and its own, and what follows the outer IP header, unpadded."""

    sender: Address
    destination: Address
    traffic_class: int
    payload: bytes


def from_uplink(state: State, interface: str, frame: bytes) -> Result:
    """A packet arrives. What is dropped is that of its sender, if it is one that may send, else nobody's."""
    result = arrived(state, interface, frame)
    return result if result.at_ends else result.came_from(NO_PA)


def arrived(state: State, interface: str, frame: bytes) -> Result:
    """An NVGRE packet arrives: every check that it must pass, then the inner frame to the VM it is for."""
    read = {ETHERTYPE_IPV4: arrival4, ETHERTYPE_IPV6: arrival6}.get(ethertype(frame))
    found = read(state, frame[:6], frame[ETHERNET_BYTES:]) if read else None
    if found is None:
        return Result(left_alone=True)
    if found is Drop.OUTER_FRAGMENT and state.policy.nve.fragments is Fragments.REASSEMBLE:
        return Result(left_alone=True, counted={(NO_SUBNET, "outer_fragments"): 1})  # F2: it comes back whole
    if isinstance(found, Drop):
        return dropped(NO_SUBNET, found)
    if len(found.payload) < HEADER_BYTES + ETHERNET_BYTES:
        return dropped(NO_SUBNET, Drop.TRUNCATED)
    parts = header_and_frame(state.policy.nve, found.payload)
    if isinstance(parts, Drop):
        return dropped(NO_SUBNET, parts)
    header, inner = parts
    if header.flow_id and Deviation.EXACT_KEYS in state.policy.nve.deviations:
        return dropped(NO_SUBNET, Drop.UNKNOWN_VSID)
    vsid = header.vsid
    if vsid == VSID_VENDOR and found.sender in state.policy.verified:
        if HEADER_BYTES + len(inner) < len(found.payload):  # ours have no options
            return dropped(NO_SUBNET, Drop.RESERVED_VSID).came_from(found.sender)
        return from_peer(state, interface, frame, (found.sender, found.destination), inner).came_from(found.sender)
    return deliver(state, vsid, found, inner)


def is_for_this_nve(state: State, mac: bytes, destination: Address) -> bool:
    """Whether a packet's outer addresses are this NVE's, or those of a group that it is a member of (B2)."""
    if destination in state.policy.nve.pas_of(destination.version):
        return mac in state.uplink_macs
    return destination in state.policy.joined and mac == group_mac(destination)


def arrival4(state: State, mac: bytes, packet: bytes) -> Arrival | Drop | None:
    """The outer IPv4 header: None for what is the provider host's own business."""
    header = packet[:IPV4_BYTES]
    if len(header) < IPV4_BYTES or header[9] != GRE_PROTOCOL:
        return None
    if not is_for_this_nve(state, mac, IPv4Address(header[16:20])):
        return None
    total = int.from_bytes(header[2:4], "big")
    if header[0] != 0x45 or checksum(header) != 0 or total > len(packet):
        return Drop.BAD_OUTER
    if int.from_bytes(header[6:8], "big") & FRAGMENT:
        return Drop.OUTER_FRAGMENT  # F2
    return Arrival(IPv4Address(header[12:16]), IPv4Address(header[16:20]), header[1], packet[IPV4_BYTES:total])


def arrival6(state: State, mac: bytes, packet: bytes) -> Arrival | Drop | None:
    """The outer IPv6 header: None for what is the provider host's own business, other extension headers included."""
    header = packet[:IPV6_BYTES]
    if len(header) < IPV6_BYTES or not is_for_this_nve(state, mac, IPv6Address(header[24:40])):
        return None
    if header[6] == FRAGMENT_HEADER and packet[IPV6_BYTES : IPV6_BYTES + 1] == bytes([GRE_PROTOCOL]):
        return Drop.OUTER_FRAGMENT  # F2
    if header[6] != GRE_PROTOCOL:
        return None
    end = IPV6_BYTES + int.from_bytes(header[4:6], "big")
    if header[0] >> 4 != 6 or end > len(packet):
        return Drop.BAD_OUTER
    traffic_class = (header[0] << 4 | header[1] >> 4) & 0xFF
    return Arrival(IPv6Address(header[8:24]), IPv6Address(header[24:40]), traffic_class, packet[IPV6_BYTES:end])


def header_and_frame(nve: Nve, payload: bytes) -> tuple[NvgreHeader, bytes] | Drop:
    """The header and the inner frame, or what is wrong. Only an NVE that deviates has options between them (G11)."""
    fault = gre_fault(nve, payload[:HEADER_BYTES])
    if fault is not None:
        return fault
    (flags,) = struct.unpack_from("!H", payload)
    key_at = 8 if flags & CHECKSUM else 4
    frame_at = key_at + (8 if flags & SEQUENCE else 4)
    if len(payload) < frame_at + ETHERNET_BYTES:
        return Drop.TRUNCATED
    if flags & CHECKSUM and checksum(payload) != 0:
        return Drop.CHECKSUM_BIT
    (key,) = struct.unpack_from("!I", payload, key_at)
    return NvgreHeader(key >> 8, key & 0xFF), payload[frame_at:]


def gre_fault(nve: Nve, gre: bytes) -> Drop | None:
    """Why a GRE header is not NVGRE's, or None (G11 to G15). Bits 6 to 12 are ignored (G13), unless an NVE deviates."""
    flags, protocol = struct.unpack("!HH", gre[:4])
    refused = (
        (0x0007, Drop.VERSION, True),
        (0x0078, Drop.VERSION, Deviation.WIDENS_VERSION in nve.deviations),
        (0x4000, Drop.RESERVED_BITS, True),
        (0x0C00, Drop.RESERVED_BITS, Deviation.TAKES_RESERVED_BITS not in nve.deviations),
        (0x03F8, Drop.RESERVED_BITS, Deviation.REFUSES_RESERVED_BITS in nve.deviations),
        (CHECKSUM, Drop.CHECKSUM_BIT, Deviation.TAKES_CHECKSUMS not in nve.deviations),
        (SEQUENCE, Drop.SEQUENCE_BIT, Deviation.TAKES_SEQUENCE_NUMBERS not in nve.deviations),
    )
    for mask, reason, applies in refused:
        if applies and flags & mask:
            return reason
    if not flags & 0x2000:
        return Drop.NO_KEY
    return None if protocol == ETHERTYPE_TEB else Drop.PROTOCOL_TYPE


def deliver(state: State, vsid: int, arrival: Arrival, inner: bytes) -> Result:
    """Lets an inner frame into its virtual subnet, on this host, and nowhere else (T4, T6), if its sender may send."""
    if arrival.sender not in state.policy.senders.get(vsid, ()):
        if not VSID_FIRST <= vsid <= VSID_LAST:
            return dropped(NO_SUBNET, Drop.RESERVED_VSID)  # V1, V2
        if vsid not in state.policy.vsids:
            return dropped(NO_SUBNET, Drop.UNKNOWN_VSID)
        return dropped(vsid, Drop.SOURCE_PA)  # C1
    return opened(state, vsid, arrival, inner).came_from(arrival.sender)


def opened(state: State, vsid: int, arrival: Arrival, inner: bytes) -> Result:
    """Hands an inner frame of one that may send into its virtual subnet to the ports it is for."""
    if ethertype(inner) in TAG_ETHERTYPES and Deviation.DELIVERS_TAGS not in state.policy.nve.deviations:
        return dropped(vsid, Drop.INNER_TAG)  # I6
    if not is_carried(state.policy.nve, inner):
        return dropped(vsid, Drop.NOT_IP)
    record = state.record(vsid, inner[:6])
    for_all = is_group(inner[:6]) or (record is None and state.policy.nve.unknown is UnknownUnicast.FLOOD)
    if not for_all and (record is None or not state.policy.is_local(record)):
        return dropped(vsid, Drop.NOT_LOCAL)  # split horizon: the wire never feeds the wire
    frame = with_outer_traffic_class(state.policy.nve, arrival.traffic_class, inner)
    if frame is None:
        return dropped(vsid, Drop.CE_ON_NOT_ECT)
    numbers = {"decapsulated": 1, "decapsulated_bytes": len(frame)}
    counted = {(vsid, name): n for name, n in numbers.items()}
    came = {(arrival.sender, name): n for name, n in numbers.items()}
    taught = learn.taught(state, vsid, frame, arrival.sender)
    if for_all or record is None:
        copies = local_copies(vsid, state.ports_in(vsid), frame)
        at_ends = came | dict(copies.at_ends)
        return Result(copies.out, counted | dict(copies.counted), at_ends, taught=taught)
    port = state.policy.port_of(record)
    if denies(port.acl, Direction.IN, frame):
        return dropped(vsid, Drop.ACL_IN)
    result = handed(port, frame, counted)
    return replace(result, at_ends=came | dict(result.at_ends), taught=taught)
