"""`test`: the whole test suite."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

import click

ROOT = Path(__file__).parents[2]
SIDE_BY_SIDE = ("-n", "auto", "--dist", "worksteal")
"""What pytest is told before the user's own arguments; tests/conftest.py says how many processes `auto` are."""


@click.command(
    short_help="Run the whole test suite.",
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": ["--help-verb"]},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> NoReturn:
    """Run the whole test suite; ARGUMENTS go to pytest, for example `tests/unit` or `-k isolation`.

    Tests run side by side, unless there is but one file of them, or `-n0`. Tests of the network need root and are
    skipped, with the reason, without it.
    """
    os.chdir(ROOT)
    sys.stdout.flush()
    # In this process's place: pytest itself gets Ctrl-C, and has the time to end the networks of its tests.
    os.execv(sys.executable, [sys.executable, "-m", "pytest", *SIDE_BY_SIDE, *arguments])  # noqa: S606 (no shell)
