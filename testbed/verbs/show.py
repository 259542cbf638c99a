"""`show`: what the networks that run now have counted, and the lookup records and routes that NVEs work from."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from nvgre_node import run
from nvgre_node.dataplane.base import NO_SUBNET, SubnetCounters
from nvgre_node.errors import BadInputError, MissingError
from nvgre_node.namespace import NAMED, entered
from nvgre_node.policy import UNKNOWN_CA
from testbed.settings import settings_option
from testbed.tables import show, table
from topologies import load

_T = TypeVar("_T")
Shown = dict[str, Any]
"""A row of a table, by its headings: what JSON has, and a table in words."""


@dataclass(frozen=True)
class Row:
    """The counters of one virtual subnet at one NVE of one run."""

    run: str
    host: str
    vsid: int
    counters: SubnetCounters


def rows() -> Iterator[Row]:
    """What every NVE of every live run has counted; those of the `ebpf` data plane can be read from outside."""
    from nvgre_node.dataplane.pinned import pinned_counters

    for run_id, host, found in _everywhere(pinned_counters):
        yield from (Row(run_id, host, vsid, counters) for vsid, counters in found.items())


def running(what: str) -> Iterator[Shown]:
    """The records, or the routes, of every NVE of every live run."""
    from nvgre_node.dataplane.pinned import pinned_records, pinned_routes

    read: Callable[[Path], Sequence[object]] = pinned_records if what == "records" else pinned_routes
    for run_id, host, found in _everywhere(read):
        yield from ({"run": run_id, "host": host, **vars(entry)} for entry in found)


def planned(what: str, scenario: str, sets: Sequence[str] = ()) -> Iterator[Shown]:
    """The records, or the routes, of a scenario: nothing has to run."""
    policy = load(scenario, sets).policy
    if what == "records":
        for r in policy.records:
            ca = None if r.ca == UNKNOWN_CA else r.ca
            yield {"vsid": r.vsid, "ca": ca, "mac": r.mac, "pa": r.pa, "vm": r.vm, "type": r.type}
        return
    for route in policy.routes:
        way = {"prefix": route.prefix, "vsid": route.vsid, "next_hop": route.next_hop, "metric": route.metric}
        yield {"tenant": route.domain, **way}


def _everywhere(read: Callable[[Path], _T]) -> Iterator[tuple[str, str, _T]]:
    """(run, provider host, what is read of it) for every NVE that can be read."""
    from nvgre_node.dataplane.libbpf import BpfError

    if os.geteuid() != 0:
        raise MissingError("reading BPF maps needs root: use sudo")
    for run_id in run.alive():
        for host in sorted((run.ROOT / run_id / "bpf").glob("*/counters")):
            try:
                yield run_id, host.parent.name, read(host.parent)
            except BpfError:  # the network has ended meanwhile
                continue


@dataclass(frozen=True)
class Peer:
    """A peer that an NVE has verified, and the seconds until it answered, if it did."""

    run: str
    host: str
    peer: str
    seconds: float | None


def peers() -> Iterator[Peer]:
    """The verified peers of every NVE of every live run; each is asked now."""
    from nvgre_node.dataplane.pinned import pinned_peers
    from nvgre_node.probing import probe

    for run_id, host, verified in _everywhere(pinned_peers):
        with suppress(FileNotFoundError), entered(NAMED / f"{run_id}-{host}"):  # it may have ended meanwhile
            yield from [Peer(run_id, host, str(pa), probe(pa, 1.0)) for pa in verified]


def _show_peers(found: list[Peer], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([vars(peer) for peer in found], indent=2))
        return
    made = table("run", "host", "peer", "answered")
    for peer in found:
        answered = "no answer" if peer.seconds is None else f"in {peer.seconds * 1000:.2f} ms"
        made.add_row(peer.run, peer.host, peer.peer, answered)
    if found:
        show(made)
    else:
        click.echo("no NVE of the ebpf data plane runs now that has verified peers")


@click.command(short_help="Counters, records, routes and peers of the networks that run now.")
@click.argument("what", type=click.Choice(["counters", "records", "routes", "peers"]))
@click.argument("scenario", required=False)
@settings_option
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(what: str, scenario: str | None, sets: tuple[str, ...], as_json: bool) -> None:
    """Show what every NVE that runs now (of `up`, `mn` or `run`) has: counters, lookup records, routes, or peers.

    Counters are per virtual subnet and drop reason. Records and routes can also be those of a SCENARIO: then nothing
    has to run, and no root is needed. Peers are the other NVEs of this make, and how soon each answers a probe now (RFC
    7637 section 3.4): none where the scenario does not say `nve: {probe: true}`.
    """
    if sets and not scenario:
        raise BadInputError("--set is for a scenario: what runs is as it was built")
    if what == "counters":
        if scenario:
            raise BadInputError("a scenario counts nothing: counters are those of running networks")
        _show_counters(as_json)
    elif what == "peers":
        if scenario:
            raise BadInputError("a scenario has nobody to ask: peers are those of running networks")
        _show_peers(list(peers()), as_json)
    else:
        _show(list(planned(what, scenario, sets) if scenario else running(what)), what, as_json)


def _show(found: list[Shown], what: str, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(found, indent=2, default=str))
    elif found:
        made = table(*(name.replace("_", " ") for name in found[0]))
        for row in found:
            made.add_row(*(_word(name, value) for name, value in row.items()))
        show(made)
    else:
        click.echo(f"there are no {what}")


def _word(name: str, value: object) -> str:
    """A value in a table: what is not there, in words."""
    absent = {"ca": "unknown", "pa": "this host", "next_hop": "on-link"}
    return absent[name] if value is None and name in absent else str(value)


def _show_counters(as_json: bool) -> None:
    found = list(rows())
    if as_json:
        click.echo(json.dumps([_as_json(row) for row in found], indent=2))
        return
    done = ("encapsulated", "decapsulated", "local", "routed", "told_too_big", "answered")
    made = table("run", "host", "VSID", *(name.replace("_", " ") for name in done), "dropped")
    for row in found:
        counters = row.counters
        dropped = ", ".join(f"{reason.label} {count}" for reason, count in counters.dropped.items())
        counted = (str(getattr(counters, name)) for name in done)
        made.add_row(row.run, row.host, str(row.vsid) if row.vsid != NO_SUBNET else "none", *counted, dropped)
    if found:
        show(made)
    else:
        click.echo("no NVE of the ebpf data plane runs now")


def _as_json(row: Row) -> dict[str, object]:
    counted = vars(row.counters) | {"dropped": {reason.name: count for reason, count in row.counters.dropped.items()}}
    return {"run": row.run, "host": row.host, "vsid": row.vsid, **counted}
