"""The data plane `ovs`: two hosts with Open vSwitch, and one beside `ebpf`, share a virtual subnet."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nvgre_node.net import NvgreNet
from topologies import Scenario, load


def mixed() -> Scenario:
    """The two hosts, of which the second has Open vSwitch."""
    scenario = load("two_hosts")
    first, *others = scenario.policy.nves
    nves = (first, *(replace(nve, dataplane="ovs") for nve in others))
    return replace(scenario, policy=replace(scenario.policy, nves=nves))


@pytest.mark.parametrize("over", [4, 6])
def test_vms_of_one_virtual_subnet_reach_each_other(over: int) -> None:
    scenario = load("two_hosts")
    with NvgreNet(scenario.over_ipv6() if over == 6 else scenario, "ovs") as net:
        assert net["red1"].ping("10.0.0.2")
        assert net["red1"].ping("fd00:10::2")
        assert not net["red1"].ping("10.0.0.9", timeout=0.5)


def test_it_shares_a_virtual_subnet_with_another_data_plane() -> None:
    with NvgreNet(mixed()) as net:
        assert [host.dataplane.name for host in net.provider_hosts] == ["ebpf", "ovs"]
        assert net["red1"].ping("10.0.0.2")
        assert net["blue2"].ping("10.0.0.1")
