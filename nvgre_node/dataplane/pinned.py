"""What an NVE of another process works from, read from the maps that it pinned."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_network
from pathlib import Path
from typing import Any

from nvgre_node.dataplane.base import NO_PA, NO_SUBNET, PaCounters, PortCounters, SubnetCounters
from nvgre_node.dataplane.layouts import (
    COUNTERS,
    END,
    END_FIRST_PORT,
    END_NO_PA,
    END_NO_PORT,
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
    ROUTE,
    ROUTE_KEY,
    U32,
    sum_counters,
    sum_pa,
    sum_port,
    unpack_address,
)
from nvgre_node.dataplane.libbpf import Map
from nvgre_node.policy import Address, Network
from nvgre_node.vendor import VSID_VENDOR


def pinned_counters(directory: Path) -> dict[int, SubnetCounters]:
    """The counters of an NVE that another process runs, from the maps that it pinned; by VSID, as `counters`.

    Raises:
        BpfError: there are no such maps (any more).
    """
    with (
        closing(Map.pinned(directory / "subnets", U32.size, U32.size)) as subnets,
        closing(Map.pinned(directory / "counters", U32.size, COUNTERS.size, per_cpu=True)) as counters,
    ):
        slots = {U32.unpack(vsid)[0]: U32.unpack(slot)[0] for vsid in subnets if (slot := subnets.get(vsid))}
        return {
            vsid: sum_counters(counters.get(U32.pack(slot)) or b"")
            for vsid, slot in sorted({NO_SUBNET: 0, **slots}.items())
        }


@dataclass(frozen=True)
class PinnedPort:
    """A port as an NVE has it: an interface by its index, and the VLAN id of its frames, or 0. No VSID: it is none."""

    ifindex: int
    vid: int
    vsid: int | None
    counters: PortCounters


def pinned_ports(directory: Path) -> list[PinnedPort]:
    """The counters of an NVE of another process by its ports; the first is what was for none. Raises as above."""
    with (
        closing(Map.pinned(directory / "port_keys", U32.size, PORT_KEY.size)) as port_keys,
        closing(Map.pinned(directory / "ports", PORT_KEY.size, PORT.size)) as ports,
        closing(Map.pinned(directory / "ends", U32.size, END.size, per_cpu=True)) as ends,
    ):
        found = [PinnedPort(0, 0, None, sum_port(ends.get(U32.pack(END_NO_PORT)) or b""))]
        for number in port_keys:
            key = port_keys.get(number) or b""
            if (port := ports.get(key)) is not None:
                end = U32.pack(END_FIRST_PORT + U32.unpack(number)[0])
                ifindex, vid = PORT_KEY.unpack(key)
                found.append(PinnedPort(ifindex, vid, PORT.unpack(port)[0], sum_port(ends.get(end) or b"")))
    return found


def pinned_pas(directory: Path) -> dict[Address, PaCounters]:
    """The counters of an NVE of another process by remote PAs, as `pa_counters`. Raises as above."""
    with (
        closing(Map.pinned(directory / "end_pas", U32.size, len(NOWHERE))) as pas,
        closing(Map.pinned(directory / "ends", U32.size, END.size, per_cpu=True)) as ends,
    ):
        found = {NO_PA: sum_pa(ends.get(U32.pack(END_NO_PA)) or b"")}
        for number in pas:
            if (packed := pas.get(number) or NOWHERE) != NOWHERE:
                pa = IPv6Address(packed)
                found[pa.ipv4_mapped or pa] = sum_pa(ends.get(number) or b"")
    return found


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
        closing(Map.pinned(directory / "records", RECORD_KEY.size, RECORD.size)) as records,
        closing(Map.pinned(directory / "neighbours", NEIGHBOUR_KEY.size, NEIGHBOUR.size)) as neighbours,
    ):
        known = {key: RECORD.unpack(value) for key in records if (value := records.get(key))}
        cas = [(key, NEIGHBOUR.unpack(value)) for key in neighbours if (value := neighbours.get(key))]
    found = [_pinned_record(known, *NEIGHBOUR_KEY.unpack(key), *value) for key, value in cas]
    named = {(record.vsid, record.mac) for record in found}
    l2only = [_pinned_record(known, vsid, 4, bytes(16), mac, L2ONLY) for vsid, mac in map(RECORD_KEY.unpack, known)]
    rest = [record for record in l2only if (record.vsid, record.mac) not in named]
    return sorted([*found, *rest], key=lambda record: (record.vsid, record.mac, str(record.ca)))


def _pinned_record(
    known: Mapping[bytes, tuple[Any, ...]], vsid: int, version: int, ca: bytes, mac: bytes, kind: int
) -> PinnedRecord:
    ifindex, deliver_vsid, *_, pa = known.get(RECORD_KEY.pack(vsid, mac), (1, vsid, NOWHERE))
    mapped = IPv6Address(pa)
    remote = None if ifindex else mapped.ipv4_mapped or mapped
    type_ = "router" if kind == RECORD_ROUTER else str(RECORD_TYPES[kind])
    own_ca = None if kind == L2ONLY else unpack_address(version, ca)
    return PinnedRecord(vsid, own_ca, mac.hex(":"), remote, deliver_vsid, type_)


def pinned_routes(directory: Path) -> list[PinnedRoute]:
    """The routes of an NVE that another process runs. Raises as above."""
    with closing(Map.pinned(directory / "routes", ROUTE_KEY.size, ROUTE.size)) as routes:
        pairs = [(ROUTE_KEY.unpack(key), ROUTE.unpack(value)) for key in routes if (value := routes.get(key))]
    found = [
        PinnedRoute(
            domain,
            ip_network((unpack_address(version, ca), bits - 64)),
            vsid,
            None if on_link else unpack_address(version, next_hop),
        )
        for (bits, domain, version, ca), (vsid, on_link, next_hop) in pairs
    ]
    return sorted(found, key=lambda route: (route.domain, route.prefix.version, route.prefix.network_address.packed))


def pinned_peers(directory: Path) -> list[Address]:
    """The PAs that an NVE of another process may probe (V3), from the map that it pinned. Raises as pinned_counters."""
    with closing(Map.pinned(directory / "peers", PEER_KEY.size, PEER.size)) as peers:
        keys = [PEER_KEY.unpack(key) for key in peers]
    found = [IPv6Address(pa) for vsid, pa in keys if vsid == VSID_VENDOR]
    return sorted((pa.ipv4_mapped or pa for pa in found), key=lambda pa: (pa.version, int(pa)))
