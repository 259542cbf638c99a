"""The executable specification as a live data plane: it passes what the others pass, and does what its text says."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from scapy.layers.inet import IP
from scapy.layers.l2 import Ether

from experiments import conformance, isolation, mtu, throughput
from experiments.base import Context
from experiments.results import Outcome, Verdict
from experiments.watch import Place, Watch
from nvgre_node.choices import UnknownUnicast
from nvgre_node.dataplane.model import encapsulate
from nvgre_node.net import NvgreNet
from topologies import Scenario, load


def asked(scenario: Scenario) -> Context:
    return Context(scenario, "model", lambda *_: None, quick=True)


def passed(outcome: Outcome) -> None:
    assert (outcome.verdict, outcome.reason) == (Verdict.PASS, "")


@pytest.mark.parametrize("name", ["two_hosts", "contoso_fabrikam"])
def test_isolation_holds(name: str) -> None:
    passed(isolation.run(asked(load(name))))


@pytest.mark.parametrize("dataplane", ["ebpf", "model"])
def test_isolation_holds_where_unknown_unicast_is_flooded_b6(dataplane: str) -> None:
    flooding = load("two_hosts").with_nve(unknown=UnknownUnicast.FLOOD)
    passed(isolation.run(replace(asked(flooding), dataplane=dataplane)))


def test_a_leak_is_found() -> None:
    scenario = load("contoso_fabrikam")
    policy = scenario.policy
    leaky = policy.pointing_to(policy.vm("contoso_sql"), policy.vm("fabrikam_sql"))
    found = isolation.run(asked(replace(scenario, policy=leaky)))
    assert found.verdict is Verdict.FAIL
    assert "contoso_web -> fabrikam_sql" in found.reason


def test_the_mtu_limits_hold() -> None:
    passed(mtu.run(asked(load("two_hosts"))))


def test_every_row_of_the_requirements_holds_that_is_tried() -> None:
    passed(conformance.run(asked(load("contoso_fabrikam"))))


def test_throughput_says_why_it_does_not_compare_it() -> None:
    outcome = throughput.run(asked(load("two_hosts")))
    assert outcome.verdict is Verdict.SKIP
    assert "too slow to compare" in outcome.reason


def test_a_changed_line_is_seen_on_the_wire(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encapsulate, "DF", 0)
    with NvgreNet(load("two_hosts"), "model") as net, Watch([Place(net["host2"], "host2-eth0")]) as watch:
        assert net["red1"].ping("10.0.0.2")
        seen = [Ether(sighting.frame) for sighting in watch.heard(100)]
    assert {packet[IP].flags.DF for packet in seen if IP in packet} == {False}


def test_its_threads_end_with_the_network() -> None:
    before = threading.active_count()
    with NvgreNet(load("two_hosts"), "model") as net:
        assert net["red1"].ping("fd00:10::2")
        assert threading.active_count() == before + len(net.provider_hosts)
        counters = net.counters()
        assert counters["host1"][5000].encapsulated > 0
        assert counters["host2"][5000].decapsulated > 0
    assert threading.active_count() == before
