"""What the command line refuses: exit status 2 or 3, one clear message, no traceback, and nothing made."""

import os
import shutil
from pathlib import Path

import pytest

from experiments.results import Check, Outcome
from experiments.store import Run
from nvgre_node import run
from nvgre_node.needs import Need
from testbed import features
from testbed.features import Feature
from topologies import load

from .command_line import Said, nvgre, nvgre_as_nobody, nvgre_process

BUILDERS = {
    "run": ["run", "isolation"],
    "run on a target": ["run", "conformance", "--target", "docs/target.yaml"],
    "demo": ["demo"],
    "up": ["up", "two_hosts"],
    "clean": ["clean"],
    "clean as JSON": ["clean", "--json"],
    "mn": ["mn", "--topo", "single"],
    "vm run": ["vm", "run", "true"],
    "vm test": ["vm", "test"],
}
"""Command lines that are good, and need root."""


def refused(said: Said, status: int) -> str:
    """The message of a command that was refused with this status and did nothing else."""
    assert said.status == status
    assert said.out == ""
    assert "Traceback" not in said.err
    return said.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fly"], ["fly"]),
        (["run", "gravity"], ["gravity", "isolation", "mtu", "throughput"]),
        (["run", "isolation", "gravity"], ["gravity", "isolation", "mtu", "throughput"]),
        (["run", "isolation", "--dataplane", "magic"], ["magic", "ebpf"]),
        (["run", "isolation", "--dataplane", "ebpf,magic"], ["magic", "ebpf"]),
        (["run", "isolation", "--dataplane", ""], ["ebpf"]),
        (["run", "isolation", "--seed", "dice"], ["dice"]),
        (["run", "isolation", "--scenario", "contoso"], ["contoso", "did you mean contoso_fabrikam?"]),
        (["run", "isolation", "--scenario", "./nowhere.yaml"], ["nowhere.yaml", "no such file"]),
        (["run", "conformance", "--target", "./nowhere.yaml"], ["nowhere.yaml", "no such file"]),
        (["run", "conformance", "mtu", "--target", "docs/target.yaml"], ["--target", "leave out mtu"]),
        (["run", "conformance", "--target", "docs/target.yaml", "--scenario", "two_hosts"], ["leave out --scenario"]),
        (["run", "conformance", "--target", "docs/target.yaml", "--dataplane", "ebpf"], ["leave out --dataplane"]),
        (["up", "nowhere"], ["nowhere", "contoso_fabrikam", "two_hosts"]),
        (["up", "two_hosts", "--dataplane", "magic"], ["magic", "ebpf"]),
        (["check", "nowhere"], ["nowhere", "contoso_fabrikam", "two_hosts"]),
        (["explain", "nowhere", "red1", "red2"], ["nowhere", "contoso_fabrikam", "two_hosts"]),
        (["explain", "two_hosts", "red1"], ["DESTINATION"]),
        (["vm", "run", "--time-limt", "5", "--", "true"], ["--time-limt", "--time-limit"]),
        (["vm", "run", "--time-limit", "0", "--", "true"], ["--time-limit", "0"]),
        (["vm", "run", "--engine", "magic", "true"], ["magic", "uml"]),
        (["vm", "run"], ["COMMAND"]),
        (["list", "--jsno"], ["--jsno", "--json"]),
        (["report", "nowhere"], ["nowhere", "results.json"]),
    ],
    ids=" ".join,
)
def test_bad_input_is_answered_with_2_and_what_there_is_instead(arguments: list[str], words: list[str]) -> None:
    message = refused(nvgre(*arguments), 2)
    assert [word for word in words if word not in message] == []


@pytest.mark.parametrize("arguments", [["fly"], ["run", "gravity"], ["check", "nowhere"]], ids=" ".join)
def test_the_status_is_that_of_the_process(arguments: list[str]) -> None:
    refused(nvgre_process(*arguments), 2)


def test_a_file_where_the_folder_should_be_is_bad_input(tmp_path: Path) -> None:
    path = tmp_path / "taken"
    path.touch()
    assert str(path) in refused(nvgre("run", "isolation", "--out", str(path)), 2)


# Runs that cannot be rendered again.


def a_run(folder: Path) -> Path:
    """A good run in a folder."""
    scenario = load("two_hosts")
    made = Run.create(folder, ["mystery"], {"scenario": {"name": "two_hosts"}}, scenario.path.read_text())
    made.add(Outcome("mystery", "ebpf", "two_hosts", (), (Check("it", "T4", "yes", "yes"),), ({"a": 1},)))
    made.save()
    return made.folder


