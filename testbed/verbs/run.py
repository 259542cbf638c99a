"""`run`: experiments on a scenario."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from experiments.runner import EXPERIMENTS, FOREIGN, RESULTS, Plan
from nvgre_node.dataplane import DATAPLANES
from nvgre_node.errors import BadInputError
from testbed.settings import settings_option
from topologies import load
from topologies.target import load_target


def result_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every verb that writes a run."""
    folder = click.Path(file_okay=False, path_type=Path)
    out = click.option("--out", type=folder, default=RESULTS, help="Folder for the run.  [default: results/]")
    return out(click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")(function))


def _dataplanes(_context: click.Context, _option: click.Parameter, value: str) -> list[str]:
    names = value.split(",")
    if unknown := [name for name in names if name not in DATAPLANES]:
        raise click.BadParameter(f"there is no {', '.join(unknown)}; there are: {', '.join(DATAPLANES)}")
    return names


def _refuse_what_a_target_excludes(names: tuple[str, ...]) -> None:
    given = click.get_current_context().get_parameter_source
    options = {"scenario": "--scenario", "sets": "--set", "dataplanes": "--dataplane", "quick": "--quick"}
    said = [word for name, word in options.items() if given(name) is not ParameterSource.DEFAULT]
    said += [name for name in names if name != "conformance"]
    if said:
        raise BadInputError(f"--target is for conformance alone, on what its file says: leave out {', '.join(said)}")


@click.command(short_help="Run experiments.")
@click.argument("experiments", nargs=-1, required=True, type=click.Choice(EXPERIMENTS))
@click.option("--scenario", default="contoso_fabrikam", show_default=True, help="A shipped name, or a file.")
@settings_option
@click.option(
    "--dataplane",
    "dataplanes",
    default="ebpf",
    show_default=True,
    callback=_dataplanes,
    metavar="D[,D]",
    help="Who carries it; of interop, who meets whom (all, unless given).",
)
@click.option(
    "--target",
    metavar="FILE",
    help="Of conformance: an NVE of your own, which runs already; docs/target.md says how.",
)
@click.option("--quick", is_flag=True, help="The short form that the demo uses.")
@click.option("--seed", default=7637, show_default=True, help="Of everything that is drawn by lot.")
@result_options
def command(
    experiments: tuple[str, ...],
    scenario: str,
    sets: tuple[str, ...],
    dataplanes: list[str],
    target: str | None,
    quick: bool,
    seed: int,
    out: Path,
    as_json: bool,
) -> int:
    """Run EXPERIMENTS, print a summary, and write a run with its report; `./nvgre list` says what each one asks."""
    from testbed.screen import carry_out

    names = tuple(dict.fromkeys(experiments))
    if target is not None:
        _refuse_what_a_target_excludes(names)
        of = load_target(target)
        return carry_out(Plan(names, of.scenario, (FOREIGN,), quick, seed, out, sys.argv[1:], of), as_json)
    given = click.get_current_context().get_parameter_source("dataplanes") is not ParameterSource.DEFAULT
    loaded = load(scenario, sets)
    if "expectations" in names:
        loaded.expectations()  # refused before the first network is built
    plan = Plan(names, loaded, dataplanes, quick, seed, out, sys.argv[1:])
    return carry_out(replace(plan, together=dataplanes) if given else plan, as_json)
