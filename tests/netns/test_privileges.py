"""Root without a privilege, as in a container, is told so in one message, and nothing is left behind."""

from __future__ import annotations

import json
import subprocess

import pytest

from .belongings import CHECKOUT, COMMAND


def without(privilege: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs `./nvgre WORDS` as root without one privilege."""
    limited = ["setpriv", f"--bounding-set=-{privilege}", f"--inh-caps=-{privilege}", "--"]
    command = [*limited, *COMMAND, *words]
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("words", [("vm", "run", "true"), ("run", "isolation"), ("up", "two_hosts")], ids=" ".join)
def test_root_without_a_privilege_gets_one_message(words: tuple[str, ...]) -> None:
    done = without("sys_admin", *words)
    assert done.returncode == 3, done.stderr
    assert "--cap-add SYS_ADMIN" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("privilege", "where"), [("net_admin", "nowhere"), ("sys_time", "here")])
def test_doctor_knows_root_that_cannot_build_networks(privilege: str, where: str) -> None:
    rows = json.loads(without(privilege, "doctor", "--json").stdout)
    assert [row["where"] for row in rows if row["feature"] == "root"] == [where]
