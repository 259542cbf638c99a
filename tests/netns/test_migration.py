"""A VM changes its host while the network runs: what stays, what changes, and that nobody else notices (T2, P2, S3)."""

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw

from experiments.beacon import beacon
from experiments.transfer import transfer
from nvgre_node.acl import Action, Direction, Rule
from nvgre_node.dataplane.base import Drop
from nvgre_node.errors import BadInputError
from nvgre_node.migration import Mover
from nvgre_node.net import NvgreNet
from nvgre_node.node import ProviderHost
from nvgre_node.policy import UnknownNameError, Vm
from topologies import load

from .tap import Tap, token, vms, wire

RED1, RED2 = "10.0.0.1", "10.0.0.2"
PA = {"host1": "192.168.11.10", "host2": "192.168.12.10", "host3": "192.168.21.10", "host4": "192.168.22.10"}
VSID = {"red": 5000, "blue": 6000}
IN_GROUPS = load(str(Path(__file__).parent / "in_groups.yaml"))


@pytest.fixture(params=["ebpf", "model"])
def tap(request: pytest.FixtureRequest) -> Iterator[Tap]:
    with NvgreNet(load("leaf_spine"), request.param) as net, Tap(net) as tap:
        yield tap


def to_red1(mark: bytes) -> bytes:
    """An echo request of red2 to red1, whose host nobody but the NVEs knows."""
    macs = {"src": "02:00:0a:00:00:02", "dst": "02:00:0a:00:00:01"}
    return bytes(Ether(**macs) / IP(src=RED2, dst=RED1) / ICMP() / Raw(mark))


def outer(frames: list[bytes], mark: bytes) -> set[tuple[str, int]]:
    """Destination PA and VSID of the NVGRE packets that carry a mark."""
    carried = [frame for frame in frames if mark in frame and frame[23] == 47]
    return {(".".join(map(str, frame[30:34])), int.from_bytes(frame[38:41])) for frame in carried}


@pytest.mark.parametrize("host", ["host2", "host3", "host4"])
def test_afterwards_its_frames_go_to_its_new_host_and_nothing_else_about_them_changes(tap: Tap, host: str) -> None:
    tap.net.migrate("red1", host)

    heard = tap.say("red2", to_red1(mark := token()), mark)

    assert vms(heard) == {"red1": 1, "red2": 1}  # the request, and the answer
    assert [frame for frame in heard["red1"] if mark in frame] == [to_red1(mark)]
    away = {(PA[host], VSID["red"])} if host != "host3" else set()
    assert outer(wire(heard, "host3"), mark) - {(PA["host3"], VSID["red"])} == away
    assert mark not in b"".join(wire(heard, "host1"))


def test_it_can_go_round_and_come_home(tap: Tap) -> None:
    for host in ("host2", "host3", "host4", "host1", "host4", "host1"):
        moved = tap.net.migrate("red1", host)
        assert moved.target == host
        assert moved.switched <= moved.known
        assert tap.net["red2"].ping(RED1)
        assert tap.net["red1"].ping("fd00:10::2")
    assert tap.net["host1"].run_process(["ip", "-json", "link", "show", "type", "veth"]).stdout.count("cable-") == 0


def test_the_same_addresses_of_another_tenant_are_not_moved_with_it(tap: Tap) -> None:
    tap.net.migrate("red1", "host2")

    assert tap.net["blue2"].ping(RED1)
    heard = tap.say("red2", to_red1(mark := token()), mark)
    assert "blue1" not in vms(heard)


def test_its_broadcasts_arrive_once_and_so_do_those_for_it(tap: Tap) -> None:
    tap.net.migrate("red1", "host2")

    for sender in ("red1", "red2", "red3"):
        source = tap.net[sender].vm
        ask = Ether(src=source.mac, dst="ff:ff:ff:ff:ff:ff") / ARP(hwsrc=source.mac, psrc="10.0.0.98", pdst="10.0.0.99")
        mark = token()
        heard = tap.say(sender, bytes(ask / Raw(mark)), mark)
        assert vms(heard) == dict.fromkeys({"red1", "red2", "red3"} - {sender}, 1)


