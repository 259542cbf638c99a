"""`clean`: removes what crashed runs left."""

from __future__ import annotations

import json
import os

import click

from nvgre_node import run
from nvgre_node.errors import MissingError


@click.command(short_help="Remove what crashed runs left.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(as_json: bool) -> None:
    """Remove every namespace, link, BPF pin and process of runs whose owner is dead; runs that live are not touched."""
    if os.geteuid() != 0:
        raise MissingError("cleaning up needs root: use sudo")
    removed, alive = run.clean(), run.alive()
    if as_json:
        click.echo(json.dumps({"removed": removed, "alive": alive}, indent=2))
        return
    click.echo(f"removed: {', '.join(removed) or 'nothing was left behind'}")
    if alive:
        click.echo(f"left alone, since their owners live: {', '.join(alive)}")
