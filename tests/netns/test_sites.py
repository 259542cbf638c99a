"""Tenants' sites behind tunnels of their own (X1, X3): who reaches which, what is seen between, and what is left."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments import conformance
from experiments.base import Context
from experiments.conformance import gateways, rows
from experiments.conformance.journal import Journal
from experiments.results import Outcome, Verdict
from experiments.transfer import transfer
from nvgre_node import gateway, namespace, run
from nvgre_node.choices import GatewayMode
from nvgre_node.explain import explain
from nvgre_node.net import NvgreNet
from nvgre_node.outside import Compartment
from nvgre_node.ruleset import ruleset
from nvgre_node.waiting import wait_until
from topologies import Scenario, load

from .belongings import CHECKOUT, COMMAND, Owner, belongings, dead_runs, left_of, names_of


@pytest.fixture(params=["ebpf", "model"])
def net(request: pytest.FixtureRequest) -> Iterator[NvgreNet]:
    with NvgreNet(load("cross_premise"), request.param) as net:
        yield net


def received(net: NvgreNet, site: str) -> int:
    """The packets that have come out of a site's tunnel."""
    return int(net[site].run_process(["cat", "/sys/class/net/tunnel/statistics/rx_packets"]).stdout)


def test_each_tenant_reaches_its_own_site_and_that_reaches_it_x1(net: NvgreNet) -> None:
    assert net["contoso_web"].ping("10.9.0.5", count=3)
    assert (received(net, "hq1"), received(net, "hq2")) == (3, 0)
    assert net["fabrikam_sql"].ping("10.9.0.5", count=2)
    assert (received(net, "hq1"), received(net, "hq2")) == (3, 2)
    pinged = net["hq1"].run_process(["ping", "-n", "-c", "1", "-W", "2", "-I", "10.9.0.5", "10.1.1.11"])
    assert pinged.returncode == 0


def test_a_transfer_passes_the_tunnel(net: NvgreNet) -> None:
    done = transfer(net["contoso_web"], net["hq1"], "10.9.0.5", 1 << 19)
    assert (done.connected, done.completed) == (True, True)


def test_the_network_between_has_no_way_to_either_side(net: NvgreNet) -> None:
    leg = str(net["contoso_gw"].compartment.leg.address(4))
    for prefix, via in (("10.1.1.0/24", leg), ("10.9.0.0/24", "203.0.113.66")):
        net["internet"].run_process(["ip", "route", "add", prefix, "via", via])
    before = received(net, "hq1")
    for address in ("10.1.1.11", "10.9.0.5"):
        done = net["internet"].run_process(["ping", "-n", "-c", "1", "-W", "1", address])
        assert done.returncode == 1, address
    assert received(net, "hq1") == before


def test_the_way_to_a_site_is_explained() -> None:
    steps = explain(load("cross_premise").policy, "fabrikam_web", "10.9.0.5")
    assert steps[-1].result == "out to hq2 by site_to_site: in a tunnel, 203.0.113.12 -> 203.0.113.77"


# What it leaves: nothing


def tunnels_of(run_id: str) -> set[int]:
    """The processes that carry a run's tunnels."""
    pids = {pid for path in names_of(run_id) for pid in namespace.inhabitants(path)}
    return {pid for pid in pids if Path(f"/proc/{pid}/comm").read_text().strip() == "wireguard-go"}


def test_a_network_that_ends_takes_its_tunnels_along() -> None:
    with NvgreNet(load("cross_premise")) as net:
        pids, keys = tunnels_of(net.own.id), sorted(path.name for path in net.own.directory.glob("*.key"))
        assert keys == ["contoso_gw.key", "fabrikam_gw.key", "hq1.key", "hq2.key"]
        assert {path.stat().st_mode & 0o777 for path in net.own.directory.glob("*.key")} == {0o600}
        mounts = {Path(f"/proc/{pid}/ns/mnt").readlink() for pid in pids}
        assert Path("/proc/self/ns/mnt").readlink() not in mounts
        run_id = net.own.id
    assert left_of(run_id) == []
    wait_until(lambda: not [pid for pid in pids if Path(f"/proc/{pid}").exists()], "its tunnels to end")


