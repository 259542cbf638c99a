"""Routing between virtual subnets, from the point of view of VMs and of the wire (T5, X6)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from experiments.transfer import transfer
from experiments.watch import Place, Watch, uplinks
from nvgre_node.net import NvgreNet
from nvgre_node.routing import ROUTER_MAC

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
