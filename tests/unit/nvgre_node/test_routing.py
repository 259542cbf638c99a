"""The distributed router in the policy: which route wins, what an NVE is told, and what `explain` says of it."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from nvgre_node.explain import Step, explain
from nvgre_node.policy import Policy
from nvgre_node.routing import ROUTER_MAC, CustomerRoute, RoutingDomain, look_up, router_address, table
from nvgre_node.wire import octets
from topologies import load

POLICY: Policy = load(Path(__file__).parents[2] / "netns/routed.yaml").policy
PA1, PA2 = ip_address("192.168.0.1"), ip_address("192.168.0.2")


def test_the_routers_mac_address_is_local_unicast_and_made_from_no_ca() -> None:
    first, second = octets(ROUTER_MAC)[:2]

    assert first & 0b11 == 0b10
    assert second != 0  # those made from CAs begin with 02:00


@pytest.mark.parametrize(
    ("prefix", "first"),
    [
        ("10.0.0.0/24", "10.0.0.1"),
        ("10.0.0.4/31", "10.0.0.4"),
        ("fd00:10::/64", "fd00:10::1"),
        ("fd00::2/127", "fd00::2"),
    ],
)
def test_the_router_has_the_first_address_of_a_prefix(prefix: str, first: str) -> None:
    assert str(router_address(ip_network(prefix))) == first


@pytest.mark.parametrize(
    ("ca", "way"),
    [
        ("10.0.1.14", "10.0.1.0/24 on-link 5001"),
        ("10.0.2.99", "10.0.2.0/24 on-link 5002"),
        ("192.0.2.1", "192.0.2.0/24 10.0.1.14 5001"),
        ("192.0.2.200", "192.0.2.128/25 10.0.1.99 5001"),
        ("198.51.100.1", "0.0.0.0/0 10.0.1.250 5001"),
        ("fd00:11::14", "fd00:11::/64 on-link 5001"),
    ],
)
def test_the_longest_prefix_wins_then_the_lowest_metric(ca: str, way: str) -> None:
    found = look_up(POLICY.routes, "red", ip_address(ca))

    assert found
    assert f"{found.prefix} {found.next_hop or 'on-link'} {found.vsid}" == way


@pytest.mark.parametrize(("domain", "ca"), [("red", "2001:db8::1"), ("blue", "192.0.2.1"), ("green", "10.0.1.14")])
def test_where_no_route_leads_there_is_none(domain: str, ca: str) -> None:
    assert look_up(POLICY.routes, domain, ip_address(ca)) is None


def test_on_link_wins_a_tie() -> None:
    subnets = [subnet for subnet in POLICY.subnets if subnet.tenant == "red"]
    detour = CustomerRoute(ip_network("10.0.1.0/24"), ip_address("10.0.0.12"))

    (best,) = [r for r in table(RoutingDomain("red", (detour,)), subnets) if r.prefix == detour.prefix]
    assert best.next_hop is None


# What one NVE is told


def test_a_host_is_told_of_all_subnets_of_its_routed_tenants_p2() -> None:
    told = POLICY.for_host("host1")

    assert told.vsids == (5000, 5001, 6000, 7000)
    assert {record.vsid for record in told.records} == {5000, 5001, 5002, 6000, 6001, 7000}
    assert {(router.vsid, router.domain) for router in told.routers} == {
        (5000, "red"), (5001, "red"), (5002, "red"), (6000, "blue"), (6001, "blue"),
    }  # fmt: skip
    assert {route.domain for route in told.routes} == {"red", "blue"}


def test_every_nve_of_a_routed_tenant_may_send_into_each_of_its_subnets_c1() -> None:
    assert POLICY.for_host("host2").senders == {
        5000: {PA1}, 5001: {PA1}, 5002: {PA1}, 6001: {PA1}, 7001: set(),
    }  # fmt: skip


def test_broadcasts_stay_in_their_subnet_b5() -> None:
    assert POLICY.for_host("host2").replicas == {5000: (PA1,), 5001: (PA1,), 5002: (), 6001: (), 7001: ()}


# Explain


def test_explain_a_routed_packet_x6() -> None:
    assert explain(POLICY, "red1", "10.0.1.14")[1:] == (
        Step("default gateway", f"the router, 10.0.0.1, MAC {ROUTER_MAC}", "10.0.1.14 is outside red_net"),
        Step("route in red", "10.0.1.0/24 on-link in VSID 5001", "T5"),
        Step("record (VSID 5001, CA 10.0.1.14)", "red4, MAC 02:00:0a:00:01:0e, PA 192.168.0.2", "U1, T8"),
        Step("inner frame", f"MAC {ROUTER_MAC} -> 02:00:0a:00:01:0e, TTL less 1", "X6: VSID of the destination"),
        Step("outer IPv4 192.168.0.1 -> 192.168.0.2, protocol 47", "GRE 20 00 65 58 00 13 89 + FlowID", "O1, G5"),
    )


def test_explain_a_packet_for_the_gateway_of_the_tenant_x2() -> None:
    _, _, route, record, *_ = explain(POLICY, "red1", "198.51.100.1")

    assert route.result == "0.0.0.0/0 via 10.0.1.250, metric 10, in VSID 5001"
    assert record.result.startswith("red_gw, MAC 02:00:0a:00:01:fa")


@pytest.mark.parametrize(
    ("source", "destination", "result"),
    [
        ("red1", "10.0.1.77", "none: ICMP host unreachable"),
        ("red1", "10.0.1.1", "the router itself"),
        ("blue1", "198.51.100.1", "none: ICMP network unreachable"),
        ("blue1", "10.0.2.15", "none: ICMP network unreachable"),
        ("red1", "red3", "port red3 on host1, never on the wire"),
        ("green1", "10.0.1.14", "none: dropped as unknown unicast"),
    ],
)
def test_explain_where_it_ends(source: str, destination: str, result: str) -> None:
    assert explain(POLICY, source, destination)[-1].result == result
