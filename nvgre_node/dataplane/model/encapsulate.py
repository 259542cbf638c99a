"""From a VM to the wire: the place of each frame, and the outer headers that take it there. Pure."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from zlib import crc32

from nvgre_node.acl import Direction
from nvgre_node.choices import Carries, Deviation, FlowIds, TooBig, UnknownUnicast
from nvgre_node.dataplane.base import PUNT, PUNT_BYTES, Drop
from nvgre_node.dataplane.model import learn, mss
from nvgre_node.dataplane.model.acl import denies
from nvgre_node.dataplane.model.fragment import fragments, is_fragmentable, outer_fragments, without_df
from nvgre_node.dataplane.model.headers import DF, ipv4, ipv6, is_group
from nvgre_node.dataplane.model.inner import is_carried
from nvgre_node.dataplane.model.neighbours import asked
from nvgre_node.dataplane.model.route import ROUTER, NextHop, read, route
from nvgre_node.dataplane.model.source_check import source_fault
from nvgre_node.dataplane.model.state import Counted, Path, Result, State, dropped
from nvgre_node.dataplane.model.too_big import too_big
from nvgre_node.dataplane.model.traffic_class import outer_traffic_class
from nvgre_node.dataplane.model.vlan import handed, taken_in, with_dscp_of
from nvgre_node.policy import Address, LookupRecord, Nve, Port
from nvgre_node.wire import (
    ETHERNET_BYTES,
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    GRE_PROTOCOL,
    HEADER_BYTES,
    IPV4_BYTES,
    OVERHEAD,
    NvgreHeader,
    flow_id,
    octets,
)

_LARGEST_IP_PACKET = 0xFFFF


def from_port(state: State, port: Port, frame: bytes) -> Result:
    """A VM sends a frame, whose tags come off first."""
    untagged = taken_in(state.policy.nve, frame)
    state = state.treating(with_dscp_of(state.policy.nve, frame))
    if untagged is None:
        return dropped(port.vsid, Drop.TAG_DEPTH).came_from(port.name)
    return forwarded(state, port, untagged).came_from(port.name, sent=1, sent_bytes=len(untagged))


def forwarded(state: State, port: Port, untagged: bytes) -> Result:
    """What a VM sends goes to everybody in its virtual subnet, to a VM of this host, or to another NVE."""
    vsid = port.vsid
    if len(untagged) < ETHERNET_BYTES:
        return dropped(vsid, Drop.MALFORMED)
    refused = refusal(state, port, untagged)
    if refused is not None:
        return dropped(vsid, refused)
    destination = untagged[:6]
    router = state.policy.router(vsid)
    if (is_group(destination) or (router and destination == ROUTER)) and (answered := asked(state, port, untagged)):
        return answered
    if is_group(destination):
        return flood(state, port, untagged)
    if router and destination == ROUTER:
        hop = route(state, port, router, untagged)
        return hop if isinstance(hop, Result) else onward(state, port, hop)
    untagged = by_ca(state, vsid, untagged)
    record = learn.whereabouts(state, vsid, untagged[:6])
    if record is None:
        if state.policy.nve.unknown is UnknownUnicast.FLOOD:
            return flood(state, port, untagged)
        if state.policy.nve.unknown is UnknownUnicast.PUNT:
            return Result(out=((PUNT, untagged[:PUNT_BYTES]),), counted={(vsid, "punted"): 1})
        return dropped(vsid, Drop.UNKNOWN_UNICAST)
    return to_vm(state, port, record, untagged)


def by_ca(state: State, vsid: int, frame: bytes) -> bytes:
    """The frame as it goes on where IP goes by CAs: to whom the record of its destination names, if there is one."""
    packet = read(frame) if state.policy.nve.carries is Carries.IP_BY_CA else None
    record = state.record_of_ca(vsid, packet.destination) if packet else None
    return octets(record.mac) + frame[6:] if record else frame


def onward(state: State, port: Port, hop: NextHop) -> Result:
    """Sends a routed frame straight to the host of its next hop (X6)."""
    record = state.record(hop.vsid, hop.mac)
    sent = to_vm(state, port, record, hop.frame) if record else dropped(port.vsid, Drop.UNKNOWN_UNICAST)
    return replace(sent, counted={**sent.counted, (port.vsid, "routed"): 1})


def to_vm(state: State, port: Port, record: LookupRecord, frame: bytes) -> Result:
    """Delivers a unicast frame where its lookup record says: here, or to another NVE."""
    if state.policy.is_local(record):
        return to_neighbour(state, port, record, frame)
    return to_nve(state, port, record, frame)


def refusal(state: State, port: Port, frame: bytes) -> Drop | None:
    """Why a VM may not send a frame, or None: it is not carried, forged (C1), or against the port's list."""
    if not is_carried(state.policy.nve, frame):
        return Drop.NOT_IP
    forged = source_fault(state.policy.nve.source_check, port, frame)
    if forged is None and denies(port.acl, Direction.OUT, frame):
        return Drop.ACL_OUT
    return forged


