"""The experiments on running networks: what is right passes, and what is broken cannot."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from experiments import ecmp, iperf, isolation, mtu, offloads, throughput
from experiments.base import Context
from experiments.results import Outcome, Verdict
from experiments.watch import Sighting, Watch
from nvgre_node import multipath
from nvgre_node.choices import TooBig
from nvgre_node.dataplane.libbpf import Object
from nvgre_node.errors import BadInputError
from nvgre_node.fabric import Multipath
from nvgre_node.net import NvgreNet
from nvgre_node.node import FabricRouter
from topologies import Scenario, load

SMALL = """\
name: small
title: Two VMs of one tenant on two hosts, and a stranger
hosts:
  host1: {pa: 192.168.0.1/24}
  host2: {pa: 192.168.0.2/24}
links: [[host1, host2]]
tenants:
  red:
    subnets:
      red_net: {vsid: 5000, prefixes: [10.0.0.0/24]}
    vms:
      red1: {subnet: red_net, host: host1, ca: 10.0.0.1}
      red2: {subnet: red_net, host: host2, ca: 10.0.0.2}
  blue:
    subnets:
      blue_net: {vsid: 6000, prefixes: [10.0.0.0/24]}
    vms:
      blue1: {subnet: blue_net, host: host1, ca: 10.0.0.1, mac: 02:00:00:00:0b:01}
"""
LEAK = "faults: [{subnet: contoso_net, record_of: contoso_sql, points_to: fabrikam_sql}]\n"


@pytest.fixture
def small(tmp_path: Path) -> Scenario:
    return scenario(tmp_path, SMALL)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Waits 0.1 s, or as long as the parameter says, for what may not come: for tests in which much does not."""
    patient, longest = Watch.until, getattr(request, "param", 0.1)

    def until(watch: Watch, done: Callable[[list[Sighting]], bool], seconds: float = 1.0) -> list[Sighting]:
        return patient(watch, done, min(seconds, longest))

    monkeypatch.setattr(Watch, "until", until)


def scenario(folder: Path, text: str) -> Scenario:
    """The scenario of a text."""
    path = folder / "net.yaml"
    path.write_text(text)
    return load(path)


def asked(of: Scenario, quick: bool = True) -> Context:
    """An experiment's context, with nobody who watches its progress."""
    return Context(of, "ebpf", lambda *_: None, quick)


def figures(outcome: Outcome) -> dict[str, tuple[float, ...]]:
    """What was measured, by name."""
    return {measurement.name: measurement.values for measurement in outcome.measurements}


# Isolation.


@pytest.mark.parametrize("name", ["contoso_fabrikam", "leaf_spine"])
def test_isolation_holds_between_tenants_with_identical_addresses(name: str) -> None:
    """In two_hosts too: see test_cli.py."""
    found = isolation.run(asked(load(name)))
    assert (found.verdict, found.reason) == (Verdict.PASS, "")
    assert figures(found)["allowed deliveries seen"] == figures(found)["allowed deliveries"] > (0.0,)
    assert figures(found)["forbidden deliveries seen"] == (0.0,)


@pytest.mark.usefixtures("impatient")
def test_a_wrong_record_is_a_leak_that_is_named(tmp_path: Path) -> None:
    leaky = scenario(tmp_path, load("contoso_fabrikam").path.read_text() + LEAK)
    found = isolation.run(asked(leaky))
    assert found.verdict is Verdict.FAIL
    assert "contoso_web -> fabrikam_sql" in found.reason
    assert figures(found)["forbidden deliveries seen"] > (0.0,)
    leaks = [sample for sample in found.samples if sample["expected"] == "silent" and sample["observed"] == "heard"]
    assert {sample["source_tenant"] for sample in leaks} == {"contoso"}
    assert {sample["destination"] for sample in leaks} == {"fabrikam_sql"}


