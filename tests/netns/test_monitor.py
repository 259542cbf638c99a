"""The passive monitor sees what the NVEs count, packet for packet and byte for byte, GSO frames included (D1)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from experiments import iperf
from experiments.conformance.monitoring import Totals, totals
from nvgre_node import monitor
from nvgre_node.dataplane.base import SubnetCounters
from nvgre_node.monitor import Account, Direction, Monitor, MonitorFullError, by_pa, by_vsid
from nvgre_node.net import NvgreNet
from nvgre_node.policy import Address
from nvgre_node.waiting import wait_until
from topologies import Scenario, load

from .bench import running
from .mutation import Mutant

RED, BLUE = 5000, 6000
Counted = dict[str, dict[int, SubnetCounters]]
PaTotals = dict[str, dict[tuple[Direction, Address], Account]]
UNDERLAYS = {"IPv4": load("two_hosts"), "IPv6": load("two_hosts").over_ipv6()}


@contextmanager
def watched(scenario: Scenario) -> Iterator[tuple[NvgreNet, dict[str, Monitor], Counted, PaTotals]]:
    """A network with a monitor on the uplink of each host, and what the NVEs had counted when the monitors began."""
    with NvgreNet(scenario) as net, ExitStack() as stack:
        found = wait_until(lambda: begun(net, stack), "a moment in which no VM says anything")
        assert found
        yield net, *found


def begun(net: NvgreNet, stack: ExitStack) -> tuple[dict[str, Monitor], Counted, PaTotals] | None:
    """Monitors and counters, if nothing was counted while the monitors began."""
    before, by_pas = net.counters(), pa_accounts(net)
    with ExitStack() as own:
        monitors = {}
        for host in net.provider_hosts:
            with host.inside():
                monitors[host.name] = own.enter_context(Monitor(host.uplinks[0]))
        if net.counters() != before:
            return None
        stack.enter_context(own.pop_all())
    return monitors, before, by_pas


def seen(monitors: dict[str, Monitor]) -> dict[str, Totals]:
    return {host: by_vsid(own.flows()) for host, own in monitors.items()}


def seen_by_pa(monitors: dict[str, Monitor]) -> PaTotals:
    return {host: by_pa(own.flows()) for host, own in monitors.items()}


def counted_by_pa(net: NvgreNet, before: PaTotals) -> PaTotals:
    """What the NVEs have exchanged with each PA since then."""

    def since(then: Account, now: Account) -> Account:
        return Account(now.packets - then.packets, now.bytes - then.bytes)

    moved = {
        host: {key: since(before[host].get(key, Account()), account) for key, account in now.items()}
        for host, now in pa_accounts(net).items()
    }
    return {host: {key: own for key, own in found.items() if own.packets} for host, found in moved.items()}


def pa_accounts(net: NvgreNet) -> PaTotals:
    found: PaTotals = {}
    for host, pas in net.pa_counters().items():
        out = {(Direction.OUT, pa): Account(own.encapsulated, own.encapsulated_bytes) for pa, own in pas.items()}
        into = {(Direction.IN, pa): Account(own.decapsulated, own.decapsulated_bytes) for pa, own in pas.items()}
        found[host] = out | into
    return found


def counted(net: NvgreNet, before: Counted) -> dict[str, Totals]:
    return {host: totals(before[host], now) for host, now in net.counters().items()}


def settled(net: NvgreNet, monitors: dict[str, Monitor], before: Counted) -> dict[str, Totals]:
    """What both say as soon as they agree; packets that are under way have been counted by one of them only."""
    wait_until(lambda: seen(monitors) == counted(net, before), "monitor and counters to agree", timeout=3)
    return seen(monitors)


def settled_by_pa(net: NvgreNet, monitors: dict[str, Monitor], before: PaTotals, *_: object) -> PaTotals:
    """The same of each PA."""
    wait_until(lambda: seen_by_pa(monitors) == counted_by_pa(net, before), "both to agree on each PA", timeout=3)
    return seen_by_pa(monitors)


def bulk(net: NvgreNet) -> None:
    """A TCP stream from red1 to red2, as fast as it goes."""
    with iperf.server(net["red2"], "10.0.0.2", 5201):
        assert iperf.measure(net["red1"], "10.0.0.2", 5201, "TCP", seconds=1, segment=1448).megabytes > 1


@pytest.mark.parametrize("scenario", UNDERLAYS.values(), ids=UNDERLAYS)
def test_a_bulk_transfer_is_accounted_as_the_nves_count_it(scenario: Scenario) -> None:
    with watched(scenario) as (net, monitors, before, _):
        bulk(net)
        assert net["blue1"].ping("10.0.0.2", count=3)
        found = settled(net, monitors, before)
    out = found["host1"][Direction.OUT, RED]
    assert out.packets > 1000
    assert out.bytes / out.packets < 1514
    assert found["host1"][Direction.OUT, BLUE].packets >= 3
    assert found["host2"][Direction.IN, RED] == out


LEAVES = {"IPv4": load("leaf_spine"), "IPv6": load("leaf_spine").over_ipv6()}


@pytest.mark.parametrize("scenario", LEAVES.values(), ids=LEAVES)
def test_each_pa_is_accounted_as_the_nves_count_it(scenario: Scenario) -> None:
    """Of host1, what goes to host3 and host4 for red, and to host2 for blue."""
    with watched(scenario) as (net, monitors, _, before):
        for vm, destination in (("red1", "10.0.0.2"), ("red1", "10.0.0.3"), ("blue1", "10.0.0.2")):
            assert net[vm].ping(destination, count=3)
        found = settled_by_pa(net, monitors, before)["host1"]
    assert len({pa for _, pa in found}) == 3
    assert all(account.packets >= 3 for account in found.values())


def test_flows_are_told_apart_by_flow_id_and_direction() -> None:
    with watched(load("two_hosts")) as (net, monitors, *_):
        assert net["red1"].ping("10.0.0.2")
        assert net["red1"].ping("fd00:10::2")
        flows = [flow for flow in monitors["host1"].flows() if flow.vsid == RED]  # others may speak of their own accord
    assert len({flow.flow_id for flow in flows if flow.direction is Direction.OUT}) >= 2
    assert {flow.direction for flow in flows} == set(Direction)


def test_what_is_no_nvgre_is_not_accounted() -> None:
    with running() as bench, ExitStack() as stack:  # with VMs that say nothing
        with bench.host.inside():
            passive = stack.enter_context(Monitor(bench.uplink))
        assert bench.host.run_process(["ping", "-c", "1", "-W", "2", "192.168.0.2"]).returncode == 0
        assert passive.flows() == {}
        assert bench.net["red1"].ping("10.0.0.2")
        assert passive.flows()


FAULTS = {
    "a GSO frame counts once": Mutant("monitor.bpf.c", "skb->gso_segs ?: 1", "1"),
    "the VSID is the whole key": Mutant("monitor.bpf.c", ".vsid = key >> 8", ".vsid = key"),
    "directions change places": Mutant("monitor.bpf.c", "== PACKET_OUTGOING", "!= PACKET_OUTGOING"),
    "the PA of the wrong end": Mutant("monitor.bpf.c", "? ip.daddr : ip.saddr", "? ip.saddr : ip.daddr"),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_monitor_with_a_fault_is_found_out(fault: Mutant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = fault.compiled(tmp_path, "monitor")
    monkeypatch.setattr(monitor, "object_file", lambda _: programs)
    with watched(load("two_hosts")) as (net, monitors, before, by_pas):
        bulk(net)
        with pytest.raises(TimeoutError):
            settled_by_pa(net, monitors, by_pas, settled(net, monitors, before))


def test_more_flows_than_there_is_room_for_are_an_error_and_not_a_wrong_total(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = Mutant("monitor.bpf.c", "#define MAX_FLOWS 32768", "#define MAX_FLOWS 1").compiled(tmp_path, "monitor")
    monkeypatch.setattr(monitor, "object_file", lambda _: programs)
    with watched(load("two_hosts")) as (net, monitors, *_):
        assert net["red1"].ping("10.0.0.2")
        with pytest.raises(MonitorFullError, match="beyond what fits"):
            monitors["host1"].flows()
