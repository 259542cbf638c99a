"""The command line on this machine: what a run leaves in its folder, what ends with 1, and what is gone afterwards."""

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from experiments import cells
from experiments.runner import RESULTS
from experiments.watch import Watch
from nvgre_node import run
from nvgre_node.namespace import NAMED
from nvgre_node.waiting import wait_until
from testbed.cli import main
from topologies import load

CHECKOUT = Path(__file__).parents[2]
LIMITS = (
    "fs/file-max",
    "kernel/pty/max",
    "net/core/netdev_max_backlog",
    "net/core/rmem_max",
    "net/core/wmem_max",
    "net/ipv4/neigh/default/gc_thresh1",
    "net/ipv4/neigh/default/gc_thresh2",
    "net/ipv4/neigh/default/gc_thresh3",
    "net/ipv4/route/max_size",
    "net/ipv4/tcp_rmem",
    "net/ipv4/tcp_wmem",
)
"""What Mininet's own set-up raises for the whole machine (`mininet.util.fixLimits`)."""
SMALL = """\
name: small
title: Two tenants on two hosts
hosts:
  host1: {pa: 192.168.0.1/24}
  host2: {pa: 192.168.0.2/24}
links: [[host1, host2]]
tenants:
  red:
    subnets:
      red_net: {vsid: 5000, prefixes: [10.0.0.0/24]}
    vms:
      red1: {subnet: red_net, host: host1, ca: 10.0.0.1}
      red2: {subnet: red_net, host: host2, ca: 10.0.0.2}
  blue:
    subnets:
      blue_net: {vsid: 6000, prefixes: [10.0.0.0/24]}
    vms:
      blue1: {subnet: blue_net, host: host1, ca: 10.0.0.1, mac: 02:00:00:00:0b:01}
      blue2: {subnet: blue_net, host: host2, ca: 10.0.0.2, mac: 02:00:00:00:0b:02}
"""
LEAK = "faults: [{subnet: red_net, record_of: red1, points_to: blue1}]\n"


def nvgre(*arguments: str | Path, typed: str = "") -> subprocess.CompletedProcess[str]:
    """Runs `./nvgre ARGUMENTS` in the checkout and types something."""
    command = [sys.executable, "-m", "testbed", *map(str, arguments)]
    return subprocess.run(command, cwd=CHECKOUT, input=typed, capture_output=True, text=True, check=False, timeout=120)


def limits() -> dict[str, str]:
    """The machine's limits, by name; not every kernel has all of them."""
    paths = {name: Path("/proc/sys", name) for name in LIMITS}
    return {name: path.read_text() for name, path in paths.items() if path.exists()}


@pytest.fixture(autouse=True)
def _limits_stay_as_they_are() -> Iterator[None]:
    before = limits()
    yield
    assert limits() == before


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """Isolation on two_hosts, as JSON."""
    out = tmp_path_factory.mktemp("results")
    return nvgre("run", "isolation", "--scenario", "two_hosts", "--json", "--seed", "5", "--out", out)


@pytest.fixture
def folder(good: subprocess.CompletedProcess[str], tmp_path: Path) -> Path:
    """A copy of that run's folder."""
    made = Path(json.loads(good.stdout)["run"])
    return shutil.copytree(made, tmp_path / made.name)


# A run.


def test_a_run_that_passes_ends_with_0_and_prints_json_alone(good: subprocess.CompletedProcess[str]) -> None:
    assert good.returncode == 0, good.stderr
    printed = json.loads(good.stdout)
    assert printed.keys() == {"run", "schema", "experiments"}
    assert "Traceback" not in good.stderr


def test_its_results_have_the_shape_that_the_design_promises(folder: Path) -> None:
    results = json.loads((folder / "results.json").read_text())
    assert results.keys() == {"schema", "experiments"}
    assert results["schema"] == 1
    [outcome] = results["experiments"]
    assert outcome.keys() == {"name", "dataplane", "scenario", "verdict", "reason", "measurements", "checks"}
    named = [outcome[key] for key in ("name", "dataplane", "scenario", "verdict", "reason")]
    assert named == ["isolation", "ebpf", "two_hosts", "pass", ""]
    assert outcome["measurements"]
    for measurement in outcome["measurements"]:
        assert measurement.keys() == {"name", "unit", "n", "median", "low", "high", "values"}
        assert measurement["n"] == len(measurement["values"])
    assert outcome["checks"]
    for check in outcome["checks"]:
        assert check.keys() == {"id", "clause", "expected", "observed", "verdict"}
        assert check["verdict"] == ("pass" if check["expected"] == check["observed"] else "fail")


