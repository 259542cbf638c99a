"""Paths of equal cost in the underlay, as the kernel has them: routes, the router's choice, and undoing it (E1, E2)."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from ipaddress import IPv4Address
from pathlib import Path
from socket import AF_INET, AF_INET6
from typing import Any

import pytest
from pyroute2 import IPRoute
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from experiments import ecmp
from experiments.ecmp import Crossing, Varied, crossing
from experiments.forks import ONE_PATH, SPREADS
from nvgre_node.errors import MissingError
from nvgre_node.fabric import Multipath
from nvgre_node.groups import SubnetGroups
from nvgre_node.net import NvgreNet
from nvgre_node.node import FabricRouter
from topologies import Scenario, load

from .belongings import left_of
from .frames import EVERYBODY, EXPERIMENTAL
from .tap import Tap, token, vms

QUIET = load("leaf_spine").with_multipath(Multipath.OUTER)


@pytest.fixture(scope="module", params=[4, 6], ids=["IPv4", "IPv6"])
def network(request: pytest.FixtureRequest) -> Iterator[tuple[Scenario, NvgreNet]]:
    scenario = QUIET if request.param == 4 else QUIET.over_ipv6()
    with NvgreNet(scenario) as net:
        yield scenario, net


def next_hops(router: FabricRouter) -> dict[str, list[str]]:
    """The gateways of a router's own routes in the main table, by prefix."""
    found: dict[str, list[str]] = {}
    with router.inside(), IPRoute() as ip:
        for route in [*ip.get_routes(family=AF_INET, table=254), *ip.get_routes(family=AF_INET6, table=254)]:
            hops = [own.get("gateway") for own in route.get("multipath") or [route]]
            if any(hops):
                found.setdefault(f"{route.get('dst')}/{route['dst_len']}", []).extend(map(str, hops))
    return found


def traces(router: FabricRouter) -> list[Any]:
    """What a mode has left in a router's namespace besides sysctls: tables of nftables, rules, routes of paths."""
    ruleset = router.run_process(["nft", "-j", "list", "tables"])
    tables = [own["table"]["family"] for own in json.loads(ruleset.stdout)["nftables"] if "table" in own]
    with router.inside(), IPRoute() as ip:
        marks = [rule.get("fwmark") for family in (AF_INET, AF_INET6) for rule in ip.get_rules(family=family)]
        routes = [route.get("table") for route in ip.get_routes() if 1000 < route.get("table") < 1010]
    return [*tables, *filter(None, marks), *sorted(routes)]


def test_the_kernel_has_all_next_hops_and_no_more_than_the_fabric(network: tuple[Scenario, NvgreNet]) -> None:
    scenario, net = network
    for router in scenario.fabric.routers:
        routes = scenario.fabric.routes(router)
        assert next_hops(net[router]) == {str(own.prefix): list(map(str, own.next_hops)) for own in routes}
    assert any(own.others for own in scenario.fabric.routes("leaf1"))


def test_only_routers_that_choose_are_set_up(network: tuple[Scenario, NvgreNet]) -> None:
    """What has one way out is as it would be in any network."""
    _, net = network
    net["spine1"].spread_by(Multipath.KEY)
    assert traces(net["spine1"]) == []
    policies = net["spine1"].run_process(["cat", "/proc/sys/net/ipv4/fib_multipath_hash_policy"])
    assert policies.stdout.strip() == "0"


def test_the_key_leaves_no_trace_once_something_else_is_chosen(network: tuple[Scenario, NvgreNet]) -> None:
    _, net = network
    leaf: FabricRouter = net["leaf1"]
    leaf.spread_by(Multipath.KEY)
    chosen = traces(leaf)
    assert chosen[:2] == ["ip", "ip6"]
    assert sorted(set(chosen[2:])) == [1, 2, 1001, 1002]
    leaf.spread_by(Multipath.KEY)
    assert traces(leaf) == chosen
    leaf.spread_by(Multipath.INNER)
    assert traces(leaf) == []


