"""Routing between virtual subnets, from the point of view of VMs and of the wire (T5, X6)."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from experiments.transfer import transfer
from experiments.watch import Place, Watch, uplinks
from nvgre_node.choices import COPY, Neighbours, PaChoice, SourceCheck, TooBig, UnknownUnicast
from nvgre_node.dataplane.base import Drop
from nvgre_node.fabric import Route
from nvgre_node.namespace import netlink, set_sysctl
from nvgre_node.net import NvgreNet
from nvgre_node.routing import ROUTER_MAC
from topologies import load

from .frames import OUTER_BYTES
from .routing_frames import BLUE4, RED4, ROUTED, inner

DATAPLANES = ["ebpf", "model"]


@pytest.fixture(params=DATAPLANES)
def net(request: pytest.FixtureRequest) -> Iterator[NvgreNet]:
    with NvgreNet(ROUTED, request.param) as net:
        yield net


def test_vms_of_a_tenant_reach_each_other_and_nobody_else_x6_t4(net: NvgreNet) -> None:
    with Watch(uplinks(net)) as watch:
        for address in ("10.0.1.13", "10.0.1.14", "10.0.2.15", "fd00:11::13", "fd00:11::14", "10.0.0.1", "10.0.1.1"):
            assert net["red1"].ping(address), address
        assert net["blue1"].ping("10.0.1.14")
        assert net["red_far1"].ping("10.0.0.11")
        for vm, address in (("blue1", "10.0.1.13"), ("blue1", "10.0.2.15"), ("green1", "10.0.1.14")):
            assert not net[vm].ping(address, timeout=1), (vm, address)
        seen = [sighting.frame for sighting in watch.until_quiet() if sighting.frame[23] == 47]
    routed = [inner(frame) for frame in seen if Ether(frame[OUTER_BYTES:]).src == ROUTER_MAC]
    assert {packet.dst for packet in routed if IP in packet and packet[IP].dst == "10.0.1.14"} == {RED4, BLUE4}
    assert {packet[IP].ttl for packet in routed if IP in packet} == {63}
    assert {packet[IPv6].hlim for packet in routed if IPv6 in packet} == {63}


@pytest.mark.parametrize("destination", ["red3", "red4"])
@pytest.mark.parametrize("version", [4, 6])
def test_a_tcp_transfer_is_routed(net: NvgreNet, destination: str, version: int) -> None:
    receiver = net[destination]
    done = transfer(net["red1"], receiver, str(receiver.vm.ca(version)), 1 << 20)

    assert (done.connected, done.completed) == (True, True)


@pytest.mark.parametrize("dataplane", DATAPLANES)
def test_a_transfer_learns_the_path_mtu_from_the_router_f4(dataplane: str) -> None:
    with NvgreNet(ROUTED.with_mtu(underlay=1500, tenant=1500), dataplane) as net:
        for version in (4, 6):
            done = transfer(net["red1"], net["red4"], str(net["red4"].vm.ca(version)), 1 << 18)
            assert (done.connected, done.completed) == (True, True)


def test_segments_of_a_stream_are_cut_behind_the_router(net: NvgreNet) -> None:
    """Offloads stay on across the router: what the receiver gets was not cut on the sender's host."""
    if net["host1"].dataplane.name != "ebpf":
        return
    with Watch([Place(net["host2"], "host2-eth0")]) as watch:
        transfer(net["red1"], net["red4"], "10.0.1.14", 1 << 20)
        longest = max(len(sighting.frame) for sighting in watch.heard(100))
    assert longest > 3000


def test_it_routes_with_every_other_choice_made_too() -> None:
    """The verifier judges all that is switched on together."""
    choices = {
        "too_big": TooBig.FRAGMENT,
        "unknown": UnknownUnicast.FLOOD,
        "pa_choice": PaChoice.FLOW,
        "neighbours": Neighbours.PROXY,
        "source_check": SourceCheck.CA,
        "clamp_mss": True,
        "dscp": COPY,
    }
    with NvgreNet(ROUTED.with_nve(**choices).with_mtu(underlay=1500, tenant=1500)) as net:
        assert net["red1"].ping("fd00:11::14")
        done = transfer(net["red1"], net["red4"], "10.0.1.14", 1 << 18)
        assert (done.connected, done.completed) == (True, True)
        sized = ["ping", "-n", "-c", "1", "-W", "2", "-M", "dont", "-s", "1470", "10.0.1.14"]  # more than 1500 - 42
        assert net["red1"].run_process(sized).returncode == 0


# An external router instead: HNV's UseExternalRouter

EXTERNAL = """\
name: external
title: A router outside the overlay, with a leg in each virtual subnet
hosts: {host1: {pa: 192.168.0.1/24}, host2: {pa: 192.168.0.2/24}}
links: [[host1, host2]]
nve: {neighbours: proxy, source_check: ca}
tenants:
  red:
    subnets:
      red_net: {vsid: 5000, prefixes: [10.0.0.0/24]}
      red_back: {vsid: 5001, prefixes: [10.0.1.0/24]}
    vms:
      red1: {subnet: red_net, host: host1, ca: 10.0.0.11}
      red4: {subnet: red_back, host: host2, ca: 10.0.1.14}
      leg1: {subnet: red_net, host: host2, ca: 10.0.0.1, record: gateway_wildcard}
      leg2: {subnet: red_back, host: host1, ca: 10.0.1.1, record: gateway_wildcard}
"""


@pytest.mark.parametrize("dataplane", DATAPLANES)
def test_a_router_of_the_tenants_own_joins_subnets_that_have_none(dataplane: str, tmp_path: Path) -> None:
    """Two gateways, which are the legs of one router: a cable joins them behind the NVEs' backs."""
    (tmp_path / "external.yaml").write_text(EXTERNAL)
    with NvgreNet(load(tmp_path / "external.yaml"), dataplane) as net:
        for vm, leg in (("red1", "10.0.0.1"), ("red4", "10.0.1.1")):
            net[vm].set_routes([Route(ip_network("0.0.0.0/0"), ip_address(leg))])
        assert not net["red1"].ping("10.0.1.14", timeout=1)
        joined(net, "leg1", "leg2")
        assert net["red1"].ping("10.0.1.14")  # the legs send from CAs that are not theirs
        assert net["red4"].ping("10.0.0.11")
        done = transfer(net["red1"], net["red4"], "10.0.1.14", 1 << 20)
        assert (done.connected, done.completed) == (True, True)
        assert net.dropped()[Drop.SOURCE_CA] == 0


def joined(net: NvgreNet, leg1: str, leg2: str) -> None:
    """Joins two VMs by a cable, and has both forward between it and their virtual subnet."""
    with net[leg1].inside(), netlink() as ip:
        there = {"ifname": "cable", "net_ns_fd": str(net.own.namespace(leg2))}
        ip.link("add", ifname="cable", kind="veth", peer=there)
    for number, (leg, beyond) in enumerate(((leg1, "10.0.1.0/24"), (leg2, "10.0.0.0/24")), start=1):
        net[leg].run_process(["ip", "addr", "add", f"172.16.0.{number}/30", "dev", "cable"])
        net[leg].run_process(["ip", "link", "set", "cable", "up"])
        net[leg].set_routes([Route(ip_network(beyond), ip_address(f"172.16.0.{3 - number}"))])
        with net[leg].inside():
            set_sysctl("ipv4/ip_forward", 1)
