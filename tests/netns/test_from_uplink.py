"""From the wire to a VM, frame by frame: what the NVE accepts, and the one reason for which it drops all else (G16)."""

import random
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, GRE, Dot1AD, Dot1Q, Ether
from scapy.packet import Raw

from experiments.watch import Place, Watch
from nvgre_node.dataplane.base import NO_SUBNET, Drop
from nvgre_node.wire import TAG_ETHERTYPES, NvgreHeader, WireError

from .bench import Bench, running
from .frames import (
    BLUE,
    BLUE1,
    DROP,
    EVERYBODY,
    EXPERIMENTAL,
    GROUP,
    KINDS,
    NOBODYS,
    OUTER_BYTES,
    PA1,
    PASS,
    RED,
    RED1,
    RED2,
    RED3,
    REDIRECT,
    STRANGER,
    from_red1,
    is_runnable,
    to_red1,
)

INNER = to_red1(IP(src="10.0.0.2", dst="10.0.0.1") / UDP(sport=1, dport=2) / Raw(b"hello"))


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with running() as bench:
        yield bench


def gre(flags: int = 0x2000, protocol: int = 0x6558, vsid: int = RED, flow: int = 0) -> Raw:
    """A GRE header of any flags."""
    return Raw(struct.pack("!HHI", flags, protocol, vsid << 8 | flow))


def accepted(vsid: int, inner: bytes) -> dict[tuple[int, str], int]:
    return {(vsid, "decapsulated"): 1, (vsid, "decapsulated_bytes"): len(inner)}


# What is accepted


@pytest.mark.parametrize("packet", KINDS.values(), ids=KINDS.keys())
def test_the_frame_comes_out_as_it_went_in_u3(bench: Bench, packet: Raw) -> None:
    inner = to_red1(packet)

    got = bench.from_uplink(bench.nvgre(inner, RED))

    assert (got.action, got.frame.hex(" ")) == (REDIRECT, inner.hex(" "))
    assert got.moved == accepted(RED, inner)


@pytest.mark.parametrize("length", range(21))
@pytest.mark.parametrize("ethertype", [EXPERIMENTAL, 0x0800, 0x86DD, 0x0806], ids=hex)
def test_tiny_payloads_come_out_exactly_i1_i2(bench: Bench, ethertype: int, length: int) -> None:
    inner = to_red1(Raw(bytes(range(length))), type=ethertype)

    got = bench.from_uplink(bench.nvgre(inner, RED))

    assert (got.action, got.frame) == (REDIRECT, inner)
    assert got.moved == accepted(RED, inner)


def test_all_256_flow_ids_are_accepted_g10(bench: Bench) -> None:
    for flow in range(256):
        got = bench.from_uplink(bench.nvgre(INNER, RED, flow))

        assert (flow, got.action, got.frame) == (flow, REDIRECT, INNER)


@pytest.mark.parametrize("flags", [0x2000 | 1 << bit for bit in range(3, 10)], ids=hex)
def test_bits_6_to_12_are_ignored_g13(bench: Bench, flags: int) -> None:
    got = bench.from_uplink(bytes(bench.outer() / gre(flags) / Raw(INNER)))

    assert (got.action, got.frame, got.drops) == (REDIRECT, INNER, [])


@pytest.mark.parametrize("padding", [1, 4, 18, 46, 300])
@pytest.mark.parametrize("inner", [INNER, to_red1(Raw(b"x"), type=EXPERIMENTAL)], ids=["IP", "one byte"])
def test_padding_behind_the_outer_packet_is_removed_u3(bench: Bench, inner: bytes, padding: int) -> None:
    got = bench.from_uplink(bench.nvgre(inner, RED) + bytes(padding))

    assert (got.action, got.frame) == (REDIRECT, inner)
    assert got.moved == accepted(RED, inner)


@pytest.mark.parametrize(
    "fields",
    [{"flags": 0}, {"ttl": 1}, {"ttl": 255}, {"tos": 0xB8}, {"id": 4711}],
    ids=["no DF", "TTL 1", "TTL 255", "DSCP EF", "with an id"],
)
def test_what_rfc_7637_leaves_open_is_accepted_o8(bench: Bench, fields: dict[str, Any]) -> None:
    got = bench.from_uplink(bench.nvgre(INNER, RED, **fields))

    assert (got.action, got.frame) == (REDIRECT, INNER)


def test_the_vsid_says_which_of_two_vms_with_equal_addresses_t4(bench: Bench) -> None:
    inner = bytes(Ether(dst=BLUE1, src=STRANGER) / IP(dst="10.0.0.1") / UDP())

    assert bench.from_uplink(bench.nvgre(inner, BLUE)).moved == accepted(BLUE, inner)
    assert bench.from_uplink(bench.nvgre(inner, RED)).drops == [Drop.NOT_LOCAL]


