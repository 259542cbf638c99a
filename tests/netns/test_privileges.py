"""Root without a privilege, as in a container, is told so in one message."""

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


@pytest.mark.parametrize(
    ("privilege", "words", "remedy"),
    [
        ("sys_admin", ("vm", "run", "true"), "--cap-add SYS_ADMIN"),
        ("mknod", ("vm", "run", "true"), "--cap-add MKNOD"),
        ("net_admin", ("run", "isolation"), "--privileged"),
        ("sys_admin", ("up", "two_hosts"), "--privileged"),
    ],
)
def test_root_without_a_privilege_gets_one_message(privilege: str, words: tuple[str, ...], remedy: str) -> None:
    done = without(privilege, *words)
    assert done.returncode == 3, done.stderr
    assert remedy in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("privilege", "where"), [("net_admin", "nowhere"), ("sys_time", "here")])
def test_doctor_knows_root_that_cannot_build_networks(privilege: str, where: str) -> None:
    rows = json.loads(without(privilege, "doctor", "--json").stdout)
    assert [row["where"] for row in rows if row["feature"] == "root"] == [where]
