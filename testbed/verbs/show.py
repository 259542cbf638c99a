"""`show`: what the networks that run now have counted."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass

import click

from nvgre_node import run
from nvgre_node.dataplane.base import NO_SUBNET, SubnetCounters
from nvgre_node.errors import MissingError
from testbed.tables import show, table


@dataclass(frozen=True)
class Row:
    """The counters of one virtual subnet at one NVE of one run."""

    run: str
    host: str
    vsid: int
    counters: SubnetCounters


def rows() -> Iterator[Row]:
    """What every NVE of every live run has counted; those of the `ebpf` data plane can be read from outside."""
    from nvgre_node.dataplane.ebpf import pinned_counters
    from nvgre_node.dataplane.libbpf import BpfError

    for run_id in run.alive():
        for host in sorted((run.ROOT / run_id / "bpf").glob("*/counters")):
            try:
                found = pinned_counters(host.parent)
            except BpfError:  # the network has ended meanwhile
                continue
            yield from (Row(run_id, host.parent.name, vsid, counters) for vsid, counters in found.items())


@click.command(short_help="Counters of the networks that run now.")
@click.argument("what", type=click.Choice(["counters"]))
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(what: str, as_json: bool) -> None:  # noqa: ARG001 (there is but one thing to show so far)
    """Show the counters of every NVE that runs now (of `up`, `mn` or `run`), per virtual subnet and drop reason."""
    if os.geteuid() != 0:
        raise MissingError("reading BPF maps needs root: use sudo")
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