@pytest.mark.parametrize("destination", [EVERYBODY, GROUP])
def test_a_broadcast_reaches_each_local_port_of_its_subnet_once_b5_t4(bench: Bench, destination: str) -> None:
    inner = to_red1(Raw(b"to all"), dst=destination, type=EXPERIMENTAL)
    vms = [bench.net[name] for name in ("red1", "red3", "blue1")]

    with Watch([*(Place(vm, "eth0") for vm in vms), Place(bench.host, bench.uplink, incoming_only=False)]) as watch:
        got = bench.from_uplink(bench.nvgre(inner, RED))
        heard = [sighting.node for sighting in watch.until_quiet() if inner in sighting.frame]

    assert got.moved == accepted(RED, inner)
    assert sorted(heard) == ["red1", "red3"]  # and not back onto the wire: split horizon


# What is refused

KEYED = {"key_present": 1, "proto": 0x6558, "key": RED << 8}


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        pytest.param(gre(0xA000), Drop.CHECKSUM_BIT, id="C: G11"),
        pytest.param(GRE(chksum_present=1, **KEYED), Drop.CHECKSUM_BIT, id="C, right"),
        pytest.param(gre(0x3000), Drop.SEQUENCE_BIT, id="S: G11"),
        pytest.param(GRE(seqnum_present=1, **KEYED), Drop.SEQUENCE_BIT, id="S, right"),
        pytest.param(gre(0x0000), Drop.NO_KEY, id="no K: G11"),
        pytest.param(GRE(proto=0x6558), Drop.NO_KEY, id="no K, four bytes"),
        pytest.param(gre(0x6000), Drop.RESERVED_BITS, id="bit 1: G12"),
        pytest.param(gre(0x2800), Drop.RESERVED_BITS, id="bit 4: G12"),
        pytest.param(gre(0x2400), Drop.RESERVED_BITS, id="bit 5: G12"),
        *(pytest.param(gre(0x2000 | v), Drop.VERSION, id=f"version {v}: G14") for v in range(1, 8)),
        pytest.param(gre(protocol=0x0800), Drop.PROTOCOL_TYPE, id="IPv4: G15"),
        pytest.param(gre(protocol=0x86DD), Drop.PROTOCOL_TYPE, id="IPv6: G15"),
        pytest.param(gre(protocol=0x6559), Drop.PROTOCOL_TYPE, id="frame relay: G15"),
        pytest.param(gre(vsid=0), Drop.RESERVED_VSID, id="VSID 0: V1"),
        pytest.param(gre(vsid=1), Drop.RESERVED_VSID, id="VSID 1: V1"),
        pytest.param(gre(vsid=0xFFF), Drop.RESERVED_VSID, id="VSID 0xFFF: V1"),
        pytest.param(gre(vsid=0xFFFFFF), Drop.RESERVED_VSID, id="VSID 0xFFFFFF: V2"),
        pytest.param(gre(vsid=NOBODYS), Drop.UNKNOWN_VSID, id="nobody's VSID: T6"),
        pytest.param(gre(vsid=0x1000), Drop.UNKNOWN_VSID, id="lowest VSID: V5"),
        pytest.param(gre(vsid=0xFFFFFE), Drop.UNKNOWN_VSID, id="highest VSID: V5"),
    ],
)
def test_a_header_that_is_not_nvgre_for_us_is_dropped_for_one_reason_g16(
    bench: Bench, header: Raw, reason: Drop
) -> None:
    got = bench.from_uplink(bytes(bench.outer() / header / Raw(INNER)))

    assert got.action == DROP
    assert got.moved == {(NO_SUBNET, reason.name): 1}


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"src": "192.168.0.77"}, id="a PA that is nobody's"),
        pytest.param({"src": PA1}, id="our own PA"),
        pytest.param({"src": "10.0.0.2"}, id="a CA"),
        pytest.param({"src": "0.0.0.0"}, id="no address"),  # noqa: S104
    ],
)
def test_only_members_may_send_into_a_subnet_c1(bench: Bench, fields: dict[str, Any]) -> None:
    got = bench.from_uplink(bench.nvgre(INNER, RED, **fields))

    assert got.action == DROP
    assert got.moved == {(RED, Drop.SOURCE_PA.name): 1}


