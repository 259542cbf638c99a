"""`demo`: the main job, in under two minutes."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from experiments.runner import Plan
from testbed.verbs.run import result_options
from topologies import load

EXPERIMENTS = ("isolation", "mtu", "throughput")
"""What the demo runs, in this order."""


@click.command(short_help="The main job.")
@result_options
def command(out: Path, as_json: bool) -> int:
    """Build the Contoso/Fabrikam network, run three experiments in short form, and write a run with its report."""
    from testbed.screen import carry_out

    return carry_out(Plan(EXPERIMENTS, load("contoso_fabrikam"), quick=True, out=out, arguments=sys.argv[1:]), as_json)
