"""Gateways, from the point of view of VMs and of what is outside (X5)."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.l2 import Ether

from experiments.transfer import transfer
from experiments.watch import Watch, legs
from nvgre_node import ruleset
from nvgre_node.errors import MissingError
from nvgre_node.net import NvgreNet
from nvgre_node.outer import outer_of
from nvgre_node.packet import packet_socket
from nvgre_node.routing import ROUTER_MAC
from topologies import load

DATAPLANES = ["ebpf", "model"]
BOTH_VERSIONS = {
    "203.0.113.1/24": "[203.0.113.1/24, '2001:db8::1/64']",
    "[10.1.1.0/24]": "[10.1.1.0/24, 'fd00:1::/64']",
    "[10.1.9.0/24]": "[10.1.9.0/24, 'fd00:9::/64']",
    "via: 10.1.9.2}": "via: 10.1.9.2}, {to: '::/0', via: 'fd00:9::2'}",
    "ca: 10.1.1.11": "ca: [10.1.1.11, 'fd00:1::11']",
    "ca: 10.1.9.2\n": "ca: [10.1.9.2, 'fd00:9::2']\n",
    "203.0.113.11/24": "[203.0.113.11/24, '2001:db8::11/64']",
    "203.0.113.12/24": "[203.0.113.12/24, '2001:db8::12/64']",
    "to: 10.1.1.11:80}": "to: 10.1.1.11:80}, {port: 8080, to: '[fd00:1::11]:80'}",
}


@pytest.fixture(params=DATAPLANES)
def net(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NvgreNet]:
    """The shipped network, with addresses of both IP versions everywhere but in the underlay."""
    text = load("internet_gateway").path.read_text()
    for old, new in BOTH_VERSIONS.items():
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "internet_gateway.yaml").write_text(text)
    with NvgreNet(load(tmp_path / "internet_gateway.yaml"), request.param) as net:
        yield net


def asked_by(net: NvgreNet, client: str, address: str, port: int, server: str, own: str, at: int) -> str:
    """Whom a server sees when a client connects to an address."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with net[server].inside():
        listening = socket.create_server((own, at), family=family)
    with net[client].inside():
        asking = socket.socket(family)
    with listening, asking:
        listening.settimeout(5)
        asking.settimeout(5)
        asking.connect((address, port))
        accepted, (peer, *_) = listening.accept()
        accepted.close()
        return str(peer)


def test_equal_vms_of_two_tenants_are_told_apart_outside_x5(net: NvgreNet) -> None:
    seen = {
        (vm, own): asked_by(net, vm, own, 80, "internet", own, 80)
        for vm in ("contoso_web", "fabrikam_web")
        for own in ("203.0.113.1", "2001:db8::1")
    }
    assert seen == {
        ("contoso_web", "203.0.113.1"): "203.0.113.11",
        ("contoso_web", "2001:db8::1"): "2001:db8::11",
        ("fabrikam_web", "203.0.113.1"): "203.0.113.12",
        ("fabrikam_web", "2001:db8::1"): "2001:db8::12",
    }


@pytest.mark.parametrize(("tenant", "last"), [("contoso", 11), ("fabrikam", 12)])
def test_a_forwarded_port_is_the_web_servers_x5(net: NvgreNet, tenant: str, last: int) -> None:
    own = f"{tenant}_web"
    assert asked_by(net, "internet", f"203.0.113.{last}", 8080, own, "10.1.1.11", 80) == "203.0.113.1"
    assert asked_by(net, "internet", f"2001:db8::{last}", 8080, own, "fd00:1::11", 80) == "2001:db8::1"


def test_nobody_outside_reaches_a_customer_address(net: NvgreNet) -> None:
    for tenant in ("contoso", "fabrikam"):
        leg = net[f"{tenant}_gw"].compartment.leg.address(4)
        for address in ("10.1.1.11", "10.1.9.2"):
            net["internet"].run_process(["ip", "route", "replace", f"{address}/32", "via", str(leg)])
            done = net["internet"].run_process(["ping", "-n", "-c", "1", "-W", "1", address])
            assert done.returncode == 1, (tenant, address)


def test_a_gateway_forwards_what_is_its_tenants_alone(net: NvgreNet) -> None:
    """A packet from an address that Contoso has not is dropped, though its VSID is Contoso's."""
    vm = net["contoso_web"].vm
    with net["contoso_web"].inside():
        mouth = packet_socket("eth0")
    with mouth, Watch(legs(net)) as watch:
        for source in ("172.16.0.1", str(vm.ca(4))):
            packet = IP(src=source, dst="203.0.113.1") / ICMP(id=7637)
            mouth.send(bytes(Ether(src=vm.mac, dst=ROUTER_MAC) / packet))
        seen = watch.until(lambda seen: sum(ICMP in Ether(s.frame) for s in seen) >= 2) + watch.until_quiet()
    packets = [outer for sighting in seen if (outer := outer_of(sighting.frame)) and outer.protocol == 1]
    assert [str(packet.source) for packet in packets] == ["203.0.113.11", "203.0.113.1"]


def test_a_transfer_passes_a_gateway_in_both_directions(net: NvgreNet) -> None:
    done = transfer(net["contoso_web"], net["internet"], "203.0.113.1", 1 << 20)
    assert (done.connected, done.completed) == (True, True)


def test_the_picture_of_the_way_names_the_address_outside() -> None:
    from nvgre_node.explain import explain

    policy = load("internet_gateway").policy
    ways = {vm: explain(policy, vm, "203.0.113.1")[-1] for vm in ("contoso_web", "fabrikam_sql")}
    assert {vm: step.what for vm, step in ways.items()} == {
        "contoso_web": "gateway contoso_gw",
        "fabrikam_sql": "gateway fabrikam_gw",
    }
    assert ways["fabrikam_sql"].result == "out to internet by nat: its source is 203.0.113.12 there"


def test_a_filter_that_the_kernel_refuses_is_no_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ruleset, "_ACCEPT", {"no_such_verdict": None})
    with pytest.raises(MissingError, match="contoso_gw"), NvgreNet(load("internet_gateway")):
        pass
