"""Networks on a stock kernel: the `ebpf` data plane, and VLAN devices of VMs on trunk ports (I5)."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from nvgre_node.choices import Neighbours, SourceCheck, UnknownUnicast
from nvgre_node.errors import MissingError
from nvgre_node.monitor import Monitor
from nvgre_node.namespace import netlink
from nvgre_node.net import NvgreNet
from nvgre_node.node import TenantVM
from nvgre_node.policy import Vm
from nvgre_node.waiting import wait_until
from topologies import Scenario, load

PERF_EVENTS = Path("/proc/sys/kernel/perf_event_paranoid")
"""There where a kernel has perf events (perf_event_open(2))."""
TRUNKS = """
name: trunks
title: A firewall in two virtual subnets and in none by default
hosts: {host1: {pa: 192.168.0.1/24}, host2: {pa: 192.168.0.2/24}}
links: [[host1, host2]]
tenants:
  red:
    subnets:
      red_net: {vsid: 5000, prefixes: [10.0.0.0/24, "fd00:10::/64"]}
      red_dmz: {vsid: 5001, prefixes: [10.0.1.0/24]}
    vms:
      fw:
        host: host1
        mac: 02:00:00:00:00:fe
        trunk:
          10: {subnet: red_net, ca: [10.0.0.254, "fd00:10::fe"]}
          20: {subnet: red_dmz, ca: 10.0.1.254}
      net2: {subnet: red_net, host: host2, ca: [10.0.0.2, "fd00:10::2"]}
      dmz2: {subnet: red_dmz, host: host2, ca: 10.0.1.2}
"""


@pytest.mark.parametrize("name", ["two_hosts", "contoso_fabrikam"])
def test_vms_of_a_virtual_subnet_reach_each_other(name: str) -> None:
    scenario = load(name)
    pairs = [(a, b) for a in scenario.policy.vms for b in scenario.policy.vms if a.subnet == b.subnet and a is not b]
    assert pairs
    with NvgreNet(scenario) as net:
        assert [(a.node, b.node) for a, b in pairs if not net[a.node].ping(str(b.ca() or b.ca(6)))] == []
        seen = {vsid for host in net.counters().values() for vsid, own in host.items() if own.decapsulated}
    assert seen == {subnet.vsid for subnet in scenario.policy.subnets if crosses(pairs, subnet.name)}


def crosses(pairs: list[tuple[Vm, Vm]], subnet: str) -> bool:
    """Whether the VMs of a virtual subnet are on more than one host."""
    return any(a.host != b.host for a, b in pairs if a.subnet == subnet)


def test_isolation_holds_on_this_kernel_too(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "testbed", "run", "isolation", "--scenario", "two_hosts", "--json"]
    done = subprocess.run([*command, "--out", str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    [outcome] = json.loads(done.stdout)["experiments"]
    assert outcome["verdict"] == "pass"
    assert outcome["checks"]


CHOICES: dict[str, dict[str, Any]] = {
    "functions that are judged apart elsewhere": {"source_check": SourceCheck.CA},
    "a loop over TCP's options": {"clamp_mss": True},
    "both, and a proxy": {"source_check": SourceCheck.CA, "clamp_mss": True, "neighbours": Neighbours.PROXY},
}


@pytest.mark.parametrize("choices", CHOICES.values(), ids=CHOICES)
def test_an_older_verifier_accepts_the_programs(choices: dict[str, Any]) -> None:
    with NvgreNet(load("two_hosts").with_nve(**choices)) as net:
        assert net["red1"].ping("10.0.0.2")


def test_punting_needs_perf_events_and_a_kernel_without_says_so() -> None:
    """User-Mode Linux has none; what is unknown can be flooded or dropped there."""
    refusal = nullcontext() if PERF_EVENTS.exists() else pytest.raises(MissingError, match="CONFIG_PERF_EVENTS")
    with refusal, NvgreNet(load("two_hosts").with_nve(unknown=UnknownUnicast.PUNT)) as net:
        assert net["red1"].ping("10.0.0.2")
    with NvgreNet(load("two_hosts").with_nve(unknown=UnknownUnicast.FLOOD)) as net:
        assert net["red1"].ping("10.0.0.2")


def test_a_monitor_misses_no_flow_however_fast_they_come() -> None:
    """Faster than this kernel finds memory for them: a monitor must have all of it from the start."""
    with NvgreNet(load("two_hosts")) as net, net["host1"].inside(), Monitor("host1-eth0") as monitor:
        assert net["red1"].ping("10.0.0.2")
        with net["red1"].inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for port in range(2000, 2200):
                sender.sendto(b"x", ("10.0.0.2", port))
        wait_until(lambda: len({flow.flow_id for flow in monitor.flows()}) > 50, "200 flows to pass")


@pytest.fixture(scope="module")
def trunks(tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    path: Path = tmp_path_factory.mktemp("trunks") / "trunks.yaml"
    path.write_text(TRUNKS)
    return load(path)


@pytest.fixture(scope="module")
def net(trunks: Scenario) -> Iterator[NvgreNet]:
    with NvgreNet(trunks) as running:
        yield running


def vlan_devices(vm: TenantVM) -> dict[str, set[str]]:
    """A VM's VLAN devices, each with the addresses that it was given."""
    with vm.inside(), netlink() as ip:
        found: dict[str, set[str]] = {}
        for link in ip.get_links():
            if link.get(("linkinfo", "kind")) == "vlan":
                own = ip.get_addr(index=link["index"], scope=0)
                found[str(link.get("ifname"))] = {str(address.get("address")) for address in own}
        return found


