"""`test`: the whole test suite."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click

ROOT = Path(__file__).parents[2]


@click.command(
    short_help="Run the whole test suite.",
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": ["--help-verb"]},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> int:
    """Run the whole test suite; ARGUMENTS go to pytest, for example `tests/unit` or `-k isolation`.

    Tests of the network need root and are skipped, with the reason, without it.
    """
    return subprocess.run([sys.executable, "-m", "pytest", *arguments], cwd=ROOT, check=False).returncode
