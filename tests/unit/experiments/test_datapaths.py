"""A run says what forwards, where a data plane leaves that to the machine: in the kernel, or in user space."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from experiments.runner import Plan, datapaths
from nvgre_node.dataplane import implementation
from nvgre_node.dataplane.openvswitch.datapath import VARIABLE
from topologies import load

ASKING = """
from experiments.runner import Plan, datapaths
from topologies import load
print(datapaths(Plan(["mtu"], load("two_hosts"), ["ebpf", "ovs"])))
"""


@pytest.mark.parametrize("forced", ["netdev", "system"])
def test_it_says_what_was_asked_for(forced: str) -> None:
    command, own = [sys.executable, "-c", ASKING], os.environ | {VARIABLE: forced}
    done = subprocess.run(command, env=own, capture_output=True, text=True, check=True)
    assert done.stdout == f"{ {'ovs': forced} }\n"


def test_also_where_one_host_alone_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(implementation("ovs"), "datapath", "netdev")
    scenario = load("two_hosts")
    first, second = scenario.policy.nves
    mixed = replace(scenario, policy=replace(scenario.policy, nves=(first, replace(second, dataplane="ovs"))))
    assert datapaths(Plan(["mtu"], mixed)) == {"ovs": "netdev"}
    assert datapaths(Plan(["mtu"], scenario)) == {}
