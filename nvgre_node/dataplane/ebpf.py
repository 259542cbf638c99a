"""The `ebpf` data plane: policy records become BPF maps, and tc programs on ports and uplinks work from them."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_network
from pathlib import Path
from typing import Any

from nvgre_node import namespace
from nvgre_node.dataplane import acl_map
from nvgre_node.dataplane.base import NO_SUBNET, Drop, Punted, Sighted, SubnetCounters
from nvgre_node.dataplane.build import object_file
from nvgre_node.dataplane.libbpf import Map, Object
from nvgre_node.dataplane.punt import PuntReader
from nvgre_node.dataplane.slow_path import SlowPath
from nvgre_node.multicast import Memberships
from nvgre_node.packet import path_mtu_listeners
from nvgre_node.policy import (
    COPY,
    MAX_PAS,
    Address,
    Ecn,
    FlowIds,
    Fragments,
    LookupRecord,
    Neighbours,
    Network,
    NvePolicy,
    PaChoice,
    Port,
    RecordType,
    SourceCheck,
    TooBig,
    UnknownUnicast,
)
from nvgre_node.routing import ROUTER_MAC
from nvgre_node.vendor import VSID_VENDOR
from nvgre_node.wire import octets

# The layouts of bpf/policy.h and bpf/counters.h. PAs are in network order, all else in the machine's.
_U32 = struct.Struct("=I")
_NVE = struct.Struct("=32s128s16B8s5B3xI")
_PORT_KEY = struct.Struct("=II")
_PORT = struct.Struct("=IIHH6sBB4s16s")
_SOURCE_KEY = struct.Struct("=II16s")
_RECORD_KEY = struct.Struct("=I6sxx")
_RECORD = struct.Struct("=IIII16s")
_PEER_KEY = struct.Struct("=I16s")
_NEIGHBOUR_KEY = struct.Struct("=II16s")
_NEIGHBOUR = struct.Struct("=6sBx")
_ROUTER = struct.Struct("=I4s16s")
_ROUTE_KEY = struct.Struct("=III16s")
_ROUTE = struct.Struct("=II16s")
_REPLICA_KEY = struct.Struct("=II")
_GROUP_UPLINK = struct.Struct("=I6sxx")
_DONE = (
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
_COUNTERS = struct.Struct(f"={len(_DONE) + len(Drop)}Q")

MAX_REPLICAS = 128
"""How many NVEs, and how many ports of one host, one virtual subnet may have (bpf/policy.h)."""

_NOWHERE = bytes(16)
_EVERY_MAC = bytes(6)
_NO_DSCP = 1
_AGE = struct.Struct("=Q")
_NANOSECONDS = 1_000_000_000
_SPARE_RECORDS = 1024  # that may be installed later
_RECORD_TYPES = tuple(RecordType)  # enum record_type
_RECORD_ROUTER = len(_RECORD_TYPES)
_L2ONLY = _RECORD_TYPES.index(RecordType.L2ONLY)


class EbpfDataPlane:
    """The NVE of one provider host as tc-BPF programs. Its maps are pinned under `directory`."""

    name = "ebpf"

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._object: Object | None = None
        self._listeners: list[socket.socket] = []
        self._memberships: Memberships | None = None
        self._punts: PuntReader | None = None
        self._slow_path: SlowPath | None = None
        self._slots: dict[int, int] = {}
        self._index: dict[str, int] = {}
        self._numbers: dict[bytes, int] = {}

    @property
    def loaded(self) -> Object:
        """The loaded programs and maps."""
        if self._object is None:
            raise RuntimeError("this data plane is not attached")
        return self._object

    def attach(self, policy: NvePolicy, uplinks: tuple[str, ...]) -> None:
        """Loads, fills the maps, pins them, and only then lets the programs see packets."""
        self._slots = {NO_SUBNET: 0} | {vsid: slot for slot, vsid in enumerate(policy.vsids, start=1)}
        self._numbers = _numbers(policy)
        slow_path = SlowPath.create() if SlowPath.is_wanted(policy.nve) else None
        with namespace.netlink() as ip:
            links = {link.get("ifname"): link for link in ip.get_links()}
        index = {name: link["index"] for name, link in links.items()}
        constants = {".rodata.nve": _nve(policy, slow_path)}
        if policy.joined:
            uplink = links[uplinks[0]]
            constants[".rodata.uplink"] = _GROUP_UPLINK.pack(uplink["index"], octets(uplink.get("address")))
            self._memberships = Memberships(uplink["index"])
        if policy.nve.unknown is UnknownUnicast.PUNT:
            constants[".rodata.punt"] = _U32.pack(1)
        constants[".rodata.learning"] = _AGE.pack(policy.nve.learning * _NANOSECONDS)
        numbered = {"record_keys": len(self._numbers) + 1 + _SPARE_RECORDS, "port_keys": len(policy.ports) + 1}
        sizes = {"counters": len(self._slots), **numbered}
        self._object = Object(object_file(), max_entries=sizes, constants=constants)
        self._policy, self._index = policy, {interface: index[interface] for interface in policy.interfaces}
        self._write(policy, self._index)
        self._object.pin(self._directory)
        if policy.nve.unknown is UnknownUnicast.PUNT:
            names = {number: name for name, number in self._index.items()}
            self._punts = PuntReader(self._object.maps["punts"], names)
        self._listeners = path_mtu_listeners()
        for interface in policy.interfaces:
            self._object.attach_ingress("from_port", index[interface])
            for family in ("ipv4", "ipv6"):  # bpf_fib_lookup asks for it
                namespace.set_sysctl(f"{family}/conf/{interface}/forwarding", 1)
        for name in uplinks:
            self._object.attach_ingress("from_uplink", index[name])
        if slow_path:
            self._object.attach_ingress("from_slow_path", slow_path.exit)
            self._slow_path = slow_path
            slow_path.serve(policy.nve)
        if self._memberships:
            self._memberships.keep(policy.joined)

    def _write(self, policy: NvePolicy, index: dict[str, int]) -> None:
        maps = self.loaded.maps
        for number, port in enumerate(policy.ports, start=1):
            self._write_port(policy, port, number, index[port.interface])
        for record in policy.records:
            self._write_record(policy, record, index)
        for vsid in policy.vsids:
            self._write_subnet(policy, vsid, index)
        for pa in policy.verified:
            maps["peers"][_PEER_KEY.pack(VSID_VENDOR, _mapped(pa))] = _U32.pack(self._slots[NO_SUBNET])
        for group in policy.joined:
            maps["joined"][_mapped(group)] = b"\x01"
        for vsid, groups in policy.groups.items():
            carried = groups.by_mac | ({_EVERY_MAC: groups.default} if groups.default else {})
            for mac, group in carried.items():
                maps["groups"][_RECORD_KEY.pack(vsid, mac)] = _mapped(group)
        self._write_routing(policy)

    def _write_routing(self, policy: NvePolicy) -> None:
        """Routing domains are numbered in the order of their interfaces."""
        maps, numbers = self.loaded.maps, list(dict.fromkeys(router.domain for router in policy.routers))
        for router in policy.routers:
            own4, own6 = (address.packed if (address := router.address(version)) else b"" for version in (4, 6))
            maps["routers"][_U32.pack(router.vsid)] = _ROUTER.pack(numbers.index(router.domain), own4, own6)
            for address in router.addresses:
                has = _NEIGHBOUR.pack(octets(ROUTER_MAC), _RECORD_ROUTER)
                maps["neighbours"][_neighbour_key(router.vsid, address)] = has
        for route in policy.routes:
            address, length = route.prefix.network_address, route.prefix.prefixlen
            key = _ROUTE_KEY.pack(64 + length, numbers.index(route.domain), address.version, address.packed)
            next_hop = route.next_hop.packed if route.next_hop else b""
            maps["routes"][key] = _ROUTE.pack(route.vsid, route.next_hop is None, next_hop)

    def _write_port(self, policy: NvePolicy, port: Port, number: int, ifindex: int) -> None:
        maps, key = self.loaded.maps, _PORT_KEY.pack(ifindex, port.vid or 0)
        maps["ports"][key] = _port(policy, port, number, self._slots[port.vsid])
        maps["port_keys"][_U32.pack(number)] = key
        for source in port.sources:
            maps["sources"][_SOURCE_KEY.pack(number, source.version, source.packed)] = b"\1"
        for acl_key, rules in acl_map.entries(port, ifindex):
            maps["acls"][acl_key] = rules

    def _write_record(self, policy: NvePolicy, record: LookupRecord, index: dict[str, int]) -> None:
        maps, key = self.loaded.maps, _record_key(record)
        maps["records"][key] = self._record(policy, record, index)
        maps["record_keys"][_U32.pack(self._numbers[key])] = key
        type_ = _RECORD_TYPES.index(record.type)
        maps["neighbours"][_neighbour_key(record.vsid, record.ca)] = _NEIGHBOUR.pack(octets(record.mac), type_)

    def _record(self, policy: NvePolicy, record: LookupRecord, index: dict[str, int]) -> bytes:
        number = self._numbers[_record_key(record)]
        if policy.is_local(record):
            port = policy.port_of(record)
            return _RECORD.pack(index[port.interface], record.deliver_vsid, number, port.vid or 0, _NOWHERE)
        return _RECORD.pack(0, record.deliver_vsid, number, 0, _mapped(record.pa))

    def _write_subnet(self, policy: NvePolicy, vsid: int, index: dict[str, int]) -> None:
        maps, slot = self.loaded.maps, _U32.pack(self._slots[vsid])
        maps["subnets"][_U32.pack(vsid)] = slot
        local = [(index[port.interface], port.vid or 0) for port in policy.ports if port.vsid == vsid]
        remote = policy.replicas[vsid]
        if max(len(local), len(remote)) > MAX_REPLICAS:
            raise ValueError(f"VSID {vsid} has more than {MAX_REPLICAS} ports on one host, or NVEs")
        for position, place in enumerate(local):
            maps["local_replicas"][_REPLICA_KEY.pack(vsid, position)] = _PORT_KEY.pack(*place)
        for position, pa in enumerate(remote):
            maps["remote_replicas"][_REPLICA_KEY.pack(vsid, position)] = _mapped(pa)
        self._write_senders(policy, vsid)

    def _write_senders(self, policy: NvePolicy, vsid: int) -> None:
        for pa in policy.senders[vsid]:
            self.loaded.maps["peers"][_PEER_KEY.pack(vsid, _mapped(pa))] = _U32.pack(self._slots[vsid])

    def punted(self) -> list[Punted]:
        """The frames that were handed to user space since the last call."""
        return self._punts.read() if self._punts else []

    def learnt(self) -> list[Sighted]:
        """What the NVE has learnt from packets, and not forgotten."""
        return [found for key in self.loaded.maps["learnt"] if (found := self._sighted(key))]

    def _sighted(self, key: bytes) -> Sighted | None:
        value = self.loaded.maps["learnt"].get(key)
        if value is None:  # it was forgotten meanwhile
            return None
        (seen,), (vsid, mac) = _AGE.unpack_from(value), _RECORD_KEY.unpack(key)
        pa = IPv6Address(_RECORD.unpack_from(value, _AGE.size)[-1])
        age = (time.monotonic_ns() - seen) / _NANOSECONDS
        return Sighted(vsid, mac.hex(":"), pa.ipv4_mapped or pa, age) if age < self._policy.nve.learning else None

    def install(self, record: LookupRecord) -> None:
        """Puts one lookup record into force; 1024 may be new."""
        self._policy = self._policy.with_record(record)
        self._numbers.setdefault(_record_key(record), len(self._numbers) + 1)
        for vsid in {record.vsid, record.deliver_vsid} & set(self._policy.vsids):
            self._write_senders(self._policy, vsid)
        self._write_record(self._policy, record, self._index)

    def counters(self) -> dict[int, SubnetCounters]:
        """Counters since attach, by VSID; NO_SUBNET holds what could be given to none."""
        return {vsid: _read(self.loaded.maps["counters"], slot) for vsid, slot in self._slots.items()}

    def close(self) -> None:
        """Leaves its groups and frees programs and maps; the pins go with the run's BPF file system."""
        if self._memberships is not None:
            self._memberships.close()
            self._memberships = None
        if self._punts is not None:
            self._punts.close()
            self._punts = None
        if self._object is not None:
            self._object.close()
            self._object = None
        if self._slow_path is not None:
            self._slow_path.close()
            self._slow_path = None
        while self._listeners:
            self._listeners.pop().close()


