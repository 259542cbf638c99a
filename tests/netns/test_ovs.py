"""Open vSwitch as NVE, alone and beside ours on one wire: what works, and that what it is said to lack is lacking."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP
from scapy.packet import Raw

from experiments import conformance, isolation
from experiments.base import Context
from experiments.conformance import lacking, racks
from experiments.results import Verdict
from experiments.transfer import transfer
from nvgre_node import namespace
from nvgre_node.choices import Carries, FlowIds
from nvgre_node.dataplane.base import Drop
from nvgre_node.dataplane.openvswitch import ways
from nvgre_node.dataplane.planes import ovs
from nvgre_node.dataplane.planes.ovs import OvsDataPlane
from nvgre_node.errors import BadInputError
from nvgre_node.namespace import netlink
from nvgre_node.net import NvgreNet
from nvgre_node.node import TenantVM
from nvgre_node.outer import outer_of
from nvgre_node.waiting import wait_until
from topologies import Scenario, load

from .belongings import CHECKOUT, COMMAND, Owner, belongings, dead_runs, left_of
from .frames import EVERYBODY, EXPERIMENTAL, RED, RED3, from_red1
from .tap import Tap, token, vms, wire
from .trying import failed, tried

SIZE = 1 << 20
_PERMANENT = 0x80  # NUD_PERMANENT


def beside_ebpf(*, ipv6: bool = False) -> Scenario:
    """The two hosts, of which the second is an Open vSwitch, with PAs of one IP version."""
    scenario = load("two_hosts").over_ipv6() if ipv6 else load("two_hosts")
    first, second = scenario.policy.nves
    nves = (replace(first, dataplane="ebpf"), replace(second, dataplane="ovs"))
    return replace(scenario, policy=replace(scenario.policy, nves=nves))


@pytest.fixture(scope="module", params=[False, True], ids=["IPv4", "IPv6"])
def mixed(request: pytest.FixtureRequest) -> Iterator[Tap]:
    with NvgreNet(beside_ebpf(ipv6=request.param)) as net, Tap(net) as tap:
        yield tap


# Beside ebpf, on one wire


@pytest.mark.parametrize("address", ["10.0.0.2", "fd00:10::2"])
def test_a_virtual_subnet_is_shared_with_another_data_plane(mixed: Tap, address: str) -> None:
    assert [host.dataplane.name for host in mixed.net.provider_hosts] == ["ebpf", "ovs"]
    assert mixed.net["red1"].ping(address)
    assert mixed.net["blue2"].ping(address[:-1] + "1")


@pytest.mark.parametrize("sender", ["red1", "red2"])
def test_a_broadcast_is_one_packet_for_the_other_host(mixed: Tap, sender: str) -> None:
    mark = token()
    others = {"red1", "red2", "red3"} - {sender}
    mac = mixed.net[sender].interface_mac("eth0")
    frame = bytes.fromhex((EVERYBODY + mac).replace(":", "")) + EXPERIMENTAL.to_bytes(2, "big") + mark

    heard = mixed.say(sender, frame, mark)

    assert vms(heard) == dict.fromkeys(others, 1)
    assert len(wire(heard)) == 1


@pytest.mark.parametrize(("source", "destination", "address"), [("red1", "red2", "2"), ("red2", "red1", "1")])
@pytest.mark.parametrize("prefix", ["10.0.0.", "fd00:10::"])
def test_tcp_gets_through_with_sound_checksums(
    mixed: Tap, source: str, destination: str, address: str, prefix: str
) -> None:
    done = transfer(mixed.net[source], mixed.net[destination], prefix + address, SIZE)
    assert (done.completed, done.received) == (True, SIZE)


def test_tcp_needs_links_without_offloads_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OvsDataPlane, "takes_offloads", True)
    with NvgreNet(beside_ebpf()) as net:
        assert net["red1"].ping("10.0.0.2")
        assert not transfer(net["red1"], net["red2"], "10.0.0.2", SIZE).completed


# On its own


@pytest.mark.parametrize("ipv6", [False, True], ids=["IPv4", "IPv6"])
def test_vms_of_one_virtual_subnet_reach_each_other(ipv6: bool) -> None:
    scenario = load("two_hosts")
    with NvgreNet(scenario.over_ipv6() if ipv6 else scenario, "ovs") as net:
        assert net["red1"].ping("10.0.0.2")
        assert net["red1"].ping("fd00:10::2")
        assert not net["red1"].ping("10.0.0.9", timeout=1)


@pytest.fixture(scope="module")
def tap() -> Iterator[Tap]:
    with NvgreNet(load("two_hosts").with_mtu(tenant=2000), "ovs") as net, Tap(net) as tap:
        yield tap


def of_flow(port: int, mark: bytes, size: int = 0) -> bytes:
    """A packet of one flow, from nobody's address so that nobody answers; of `size` bytes, if that is more."""
    packet = from_red1(IP(src="192.0.2.1", dst="192.0.2.2") / UDP(sport=port, dport=9, chksum=0) / Raw(mark))
    return packet if not size else _grown(port, mark, size)


