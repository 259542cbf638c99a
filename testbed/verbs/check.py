"""`check`: validates a scenario and says everything that is wrong with it."""

from __future__ import annotations

import json

import click

from nvgre_node.choices import Deviation
from testbed.settings import settings_option
from topologies import ScenarioError, load


@click.command(short_help="Validate a scenario.")
@click.argument("scenario")
@settings_option
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(scenario: str, sets: tuple[str, ...], as_json: bool) -> int:
    """Validate SCENARIO, a shipped name or a file: every error in one pass, as file:line:column.

    Nothing is built; no root is needed.
    """
    problems, deviating = [], dict[str, list[Deviation]]()
    try:
        loaded = load(scenario, sets)
        hosts, machines = len(loaded.policy.nves), len(loaded.policy.machines)
        summary = f"{loaded.path.name}: good: {hosts} provider hosts, {machines} VMs"
        deviating = {nve.host: sorted(nve.deviations) for nve in loaded.policy.nves if nve.deviations}
    except ScenarioError as error:
        if not as_json:
            raise
        problems = [vars(problem) | {"file": problem.file or error.file} for problem in error.problems]
    if as_json:
        result = {"scenario": scenario, "valid": not problems, "problems": problems, "deviations": deviating}
        click.echo(json.dumps(result, indent=2))
    else:
        click.echo(summary)
        for host, ways in deviating.items():
            click.echo(f"  {host} breaks the rules, on purpose: {', '.join(ways)} (docs/deviations.md)")
    return 2 if problems else 0
