"""The tests that need a stock kernel: one boot of a guest, one test here, and the guest's report in the summary."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from testbed.vm.job import INSIDE
from testbed.vm.uml import UserModeLinux

from .belongings import CHECKOUT, COMMAND

pytestmark = [
    pytest.mark.skipif(INSIDE in os.environ, reason="a guest runs no other"),
    pytest.mark.skipif(bool(UserModeLinux().missing()), reason=UserModeLinux().missing() or "it is there"),
]
PATIENCE = 1200
CLOSING = re.compile(r"=* *((?:\d+ \w+(?:, )?)+) in [\d.]+s.*")
"""The last line of pytest's report."""


def in_a_guest(*arguments: str) -> tuple[int, str]:
    """The status and the report of `./nvgre vm test ARGUMENTS`."""
    command = [*COMMAND, "vm", "test", "--time-limit", str(PATIENCE), "--", *arguments]
    done = subprocess.run(
        command, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return done.returncode, done.stdout


def test_everything_in_tests_vm_passes(record_property: Callable[[str, object], None]) -> None:
    status, report = in_a_guest("tests/vm")
    closing = CLOSING.fullmatch(report.splitlines()[-1]) if report else None
    record_property("in a guest", closing.group(1) if closing else "no report")
    assert status == 0, report
    assert closing, report
    assert "skipped" not in closing.group(1), report


def test_a_failure_in_a_guest_is_one_here(tmp_path: Path) -> None:
    path = tmp_path / "test_wrong.py"
    path.write_text("def test_wrong():\n    assert 1 == 2\n")
    status, report = in_a_guest("-q", str(path))
    assert status == 1, report
    assert "1 failed" in report.splitlines()[-1]
