"""The data planes `gretap` and `gretap_external` on a stock kernel: what they do, beside whom, and what they lack."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pyroute2.netlink.rtnl import ndmsg

from experiments.conformance import variants
from experiments.transfer import transfer
from nvgre_node.choices import FlowIds, PaChoice
from nvgre_node.errors import BadInputError
from nvgre_node.namespace import netlink
from nvgre_node.net import NvgreNet
from nvgre_node.node import ProviderHost
from nvgre_node.outer import Outer, outer_of
from nvgre_node.policy import LookupRecord
from tests.netns.tap import Tap, token, vms, wire
from topologies import Scenario, load

GRETAP, EXTERNAL = "gretap", "gretap_external"
PLANES = [GRETAP, EXTERNAL]
EVERYBODY, EXPERIMENTAL = "ff:ff:ff:ff:ff:ff", 0x88B5
SIZE = 1 << 20

THREE = """
name: three
title: Two tenants with the same addresses, each with a VM on each of three hosts
hosts: {host1: {pa: 192.168.1.1/24}, host2: {pa: 192.168.2.1/24}, host3: {pa: 192.168.3.1/24}}
routers: {r1: {host1: 192.168.1.254/24, host2: 192.168.2.254/24, host3: 192.168.3.254/24}}
tenants:
"""
TENANT = """\
  {name}:
    subnets: {{{name}_net: {{vsid: {vsid}, prefixes: [10.0.0.0/24]}}}}
    vms:
