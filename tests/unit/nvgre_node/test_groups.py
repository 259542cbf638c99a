"""Groups of the underlay, as policy and fabric see them: who joins which, and which routers carry what (B1 to B4)."""

from ipaddress import IPv4Address, IPv4Interface, ip_address

import pytest

from nvgre_node.explain import explain
from nvgre_node.fabric import Attachment, Fabric, FabricLink, MulticastRoute
from nvgre_node.groups import SubnetGroups, group_mac, is_administratively_scoped
from nvgre_node.policy import Address, Nve, Policy, VirtualSubnet, Vm

G, H, OWN = (IPv4Address(f"239.1.1.{n}") for n in (1, 2, 3))
FIVES = IPv4Address("239.5.5.5")
PA1, PA2, PA3 = (IPv4Interface(f"192.168.{n}.10/24") for n in (1, 2, 3))


@pytest.mark.parametrize(
    ("group", "scoped"),
    [
        ("239.0.0.0", True),
        ("239.255.255.255", True),
        ("238.255.255.255", False),
        ("240.0.0.0", False),
        ("224.0.0.1", False),
        ("10.0.0.1", False),
        ("ff04::1", True),
        ("ff15::1", True),
        ("ff08::1", True),
        ("ff02::1", False),
        ("ff0e::1", False),
        ("ff35::1", False),
        ("fd00::1", False),
    ],
)
def test_which_groups_an_administrator_may_give_away_b1(group: str, scoped: bool) -> None:
    assert is_administratively_scoped(ip_address(group)) is scoped


@pytest.mark.parametrize(
    ("group", "mac"),
    [
        ("239.1.2.3", "01:00:5e:01:02:03"),
        ("239.129.2.3", "01:00:5e:01:02:03"),
        ("224.255.255.255", "01:00:5e:7f:ff:ff"),
        ("ff15::1234:5678", "33:33:12:34:56:78"),
    ],
)
def test_the_mac_address_of_a_group(group: str, mac: str) -> None:
    assert group_mac(ip_address(group)).hex(":") == mac


def vm(name: str, subnet: str, host: str) -> Vm:
    return Vm(name, subnet, host, "02:00:00:00:00:01", ())


POLICY = Policy(
    nves=(Nve("host1", (PA1,)), Nve("host2", (PA2,)), Nve("host3", (PA3,))),
    subnets=(
        VirtualSubnet("red", "red", 5000, (), SubnetGroups(G, ((FIVES, OWN),))),
        VirtualSubnet("green", "green", 6000, (), SubnetGroups(G)),
        VirtualSubnet("blue", "blue", 7000, ()),
    ),
    vms=(
        vm("red1", "red", "host1"),
        vm("red2", "red", "host2"),
        vm("green1", "green", "host1"),
        vm("green3", "green", "host3"),
        vm("blue3", "blue", "host3"),
    ),
)


def test_an_nve_joins_the_groups_of_the_subnets_that_have_a_port_there_b2() -> None:
    joined = {host: POLICY.for_host(host).joined for host in ("host1", "host2", "host3")}

    assert joined == {"host1": (G, OWN), "host2": (G, OWN), "host3": (G,)}
    assert POLICY.group_members == {
        G: {"host1": (PA1.ip,), "host2": (PA2.ip,), "host3": (PA3.ip,)},
        OWN: {"host1": (PA1.ip,), "host2": (PA2.ip,)},
    }


@pytest.mark.parametrize(
    ("vsid", "mac", "group"),
    [
        (5000, b"\xff" * 6, G),
        (5000, group_mac(FIVES), OWN),
        (6000, group_mac(FIVES), G),
        (7000, b"\xff" * 6, None),
        (9999, b"\xff" * 6, None),
    ],
)
def test_which_group_carries_what_b3_b4(vsid: int, mac: bytes, group: IPv4Address | None) -> None:
    assert Policy.for_host(POLICY, "host1").group(vsid, mac) == group


def test_a_group_for_one_inner_group_alone_leaves_n_way_unicast_for_the_rest() -> None:
    only = SubnetGroups(inner=((FIVES, OWN),))

    assert (only.carrying(group_mac(FIVES)), only.carrying(b"\xff" * 6), only.outer) == (OWN, None, frozenset({OWN}))


