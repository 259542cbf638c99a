"""`report`: renders a run again."""

from __future__ import annotations

from pathlib import Path

import click

from experiments.runner import RESULTS
from experiments.store import Run
from nvgre_node.errors import BadInputError
from topologies import load
from topologies.target import load_target


@click.command(short_help="Render a run again.")
@click.argument("run")
def command(run: str) -> None:
    """Draw the figures of RUN, a folder or its name under results/, and write its report.html again."""
    folder = Path(run) if Path(run).is_dir() else RESULTS / run
    opened = Run.open(folder)
    if opened.scenario_text is None:
        raise BadInputError(f"{folder}: there is no {opened.source.name} in it, so its network cannot be drawn")
    scenario = load_target(opened.source).scenario if opened.is_of_target else load(opened.source)
    from experiments.runner import render

    click.echo(f"Report: {render(opened, scenario)}")
