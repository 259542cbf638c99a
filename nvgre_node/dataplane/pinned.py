"""What an NVE of another process works from, read from the maps that it pinned."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from ipaddress import IPv6Address
from pathlib import Path

from nvgre_node.dataplane import decoded
from nvgre_node.dataplane.base import NO_PA, NO_SUBNET, PaCounters, PortCounters, SubnetCounters
from nvgre_node.dataplane.decoded import NveTables, PinnedRecord, PinnedRoute
from nvgre_node.dataplane.layouts import (
    COUNTERS,
    END,
    END_FIRST_PORT,
    END_NO_PA,
    END_NO_PORT,
    NOWHERE,
    PEER,
    PEER_KEY,
    PORT,
    PORT_KEY,
    U32,
    sum_counters,
    sum_pa,
    sum_port,
)
from nvgre_node.dataplane.libbpf import Map
from nvgre_node.policy import Address
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


def pinned_records(directory: Path) -> list[PinnedRecord]:
    """The lookup records of an NVE that another process runs, and the addresses of its router. Raises as above."""
    return decoded.records(_read(directory, "records"), _read(directory, "neighbours"))


def pinned_routes(directory: Path) -> list[PinnedRoute]:
    """The routes of an NVE that another process runs. Raises as above."""
    return decoded.routes(_read(directory, "routes"))


def pinned_tables(directory: Path, names: Mapping[int, str]) -> NveTables:
    """All that an NVE of another process works from; `names` are those of its host's interfaces. Raises as above."""
    return decoded.decoded({name: _read(directory, name) for name in decoded.READ}, names)


def _read(directory: Path, name: str) -> dict[bytes, bytes]:
    with closing(Map.pinned(directory / name, *decoded.READ[name])) as found:
        return {key: value for key in found if (value := found.get(key)) is not None}


def pinned_peers(directory: Path) -> list[Address]:
    """The PAs that an NVE of another process may probe (V3), from the map that it pinned. Raises as pinned_counters."""
    with closing(Map.pinned(directory / "peers", PEER_KEY.size, PEER.size)) as peers:
        keys = [PEER_KEY.unpack(key) for key in peers]
    found = [IPv6Address(pa) for vsid, pa in keys if vsid == VSID_VENDOR]
    return sorted((pa.ipv4_mapped or pa for pa in found), key=lambda pa: (pa.version, int(pa)))
