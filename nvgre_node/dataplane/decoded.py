"""What the BPF maps of an NVE say, in words: what `tables` writes, read back. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_network
from typing import Any

from nvgre_node.dataplane.layouts import (
    L2ONLY,
    NEIGHBOUR,
    NEIGHBOUR_KEY,
    NOWHERE,
    PEER,
    PEER_KEY,
    PORT,
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
    U32,
    unpack_address,
)
from nvgre_node.dataplane.tables import Numbering, Table, tables
from nvgre_node.policy import Address, Network, NvePolicy
from nvgre_node.vendor import VSID_VENDOR


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


@dataclass(frozen=True)
class NveTables:
    """What an NVE works from. A routing domain is told by the lowest VSID in which it has its router.

    `ports` are VSIDs by the port's name as in `Port.name`; `records` are by VSID and CA, or MAC address where no CA is
    known. `senders` may send into a virtual subnet, and `replicas` get its broadcasts.
    """

    ports: Mapping[str, int]
    records: Mapping[tuple[int, str], PinnedRecord]
    routes: Mapping[tuple[int, Network], PinnedRoute]
    senders: frozenset[tuple[int, Address]]
    replicas: frozenset[tuple[int, Address]]


READ = {
    "ports": (PORT_KEY.size, PORT.size),
    "records": (RECORD_KEY.size, RECORD.size),
    "neighbours": (NEIGHBOUR_KEY.size, NEIGHBOUR.size),
    "routers": (U32.size, ROUTER.size),
    "routes": (ROUTE_KEY.size, ROUTE.size),
    "peers": (PEER_KEY.size, PEER.size),
    "remote_replicas": (REPLICA_KEY.size, REMOTE.size),
}
"""The maps that `decoded` needs, with the sizes of their keys and values."""


def expected(policy: NvePolicy) -> NveTables:
    """What an NVE works from that does what a policy says."""
    index = {name: number for number, name in enumerate(policy.interfaces, start=1)}
    return decoded(tables(policy, index, Numbering(policy)), {number: name for name, number in index.items()})


def decoded(found: Mapping[str, Table], names: Mapping[int, str]) -> NveTables:
    """What maps say, in which interfaces have indices: `names` are theirs."""
    ports = {_port_name(names, *PORT_KEY.unpack(key)): PORT.unpack(value)[0] for key, value in found["ports"].items()}
    known = records(found["records"], found["neighbours"])
    domains = {U32.unpack(key)[0]: ROUTER.unpack(value)[0] for key, value in found["routers"].items()}
    lowest = {number: min(vsid for vsid, own in domains.items() if own == number) for number in domains.values()}
    senders = (PEER_KEY.unpack(key) for key in found["peers"])
    replicas = (
        (REPLICA_KEY.unpack(key)[0], REMOTE.unpack(value)[0]) for key, value in found["remote_replicas"].items()
    )
    return NveTables(
        ports,
        {(own.vsid, str(own.ca or own.mac)): own for own in known},
        {(lowest.get(own.domain, 0), own.prefix): own for own in routes(found["routes"])},
        frozenset((vsid, unmapped(pa)) for vsid, pa in senders if vsid != VSID_VENDOR),
        frozenset((vsid, unmapped(pa)) for vsid, pa in replicas),
    )


def _port_name(names: Mapping[int, str], ifindex: int, vid: int) -> str:
    name = names.get(ifindex, f"interface {ifindex}")
    return f"{name}.{vid}" if vid else name


def unmapped(packed: bytes) -> Address:
    """The PA of 16 bytes that `layouts.mapped` made."""
    pa = IPv6Address(packed)
    return pa.ipv4_mapped or pa


def records(known: Table, neighbours: Table) -> list[PinnedRecord]:
    """The lookup records, and the addresses of the router, of the maps `records` and `neighbours`."""
    values = {key: RECORD.unpack(value) for key, value in known.items()}
    cas = ((*NEIGHBOUR_KEY.unpack(key), *NEIGHBOUR.unpack(value)) for key, value in neighbours.items())
    found = [_record(values, *ca) for ca in cas if ca[-1] == RECORD_ROUTER or RECORD_KEY.pack(ca[0], ca[3]) in values]
    named = {(record.vsid, record.mac) for record in found}
    l2only = [_record(values, vsid, 4, bytes(16), mac, L2ONLY) for vsid, mac in map(RECORD_KEY.unpack, values)]
    rest = [record for record in l2only if (record.vsid, record.mac) not in named]
    return sorted([*found, *rest], key=lambda record: (record.vsid, record.mac, str(record.ca)))


def _record(
    known: Mapping[bytes, tuple[Any, ...]], vsid: int, version: int, ca: bytes, mac: bytes, kind: int
) -> PinnedRecord:
    ifindex, deliver_vsid, *_, pa = known.get(RECORD_KEY.pack(vsid, mac), (1, vsid, NOWHERE))
    type_ = "router" if kind == RECORD_ROUTER else str(RECORD_TYPES[kind])
    own_ca = None if kind == L2ONLY else unpack_address(version, ca)
    return PinnedRecord(vsid, own_ca, mac.hex(":"), None if ifindex else unmapped(pa), deliver_vsid, type_)


def routes(found: Table) -> list[PinnedRoute]:
    """The routes of the map `routes`."""
    made = list(_routes(found))
    return sorted(made, key=lambda route: (route.domain, route.prefix.version, route.prefix.network_address.packed))


def _routes(found: Table) -> Iterator[PinnedRoute]:
    for key, value in found.items():
        bits, domain, version, ca = ROUTE_KEY.unpack(key)
        vsid, on_link, next_hop = ROUTE.unpack(value)
        prefix = ip_network((unpack_address(version, ca), bits - 64))
        yield PinnedRoute(domain, prefix, vsid, None if on_link else unpack_address(version, next_hop))