def _mapped(pa: Address) -> bytes:
    """A PA in 16 bytes: IPv4 as ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2)."""
    return pa.packed if pa.version == 6 else bytes(10) + b"\xff\xff" + pa.packed


def _record_key(record: LookupRecord) -> bytes:
    return _RECORD_KEY.pack(record.vsid, octets(record.mac))


def _numbers(policy: NvePolicy) -> dict[bytes, int]:
    """The numbers of the lookup records by their keys, from 1 on: a VM's CAs share one."""
    return {key: number for number, key in enumerate(dict.fromkeys(map(_record_key, policy.records)), start=1)}


def _neighbour_key(vsid: int, ca: Address) -> bytes:
    return _NEIGHBOUR_KEY.pack(vsid, ca.version, ca.packed)


def _nve(policy: NvePolicy, slow_path: SlowPath | None) -> bytes:
    nve = policy.nve
    own4, own6 = nve.pas_of(4), nve.pas_of(6)
    if len(nve.pas) > MAX_PAS:
        raise ValueError(f"{nve.host} has more than {MAX_PAS} PAs")
    return _NVE.pack(
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
        bytes(nve.pcp_to_dscp[pcp] << 2 if pcp in nve.pcp_to_dscp else _NO_DSCP for pcp in range(8)),
        bool(policy.routers),
        nve.fragments is Fragments.REASSEMBLE,
        nve.too_big is TooBig.FRAGMENT_OUTER,
        any(port.acl for port in policy.ports),
        bool(policy.verified),
        slow_path.entry if slow_path else 0,
    )


