"""Hyper-V Network Virtualization as the shipped scenario has it: each of its behaviours, on the wire."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet, Raw

from experiments import conformance, isolation
from experiments.base import Context
from experiments.conformance.lab import is_icmp_error
from experiments.results import Verdict
from experiments.watch import Place, Sighting, Watch, packet_socket, uplinks, vm_ports
from nvgre_node.choices import Carries
from nvgre_node.dataplane.base import Drop
from nvgre_node.dataplane.planes import ebpf
from nvgre_node.errors import BadInputError
from nvgre_node.net import NvgreNet
from nvgre_node.outer import outer_of
from nvgre_node.routing import ROUTER_MAC
from topologies import load

from .bench import Bench, running
from .frames import EXPERIMENTAL, KINDS, RED, RED1, RED2, RED3, STRANGER, from_red1, to_red1, v4, v6
from .mutation import Mutant, without
from .oracle import agrees, agrees_on_flood

HNV = load("hnv")
MARK = b"as HNV does it"
EVERYBODY = "ff:ff:ff:ff:ff:ff"


def mac(vm: str) -> str:
    return HNV.policy.vm(vm).mac


@pytest.fixture(scope="module", params=["ebpf", "model"])
def net(request: pytest.FixtureRequest) -> Iterator[NvgreNet]:
    with NvgreNet(HNV, request.param) as net:
        with Watch([*vm_ports(net), *uplinks(net)]) as watch:
            watch.until_quiet()
        yield net


class Seen:
    """What became of a frame: who heard it, in which packets it left its host, and why it was dropped."""

    def __init__(self, net: NvgreNet, sender: str, frame: Packet) -> None:
        before, machines = net.dropped(), HNV.policy.machines

        def settled(seen: Sequence[Sighting]) -> bool:
            return net.dropped() != before or any(MARK in s.frame and s.node in machines for s in seen)

        with Watch([*vm_ports(net), *uplinks(net)]) as watch:
            with packet_socket(Place(net[sender], "eth0")) as sock:
                sock.send(bytes(frame / Raw(MARK)))
            seen = watch.until(settled) + watch.until_quiet()
        marked = [s for s in seen if MARK in s.frame]  # in an ICMP error, it is a quotation
        self.heard = {s.node: Ether(s.frame) for s in marked if s.node in machines and not is_icmp_error(s.frame)}
        outers = [outer_of(s.frame) for s in marked if s.node == HNV.policy.vm(sender).host]
        self.wire = [outer for outer in outers if outer and outer.is_gre and not is_icmp_error(outer.inner)]
        self.drops = set(net.dropped() - before)


def to_router(sender: str, to: str, l4: Packet, ttl: int = 64) -> Packet:
    """What a VM sends to an address outside of its subnet."""
    return Ether(src=mac(sender), dst=ROUTER_MAC) / IP(src=str(HNV.policy.vm(sender).ca()), dst=to, ttl=ttl) / l4


def to_vm(sender: str, receiver: str, l4: Packet) -> Packet:
    """What a VM sends to another in its subnet."""
    own, other = HNV.policy.vm(sender), HNV.policy.vm(receiver)
    return Ether(src=own.mac, dst=other.mac) / IP(src=str(own.ca()), dst=str(other.ca())) / l4


udp = UDP(sport=1000, dport=2000)


def test_across_subnets_the_vsid_and_the_mac_are_the_destinations_and_the_ttl_is_one_less(net: NvgreNet) -> None:
    seen = Seen(net, "rd_web1", to_router("rd_web1", "10.1.2.11", udp))
    (packet,) = seen.wire
    inner = Ether(packet.inner)
    assert (packet.key >> 8, inner.src, inner.dst, inner[IP].ttl) == (5003, ROUTER_MAC, mac("rd_sql1"), 63)
    assert list(seen.heard) == ["rd_sql1"]
    assert net["rd_web1"].ping("10.1.2.11")


def test_inside_a_subnet_the_frame_is_left_alone(net: NvgreNet) -> None:
    frame = to_vm("rd_web1", "rd_web2", udp)
    seen = Seen(net, "rd_web1", frame)
    (packet,) = seen.wire
    assert (packet.key >> 8, packet.inner, Ether(packet.inner)[IP].ttl) == (5001, bytes(frame / Raw(MARK)), 64)
    assert list(seen.heard) == ["rd_web2"]


def test_each_virtual_subnet_has_a_provider_address_of_its_own_on_each_host(net: NvgreNet) -> None:
    pas = {}
    for sender, frame in {
        "rd_web1": to_vm("rd_web1", "rd_web2", udp),
        "rd_sql1": to_vm("rd_sql1", "rd_cluster", udp),
        "sales_web1": to_vm("sales_web1", "sales_web2", udp),
    }.items():
        (packet,) = Seen(net, sender, frame).wire
        pas[sender] = f"{packet.source} {packet.destination}"
    assert pas == {
        "rd_web1": "192.168.1.11 192.168.2.11",
        "rd_sql1": "192.168.2.13 192.168.1.13",
        "sales_web1": "192.168.1.14 192.168.2.14",
    }


def test_what_is_on_no_link_goes_to_the_gateway_in_its_own_subnet(net: NvgreNet) -> None:
    seen = Seen(net, "rd_web1", to_router("rd_web1", "203.0.113.9", udp))
    (packet,) = seen.wire
    assert (packet.key >> 8, Ether(packet.inner).dst) == (5002, mac("rd_gw"))
    assert seen.heard["rd_gw"][IP].dst == "203.0.113.9"
    assert net["rd_web1"].ping("10.0.2.250")


def test_what_is_neither_ip_nor_arp_goes_nowhere(net: NvgreNet) -> None:
    frames = (
        Ether(src=mac("rd_web1"), dst=mac("rd_web2"), type=EXPERIMENTAL),
        Ether(src=mac("rd_web1"), dst=EVERYBODY, type=EXPERIMENTAL),
        Ether(src=mac("rd_web1"), dst=mac("rd_web2")) / Dot1Q(vlan=10, type=EXPERIMENTAL),
    )
    for frame in frames:
        seen = Seen(net, "rd_web1", frame)
        assert (seen.heard, seen.wire, seen.drops) == ({}, [], {Drop.NOT_IP})


def asks(sender: str, target: str) -> Packet:
    own = HNV.policy.vm(sender)
    return Ether(src=own.mac, dst=EVERYBODY) / ARP(hwsrc=own.mac, psrc=str(own.ca()), pdst=target)


def test_arp_for_a_known_address_is_answered_at_the_host(net: NvgreNet) -> None:
    for target, owner in {"10.0.1.12": mac("rd_web2"), "10.0.1.1": ROUTER_MAC}.items():
        with Watch([*vm_ports(net), *uplinks(net)]) as watch:
            with packet_socket(Place(net["rd_web1"], "eth0")) as sock:
                sock.send(bytes(asks("rd_web1", target)))
            seen = watch.until(bool) + watch.until_quiet()
        replies = [Ether(s.frame)[ARP] for s in seen if s.node == "rd_web1" and Ether(s.frame).haslayer(ARP)]
        assert [(reply.op, reply.psrc, reply.hwsrc) for reply in replies] == [(2, target, owner)]
        assert [s.node for s in seen if (outer := outer_of(s.frame)) and outer.is_gre] == []


def test_arp_for_an_unknown_address_gets_no_answer_and_reaches_nobody(net: NvgreNet) -> None:
    seen = Seen(net, "rd_web1", asks("rd_web1", "10.0.1.99"))
    assert (seen.heard, seen.wire, seen.drops) == ({}, [], {Drop.UNKNOWN_NEIGHBOUR})


def test_where_the_policy_knows_not_all_addresses_everybody_is_asked(net: NvgreNet) -> None:
    seen = Seen(net, "rd_sql1", asks("rd_sql1", "10.1.2.20"))
    assert (list(seen.heard), [packet.key >> 8 for packet in seen.wire]) == (["rd_cluster"], [5003])
    assert net["rd_sql1"].ping("10.1.2.20")


def test_two_routing_domains_of_one_customer_know_nothing_of_each_other(net: NvgreNet) -> None:
    for sender, receiver, vsid in (("rd_web1", "rd_sql1", 5003), ("sales_web1", "sales_sql1", 6002)):
        seen = Seen(net, sender, to_router(sender, "10.1.2.11", udp))  # both have that address
        assert (list(seen.heard), [packet.key >> 8 for packet in seen.wire]) == ([receiver], [vsid])
    nowhere = Seen(net, "sales_web1", to_router("sales_web1", "10.0.2.250", udp))  # of R&D's gateway
    assert (nowhere.wire, nowhere.drops) == ([], {Drop.NO_CUSTOMER_ROUTE})


@pytest.mark.parametrize(("port", "drops"), [(22, {Drop.ACL_IN}), (1433, set())])
def test_the_access_list_of_a_virtual_subnet_holds_for_what_is_routed_into_it(
    net: NvgreNet, port: int, drops: set[Drop]
) -> None:
    seen = Seen(net, "rd_web1", to_router("rd_web1", "10.1.2.11", TCP(sport=1000, dport=port)))
    assert (list(seen.heard), seen.drops) == ([] if drops else ["rd_sql1"], drops)


def test_isolation_holds() -> None:
    assert isolation.run(Context(HNV, "ebpf", lambda *_: None)).verdict is Verdict.PASS


def test_conformance_says_that_its_frames_are_not_carried() -> None:
    with pytest.raises(BadInputError, match="carries: ip"):
        conformance.run(Context(HNV, "ebpf", lambda *_: None))


# IP and ARP alone, frame by frame


@pytest.fixture(scope="module")
def carrying() -> Iterator[Bench]:
    with running(load("two_hosts").with_nve(carries=Carries.IP)) as bench:
        yield bench


@pytest.mark.parametrize("packet", KINDS.values(), ids=KINDS)
def test_ip_and_arp_are_carried_in_both_directions(carrying: Bench, packet: Packet) -> None:
    assert agrees(carrying, "red1", from_red1(packet)).out
    assert agrees(carrying, carrying.uplink, carrying.nvgre(to_red1(packet), RED)).out


@pytest.mark.parametrize("ethertype", [0, 46, 0x05FF, EXPERIMENTAL, 0x0805, 0x8863, 0x88CC], ids=hex)
def test_nothing_else_is_carried_in_either_direction(carrying: Bench, ethertype: int) -> None:
    for interface, frame in every_direction(carrying, ethertype):
        made = agrees(carrying, interface, frame)
        assert (made.out, made.counted) == ((), {(RED, Drop.NOT_IP.name): 1})


def every_direction(bench: Bench, ethertype: int) -> list[tuple[str, bytes]]:
    payload = Raw(bytes(46))
    inner = to_red1(payload, type=ethertype)
    return [("red1", from_red1(payload, type=ethertype)), (bench.uplink, bench.nvgre(inner, RED))]


def test_without_the_choice_any_frame_is_carried_i1() -> None:
    with running() as bench:
        for interface, frame in every_direction(bench, EXPERIMENTAL):
            assert agrees(bench, interface, frame).out


@pytest.mark.parametrize("file", ["nvgre.bpf.c", "decapsulate.h"])
def test_disabling_this_check_is_noticed(file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    condition = {"nvgre.bpf.c": "!is_carried(eth->h_proto)", "decapsulate.h": "!is_carried(head.eth.h_proto)"}[file]
    programs = without(file, condition).compiled(tmp_path)
    monkeypatch.setattr(ebpf, "object_file", lambda: programs)
    with running(load("two_hosts").with_nve(carries=Carries.IP)) as bench, pytest.raises(AssertionError):
        test_nothing_else_is_carried_in_either_direction(bench, EXPERIMENTAL)


# IP by CAs, inside a virtual subnet too


BY_CA = load("two_hosts").with_nve(carries=Carries.IP_BY_CA)


@pytest.fixture(scope="module")
def by_ca() -> Iterator[Bench]:
    with running(BY_CA) as bench:
        yield bench


TO_RED2 = {"IPv4": v4() / UDP(), "IPv6": v6() / UDP()}


@pytest.mark.parametrize("dst", [RED2, RED3, RED1, STRANGER])
@pytest.mark.parametrize("packet", TO_RED2.values(), ids=TO_RED2)
def test_a_packet_goes_to_whom_its_ca_names_whatever_its_mac_address(by_ca: Bench, packet: Packet, dst: str) -> None:
    made = agrees(by_ca, "red1", from_red1(packet, dst=dst))
    [(interface, frame)] = made.out
    assert (interface, Ether(frame[42:]).dst) == (by_ca.uplink, RED2)


@pytest.mark.parametrize("packet", [v4(dst="10.0.0.3") / UDP(), v6(dst="fd00:10::3") / UDP()], ids=["IPv4", "IPv6"])
def test_so_does_one_on_the_same_host(by_ca: Bench, packet: Packet) -> None:
    [(interface, frame)] = agrees(by_ca, "red1", from_red1(packet, dst=RED2)).out
    assert (interface, Ether(frame).dst) == ("red3", RED3)


@pytest.mark.parametrize(
    "packet",
    [v4(dst="10.0.0.77") / UDP(), v4(dst="10.0.0.3", chksum=1) / UDP(), v4(dst="10.0.0.3", len=2000) / UDP(), ARP()],
    ids=["nobody's CA", "a broken checksum", "a length that is too long", "ARP"],
)
def test_what_names_nobody_goes_by_its_mac_address(by_ca: Bench, packet: Packet) -> None:
    [(interface, frame)] = agrees(by_ca, "red1", from_red1(packet, dst=RED2)).out
    assert (interface, Ether(frame[42:]).dst) == (by_ca.uplink, RED2)


def test_broadcasts_stay_broadcasts(by_ca: Bench) -> None:
    inner = from_red1(v4(dst="10.0.0.3") / UDP() / Raw(b"to everybody"), dst=EVERYBODY)
    agrees_on_flood(by_ca, "red1", inner, inner)


def test_without_that_choice_a_packet_goes_by_its_mac_address() -> None:
    with running(load("two_hosts").with_nve(carries=Carries.IP)) as bench:
        [(interface, frame)] = agrees(bench, "red1", from_red1(v4(dst="10.0.0.3") / UDP(), dst=RED2)).out
    assert (interface, Ether(frame[42:]).dst) == (bench.uplink, RED2)


@pytest.mark.parametrize(
    ("file", "text", "instead"),
    [
        ("nvgre.bpf.c", "if (nve.by_ca && !is_group && !router)", "if (0)"),
        ("route.h", "{.vsid = vsid, .version = to.version", "{.vsid = vsid, .version = 0"),
    ],
)
def test_a_fault_in_going_by_cas_is_noticed(
    file: str, text: str, instead: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = Mutant(file, text, instead).compiled(tmp_path)
    monkeypatch.setattr(ebpf, "object_file", lambda: programs)
    with running(BY_CA) as bench, pytest.raises(AssertionError):
        test_so_does_one_on_the_same_host(bench, v4(dst="10.0.0.3") / UDP())
