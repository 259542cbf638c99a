"""How policy and counters lie in the BPF maps: the layouts of `bpf/policy.h` and `bpf/counters.h`. Pure."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address

from nvgre_node.choices import (
    COPY,
    MAX_PAS,
    Carries,
    Deviation,
    Ecn,
    FlowIds,
    Fragments,
    Neighbours,
    PaChoice,
    RecordType,
    SourceCheck,
    TooBig,
    UnknownUnicast,
)
from nvgre_node.dataplane.base import Drop, PaCounters, PortCounters, SubnetCounters
from nvgre_node.policy import Address, LookupRecord, NvePolicy, Port
from nvgre_node.wire import octets

# PAs are in network order, all else in the machine's.
U32 = struct.Struct("=I")
NVE = struct.Struct("=32s128s16B8s7BxII")
PORT_KEY = struct.Struct("=II")
PORT = struct.Struct("=IIHH6sBB4s16s")
SOURCE_KEY = struct.Struct("=II16s")
RECORD_KEY = struct.Struct("=I6sxx")
RECORD = struct.Struct("=IIIHH16s")
PEER_KEY = struct.Struct("=I16s")
PEER = struct.Struct("=II")
NEIGHBOUR_KEY = struct.Struct("=II16s")
NEIGHBOUR = struct.Struct("=6sBx")
ROUTER = struct.Struct("=I4s16s")
ROUTE_KEY = struct.Struct("=III16s")
ROUTE = struct.Struct("=II16s")
REPLICA_KEY = struct.Struct("=II")
LOCAL_REPLICA = struct.Struct("=IHH")
REMOTE = struct.Struct("=16sI")
GROUP_UPLINK = struct.Struct("=I6sxx")
DONE = (
    "encapsulated",
    "encapsulated_bytes",
    "decapsulated",
    "decapsulated_bytes",
    "local",
    "told_too_big",
    "answered",
    "punted",
    "routed",
    "outer_fragments",
)
COUNTERS = struct.Struct(f"={len(DONE) + len(Drop)}Q")
END = struct.Struct(f"={4 + len(Drop)}Q")
END_NO_PORT, END_NO_PA, END_FIRST_PORT = 0, 1, 1  # a port's number is 1 at least

MAX_REPLICAS = 128
"""How many NVEs, and how many ports of one host, one virtual subnet may have (bpf/policy.h)."""

NOWHERE = bytes(16)
EVERY_MAC = bytes(6)
NO_DSCP = 1
AGE = struct.Struct("=Q")
NANOSECONDS = 1_000_000_000
RECORD_TYPES = tuple(RecordType)  # enum record_type
RECORD_ROUTER = len(RECORD_TYPES)
L2ONLY = RECORD_TYPES.index(RecordType.L2ONLY)


def mapped(pa: Address) -> bytes:
    """A PA in 16 bytes: IPv4 as ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2)."""
    return pa.packed if pa.version == 6 else bytes(10) + b"\xff\xff" + pa.packed


def record_key(record: LookupRecord) -> bytes:
    """The key of a record in the map `records`."""
    return RECORD_KEY.pack(record.vsid, octets(record.mac))


def neighbour_key(vsid: int, ca: Address) -> bytes:
    """The key of a CA in the map `neighbours`."""
    return NEIGHBOUR_KEY.pack(vsid, ca.version, ca.packed)


def nve_constants(policy: NvePolicy, slow_path: int) -> bytes:
    """A `struct nve`; `slow_path` is the interface index of that path's entry, or 0."""
    nve = policy.nve
    own4, own6 = nve.pas_of(4), nve.pas_of(6)
    if len(nve.pas) > MAX_PAS:
        raise ValueError(f"{nve.host} has more than {MAX_PAS} PAs")
    return NVE.pack(
        b"".join(pa.packed for pa in own4),
        b"".join(pa.packed for pa in own6),
        len(own4),
        len(own6),
        nve.pa_choice is PaChoice.FLOW,
        nve.flow_ids is FlowIds.FLOW,
        nve.too_big is not TooBig.DROP,
        nve.unknown is UnknownUnicast.FLOOD,
        nve.clamp_mss,
        list(SourceCheck).index(nve.source_check),
        nve.too_big is TooBig.FRAGMENT,
        nve.neighbours is Neighbours.PROXY,
        nve.ttl,
        0 if nve.dscp == COPY else nve.dscp << 2,
        nve.dscp == COPY,
        nve.ecn is Ecn.COPY,
        any(port.vid for port in policy.ports),
        bool(nve.pcp_to_dscp),
        bytes(nve.pcp_to_dscp[pcp] << 2 if pcp in nve.pcp_to_dscp else NO_DSCP for pcp in range(8)),
        bool(policy.routers),
        nve.fragments is Fragments.REASSEMBLE,
        nve.too_big is TooBig.FRAGMENT_OUTER,
        any(port.acl for port in policy.ports),
        bool(policy.verified),
        nve.carries is not Carries.ETHERNET,
        nve.carries is Carries.IP_BY_CA,
        sum(1 << bit for bit, deviation in enumerate(Deviation) if deviation in nve.deviations),
        slow_path,
    )


def port_value(policy: NvePolicy, port: Port, number: int, slot: int) -> bytes:
    """A `struct port`."""
    sources = [policy.fixed_source_pa(port, version) for version in (4, 6)]
    source4, source6 = (source.packed if source else b"" for source in sources)
    access = len(policy.ports_at(port.interface)) == 1 and port.vid is None
    return PORT.pack(port.vsid, slot, number, port.vid or 0, octets(port.mac), port.any_ca, access, source4, source6)


def sum_counters(per_cpu: bytes) -> SubnetCounters:
    """The counters of one slot, summed over CPUs."""
    sums = _sums(COUNTERS, per_cpu)
    return SubnetCounters(dropped=_dropped(sums[len(DONE) :]), **dict(zip(DONE, sums, strict=False)))


def sum_port(per_cpu: bytes) -> PortCounters:
    """The counters of the end that is a port, summed over CPUs."""
    came, came_bytes, went, went_bytes, *dropped = _sums(END, per_cpu)
    return PortCounters(came, came_bytes, went, went_bytes, _dropped(dropped))


def sum_pa(per_cpu: bytes) -> PaCounters:
    """The counters of the end that is a PA, summed over CPUs."""
    came, came_bytes, went, went_bytes, *dropped = _sums(END, per_cpu)
    return PaCounters(went, went_bytes, came, came_bytes, _dropped(dropped))


def _sums(layout: struct.Struct, per_cpu: bytes) -> list[int]:
    return [sum(column) for column in zip(*layout.iter_unpack(per_cpu), strict=True)]


def _dropped(sums: Sequence[int]) -> dict[Drop, int]:
    return {reason: sums[reason] for reason in Drop if sums[reason]}


def unpack_address(version: int, packed: bytes) -> Address:
    """An address of an IP version, from at most 16 bytes."""
    return IPv4Address(packed[:4]) if version == 4 else IPv6Address(packed)
