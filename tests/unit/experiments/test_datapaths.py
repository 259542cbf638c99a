"""A run says what forwards, where a data plane leaves that to the machine: in the kernel, or in user space."""

from __future__ import annotations

from dataclasses import replace

import pytest

from experiments.runner import Plan, datapaths
from nvgre_node.dataplane.openvswitch.datapath import VARIABLE
from topologies import load


@pytest.mark.parametrize("forced", ["netdev", "system"])
def test_it_says_what_was_asked_for(forced: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, forced)
    assert datapaths(Plan(["mtu"], load("two_hosts"), ["ebpf", "ovs"])) == {"ovs": forced}


def test_also_where_one_host_alone_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "netdev")
    scenario = load("two_hosts")
    first, second = scenario.policy.nves
    mixed = replace(scenario, policy=replace(scenario.policy, nves=(first, replace(second, dataplane="ovs"))))
    assert datapaths(Plan(["mtu"], mixed)) == {"ovs": "netdev"}
    assert datapaths(Plan(["mtu"], scenario)) == {}
