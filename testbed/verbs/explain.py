"""`explain`: which records decide where a packet goes."""

from __future__ import annotations

import json

import click
from rich.console import Console
from rich.table import Table

from topologies import load


@click.command(short_help="Which records decide where a packet goes.")
@click.argument("scenario")
@click.argument("vm")
@click.argument("destination")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(scenario: str, vm: str, destination: str, as_json: bool) -> None:
    """Say which records of SCENARIO decide where a packet from VM to DESTINATION (an address, or a VM) goes.

    Nothing is built; no root is needed.
    """
    steps = load(scenario).policy.explain(vm, destination)
    if as_json:
        click.echo(json.dumps([vars(step) for step in steps], indent=2))
        return
    table = Table(title=f"{vm} to {destination}", title_justify="left")
    for heading in ("", "asked", "answer", "because"):
        table.add_column(heading)
    for number, step in enumerate(steps, start=1):
        table.add_row(str(number), step.what, step.result, step.because)
    Console().print(table)
