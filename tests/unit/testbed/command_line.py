"""The command line for tests: in this process, as `./nvgre` runs it, and as another user."""

import os
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import pytest

from testbed.cli import main

ROOT = Path(__file__).parents[3]
NOBODY = 65534


class Said(NamedTuple):
    """What a command did: its exit status, and what it wrote."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """The lines of its output, without the blanks that pad a table."""
        return [line.rstrip() for line in self.out.splitlines() if line.strip()]


def nvgre(*arguments: str) -> Said:
    """Runs `./nvgre ARGUMENTS` in this process, on a terminal that is wide enough for any table."""
    out, err = StringIO(), StringIO()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    environment = {"COLUMNS": "200", "TERM": "dumb"}
    try:
        with (
            patch.object(sys, "argv", ["nvgre", *arguments]),
            patch.dict(os.environ, environment),
            redirect_stdout(out),
            redirect_stderr(err),
            pytest.raises(SystemExit) as ended,
        ):
            main()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert isinstance(ended.value.code, int)
    return Said(ended.value.code, out.getvalue(), err.getvalue())


def nvgre_process(*arguments: str) -> Said:
    """Runs the same in a process of its own, as the user who runs the tests."""
    return _process(sys.executable, "-m", "testbed", *arguments)


def python_process(code: str) -> Said:
    """Runs a piece of Python in a process of its own."""
    return _process(sys.executable, "-c", code)


def nvgre_as_nobody(*arguments: str) -> Said:
    """Runs the same in a process without any privilege; skips where that user cannot read the checkout."""
    if not _nobody_can_read():
        pytest.skip("an unprivileged user cannot read this checkout")
    return _process(sys.executable, "-B", "-m", "testbed", *arguments, user=_nobody())


def _nobody() -> int | None:
    return NOBODY if os.geteuid() == 0 else None


@cache
def _nobody_can_read() -> bool:
    try:
        return _process(sys.executable, "-B", "-c", "import testbed.cli", user=_nobody()).status == 0
    except PermissionError:
        return False


def _process(*command: str, user: int | None = None) -> Said:
    groups: list[int] | None = [] if user else None
    done = subprocess.run(
        command, cwd=ROOT, user=user, extra_groups=groups, capture_output=True, text=True, check=False, timeout=60
    )
    return Said(done.returncode, done.stdout, done.stderr)