"""
VM = "      {name}{n}: {{subnet: {name}_net, host: host{n}, ca: 10.0.0.{n}, mac: '02:00:00:00:00:0{n}'}}\n"


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    text = THREE
    for name, vsid in (("red", 5000), ("blue", 6000)):
        text += TENANT.format(name=name, vsid=vsid) + "".join(VM.format(name=name, n=n) for n in (1, 2, 3))
    path: Path = tmp_path_factory.mktemp("three") / "three.yaml"
    path.write_text(text)
    return load(path)


@pytest.fixture(scope="module", params=PLANES)
def tap(request: pytest.FixtureRequest, three: Scenario) -> Iterator[Tap]:
    with NvgreNet(three.with_nve(ttl=9, dscp=46), request.param) as net, Tap(net) as tap:
        yield tap


def mac(n: int) -> str:
    """The MAC address of the VMs, of both tenants, on a host."""
    return f"02:00:00:00:00:0{n}"


def frame(source: int, destination: str, mark: bytes) -> bytes:
    """A frame that is not IP, so that nobody answers."""
    return bytes.fromhex((destination + mac(source)).replace(":", "")) + EXPERIMENTAL.to_bytes(2, "big") + mark


def said(tap: Tap, vm: str, destination: str) -> tuple[dict[str, int], dict[str, list[Outer]]]:
    """Which VMs hear a frame of one, and the NVGRE packets at each uplink that carry it."""
    mark = token()
    heard = tap.say(vm, frame(int(vm[-1]), destination, mark), mark)
    hosts = {host.name: wire(heard, host.name) for host in tap.net.provider_hosts}
    return vms(heard), {host: [o for packet in packets if (o := outer_of(packet))] for host, packets in hosts.items()}


# Isolation, split horizon, broadcasts


@pytest.mark.parametrize("tenant", ["red", "blue"])
def test_a_frame_reaches_the_vm_of_its_own_tenant_though_both_have_its_address(tap: Tap, tenant: str) -> None:
    heard, packets = said(tap, f"{tenant}1", mac(2))
    assert heard == {f"{tenant}2": 1}
    assert [o.key >> 8 for o in packets["host1"]] == [{"red": 5000, "blue": 6000}[tenant]]
    assert packets["host3"] == []


@pytest.mark.parametrize("sender", ["red1", "red2", "blue3"])
def test_a_broadcast_is_one_packet_for_each_other_host_and_none_comes_back(tap: Tap, sender: str) -> None:
    tenant, own = sender[:-1], sender[-1]
    heard, packets = said(tap, sender, EVERYBODY)
    assert heard == {f"{tenant}{n}": 1 for n in "123" if n != own}
    assert {host: len(passed) for host, passed in packets.items()} == {
        f"host{n}": 2 if n == own else 1 for n in "123"
    }  # N-way unicast (B5); the wire never feeds the wire


def test_without_isolated_ports_the_wire_feeds_the_wire(three: Scenario) -> None:
    with NvgreNet(three, GRETAP) as net, Tap(net) as tap:
        with net["host2"].inside(), netlink() as ip:
            for link in ip.get_links():
                if str(link.get("ifname")).startswith("gre."):
                    ip.brport("set", index=link["index"], isolated=0)
        _, packets = said(tap, "red1", EVERYBODY)
    assert len(packets["host2"]) > 1


# Records are static FDB entries


def entries(host: ProviderHost, vsid: int) -> dict[str, str]:
    """The FDB entries of a virtual subnet's bridge that are no interface's own: MAC address and port."""
    with host.inside(), netlink() as ip:
        names = {link["index"]: str(link.get("ifname")) for link in ip.get_links()}
        (bridge,) = ip.link_lookup(ifname=f"br.{vsid}")
        found = [e for e in ip.fdb("dump") if e.get("NDA_MASTER") == bridge and e["state"] != ndmsg.NUD_PERMANENT]
        assert all(e["state"] == ndmsg.NUD_NOARP for e in found)  # static: nothing ages, nothing was learnt
        return {str(e.get("NDA_LLADDR")): names[e["ifindex"]] for e in found}


def test_lookup_records_are_static_entries_and_nothing_is_learnt(tap: Tap) -> None:
    host = tap.net["host1"]
    before = entries(host, 5000)
    assert set(before) == {mac(1), mac(2), mac(3)}
    assert before[mac(1)] == "red1"
    assert all(before[mac(n)].startswith("gre.5000.") for n in (2, 3))
    mark = token()
    stranger = bytes.fromhex("0200000000020200000000994242") + mark  # from 02:00:00:00:00:99, which no record knows
    assert vms(tap.say("red1", stranger, mark)) == {"red2": 1}
    assert entries(host, 5000) == before


def test_ttl_and_dscp_are_those_of_the_policy(tap: Tap) -> None:
    _, packets = said(tap, "red1", mac(2))
    assert [(o.ttl, o.traffic_class >> 2, str(o.source)) for o in packets["host1"]] == [(9, 46, "192.168.1.1")]


def test_unknown_unicast_goes_nowhere(tap: Tap) -> None:
    heard, packets = said(tap, "red1", "02:00:00:00:00:77")
    assert (heard, packets["host1"]) == ({}, [])


def record(net: NvgreNet, vm: str) -> LookupRecord:
    found: LookupRecord = next(record for record in net.topo.policy.records if record.vm == vm)
    return found


def test_a_record_that_changes_changes_where_packets_go_and_nothing_else(tap: Tap) -> None:
    net = tap.net
    before, others = entries(net["host1"], 5000), entries(net["host1"], 6000)
    net["host1"].install(replace(record(net, "red2"), pa=record(net, "red3").pa))
    _, packets = said(tap, "red1", mac(2))
    assert [str(o.destination) for o in packets["host1"]] == ["192.168.3.1"]
    assert entries(net["host1"], 5000) == before | {mac(2): before[mac(3)]}
    assert entries(net["host1"], 6000) == others
    net["host1"].install(record(net, "red2"))
    assert said(tap, "red1", mac(2))[0] == {"red2": 1}


# FlowIDs


def test_a_flow_has_one_flow_id_and_many_have_many_where_keys_can_vary(tap: Tap) -> None:
    found = {port: flow_ids(tap, port) for port in range(1, 9)}
    assert all(len(ids) == 1 for ids in found.values())
    every = set().union(*found.values())
    assert len(every) > 1 if tap.net["host1"].dataplane.name == EXTERNAL else every == {0}


def flow_ids(tap: Tap, port: int) -> set[int]:
    """The FlowIDs of two packets of one UDP flow, from nobody's address so that nobody answers."""
    sender, receiver = (tap.net[name].interface_mac("eth0") for name in ("red1", "red2"))
    found = set()
    for _ in range(2):
        mark = token()
        udp = port.to_bytes(2, "big") + bytes.fromhex("0009 0010 0000") + mark
        header = bytes.fromhex("4500 0024 0000 0000 4011 0000 c0000201 c0000202")
        sent = bytes.fromhex((receiver + sender).replace(":", "")) + b"\x08\0" + header + udp
        found |= {o.key & 0xFF for packet in wire(tap.say("red1", sent, mark)) if (o := outer_of(packet))}
    return found


