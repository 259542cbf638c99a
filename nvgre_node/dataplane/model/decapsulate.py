"""From the wire to a VM: every check that a received packet must pass, then the inner frame to whom it is for. Pure."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

from nvgre_node.dataplane.base import NO_SUBNET, Drop
from nvgre_node.dataplane.model.headers import FRAGMENT, checksum, ethertype, is_group
from nvgre_node.dataplane.model.state import Result, State, dropped
from nvgre_node.policy import UnknownUnicast
from nvgre_node.wire import (
    ETHERNET_BYTES,
    ETHERTYPE_IPV4,
    ETHERTYPE_TEB,
    GRE_PROTOCOL,
    HEADER_BYTES,
    IPV4_BYTES,
    OVERHEAD_IPV4,
    TAG_ETHERTYPES,
    VSID_FIRST,
    VSID_LAST,
    NvgreHeader,
)

OUTER_BYTES = ETHERNET_BYTES + IPV4_BYTES + HEADER_BYTES


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
    if int.from_bytes(ip[6:8], "big") & FRAGMENT:
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
