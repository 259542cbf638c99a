"""`migrate`: moves a VM of a network that `up` keeps running."""

from __future__ import annotations

import os

import click

from nvgre_node import control
from nvgre_node.errors import BadInputError, MissingError


@click.command(short_help="Move a VM of a running network to another provider host.")
@click.argument("vm")
@click.argument("host")
@click.option("--run", "run_id", metavar="ID", help="Which network, where `up` runs several.")
def command(vm: str, host: str, run_id: str | None) -> None:
    """Move VM to HOST in a network that ./nvgre up runs in another terminal: CAs, MAC address and VSID stay."""
    if os.geteuid() != 0:
        raise MissingError("changing a running network needs root: use sudo")
    click.echo(control.ask(run_id or the_only_one(), "migrate", vm, host))


def the_only_one() -> str:
    """The id of the run that listens, if there is just one.

    Raises:
        BadInputError: there is none, or several.
    """
    match control.listening():
        case [only]:
            return only
        case []:
            raise BadInputError("no network is up: start one with ./nvgre up SCENARIO, in another terminal")
        case several:
            raise BadInputError(f"several networks are up: say which with --run: {', '.join(several)}")