def _port(policy: NvePolicy, port: Port, number: int, slot: int) -> bytes:
    sources = [policy.fixed_source_pa(port, version) for version in (4, 6)]
    source4, source6 = (source.packed if source else b"" for source in sources)
    access = len(policy.ports_at(port.interface)) == 1 and port.vid is None
    return _PORT.pack(port.vsid, slot, number, port.vid or 0, octets(port.mac), port.any_ca, access, source4, source6)


def _read(counters: Map, slot: int) -> SubnetCounters:
    per_cpu = counters.get(_U32.pack(slot)) or b""
    sums = [sum(column) for column in zip(*_COUNTERS.iter_unpack(per_cpu), strict=True)]
    dropped = {reason: sums[len(_DONE) + reason] for reason in Drop if sums[len(_DONE) + reason]}
    return SubnetCounters(dropped=dropped, **dict(zip(_DONE, sums, strict=False)))


def pinned_counters(directory: Path) -> dict[int, SubnetCounters]:
    """The counters of an NVE that another process runs, from the maps that it pinned; by VSID, as `counters`.

    Raises:
        BpfError: there are no such maps (any more).
    """
    with (
        closing(Map.pinned(directory / "subnets", _U32.size, _U32.size)) as subnets,
        closing(Map.pinned(directory / "counters", _U32.size, _COUNTERS.size, per_cpu=True)) as counters,
    ):
        slots = {_U32.unpack(vsid)[0]: _U32.unpack(slot)[0] for vsid in subnets if (slot := subnets.get(vsid))}
        return {vsid: _read(counters, slot) for vsid, slot in sorted({NO_SUBNET: 0, **slots}.items())}