@pytest.mark.parametrize(
    "inner",
    [
        pytest.param(to_red1(Dot1Q(vlan=10) / IP() / UDP()), id="0x8100 VID 10: I6"),
        pytest.param(to_red1(Dot1Q(vlan=0, prio=5) / IP() / UDP()), id="0x8100 VID 0: I6"),
        pytest.param(to_red1(Dot1AD(vlan=10) / IP() / UDP()), id="0x88a8: I7"),
        pytest.param(to_red1(Dot1AD(vlan=10) / Dot1Q(vlan=20) / IP() / UDP()), id="QinQ: I7"),
        pytest.param(to_red1(Raw(b"\x00\x0a\x08\x00" + bytes(20)), type=0x9100), id="0x9100: I7"),
        pytest.param(to_red1(Raw(b""), type=0x8100), id="cut behind the tag's EtherType"),
        pytest.param(to_red1(Dot1Q(vlan=10) / IP() / UDP(), dst=EVERYBODY), id="broadcast"),
    ],
)
def test_a_tagged_inner_frame_is_dropped_i6_i7(bench: Bench, inner: bytes) -> None:
    got = bench.from_uplink(bench.nvgre(inner, RED))

    assert got.action == DROP
    assert got.moved == {(RED, Drop.INNER_TAG.name): 1}


@pytest.mark.parametrize(
    "destination",
    [
        pytest.param(RED2, id="on another host"),
        pytest.param(STRANGER, id="nowhere"),
        pytest.param(BLUE1, id="another tenant's: T4"),
    ],
)
def test_the_wire_never_feeds_the_wire_split_horizon_b5(bench: Bench, destination: str) -> None:
    got = bench.from_uplink(bench.nvgre(to_red1(IP() / UDP(), dst=destination), RED))

    assert got.action == DROP
    assert got.moved == {(RED, Drop.NOT_LOCAL.name): 1}


@pytest.mark.parametrize(
    "fields",
    [{"flags": "MF"}, {"frag": 1}, {"frag": 185, "flags": "MF"}, {"flags": "MF+DF"}],
    ids=["first", "last", "middle", "first, with DF"],
)
def test_outer_fragments_are_dropped_f2(bench: Bench, fields: dict[str, Any]) -> None:
    got = bench.from_uplink(bench.nvgre(INNER, RED, **fields))

    assert got.action == DROP
    assert got.moved == {(NO_SUBNET, Drop.OUTER_FRAGMENT.name): 1}


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"chksum": 0x1234}, id="bad checksum"),
        pytest.param({"chksum": 0}, id="no checksum"),
        pytest.param({"len": 28 + len(INNER) + 1}, id="one byte longer than the frame"),
        pytest.param({"len": 0xFFFF}, id="much longer than the frame"),
        pytest.param({"version": 5}, id="version 5"),
        pytest.param({"ihl": 4}, id="header too short"),
    ],
)
def test_a_broken_outer_header_is_dropped_g16(bench: Bench, fields: dict[str, Any]) -> None:
    got = bench.from_uplink(bench.nvgre(INNER, RED, **fields))

    assert got.action == DROP
    assert got.moved == {(NO_SUBNET, Drop.BAD_OUTER.name): 1}


def test_outer_options_are_not_misread_as_gre(bench: Bench) -> None:
    got = bench.from_uplink(bench.nvgre(INNER, RED, options=b"\x94\x04\x00\x00"))

    assert got.action == DROP
    assert len(got.drops) == 1


WHOLE = 14 + 28 + len(INNER)


@pytest.mark.parametrize("length", range(34, WHOLE))
def test_a_frame_cut_at_any_byte_is_dropped_for_one_reason_g16(bench: Bench, length: int) -> None:
    got = bench.from_uplink(bench.nvgre(INNER, RED)[:length])

    assert got.action == DROP
    assert got.moved == {(NO_SUBNET, Drop.BAD_OUTER.name): 1}


@pytest.mark.parametrize("length", range(20, 42))
@pytest.mark.parametrize("padding", [0, 40])
def test_an_outer_packet_without_room_for_an_inner_frame_is_dropped_g16(
    bench: Bench, length: int, padding: int
) -> None:
    frame = bench.nvgre(INNER, RED, len=length)[: 14 + length] + bytes(padding)

    got = bench.from_uplink(frame)

    assert got.action == DROP
    assert got.moved == {(NO_SUBNET, Drop.TRUNCATED.name): 1}


@pytest.mark.parametrize("length", range(20))
def test_an_outer_length_below_that_of_its_own_header_is_dropped_g16(bench: Bench, length: int) -> None:
    got = bench.from_uplink(bench.nvgre(INNER, RED, len=length))

    assert got.action == DROP
    assert len(got.drops) == sum(got.moved.values()) == 1


