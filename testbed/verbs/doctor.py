"""`doctor`: what this machine can do, or what is wrong with a network that runs."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass

import click

from nvgre_node import control, kernel
from nvgre_node.errors import MissingError
from testbed.features import ROOT, features
from testbed.running import examine
from testbed.tables import show, table
from testbed.vm.uml import UserModeLinux

HERE, GUEST, NOWHERE, UNKNOWN = "here", "in a guest", "nowhere", "unknown"
PASSED, FAILED = 0, 1
_IN_A_GUEST = "./nvgre vm run -- ..."


@dataclass(frozen=True)
class Row:
    """Where something that is needed can be had on this machine, why it is not here, and what to do about it."""

    feature: str
    needed_by: str
    where: str
    why: str
    remedy: str


def programs_and_rights() -> list[Row]:
    """What must be here, since a guest uses the machine's own programs."""
    rows = []
    for feature in features():
        if (need := feature.need).name not in kernel.PROBES:
            where, why = (HERE, "") if need.present() else (NOWHERE, "it is missing")
            rows.append(Row(need.name, ", ".join(feature.needed_by), where, why, need.remedy))
    return rows


def kernel_features() -> list[Row]:
    """What only some kernels have: each is made, here, and one knows what guests have."""
    guest_lacks = UserModeLinux().missing()
    root = ROOT.need.present()
    lacks = kernel.lacks() if root else {}
    users = {feature.need.name: feature.needed_by for feature in features()}
    rows = []
    for name, probe in kernel.PROBES.items():
        in_guests = name in kernel.IN_GUESTS and not guest_lacks
        why = lacks.get(name, "only root can find out")
        where = HERE if not why else UNKNOWN if not root else GUEST if in_guests else NOWHERE
        remedy = ROOT.need.remedy if not root else _IN_A_GUEST if in_guests else guest_lacks or "use another kernel"
        used = ", ".join((*users.get(name, ()), *filter(None, [probe.used_for])))
        rows.append(Row(name, used, where, f"this kernel says: {why}" if why and root else why, remedy))
    return rows


@click.command(short_help="What this machine can do, or what is wrong with a network that runs.")
@click.argument("run_id", metavar="[RUN]", required=False)
@click.option("--mend", is_flag=True, help="First have RUN put back routes, next hops, and what its NVEs work from.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(run_id: str | None, mend: bool, as_json: bool) -> int:
    """Say what is wrong with a network that ./nvgre up runs, by its id RUN, or what this machine can do.

    Of a network, what its NVEs have is held against its policy, and its underlay against what tenants need; test
    packets go from each NVE to all that it sends to. Every fault is a sentence: what, where, and the mend. They are
    listed in docs/faults.md. Exit status 1 if there is any.

    Of the machine: say of each feature that something here needs where it can be had: here, in a guest (./nvgre vm),
    or nowhere.

    Nothing is guessed: features of the kernel are made, in a network namespace of their own, and gone at once.
    """
    if run_id:
        return _network(run_id, mend, as_json)
    if mend:
        raise click.UsageError("--mend is for a network: say which, as in doctor RUN --mend")
    rows = [*programs_and_rights(), *kernel_features()]
    if as_json:
        click.echo(json.dumps([asdict(row) | {"present": row.where == HERE} for row in rows], indent=2))
    else:
        made = table("feature", "needed by", "where", "why not here", "what to do")
        for row in rows:
            made.add_row(row.feature, row.needed_by, row.where, row.why, "" if row.where == HERE else row.remedy)
        show(made)
    return 0 if all(row.where in (HERE, GUEST) for row in rows) else 3


def _network(run_id: str, mend: bool, as_json: bool) -> int:
    """What is wrong with a running network."""
    if os.geteuid() != 0:
        raise MissingError("looking into a running network needs root: use sudo")
    if mend:
        said = control.ask(run_id, "restore")
        click.echo(said, err=as_json)
    examined = examine(run_id)
    found = examined.found
    if as_json:
        told = [{"fault": one.fault, "what": one.what, "mend": one.mend(run_id)} for one in found]
        click.echo(json.dumps({"run": run_id, "findings": told, "unread": examined.unread}, indent=2))
        return FAILED if found else PASSED
    for finding in found:
        click.echo(finding.sentence(run_id))
    for host, plane in examined.unread.items():
        click.echo(f"not looked at: what the NVE of {host} works from, since {plane} cannot be read from outside")
    if not found:
        click.echo(f"{run_id}: nothing is wrong")
    return FAILED if found else PASSED
