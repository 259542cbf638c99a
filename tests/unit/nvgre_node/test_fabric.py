"""The underlay's routes: derived from the links alone, fewest hops first, and never through a provider host (U2)."""

from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest

from nvgre_node.fabric import Attachment, Fabric, FabricLink, Route


def link(a: str, b: str) -> FabricLink:
    """A link written as `host1 192.168.1.10/24`, on each side."""
    one, other = (Attachment(node, (IPv4Interface(address),)) for node, address in (a.split(), b.split()))
    return FabricLink(one, other)


def route(prefix: str, next_hop: str) -> Route:
    return Route(IPv4Network(prefix), IPv4Address(next_hop))


DIRECT = Fabric((), (link("host1 192.168.0.1/24", "host2 192.168.0.2/24"),), mtu=1542)

ONE_ROUTER = Fabric(
    ("r1",),
    (
        link("host1 192.168.1.10/24", "r1 192.168.1.1/24"),
        link("r1 192.168.2.1/24", "host2 192.168.2.20/24"),
    ),
    mtu=1542,
)

CHAIN = Fabric(
    ("r1", "r2", "r3"),
    (
        link("host1 10.1.0.2/24", "r1 10.1.0.1/24"),
        link("r1 10.12.0.1/24", "r2 10.12.0.2/24"),
        link("r2 10.23.0.2/24", "r3 10.23.0.3/24"),
        link("r3 10.3.0.1/24", "host3 10.3.0.2/24"),
    ),
    mtu=1542,
)

RING = Fabric(
    ("r1", "r2", "r3"),
    (
        link("r1 10.12.0.1/24", "r2 10.12.0.2/24"),
        link("r2 10.23.0.2/24", "r3 10.23.0.3/24"),
        link("r3 10.31.0.3/24", "r1 10.31.0.1/24"),
        link("r3 10.3.0.1/24", "host3 10.3.0.2/24"),
    ),
    mtu=1542,
)

BETWEEN_HOSTS = Fabric(
    (),
    (
        link("host1 10.12.0.1/24", "host2 10.12.0.2/24"),
        link("host2 10.23.0.2/24", "host3 10.23.0.3/24"),
    ),
    mtu=1542,
)


@pytest.mark.parametrize("host", ["host1", "host2"])
def test_a_direct_link_needs_no_route_u2(host: str) -> None:
    assert DIRECT.routes(host) == ()


def test_hosts_behind_one_router_reach_each_other_by_it_u2() -> None:
    assert ONE_ROUTER.routes("host1") == (route("192.168.2.0/24", "192.168.1.1"),)
    assert ONE_ROUTER.routes("host2") == (route("192.168.1.0/24", "192.168.2.1"),)
    assert ONE_ROUTER.routes("r1") == ()


@pytest.mark.parametrize(
    ("node", "routes"),
    [
        ("host1", {"10.12.0.0/24": "10.1.0.1", "10.23.0.0/24": "10.1.0.1", "10.3.0.0/24": "10.1.0.1"}),
        ("r1", {"10.23.0.0/24": "10.12.0.2", "10.3.0.0/24": "10.12.0.2"}),
        ("r2", {"10.1.0.0/24": "10.12.0.1", "10.3.0.0/24": "10.23.0.3"}),
        ("r3", {"10.1.0.0/24": "10.23.0.2", "10.12.0.0/24": "10.23.0.2"}),
        ("host3", {"10.1.0.0/24": "10.3.0.1", "10.12.0.0/24": "10.3.0.1", "10.23.0.0/24": "10.3.0.1"}),
    ],
)
def test_a_chain_of_three_routers_reaches_every_prefix_both_ways_u2(node: str, routes: dict[str, str]) -> None:
    assert set(CHAIN.routes(node)) == {route(prefix, hop) for prefix, hop in routes.items()}


def test_the_way_with_the_fewest_hops_is_taken_u2() -> None:
    assert route("10.3.0.0/24", "10.31.0.3") in RING.routes("r1")
    assert route("10.3.0.0/24", "10.23.0.3") in RING.routes("r2")


def test_a_prefix_has_one_route_even_where_two_ways_are_equal() -> None:
    assert len({route.prefix for route in RING.routes("host3")}) == len(RING.routes("host3")) == 3


def test_provider_hosts_do_not_forward() -> None:
    assert BETWEEN_HOSTS.routes("host1") == ()
    assert BETWEEN_HOSTS.routes("host3") == ()


def test_addresses_come_in_the_order_of_the_links() -> None:
    assert CHAIN.addresses("r2") == (IPv4Interface("10.12.0.2/24"), IPv4Interface("10.23.0.2/24"))
    assert CHAIN.addresses("nobody") == ()


def test_a_node_without_links_has_no_routes() -> None:
    assert CHAIN.routes("nobody") == ()