def to_neighbour(state: State, port: Port, record: LookupRecord, frame: bytes) -> Result:
    """Hands a unicast frame to another VM of this host: it never gets to the wire."""
    if record.vm == port.name:
        return dropped(port.vsid, Drop.OWN_ADDRESS)
    neighbour = state.policy.port_of(record)
    if denies(neighbour.acl, Direction.IN, frame):
        return dropped(port.vsid, Drop.ACL_IN)
    return handed(neighbour, frame, {(port.vsid, "local"): 1})


def to_nve(state: State, port: Port, record: LookupRecord, frame: bytes) -> Result:
    """Encapsulates a unicast frame for the NVE that its lookup record names (U1); never fragments it (F1)."""
    overhead, path = OVERHEAD[record.pa.version], state.paths.get(record.pa)
    if len(frame) - ETHERNET_BYTES + overhead > _LARGEST_IP_PACKET:
        return too_big(state, port, frame, _LARGEST_IP_PACKET - overhead)
    if path is None:
        return dropped(port.vsid, Drop.NO_ROUTE)
    if len(frame) - ETHERNET_BYTES + overhead > path.mtu:
        return does_not_fit(state, port, record, path, frame)
    if state.policy.nve.clamp_mss:
        frame = mss.clamped(frame, path.mtu - overhead)
    packet = encapsulate(state, port, record.pa, path, record.deliver_vsid, frame)
    return carried(port, record.pa, [frame], ((path.interface, packet),))


def does_not_fit(state: State, port: Port, record: LookupRecord, path: Path, frame: bytes) -> Result:
    """Cuts what may be cut into fragments that each travel whole, if that is the mode (RFC 7588 section 3)."""
    largest = path.mtu - OVERHEAD[record.pa.version]
    mode, is_known = state.policy.nve.too_big, record.vm != learn.NOBODY  # the slow path goes by lookup records
    if mode is TooBig.FRAGMENT_OUTER and is_known:  # against F1
        packet = encapsulate(state, port, record.pa, path, record.deliver_vsid, frame)
        out = tuple((path.interface, piece) for piece in outer_fragments(packet, path.mtu))
        return carried(port, record.pa, [frame], out)
    if not (mode is TooBig.FRAGMENT and is_known and is_fragmentable(frame, largest)):
        return too_big(state, port, frame, largest)
    pieces = [frame[:ETHERNET_BYTES] + piece for piece in fragments(frame[ETHERNET_BYTES:], largest)]
    packets = [encapsulate(state, port, record.pa, path, record.deliver_vsid, piece) for piece in pieces]
    return carried(port, record.pa, pieces, tuple((path.interface, packet) for packet in packets))


