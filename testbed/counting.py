"""What `show counters` shows: the counters of NVEs that run now, by virtual subnet, by port and by remote PA."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click
from rich.table import Table

from nvgre_node.dataplane.base import NO_PA, NO_PORT, NO_SUBNET, Drop, PaCounters, PortCounters, SubnetCounters
from nvgre_node.policy import Address
from testbed.tables import show, table

_DONE = ("encapsulated", "decapsulated", "local", "routed", "told_too_big", "answered", "punted", "outer_fragments")
_NOBODYS = "none"
_UNCOUNTED = "not counted"
Json = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """The counters of one virtual subnet at one NVE of one run."""

    run: str
    host: str
    vsid: int
    counters: SubnetCounters


@dataclass(frozen=True)
class PortRow:
    """The counters of one port, which is in a virtual subnet unless it is NO_PORT."""

    run: str
    host: str
    port: str
    vsid: int | None
    counters: PortCounters


@dataclass(frozen=True)
class PaRow:
    """What one NVE exchanged with one PA."""

    run: str
    host: str
    pa: Address
    counters: PaCounters


@dataclass(frozen=True)
class Elsewhere:
    """An NVE of another data plane: what it counts, its own process knows."""

    run: str
    host: str
    dataplane: str
    lacks: Sequence[str] = ()


@dataclass(frozen=True)
class Counters:
    """All that was read."""

    by_vsid: Sequence[Row] = ()
    by_port: Sequence[PortRow] = ()
    by_pa: Sequence[PaRow] = ()
    elsewhere: Sequence[Elsewhere] = ()


def as_json(found: Counters) -> dict[str, list[Json]]:
    """All of it, for a program; `port` or `pa` is null where frames belong to none."""
    return {
        "by_vsid": [_head(row) | {"vsid": row.vsid} | _counted(row.counters) for row in found.by_vsid],
        "by_port": [
            _head(row) | {"port": row.port or None, "vsid": row.vsid} | _counted(row.counters) for row in found.by_port
        ],
        "by_pa": [
            _head(row) | {"pa": None if row.pa == NO_PA else str(row.pa)} | _counted(row.counters)
            for row in found.by_pa
        ],
        "elsewhere": [_head(row) | {"dataplane": row.dataplane, "lacks": list(row.lacks)} for row in found.elsewhere],
    }


def print_tables(found: Counters) -> None:
    """All of it, for a person: what has counted nothing, and is nobody's, is left out."""
    if found.by_vsid:
        for made in (_by_vsid(found.by_vsid), _by_port(found.by_port), _by_pa(found.by_pa)):
            show(made)
    elif not found.elsewhere:
        click.echo("no NVE of the ebpf data plane runs now")
    for row in found.elsewhere:
        lacks = f"; it has no {', no '.join(row.lacks)}" if row.lacks else ""
        click.echo(f"{row.run} {row.host}: only its own process can read what {row.dataplane} counts{lacks}")


def _by_vsid(rows: Iterable[Row]) -> Table:
    done = (name.replace("_", " ") for name in _DONE)
    made = table("run", "host", "VSID", *done, "dropped", title="by virtual subnet")
    for row in rows:
        vsid = _NOBODYS if row.vsid == NO_SUBNET else str(row.vsid)
        counted = (str(getattr(row.counters, name)) for name in _DONE)
        made.add_row(row.run, row.host, vsid, *counted, dropped(row.counters.dropped))
    return made


def _by_port(rows: Iterable[PortRow]) -> Table:
    made = table("run", "host", "port", "VSID", "sent", "bytes", "received", "bytes", "dropped", title="by port")
    for row in rows:
        own = row.counters
        if row.port == NO_PORT and own == PortCounters():
            continue
        counted = (own.sent, own.sent_bytes, own.received, own.received_bytes)
        vsid = _NOBODYS if row.vsid is None else str(row.vsid)
        made.add_row(row.run, row.host, row.port or _NOBODYS, vsid, *map(str, counted), dropped(own.dropped))
    return made


def _by_pa(rows: Iterable[PaRow]) -> Table:
    headings = ("encapsulated", "bytes", "decapsulated", "bytes", "dropped")
    made = table("run", "host", "remote PA", *headings, title="by remote PA")
    for row in rows:
        own = row.counters
        if row.pa == NO_PA and own == PaCounters():
            continue
        counted = (own.encapsulated, own.encapsulated_bytes, own.decapsulated, own.decapsulated_bytes)
        pa = _NOBODYS if row.pa == NO_PA else str(row.pa)
        made.add_row(row.run, row.host, pa, *map(str, counted), dropped(own.dropped))
    return made


def dropped(counted: Mapping[Drop, int] | None) -> str:
    """Drops in words: by reason, or that they are not counted."""
    if counted is None:
        return _UNCOUNTED
    return ", ".join(f"{reason.label} {count}" for reason, count in counted.items())


def _head(row: Row | PortRow | PaRow | Elsewhere) -> Json:
    return {"run": row.run, "host": row.host}


def _counted(counters: SubnetCounters | PortCounters | PaCounters) -> Json:
    drops = counters.dropped
    return vars(counters) | {"dropped": None if drops is None else {reason.name: n for reason, n in drops.items()}}