def beside_ebpf(plane: str) -> Scenario:
    """The two hosts, of which the second has another data plane than the first."""
    scenario = load("two_hosts")
    first, second = scenario.policy.nves
    nves = (replace(first, dataplane="ebpf"), replace(second, dataplane=plane))
    return replace(scenario, policy=replace(scenario.policy, nves=nves))


def test_external_devices_share_a_subnet_with_an_nve_that_sends_flow_ids() -> None:
    with NvgreNet(beside_ebpf(EXTERNAL)) as net:
        assert [host.dataplane.name for host in net.provider_hosts] == ["ebpf", EXTERNAL]
        for name, other in (("red1", "2"), ("red2", "1")):
            assert net[name].ping(f"10.0.0.{other}")
            assert net[name].ping(f"fd00:10::{other}")


def test_devices_with_keys_do_so_only_if_it_sends_none() -> None:
    """The lesson: 32 bits are compared, and entropy looks like packet loss (G10)."""
    with NvgreNet(beside_ebpf(GRETAP)) as net:
        assert not net["red1"].ping("10.0.0.2")
    with NvgreNet(beside_ebpf(GRETAP).with_nve(flow_ids=FlowIds.NONE)) as net:
        assert net["red1"].ping("10.0.0.2")


# PAs of IPv6, several PAs, long packets


def test_tcp_gets_through_and_is_counted(tap: Tap) -> None:
    before = tap.net["host1"].counters()[5000]
    done = transfer(tap.net["red1"], tap.net["red2"], "10.0.0.2", SIZE)
    assert (done.completed, done.received) == (True, SIZE)
    assert tap.net["host1"].counters()[5000].encapsulated_bytes - before.encapsulated_bytes > SIZE


@pytest.mark.parametrize("plane", PLANES)
def test_pas_of_ipv6_carry_both_families_with_the_ttl_and_dscp_that_were_chosen(plane: str) -> None:
    with NvgreNet(load("two_hosts").over_ipv6().with_nve(ttl=9, dscp=46), plane) as net, Tap(net) as tap:
        assert net["red1"].ping("10.0.0.2")
        assert not net["blue1"].ping("10.0.0.3", timeout=1)  # it is red's alone
        done = transfer(net["red1"], net["red2"], "fd00:10::2", SIZE)
        assert (done.completed, done.received) == (True, SIZE)
        mark = token()
        sent = bytes.fromhex("02000a00000202000a00000188b5") + mark  # from red1 to red2
        packets = [o for packet in wire(tap.say("red1", sent, mark)) if (o := outer_of(packet))]
    assert [(o.version, o.ttl, o.traffic_class >> 2) for o in packets] == [(6, 9, 46)]


def test_external_devices_leave_the_choice_among_pas_of_ipv6_to_the_kernel_and_refuse_it() -> None:
    scenario = variants.with_two_pas(load("two_hosts").over_ipv6(), PaChoice.FLOW)
    choice = "leaves the choice among PAs of IPv6 to the kernel"
    with pytest.raises(BadInputError, match=choice), NvgreNet(scenario, EXTERNAL):
        pass


@pytest.mark.parametrize("plane", PLANES)
def test_a_network_is_ready_once_every_port_of_its_bridges_forwards(plane: str) -> None:
    """A link that has come up is told to its bridge only after a while: what came before that would be lost."""
    with NvgreNet(load("two_hosts"), plane) as net:
        for host in net.provider_hosts:
            ports = json.loads(host.run_process(["bridge", "-json", "link"]).stdout)
            assert len(ports) >= 4
            assert {port["state"] for port in ports} == {"forwarding"}
