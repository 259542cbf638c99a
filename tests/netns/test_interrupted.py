"""The test command ends as a run does: after Ctrl-C, no network of a test is left."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from nvgre_node.run import ROOT
from nvgre_node.waiting import wait_until

from .belongings import CHECKOUT, COMMAND, HEEDS_CTRL_C, left_of

ENDLESS = """\
import pytest
from pathlib import Path

@pytest.mark.parametrize("name", ["one", "two"])
def test_that_does_not_end(nvgre_net, name):
    net = nvgre_net("two_hosts")
    Path(__file__).with_name("made").open("a").write(net.own.id + "\\n")
    net["red1"].run_process(["tail", "-f", "/dev/null"], timeout=600)
"""


@pytest.mark.parametrize("processes", [0, 2])
def test_ctrl_c_ends_tests_and_leaves_none_of_their_networks(processes: int, tmp_path: Path) -> None:
    (tmp_path / "test_theirs.py").write_text(ENDLESS)
    (made := tmp_path / "made").touch()
    own = ["-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path), f"-n{processes}"]
    command = [*HEEDS_CTRL_C, *COMMAND, "test", *own]
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True, start_new_session=True) as tests:
        try:
            wait_until(lambda: len(made.read_text().split()) == max(processes, 1), "networks of tests", timeout=60)
            ids = made.read_text().split()
            assert all((ROOT / run_id).exists() for run_id in ids)
            os.killpg(tests.pid, signal.SIGINT)
            said, _ = tests.communicate(timeout=60)
        finally:
            tests.kill()
    assert tests.returncode == pytest.ExitCode.INTERRUPTED, said
    assert "KeyboardInterrupt" in said
    assert [left for run_id in ids for left in left_of(run_id)] == []
