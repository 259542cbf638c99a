"""The checks bite: with any one protective check of the data plane disabled, it differs from the specification."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6PacketTooBig, IPv6ExtHdrFragment
from scapy.packet import Raw

from nvgre_node.dataplane.planes import ebpf
from nvgre_node.groups import group_mac
from nvgre_node.wire import octets
from topologies import Scenario, load

from .bench import INNER_GROUP, Bench, grouped, running
from .frames import (
    BLUE,
    BLUE1,
    EVERYBODY,
    EXPERIMENTAL,
    NOBODYS,
    RED,
    RED1,
    RED2,
    RED3,
    STRANGER,
    from_red1,
    padded,
    to_red1,
    v4,
    v6,
)
from .mutation import Mutant, without
from .oracle import agrees, agrees_on_flood

INNER = to_red1(IP(src="10.0.0.2", dst="10.0.0.1") / UDP(sport=1, dport=2) / Raw(b"hello"))


MUTANTS = {
    "the VSID of a delivery": Mutant(
        "decapsulate.h", "find_record(vsid, inner.h_dest)", "find_record(5000, inner.h_dest)"
    ),
    "the VSID of a sender": Mutant(
        "nvgre.bpf.c", "find_record(port->vsid, eth->h_dest)", "find_record(6000, eth->h_dest)"
    ),
    "inner tags (I6)": without("decapsulate.h", "is_tag(head.eth.h_proto)"),
    "0x9100 from a VM (I4)": Mutant("vlan.h", "return skb->vlan_present || is_tag(skb->protocol);", "return 0;"),
    "reserved VSIDs (V1, V2)": Mutant("decapsulate.h", "vsid < VSID_FIRST || vsid > VSID_LAST", "0"),
    "the source PA (C1)": Mutant("decapsulate.h", "return DROP_SOURCE_PA;", "return DROP_REASONS;"),
    "outer fragments (F2)": without("decapsulate.h", "outer->ip.frag_off & bpf_htons(IP_FRAGMENT)"),
    "the version (G14)": without("decapsulate.h", "flags & (GRE_VERSION | (deviates(WIDENS_VERSION) ? GRE_LOW : 0))"),
    "reserved bits (G12)": without("decapsulate.h", "flags & (GRE_ROUTING | GRE_RESERVED)"),
    "the C bit (G11)": without("decapsulate.h", "flags & GRE_CHECKSUM"),
    "the S bit (G11)": without("decapsulate.h", "flags & GRE_SEQUENCE"),
    "the K bit (G11)": without("decapsulate.h", "!(flags & GRE_KEY)"),
    "the protocol type (G15)": without("decapsulate.h", "gre->protocol != bpf_htons(ETH_P_TEB)"),
    "the outer checksum": Mutant("decapsulate.h", "ip_checksum(&outer->ip) != 0xffff", "0"),
    "the outer length": Mutant("decapsulate.h", "!= 0xffff || arrival->end > skb->len", "!= 0xffff"),
    "the outer padding": Mutant("decapsulate.h", "!skb->gso_size && arrival.end", "0 && arrival.end"),
    "our own PA": Mutant("decapsulate.h", "is_own_pa4(outer->ip.daddr) :", "1 :"),
    "our own MAC": Mutant("decapsulate.h", "skb->pkt_type == PACKET_HOST ?", "1 ?"),
    "split horizon": Mutant("decapsulate.h", "record ? !record->ifindex : !nve.flood_unknown", "!record"),
    "the sender's own port": without(
        "nvgre.bpf.c", "record->ifindex == skb->ingress_ifindex && record->vid == port->vid"
    ),
    "no copy back to the sender (B5)": Mutant("replicate.h", "to->ifindex == skb->ingress_ifindex", "0"),
    "what does not fit (F1)": without("encapsulate.h", "found == BPF_FIB_LKUP_RET_FRAG_NEEDED"),
    "DF (F5)": Mutant("encapsulate.h", "bpf_htons(IP_DF)", "0"),
    "FlowID (G8)": Mutant("encapsulate.h", "nve.flowid_from_flow ? to->flow : 0", "0"),
    "no ports of fragments in FlowID": Mutant("flow.h", "if (!(ip->frag_off & bpf_htons(IP_FRAGMENT)))", "if (1)"),
    "no ICMP about later fragments": without("icmp.h", "ip->frag_off & bpf_htons(IP_OFFSET)"),
    "no ICMP about ICMP errors": Mutant("icmp.h", "if (ip->protocol != IPPROTO_ICMP)", "if (1)"),
    "no ICMP from or to many": Mutant(
        "icmp.h", "source == 0 || source >= 224 || destination >= 224", "source + destination > 510"
    ),
    "no ICMPv6 about ICMPv6 errors": Mutant("icmp.h", "if (ip->nexthdr != IPPROTO_ICMPV6)", "if (1)"),
    "no ICMPv6 to many": Mutant("icmp.h", "if (ip->saddr.s6_addr[0] == 0xff ||", "if (0 &&"),
    "CE on Not-ECT": Mutant("traffic_class.h", "return -1;", "return 0;"),
    "congestion reaches the VM": Mutant("traffic_class.h", "return ECN_CE;", "return inner;"),
    "ECT(1) reaches the VM": Mutant("traffic_class.h", "outer == ECN_ECT_1 ? ECN_ECT_1 : inner", "inner"),
    "no mark on what cannot bear it": Mutant("traffic_class.h", "inner == ECN_NOT_ECT || inner == ECN_CE ||", ""),
    "the inner checksum is repaired": Mutant("traffic_class.h", "if (is_v4)", "if (0)"),
    "the inner IP version": Mutant("traffic_class.h", "&& version == 4 &&", "&&"),
    "the inner IP version, IPv6": Mutant("traffic_class.h", "&& version == 6 &&", "&&"),
    "a whole inner header": Mutant("traffic_class.h", "skb->len >= at + ETH_HLEN + sizeof(struct iphdr)", "1"),
    "a whole inner header, IPv6": Mutant("traffic_class.h", "skb->len >= at + ETH_HLEN + sizeof(struct ipv6hdr)", "1"),
    "ECN goes out": Mutant("traffic_class.h", "nve.copy_ecn ? inner & ECN_MASK : 0", "0"),
    "the tenant's DSCP stays inside": Mutant(
        "traffic_class.h", "nve.copy_dscp ? inner & ~ECN_MASK :", "1 ? inner & ~ECN_MASK :"
    ),
    "the underlay's DSCP stays outside": Mutant("traffic_class.h", "(nve.copy_dscp ? outer : inner)", "outer"),
    "the TTL": Mutant("encapsulate.h", ".ttl = nve.ttl", ".ttl = 63"),
}

OVER_IPV6 = {
    "our own PA (IPv6)": Mutant("decapsulate.h", "is_own_pa6(&to) :", "1 :"),
    "outer fragments (IPv6, F2)": Mutant("decapsulate.h", "fragmented == IPPROTO_GRE", "0"),
    "protocol 47 (IPv6)": Mutant("decapsulate.h", "outer->ip.nexthdr != IPPROTO_GRE", "0"),
    "the outer length (IPv6)": Mutant("decapsulate.h", "outer->ip.version != 6 || arrival->end > skb->len", "0"),
    "the source PA (IPv6, C1)": Mutant("decapsulate.h", "return DROP_SOURCE_PA;", "return DROP_REASONS;"),
    "congestion reaches the VM (IPv6)": Mutant(
        "decapsulate.h", "outer->ip.priority << 4 | outer->ip.flow_lbl[0] >> 4", "0"
    ),
    "ECN goes out (IPv6)": Mutant("encapsulate.h", ".flow_lbl = {to->traffic_class << 4},", ""),
    "the hop limit": Mutant("encapsulate.h", ".hop_limit = nve.ttl", ".hop_limit = 63"),
    "what does not fit (IPv6, F1)": without("encapsulate.h", "found == BPF_FIB_LKUP_RET_FRAG_NEEDED"),
}


GROUP_MUTANTS = {
    "one copy for the group (B2)": Mutant("replicate.h", "return group ?", "return 0 ?"),
    "a group for an inner group (B3)": without("groups.h", "own"),
    "the VSID of a group": Mutant("replicate.h", "find_group(skb, port->vsid)", "find_group(skb, 6000)"),
    "only joined groups": Mutant("groups.h", " || !bpf_map_lookup_elem(&joined, group))", ")"),
    "the MAC address of a group": without("groups.h", "mac[i] != eth->h_dest[i]"),
    "the MAC addresses that groups share": Mutant("groups.h", "& 0x7f;", "& 0xff;"),
    "what does not fit into a packet for a group": Mutant("groups.h", "packet + overhead > mtu", "packet > mtu"),
    "the source PA of a packet for a group (C1)": Mutant(
        "decapsulate.h", "return DROP_SOURCE_PA;", "return DROP_REASONS;"
    ),
    "split horizon of groups": Mutant("decapsulate.h", "record ? !record->ifindex : !nve.flood_unknown", "!record"),
}


STRANGERS_PA = {4: "192.168.0.77", 6: "fd00::77"}


def every_group_check(bench: Bench) -> None:
    """Compares the data plane with the specification on what is sent to groups, and what comes from them."""
    for destination in (EVERYBODY, group_mac(INNER_GROUP).hex(":")):
        said = from_red1(Raw(b"to many"), dst=destination, type=EXPERIMENTAL)
        agrees_on_flood(bench, "red1", said, said)
        large = from_red1(padded(v4() / UDP(), 1501), dst=destination)
        agrees_on_flood(bench, "red1", large, large)
        agrees_on_flood(bench, bench.uplink, bench.to_group(said, RED), said)
    for inner in (to_red1(Raw(b"x"), dst=RED1), to_red1(Raw(b"x"), dst=RED2), to_red1(Raw(b"x"), dst=STRANGER)):
        for vsid in (RED, NOBODYS):
            for group in bench.groups:
                agrees(bench, bench.uplink, bench.to_group(inner, vsid, group))
        agrees(bench, bench.uplink, bench.to_group(inner, RED, dst=group_mac(bench.groups[-1]).hex(":")))
        agrees(bench, bench.uplink, bench.to_group(inner, RED, pa=STRANGERS_PA[bench.pa.version]))


def gre(flags: int = 0x2000, protocol: int = 0x6558, vsid: int = RED) -> Raw:
    return Raw(struct.pack("!HHI", flags, protocol, vsid << 8))


def every_check(bench: Bench) -> None:
    """Compares the data plane with the specification on one frame for each check, and on sound ones."""
    for flags in (0x2000, 0xA000, 0x3000, 0x0000, 0x6000, 0x2800, 0x2400, 0x2001, 0x2008):
        agrees(bench, bench.uplink, bytes(bench.outer() / gre(flags) / Raw(INNER)))
    agrees(bench, bench.uplink, bytes(bench.outer() / gre(protocol=0x0800) / Raw(INNER)))
    for vsid in (RED, BLUE, NOBODYS, 0, 0xFFF, 0xFFFFFF):
        agrees(bench, bench.uplink, bytes(bench.outer() / gre(vsid=vsid) / Raw(INNER)))
    for outer in (
        {"src": "192.168.0.77"},
        {"dst": "192.168.0.9"},
        {"flags": "MF"},
        {"chksum": 1},
        {"len": 300},
        {"len": 41},
    ):
        agrees(bench, bench.uplink, bench.nvgre(INNER, RED, **outer))
    agrees(bench, bench.uplink, bench.nvgre(INNER, RED) + bytes(18))
    agrees(
        bench,
        bench.uplink,
        bytes(bench.outer(dst="192.168.0.1") / gre() / Raw(INNER)).replace(octets(bench.mac), octets(STRANGER), 1),
    )
    for inner in (to_red1(Raw(bytes(30)), type=0x8100), to_red1(Raw(b"x"), dst=RED2), to_red1(Raw(b"x"), dst=BLUE1)):
        agrees(bench, bench.uplink, bench.nvgre(inner, RED))
    for frame in (
        *(from_red1(v4() / UDP(sport=5), dst=destination) for destination in (RED2, RED3, RED1, STRANGER)),
        from_red1(v4(flags="MF") / UDP(sport=5) / Raw(bytes(8))),
        from_red1(Raw(bytes(30)), type=0x9100),
        from_red1(Raw(b"x"), type=EXPERIMENTAL),
    ):
        agrees(bench, "red1", frame)
    for packet in (
        v4() / TCP(), v4() / ICMP(type=3, code=4), v4(frag=3, proto=17), v4(src="224.0.0.1"), v4(dst="255.255.255.255"),
        v6() / TCP(), v6() / ICMPv6PacketTooBig(), v6(src="ff02::1"),
    ):  # fmt: skip
        agrees(bench, "red1", from_red1(padded(packet, 1501)))
    every_check_of_the_traffic_class(bench)
    everybody = from_red1(Raw(b"to everybody"), dst=EVERYBODY, type=EXPERIMENTAL)
    agrees_on_flood(bench, "red1", everybody, everybody)
    agrees_on_flood(bench, bench.uplink, bench.nvgre(everybody, RED), everybody)


def every_check_of_ipv6(bench: Bench) -> None:
    """The same over IPv6, for the checks of the outer header."""
    for outer in (
        {},
        {"src": "fd00::77"},
        {"dst": "fd00::77"},
        {"nh": 44},
        {"nh": 59},
        {"nh": 6},
        {"plen": 300},
        {"plen": 21},
        {"version": 5},
    ):
        agrees(bench, bench.uplink, bench.nvgre(INNER, RED, **outer))
    fragment = IPv6ExtHdrFragment(nh=47, m=1) / gre() / Raw(INNER)
    agrees(bench, bench.uplink, bytes(bench.outer(nh=44) / fragment))
    agrees(bench, "red1", from_red1(padded(v4() / TCP(), 1501)))
    every_check_of_the_traffic_class(bench)


def every_check_of_the_traffic_class(bench: Bench) -> None:
    """Packets of either version with each inner ECN, each outer ECN, and packets that are none."""
    for inner in range(0xB8, 0xBC):
        for packet in (v4(tos=inner) / UDP(dport=5), v6(tc=inner) / UDP(dport=5)):
            agrees(bench, "red1", from_red1(packet))
            for outer in range(0x28, 0x2C):
                agrees(bench, bench.uplink, bench.nvgre(to_red1(packet), RED, traffic_class=outer))
    no_ipv4, no_ipv6 = (to_red1(Raw(head + bytes(40)), type=0x0800) for head in (b"\x60\xef", b"\x45\xef"))
    no_ipv6 = no_ipv6.replace(b"\x08\x00", b"\x86\xdd")
    cut = (to_red1(Raw(head + bytes(3)), type=kind) for kind, head in ((0x0800, b"\x45\xfe"), (0x86DD, b"\x6f\xef")))
    for frame in (no_ipv4, no_ipv6):
        agrees(bench, "red1", octets(RED2) + frame[6:])
    for frame in (no_ipv4, no_ipv6, *cut):
        agrees(bench, bench.uplink, bench.nvgre(frame, RED, traffic_class=3))


def test_the_data_plane_passes_unchanged() -> None:
    with running() as bench:
        every_check(bench)
    with running(load("two_hosts").over_ipv6()) as bench:
        every_check_of_ipv6(bench)


@pytest.mark.parametrize("mutant", OVER_IPV6.values(), ids=list(OVER_IPV6))
def test_disabling_this_check_over_ipv6_is_noticed(
    mutant: Mutant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = mutant.compiled(tmp_path)
    monkeypatch.setattr(ebpf, "object_file", lambda: path)

    with running(load("two_hosts").over_ipv6()) as bench, pytest.raises(AssertionError):
        every_check_of_ipv6(bench)


@pytest.mark.parametrize("version", [4, 6])
def test_the_data_plane_passes_unchanged_in_groups(version: int) -> None:
    with running(grouped(over(version))) as bench:
        every_group_check(bench)


def over(version: int) -> Scenario:
    """two_hosts with PAs of an IP version."""
    return load("two_hosts") if version == 4 else load("two_hosts").over_ipv6()


IN_IPV4 = {"the MAC addresses that groups share"}


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("name", GROUP_MUTANTS)
def test_disabling_this_check_of_groups_is_noticed(
    name: str, version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant = GROUP_MUTANTS[name]
    if version == 6 and name in IN_IPV4:
        mutant = Mutant("groups.h", "mac[2] = bits >> 24", "mac[2] = 0x5e")
    path = mutant.compiled(tmp_path)
    monkeypatch.setattr(ebpf, "object_file", lambda: path)

    with running(grouped(over(version))) as bench, pytest.raises(AssertionError):
        every_group_check(bench)


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS)
def test_disabling_this_check_is_noticed(mutant: Mutant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = mutant.compiled(tmp_path)
    monkeypatch.setattr(ebpf, "object_file", lambda: path)

    with running() as bench, pytest.raises(AssertionError):
        every_check(bench)
