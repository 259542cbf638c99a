"""The trial of data planes that `vm matrix` has on every kernel: here, and where something must be found."""

from __future__ import annotations

from pathlib import Path

import pytest

from nvgre_node import kernel
from nvgre_node.errors import MissingError
from testbed.vm import trial
from testbed.vm.verdict import Found, Verdict
from topologies import load
from topologies.scenario import Scenario

PLANES = ("ebpf", "model")
"""Those that work on every kernel."""


@pytest.fixture
def leaky(tmp_path: Path) -> Scenario:
    """Where a lookup record of red leads to blue."""
    text = (Path(trial.__file__).parents[2] / "topologies/two_hosts.yaml").read_text()
    path = tmp_path / "leaky.yaml"
    path.write_text(f"{text}\nfaults:\n  - {{subnet: red_net, record_of: red2, points_to: blue2}}\n")
    return load(path)


@pytest.mark.parametrize("dataplane", PLANES)
def test_a_data_plane_that_works_passes(dataplane: str) -> None:
    assert trial.tried(dataplane) == Verdict(Found.PASS)


def test_a_leak_is_a_failure(leaky: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "PAUSES", [0.25, 0.5])
    found = trial.tried("ebpf", leaky)
    assert found == Verdict(Found.FAIL, "carries: red2 did not hear b'red to 10.0.0.2', 15 bytes, in 0.75 s")


def test_who_hears_the_other_tenant_is_a_failure_though_everything_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    def carries_and_leaks(inboxes: trial.Inboxes) -> None:
        carries(inboxes)
        inboxes.hear("blue2", b"red", lambda: trial.say(inboxes.net, "blue1", "10.0.0.2", b"red"))

    carries = trial.carries
    monkeypatch.setattr(trial, "carries", carries_and_leaks)
    found = trial.tried("ebpf")
    assert found.reason.startswith("isolates: blue2 heard {b'red")


@pytest.mark.parametrize("dataplane", PLANES)
def test_a_packet_larger_than_promised_is_a_failure(dataplane: str) -> None:
    found = trial.tried(dataplane, load("two_hosts").with_mtu(underlay=1600))
    assert found == Verdict(Found.FAIL, "MTU: a packet of 1501 bytes was carried")


def test_what_does_not_load_is_a_failure_and_no_lack(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError("the verifier says no")

    monkeypatch.setattr("nvgre_node.dataplane.create", refused)
    assert trial.tried("ebpf") == Verdict(Found.FAIL, "loads: the verifier says no")


def test_what_the_machine_lacks_is_a_lack_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise MissingError("no clang")

    monkeypatch.setattr("nvgre_node.dataplane.create", missing)
    assert trial.tried("ebpf") == Verdict(Found.LACKS, "no clang")


def test_what_the_kernel_lacks_is_asked_of_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "lacks", lambda: {"gretap": "no such thing", "ip6gretap": ""})
    assert trial.tried("gretap") == Verdict(Found.LACKS, "gretap: no such thing")