def test_one_router_can_choose_otherwise_than_the_rest(tmp_path: Path) -> None:
    """The way out is leaf1's to choose, the way back leaf2's."""
    text = QUIET.path.read_text().replace("multipath: key", "multipath: {leaf2: key}")
    (tmp_path / "net.yaml").write_text(text)
    scenario = load(tmp_path / "net.yaml")
    there, here = crossing(scenario)
    with NvgreNet(scenario) as net:
        for pair, seen in (((there, here), ONE_PATH), ((here, there), SPREADS)):
            with Crossing(net, scenario, *pair, seed=1) as between:
                assert between.send(4, Multipath.KEY, Varied.FLOW_ID).observed == seen


def test_only_nvgre_is_marked(network: tuple[Scenario, NvgreNet], monkeypatch: pytest.MonkeyPatch) -> None:
    """GRE with a checksum has that where NVGRE has its key: it goes by outer addresses."""

    def with_checksum(*asked: Any) -> bytes:
        frame = packet(*asked)
        at = 14 + (20 if frame[12:14] == b"\x08\x00" else 40)
        assert frame[at : at + 4] == bytes.fromhex("20006558")
        return frame[:at] + b"\xa0" + frame[at + 1 :]

    scenario, net = network
    packet = ecmp.packet
    net["leaf1"].spread_by(Multipath.KEY)
    for made, seen in ((packet, SPREADS), (with_checksum, ONE_PATH)):
        monkeypatch.setattr(ecmp, "packet", made)
        with Crossing(net, scenario, *crossing(scenario), seed=1) as between:
            assert between.send(4, Multipath.KEY, Varied.FLOW_ID).observed == seen
    net["leaf1"].spread_by(Multipath.OUTER)


@pytest.mark.parametrize("version", [4, 6])
def test_groups_reach_every_member_once_across_two_spines_b2(version: int) -> None:
    """The kernel's entries name one way in: of two ways of equal cost, one tree uses one."""
    group = SubnetGroups(IPv4Address("239.1.1.1"))
    scenario = load("leaf_spine").with_groups({"red_net": group, "blue_net": group})
    scenario = scenario if version == 4 else scenario.over_ipv6()
    with NvgreNet(scenario) as net, Tap(net) as tap:
        for subnet in scenario.policy.subnets:
            members = [vm for vm in scenario.policy.vms if vm.subnet == subnet.name]
            for vm in members:
                mark = token()
                heard = tap.say(vm.name, bytes(Ether(src=vm.mac, dst=EVERYBODY, type=EXPERIMENTAL) / Raw(mark)), mark)
                assert vms(heard) == {other.name: 1 for other in members if other is not vm}


def with_nft(monkeypatch: pytest.MonkeyPatch, act: Callable[[], Any]) -> None:
    """Has this happen in place of `nft`."""
    run = subprocess.run

    def other(command: Sequence[str], *arguments: Any, **options: Any) -> Any:
        return act() if command[0] == "nft" else run(command, *arguments, **options)

    monkeypatch.setattr(subprocess, "run", other)


def missing() -> None:
    raise FileNotFoundError("nft")


def refused() -> subprocess.CompletedProcess[str]:
    """What `nft` says where the kernel has no hash expressions."""
    return subprocess.CompletedProcess(["nft"], 1, "", "Error: Could not process rule:\n  Operation not supported")


@pytest.mark.parametrize(
    ("act", "line"),
    [
        (missing, "nft is missing, and `multipath: key` needs it (apt-get install nftables)"),
        (
            refused,
            "this kernel cannot hash GRE keys (CONFIG_NF_TABLES, CONFIG_NFT_HASH): "
            "Error: Could not process rule: Operation not supported",
        ),
    ],
    ids=["no nft", "no hash"],
)
def test_what_the_key_needs_is_told_in_one_line_and_nothing_is_left(
    act: Callable[[], Any], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_nft(monkeypatch, act)
    net = NvgreNet(load("leaf_spine"))
    with pytest.raises(MissingError) as told, net:
        pass
    assert str(told.value) == line
    assert left_of(net.own.id) == []


def test_a_mode_that_cannot_be_had_leaves_none_of_its_parts(
    network: tuple[Scenario, NvgreNet], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, net = network
    with_nft(monkeypatch, missing)
    with pytest.raises(MissingError):
        net["leaf1"].spread_by(Multipath.KEY)
    assert traces(net["leaf1"]) == []
