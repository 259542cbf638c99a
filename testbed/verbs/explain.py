"""`explain`: which records decide where a packet goes."""

from __future__ import annotations

import json

import click

from nvgre_node.explain import explain
from testbed.settings import settings_option
from testbed.tables import show, table
from topologies import load


@click.command(short_help="Which records decide where a packet goes.")
@click.argument("scenario")
@click.argument("vm")
@click.argument("destination")
@settings_option
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(scenario: str, vm: str, destination: str, sets: tuple[str, ...], as_json: bool) -> None:
    """Say which records of SCENARIO decide where a packet from VM to DESTINATION (an address, or a VM) goes.

    Nothing is built; no root is needed.
    """
    steps = explain(load(scenario, sets).policy, vm, destination)
    if as_json:
        click.echo(json.dumps([vars(step) for step in steps], indent=2))
        return
    made = table("", "asked", "answer", "because", title=f"{vm} to {destination}")
    for number, step in enumerate(steps, start=1):
        made.add_row(str(number), step.what, step.result, step.because)
    show(made)