def test_it_says_itself_where_it_is_now(tap: Tap) -> None:
    heard = tap.during(lambda: tap.net.migrate("red1", "host2"))

    announced = [frame for frame in heard["red2"] if frame[6:12] == bytes.fromhex("02000a000001")]
    assert [Ether(frame)[ARP].psrc for frame in announced if frame[12:14] == b"\x08\x06"] == [RED1]


def test_what_arrives_at_its_old_host_is_dropped_there_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """An NVE that has not been told yet, or never will be: the record of host3 is stale (section 2.5, negative)."""
    with NvgreNet(load("leaf_spine")) as net, Tap(net) as tap:
        update = ProviderHost.update
        monkeypatch.setattr(ProviderHost, "update", lambda host: host.name == "host3" or update(host))
        tap.during(lambda: net.migrate("red1", "host2"))
        before = net.dropped()

        heard = tap.say("red2", to_red1(mark := token()), mark)

        assert vms(heard) == {}
        assert outer(wire(heard, "host1"), mark) == {(PA["host1"], VSID["red"])}
        assert net.dropped() - before == {Drop.UNKNOWN_VSID: 1}  # no VM of the virtual subnet is left there


def test_a_tcp_connection_outlives_its_move() -> None:
    with NvgreNet(load("leaf_spine")) as net:
        done = transfer(net["red1"], net["red2"], RED2, 40_000_000, midway=lambda: net.migrate("red1", "host4"))
    assert done.completed


def test_an_acl_goes_where_its_vm_goes() -> None:
    """Programs that were made for a host without rules are replaced; what they have counted stays."""
    scenario = load("two_hosts")
    rules = (Rule(Action.DENY, Direction.IN, protocol=1),)
    vms_ = tuple(replace(vm, acl=rules if vm.name == "red1" else ()) for vm in scenario.policy.vms)
    with NvgreNet(replace(scenario, policy=replace(scenario.policy, vms=vms_))) as net:
        before = net["host2"].counters()
        assert not net["red2"].ping(RED1)
        net.migrate("red1", "host2")
        assert not net["red2"].ping(RED1)
        after = net["host2"].counters()
    assert after[VSID["red"]].encapsulated >= before[VSID["red"]].encapsulated > 0


# What is refused changes nothing


def test_a_vm_that_is_there_already_an_unknown_host_and_an_unknown_vm_are_refused() -> None:
    with NvgreNet(load("two_hosts")) as net:
        with pytest.raises(BadInputError, match="red1 is on host1 already"):
            net.migrate("red1", "host1")
        with pytest.raises(UnknownNameError, match="no provider host is called 'nowhere'"):
            net.migrate("red1", "nowhere")
        with pytest.raises(UnknownNameError, match="no VM is called 'host1'"):
            net.migrate("host1", "host2")
        assert net["red1"].ping(RED2)