def _grown(port: int, mark: bytes, size: int) -> bytes:
    padding = mark + bytes(size - 28 - len(mark))
    return from_red1(IP(src="192.0.2.1", dst="192.0.2.2") / UDP(sport=port, dport=9, chksum=0) / Raw(padding))


def flow_ids(tap: Tap) -> list[int]:
    """The FlowIDs of some packets of two flows each."""
    found = []
    for port in (1, 2, 3, 4, 1, 2, 3, 4):
        mark = token()
        heard = tap.say("red1", of_flow(port, mark), mark)
        found += [outer.key & 0xFF for frame in wire(heard) if (outer := outer_of(frame))]
    return found


def test_each_flow_has_its_flow_id(tap: Tap) -> None:
    found = flow_ids(tap)
    assert found[:4] == found[4:]
    assert len(set(found)) > 1


def test_flow_ids_are_zero_if_none_are_wanted() -> None:
    with NvgreNet(load("two_hosts").with_nve(flow_ids=FlowIds.NONE), "ovs") as net, Tap(net) as tap:
        assert set(flow_ids(tap)) == {0}


@pytest.mark.parametrize(("size", "fits"), [(1500, True), (1501, False)])
def test_what_does_not_fit_is_dropped_and_counted(tap: Tap, size: int, fits: bool) -> None:
    mark, before = token(), tap.net.dropped()[Drop.TOO_BIG]

    heard = tap.say("red1", of_flow(7, mark, size), mark)

    assert ("red2" in heard) == fits
    assert tap.net.dropped()[Drop.TOO_BIG] - before == (0 if fits else 1)


def test_counters_tell_what_went_where() -> None:
    with NvgreNet(load("two_hosts"), "ovs") as net:
        for vm in net.vms:
            with vm.inside():  # what a VM says of its own accord would count too
                namespace.set_sysctl(f"ipv6/conf/{TenantVM.INTERFACE}/disable_ipv6", 1)
        with Tap(net) as tap:
            first = token()
            tap.say("red1", of_flow(9, first), first)  # behind whatever was under way
            before, there = (net[host].counters()[RED] for host in ("host1", "host2"))
            for port, mark in enumerate((token(), token(), token())):
                tap.say("red1", of_flow(port, mark), mark)
            mark = token()
            tap.say("red1", from_red1(IP(dst="192.0.2.3") / Raw(mark), dst=RED3), mark)
            after, arrived = (net[host].counters()[RED] for host in ("host1", "host2"))
    assert after.encapsulated - before.encapsulated == arrived.decapsulated - there.decapsulated == 3
    assert after.encapsulated_bytes - before.encapsulated_bytes == 3 * len(of_flow(0, mark))
    assert after.local - before.local == 1


OTHER_MAC = "02:00:00:00:99:01"


def test_a_next_hop_that_changes_its_address_is_followed(tap: Tap) -> None:
    _tell_of_another_next_hop(tap.net)
    wait_until(lambda: _next_hop(tap) == OTHER_MAC, "the new next hop to be known")


def test_only_what_the_kernel_says_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ways.Ways, "watch", lambda *_: None)
    with NvgreNet(load("two_hosts"), "ovs") as net, Tap(net) as tap:
        before = _next_hop(tap)
        _tell_of_another_next_hop(net)
        assert [_next_hop(tap) for _ in range(3)] == [before] * 3 != [OTHER_MAC] * 3


def _tell_of_another_next_hop(net: NvgreNet) -> None:
    with net["host1"].inside(), netlink() as ip:
        (index,) = ip.link_lookup(ifname="host1-eth0")
        ip.neigh("replace", dst="192.168.0.2", ifindex=index, lladdr=OTHER_MAC, state=_PERMANENT)


