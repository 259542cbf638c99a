"""`explain`: which records decide where a packet goes."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

import click

from nvgre_node import control, run
from nvgre_node.errors import BadInputError, MissingError
from nvgre_node.explain import Step, address_of, explain
from nvgre_node.live import compared
from nvgre_node.policy import Policy
from testbed.running import current, read
from testbed.settings import settings_option
from testbed.tables import show, table
from testbed.verbs.migrate import the_only_one
from topologies import load


@click.command(short_help="Which records decide where a packet goes.")
@click.argument("scenario")
@click.argument("vm")
@click.argument("destination")
@settings_option
@click.option("--live", is_flag=True, help="Beside it, what the NVEs of a network that runs have.")
@click.option("--run", "run_id", metavar="ID", help="Which network, where several run.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    scenario: str, vm: str, destination: str, sets: tuple[str, ...], live: bool, run_id: str | None, as_json: bool
) -> int:
    """Say which records of SCENARIO decide where a packet from VM to DESTINATION (an address, or a VM) goes.

    Nothing is built; no root is needed.

    With --live, which needs root, each step is also looked up in what the NVEs of a running network have. A difference
    is a sentence, and exit status 1. The policy is then what ./nvgre up works from now, VMs that moved included; a
    network that cannot be asked is held against SCENARIO. Access control lists and groups are the policy's alone.
    """
    if run_id and not live:
        raise click.UsageError("--run is for --live")
    policy = load(scenario, sets).policy
    if live:
        return _live(policy, vm, destination, run_id or the_only_one(), as_json)
    steps = explain(policy, vm, destination)
    if as_json:
        click.echo(json.dumps([vars(step) for step in steps], indent=2))
        return 0
    _show(steps, vm, destination)
    return 0


def _show(steps: Sequence[Step], vm: str, destination: str) -> None:
    made = table("", "asked", "answer", "because", title=f"{vm} to {destination}")
    for number, step in enumerate(steps, start=1):
        made.add_row(str(number), step.what, step.result, step.because)
    show(made)


def _live(policy: Policy, vm: str, destination: str, run_id: str, as_json: bool) -> int:
    if os.geteuid() != 0:
        raise MissingError("reading BPF maps needs root: use sudo")
    if run_id not in run.alive():
        raise BadInputError(f"no network {run_id} runs")
    if run_id in control.listening():
        policy = current(run_id).policy
    steps = explain(policy, vm, destination)
    sender, target = policy.vm(vm), address_of(policy, vm, destination)
    found = read(run_id, policy)
    if sender.host not in found.tables:
        plane = found.unread.get(sender.host, "its NVE")
        raise BadInputError(f"{sender.host} of {run_id}: {plane} cannot be read from outside")
    both = compared(policy, found.tables, sender, target)
    differences = [step.difference for step in both if step.difference]
    if as_json:
        told = {"run": run_id, "policy": [vars(step) for step in steps], "live": [vars(step) for step in both]}
        click.echo(json.dumps(told, indent=2))
        return 1 if differences else 0
    _show(steps, vm, destination)
    made = table("", "asked", "the policy", "the running NVEs", title=f"the same in {run_id}")
    for number, step in enumerate(both, start=1):
        made.add_row(str(number), step.asked, step.policy, step.running)
    show(made)
    for difference in differences:
        click.echo(difference)
    return 1 if differences else 0
