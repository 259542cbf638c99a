"""`./nvgre` itself: from wherever it is called, it is the command line, and its status is the command line's."""

import subprocess
from pathlib import Path

import pytest

from .command_line import ROOT

WRAPPER, READY = ROOT / "nvgre", ROOT / ".venv/ready"


@pytest.fixture(autouse=True)
def _is_set_up() -> None:
    newest = max(path.stat().st_mtime for path in (ROOT / "pyproject.toml", *ROOT.glob("testbed/setup.sh")))
    if not READY.exists() or READY.read_text().strip() != str(ROOT) or READY.stat().st_mtime < newest:
        pytest.skip("this checkout is not set up: ./nvgre would do that first")


@pytest.mark.parametrize(("arguments", "status"), [(["check", "two_hosts"], 0), (["fly"], 2)], ids=["good", "bad"])
@pytest.mark.parametrize("through_a_link", [False, True], ids=["directly", "through a link"])
def test_the_status_comes_through(arguments: list[str], status: int, through_a_link: bool, tmp_path: Path) -> None:
    command = tmp_path / "linked" if through_a_link else WRAPPER
    if through_a_link:
        command.symlink_to(WRAPPER)
    done = subprocess.run([command, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == status, done.stderr
