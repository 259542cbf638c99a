"""A scenario chooses the data plane of a host: two of them meet on one wire."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nvgre_node.dataplane.capability import EVERYTHING, Capability
from nvgre_node.dataplane.planes.model import LiveModel
from nvgre_node.errors import BadInputError
from nvgre_node.net import NvgreNet
from topologies import Scenario, load

from .belongings import left_of


def mixed(second: str) -> Scenario:
    """The two hosts, of which the second has a data plane of its own."""
    scenario = load("two_hosts")
    first, *others = scenario.policy.nves
    nves = (first, *(replace(nve, dataplane=second) for nve in others))
    return replace(scenario, policy=replace(scenario.policy, nves=nves))


def test_each_host_has_its_own_and_they_share_a_virtual_subnet() -> None:
    with NvgreNet(mixed("model")) as net:
        assert [host.dataplane.name for host in net.provider_hosts] == ["ebpf", "model"]
        assert net["red1"].ping("10.0.0.2")


def test_one_that_lacks_what_the_scenario_asks_for_is_refused_and_nothing_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(LiveModel, "capabilities", EVERYTHING - {Capability.CLAMPS_MSS})
    refused = NvgreNet(mixed("model").with_nve(clamp_mss=True))
    with pytest.raises(BadInputError, match="host2: the data plane model has no MSS clamping"):
        refused.__enter__()
    assert left_of(refused.own.id) == []