@pytest.mark.usefixtures("impatient")
def test_a_leak_that_arrives_while_the_next_probe_is_under_way_is_a_leak(
    small: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = isolation.probes(small.policy, random.Random(asked(small).seed))[0]  # noqa: S311
    in_time, calls = Watch.until, []

    def until(watch: Watch, *arguments: Any) -> list[Sighting]:
        calls.append(arguments)
        late = [Sighting("blue1", first.frame)] if len(calls) == 2 else []
        return in_time(watch, *arguments) + late

    monkeypatch.setattr(Watch, "until", until)
    found = isolation.run(asked(small))
    assert found.verdict is Verdict.FAIL
    assert "blue1" in found.reason


# Networks that cannot pass.


def nothing_attached(monkeypatch: pytest.MonkeyPatch) -> None:
    """The programs are loaded, and no packet ever meets them."""
    monkeypatch.setattr(Object, "attach", lambda *_, **__: None)


def programs_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody removes the programs from one host's ports and uplinks once the network is up."""

    def strip(net: NvgreNet) -> None:
        for interface in net["host1"].nameToIntf.keys() - {"lo"}:
            assert net["host1"].run_process(["tc", "qdisc", "del", "dev", interface, "clsact"]).returncode == 0

    then(monkeypatch, strip)


def cable_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """The link between the hosts is down."""
    then(monkeypatch, lambda net: net["host1"].set_link(net["host1"].uplinks[0], state="down"))


def then(monkeypatch: pytest.MonkeyPatch, act: Callable[[NvgreNet], object]) -> None:
    """Has this done to every network as soon as it is up."""
    enter = NvgreNet.__enter__

    def wrapped(net: NvgreNet) -> NvgreNet:
        enter(net)
        act(net)
        return net

    monkeypatch.setattr(NvgreNet, "__enter__", wrapped)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("impatient", [0.05], indirect=True, ids=["0.05 s"])
@pytest.mark.parametrize("break_it", [nothing_attached, programs_taken_away, cable_cut])
def test_a_dead_network_does_not_pass_for_an_isolated_one(
    break_it: Callable[[pytest.MonkeyPatch], None], small: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_it(monkeypatch)
    found = isolation.run(asked(small))
    assert found.verdict is Verdict.FAIL
    assert "red1 -> red2" in found.reason
    assert figures(found)["allowed deliveries seen"] < figures(found)["allowed deliveries"]


@pytest.mark.usefixtures("impatient")
def test_a_dead_network_passes_no_sweep(small: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing_attached(monkeypatch)
    monkeypatch.setattr(mtu, "underlays", lambda _: (1500,))
    monkeypatch.setattr(mtu, "remedies", lambda _: ())
    found = mtu.run(asked(small))
    assert found.verdict is Verdict.FAIL
    assert {check.id.partition(": ")[2] for check in found.passed} == {"fragments on the wire"}


# MTU.


def test_mtu_measures_42_bytes_and_every_packet_is_delivered_or_told() -> None:
    found = mtu.run(asked(load("two_hosts")))
    assert (found.verdict, found.reason) == (Verdict.PASS, "")
    assert set(figures(found)["overhead"]) == {42.0}
    assert {name: values for name, values in figures(found).items() if name.startswith("largest")} == {
        "largest packet, underlay 1500": (1458.0,),
        "largest packet, underlay 1542": (1500.0,),
        "largest packet, underlay 9000": (8958.0,),
    }


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("impatient", [0.25], indirect=True, ids=["0.25 s"])
def test_nves_that_tell_nobody_fail_on_that_alone(small: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mtu, "underlays", lambda _: (1500,))
    monkeypatch.setattr(mtu, "remedies", lambda _: ())
    found = mtu.run(asked(small.with_nve(too_big=TooBig.DROP)))
    assert {check.id.partition(": ")[2] for check in found.failed} == {"larger packets are told"}
    assert {check.observed for check in found.failed} == {"lost"}


def test_a_remedy_that_is_none_is_found_out(small: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    black_hole = mtu.remedies(42)[0]
    promised = mtu.Remedy(black_hole.name, 1500, 1500, TooBig.TELL, completes=False)
    monkeypatch.setattr(mtu, "underlays", lambda _: ())
    monkeypatch.setattr(mtu, "remedies", lambda _: (promised,))
    found = mtu.run(asked(small))
    assert found.verdict is Verdict.FAIL
    assert [check.observed for check in found.failed] == ["completes"]


# Throughput.


def test_throughput_measures_three_paths_with_offloads_on_and_off(
    small: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throughput, "ROUNDS_QUICK", 1)
    monkeypatch.setattr(throughput, "PROTOCOLS", ("TCP",))
    found = throughput.run(asked(small))
    assert (found.verdict, found.reason) == (Verdict.PASS, "")
    assert [(sample["offloads"], sample["path"]) for sample in found.samples] == [
        (state, path) for state in ("on", "off") for path in ("NVGRE", "VXLAN", "underlay")
    ]
    for sample in found.samples:
        assert {sample[f"offload_{feature}"] for feature in offloads.FEATURES} == {sample["offloads"]}
    ratios = [measurement for measurement in found.measurements if measurement.unit == "ratio"]
    assert [ratio.name for ratio in ratios] == [
        f"TCP NVGRE / {peer}, offloads {state}" for peer in ("VXLAN", "underlay") for state in ("off", "on")
    ]
    assert all(value > 0 for ratio in ratios for value in ratio.values)


def test_offloads_that_do_not_switch_fail(small: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = iperf.Stream(1.0, 1.0, 100.0, 0, None)
    monkeypatch.setattr(iperf, "measure", lambda *_: stream)
    monkeypatch.setattr(throughput, "ROUNDS_QUICK", 1)
    monkeypatch.setattr(throughput, "PROTOCOLS", ("TCP",))
    monkeypatch.setattr(offloads, "switch", lambda *_: None)
    found = throughput.run(asked(small))
    assert "offloads off" in {check.id for check in found.failed}


# Paths of equal cost.


def test_ecmp_finds_what_spreads_by_what_over_both_ip_versions() -> None:
    found = ecmp.run(asked(load("leaf_spine"), quick=False))
    assert (found.verdict, found.reason) == (Verdict.PASS, "")
    assert {(sample["outer"], sample["router"]) for sample in found.samples} == {
        (outer, router) for outer in ("IPv4", "IPv6") for router in ("spine1", "spine2")
    }
    assert len(found.checks) == 2 * len(Multipath) * len(ecmp.Varied)


@pytest.mark.parametrize("mode", Multipath)
def test_routers_that_hash_something_else_are_found_out(mode: Multipath, monkeypatch: pytest.MonkeyPatch) -> None:
    """All routers stay in one mode, whatever they are told: what is expected of the others fails, cell by cell.

    Flows of a VM that have one key spread by inner ports, and must not where routers hash the key.
    """
    obey = FabricRouter.spread_by
    monkeypatch.setattr(FabricRouter, "spread_by", lambda router, _: obey(router, mode))
    found = ecmp.run(asked(load("leaf_spine")))
    wrong = {(other, varied) for other in Multipath for varied in ecmp.SPREADING[other] ^ ecmp.SPREADING[mode]}
    wrong |= {(Multipath.KEY, ecmp.Varied.VM_FLOWS)} if mode is Multipath.INNER else set()
    assert {check.id for check in found.failed} == {f"IPv4, routers hash {other}: {varied}" for other, varied in wrong}
    assert found.verdict is Verdict.FAIL


def test_a_router_that_sprays_packets_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flow must keep its path, however evenly its packets are shared."""
    rightly = multipath._nft

    def by_lot(commands: Sequence[dict[str, Any]]) -> None:
        for command in commands:
            for part in command.get("add", {}).get("rule", {}).get("expr", []):
                if "mangle" in part:
                    part["mangle"]["value"] = {"numgen": {"mode": "random", "mod": 2, "offset": 1}}
        rightly(commands)

    monkeypatch.setattr(multipath, "_nft", by_lot)
    found = ecmp.run(asked(load("leaf_spine")))
    assert {check.id for check in found.failed} == {f"IPv4, routers hash key: {varied}" for varied in ecmp.Varied}
    assert all("left their path" in check.observed for check in found.failed)


@pytest.mark.usefixtures("impatient")
def test_a_path_that_is_cut_is_no_reason_to_count_the_other_one_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    then(monkeypatch, lambda net: net["spine2"].set_link("spine2-eth0", state="down"))
    found = ecmp.run(asked(load("leaf_spine")))
    spreading = {check.id for check in found.checks if check.expected == "spreads"}
    assert {check.id for check in found.failed} >= spreading
    assert all("packets lost" in check.observed for check in found.failed)


# Scenarios that leave an experiment nothing to measure.


def test_without_paths_of_equal_cost_there_is_nothing_to_spread_over(small: Scenario) -> None:
    with pytest.raises(BadInputError, match="small has no equal-cost paths"):
        ecmp.run(asked(small))


@pytest.mark.parametrize("run", [mtu.run, throughput.run], ids=["mtu", "throughput"])
def test_without_two_vms_of_a_subnet_on_different_hosts_there_is_nothing_to_measure(
    run: Callable[[Context], Outcome], tmp_path: Path
) -> None:
    lonely = SMALL.replace("red2: {subnet: red_net, host: host2", "red2: {subnet: red_net, host: host1")
    with pytest.raises(BadInputError, match="different provider hosts"):
        run(asked(scenario(tmp_path, lonely)))
