"""From a VM to the wire, frame by frame: what the NVE puts around an inner frame, and what it refuses to carry."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6EchoRequest, ICMPv6ND_Redirect, ICMPv6PacketTooBig, IPv6
from scapy.layers.l2 import GRE, Ether
from scapy.packet import Packet, Raw
from scapy.utils import checksum

from nvgre_node.choices import FlowIds, TooBig
from nvgre_node.dataplane.base import Drop
from nvgre_node.wire import flow_id
from topologies import load

from .bench import Bench, running
from .frames import (
    BLUE2,
    DROP,
    EVERYBODY,
    EXPERIMENTAL,
    GROUP,
    KINDS,
    OUTER_BYTES,
    PA1,
    PA2,
    RED,
    RED1,
    RED2,
    RED3,
    REDIRECT,
    STRANGER,
    frames,
    from_red1,
    is_runnable,
    padded,
    v4,
    v6,
)


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with running() as bench:
        yield bench


@pytest.fixture(scope="module")
def without_flow_ids() -> Iterator[Bench]:
    with running(load("two_hosts").with_nve(flow_ids=FlowIds.NONE)) as bench:
        yield bench


@pytest.fixture(scope="module")
def black_hole() -> Iterator[Bench]:
    with running(load("two_hosts").with_nve(too_big=TooBig.DROP)) as bench:
        yield bench


def recomputed(packet: Packet) -> Packet:
    """The packet with every checksum and length as Scapy computes them."""
    packet = packet.copy()
    layer = packet
    while layer:
        for name in {"chksum", "cksum", "len", "plen"} & set(layer.fields):
            layer.delfieldval(name)
        layer = layer.payload
    return packet


# The outer headers


@pytest.mark.parametrize("packet", KINDS.values(), ids=KINDS.keys())
def test_a_frame_is_wrapped_as_rfc_7637_says_o1_o2_o3_g1_to_g8_f5(bench: Bench, packet: Packet) -> None:
    frame = from_red1(packet)

    sent = bench.from_port("red1", frame)

    expected = (
        Ether(src=bench.mac, dst=bench.peer_mac, type=0x0800)
        / IP(src=PA1, dst=PA2, proto=47, flags="DF", ttl=64, id=0, tos=0)
        / GRE(key_present=1, proto=0x6558, key=RED << 8 | flow_id(frame))
        / Raw(frame)
    )
    assert sent.action == REDIRECT
    assert sent.frame.hex(" ") == bytes(expected).hex(" ")
    assert sent.moved == {(RED, "encapsulated"): 1, (RED, "encapsulated_bytes"): len(frame)}


@pytest.mark.parametrize("length", range(1, 60))
def test_short_frames_of_any_ethertype_are_wrapped_exactly_i1_i2(bench: Bench, length: int) -> None:
    frame = from_red1(Raw(bytes(range(length))), type=EXPERIMENTAL)

    sent = bench.from_port("red1", frame)

    assert sent.frame[OUTER_BYTES:] == frame
    assert Ether(sent.frame)[IP].len == 20 + 8 + len(frame)


@given(frame=frames)
def test_the_flow_id_is_that_of_the_specification_g6_g8(bench: Bench, frame: bytes) -> None:
    sent = bench.from_port("red1", frame)

    assert sent.action == REDIRECT
    assert sent.frame[OUTER_BYTES:] == frame
    assert sent.frame[OUTER_BYTES - 1] == flow_id(frame)


@given(frame=frames)
def test_the_outer_headers_depend_on_nothing_inside_but_length_and_flow(bench: Bench, frame: bytes) -> None:
    outer = Ether(bench.from_port("red1", frame).frame)[IP]

    assert checksum(bytes(outer)[:20]) == 0
    assert (outer.version, outer.ihl, outer.tos, outer.id, int(outer.flags), outer.frag) == (4, 5, 0, 0, 2, 0)
    assert (outer.ttl, outer.proto, outer.src, outer.dst, outer.len) == (64, 47, PA1, PA2, 28 + len(frame))
    assert bytes(outer.payload)[:7] == bytes.fromhex("20 00 65 58 00 13 88")


@pytest.mark.parametrize("packet", KINDS.values(), ids=KINDS.keys())
def test_a_flow_id_that_is_not_generated_is_zero_g9(without_flow_ids: Bench, packet: Packet) -> None:
    sent = without_flow_ids.from_port("red1", from_red1(packet))

    assert sent.frame[34:OUTER_BYTES] == bytes.fromhex("20 00 65 58 00 13 88 00")


# Who gets it


def test_a_neighbour_on_the_same_host_gets_the_frame_itself_u3(bench: Bench) -> None:
    frame = from_red1(v4(dst="10.0.0.3") / UDP(), dst=RED3)

    sent = bench.from_port("red1", frame)

    assert (sent.action, sent.frame) == (REDIRECT, frame)
    assert sent.moved == {(RED, "local"): 1}


@pytest.mark.parametrize(
    ("destination", "reason"),
    [
        pytest.param(STRANGER, Drop.UNKNOWN_UNICAST, id="a MAC that nobody has: B6"),
        pytest.param(BLUE2, Drop.UNKNOWN_UNICAST, id="another tenant's VM: T4"),
        pytest.param("00:00:00:00:00:00", Drop.UNKNOWN_UNICAST, id="the null MAC: B6"),
        pytest.param(RED1, Drop.OWN_ADDRESS, id="the sender itself"),
    ],
)
def test_a_frame_for_nobody_is_dropped_for_one_reason_g16(bench: Bench, destination: str, reason: Drop) -> None:
    sent = bench.from_port("red1", from_red1(v4() / UDP(), dst=destination))

    assert sent.action == DROP
    assert sent.moved == {(RED, reason.name): 1}


def test_the_provider_hosts_own_mac_is_nobodys_t1_c3(bench: Bench) -> None:
    sent = bench.from_port("red1", from_red1(v4(dst=PA1) / UDP(), dst=bench.mac))

    assert sent.moved == {(RED, Drop.UNKNOWN_UNICAST.name): 1}


@pytest.mark.parametrize("destination", [EVERYBODY, GROUP, "33:33:00:00:00:01"])
def test_a_broadcast_becomes_one_copy_per_remote_nve_b5(bench: Bench, destination: str) -> None:
    frame = from_red1(Raw(b"to all"), dst=destination, type=EXPERIMENTAL)

    sent = bench.from_port("red1", frame)

    assert sent.action == DROP  # of the original: its copies are under way
    assert sent.moved == {(RED, "encapsulated"): 1, (RED, "encapsulated_bytes"): len(frame)}


def test_a_tag_that_the_kernel_does_not_know_never_goes_onto_the_wire_i4_i7(bench: Bench) -> None:
    sent = bench.from_port("red1", from_red1(Raw(b"\x00\x0a\x08\x00" + bytes(40)), type=0x9100))

    assert sent.action == DROP
    assert sent.moved == {(RED, Drop.TAG_DEPTH.name): 1}


# What does not fit: the underlay's MTU is 1542, so the limit is 1500


def echo4(size: int, **fields: object) -> Packet:
    return padded(v4(flags="DF", **fields) / ICMP(id=7, seq=1), size)


def echo6(size: int) -> Packet:
    return padded(v6() / ICMPv6EchoRequest(id=7, seq=1), size)


OVERSIZE = {
    "ICMP, DF": echo4(1501),
    "TCP, DF": padded(v4(flags="DF") / TCP(), 1501),
    "UDP, no DF": padded(v4() / UDP(), 1501),
    "UDP, much too big": padded(v4() / UDP(), 2500),
    "first fragment": padded(v4(flags="MF") / UDP(len=9000, chksum=0), 1501),
    "IPv4 with options": padded(v4(flags="DF", options=b"\x94\x04\x00\x00") / TCP(), 1501),
}
OVERSIZE6 = {
    "ICMPv6": echo6(1501),
    "TCP over IPv6": padded(v6() / TCP(), 1501),
    "UDP over IPv6, much too big": padded(v6() / UDP(), 2500),
}


@pytest.mark.parametrize("packet", OVERSIZE.values(), ids=OVERSIZE.keys())
def test_what_does_not_fit_is_answered_fragmentation_needed_f1_rfc1191(bench: Bench, packet: Packet) -> None:
    sent = bench.from_port("red1", from_red1(packet))

    answer = Ether(sent.frame)
    assert sent.action == REDIRECT
    assert sent.moved == {(RED, Drop.TOO_BIG.name): 1, (RED, "told_too_big"): 1}
    assert (answer.dst, answer.src, answer.type) == (RED1, RED2, 0x0800)
    assert (answer[IP].src, answer[IP].dst, answer[IP].proto) == ("10.0.0.2", "10.0.0.1", 1)
    assert (answer[ICMP].type, answer[ICMP].code, answer[ICMP].nexthopmtu) == (3, 4, 1500)


@pytest.mark.parametrize("packet", OVERSIZE6.values(), ids=OVERSIZE6.keys())
def test_what_does_not_fit_is_answered_packet_too_big_f1_rfc8201(bench: Bench, packet: Packet) -> None:
    sent = bench.from_port("red1", from_red1(packet))

    answer = Ether(sent.frame)
    assert sent.action == REDIRECT
    assert sent.moved == {(RED, Drop.TOO_BIG.name): 1, (RED, "told_too_big"): 1}
    assert (answer.dst, answer.src, answer.type) == (RED1, RED2, 0x86DD)
    assert (answer[IPv6].src, answer[IPv6].dst) == ("fd00:10::2", "fd00:10::1")
    assert (answer[ICMPv6PacketTooBig].code, answer[ICMPv6PacketTooBig].mtu) == (0, 1500)


@pytest.mark.parametrize("packet", (OVERSIZE | OVERSIZE6).values(), ids=(OVERSIZE | OVERSIZE6).keys())
def test_the_answer_quotes_the_packet_and_its_checksums_hold_rfc1122_rfc4443(bench: Bench, packet: Packet) -> None:
    sent = bench.from_port("red1", from_red1(packet))

    answer = Ether(sent.frame)
    quote = sent.frame[14 + (20 if IP in answer else 40) + 8 :]
    assert len(quote) >= 28
    assert bytes(packet).startswith(quote)
    bare = answer[ICMP if IP in answer else ICMPv6PacketTooBig]
    bare.remove_payload()
    assert bytes(recomputed(answer) / Raw(quote)) == sent.frame


ICMP_ERRORS = {
    "destination unreachable": ICMP(type=3, code=1),
    "source quench": ICMP(type=4),
    "redirect": ICMP(type=5),
    "time exceeded": ICMP(type=11),
    "parameter problem": ICMP(type=12),
}
UNANSWERED = {name: padded(v4() / error, 1501) for name, error in ICMP_ERRORS.items()} | {
    "a fragment that is not the first": padded(v4(frag=100, proto=17), 1501),
    "an ICMPv6 error": padded(v6() / ICMPv6DestUnreach(), 1501),
    "an ICMPv6 redirect": padded(v6() / ICMPv6ND_Redirect(), 1501),
    "from nobody": padded(v4(src="0.0.0.0") / UDP(), 1501),  # noqa: S104
    "from everybody": padded(v4(src="255.255.255.255") / UDP(), 1501),
    "from a group": padded(v4(src="224.0.0.1") / UDP(), 1501),
    "to everybody": padded(v4(dst="255.255.255.255") / UDP(), 1501),
    "to a group": padded(v4(dst="224.0.0.1") / UDP(), 1501),
    "from nobody, IPv6": padded(v6(src="::") / UDP(), 1501),
    "from a group, IPv6": padded(v6(src="ff02::1") / UDP(), 1501),
}


@pytest.mark.parametrize("packet", UNANSWERED.values(), ids=UNANSWERED.keys())
def test_some_packets_must_never_be_answered_rfc1122_3_2_2_rfc4443_2_4(bench: Bench, packet: Packet) -> None:
    sent = bench.from_port("red1", from_red1(packet))

    assert sent.action == DROP
    assert sent.moved == {(RED, Drop.TOO_BIG.name): 1}


@pytest.mark.parametrize("destination", [EVERYBODY, GROUP])
def test_a_broadcast_that_does_not_fit_is_not_answered_rfc1122_3_2_2(bench: Bench, destination: str) -> None:
    sent = bench.from_port("red1", from_red1(padded(v4() / UDP(), 1501), dst=destination))

    assert sent.action == DROP
    assert sent.moved == {(RED, Drop.TOO_BIG.name): 1}


def test_a_frame_that_is_not_ip_and_does_not_fit_is_dropped_f1(bench: Bench) -> None:
    sent = bench.from_port("red1", from_red1(Raw(bytes(1501)), type=EXPERIMENTAL))

    assert sent.action == DROP
    assert sent.moved == {(RED, Drop.TOO_BIG.name): 1}


@pytest.mark.parametrize("packet", (OVERSIZE | OVERSIZE6).values(), ids=(OVERSIZE | OVERSIZE6).keys())
def test_a_black_hole_tells_nobody(black_hole: Bench, packet: Packet) -> None:
    sent = black_hole.from_port("red1", from_red1(packet))

    assert sent.action == DROP
    assert sent.moved == {(RED, Drop.TOO_BIG.name): 1}


@pytest.mark.parametrize("size", range(1490, 1515))
@pytest.mark.parametrize("echo", [echo4, echo6], ids=["IPv4", "IPv6"])
def test_the_limit_is_the_underlays_mtu_minus_42_f3(bench: Bench, echo: type[Packet], size: int) -> None:
    sent = bench.from_port("red1", from_red1(echo(size)))

    assert (RED, "encapsulated" if size <= 1500 else Drop.TOO_BIG.name) in sent.moved


def test_what_fits_between_neighbours_needs_no_room_for_headers(bench: Bench) -> None:
    sent = bench.from_port("red1", from_red1(padded(v4() / UDP(), 1600), dst=RED3))

    assert sent.moved == {(RED, "local"): 1}


# Anything at all


@given(frame=st.binary(min_size=15, max_size=200).filter(is_runnable))
def test_arbitrary_bytes_are_carried_or_dropped_and_never_reach_the_host_t1_g16(bench: Bench, frame: bytes) -> None:
    sent = bench.from_port("red1", frame)

    assert sent.action in {DROP, REDIRECT}
    assert len(sent.drops) <= 1
    assert len(sent.drops) + sent.moved.get((RED, "encapsulated"), 0) + sent.moved.get((RED, "local"), 0) == 1


@given(rest=st.binary(min_size=40, max_size=200), ethertype=st.sampled_from([0x0800, 0x86DD]))
def test_broken_ip_for_a_neighbour_is_carried_as_it_is_i1_u3(bench: Bench, rest: bytes, ethertype: int) -> None:
    frame = from_red1(Raw(rest), type=ethertype)

    assert bench.from_port("red1", frame).frame[OUTER_BYTES:] == frame