@dataclass(frozen=True)
class PinnedRecord:
    """A lookup record as an NVE has it: `pa` is None where the VM is on its own host, `ca` where none is known."""

    vsid: int
    ca: Address | None
    mac: str
    pa: Address | None
    deliver_vsid: int
    type: str


@dataclass(frozen=True)
class PinnedRoute:
    """A route as an NVE has it; routing domains are numbers there. `next_hop` is None for on-link."""

    domain: int
    prefix: Network
    vsid: int
    next_hop: Address | None


def pinned_records(directory: Path) -> list[PinnedRecord]:
    """The lookup records of an NVE that another process runs, and the addresses of its router. Raises as above."""
    with (
        closing(Map.pinned(directory / "records", _RECORD_KEY.size, _RECORD.size)) as records,
        closing(Map.pinned(directory / "neighbours", _NEIGHBOUR_KEY.size, _NEIGHBOUR.size)) as neighbours,
    ):
        known = {key: _RECORD.unpack(value) for key in records if (value := records.get(key))}
        cas = [(key, _NEIGHBOUR.unpack(value)) for key in neighbours if (value := neighbours.get(key))]
    found = [_pinned_record(known, *_NEIGHBOUR_KEY.unpack(key), *value) for key, value in cas]
    named = {(record.vsid, record.mac) for record in found}
    l2only = [_pinned_record(known, vsid, 4, bytes(16), mac, _L2ONLY) for vsid, mac in map(_RECORD_KEY.unpack, known)]
    rest = [record for record in l2only if (record.vsid, record.mac) not in named]
    return sorted([*found, *rest], key=lambda record: (record.vsid, record.mac, str(record.ca)))