def test_a_vm_on_a_trunk_port_has_a_vlan_device_for_each_subnet(net: NvgreNet) -> None:
    assert vlan_devices(net["fw"]) == {"eth0.10": {"10.0.0.254", "fd00:10::fe"}, "eth0.20": {"10.0.1.254"}}
    assert vlan_devices(net["net2"]) == {}


@pytest.mark.parametrize(
    ("sender", "destination"),
    [
        ("fw", "10.0.0.2"),
        ("fw", "fd00:10::2"),
        ("fw", "10.0.1.2"),
        ("net2", "10.0.0.254"),
        ("net2", "fd00:10::fe"),
        ("dmz2", "10.0.1.254"),
    ],
)
def test_it_is_reached_by_them_in_both_directions(net: NvgreNet, sender: str, destination: str) -> None:
    assert net[sender].ping(destination)


def test_without_its_vlan_device_it_is_not(trunks: Scenario) -> None:
    with NvgreNet(trunks) as other:
        other["fw"].delete_link("eth0.10")
        assert not other["net2"].ping("10.0.0.254")
        assert other["dmz2"].ping("10.0.1.254")


def carried(net: NvgreNet) -> dict[int, int]:
    """How many frames of each virtual subnet the underlay has carried."""
    total: dict[int, int] = {}
    for host in net.counters().values():
        for vsid, own in host.items():
            total[vsid] = total.get(vsid, 0) + own.encapsulated
    return total


@pytest.mark.parametrize(("sender", "vsid", "other"), [("net2", 5000, 5001), ("dmz2", 5001, 5000)])
def test_each_vlan_is_one_virtual_subnet(net: NvgreNet, sender: str, vsid: int, other: int) -> None:
    """Also for a VM that believes the addresses of the other VLAN to be on its link, and a Linux that answers there."""
    destination = {5000: "10.0.0.254", 5001: "10.0.1.254"}[other]
    with net[sender].inside(), netlink() as ip:
        ip.route("add", dst=f"{destination}/32", oif=ip.link_lookup(ifname="eth0")[0], scope=253)
    before = carried(net)
    net[sender].ping(destination)
    after = carried(net)
    assert after[vsid] > before[vsid]
    assert after[other] == before[other]
