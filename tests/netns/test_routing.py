"""The distributed router: packets between virtual subnets, judged by the specification and by Scapy (X6)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6TimeExceeded,
    IPv6,
)
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from nvgre_node.choices import Neighbours
from nvgre_node.dataplane.base import Drop
from nvgre_node.dataplane.planes import ebpf
from nvgre_node.routing import ROUTER_MAC

from .bench import Bench, running
from .frames import DROP, EVERYBODY, OUTER_BYTES, REDIRECT, is_runnable, padded
from .mutation import Mutant, without
from .oracle import agrees
from .routing_frames import (
    BLUE4,
    BLUE_NET,
    GREEN_NET,
    RED1,
    RED3,
    RED4,
    RED_BACK,
    RED_FAR,
    RED_FAR1,
    RED_GW,
    RED_NET,
    ROUTED,
    inner,
    onward,
    to_router,
    v4,
    v6,
)


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with running(ROUTED) as bench:
        yield bench


# Where a packet goes

PAYLOAD = UDP(sport=1, dport=2) / Raw(b"hello")
REMOTE = {
    "on-link": (v4("10.0.1.14"), RED_BACK, RED4),
    "on-link, IPv6": (v6("fd00:11::14"), RED_BACK, RED4),
    "in a subnet without a port here": (v4("10.0.2.15"), RED_FAR, RED_FAR1),
    "outside: the default route of the lowest metric (X2)": (v4("198.51.100.1"), RED_BACK, RED_GW),
    "outside: the longest prefix": (v4("192.0.2.1"), RED_BACK, RED4),
    "back into its own subnet": (v4("10.0.0.12"), RED_NET, "02:00:0a:00:00:0c"),
    "with IP options": (v4("10.0.1.14", options=b"\x94\x04\x00\x00"), RED_BACK, RED4),
    "a later fragment": (v4("10.0.1.14", frag=4, proto=17), RED_BACK, RED4),
    "with 2 hops to go": (v4("10.0.1.14", ttl=2), RED_BACK, RED4),
    "with 255 hops to go": (v6("fd00:11::14", hlim=255), RED_BACK, RED4),
}


@pytest.mark.parametrize(("packet", "vsid", "mac"), REMOTE.values(), ids=REMOTE)
def test_a_packet_goes_straight_to_its_host_with_the_destinations_vsid_x6(
    bench: Bench, packet: Packet, vsid: int, mac: str
) -> None:
    whole = packet / PAYLOAD
    sent = bench.from_port("red1", to_router(whole))

    expected = onward(whole, mac)
    assert sent.action == REDIRECT
    assert sent.frame[34:41] == bytes.fromhex("20 00 65 58") + vsid.to_bytes(3, "big")
    assert sent.frame[OUTER_BYTES:].hex(" ") == expected.hex(" ")
    assert sent.moved == {
        (RED_NET, "encapsulated"): 1,
        (RED_NET, "encapsulated_bytes"): len(expected),
        (RED_NET, "routed"): 1,
    }
    agrees(bench, "red1", to_router(whole))


@pytest.mark.parametrize("packet", [v4("10.0.1.13") / PAYLOAD, v6("fd00:11::13") / PAYLOAD], ids=["IPv4", "IPv6"])
def test_a_packet_to_a_vm_of_this_host_never_reaches_the_wire_x6(bench: Bench, packet: Packet) -> None:
    sent = bench.from_port("red1", to_router(packet))

    assert (sent.action, sent.frame.hex(" ")) == (REDIRECT, onward(packet, RED3).hex(" "))
    assert sent.moved == {(RED_NET, "local"): 1, (RED_NET, "routed"): 1}


def test_equal_addresses_lead_each_tenant_to_its_own_t4(bench: Bench) -> None:
    frame = to_router(v4("10.0.1.14") / PAYLOAD)

    assert inner(bench.from_port("red1", frame).frame).dst == RED4
    assert inner(bench.from_port("blue1", frame).frame).dst == BLUE4


def test_a_tenant_without_a_router_has_none_t5(bench: Bench) -> None:
    for packet in (v4("10.0.1.14"), v4("10.0.0.1") / ICMP(), ARP(hwsrc=RED1, psrc="10.0.0.11", pdst="10.0.0.1")):
        sent = bench.from_port("green1", to_router(packet))
        assert (sent.action, sent.moved) == (DROP, {(GREEN_NET, "UNKNOWN_UNICAST"): 1})


# What it tells a sender


def answer_of(bench: Bench, vm: str, packet: Packet, reason: Drop) -> Packet:
    """The answer to a packet that is dropped for this reason, once all that any ICMP error says has been checked."""
    vsid = BLUE_NET if vm == "blue1" else RED_NET
    sent = bench.from_port(vm, to_router(packet))
    assert (sent.action, sent.moved) == (REDIRECT, {(vsid, reason.name): 1, (vsid, "answered"): 1})
    answer = Ether(sent.frame)
    assert (answer.dst, answer.src) == (RED1, ROUTER_MAC)
    network = answer.payload
    assert (network.src, network.dst) == (("10.0.0.1", "10.0.0.11") if IP in answer else ("fd00:10::1", "fd00:10::11"))
    quote = sent.frame[14 + len(network) - len(network.payload) + 8 :]
    assert quote == bytes(packet)[:128]
    fresh = network.__class__(bytes(network))
    for layer in (fresh, fresh.payload):
        for name in {"chksum", "cksum", "len", "plen"} & set(layer.fields):
            layer.delfieldval(name)
    bare = fresh.payload
    bare.remove_payload()
    assert bytes(Ether(dst=RED1, src=ROUTER_MAC) / fresh / Raw(quote)) == sent.frame
    return answer


@pytest.mark.parametrize("size", [28, 29, 60, 200, 1400])
def test_a_packet_with_no_hops_left_is_told_time_exceeded_rfc792_rfc4443(bench: Bench, size: int) -> None:
    for ttl in (0, 1):
        answer = answer_of(bench, "red1", padded(v4("10.0.1.14", ttl=ttl) / UDP(), size), Drop.TTL_EXCEEDED)
        assert (answer[ICMP].type, answer[ICMP].code) == (11, 0)
        answer = answer_of(bench, "red1", padded(v6("fd00:11::14", hlim=ttl) / UDP(), size + 20), Drop.TTL_EXCEEDED)
        assert answer[ICMPv6TimeExceeded].code == 0


def test_a_packet_without_a_route_is_told_network_unreachable(bench: Bench) -> None:
    answer = answer_of(bench, "blue1", v4("198.51.100.1") / PAYLOAD, Drop.NO_CUSTOMER_ROUTE)
    assert (answer[ICMP].type, answer[ICMP].code) == (3, 0)
    answer = answer_of(bench, "blue1", v4("10.0.2.15") / PAYLOAD, Drop.NO_CUSTOMER_ROUTE)  # red's, and not blue's
    assert (answer[ICMP].type, answer[ICMP].code) == (3, 0)
    answer = answer_of(bench, "red1", v6("2001:db8::1") / PAYLOAD, Drop.NO_CUSTOMER_ROUTE)
    assert answer[ICMPv6DestUnreach].code == 0


def test_a_ca_that_no_record_knows_is_told_host_unreachable(bench: Bench) -> None:
    answer = answer_of(bench, "red1", v4("10.0.1.77") / PAYLOAD, Drop.UNKNOWN_NEIGHBOUR)
    assert (answer[ICMP].type, answer[ICMP].code) == (3, 1)
    answer = answer_of(bench, "red1", v6("fd00:11::77") / PAYLOAD, Drop.UNKNOWN_NEIGHBOUR)
    assert answer[ICMPv6DestUnreach].code == 3


def test_nobody_listens_at_the_router(bench: Bench) -> None:
    for address in ("10.0.0.1", "10.0.1.1"):
        answer = answer_of(bench, "red1", v4(address) / PAYLOAD, Drop.ROUTER_ADDRESS)
        assert (answer[ICMP].type, answer[ICMP].code) == (3, 3)
    answer = answer_of(bench, "red1", v6("fd00:11::1") / TCP(), Drop.ROUTER_ADDRESS)
    assert answer[ICMPv6DestUnreach].code == 4


@pytest.mark.parametrize("packet", [v4("10.0.1.14", flags="DF"), v6("fd00:11::14")], ids=["IPv4", "IPv6"])
def test_a_routed_packet_that_does_not_fit_is_told_so_by_the_router_f1(bench: Bench, packet: Packet) -> None:
    sent = bench.from_port("red1", to_router(padded(packet / UDP(), 1501)))

    answer = Ether(sent.frame)
    assert sent.moved == {(RED_NET, "TOO_BIG"): 1, (RED_NET, "told_too_big"): 1, (RED_NET, "routed"): 1}
    assert (answer.dst, answer.src) == (RED1, ROUTER_MAC)
    assert answer.payload.src == ("10.0.0.1" if IP in packet else "fd00:10::1")
    agrees(bench, "red1", to_router(padded(packet / UDP(), 1501)))


@pytest.mark.parametrize("target", ["10.0.0.1", "10.0.1.1", "10.0.2.1"])
@pytest.mark.parametrize("size", [28, 33, 1500])
def test_the_router_answers_echo_requests(bench: Bench, target: str, size: int) -> None:
    request = padded(v4(target, ttl=1, id=7) / ICMP(id=7, seq=3), size)

    sent = bench.from_port("red1", to_router(request))

    reply = IP(src=target, dst="10.0.0.11", ttl=64, id=7) / ICMP(type=0, id=7, seq=3) / request[ICMP].payload
    assert sent.frame.hex(" ") == bytes(Ether(src=ROUTER_MAC, dst=RED1) / reply).hex(" ")
    assert sent.moved == {(RED_NET, "answered"): 1}


@pytest.mark.parametrize("target", ["fd00:10::1", "fd00:11::1"])
def test_the_router_answers_echo_requests_in_ipv6(bench: Bench, target: str) -> None:
    request = v6(target, fl=5) / ICMPv6EchoRequest(id=7, seq=3, data=b"hello")

    sent = bench.from_port("red1", to_router(request))

    reply = IPv6(src=target, dst="fd00:10::11", hlim=64, fl=5) / ICMPv6EchoReply(id=7, seq=3, data=b"hello")
    assert sent.frame.hex(" ") == bytes(Ether(src=ROUTER_MAC, dst=RED1) / reply).hex(" ")


SILENT = {
    "an ICMP error without hops": (v4("10.0.1.14", ttl=1) / ICMP(type=3), Drop.TTL_EXCEEDED),
    "a later fragment without hops": (v4("10.0.1.14", ttl=1, frag=9, proto=17) / Raw(bytes(24)), Drop.TTL_EXCEEDED),
    "an ICMPv6 error to nowhere": (v6("2001:db8::1") / ICMPv6DestUnreach(), Drop.NO_CUSTOMER_ROUTE),
    "a bad IP checksum": (v4("10.0.1.14", chksum=1) / PAYLOAD, Drop.MALFORMED),
    "a bad checksum with options": (v4("10.0.1.14", chksum=1, options=b"\x94\x04\x00\x00") / PAYLOAD, Drop.MALFORMED),
    "a length beyond the frame": (v4("10.0.1.14", len=600) / PAYLOAD, Drop.MALFORMED),
    "a length beyond the frame, IPv6": (v6("fd00:11::14", plen=600) / PAYLOAD, Drop.MALFORMED),
    "a header of 16 bytes": (v4("10.0.1.14", ihl=4) / PAYLOAD, Drop.MALFORMED),
    "version 5": (v4("10.0.1.14", version=5) / PAYLOAD, Drop.MALFORMED),
    "from nobody": (v4("10.0.1.14", src="0.0.0.0") / PAYLOAD, Drop.MARTIAN),  # noqa: S104
    "from loopback": (v4("10.0.1.14", src="127.0.0.1") / PAYLOAD, Drop.MARTIAN),
    "from a group": (v4("10.0.1.14", src="224.0.0.1") / PAYLOAD, Drop.MARTIAN),
    "from the link": (v4("10.0.1.14", src="169.254.0.1") / PAYLOAD, Drop.MARTIAN),
    "to a group": (v4("239.255.0.1") / PAYLOAD, Drop.MARTIAN),
    "to everybody": (v4("255.255.255.255") / PAYLOAD, Drop.MARTIAN),
    "from nobody, IPv6": (v6("fd00:11::14", src="::") / PAYLOAD, Drop.MARTIAN),
    "from loopback, IPv6": (v6("fd00:11::14", src="::1") / PAYLOAD, Drop.MARTIAN),
    "from the link, IPv6": (v6("fd00:11::14", src="fe80::1") / PAYLOAD, Drop.MARTIAN),
    "to the link, IPv6": (v6("fe80::1") / PAYLOAD, Drop.MARTIAN),
    "to a group, IPv6": (v6("ff0e::1") / PAYLOAD, Drop.MARTIAN),
    "no IP": (Raw(bytes(40)), Drop.MALFORMED),
}  # fmt: skip


@pytest.mark.parametrize(("packet", "reason"), SILENT.values(), ids=SILENT)
def test_these_are_dropped_and_nobody_is_told_rfc1812_rfc1122_rfc4443(
    bench: Bench, packet: Packet, reason: Drop
) -> None:
    sent = bench.from_port("red1", to_router(packet))

    assert (sent.action, sent.moved) == (DROP, {(RED_NET, reason.name): 1})
    agrees(bench, "red1", to_router(packet))


def test_a_gateway_gets_nothing_back_that_it_sent_to_the_router(bench: Bench) -> None:
    sent = bench.from_port("red1", to_router(v4("10.0.0.11") / PAYLOAD))

    assert sent.drops == [Drop.OWN_ADDRESS]


def test_what_comes_from_the_wire_is_not_routed_again(bench: Bench) -> None:
    sent = bench.from_uplink(bench.nvgre(to_router(v4("10.0.1.13") / PAYLOAD), RED_NET))

    assert sent.drops == [Drop.NOT_LOCAL]


# Its own address


def test_the_router_answers_arp_and_neighbour_discovery_without_a_proxy(bench: Bench) -> None:
    assert {nve.neighbours for nve in ROUTED.policy.nves} == {Neighbours.FLOOD}
    for destination in (EVERYBODY, ROUTER_MAC):
        asked = Ether(src=RED1, dst=destination) / ARP(hwsrc=RED1, psrc="10.0.0.11", pdst="10.0.0.1")
        reply = Ether(src=ROUTER_MAC, dst=RED1) / ARP(
            op=2, hwsrc=ROUTER_MAC, psrc="10.0.0.1", hwdst=RED1, pdst="10.0.0.11"
        )
        sent = bench.from_port("red1", bytes(asked))
        assert (sent.frame.hex(" "), sent.moved) == (bytes(reply).hex(" "), {(RED_NET, "answered"): 1})
    for destination in ("33:33:ff:00:00:01", ROUTER_MAC):
        asked = Ether(src=RED1, dst=destination) / v6("ff02::1:ff00:1", hlim=255) / ICMPv6ND_NS(tgt="fd00:10::1")
        answer = Ether(bench.from_port("red1", bytes(asked)).frame)
        said = answer[ICMPv6ND_NA]
        assert (answer.src, said.tgt, said.R, said.S, said.O, said.lladdr) == (
            ROUTER_MAC, "fd00:10::1", 1, 1, 1, ROUTER_MAC,
        )  # fmt: skip
        agrees(bench, "red1", bytes(asked))


# Anything at all

cas = st.sampled_from(
    ["10.0.0.1", "10.0.0.11", "10.0.0.12", "10.0.1.13", "10.0.1.14", "10.0.2.15", "192.0.2.200", "8.8.8.8", "127.0.0.1"]
)
cas6 = st.sampled_from(["fd00:10::1", "fd00:11::13", "fd00:11::14", "fd00:11::77", "2001:db8::1", "::ffff:10.0.1.14"])
hops = st.sampled_from([0, 1, 2, 64, 255])
payloads = st.one_of(
    st.builds(lambda data: UDP() / Raw(data), st.binary(max_size=40)),
    st.builds(
        lambda kind, code, data: ICMP(type=kind, code=code) / Raw(data),
        st.sampled_from([0, 3, 8, 8, 11]), st.sampled_from([0, 0, 1]), st.binary(max_size=200),
    ),
    st.builds(lambda data: ICMPv6EchoRequest(data=data), st.binary(max_size=200)),
    st.binary(max_size=8).map(Raw),
)  # fmt: skip
packets = st.one_of(
    st.builds(
        lambda dst, ttl, options, flags, data: v4(dst, ttl=ttl, options=options, flags=flags) / data,
        cas, hops, st.sampled_from([b"", b"", b"\x94\x04\x00\x00", bytes(40)]), st.sampled_from(["", "DF", "MF"]),
        payloads,
    ),
    st.builds(lambda dst, hlim, data: v6(dst, hlim=hlim) / data, cas6, hops, payloads),
)  # fmt: skip


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """A frame to the router, whole or with a few bytes changed, cut short or padded."""
    frame = bytearray(to_router(draw(packets)))
    if draw(st.booleans()):
        for position in draw(st.lists(st.integers(14, len(frame) - 1), max_size=2)):
            frame[position] = draw(st.integers(0, 0xFF))
        frame = frame[: draw(st.integers(15, len(frame)))]
    return bytes(frame) + bytes(draw(st.sampled_from([0, 0, 7])))


@settings(max_examples=300)
@given(frame=frames().filter(is_runnable), vm=st.sampled_from(["red1", "red1", "blue1", "green1"]))
def test_the_data_plane_routes_as_specified(bench: Bench, frame: bytes, vm: str) -> None:
    agrees(bench, vm, frame)


# The checks bite

MUTANTS = {
    "the routing domain (T4)": Mutant("route.h", ".domain = router->domain}", ".domain = 0}"),
    "the VSID of the destination (X6)": Mutant("route.h", "next.vsid = found->vsid;", "next.vsid = 5000;"),
    "the TTL is decremented": Mutant("route.h", "ip->ttl--;", ""),
    "the hop limit is decremented": Mutant("route.h", "ip6->hop_limit--;", ""),
    "the IP checksum follows": Mutant("route.h", "ip->check = ~fold(sum + *hops);", "ip->check = ~fold(sum);"),
    "the source MAC is the router's": Mutant(
        "route.h", "(eth->h_source, eth->h_dest, ETH_ALEN);\n\t__builtin_memcpy(eth->h_dest, mac", "(eth->h_dest, mac"
    ),
    "nothing without hops goes on": without("route.h", "hops <= 1"),
    "the router's own address": Mutant("route.h", "if (neighbour && neighbour->type == RECORD_ROUTER)", "if (0)"),
    "the header's checksum": Mutant("route.h", "ip_checksum(&ip) == 0xffff", "1"),
    "the checksum with options": Mutant("route.h", "sizeof(header), 0)) == 0xffff", "sizeof(header), 0)) != 0"),
    "the IP version": Mutant("route.h", "return ip.version == 4 &&", "return"),
    "the header's length": Mutant("route.h", "header <= total &&", ""),
    "the total length": Mutant("route.h", "total + ETH_HLEN <= skb->len &&", ""),
    "the payload length": Mutant("route.h", "&& ETH_HLEN + sizeof(ip6) + bpf_ntohs(ip6.payload_len) <= skb->len", ""),
    "no martian sources": Mutant("route.h", "!is_routable(to.version, &source) ||", ""),
    "no martian destinations": Mutant("route.h", "|| !is_routable(to.version, &to.ca)", ""),
    "loopback stays": Mutant("route.h", "first != 127 &&", ""),
    "the link stays": Mutant("route.h", "&& !(first == 169 && second == 254)", ""),
    "the link stays, IPv6": Mutant("route.h", "|| (first == 0xfe && (second & 0xc0) == 0x80)", ""),
    "next hops": Mutant("route.h", "found->is_on_link ? to.ca : found->next_hop", "to.ca"),
    "fragments get no echo": Mutant("route.h", "|| ip->frag_off & bpf_htons(IP_FRAGMENT) ||", "||"),
    "errors come from the router": Mutant("icmp.h", "router ? router->address4 : offender.daddr", "offender.daddr"),
    "so do ICMPv6 errors": Mutant("icmp.h", "router ? router->address6 : offender.daddr", "offender.daddr"),
    "only routed tenants have a router": Mutant("nvgre.bpf.c", "find_router(port->vsid)", "find_router(5000)"),
    "the senders of a routed tenant (C1)": Mutant("decapsulate.h", "return DROP_SOURCE_PA;", "return DROP_REASONS;"),
}  # fmt: skip


def every_check(bench: Bench) -> None:
    """Compares the data plane with the specification on one packet for each check."""
    for vm, packet in (
        *(("red1", packet) for packet, _ in SILENT.values()),
        *(("red1", packet / PAYLOAD) for packet, _, _ in REMOTE.values()),
        *(("blue1", v4(dst) / PAYLOAD) for dst in ("10.0.1.14", "10.0.2.15", "198.51.100.1")),
        ("green1", v4("10.0.1.14") / PAYLOAD),
        ("red1", v6("fd00:11::77") / PAYLOAD), ("red1", v6("fd00:10::1") / ICMPv6EchoRequest()),
        ("red1", v4("10.0.0.1") / ICMP()), ("red1", v4("10.0.0.1", flags="MF") / ICMP()),
        ("red1", v4("10.0.1.14", len=16) / PAYLOAD), ("red1", v4("10.0.1.14", ttl=1) / PAYLOAD),
        ("red1", v4("192.0.2.200") / PAYLOAD), ("red1", padded(v4("10.0.1.14") / UDP(), 1501)),
    ):  # fmt: skip
        agrees(bench, vm, to_router(packet))
    from_member = bytes(Ether(src=ROUTER_MAC, dst=RED3) / v4("10.0.1.13") / PAYLOAD)
    for source in ("192.168.0.2", "192.168.0.77"):
        agrees(bench, bench.uplink, bench.nvgre(from_member, RED_BACK, src=source))


def test_the_data_plane_passes_unchanged(bench: Bench) -> None:
    every_check(bench)


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS)
def test_disabling_this_check_is_noticed(mutant: Mutant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = mutant.compiled(tmp_path)
    monkeypatch.setattr(ebpf, "object_file", lambda: path)

    with running(ROUTED) as bench, pytest.raises(AssertionError):
        every_check(bench)
