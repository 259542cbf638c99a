"""What a tenant can see of its provider: nothing (T1, C3)."""

import json
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import ARP, GRE, Ether
from scapy.packet import Packet, Raw

from experiments.watch import Place, Watch
from nvgre_node.net import NvgreNet
from nvgre_node.node import TenantVM
from topologies import load

from .frames import EVERYBODY, PA1, PA2, RED, RED1, RED2, from_red1, to_red1
from .tap import Tap, token

VMS = ["red1", "red2", "red3", "blue1", "blue2"]
UNDERLAY = ip_network("192.168.0.0/24")


@pytest.fixture(scope="module")
def tap() -> Iterator[Tap]:
    with NvgreNet(load("two_hosts")) as net, Tap(net) as tap:
        yield tap


def told(vm: TenantVM, *what: str) -> Any:
    """What `ip` says inside a VM."""
    return json.loads(vm.run_process(["ip", "-json", *what]).stdout or "[]")


@pytest.mark.parametrize("name", VMS)
def test_a_vm_has_its_own_addresses_and_no_pa_t1(tap: Tap, name: str) -> None:
    addresses = {a["local"] for link in told(tap.net[name], "address") for a in link["addr_info"]}
    own = {str(ca.ip) for ca in tap.net[name].vm.cas}

    assert own <= addresses
    assert {address for address in addresses - own if not address.startswith("fe80:")} <= {"127.0.0.1", "::1"}


@pytest.mark.parametrize("name", VMS)
def test_a_vm_has_no_route_to_a_pa_t1(tap: Tap, name: str) -> None:
    destinations = {route["dst"] for route in told(tap.net[name], "route")}

    assert destinations == {"10.0.0.0/24"}
    assert tap.net[name].run_process(["ip", "route", "get", PA1]).returncode != 0


@pytest.mark.parametrize("name", VMS)
def test_a_vm_has_no_neighbour_in_the_underlay_t1(tap: Tap, name: str) -> None:
    neighbours = {ip_address(neighbour["dst"]) for neighbour in told(tap.net[name], "neighbour")}

    assert not [address for address in neighbours if address in UNDERLAY]


@pytest.mark.parametrize("name", VMS)
def test_a_vm_has_one_interface_besides_lo_t1(tap: Tap, name: str) -> None:
    assert [link["ifname"] for link in told(tap.net[name], "link")] == ["lo", "eth0"]


def test_a_vm_never_sees_protocol_47_t1(tap: Tap) -> None:
    both_ways = [Place(vm, "eth0", incoming_only=False) for vm in tap.net.vms]
    with Watch(both_ways) as watch:
        assert tap.net["red1"].ping("10.0.0.2")
        assert tap.net["blue2"].ping("10.0.0.1")
        seen = [Ether(sighting.frame) for sighting in watch.until_quiet()]

    assert len(seen) >= 8
    assert not [frame for frame in seen if IP in frame and frame[IP].proto == 47]
    assert not [frame for frame in seen if IP in frame and {frame[IP].src, frame[IP].dst} & {PA1, PA2}]


@pytest.mark.parametrize("pa", [PA1, PA2])
def test_nobody_answers_an_arp_request_for_a_pa_t1_c3(tap: Tap, pa: str) -> None:
    request = from_red1(ARP(hwsrc=RED1, psrc="10.0.0.1", pdst=pa), dst=EVERYBODY)

    heard = tap.say("red1", request, mark=b"")

    replies = [frame for frame in map(Ether, heard.get("red1", [])) if ARP in frame and frame[ARP].psrc == pa]
    assert replies == []
    assert request in heard["red2"]


@pytest.mark.parametrize(
    "packet",
    [IP(src="10.0.0.1", dst=PA1) / ICMP(), IP(src="10.0.0.1", dst=PA2) / UDP(dport=7)],
    ids=["its own host", "another host"],
)
@pytest.mark.parametrize("destination", ["port", "uplink", "broadcast"])
def test_the_providers_stack_does_not_hear_a_vm_t1_c3(tap: Tap, packet: Packet, destination: str) -> None:
    host = tap.net["host1"]
    to = {"port": host.interface_mac("red1"), "uplink": host.interface_mac("host1-eth0"), "broadcast": EVERYBODY}[
        destination
    ]
    before = icmp_messages(tap.net)

    tap.say("red1", from_red1(packet, Raw(token()), dst=to), mark=b"")

    assert icmp_messages(tap.net) == before


def icmp_messages(net: NvgreNet) -> list[str]:
    """The ICMP statistics of the provider hosts' own stacks."""
    commands = [net[host].run_process(["cat", "/proc/net/snmp"]).stdout for host in ("host1", "host2")]
    return [line for text in commands for line in text.splitlines() if line.startswith("Icmp:")]


def test_a_vm_cannot_speak_nvgre_itself_c1_c3(tap: Tap) -> None:
    mark = token()
    forged = IP(src=PA2, dst=PA1) / GRE(key_present=1, proto=0x6558, key=RED << 8) / Raw(to_red1(Raw(mark)))

    heard = tap.say("red1", from_red1(forged, dst=RED2), mark)

    assert heard["red2"] == [from_red1(forged, dst=RED2)]  # carried like any other packet, and not opened
    assert set(heard) == {"red2", "host1", "host2"}