@pytest.mark.parametrize("failing", ["host1", "host2", "host3", "host4"])
def test_a_move_that_fails_half_way_is_undone(failing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    update, moves = ProviderHost.update, list[str]()

    def refuse_once(host: ProviderHost) -> None:
        if host.name == failing and not moves:
            moves.append(host.name)
            raise BadInputError("no room")
        update(host)

    with NvgreNet(load("leaf_spine")) as net:
        monkeypatch.setattr(ProviderHost, "update", refuse_once)
        with pytest.raises(BadInputError, match="no room"):
            net.migrate("red1", "host2")
        assert net.mover.policy.vm("red1").host == "host1"
        assert net["red2"].ping(RED1)
        net.migrate("red1", "host2")
        assert net["red2"].ping(RED1)


def test_where_the_underlay_has_groups_their_routers_would_have_to_change_too() -> None:
    with NvgreNet(IN_GROUPS) as net, pytest.raises(BadInputError, match="has groups in the und"):
        net.migrate("red1", "host2")


def test_a_data_plane_that_cannot_change_is_refused_by_name() -> None:
    with NvgreNet(load("two_hosts"), "ovs") as net, pytest.raises(BadInputError, match="while ovs runs"):
        net.migrate("red1", "host2")


def test_hosts_are_asked_in_an_order_that_lets_nothing_be_delivered_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    update, order = ProviderHost.update, list[str]()

    def noted(host: ProviderHost) -> None:
        order.append(host.name)
        update(host)

    with NvgreNet(load("leaf_spine")) as net:
        monkeypatch.setattr(ProviderHost, "update", noted)
        net.migrate("red1", "host3")
    assert order[:2] == ["host3", "host1"]
    assert sorted(order) == sorted(PA)


def test_a_mover_knows_where_every_vm_is() -> None:
    with NvgreNet(load("two_hosts")) as net:
        net.migrate("red1", "host2")
        assert isinstance(net.mover, Mover)
        assert {vm.name: vm.host for vm in net.mover.policy.vms}["red1"] == "host2"


# VMs that come and go

NEWCOMER = Vm(
    "red9", "red_net", "host2", "02:00:0a:00:00:09", (ip_interface("10.0.0.9/24"), ip_interface("fd00:10::9/64"))
)


def test_a_vm_that_comes_can_be_reached_and_one_that_goes_cannot(tap: Tap) -> None:
    net = tap.net
    net.add_vm(NEWCOMER)
    assert net["red1"].ping("10.0.0.9")
    assert net["red9"].ping("fd00:10::2")
    assert not net["blue1"].ping("10.0.0.9", timeout=1)

    net.migrate("red9", "host3")
    assert net["red1"].ping("10.0.0.9")

    net.remove_vm("red9")
    assert "red9" not in {vm.name for vm in net.vms}
    assert not net["red1"].ping("10.0.0.9", timeout=1)
    assert {record.vm for host in net.provider_hosts for record in host.policy.records} & {"red9"} == set()
    net.add_vm(NEWCOMER)
    assert net["red1"].ping("10.0.0.9")


def test_others_lose_nothing_while_vms_come_and_go() -> None:
    with NvgreNet(load("leaf_spine")) as net:
        with beacon(net["blue3"], net["blue1"], "10.0.0.1") as record:
            for _ in range(3):
                net.add_vm(NEWCOMER)
                net.remove_vm("red9")
        arrived = [number for number, _ in record.arrived]
    assert len(arrived) > 10
    assert arrived == list(range(len(arrived)))
    assert len(record.sent) - len(arrived) < 5  # what was on its way at the end


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "red1"}, "there is a red1 already"),
        ({"name": "host1"}, "there is a host1 already"),
        ({"subnet": "green_net"}, "no virtual subnet is called 'green_net'"),
        ({"host": "host9"}, "no provider host is called 'host9'"),
        ({"cas": (ip_interface("10.0.0.2/24"),)}, "10.0.0.2 is the CA of red2"),
        ({"mac": "02:00:0A:00:00:02"}, "02:00:0A:00:00:02 is the MAC address of red2"),
        ({"vid": 7}, "only VMs with a port of their own"),
    ],
)
def test_a_vm_that_cannot_come_changes_nothing(change: dict[str, Any], message: str, still: NvgreNet) -> None:
    policy, nodes = still.mover.policy, list(still.hosts)
    with pytest.raises(BadInputError, match=message):
        still.add_vm(replace(NEWCOMER, **change))
    assert (still.mover.policy, still.hosts) == (policy, nodes)
    assert still["red1"].ping(RED2)


@pytest.fixture(scope="module")
def still() -> Iterator[NvgreNet]:
    with NvgreNet(load("two_hosts")) as net:
        yield net


def test_a_vm_whose_nve_refuses_it_is_gone_again(still: NvgreNet, monkeypatch: pytest.MonkeyPatch) -> None:
    update = ProviderHost.update

    def refuse(host: ProviderHost) -> None:
        if "red9" in host.policy.interfaces:
            raise BadInputError("no room")
        update(host)

    monkeypatch.setattr(ProviderHost, "update", refuse)
    with pytest.raises(BadInputError, match="no room"):
        still.add_vm(NEWCOMER)
    monkeypatch.undo()
    assert "red9" not in still
    assert still["red1"].ping(RED2)
    still.add_vm(NEWCOMER)
    assert still["red1"].ping("10.0.0.9")
    still.remove_vm("red9")
