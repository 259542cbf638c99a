"""`list`: what there is, and what of it runs on this machine."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import click

from experiments.explain import EXPLANATIONS
from experiments.runner import EXPERIMENTS
from nvgre_node.dataplane import DATAPLANES, implementation
from testbed.features import missing_for
from testbed.tables import show, table
from topologies import load, shipped


@dataclass(frozen=True)
class Entry:
    """One thing that a user can name on the command line; `missing` is empty if it runs here."""

    kind: str
    name: str
    what: str
    missing: str


def entries() -> list[Entry]:
    """Everything that can be named."""
    return [
        *(Entry("scenario", name, load(name).title, missing_for([])) for name in shipped()),
        *(Entry("experiment", name, EXPLANATIONS[name].question, missing_for([name])) for name in EXPERIMENTS),
        *(Entry("data plane", name, implementation(name).summary, missing_for([name])) for name in DATAPLANES),
    ]


@click.command(short_help="What there is.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(as_json: bool) -> None:
    """List scenarios, experiments and data planes: which run on this machine, and why the others do not."""
    found = entries()
    if as_json:
        click.echo(json.dumps([asdict(entry) for entry in found], indent=2))
        return
    made = table("", "name", "what it is", "runs here")
    for entry in found:
        made.add_row(entry.kind, entry.name, entry.what, f"no: {entry.missing}" if entry.missing else "yes")
    show(made)
