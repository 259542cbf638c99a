"""From a VM to the wire: the place of each frame, and the outer headers that take it there. Pure."""

from __future__ import annotations

import struct
from collections import Counter
from ipaddress import IPv4Address

from nvgre_node.dataplane.base import Drop
from nvgre_node.dataplane.model import mss
from nvgre_node.dataplane.model.headers import DF, ipv4, is_group, strip_tags
from nvgre_node.dataplane.model.source_check import source_fault
from nvgre_node.dataplane.model.state import Counted, Path, Result, State, dropped
from nvgre_node.dataplane.model.too_big import too_big
from nvgre_node.policy import FlowIds, LookupRecord, UnknownUnicast
from nvgre_node.wire import (
    ETHERNET_BYTES,
    ETHERTYPE_IPV4,
    GRE_PROTOCOL,
    HEADER_BYTES,
    IPV4_BYTES,
    OVERHEAD_IPV4,
    NvgreHeader,
    flow_id,
)

_LARGEST_IP_PACKET = 0xFFFF


def from_port(state: State, port: str, vsid: int, frame: bytes) -> Result:
    """A VM sends a frame: to everybody in its virtual subnet, to a VM of this host, or to another NVE."""
    untagged = strip_tags(frame)
    if untagged is None:
        return dropped(vsid, Drop.TAG_DEPTH)
    if len(untagged) < ETHERNET_BYTES:
        return dropped(vsid, Drop.MALFORMED)
    forged = source_fault(state.policy.nve.source_check, state.port(port), untagged)
    if forged is not None:
        return dropped(vsid, forged)
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


def to_nve(state: State, port: str, vsid: int, record: LookupRecord, frame: bytes) -> Result:
    """Encapsulates a unicast frame for the NVE that its lookup record names (U1); never fragments it (F1)."""
    path = state.paths.get(record.pa)
    if len(frame) - ETHERNET_BYTES + OVERHEAD_IPV4 > _LARGEST_IP_PACKET:
        return too_big(state, port, vsid, frame, _LARGEST_IP_PACKET)
    if path is None:
        return dropped(vsid, Drop.NO_ROUTE)
    if len(frame) - ETHERNET_BYTES + OVERHEAD_IPV4 > path.mtu:
        return too_big(state, port, vsid, frame, path.mtu)
    if state.policy.nve.clamp_mss:
        frame = mss.clamped(frame, path.mtu - OVERHEAD_IPV4)
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
    ip = ipv4(state.policy.nve.pa.ip.packed, pa.packed, GRE_PROTOCOL, length, DF)  # F5: DF, so the IPv4 ID may be 0
    return ethernet + ip + NvgreHeader(vsid, entropy).pack() + frame


def _encapsulated(vsid: int, frame: bytes, copies: int) -> dict[Counted, int]:
    return {(vsid, "encapsulated"): copies, (vsid, "encapsulated_bytes"): copies * len(frame)}
