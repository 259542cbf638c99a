"""`doctor`: what this machine can do."""

from __future__ import annotations

import json

import click

from testbed.features import FEATURES
from testbed.tables import show, table


@click.command(short_help="What this machine can do.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(as_json: bool) -> int:
    """Say of each feature that something here needs whether this machine has it, and how to get it."""
    found = [(feature, feature.present()) for feature in FEATURES]
    if as_json:
        rows = [{"feature": f.name, "needed_by": f.needed_by, "present": p, "remedy": f.remedy} for f, p in found]
        click.echo(json.dumps(rows, indent=2))
    else:
        made = table("feature", "needed by", "here", "how to get it")
        for feature, present in found:
            answer = ("yes", "") if present else ("no", feature.remedy)
            made.add_row(feature.name, feature.needed_by, *answer)
        show(made)
    return 0 if all(present for _, present in found) else 3
