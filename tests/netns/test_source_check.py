"""C1: a VM cannot forge where its frames come from, and everything that it may truly say goes through."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from scapy.layers.inet import UDP
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet, Raw

from nvgre_node.choices import RecordType, SourceCheck
from nvgre_node.dataplane.base import Drop
from nvgre_node.dataplane.planes import ebpf
from nvgre_node.net import NvgreNet
from nvgre_node.wire import octets
from topologies import load

from .bench import Bench, running
from .forgeries import (
    FORGED,
    HONEST,
    LINK_LOCAL,
    OTHER_ETHERTYPE,
    OTHERS4,
    OWN4,
    OWN6,
    advertisement,
    arp,
    runnable_claims,
    said,
)
from .frames import DROP, EVERYBODY, RED, RED1, RED2, RED3, REDIRECT, STRANGER, from_red1, v4
from .mutation import Mutant, without
from .oracle import agrees, agrees_on_flood
from .tap import Tap, token, vms

CHECKED = load("two_hosts").with_nve(source_check=SourceCheck.CA)


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with running(CHECKED) as bench:
        yield bench


@pytest.fixture(scope="module")
def only_macs() -> Iterator[Bench]:
    with running(load("two_hosts").with_nve(source_check=SourceCheck.MAC)) as bench:
        yield bench


@pytest.mark.parametrize("packet", HONEST.values(), ids=HONEST)
def test_what_is_true_is_carried(bench: Bench, packet: Packet) -> None:
    assert bench.from_port("red1", said(packet)).action == REDIRECT
    agrees(bench, "red1", said(packet))


@pytest.mark.parametrize("packet", FORGED.values(), ids=FORGED)
def test_what_is_forged_is_dropped_and_counted(bench: Bench, packet: Packet) -> None:
    sent = bench.from_port("red1", said(packet))

    assert (sent.action, sent.moved) == (DROP, {(RED, "SOURCE_CA"): 1})
    agrees(bench, "red1", said(packet))


@pytest.mark.parametrize("packet", FORGED.values(), ids=FORGED)
def test_mac_asks_for_no_more_than_the_mac_address(only_macs: Bench, packet: Packet) -> None:
    agrees(only_macs, "red1", said(packet))
    assert only_macs.from_port("red1", said(packet)).action == REDIRECT


@pytest.mark.parametrize("record", [RecordType.L2ONLY, RecordType.GATEWAY_WILDCARD])
def test_a_vm_whose_cas_nobody_can_know_has_its_mac_address_checked_only(record: RecordType) -> None:
    vms = tuple(replace(vm, record=record) if vm.name == "red1" else vm for vm in CHECKED.policy.vms)
    with running(replace(CHECKED, policy=replace(CHECKED.policy, vms=vms))) as bench:
        for packet in FORGED.values():
            agrees(bench, "red1", said(packet))
            assert bench.from_port("red1", said(packet)).action == REDIRECT
        packet = v4(src=OTHERS4) / UDP()
        forged_mac, neighbours_forgery = (bytes(Ether(src=mac, dst=RED2) / packet) for mac in (STRANGER, RED3))
        assert bench.from_port("red1", forged_mac).drops == [Drop.SOURCE_MAC]
        assert bench.from_port("red3", neighbours_forgery).drops == [Drop.SOURCE_CA]


@pytest.mark.parametrize("source", [RED2, STRANGER, EVERYBODY])
def test_another_mac_address_is_dropped_whatever_the_frame_says(bench: Bench, only_macs: Bench, source: str) -> None:
    for frame in (said(v4() / UDP()), said(arp()), OTHER_ETHERTYPE):
        forged = frame[:6] + octets(source) + frame[12:]
        for checking in (bench, only_macs):
            assert checking.from_port("red1", forged).drops == [Drop.SOURCE_MAC]
            agrees(checking, "red1", forged)


def test_other_ethertypes_have_their_mac_address_checked_only(bench: Bench) -> None:
    assert bench.from_port("red1", OTHER_ETHERTYPE).action == REDIRECT


def test_a_forged_broadcast_reaches_nobody(bench: Bench) -> None:
    forged = said(arp(psrc=OTHERS4), dst=EVERYBODY)
    agrees_on_flood(bench, "red1", forged, forged)
    assert bench.from_port("red1", forged).drops == [Drop.SOURCE_CA]


@given(frame=runnable_claims)
def test_it_is_as_specified(bench: Bench, frame: bytes) -> None:
    agrees(bench, "red1", frame)


@given(frame=runnable_claims)
def test_the_mac_check_is_as_specified(only_macs: Bench, frame: bytes) -> None:
    agrees(only_macs, "red1", frame)


# What a VM notices of it


@pytest.mark.parametrize("dataplane", ["ebpf", "model"])
def test_vms_talk_as_before_and_a_forger_is_heard_by_nobody(dataplane: str) -> None:
    with NvgreNet(CHECKED, dataplane) as net, Tap(net) as tap:
        assert net["red1"].ping("10.0.0.2")
        assert net["red1"].ping("10.0.0.3")
        assert net["red1"].ping("fd00:10::2")
        assert net["red2"].ping(f"{LINK_LOCAL}%eth0")
        mark, before = token(), net.dropped()
        tagged = Dot1Q(vlan=7) / v4(src=OTHERS4) / UDP(dport=9)
        for forged in (v4(src=OTHERS4) / UDP(dport=9), arp(op=2, psrc=OTHERS4), advertisement("fd00:10::3"), tagged):
            assert tap.say("red1", from_red1(forged, Raw(mark), dst=EVERYBODY), mark) == {}
        honest = tap.say("red1", from_red1(arp(), Raw(mark), dst=EVERYBODY), mark)
        dropped = net.dropped() - before

    assert vms(honest) == {"red2": 1, "red3": 1}
    assert dropped == {Drop.SOURCE_CA: 4}


def test_a_vm_with_another_mac_address_is_cut_off() -> None:
    with NvgreNet(CHECKED) as net:
        net["red1"].set_link("eth0", address=STRANGER)
        assert not net["red1"].ping("10.0.0.3", timeout=1)
        assert net.dropped()[Drop.SOURCE_MAC] > 0
        net["red1"].set_link("eth0", address=RED1)
        assert net["red1"].ping("10.0.0.3")


def test_a_vm_with_another_ca_is_cut_off() -> None:
    with NvgreNet(CHECKED) as net:
        net["red1"].set_address("eth0", "10.0.0.77/24")
        assert net["red1"].run_process(["ping", "-c1", "-W1", "-I", "10.0.0.77", "10.0.0.2"]).returncode != 0
        assert net.dropped()[Drop.SOURCE_CA] > 0
        assert net["red1"].run_process(["ping", "-c1", "-W2", "-I", OWN4, "10.0.0.2"]).returncode == 0


# The checks bite


MUTANTS = {
    "the MAC address": Mutant("source_check.h", "nve.source_check >= SOURCE_CHECK_MAC", "0"),
    "addresses at all": Mutant("source_check.h", "nve.source_check == SOURCE_CHECK_CA", "0"),
    "IPv4 addresses": Mutant(
        "source_check.h", "return is_own_address(port, 4, &packet->source);", "return 1;"
    ),
    "DHCP's ports": Mutant("source_check.h", "ports[0] == bpf_htons(DHCP_CLIENT)", "1"),
    "DHCP's destination": Mutant("source_check.h", "packet->destination.s6_addr32[0] != 0xffffffff", "0"),
    "DHCP in UDP": Mutant("source_check.h", "packet->protocol != IPPROTO_UDP || ", ""),
    "the layout of ARP": without(
        "source_check.h",
        "arp.protocol != bpf_htons(ETH_P_IP) || arp.hardware_bytes != ETH_ALEN || arp.protocol_bytes != 4",
    ),
    "ARP's sender MAC": without("source_check.h", "!same_mac(arp.sender_mac, mac)"),
    "ARP's sender address": Mutant("source_check.h", "return is_own_address4(port, arp.sender);", "return 1;"),
    "ARP probes": Mutant("source_check.h", "&& is_own_address4(port, arp.target)", ""),
    "ARP replies of nobody": Mutant("source_check.h", "arp.operation == bpf_htons(ARP_REQUEST) &&", ""),
    "ARP that is too short": Mutant(
        "source_check.h", "&arp, sizeof(arp)))\n\t\treturn 0;", "&arp, sizeof(arp)))\n\t\treturn 1;"
    ),
    "IPv6 addresses": without("source_check.h", "!from_nobody && !is_own_address(port, 6, &packet->source)"),
    "the IP version of an address": Mutant("source_check.h", ".version = version, .address", ".version = 4, .address"),
    "who may have no IPv6 address": without("source_check.h", "from_nobody && !may_come_from_nobody(message, packet)"),
    "nobody's UDP": Mutant("source_check.h", "return !from_nobody;", "return 1;"),
    "nobody, to one host": Mutant("source_check.h", "packet->destination.s6_addr16[0] == bpf_htons(0xff02)", "1"),
    "what ND advertises": Mutant("source_check.h", "message == NEIGHBOUR_ADVERTISEMENT ||", ""),
    "duplicate address detection": Mutant(
        "source_check.h", "|| (message == NEIGHBOUR_SOLICITATION && from_nobody)", ""
    ),
    "ND source options": Mutant("source_check.h", "found.kind == ND_SOURCE_LINK_LAYER ||", ""),
    "ND target options": Mutant("source_check.h", "|| found.kind == ND_TARGET_LINK_LAYER", ""),
    "what follows ND options": Mutant("source_check.h", "return option == end;", "return 1;"),
    "the length of ND": without("source_check.h", "end > skb->len"),
    "chains too long to read": without("source_check.h", "packet->protocol == UNKNOWN_PROTOCOL && !packet->later"),
    "extension headers": Mutant("inner.h", "if (!fragment && !is_extension(protocol))", "if (1)"),
    "later fragments": Mutant("inner.h", "if (fragment && (extension[2] || extension[3] & 0xf8))", "if (0)"),
    "later fragments of IPv4": Mutant("inner.h", "packet->later = !!(ip.frag_off & bpf_htons(IP_OFFSET));", ""),
}  # fmt: skip


def every_check(bench: Bench) -> None:
    """Compares the data plane with the specification on everything that is true or forged."""
    for packet in (*HONEST.values(), *FORGED.values()):
        agrees(bench, "red1", said(packet))
    agrees(bench, "red1", said(v4() / UDP())[:6] + octets(RED2) + said(v4() / UDP())[12:])
    agrees(bench, "red1", OTHER_ETHERTYPE)


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS)
def test_disabling_this_check_is_noticed(mutant: Mutant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = mutant.compiled(tmp_path)
    monkeypatch.setattr(ebpf, "object_file", lambda: path)

    with running(CHECKED) as bench, pytest.raises(AssertionError):
        every_check(bench)


def test_the_data_plane_passes_unchanged(bench: Bench) -> None:
    every_check(bench)


def test_the_addresses_of_the_tests_are_those_of_the_network(bench: Bench) -> None:
    (port,) = (port for port in bench.host.policy.ports if port.interface == "red1")

    assert (port.mac, [str(source) for source in port.sources]) == (RED1, [OWN4, OWN6, LINK_LOCAL])