def flood(state: State, port: Port, frame: bytes) -> Result:
    """Broadcast and multicast: a copy to each other port of the subnet here, and one to its group in the underlay (B2).

    A subnet without a group has N-way unicast: a copy to each other NVE of it (B5).
    """
    vsid = port.vsid
    others = [other for other in state.ports_in(vsid) if other != port]
    copies = local_copies(vsid, others, frame)
    out, counted, at_ends = list(copies.out), Counter[Counted](copies.counted), dict(copies.at_ends)
    group = state.policy.group(vsid, frame[:6])
    for pa in (group,) if group else state.policy.replicas.get(vsid, ()):
        path = state.paths.get(pa)
        if path is None:
            counted[vsid, Drop.NO_ROUTE.name] += 1
        elif len(frame) - ETHERNET_BYTES + OVERHEAD[pa.version] > path.mtu:
            counted[vsid, Drop.TOO_BIG.name] += 1
        else:
            packet = encapsulate(state, port, pa, path, vsid, frame)
            copy = carried(port, pa, [frame], ((path.interface, packet),))
            out += copy.out
            counted.update(copy.counted)
            at_ends |= copy.at_ends
    return Result(out=tuple(out), counted=counted, at_ends=at_ends)


def local_copies(vsid: int, ports: list[Port], frame: bytes) -> Result:
    """A copy to each of these ports of this host whose access control list lets it pass."""
    allowed = [port for port in ports if not denies(port.acl, Direction.IN, frame)]
    denied = len(ports) - len(allowed)
    counted = {(vsid, Drop.ACL_IN.name): denied} if denied else {}
    copies = [handed(port, frame, counted) for port in allowed]
    at_ends = {key: n for copy in copies for key, n in copy.at_ends.items()}
    return Result(out=tuple(out for copy in copies for out in copy.out), counted=counted, at_ends=at_ends)


def encapsulate(state: State, port: Port, pa: Address, path: Path, vsid: int, frame: bytes) -> bytes:
    """Outer Ethernet, outer IP and GRE in front of an untagged inner frame (section 3.2)."""
    flow = flow_id(frame)
    entropy = flow if state.policy.nve.flow_ids is FlowIds.FLOW else 0  # G8, G9
    source = state.policy.source_pa(port, pa, flow)
    nve, header = state.policy.nve, NvgreHeader(vsid, entropy)
    return wrapped(nve, (source, pa), path, header, outer_traffic_class(nve, frame), frame)


def outer_id(nve: Nve, length: int) -> int:
    """The ID of an outer IPv4 packet of this length: 0, since nothing may fragment it (RFC 6864), or what deviates."""
    if Deviation.REPEATS_ID in nve.deviations:
        return 1
    return length if Deviation.VARIES_ID in nve.deviations else 0


def wrapped(
    nve: Nve, ends: tuple[Address, Address], path: Path, header: NvgreHeader, traffic_class: int, frame: bytes
) -> bytes:
    """Outer Ethernet, outer IP from the first of two PAs to the second, and this GRE header, in front of a frame."""
    (source, destination), length = (pa.packed for pa in ends), HEADER_BYTES + len(frame)
    if ends[1].version == 6:
        outer_type, ip = (
            ETHERTYPE_IPV6,
            ipv6(source, destination, GRE_PROTOCOL, length, ttl=nve.ttl, traffic_class=traffic_class),
        )
    else:  # F5: DF, so the IPv4 ID may be 0
        outer_type, length = ETHERTYPE_IPV4, IPV4_BYTES + length
        ip = ipv4(
            source,
            destination,
            GRE_PROTOCOL,
            length,
            flags=0 if Deviation.CLEARS_DF in nve.deviations else DF,
            ttl=nve.ttl,
            traffic_class=traffic_class,
            identification=outer_id(nve, length),
        )
        if nve.too_big is TooBig.FRAGMENT_OUTER:
            ip = without_df(ip, crc32(frame) & 0xFFFF)
    ethernet = path.next_hop_mac + path.source_mac + struct.pack("!H", outer_type)
    return ethernet + ip + header.pack() + frame


def carried(port: Port, pa: Address, frames: Sequence[bytes], out: tuple[tuple[str, bytes], ...]) -> Result:
    """What leaves for a PA, or a group, with these inner frames in it."""
    counted = {"encapsulated": len(frames), "encapsulated_bytes": sum(map(len, frames))}
    by_vsid = {(port.vsid, name): n for name, n in counted.items()}
    return Result(out, by_vsid, {(pa, name): n for name, n in counted.items()})