def _next_hop(tap: Tap) -> str:
    mark = token()
    (packet,) = wire(tap.say("red1", of_flow(1, mark), mark))
    return packet[:6].hex(":")


def test_what_it_lacks_is_refused_in_one_line() -> None:
    refused = NvgreNet(load("two_hosts").with_nve(clamp_mss=True, learning=60), "ovs")
    with pytest.raises(BadInputError, match="the data plane ovs has no MSS clamping; no learning"):
        refused.__enter__()
    assert left_of(refused.own.id) == []


def test_it_conforms_but_for_what_it_says_that_it_lacks() -> None:
    said = ovs.OvsDataPlane.capabilities
    found = conformance.run(Context(load("contoso_fabrikam"), "ovs", lambda *_: None, quick=True))
    shown = [sample for sample in found.samples if sample["verdict"] == "lacks"]
    assert (found.reason, found.verdict) == ("", Verdict.PASS)
    for capability in lacking.EXPLAINS.keys() - said:  # what it says that it lacks, it lacks
        assert any(str(capability) in str(sample["reason"]) for sample in shown), capability


def test_one_port_of_a_trunk_hears_another_of_its_virtual_subnet() -> None:
    """`two_hosts` has two of them behind one server; `contoso_fabrikam`, which is tried above, has none."""
    found = tried(racks.broadcast, racks.racked, Context(load("two_hosts"), "ovs", lambda *_: None))
    assert failed(found) == []
    assert {check.observed for check in found.checks} >= {"delivered to red2, red3"}


def test_what_is_neither_ip_nor_arp_stays_where_these_alone_are_carried() -> None:
    mark = token()
    frame = bytes.fromhex((EVERYBODY + "02:00:00:00:00:01").replace(":", "")) + EXPERIMENTAL.to_bytes(2, "big") + mark
    for carries, hears in ((Carries.IP, False), (Carries.ETHERNET, True)):
        with NvgreNet(load("two_hosts").with_nve(carries=carries), "ovs") as net, Tap(net) as tap:
            assert ("red2" in tap.say("red1", frame, mark)) is hears
            assert net["red1"].ping("10.0.0.2")
            assert bool(net.dropped()[Drop.NOT_IP]) is not hears


@pytest.mark.parametrize("name", ["hnv", "leaf_spine"])
def test_isolation_holds_with_a_router_and_over_equal_paths(name: str) -> None:
    found = isolation.run(Context(load(name), "ovs", lambda *_: None, quick=True))
    assert (found.reason, found.verdict) == ("", Verdict.PASS)


# What belongs to it


def test_nothing_of_it_is_left_when_the_network_has_ended() -> None:
    with NvgreNet(load("two_hosts"), "ovs") as net:
        running = _daemons(net.own.id)
        assert len(running) == 4
    assert left_of(net.own.id) == []
    assert _daemons(net.own.id) == []


def test_two_networks_side_by_side_do_not_mind_each_other() -> None:
    with NvgreNet(load("two_hosts"), "ovs") as one:
        with NvgreNet(load("two_hosts"), "ovs") as two:
            assert one["red1"].ping("10.0.0.2")
            assert two["red1"].ping("10.0.0.2")
        assert one["blue1"].ping("10.0.0.2")


def test_a_killed_run_is_cleaned_away_with_its_daemons(tmp_path: Path) -> None:
    owner = Owner(tmp_path, "isolation", "--scenario", "two_hosts", "--dataplane", "ovs")
    try:

        def has_daemons(owner: Owner) -> object:
            """its four daemons to run"""
            return owner.runs() and len(_daemons(owner.run_id)) == 4

        owner.until(has_daemons)
        with belongings(owner) as had:
            owner.process.kill()
            owner.process.wait()
            assert had.run_id in dead_runs()
            assert len(_daemons(had.run_id)) == 4
            subprocess.run([*COMMAND, "clean"], cwd=CHECKOUT, capture_output=True, check=True)
            assert left_of(had.run_id) == []
            wait_until(lambda: not had.processes_left(), "its processes to end")
            assert _daemons(had.run_id) == []
    finally:
        owner.close()


def _daemons(run_id: str) -> list[str]:
    """The daemons of Open vSwitch whose files are in a run's folder."""
    done = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    names = ("ovsdb-server", "ovs-vswitchd")
    return [line for line in done.stdout.splitlines() if line.startswith(names) and f"/{run_id}/" in line]