def test_report_renders_a_run_again_and_says_where(tmp_path: Path) -> None:
    folder = a_run(tmp_path)
    said = nvgre("report", str(folder))
    assert said.status == 0
    assert said.out == f"Report: {folder / 'report.html'}\n"
    assert (folder / "report.html").is_file()
    assert (folder / "topology.svg").is_file()


DAMAGE = {
    "no results": ("results.json", None),
    "results that are not JSON": ("results.json", "{"),
    "results that are a list": ("results.json", "[]"),
    "another schema": ("results.json", '{"schema": 99}'),
    "no experiments": ("results.json", '{"schema": 1}'),
    "no manifest": ("manifest.json", None),
    "a manifest that is not JSON": ("manifest.json", "maybe"),
    "no samples": ("mystery.csv", None),
    "no scenario": ("scenario.yaml", None),
    "a scenario with a mistake": ("scenario.yaml", "name: two_hosts\n"),
}


@pytest.mark.parametrize(("name", "content"), DAMAGE.values(), ids=DAMAGE)
def test_report_of_a_damaged_run_names_the_file(name: str, content: str | None, tmp_path: Path) -> None:
    folder = a_run(tmp_path)
    (folder / name).unlink() if content is None else (folder / name).write_text(content)
    said = nvgre("report", str(folder))
    assert name in refused(said, 2)
    assert str(folder) in said.err
    assert not (folder / "report.html").exists()


def test_report_believes_no_verdict_that_the_checks_deny(tmp_path: Path) -> None:
    folder = a_run(tmp_path)
    results = folder / "results.json"
    results.write_text(results.read_text().replace('"observed": "yes"', '"observed": "no"'))
    assert "its checks say fail" in refused(nvgre("report", str(folder)), 2)


# Without root, and without what a verb needs.


def _needs(verb: str) -> None:
    if verb == "mn" and shutil.which("mn") is None:
        pytest.skip("Mininet's mn is missing")
    if verb == "up":
        pytest.importorskip("mininet")


@pytest.mark.parametrize("verb", BUILDERS)
def test_without_root_nothing_is_built_and_the_message_says_sudo(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _needs(verb)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(run, "ROOT", tmp_path / "run")
    out = ["--out", str(tmp_path / "results")] if verb in {"run", "demo"} else []
    assert "sudo" in refused(nvgre(*BUILDERS[verb], *out), 3)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verb", ["run", "up", "clean", "vm run"])
def test_an_unprivileged_process_ends_with_3_and_says_sudo(verb: str, tmp_path: Path) -> None:
    _needs(verb)
    tmp_path.chmod(0o777)
    out = ["--out", str(tmp_path / "results")] if verb in {"run", "demo"} else []
    assert "sudo" in refused(nvgre_as_nobody(*BUILDERS[verb], *out), 3)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments", [["check", "two_hosts"], ["list"], ["explain", "two_hosts", "red1", "red2"]], ids=" ".join
)
def test_what_builds_nothing_needs_no_root(arguments: list[str]) -> None:
    assert nvgre_as_nobody(*arguments).status == 0


@pytest.mark.parametrize("needed_by", ["ebpf", "throughput", "every network"])
def test_run_says_what_lacks_before_it_builds_anything(
    needed_by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking = Feature(Need("a flux capacitor", lambda: False, "apt-get install flux"), (needed_by,))
    monkeypatch.setattr(features, "features", lambda: (lacking,))
    monkeypatch.setattr(run, "ROOT", tmp_path / "run")
    monkeypatch.setattr(run.Run, "create", _must_not_build)
    message = refused(nvgre("run", "throughput", "--out", str(tmp_path / "results")), 3)
    assert f"a flux capacitor (needed by {needed_by}): apt-get install flux" in message
    assert list(tmp_path.iterdir()) == []


def _must_not_build() -> run.Run:
    raise AssertionError("a network is built although something lacks")


def test_a_lack_that_concerns_another_experiment_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking = Feature(Need("a flux capacitor", lambda: False, "apt-get install flux"), ("throughput",))
    monkeypatch.setattr(features, "features", lambda: (lacking,))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "sudo" in refused(nvgre("run", "isolation", "--out", str(tmp_path / "results")), 3)


def test_a_scenario_that_expects_nothing_is_told_so_in_one_line() -> None:
    said = nvgre("run", "isolation", "expectations", "--scenario", "two_hosts", "--set", "expect=[]")

    assert refused(said, 2) == "two_hosts expects nothing: it has no `expect:` (docs/scenarios.md)"
    assert len(said.err.splitlines()) == 1
