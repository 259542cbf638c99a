"""Open vSwitch in the kernel, which forwards by itself where there is its datapath: what it does, and what it lacks."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from experiments import isolation
from experiments.base import Context
from experiments.conformance import (
    counting,
    lacking,
    monitoring,
    narrow,
    reaching,
    receiving,
    routing,
    rows,
    sending,
    traffic_class,
    variants,
)
from experiments.conformance.lab import Lab
from experiments.conformance.rows import Finding, Status
from experiments.conformance.wishes import Rows, Variant, Wish, as_far_as_it_can
from experiments.results import Verdict
from experiments.runner import Plan, datapaths
from experiments.transfer import transfer
from nvgre_node.choices import Neighbours
from nvgre_node.dataplane.capability import Capability
from nvgre_node.dataplane.openvswitch import answering
from nvgre_node.dataplane.planes import ovs
from nvgre_node.namespace import netlink
from nvgre_node.net import NvgreNet
from topologies import load

OWN = ovs.OvsDataPlane.capabilities
PLAIN = (sending.headers, sending.inner_frames, sending.tags, *receiving.RECEIVING, *traffic_class.ROWS)
SIZE = 1 << 20
TRIED: tuple[tuple[Variant, Rows], ...] = (
    (variants.as_it_is, (*PLAIN, *monitoring.MONITORING, *counting.COUNTING, reaching.at_the_end)),
    (routing.joined, (*routing.ROUTING, Wish(routing.proxied, routing.questions))),
    (variants.narrow, (Wish(variants.reassembling, receiving.outer_fragments), narrow.path_mtu)),
)
"""Three networks: in a guest each takes its time, so that what has nothing of the kernel's own is left to `netdev`."""


def test_the_kernel_forwards_where_it_can() -> None:
    assert ovs.OvsDataPlane.datapath == "system"
    assert OWN == ovs.ALWAYS | ovs.BY_KERNEL


def test_a_run_says_that_the_kernel_forwards() -> None:
    assert datapaths(Plan(["isolation"], load("two_hosts"), ["ovs"])) == {"ovs": "system"}


def test_isolation_holds() -> None:
    outcome = isolation.run(Context(load("two_hosts"), "ovs", lambda *_: None, quick=True))
    assert (outcome.reason, outcome.verdict) == ("", Verdict.PASS)


@pytest.fixture(scope="module")
def found() -> list[Finding]:
    """Everything that is found, whatever is declared."""
    findings: list[Finding] = []
    for variant, tried in TRIED:
        granted = as_far_as_it_can(load("two_hosts"), variant, tried, OWN)
        assert granted.lost == []
        with NvgreNet(granted.scenario, "ovs") as net, Lab(net, granted.scenario.policy, seed=7637) as lab:
            findings += [one for row in granted.rows for one in row(lab)]
    return findings


def test_every_row_holds_but_for_what_it_says_that_it_lacks(found: list[Finding]) -> None:
    judged = [lacking.explained(one, OWN) for one in found]
    assert [one for one in judged if one.verdict == Verdict.FAIL] == []
    assert sum(one.verdict == Verdict.PASS for one in judged) > 100
    passed = {row for row, verdict in rows.verdicts(rows.samples(judged)).items() if verdict == Verdict.PASS}
    sent = {"O2", "O3", "G1", "G2", "G3", "G4", "G5", "I1", "I3", "I4", "I5", "F1", "F5", "S1", "D1"}
    received = {"G10", "I2", "I6", "I7", "V1", "U3", "C1", "T6"}
    routed = {"T5", "T7", "X2", "X6", "S2", "S4"}
    assert passed >= sent | received | routed


def test_what_it_says_that_it_lacks_it_lacks(found: list[Finding]) -> None:
    """So that a kernel, or an Open vSwitch, that has learnt it is noticed."""
    for capability in lacking.EXPLAINS.keys() - OWN:
        judged = [lacking.explained(one, frozenset(Capability) - {capability}) for one in found]
        assert Status.LACKS in {one.verdict for one in judged}, capability


@pytest.mark.parametrize("capability", [Capability.DROPS_RESERVED_BITS, Capability.ZERO_ID, Capability.SILENT])
def test_a_claim_that_does_not_hold_fails(found: list[Finding], capability: Capability) -> None:
    judged = [lacking.explained(one, OWN | {capability}) for one in found]
    assert Verdict.FAIL in {one.verdict for one in judged}


def test_neighbours_are_answered_by_the_bridge_that_can_advertise(monkeypatch: pytest.MonkeyPatch) -> None:
    proxied = load("two_hosts").with_nve(neighbours=Neighbours.PROXY)
    with NvgreNet(proxied, "ovs") as net:
        assert net["red1"].ping("fd00:10::2")
    monkeypatch.setattr(answering, "advertisements", lambda _view: iter(()))
    with NvgreNet(proxied, "ovs") as net:
        assert net["red1"].ping("10.0.0.2")
        assert not net["red1"].ping("fd00:10::2", timeout=1)


@pytest.mark.parametrize("other", ["ebpf", "ovs"])
def test_tcp_gets_through_with_all_offloads_on(other: str) -> None:
    scenario = load("two_hosts")
    first, second = scenario.policy.nves
    nves = (replace(first, dataplane=other), replace(second, dataplane="ovs"))
    with NvgreNet(replace(scenario, policy=replace(scenario.policy, nves=nves))) as net:
        assert ovs.OvsDataPlane.takes_offloads
        for source, destination, address in (("red1", "red2", "10.0.0.2"), ("red2", "red1", "fd00:10::1")):
            done = transfer(net[source], net[destination], address, SIZE)
            assert (done.completed, done.received) == (True, SIZE)


def test_next_hops_are_resolved_again_by_themselves() -> None:
    with NvgreNet(load("two_hosts"), "ovs") as net:
        assert net["red1"].ping("10.0.0.2")
        with net["host1"].inside(), netlink() as ip:
            (index,) = ip.link_lookup(ifname="host1-eth0")
            ip.neigh("del", dst="192.168.0.2", ifindex=index)
        assert net["red1"].ping("10.0.0.2")


def test_user_space_forwards_if_told_so() -> None:
    script = (
        "from nvgre_node.net import NvgreNet; from topologies import load\n"
        "from nvgre_node.dataplane.planes import ovs\n"
        "with NvgreNet(load('two_hosts'), 'ovs') as net:\n"
        "    print(ovs.OvsDataPlane.datapath, net['red1'].ping('10.0.0.2'))\n"
    )
    command = ["env", "NVGRE_OVS_DATAPATH=netdev", sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["netdev", "True"], done.stderr
