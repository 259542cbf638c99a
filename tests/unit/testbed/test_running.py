"""What a running network tells of itself is enough to know its policy again."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.running import moved
from topologies import Scenario, load, shipped


def again(scenario: Scenario, folder: Path) -> Scenario:
    """The scenario, from what `up` leaves of it in the run's folder."""
    told = folder / f"{scenario.name}.yaml"
    told.write_text(scenario.text)
    return load(told)


@pytest.mark.parametrize("name", [name for name in shipped() if name != "scale_1000"])
def test_a_scenario_is_known_again(name: str, tmp_path: Path) -> None:
    scenario = load(name)
    found = again(scenario, tmp_path)
    assert (found.policy, found.fabric, found.tenant_mtu) == (scenario.policy, scenario.fabric, scenario.tenant_mtu)


def test_so_is_one_with_settings_and_includes(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("include: two_hosts\nnve: {ttl: 9}\n")
    scenario = load(own, ["nve.dscp=7"])
    (tmp_path / "run").mkdir()
    found = again(scenario, tmp_path / "run")
    assert found.policy == scenario.policy
    assert (found.policy.nves[0].ttl, found.policy.nves[0].dscp) == (9, 7)


def test_vms_are_where_they_are_now() -> None:
    scenario = load("two_hosts")
    hosts = {name: vms[0].host for name, vms in scenario.policy.machines.items()}
    assert moved(scenario, hosts) == scenario
    there = moved(scenario, hosts | {"red1": "host2"})
    assert there.policy == scenario.policy.moved("red1", "host2")