@pytest.mark.usefixtures("sole_cleaner")
def test_clean_removes_the_tunnels_of_a_killed_run(tmp_path: Path) -> None:
    owner = Owner(tmp_path / "results", "isolation", "--scenario", "cross_premise")
    try:
        owner.until(sends_probes)
        with belongings(owner) as had:
            tunnels = tunnels_of(had.run_id)
            assert tunnels <= set(had.processes.values())
            owner.process.kill()
            owner.process.wait()
            assert had.run_id in dead_runs()
            subprocess.run([*COMMAND, "clean"], cwd=CHECKOUT, capture_output=True, check=True)
            assert left_of(had.run_id) == []
            wait_until(lambda: not had.processes_left(), "its processes to end")
    finally:
        owner.close()
        run.clean()


def sends_probes(owner: Owner) -> object:
    """its first probe"""
    return " -> " in owner.seen


# The rows


def tried(variant: Callable[[Scenario], Scenario] = gateways.cross_premise) -> Outcome:
    asked = Context(load("two_hosts"), "ebpf", lambda *_: None)
    journal = Journal()
    todo = [(variant, gateways.TUNNELLING)]
    return conformance.outcome(asked, list(journal.follow(conformance.on_variants(asked, journal, todo))), journal)


def failures(outcome: Outcome) -> list[tuple[str, str]]:
    failed = (sample for sample in outcome.samples if sample["verdict"] == Verdict.FAIL)
    return [(str(sample["row"]), str(sample["what"])) for sample in failed]


def test_what_is_right_passes_with_a_capture_behind_it() -> None:
    outcome = tried()
    assert failures(outcome) == []
    verdicts = rows.verdicts(outcome.samples)
    assert (verdicts["X1"], verdicts["X3"]) == (Verdict.PASS, Verdict.PASS)
    assert all(sample["capture"] and sample["packet"] for sample in outcome.samples if sample["row"] in {"X1", "X3"})


def test_gateways_that_validate_nothing_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def open_to_all(compartment: Compartment) -> dict[str, Any]:
        commands = ruleset(compartment)["nftables"]
        for chain in (command["add"]["chain"] for command in commands if "chain" in command["add"]):
            chain["policy"] = "accept"
        return {"nftables": commands}

    monkeypatch.setattr(gateway, "ruleset", open_to_all)
    assert failures(tried()) == [
        ("X3", "ours_near11, a stranger's address"),
        ("X3", "theirs_near11, a stranger's address"),
    ]


def test_tunnels_that_are_crossed_are_found() -> None:
    """The packets of one tenant to its gateway go to that of the other, by a wrong lookup record."""

    def crossed(scenario: Scenario) -> Scenario:
        variant = gateways.cross_premise(scenario)
        ours, theirs = (variant.policy.vm(f"{tenant}_far250") for tenant in ("ours", "theirs"))
        return replace(variant, policy=variant.policy.pointing_to(theirs, ours))

    found = failures(tried(crossed))
    assert {("X1", "theirs_near11, the answer of theirs_hq"), ("X3", "theirs_near11, the tunnel")} <= set(found)
    assert ("X3", "ours_near11, the tunnel") not in found


def test_what_goes_without_a_tunnel_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first tenant's packets are forwarded as they are, and its site is but a host on the network outside."""

    def in_clear(scenario: Scenario) -> Scenario:
        variant = gateways.translating(scenario)
        (internet,) = variant.policy.outside
        there = replace(internet, addresses=(gateways.AT_HOME,))
        legs = {}
        for number, vm in enumerate(vm for vm in variant.policy.vms if vm.leg):
            own = type(gateways.AT_HOME)(f"{gateways.AT_HOME.network[11 + number]}/24")
            mode = GatewayMode.NAT if number else GatewayMode.FORWARD
            legs[vm.name] = replace(vm.leg, addresses=(own,), mode=mode, forwarded=()) if vm.leg else None
        vms = tuple(replace(vm, leg=legs.get(vm.name)) for vm in variant.policy.vms)
        return replace(variant, policy=replace(variant.policy, vms=vms, outside=(there,)))

    right = gateways.cross_premise(load("two_hosts")).policy
    sites = {f"{site.name.removesuffix('_hq')}_far250": site for site in right.outside if site.behind}
    monkeypatch.setattr(gateways, "site_of", lambda _policy, gateway: sites[gateway.name])
    found = failures(tried(in_clear))
    assert {("X3", "ours_near11, the tunnel"), ("X3", "all packets outside"), ("X3", "what tenants sent")} <= set(found)
