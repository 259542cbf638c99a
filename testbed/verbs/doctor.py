"""`doctor`: what this machine can do."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import click

from nvgre_node import kernel
from testbed.features import ROOT, features
from testbed.tables import show, table
from testbed.vm.uml import UserModeLinux

HERE, GUEST, NOWHERE, UNKNOWN = "here", "in a guest", "nowhere", "unknown"
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


@click.command(short_help="What this machine can do.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(as_json: bool) -> int:
    """Say of each feature that something here needs where it can be had: here, in a guest (./nvgre vm), or nowhere.

    Nothing is guessed: features of the kernel are made, in a network namespace of their own, and gone at once.
    """
    rows = [*programs_and_rights(), *kernel_features()]
    if as_json:
        click.echo(json.dumps([asdict(row) | {"present": row.where == HERE} for row in rows], indent=2))
    else:
        made = table("feature", "needed by", "where", "why not here", "what to do")
        for row in rows:
            made.add_row(row.feature, row.needed_by, row.where, row.why, "" if row.where == HERE else row.remedy)
        show(made)
    return 0 if all(row.where in (HERE, GUEST) for row in rows) else 3