def _pinned_record(
    known: Mapping[bytes, tuple[Any, ...]], vsid: int, version: int, ca: bytes, mac: bytes, kind: int
) -> PinnedRecord:
    ifindex, deliver_vsid, *_, pa = known.get(_RECORD_KEY.pack(vsid, mac), (1, vsid, _NOWHERE))
    mapped = IPv6Address(pa)
    remote = None if ifindex else mapped.ipv4_mapped or mapped
    type_ = "router" if kind == _RECORD_ROUTER else str(_RECORD_TYPES[kind])
    own_ca = None if kind == _L2ONLY else _address(version, ca)
    return PinnedRecord(vsid, own_ca, mac.hex(":"), remote, deliver_vsid, type_)


def pinned_routes(directory: Path) -> list[PinnedRoute]:
    """The routes of an NVE that another process runs. Raises as above."""
    with closing(Map.pinned(directory / "routes", _ROUTE_KEY.size, _ROUTE.size)) as routes:
        pairs = [(_ROUTE_KEY.unpack(key), _ROUTE.unpack(value)) for key in routes if (value := routes.get(key))]
    found = [
        PinnedRoute(
            domain,
            ip_network((_address(version, ca), bits - 64)),
            vsid,
            None if on_link else _address(version, next_hop),
        )
        for (bits, domain, version, ca), (vsid, on_link, next_hop) in pairs
    ]
    return sorted(found, key=lambda route: (route.domain, route.prefix.version, route.prefix.network_address.packed))


def _address(version: int, packed: bytes) -> Address:
    return IPv4Address(packed[:4]) if version == 4 else IPv6Address(packed)


def pinned_peers(directory: Path) -> list[Address]:
    """The PAs that an NVE of another process may probe (V3), from the map that it pinned. Raises as pinned_counters."""
    with closing(Map.pinned(directory / "peers", _PEER_KEY.size, _U32.size)) as peers:
        keys = [_PEER_KEY.unpack(key) for key in peers]
    found = [IPv6Address(pa) for vsid, pa in keys if vsid == VSID_VENDOR]
    return sorted((pa.ipv4_mapped or pa for pa in found), key=lambda pa: (pa.version, int(pa)))
