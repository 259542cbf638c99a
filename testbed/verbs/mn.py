"""`mn`: the distribution's own `mn`, run by our interpreter so that it finds this project's classes."""

from __future__ import annotations

import os
import runpy
import shutil
import sys

import click

from nvgre_node import run
from nvgre_node.errors import MissingError


@click.command(
    short_help="Mininet's own mn.",
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": ["--help-verb"]},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> None:
    """Run Mininet's `mn` with ARGUMENTS, for example `--custom topologies/two_hosts.py --topo two_hosts`."""
    script = shutil.which("mn")
    if script is None:
        raise MissingError("Mininet's mn is missing (Debian: apt-get install mininet)")
    if os.geteuid() != 0 and not {"-h", "--help", "--version"} & set(arguments):
        raise MissingError("building a network needs root: use sudo")
    _tame_mininet()
    sys.argv = ["mn", *arguments]
    runpy.run_path(script, run_name="__main__")


def _tame_mininet() -> None:
    """Keeps Mininet from changing the machine's limits, and from a clean-up that kills processes by name."""
    import mininet.clean
    from mininet.net import Mininet

    Mininet.inited = True
    mininet.clean.cleanup = lambda: run.process_run().close()
