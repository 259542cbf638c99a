"""Multicast groups of the underlay: one packet for all, across two routers, to members and nobody else (B1 to B5)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from pathlib import Path

import pytest
from scapy.layers.igmp import IGMPv3_MR
from scapy.layers.inet import IP
from scapy.layers.inet6 import ICMPv6MLReport2, IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from experiments.watch import Place, Sighting, Watch
from nvgre_node.dataplane.base import NO_SUBNET, Drop
from nvgre_node.errors import MissingError
from nvgre_node.fabric import MulticastRoute
from nvgre_node.groups import Address
from nvgre_node.multicast import Memberships, multicast_router
from nvgre_node.net import NvgreNet
from nvgre_node.node import ProviderHost
from topologies import load

from .frames import EVERYBODY, EXPERIMENTAL, OUTER_BYTES
from .tap import Heard, Tap, token, vms, wire

SCENARIO = Path(__file__).with_name("in_groups.yaml")
GROUP, FIVES_GROUP, FIVES_MAC = "239.1.1.1", "239.1.1.2", "01:00:5e:05:05:05"
TO_EXCLUDE, TO_INCLUDE = 4, 3  # RFC 3376 section 4.2.12: of no sources, which is to join, and to leave


@pytest.fixture(scope="module", params=["ebpf", "model"])
def tap(request: pytest.FixtureRequest) -> Iterator[Tap]:
    with NvgreNet(load(SCENARIO), request.param) as net, Tap(net) as tap:
        yield tap


def said(tap: Tap, vm: str, destination: str = EVERYBODY) -> tuple[Heard, bytes]:
    """Who hears a VM's frame to many, and the frame."""
    mark, mac = token(), load(SCENARIO).policy.vm(vm).mac
    frame = bytes(Ether(src=mac, dst=destination, type=EXPERIMENTAL) / Raw(mark))
    return tap.say(vm, frame, mark), frame


def outers(heard: Heard, host: str) -> list[tuple[str, str, str, int]]:
    """MAC address, PAs and TTL of what passed a host's uplink."""
    packets = [Ether(frame) for frame in wire(heard, host)]
    return [(packet.dst, packet[IP].src, packet[IP].dst, packet[IP].ttl) for packet in packets]


@pytest.mark.parametrize(
    ("destination", "group", "mac"),
    [(EVERYBODY, GROUP, "01:00:5e:01:01:01"), (FIVES_MAC, FIVES_GROUP, "01:00:5e:01:01:02")],
    ids=["broadcast", "an inner group with its own"],
)
def test_one_packet_leaves_for_the_group_and_crosses_both_routers_b1_b2_b3(
    tap: Tap, destination: str, group: str, mac: str
) -> None:
    heard, frame = said(tap, "red1", destination)

    assert vms(heard) == {"red3": 1}
    assert heard["red3"] == [frame]
    assert outers(heard, "host1") == [(mac, "192.168.1.10", group, 64)]
    assert outers(heard, "host3") == [(mac, "192.168.1.10", group, 62)]
    assert [outer[OUTER_BYTES:] for outer in wire(heard, "host3")] == [frame]


def test_a_host_that_is_not_a_member_gets_nothing_b2(tap: Tap) -> None:
    heard = {**said(tap, "red1")[0], **said(tap, "red3", FIVES_MAC)[0]}

    assert "host4" not in heard


def test_a_group_of_its_own_spares_the_hosts_that_share_the_other_b3(tap: Tap) -> None:
    assert "host2" in said(tap, "red1")[0]
    assert "host2" not in said(tap, "red1", FIVES_MAC)[0]


@pytest.mark.parametrize(("vm", "hearer", "stranger"), [("red1", "red3", "host2"), ("green1", "green2", "host3")])
def test_who_shares_the_group_and_not_the_virtual_subnet_drops_b4(
    tap: Tap, vm: str, hearer: str, stranger: str
) -> None:
    def unknown() -> int:
        return tap.net.counters()[stranger][NO_SUBNET].dropped.get(Drop.UNKNOWN_VSID, 0)

    before = unknown()

    heard, _ = said(tap, vm)

    assert vms(heard) == {hearer: 1}
    assert len(wire(heard, stranger)) == 1
    assert unknown() == before + 1


def test_beside_them_a_subnet_without_a_group_has_n_way_unicast_b5(tap: Tap) -> None:
    heard, _ = said(tap, "blue1")

    assert vms(heard) == {"blue2": 1, "blue4": 1}
    assert sorted(outer[2] for outer in outers(heard, "host1")) == ["192.168.2.10", "192.168.4.10"]


def test_a_packet_for_a_group_is_counted_once(tap: Tap) -> None:
    before = tap.net.counters()["host1"][5000]

    said(tap, "red1")

    after = tap.net.counters()["host1"][5000]
    assert after.encapsulated - before.encapsulated == 1


@pytest.mark.parametrize(("vm", "address"), [("red1", "10.0.0.3"), ("green2", "10.0.0.1"), ("blue4", "10.0.0.2")])
def test_vms_find_and_reach_each_other(tap: Tap, vm: str, address: str) -> None:
    assert tap.net[vm].ping(address)


@pytest.fixture(scope="module", params=["ebpf", "model"])
def tap6(request: pytest.FixtureRequest) -> Iterator[Tap]:
    with NvgreNet(load(SCENARIO).over_ipv6(), request.param) as net, Tap(net) as tap:
        yield tap