# What is none of our business


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda b: b.nvgre(INNER, RED, dst="192.168.0.9"), id="NVGRE for another PA"),
        pytest.param(lambda b: b.nvgre(INNER, RED, dst="239.255.0.1"), id="NVGRE for a group"),
        pytest.param(lambda b: bytes(b.ethernet() / IP(dst=PA1) / TCP(dport=22)), id="the host's own TCP"),
        pytest.param(lambda b: bytes(b.ethernet() / IP(dst=PA1, proto=4) / IP()), id="another tunnel"),
        pytest.param(lambda b: bytes(b.ethernet(dst=EVERYBODY) / ARP(pdst=PA1)), id="ARP"),
        pytest.param(lambda b: bytes(b.ethernet() / IPv6(nh=47) / gre() / INNER), id="GRE over IPv6"),
        pytest.param(lambda b: bytes(b.ethernet() / Raw(b"lldp"))[:12] + b"\x88\xcc\x02\x07", id="LLDP"),
        pytest.param(lambda b: b"\x02\x00\x00\x00\x99\x99" + b.nvgre(INNER, RED)[6:], id="for another MAC"),
        pytest.param(lambda b: b"\xff" * 6 + b.nvgre(INNER, RED)[6:], id="for every MAC"),
    ],
)
def test_what_is_not_for_this_nve_is_left_to_the_host(bench: Bench, make: Any) -> None:
    frame = make(bench)

    got = bench.from_uplink(frame)

    assert (got.action, got.frame, got.moved) == (PASS, frame, {})


# Anything at all


def must_be_delivered(header: bytes, inner: bytes) -> bool:
    """By the specification alone: a header as section 3.2 says, our VSID, no tag, and a VM that is here."""
    with suppress(WireError):
        here = inner[:6] in (bytes.fromhex(mac.replace(":", "")) for mac in (RED1, RED3))
        untagged = int.from_bytes(inner[12:14], "big") not in TAG_ETHERTYPES
        return NvgreHeader.unpack(header).vsid == RED and here and untagged
    return False


flags = st.one_of(st.just(0x2000), st.integers(0, 0xFFFF), st.sampled_from([0x2000 | 1 << n for n in range(16)]))
protocols = st.one_of(st.just(0x6558), st.integers(0, 0xFFFF))
keyed = st.builds(gre, flags, protocols, st.just(RED) | st.integers(0, 0xFFFFFF), st.integers(0, 255)).map(bytes)
macs = st.sampled_from([RED1, RED3, RED2, BLUE1, STRANGER])
ethertypes = st.integers(0, 0xFFFF) | st.sampled_from([0x0800, 0x86DD, 0x0806, *TAG_ETHERTYPES])
inners = st.builds(
    lambda dst, ethertype, data: to_red1(Raw(data), dst=dst, type=ethertype), macs, ethertypes, st.binary(max_size=80)
)


@given(header=keyed, inner=inners)
def test_a_frame_is_delivered_exactly_when_the_specification_says_so_g11_to_g16(
    bench: Bench, header: bytes, inner: bytes
) -> None:
    got = bench.from_uplink(bytes(bench.outer() / Raw(header) / Raw(inner)))

    if must_be_delivered(header, inner):
        assert (got.action, got.frame, got.drops) == (REDIRECT, inner, [])
    else:
        assert (got.action, len(got.drops), sum(got.moved.values())) == (DROP, 1, 1)


@given(rest=st.binary(max_size=100), flow=st.integers(0, 255))
def test_whatever_follows_the_headers_comes_out_as_it_is_u3(bench: Bench, rest: bytes, flow: int) -> None:
    inner = from_red1(Raw(rest), dst=RED3, type=0x0800)

    assert bench.from_uplink(bench.nvgre(inner, RED, flow)).frame == inner


@given(frame=st.binary(min_size=15, max_size=200).filter(is_runnable))
def test_arbitrary_frames_are_left_to_the_host(bench: Bench, frame: bytes) -> None:
    got = bench.from_uplink(frame)

    assert (got.action, got.moved) == (PASS, {})


@given(data=st.binary(min_size=20, max_size=200))
def test_arbitrary_ip_packets_get_a_known_action_and_at_most_one_drop_g16(bench: Bench, data: bytes) -> None:
    got = bench.from_uplink(bytes(bench.ethernet(type=0x0800) / Raw(data)))

    assert got.action in {PASS, DROP, REDIRECT}
    assert len(got.drops) <= 1


@given(positions=st.lists(st.integers(12, OUTER_BYTES + 13), min_size=1, max_size=4), rng=st.randoms())
def test_nvgre_with_broken_bytes_gets_a_known_action_and_at_most_one_drop_g16(
    bench: Bench, positions: list[int], rng: random.Random
) -> None:
    frame = bytearray(bench.nvgre(INNER, RED))
    for position in positions:
        frame[position] = rng.randrange(256)

    got = bench.from_uplink(bytes(frame))

    assert got.action in {PASS, DROP, REDIRECT}
    assert len(got.drops) <= 1
    assert (got.action == DROP) == (len(got.drops) == 1) or frame[OUTER_BYTES] & 1
