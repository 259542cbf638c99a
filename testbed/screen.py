"""What experiments show on a terminal: progress while they run, and a summary at the end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from experiments import schema
from experiments.as_expected import rows
from experiments.interop import matrix
from experiments.interop.matrix import Cell, State
from experiments.interop.rows import row_of
from experiments.results import Measurement, Outcome, Verdict
from experiments.runner import Plan, conduct
from experiments.store import Run
from nvgre_node.errors import MissingError
from testbed import tables
from testbed.features import missing_for, missing_for_a_target
from testbed.workbench import Guests

_COLOURS = {Verdict.PASS: "bold green", Verdict.FAIL: "bold red", Verdict.SKIP: "yellow"}
_SHOWN = 3


def carry_out(plan: Plan, as_json: bool) -> int:
    """Runs a plan with progress on standard error, prints its result, and returns the exit status."""
    if missing := missing_for_a_target() if plan.target else missing_for([*plan.dataplanes, *plan.experiments]):
        raise MissingError(missing)
    with progress_bars() as bars:
        run = conduct(plan, bars, Guests())
    if as_json:
        click.echo(json.dumps({"run": str(run.folder), **_with_samples(run)}, indent=2))
    else:
        show(run)
    return 1 if any(outcome.verdict is Verdict.FAIL for outcome in run.outcomes) else 0


def _with_samples(run: Run) -> dict[str, Any]:
    """The content of `results.json`, and the samples that a run keeps in its CSV files."""
    written = schema.write(run.outcomes)
    for entry, outcome in zip(written["experiments"], run.outcomes, strict=True):
        entry["samples"] = list(outcome.samples)
    return written


@contextmanager
def progress_bars() -> Iterator[Any]:
    """A maker of listeners, one bar each; on standard error, so that results can be piped."""
    columns = (
        TextColumn("{task.fields[experiment]:<18}"),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:

        def listener(experiment: str, dataplane: str) -> Any:
            task = bars.add_task("starting", experiment=f"{experiment} ({dataplane})", total=None)
            return lambda done, total, what: bars.update(task, completed=done, total=total, description=what)

        yield listener


def show(run: Run) -> None:
    """Prints one summary table of a run, and where its report is."""
    about = run.manifest["target" if run.is_of_target else "scenario"]["name"]
    made = tables.table("experiment", "data plane", "verdict", "checks", "key figures", title=about)
    for outcome in run.outcomes:
        verdict = f"[{_COLOURS[outcome.verdict]}]{outcome.verdict}[/]"
        checks = f"{len(outcome.passed)} of {len(outcome.checks)}"
        made.add_row(outcome.experiment, outcome.dataplane, verdict, checks, "\n".join(_key_figures(outcome)))
    tables.show(made)
    for outcome in run.outcomes:
        if outcome.experiment == "interop" and outcome.samples:
            show_matrix(outcome)
        if outcome.experiment == "expectations":
            tables.show(_expectations(outcome))
    for outcome in run.outcomes:
        if outcome.reason:
            click.echo(f"{outcome.experiment}: {outcome.reason}")
    click.echo(f"Report: {run.folder / 'report.html'}")


_STYLES = {State.ANY: "bold green", State.ZERO: "bold yellow", State.WRONG: "bold red", State.EMPTY: "dim"}


def show_matrix(outcome: Outcome) -> None:
    """Prints who understands whom: a line for each end, a column for each data plane."""
    found = matrix.table([row_of(sample) for sample in outcome.samples])
    made = tables.table("", *found.columns, title="who with whom")
    for name, cells in found.lines:
        made.add_row(name, *map(_cell, cells), end_section=True)
    tables.show(made)
    for remark in found.remarks:
        click.echo(remark)


def _cell(cell: Cell | None) -> str:
    if cell is None:
        return ""
    return "\n".join([f"[{_STYLES[cell.state]}]{cell.state}[/]", *map(escape, cell.lines)])


def _expectations(outcome: Outcome) -> Table:
    """What the scenario expects beside what was seen."""
    made = tables.table("expectation", "pairs", "expected", "observed", "", title=f"on {outcome.dataplane}")
    for row in rows(outcome.samples):
        verdict = Verdict.PASS if row.holds else Verdict.FAIL
        made.add_row(row.what, str(row.pairs), row.expected, row.observed, f"[{_COLOURS[verdict]}]{verdict}[/]")
    return made


def _key_figures(outcome: Outcome) -> list[str]:
    """The first few measurements; ratios first, since they alone can be compared between machines."""
    ordered = sorted(outcome.measurements, key=lambda measurement: measurement.unit != "ratio")
    return [_in_words(measurement) for measurement in ordered[:_SHOWN]]


def _in_words(measurement: Measurement) -> str:
    value = f"{measurement.median:.4g}"
    if measurement.low != measurement.high:
        value += f" ({measurement.low:.4g} to {measurement.high:.4g})"
    return f"{measurement.name}: {value} {'' if measurement.unit == 'ratio' else measurement.unit}".rstrip()