@pytest.mark.parametrize(
    ("destination", "group", "mac"),
    [(EVERYBODY, "ff15::ef01:101", "33:33:ef:01:01:01"), (FIVES_MAC, "ff15::ef01:102", "33:33:ef:01:01:02")],
    ids=["broadcast", "an inner group with its own"],
)
def test_groups_of_ipv6_cross_both_routers_too_b1_b2_b3(tap6: Tap, destination: str, group: str, mac: str) -> None:
    heard, frame = said(tap6, "red1", destination)

    assert vms(heard) == {"red3": 1}
    assert heard["red3"] == [frame]
    for host, hops in (("host1", 64), ("host3", 62)):
        (packet,) = (Ether(outer) for outer in wire(heard, host))
        assert (packet.dst, packet[IPv6].dst, packet[IPv6].nh, packet[IPv6].hlim) == (mac, group, 47, hops)
    assert "host4" not in heard
    assert ("host2" in heard) == (destination == EVERYBODY)


@pytest.mark.parametrize(("vm", "address"), [("red1", "10.0.0.3"), ("green2", "10.0.0.1")])
def test_vms_find_each_other_by_groups_of_ipv6(tap6: Tap, vm: str, address: str) -> None:
    assert tap6.net[vm].ping(address)


# Membership


def told(watch: Watch, kind: int, awaited: set[IPv4Address]) -> set[IPv4Address]:
    """The groups that are said to be joined, or left, until those that are awaited are among them."""
    found: set[IPv4Address] = set()

    def complete(sightings: list[Sighting]) -> bool:
        packets = [packet for sighting in sightings if IGMPv3_MR in (packet := Ether(sighting.frame))]
        records = [record for packet in packets for record in packet[IGMPv3_MR].records]
        found.update(IPv4Address(record.maddr) for record in records if record.rtype == kind)
        return awaited <= found

    watch.until(complete, seconds=5)
    return found


@pytest.fixture
def host1() -> Iterator[ProviderHost]:
    with NvgreNet(load(SCENARIO)) as net:
        yield net["host1"]


def listen(host: ProviderHost) -> Watch:
    return Watch([Place(host, host.uplinks[0], incoming_only=False)])


def test_an_nve_is_a_member_of_its_subnets_groups_and_leaves_them_when_it_ends_b2(host1: ProviderHost) -> None:
    own = {IPv4Address(GROUP), IPv4Address(FIVES_GROUP)}
    with listen(host1) as watch:
        assert groups_of(host1) == own
        host1.dataplane.close()
        assert told(watch, TO_INCLUDE, own) == own
    assert groups_of(host1) == set()


def test_memberships_follow_what_is_wanted(host1: ProviderHost) -> None:
    one, two, three = groups = [IPv4Address(f"239.9.9.{n}") for n in (1, 2, 3)]
    before = groups_of(host1)
    with listen(host1) as watch, host1.inside():
        with closing(Memberships(host1.interface_index(host1.uplinks[0]))) as memberships:
            memberships.keep([one, two])
            assert told(watch, TO_EXCLUDE, {one, two}) & set(groups) == {one, two}
            memberships.keep([two, three])
            assert told(watch, TO_INCLUDE, {one}) == {one}
            assert groups_of(host1) == before | {two, three}
        assert groups_of(host1) == before


def test_a_group_of_ipv6_is_joined_and_left_by_mld(host1: ProviderHost) -> None:
    group = IPv6Address("ff15::99")
    with listen(host1) as watch, host1.inside():
        with closing(Memberships(host1.interface_index(host1.uplinks[0]))) as memberships:
            memberships.keep([group])
            assert group in mld_told(watch, TO_EXCLUDE, group)
        assert group in mld_told(watch, TO_INCLUDE, group)


def mld_told(watch: Watch, kind: int, awaited: IPv6Address) -> set[IPv6Address]:
    """As `told`, by multicast listener reports (RFC 3810 section 5.2)."""
    found: set[IPv6Address] = set()

    def complete(sightings: list[Sighting]) -> bool:
        packets = [packet for s in sightings if ICMPv6MLReport2 in (packet := Ether(s.frame))]
        records = [record for packet in packets for record in packet[ICMPv6MLReport2].records]
        found.update(IPv6Address(record.dst) for record in records if record.rtype == kind)
        return awaited in found

    watch.until(complete, seconds=5)
    return found


def groups_of(host: ProviderHost) -> set[IPv4Address]:
    """The groups that a host is a member of, as its kernel says."""
    with host.inside():
        lines = Path("/proc/thread-self/net/igmp").read_text().splitlines()
    words = [line.split()[0] for line in lines if line.startswith("\t\t\t\t")]
    found = {IPv4Address(bytes.fromhex(word)[::-1]) for word in words}
    return {group for group in found if group in IPv4Network("239.0.0.0/8")}


@pytest.mark.parametrize("version", [4, 6])
def test_a_kernel_that_refuses_is_named(host1: ProviderHost, version: int) -> None:
    """A second router of groups in one namespace is refused by the kernel, as any is without multicast routing."""
    pa, group = (IPv4Address("192.168.1.10"), IPv4Address(GROUP))
    own, to = (pa, group) if version == 4 else (IPv6Address("fd00::1"), IPv6Address("ff15::1"))
    routes = [MulticastRoute(own, to, pa, ())]
    with host1.inside():
        links: dict[Address, int] = {pa: host1.interface_index(host1.uplinks[0])}
        (sock,) = multicast_router(links, routes)
        with sock, pytest.raises(MissingError, match=f"does not route multicast of IPv{version}"):
            multicast_router(links, routes)
        with pytest.raises(ValueError, match="at most 32 links"):
            multicast_router({IPv4Address(n): n for n in range(1, 34)}, routes)