def explained(vm_name: str, group: str) -> tuple[str, str]:
    step = explain(POLICY, vm_name, group)[-1]
    return step.result, step.because


def test_explain_says_how_a_group_is_reached() -> None:
    assert explained("red1", "224.0.0.251") == ("one copy, outer IPv4 192.168.1.10 -> 239.1.1.1", "B2")
    assert explained("red1", "239.5.5.5") == ("one copy, outer IPv4 192.168.1.10 -> 239.1.1.3", "B3: has its own")
    assert explained("blue3", "239.5.5.5") == ("a copy to each other NVE: none", "B5: N-way unicast")


# Routers


Members = dict[Address, dict[str, tuple[Address, ...]]]


def link(a: str, b: str) -> FabricLink:
    """A link written as `host1 192.168.1.10/24`, on each side."""
    one, other = (Attachment(node, (IPv4Interface(address),)) for node, address in (a.split(), b.split()))
    return FabricLink(one, other)


CHAIN = Fabric(
    ("r1", "r2"),
    (
        link("r1 192.168.1.1/24", "host1 192.168.1.10/24"),
        link("r1 192.168.2.1/24", "host2 192.168.2.10/24"),
        link("r1 192.168.9.1/24", "r2 192.168.9.2/24"),
        link("r2 192.168.3.1/24", "host3 192.168.3.10/24"),
    ),
    mtu=1542,
)
RING = Fabric(
    ("r1", "r2", "r3"),
    (
        link("r1 10.12.0.1/24", "r2 10.12.0.2/24"),
        link("r2 10.23.0.2/24", "r3 10.23.0.3/24"),
        link("r3 10.31.0.3/24", "r1 10.31.0.1/24"),
        link("r1 192.168.1.1/24", "host1 192.168.1.10/24"),
        link("r2 192.168.2.1/24", "host2 192.168.2.10/24"),
        link("r3 192.168.3.1/24", "host3 192.168.3.10/24"),
    ),
    mtu=1542,
)


def route(source: IPv4Interface, group: IPv4Address, incoming: str, *outgoing: str) -> MulticastRoute:
    return MulticastRoute(source.ip, group, IPv4Address(incoming), tuple(IPv4Address(out) for out in outgoing))


def test_each_router_carries_a_group_from_each_member_to_the_others_and_to_nobody_else_b2() -> None:
    assert set(CHAIN.multicast_routes("r1", POLICY.group_members)) == {
        route(PA1, G, "192.168.1.1", "192.168.2.1", "192.168.9.1"),
        route(PA2, G, "192.168.2.1", "192.168.1.1", "192.168.9.1"),
        route(PA3, G, "192.168.9.1", "192.168.1.1", "192.168.2.1"),
        route(PA1, OWN, "192.168.1.1", "192.168.2.1"),
        route(PA2, OWN, "192.168.2.1", "192.168.1.1"),
    }
    assert set(CHAIN.multicast_routes("r2", POLICY.group_members)) == {
        route(PA1, G, "192.168.9.2", "192.168.3.1"),
        route(PA2, G, "192.168.9.2", "192.168.3.1"),
        route(PA3, G, "192.168.3.1", "192.168.9.2"),
    }


def test_in_a_ring_nothing_goes_round() -> None:
    members: Members = {G: POLICY.group_members[G]}

    assert set(RING.multicast_routes("r1", members)) == {
        route(PA1, G, "192.168.1.1", "10.12.0.1", "10.31.0.1"),
        route(PA2, G, "10.12.0.1", "192.168.1.1"),
        route(PA3, G, "10.31.0.1", "192.168.1.1"),
    }


def test_hosts_on_one_link_need_no_router() -> None:
    direct = Fabric(("r1",), (link("host1 192.168.0.1/24", "host2 192.168.0.2/24"),), mtu=1542)

    assert direct.multicast_routes("r1", {H: {"host1": (PA1.ip,), "host2": (PA2.ip,)}}) == ()
