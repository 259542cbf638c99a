"""What the BPF maps of an NVE hold: its policy, table by table, and how to get from one policy to the next. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain

from nvgre_node.dataplane import acl_map
from nvgre_node.dataplane.base import NO_SUBNET
from nvgre_node.dataplane.layouts import (
    EVERY_MAC,
    MAX_REPLICAS,
    NEIGHBOUR,
    NOWHERE,
    PEER_KEY,
    PORT_KEY,
    RECORD,
    RECORD_KEY,
    RECORD_ROUTER,
    RECORD_TYPES,
    REPLICA_KEY,
    ROUTE,
    ROUTE_KEY,
    ROUTER,
    SOURCE_KEY,
    U32,
    mapped,
    neighbour_key,
    port_value,
    record_key,
)
from nvgre_node.policy import LookupRecord, NvePolicy, Port
from nvgre_node.routing import ROUTER_MAC
from nvgre_node.vendor import VSID_VENDOR
from nvgre_node.wire import octets

Table = dict[bytes, bytes]
Entry = tuple[str, bytes, bytes]
"""Name of a map, key, and value."""

ORDER = (
    *("subnets", "peers", "joined", "groups", "routers", "routes", "sources", "acls", "port_keys", "ports"),
    *("local_replicas", "remote_replicas", "record_keys", "records", "neighbours"),
)
"""The maps, what others point to first: a packet never finds a record whose NVE may not send yet."""

_LISTS = frozenset({"local_replicas", "remote_replicas"})
"""What a packet goes through from end to end: what changes its place in them leaves it first."""
_ARRAYS = frozenset({"port_keys", "record_keys"})
"""What is left in them names what is not there any more."""

SPARE = {"counters": 64, "record_keys": 1024, "port_keys": 256}
"""Room for what comes while the NVE lives."""


@dataclass
class Numbering:
    """The numbers by which the programs know things, and who has one keeps it."""

    slots: dict[int, int] = field(default_factory=lambda: {NO_SUBNET: 0})
    records: dict[bytes, int] = field(default_factory=dict)
    ports: dict[tuple[str, int | None], int] = field(default_factory=dict)
    domains: dict[str, int] = field(default_factory=dict)

    @property
    def used(self) -> dict[str, int]:
        """How many entries that takes, of each map whose entries are numbered."""
        return {
            "counters": len(self.slots),
            "record_keys": len(self.records) + 1,
            "port_keys": len(self.ports) + 1,
        }

    def cover(self, policy: NvePolicy) -> None:
        """Gives a number to everything of a policy that has none yet."""
        for vsid in policy.vsids:
            self.slots.setdefault(vsid, len(self.slots))
        for key in map(record_key, policy.records):
            self.records.setdefault(key, len(self.records) + 1)
        for port in policy.ports:
            self.ports.setdefault((port.interface, port.vid), len(self.ports) + 1)
        for router in policy.routers:
            self.domains.setdefault(router.domain, len(self.domains))


def tables(policy: NvePolicy, index: Mapping[str, int], numbering: Numbering) -> dict[str, Table]:
    """What each map holds under a policy, in the order of ORDER. `index` are the interface indices of ports by name.

    Raises:
        ValueError: a virtual subnet has more ports here, or NVEs, than the programs can replicate to.
    """
    found: dict[str, Table] = {name: {} for name in ORDER}
    parts = [part(policy, index, numbering) for part in (_subnets, _ports, _records)]
    for name, key, value in chain(*parts, _groups(policy), _routing(policy, numbering)):
        found[name][key] = value
    return found


def changes(old: Mapping[str, Table], new: Mapping[str, Table]) -> Iterator[tuple[str, bytes, bytes | None]]:
    """What to write, and with None what to delete, to get from one to the other. Lists never show an entry twice."""
    for name, table in new.items():
        before = old.get(name, {})
        if name in _LISTS:
            before = {key: value for key, value in before.items() if table.get(key) == value}
            yield from ((name, key, None) for key in old.get(name, {}).keys() - before.keys())
        elif name not in _ARRAYS:
            yield from ((name, key, None) for key in before.keys() - table.keys())
        yield from ((name, key, value) for key, value in table.items() if before.get(key) != value)


def _subnets(policy: NvePolicy, index: Mapping[str, int], numbering: Numbering) -> Iterator[Entry]:
    for vsid in policy.vsids:
        slot = U32.pack(numbering.slots[vsid])
        yield "subnets", U32.pack(vsid), slot
        local = [(index[port.interface], port.vid or 0) for port in policy.ports if port.vsid == vsid]
        remote = policy.replicas[vsid]
        if max(len(local), len(remote)) > MAX_REPLICAS:
            raise ValueError(f"VSID {vsid} has more than {MAX_REPLICAS} ports on one host, or NVEs")
        for position, place in enumerate(local):
            yield "local_replicas", REPLICA_KEY.pack(vsid, position), PORT_KEY.pack(*place)
        for position, pa in enumerate(remote):
            yield "remote_replicas", REPLICA_KEY.pack(vsid, position), mapped(pa)
        for pa in policy.senders[vsid]:
            yield "peers", PEER_KEY.pack(vsid, mapped(pa)), slot
    for pa in policy.verified:
        yield "peers", PEER_KEY.pack(VSID_VENDOR, mapped(pa)), U32.pack(numbering.slots[NO_SUBNET])


def _groups(policy: NvePolicy) -> Iterator[Entry]:
    for group in policy.joined:
        yield "joined", mapped(group), b"\x01"
    for vsid, groups in policy.groups.items():
        carried = groups.by_mac | ({EVERY_MAC: groups.default} if groups.default else {})
        for mac, group in carried.items():
            yield "groups", RECORD_KEY.pack(vsid, mac), mapped(group)


def _routing(policy: NvePolicy, numbering: Numbering) -> Iterator[Entry]:
    for router in policy.routers:
        own4, own6 = (address.packed if (address := router.address(version)) else b"" for version in (4, 6))
        yield "routers", U32.pack(router.vsid), ROUTER.pack(numbering.domains[router.domain], own4, own6)
        for address in router.addresses:
            has = NEIGHBOUR.pack(octets(ROUTER_MAC), RECORD_ROUTER)
            yield "neighbours", neighbour_key(router.vsid, address), has
    for route in policy.routes:
        address, length = route.prefix.network_address, route.prefix.prefixlen
        key = ROUTE_KEY.pack(64 + length, numbering.domains[route.domain], address.version, address.packed)
        next_hop = route.next_hop.packed if route.next_hop else b""
        yield "routes", key, ROUTE.pack(route.vsid, route.next_hop is None, next_hop)


def _ports(policy: NvePolicy, index: Mapping[str, int], numbering: Numbering) -> Iterator[Entry]:
    for port in policy.ports:
        number, ifindex = numbering.ports[port.interface, port.vid], index[port.interface]
        key = PORT_KEY.pack(ifindex, port.vid or 0)
        yield "ports", key, port_value(policy, port, number, numbering.slots[port.vsid])
        yield "port_keys", U32.pack(number), key
        yield from _filters(port, number, ifindex)


def _filters(port: Port, number: int, ifindex: int) -> Iterator[Entry]:
    for source in port.sources:
        yield "sources", SOURCE_KEY.pack(number, source.version, source.packed), b"\1"
    for key, rules in acl_map.entries(port, ifindex):
        yield "acls", key, rules


def _records(policy: NvePolicy, index: Mapping[str, int], numbering: Numbering) -> Iterator[Entry]:
    for record in policy.records:
        key = record_key(record)
        number = numbering.records[key]
        yield "records", key, _record(policy, record, number, index)
        yield "record_keys", U32.pack(number), key
        type_ = RECORD_TYPES.index(record.type)
        yield "neighbours", neighbour_key(record.vsid, record.ca), NEIGHBOUR.pack(octets(record.mac), type_)


def _record(policy: NvePolicy, record: LookupRecord, number: int, index: Mapping[str, int]) -> bytes:
    if policy.is_local(record):
        port = policy.port_of(record)
        return RECORD.pack(index[port.interface], record.deliver_vsid, number, port.vid or 0, NOWHERE)
    return RECORD.pack(0, record.deliver_vsid, number, 0, mapped(record.pa))
