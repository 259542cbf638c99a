"""What the shipped scenarios expect holds on a running network; what is broken does not, and is named."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from experiments import expectations
from experiments.base import Context
from experiments.expectations import asking
from experiments.results import Outcome, Verdict
from nvgre_node.net import NvgreNet
from topologies import load, shipped

SMALLER = {"scale_1000": ("hosts=3", "tenants.t.count=3", "tenants.t.vms=2")}
LEAK = "faults=[{subnet: contoso_net, record_of: contoso_sql, points_to: fabrikam_sql}]"
ENOUGH = 1.0
"""Seconds of patience with what cannot get there."""


def found(name: str, *sets: str, dataplane: str = "ebpf") -> Outcome:
    """The outcome on a scenario with settings."""
    return expectations.run(Context(load(name, sets), dataplane, lambda *_: None))


def failed(outcome: Outcome) -> dict[str, str]:
    """What was observed by the names of the checks that failed."""
    return {check.id: check.observed for check in outcome.failed}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "PATIENCE", ENOUGH)


def then(monkeypatch: pytest.MonkeyPatch, act: Callable[[NvgreNet], object]) -> None:
    """Has this done to every network as soon as it is up."""
    enter = NvgreNet.__enter__

    def wrapped(net: NvgreNet) -> NvgreNet:
        enter(net)
        act(net)
        return net

    monkeypatch.setattr(NvgreNet, "__enter__", wrapped)


@pytest.mark.parametrize("name", shipped())
def test_what_a_shipped_scenario_expects_holds(name: str) -> None:
    outcome = found(name, *SMALLER.get(name, ()))

    assert failed(outcome) == {}
    assert outcome.verdict is Verdict.PASS
    assert {sample["line"] for sample in outcome.samples} == set(range(len(load(name).expect)))


@pytest.mark.usefixtures("impatient")
def test_a_fault_breaks_expectations_on_both_sides_of_it() -> None:
    wrong = failed(found("contoso_fabrikam", LEAK))

    assert "contoso_web -> fabrikam_sql any" in wrong
    assert wrong["contoso_web -> fabrikam_sql any"].startswith("heard: ")
    assert "contoso_web -> contoso_sql tcp 1433" in wrong
    assert not any("fabrikam_web -> contoso" in name for name in wrong)


def test_who_expects_a_leak_finds_it() -> None:
    leak = "{from: contoso_web, to: fabrikam_sql, by: udp 9}"
    expect = f"expect=[{leak}, {{from: contoso_web, to: contoso_sql, by: udp 9, reaches: false}}]"
    assert failed(found("contoso_fabrikam", expect, LEAK)) == {}


def test_nobody_is_silent_where_nothing_gets_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "PATIENCE", ENOUGH)
    then(monkeypatch, lambda net: net["host1"].set_link(net["host1"].uplinks[0], state="down"))
    silent = "{from: blue1, to: red2, reaches: false}, {from: red1, to: blue1, reaches: false}"
    expect = f"expect=[{{from: red2, to: red1}}, {silent}]"

    wrong = failed(found("two_hosts", expect))

    assert wrong["red2 -> red1 icmp"].startswith("silent")
    assert wrong["blue1 -> red2 icmp"] == "unknown: nothing else gets through either"
    assert "red1 -> blue1 icmp" not in wrong  # red3, on its own host, vouches for red1


def test_packets_and_ways_that_are_others_are_told() -> None:
    narrow = ("mtu={underlay: 1500, undersized: true}", "nve.too_big=drop")
    expect = "expect=[{from: red1, to: red2, mtu: 1500, via: []}, {from: red1, to: red3, mtu: 1400, via: host2}]"

    assert failed(found("two_hosts", *narrow, expect)) == {
        "red1 -> red2 icmp: largest packet": "1458 bytes",
        "red1 -> red2 icmp: way": "host2",
        "red1 -> red3 icmp: largest packet": "1500 bytes",
        "red1 -> red3 icmp: way": "never on the wire",
    }


@pytest.mark.usefixtures("impatient")
def test_an_access_control_list_decides_and_is_named() -> None:
    deny = "tenants.red.vms.red2.acl=[{deny: in, protocol: tcp, destination_port: 22}, {deny: out, protocol: icmp}]"
    expect = (
        "expect=[{from: red1, to: red2, by: tcp 22}, {from: red1, to: red2, by: tcp 23}, {from: red1, to: red2},"
        " {from: red1, to: red2, by: tcp 22, reaches: false}, {from: red1, to: red2, by: tcp 23, reaches: false}]"
    )
    outcome = found("two_hosts", deny, expect)

    assert [check.observed for check in outcome.checks] == [
        "silent (acl in)",
        "reaches",
        "icmp over IPv4: arrives, unanswered, icmp over IPv6: reaches (acl out)",  # ICMP of IPv6 is another protocol
        "silent",
        "heard: tcp 23",
    ]