def test_it_prints_what_it_writes(good: subprocess.CompletedProcess[str], folder: Path) -> None:
    printed = json.loads(good.stdout)
    samples = [outcome.pop("samples") for outcome in printed["experiments"]]
    written = json.loads((folder / "results.json").read_text())
    assert {key: printed[key] for key in written} == written
    assert [tuple(own) for own in samples] == [cells.read((folder / "isolation.csv").read_text())]


def test_its_folder_has_everything(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {
        "manifest.json",
        "results.json",
        "scenario.yaml",
        "isolation.csv",
        "isolation.svg",
        "isolation.png",
        "topology.svg",
        "topology.png",
        "report.html",
    }
    assert (folder / "isolation.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (folder / "isolation.svg").read_text()
    assert "<html" in (folder / "report.html").read_text()
    assert len((folder / "isolation.csv").read_text().splitlines()) == 1 + 160  # 20 ordered pairs, 8 kinds


def test_its_manifest_says_under_which_circumstances(folder: Path) -> None:
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    scenario = load("two_hosts")
    assert manifest["scenario"] == {"name": "two_hosts", "sha256": scenario.sha256}
    assert manifest["mtus"] == {"underlay": 1542, "tenant": 1500}
    assert (manifest["seed"], manifest["dataplanes"]) == (5, ["ebpf"])
    assert manifest["source"].keys() >= {"commit", "dirty"}
    assert manifest["machine"]["kernel"].startswith("Linux ")
    assert all(manifest[key] for key in ("machine", "tools", "offloads", "load_before", "load_after"))
    assert (folder / "scenario.yaml").read_text() == scenario.path.read_text()


def test_report_renders_it_again_just_as_it_was(folder: Path) -> None:
    before = (folder / "report.html").read_text()
    for name in ("report.html", "isolation.svg", "topology.svg"):
        (folder / name).unlink()
    done = nvgre("report", folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"Report: {folder / 'report.html'}\n"
    assert {"isolation.svg", "topology.svg"} <= {path.name for path in folder.iterdir()}
    assert _without_images((folder / "report.html").read_text()) == _without_images(before)


def _without_images(html: str) -> str:
    return re.sub(r'src="data:[^"]*"', "", html)


def test_results_go_nowhere_else(good: subprocess.CompletedProcess[str]) -> None:
    assert not (RESULTS / Path(json.loads(good.stdout)["run"]).name).exists()


def test_a_wrong_record_ends_with_1_and_names_who_hears_what_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, patient = tmp_path / "leaky.yaml", Watch.until
    path.write_text(SMALL + LEAK)
    arguments = ["run", "isolation", "--scenario", str(path), "--json", "--out", str(tmp_path / "results")]
    monkeypatch.setattr(sys, "argv", ["nvgre", *arguments])
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # this process keeps its own
    monkeypatch.setattr(Watch, "until", lambda watch, done, *_: patient(watch, done, 0.2))
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    [outcome] = json.loads(capsys.readouterr().out)["experiments"]
    assert outcome["verdict"] == "fail"
    assert "red2 -> red1" in outcome["reason"]
    assert "VSID 6000" in outcome["reason"]


def test_an_experiment_that_finds_nothing_to_measure_is_bad_input_and_leaves_no_folder(tmp_path: Path) -> None:
    path, out = tmp_path / "lonely.yaml", tmp_path / "results"
    path.write_text(SMALL.replace("host: host2", "host: host1"))
    done = nvgre("run", "mtu", "--quick", "--scenario", path, "--out", out)
    assert done.returncode == 2
    assert "different provider hosts" in done.stderr
    assert "Traceback" not in done.stderr
    assert not out.exists() or list(out.iterdir()) == []


# Shells.

UP = ["up", "two_hosts"]
MN = ["mn", "--custom", "topologies/contoso_fabrikam.py", "--topo", "contoso_fabrikam"]
MN_TOO = ["mn", "--custom", "topologies/two_hosts.py", "--topo", "two_hosts"]


class Session(NamedTuple):
    """A shell that has ended: its run's id, its status, and what it wrote on both streams."""

    run_id: str
    status: int
    said: str


def session(arguments: list[str], typed: str) -> Session:
    """Runs a verb that opens a shell, and types there once its run exists."""
    command = [sys.executable, "-m", "testbed", *arguments]
    pipe, both = subprocess.PIPE, subprocess.STDOUT
    with subprocess.Popen(command, cwd=CHECKOUT, stdin=pipe, stdout=pipe, stderr=both, text=True) as process:
        try:
            run_id = wait_until(lambda: held_by(process.pid), "its run", timeout=30)
            said, _ = process.communicate(typed, timeout=60)
        finally:
            process.kill()
    return Session(run_id, process.returncode, said)


def held_by(pid: int) -> str:
    """The id of the run whose lock a process holds open, or nothing."""
    with suppress(OSError):  # it has just opened or closed something
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            path = Path(descriptor.readlink())
            if path.name == "lock" and path.parent.parent == run.ROOT:
                return path.parent.name
    return ""


def is_gone(run_id: str) -> bool:
    """Whether nothing bears the run's id any more."""
    return not (run.ROOT / run_id).exists() and not list(NAMED.glob(f"{run_id}-*"))


@pytest.mark.parametrize(
    ("arguments", "ping"),
    [
        pytest.param(UP, "red1 ping -c 1 10.0.0.2", id="up"),
        pytest.param(MN, "contoso_web ping -c 1 10.1.1.11", id="mn"),
        pytest.param(MN_TOO, "blue2 ping -c 1 10.0.0.1", id="mn, the other network"),
    ],
)
def test_a_shell_works_and_leaving_it_leaves_nothing(arguments: list[str], ping: str) -> None:
    done = session(arguments, f"{ping}\nexit\n")
    assert "1 received, 0% packet loss" in done.said
    assert done.status == 0
    assert is_gone(done.run_id)


@pytest.mark.parametrize("arguments", [UP, MN], ids=["up", "mn"])
def test_the_end_of_the_input_leaves_a_shell_too(arguments: list[str]) -> None:
    done = session(arguments, "")
    assert done.status == 0, done.said
    assert is_gone(done.run_id)


def test_the_welcome_names_a_namespace_that_another_terminal_can_enter() -> None:
    done = session(UP, "py __import__('os').system('ip netns list')\nexit\n")
    assert f"ip netns exec {done.run_id}-host1 " in done.said
    assert f"{done.run_id}-host1" in done.said.partition("mininet>")[2].split()


# The fixture for other people's tests.

THEIRS = """\
from pathlib import Path

def test_that_passes(nvgre_net):
    net = nvgre_net("two_hosts")
    Path("first").write_text(net.own.id)
    assert net["red1"].ping("10.0.0.2")

def test_that_fails(nvgre_net):
    net = nvgre_net(Path("net.yaml"))
    Path("second").write_text(net.own.id)
    assert net is None

def test_of_two_networks(nvgre_net):
    a, b = nvgre_net("two_hosts"), nvgre_net("two_hosts", dataplane="ebpf")
    assert a.own.id != b.own.id
    assert a["red1"].ping("10.0.0.2") and b["red1"].ping("10.0.0.2")
"""


def test_the_fixture_builds_networks_that_are_gone_when_the_test_ends(tmp_path: Path) -> None:
    (tmp_path / "test_theirs.py").write_text(THEIRS)
    (tmp_path / "net.yaml").write_text(SMALL)
    done = _pytest(tmp_path)
    assert done.returncode == 1, done.stdout
    assert "1 failed, 2 passed" in done.stdout
    for name in ("first", "second"):
        assert is_gone((tmp_path / name).read_text())


def test_without_root_the_fixture_skips_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "test_theirs.py").write_text(THEIRS)
    (tmp_path / "conftest.py").write_text("import os\nos.geteuid = lambda: 1000\n")
    done = _pytest(tmp_path)
    assert "3 skipped" in done.stdout
    assert "building a network needs root" in done.stdout


def _pytest(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider", "--rootdir", ".", "."]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
