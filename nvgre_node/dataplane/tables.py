"""What the BPF maps of an NVE hold: its policy, table by table, and how to get from one policy to the next. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from nvgre_node.dataplane import acl_map
from nvgre_node.dataplane.base import NO_PA, NO_SUBNET
from nvgre_node.dataplane.layouts import (
    END_FIRST_PORT,
    END_NO_PA,
    EVERY_MAC,
    LOCAL_REPLICA,
    MAX_REPLICAS,
    NEIGHBOUR,
    NOWHERE,
    PEER,
    PEER_KEY,
    PORT_KEY,
    RECORD,
    RECORD_KEY,
    RECORD_ROUTER,
    RECORD_TYPES,
    REMOTE,
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
from nvgre_node.errors import BadInputError
from nvgre_node.groups import ascending
from nvgre_node.policy import Address, LookupRecord, NvePolicy
from nvgre_node.routing import ROUTER_MAC
from nvgre_node.vendor import VSID_VENDOR
from nvgre_node.wire import octets

Table = dict[bytes, bytes]
Entry = tuple[str, bytes, bytes]
"""Name of a map, key, and value."""

ORDER = (
    *("end_pas", "subnets", "peers", "joined", "groups", "routers", "routes", "sources", "acls", "port_keys", "ports"),
    *("local_replicas", "remote_replicas", "record_keys", "records", "neighbours"),
)
"""The maps, what others point to first: a packet never finds a record whose NVE may not send yet."""

_LISTS = frozenset({"local_replicas", "remote_replicas"})
"""What a packet goes through from end to end: what changes its place in them leaves it first."""
_ARRAYS = frozenset({"port_keys", "record_keys", "end_pas"})
"""What is left in them names what is not there any more."""

SPARE = {"slots": 64, "records": 1024, "ports": 64, "pas": 64}
"""Room for what comes while the NVE lives."""


class Numbering:
    """The numbers by which the programs know and count things; who has one keeps it.

    The ends of an NVE, between which it carries frames, are counted by one row of numbers: ports, then remote PAs. When
    there are no more for new PAs, these are counted under NO_PA.
    """

    def __init__(self, policy: NvePolicy) -> None:
        self.slots = {NO_SUBNET: 0}
        self.records: dict[bytes, int] = {}
        self.ports: dict[str, int] = {}
        self.domains: dict[str, int] = {}
        self.pas = {NO_PA: END_NO_PA}
        self._room = {"slots": len(policy.vsids) + 1, "records": len(policy.records), "ports": len(policy.ports)}
        self._room = {name: used + SPARE[name] for name, used in self._room.items()}
        self._first_pa = END_FIRST_PORT + self._room["ports"] + 1
        self._last_pa = self._first_pa + len(policy.peer_pas) + SPARE["pas"]
        self.cover(policy)

    @property
    def sizes(self) -> dict[str, int]:
        """How many entries the maps have whose entries are numbered."""
        keys = {"record_keys": self._room["records"] + 1, "port_keys": self._room["ports"] + 1}
        return {"counters": self._room["slots"], "ends": self._last_pa, "end_pas": self._last_pa, **keys}

    def cover(self, policy: NvePolicy) -> None:
        """Gives a number to everything of a policy that has none yet.

        Raises:
            BadInputError: there is no room for so much that is new; nothing has got a number.
        """
        new: dict[str, list[Any]] = {
            "slots": [vsid for vsid in policy.vsids if vsid not in self.slots],
            "records": [key for key in dict.fromkeys(map(record_key, policy.records)) if key not in self.records],
            "ports": [port.name for port in policy.ports if port.name not in self.ports],
        }
        numbers: dict[str, dict[Any, int]] = {"slots": self.slots, "records": self.records, "ports": self.ports}
        if full := [name for name, keys in new.items() if len(numbers[name]) + len(keys) > self._room[name]]:
            raise BadInputError(f"{policy.nve.host}: no room for so many new {', '.join(full)} while it runs")
        for name, first in (("slots", 0), ("records", 1), ("ports", 1)):
            for key in new[name]:
                numbers[name][key] = len(numbers[name]) + first
        for router in policy.routers:
            self.domains.setdefault(router.domain, len(self.domains))
        for pa in ascending(policy.peer_pas - self.pas.keys()):
            if (number := self._first_pa + len(self.pas) - 1) < self._last_pa:
                self.pas[pa] = number

    def port_end(self, name: str) -> int:
        """By which a port is counted."""
        return END_FIRST_PORT + self.ports[name]

    def pa_end(self, pa: Address) -> int:
        """By which a remote PA, or a group of the underlay, is counted."""
        return self.pas.get(pa, END_NO_PA)

    def remote(self, pa: Address) -> bytes:
        """A `struct remote`."""
        return REMOTE.pack(mapped(pa), self.pa_end(pa))


def tables(policy: NvePolicy, index: Mapping[str, int], numbering: Numbering) -> dict[str, Table]:
    """What each map holds under a policy, in the order of ORDER. `index` are the interface indices of ports by name.

    Raises:
        ValueError: a virtual subnet has more ports here, or NVEs, than the programs can replicate to.
    """
    found: dict[str, Table] = {name: {} for name in ORDER}
    parts = [part(policy, index, numbering) for part in (_subnets, _ports, _records)]
    for name, key, value in chain(_routing(policy, numbering), _groups(policy, numbering), *parts):
        found[name].setdefault(key, value)  # the router's own addresses, and the first record of a MAC address
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
        slot = numbering.slots[vsid]
        yield "subnets", U32.pack(vsid), U32.pack(slot)
        own = [port for port in policy.ports if port.vsid == vsid]
        local = [(index[port.interface], port.vid or 0, numbering.port_end(port.name)) for port in own]
        remote = policy.replicas[vsid]
        if max(len(local), len(remote)) > MAX_REPLICAS:
            raise ValueError(f"VSID {vsid} has more than {MAX_REPLICAS} ports on one host, or NVEs")
        for position, place in enumerate(local):
            yield "local_replicas", REPLICA_KEY.pack(vsid, position), LOCAL_REPLICA.pack(*place)
        for position, pa in enumerate(remote):
            yield "remote_replicas", REPLICA_KEY.pack(vsid, position), numbering.remote(pa)
        for pa in policy.senders[vsid]:
            yield "peers", PEER_KEY.pack(vsid, mapped(pa)), PEER.pack(slot, numbering.pa_end(pa))
    for pa in policy.verified:
        vendor = PEER.pack(numbering.slots[NO_SUBNET], numbering.pa_end(pa))
        yield "peers", PEER_KEY.pack(VSID_VENDOR, mapped(pa)), vendor
    for pa, number in numbering.pas.items():
        if pa != NO_PA:
            yield "end_pas", U32.pack(number), mapped(pa)


def _groups(policy: NvePolicy, numbering: Numbering) -> Iterator[Entry]:
    for group in policy.joined:
        yield "joined", mapped(group), b"\x01"
    for vsid, groups in policy.groups.items():
        carried = groups.by_mac | ({EVERY_MAC: groups.default} if groups.default else {})
        for mac, group in carried.items():
            yield "groups", RECORD_KEY.pack(vsid, mac), numbering.remote(group)


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
        number, ifindex = numbering.ports[port.name], index[port.interface]
        key = PORT_KEY.pack(ifindex, port.vid or 0)
        yield "ports", key, port_value(policy, port, number, numbering.slots[port.vsid])
        yield "port_keys", U32.pack(number), key
        for source in port.sources:
            yield "sources", SOURCE_KEY.pack(number, source.version, source.packed), b"\1"
        for acl_key, rules in acl_map.entries(port, ifindex):
            yield "acls", acl_key, rules


def _records(policy: NvePolicy, index: Mapping[str, int], numbering: Numbering) -> Iterator[Entry]:
    for record in policy.records:
        key = record_key(record)
        number = numbering.records[key]
        yield "records", key, _record(policy, record, number, index, numbering)
        yield "record_keys", U32.pack(number), key
        type_ = RECORD_TYPES.index(record.type)
        yield "neighbours", neighbour_key(record.vsid, record.ca), NEIGHBOUR.pack(octets(record.mac), type_)


def _record(
    policy: NvePolicy, record: LookupRecord, number: int, index: Mapping[str, int], numbering: Numbering
) -> bytes:
    if policy.is_local(record):
        port = policy.port_of(record)
        end, vid = numbering.port_end(port.name), port.vid or 0
        return RECORD.pack(index[port.interface], record.deliver_vsid, number, vid, end, NOWHERE)
    return RECORD.pack(0, record.deliver_vsid, number, 0, numbering.pa_end(record.pa), mapped(record.pa))
