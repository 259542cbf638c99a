"""The outer Ethernet header, and what a router in between leaves alone (O2, O3, G7, U2)."""

import json
from collections.abc import Iterator

import pytest

from nvgre_node import next_hops
from nvgre_node.net import NvgreNet
from topologies import Scenario, load

from .tap import Tap, wire


@pytest.fixture(scope="module")
def direct() -> Iterator[Tap]:
    with NvgreNet(load("two_hosts")) as net, Tap(net) as tap:
        yield tap


@pytest.fixture(scope="module")
def routed() -> Iterator[Tap]:
    with NvgreNet(load("contoso_fabrikam")) as net, Tap(net) as tap:
        yield tap


def outer_macs(frames: list[bytes]) -> set[tuple[str, str]]:
    """Destination and source MAC of every NVGRE packet."""
    return {(frame[:6].hex(":"), frame[6:12].hex(":")) for frame in frames if frame[23] == 47}


def tunnelled(frames: list[bytes]) -> list[tuple[bytes, bytes]]:
    """Source PA, and everything from the GRE header on, of every NVGRE packet."""
    return [(frame[26:30], frame[34:]) for frame in frames if frame[12:14] == b"\x08\x00" and frame[23] == 47]


def test_on_one_link_the_outer_macs_are_those_of_the_two_nves_o2_o3(direct: Tap) -> None:
    one, two = (direct.net[host].interface_mac(f"{host}-eth0") for host in ("host1", "host2"))

    heard = direct.during(lambda: direct.net["red1"].ping("10.0.0.2"))

    assert outer_macs(wire(heard, "host1")) == outer_macs(wire(heard, "host2")) == {(two, one), (one, two)}


@pytest.mark.parametrize(("host", "router_port"), [("host1", "r1-eth0"), ("host2", "r1-eth1")])
def test_across_a_router_the_outer_macs_are_those_of_the_next_hop_o2_o3(
    routed: Tap, host: str, router_port: str
) -> None:
    own, router = routed.net[host].interface_mac(f"{host}-eth0"), routed.net["r1"].interface_mac(router_port)

    heard = routed.during(lambda: routed.net["contoso_web"].ping("10.1.1.11"))

    assert outer_macs(wire(heard, host)) == {(router, own), (own, router)}


def test_a_router_leaves_gre_header_flow_id_and_inner_frame_alone_g7(routed: Tap) -> None:
    def talk() -> None:
        assert routed.net["contoso_web"].ping("10.1.1.11")
        assert routed.net["fabrikam_sql"].ping("fd00:10:1:1::12")

    heard = routed.during(talk)

    one, two = (sorted(tunnelled(wire(heard, host))) for host in ("host1", "host2"))
    assert one == two
    assert len(one) >= 4


def test_a_router_counts_the_outer_ttl_down_and_only_that_o8(routed: Tap) -> None:
    heard = routed.during(lambda: routed.net["contoso_web"].ping("10.1.1.11"))

    ttls = {(frame[29], frame[22]) for frame in wire(heard, "host1") if frame[23] == 47}
    assert ttls == {(10, 64), (20, 63)}  # sent by 192.168.1.10, and by 192.168.2.20 behind the router


@pytest.mark.parametrize("vm", ["contoso_web", "fabrikam_web"])
@pytest.mark.parametrize("address", ["10.1.1.11", "fd00:10:1:1::11"])
def test_each_company_reaches_its_own_sql_server_across_the_router_u2_t4(routed: Tap, vm: str, address: str) -> None:
    silent = {"contoso_web": "fabrikam_sql", "fabrikam_web": "contoso_sql"}[vm]

    heard = routed.during(lambda: routed.net[vm].ping(address))

    assert silent not in {node for node, frames in heard.items() if any(not frame[0] & 1 for frame in frames)}


SETTLED = {"REACHABLE", "STALE", "DELAY", "PROBE", "PERMANENT"}
FABRICS = {"IPv4": load("leaf_spine"), "IPv6": load("leaf_spine").over_ipv6()}


def resolved_hops(net: NvgreNet, scenario: Scenario) -> dict[tuple[str, str], bool]:
    """By router and next hop of its routes: whether the kernel has resolved it."""
    found: dict[tuple[str, str], bool] = {}
    for router in net.fabric_routers:
        listed = json.loads(router.run_process(["ip", "-json", "neigh"]).stdout)
        resolved = {entry["dst"] for entry in listed if SETTLED & set(entry["state"])}
        for route in scenario.fabric.routes(router.name):
            found |= {(router.name, str(hop)): str(hop) in resolved for hop in route.next_hops}
    return found


@pytest.mark.parametrize("scenario", FABRICS.values(), ids=list(FABRICS))
def test_a_network_is_ready_once_its_routers_know_their_next_hops_on_every_path(scenario: Scenario) -> None:
    with NvgreNet(scenario) as net:
        found = resolved_hops(net, scenario)

    assert len(found) > len(scenario.fabric.routers)
    assert all(found.values()), found


def test_else_the_first_packet_of_a_path_waits_for_its_next_hop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(next_hops, "towards", lambda _: {})
    with NvgreNet(FABRICS["IPv6"]) as net:
        assert not all(resolved_hops(net, FABRICS["IPv6"]).values())
