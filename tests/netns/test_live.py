"""`explain --live` and `doctor RUN`, as another process says them of a network that runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from nvgre_node.control import Control, ask
from nvgre_node.dataplane.base import Drop
from nvgre_node.net import NvgreNet
from testbed.running import commands, examine
from tests.unit.testbed.command_line import Said, nvgre_process
from topologies import load


@pytest.fixture
def net() -> Iterator[NvgreNet]:
    scenario = load("two_hosts")
    with NvgreNet(scenario) as running, Control(running.own.directory, commands(running, scenario)):
        yield running


def misled(net: NvgreNet) -> None:
    """A controller tells host1 that red2 is where nobody is."""
    host = net["host1"]
    own = next(record for record in host.policy.records if record.vm == "red2" and record.ca.version == 4)
    host.install(replace(own, pa=IPv4Address("192.168.0.9")))


def explained(net: NvgreNet, destination: str, *more: str) -> Said:
    return nvgre_process("explain", "two_hosts", "red1", destination, "--live", "--run", net.own.id, *more)


def test_a_difference_is_a_sentence_and_an_exit_status(net: NvgreNet) -> None:
    sound = explained(net, "red2")
    misled(net)
    wrong, other = explained(net, "red2"), explained(net, "red3")
    data = explained(net, "red2", "--json")

    assert (sound.status, other.status, wrong.status) == (0, 0, 1)
    assert wrong.lines[-1] == "host1 sends 10.0.0.2 to 192.168.0.9, and the policy says 192.168.0.2"
    assert data.status == 1
    steps = json.loads(data.out)["live"]
    assert {"asked": "record of 10.0.0.2 in VSID 5000 on host1", "policy": "192.168.0.2", "running": "192.168.0.9",
            "difference": wrong.lines[-1]} in steps  # fmt: skip


def test_the_policy_is_the_one_that_is_in_force(net: NvgreNet) -> None:
    ask(net.own.id, "migrate", "red2", "host1")
    moved, examined = explained(net, "red2"), nvgre_process("doctor", net.own.id)

    assert (moved.status, examined.status, examined.out) == (0, 0, f"{net.own.id}: nothing is wrong\n")
    assert any("a port of its own" in line for line in moved.lines)


def test_doctor_tells_faults_with_their_mends_and_mends_them(net: NvgreNet) -> None:
    misled(net)
    wrong, data = nvgre_process("doctor", net.own.id), nvgre_process("doctor", net.own.id, "--json")
    mended = nvgre_process("doctor", net.own.id, "--mend")

    assert (wrong.status, data.status, mended.status) == (1, 1, 0)
    assert wrong.out.splitlines()[0] == (
        "host1 sends 10.0.0.2 and fd00:10::2 in VSID 5000 to 192.168.0.9, and the policy says 192.168.0.2; "
        f"the mend: ./nvgre doctor {net.own.id} --mend writes the policy anew"
    )
    told = json.loads(data.out)
    assert [finding["fault"] for finding in told["findings"]] == ["stale record", "unknown peer"]
    assert all(f"{finding['what']}; the mend: {finding['mend']}" in wrong.out for finding in told["findings"])


def test_nves_that_cannot_be_read_are_named() -> None:
    scenario = load("two_hosts")
    with NvgreNet(scenario, "model") as net, Control(net.own.directory, commands(net, scenario)):
        examined, asked = nvgre_process("doctor", net.own.id), explained(net, "red2")
    assert examined.status == 0
    assert "not looked at: what the NVE of host1 works from, since model cannot be read from outside" in examined.out
    assert asked.status == 2
    assert "model cannot be read from outside" in asked.err


NONE = "nvgre-000000"


@pytest.mark.parametrize(
    "words",
    [("doctor", NONE), ("explain", "two_hosts", "red1", "red2", "--live", "--run", NONE)],
    ids=["doctor", "explain"],
)
def test_a_network_that_does_not_run_is_told_in_a_line(words: tuple[str, ...]) -> None:
    said = nvgre_process(*words)
    assert (said.status, said.out) == (2, "")
    assert said.err.startswith(f"no network {NONE} runs")


def test_a_network_that_cannot_be_asked_is_held_against_its_scenario() -> None:
    with NvgreNet(load("two_hosts")) as net:
        said = explained(net, "red2")
        misled(net)
        assert (said.status, explained(net, "red2").status) == (0, 1)
        refused = nvgre_process("doctor", net.own.id)
    assert refused.status == 2
    assert f"{net.own.id} does not answer" in refused.err


@pytest.mark.parametrize(("probe", "drops"), [("false", 4), ("true", 0)])
def test_what_test_packets_count_as_is_as_the_page_says(probe: str, drops: int) -> None:
    """Two NVGRE packets from each of two NVEs: drops, or answers to no question, for NVEs that know such."""
    scenario = load("two_hosts", [f"nve.probe={probe}"])
    with NvgreNet(scenario) as net, Control(net.own.directory, commands(net, scenario)):
        before = net.dropped()[Drop.RESERVED_VSID]
        assert examine(net.own.id).found == []
        assert net.dropped()[Drop.RESERVED_VSID] - before == drops
