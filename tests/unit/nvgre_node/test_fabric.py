"""The underlay's routes: derived from the links alone, fewest hops first, and never through a provider host (U2)."""

from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest

from nvgre_node.fabric import Attachment, Fabric, FabricLink, Multipath, Route, paths


def link(a: str, b: str) -> FabricLink:
    """A link written as `host1 192.168.1.10/24`, on each side."""
    one, other = (Attachment(node, (IPv4Interface(address),)) for node, address in (a.split(), b.split()))
    return FabricLink(one, other)


def route(prefix: str, next_hop: str, *others: str) -> Route:
    return Route(IPv4Network(prefix), IPv4Address(next_hop), tuple(map(IPv4Address, others)))


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

DIAMOND = Fabric(
    ("r1", "r2", "r3", "r4", "r5"),
    (
        link("host1 10.1.0.2/24", "r1 10.1.0.1/24"),
        *(link(f"r1 10.1{n}.0.1/24", f"r{n} 10.1{n}.0.2/24") for n in (2, 3, 4)),
        *(link(f"r{n} 10.{n}5.0.1/24", f"r5 10.{n}5.0.2/24") for n in (2, 3, 4)),
        link("r5 10.5.0.1/24", "host2 10.5.0.2/24"),
        link("r2 10.6.0.1/24", "host3 10.6.0.2/24"),
    ),
    mtu=1542,
    multipath={"r1": Multipath.KEY},
)
"""Three ways from host1 to host2, and one to host3."""

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


# Ways of equal cost (E1).


def test_a_router_has_the_next_hops_of_all_shortest_ways_and_of_no_others_e1() -> None:
    routes = DIAMOND.routes("r1")
    assert route("10.5.0.0/24", "10.12.0.2", "10.13.0.2", "10.14.0.2") in routes
    assert route("10.6.0.0/24", "10.12.0.2") in routes
    assert route("10.25.0.0/24", "10.12.0.2") in routes
    assert route("10.6.0.0/24", "10.25.0.1") in DIAMOND.routes("r5")


@pytest.mark.parametrize("host", ["host1", "host2", "host3"])
def test_a_host_has_one_next_hop_for_all(host: str) -> None:
    assert {len(route.next_hops) for route in DIAMOND.routes(host)} == {1}


def test_the_ways_lead_past_a_router_of_which_the_prefix_is_farther() -> None:
    """host3 hangs on r2: from r3 and r4 there are two ways to it, by r1 and by r5."""
    assert route("10.6.0.0/24", "10.13.0.1", "10.35.0.2") in DIAMOND.routes("r3")


def test_where_the_ways_part_is_told_and_where_they_lead() -> None:
    hops = tuple(map(IPv4Address, ("10.12.0.2", "10.13.0.2", "10.14.0.2")))
    assert DIAMOND.fork("host1", IPv4Address("10.5.0.2")) == ("r1", hops)
    assert DIAMOND.fork("host1", IPv4Address("10.6.0.2")) is None
    assert DIAMOND.fork("host1", IPv4Address("192.0.2.1")) is None
    assert DIAMOND.owner(hops[2]) == "r4"


def test_routers_that_nobody_speaks_of_hash_outer_addresses() -> None:
    assert (DIAMOND.spreads_by("r1"), DIAMOND.spreads_by("r2")) == (Multipath.KEY, Multipath.OUTER)


def test_paths_share_every_prefix_evenly_whatever_the_numbers_of_its_next_hops() -> None:
    two, three = route("10.2.0.0/24", "10.0.0.1", "10.0.0.2"), route("10.3.0.0/24", "10.0.0.1", "10.0.0.2", "10.0.0.3")
    tables = paths([two, three, route("10.4.0.0/24", "10.0.0.1")])
    assert len(tables) == 6
    assert {len(table) for table in tables} == {2}
    for own in (two, three):
        used = [r.next_hop for table in tables for r in table if r.prefix == own.prefix]
        assert [used.count(hop) for hop in own.next_hops] == [6 // len(own.next_hops)] * len(own.next_hops)


def test_without_ways_of_equal_cost_there_are_no_paths() -> None:
    assert paths(CHAIN.routes("r2")) == paths([]) == ()


def test_a_group_has_one_tree_however_many_ways_there_are_b2() -> None:
    """The kernel refuses what comes in another way than its entry says, and carries what comes twice twice."""
    members = {"host1": "10.1.0.2", "host2": "10.5.0.2", "host3": "10.6.0.2"}
    for host, pa in members.items():
        assert sorted(heard_of(host, pa, members)) == sorted(members.keys() - {host})


def heard_of(host: str, pa: str, members: dict[str, str]) -> list[str]:
    """Who hears what a host says to a group of which all are members, once for each time."""
    group, addresses = IPv4Address("239.1.1.1"), {name: [IPv4Address(own)] for name, own in members.items()}
    entries = {
        (router, entry.incoming): entry.outgoing
        for router in DIAMOND.routers
        for entry in DIAMOND.multicast_routes(router, {group: addresses})
        if entry.source == IPv4Address(pa)
    }
    ends = [tuple((end.node, end.addresses[0].ip) for end in link.ends) for link in DIAMOND.links]
    across = {near: far for a, b in ends for near, far in ((a, b), (b, a))}
    heard, waiting = [], [across[host, IPv4Address(pa)]]
    while waiting:
        node, incoming = waiting.pop()
        if node in members:
            heard.append(node)
        waiting += [across[node, out] for out in entries.get((node, incoming), ())]
    return heard
