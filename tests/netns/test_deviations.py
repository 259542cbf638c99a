"""What known implementations do wrong, frame by frame: each deviation does what it says, and without it nobody does.

Every frame goes to the data plane and to the specification, which must agree; what they make of it is written here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import UDP
from scapy.layers.l2 import GRE, Dot1AD, Dot1Q
from scapy.packet import Packet, Raw

from nvgre_node.choices import Deviation, SourceCheck, TooBig
from nvgre_node.dataplane import model
from nvgre_node.dataplane.base import NO_SUBNET
from nvgre_node.dataplane.planes import ebpf
from topologies import Scenario, load

from .bench import Bench, running
from .comparison import Comparison
from .frames import EVERYBODY, EXPERIMENTAL, RED, RED1, RED2, RED3, from_red1, padded, to_red1, v4, v6
from .mutation import Mutant
from .oracle import agrees_on_the_wire, state_of
from .test_fragment_outer import without_identification

UNDERLAY = 1542
CODEPOINTS = NOT_ECT, ECT_1, ECT_0, CE = (0, 1, 2, 3)
Tally = dict[tuple[int, str], int]


class Both:
    """Data plane and specification on one bench."""

    def __init__(self, bench: Bench, comparison: Comparison) -> None:
        self.bench, self._comparison = bench, comparison

    def make_of(self, interface: str, frame: bytes) -> model.Result:
        """What both make of a frame: the same, or this fails."""
        before = self._comparison.tried
        assert list(self._comparison.differences(iter([(interface, frame)]))) == []
        assert self._comparison.tried == before + 1
        return model.handle(state_of(self.bench, UNDERLAY), interface, frame)

    def wire(self, frame: bytes) -> list[bytes]:
        """The packets that a frame of red1 becomes on the underlay."""
        return [sent for to, sent in self.make_of("red1", frame).out if to == self.bench.uplink]

    def delivered(self, packet: Packet | bytes) -> list[bytes] | Tally:
        """What VMs get of a packet from the underlay, or what is counted where none gets anything."""
        made = self.make_of(self.bench.uplink, bytes(packet))
        return [frame for _, frame in made.out] or dict(made.counted)


@contextmanager
def nves(*how: Deviation, **choices: Any) -> Iterator[Both]:
    """NVEs that do this wrong, or nothing."""
    scenario: Scenario = load("two_hosts").with_nve(deviations=frozenset(how), **choices)
    with running(scenario) as bench, Comparison(bench, UNDERLAY) as comparison:
        yield Both(bench, comparison)


@pytest.fixture(scope="module")
def good() -> Iterator[Both]:
    with nves() as both:
        yield both


def nvgre(both: Both, inner: bytes = b"", *, flags: int = 0, **fields: Any) -> Packet:
    """An NVGRE packet for host1 from host2, with this GRE header."""
    gre = GRE(**({"key_present": 1, "key": RED << 8, "proto": 0x6558} | fields))
    if not flags:
        return both.bench.outer() / gre / Raw(inner or INNER)
    written = (int.from_bytes(bytes(gre)[:2], "big") | flags).to_bytes(2, "big") + bytes(gre)[2:]
    return both.bench.outer() / Raw(written + (inner or INNER))


udp = v4() / UDP(sport=1, dport=2) / Raw(b"hello")
INNER = to_red1(v4(src="10.0.0.2", dst="10.0.0.1") / UDP(sport=1, dport=2) / Raw(b"hello"))

# Tags that a sender keeps (I4, I5)

TAGGED = {
    "VID 10": Dot1Q(vlan=10, prio=5) / udp,
    "VID 0": Dot1Q(vlan=0, prio=5) / udp,
    "IPv6": Dot1Q(vlan=10) / v6() / UDP(),
    "QinQ": Dot1AD(vlan=20) / Dot1Q(vlan=10) / udp,
    "four tags": Dot1Q(vlan=1) / Dot1Q(vlan=2) / Dot1Q(vlan=3) / Dot1Q(vlan=4) / udp,
    "no IP": Dot1Q(vlan=10, type=EXPERIMENTAL) / Raw(b"hello"),
}


def tagged(packet: Packet, dst: str = RED2) -> bytes:
    return from_red1(packet, dst=dst, type=0x88A8 if isinstance(packet, Dot1AD) else 0x8100)


@pytest.fixture(scope="module")
def keeping() -> Iterator[Both]:
    with nves(Deviation.KEEPS_TAGS) as both:
        yield both


@pytest.mark.parametrize("packet", TAGGED.values(), ids=TAGGED)
def test_a_sender_that_keeps_tags_encapsulates_frames_as_they_are(keeping: Both, good: Both, packet: Packet) -> None:
    frame = tagged(packet)
    tags = 4 * sum(isinstance(packet.getlayer(n), Dot1Q | Dot1AD) for n in range(5))
    assert [sent[42:] for sent in keeping.wire(frame)] == [frame]
    assert [sent[42:] for sent in good.wire(frame)] == [frame[:12] + frame[12 + tags :]]


def test_a_tag_that_no_kernel_moves_aside_is_kept_as_well(keeping: Both, good: Both) -> None:
    frame = from_red1(Dot1Q(vlan=10, type=EXPERIMENTAL), Raw(b"hello"), type=0x9100)
    assert [sent[42:] for sent in keeping.wire(frame)] == [frame]
    assert good.wire(frame) == []


def test_a_fifth_tag_is_too_many_to_keep(keeping: Both) -> None:
    made = keeping.make_of("red1", tagged(Dot1Q(vlan=5) / TAGGED["four tags"]))
    assert (made.out, made.counted) == ((), {(RED, "TAG_DEPTH"): 1})


def test_a_kept_tag_takes_four_bytes_of_the_path_and_nobody_is_told(keeping: Both) -> None:
    fits, too_long = (tagged(Dot1Q(vlan=10) / padded(v4(flags="DF") / UDP(), size)) for size in (1496, 1497))
    assert [sent[42:] for sent in keeping.wire(fits)] == [fits]
    made = keeping.make_of("red1", too_long)
    assert (made.out, made.counted) == ((), {(RED, "TOO_BIG"): 1})


def test_a_vm_of_the_same_host_gets_the_tags_too(keeping: Both) -> None:
    frame = tagged(TAGGED["QinQ"], dst=RED3)
    assert keeping.make_of("red1", frame).out == (("red3", frame),)


def test_a_broadcast_keeps_its_tag_on_its_way_to_everybody(keeping: Both) -> None:
    frame = tagged(TAGGED["VID 10"], dst=EVERYBODY)
    out = keeping.make_of("red1", frame).out
    assert [(to, sent[-len(frame) :]) for to, sent in out] == [("red3", frame), (keeping.bench.uplink, frame)]


def test_behind_a_kept_tag_a_vm_can_forge_its_ca_c1() -> None:
    forged = v4(src="10.0.0.3") / UDP()
    with nves(Deviation.KEEPS_TAGS, source_check=SourceCheck.CA) as both:
        assert both.wire(from_red1(forged)) == []
        assert len(both.wire(tagged(Dot1Q(vlan=10) / forged))) == 1
    with nves(source_check=SourceCheck.CA) as both:
        assert both.wire(tagged(Dot1Q(vlan=10) / forged)) == []


def test_kept_tags_survive_outer_fragments() -> None:
    frame = tagged(Dot1Q(vlan=10) / padded(v4(dst="192.0.2.2") / UDP(), 1500))
    choices = {"deviations": frozenset({Deviation.KEEPS_TAGS}), "too_big": TooBig.FRAGMENT_OUTER}
    with running(load("two_hosts").with_nve(**choices).with_mtu(underlay=1500, tenant=1500)) as bench:
        pieces = agrees_on_the_wire(bench, "red1", frame, 1500, but=without_identification)
    assert len(pieces) == 2
    assert pieces[0][42:] + pieces[1][34:] == frame


# Tags that a receiver delivers (I6, I7)


@pytest.fixture(scope="module")
def delivering() -> Iterator[Both]:
    with nves(Deviation.DELIVERS_TAGS) as both:
        yield both


@pytest.mark.parametrize("packet", TAGGED.values(), ids=TAGGED)
@pytest.mark.parametrize("dst", [RED1, EVERYBODY], ids=["unicast", "broadcast"])
def test_a_receiver_that_delivers_tags_hands_on_what_it_got(
    delivering: Both, good: Both, packet: Packet, dst: str
) -> None:
    inner = to_red1(packet, dst=dst, type=0x88A8 if isinstance(packet, Dot1AD) else 0x8100)
    assert delivering.delivered(nvgre(delivering, inner)) == [inner] * (2 if dst == EVERYBODY else 1)
    assert good.delivered(nvgre(good, inner)) == {(RED, "INNER_TAG"): 1}


# Options of GRE (G11)

LENGTHS = [0, 1, 5, 13, 14, 63, 64, 65, 127, 128, 1000, 1451, 1452]
NUMBER: dict[str, Any] = {"seqnum_present": 1, "sequence_number": 7}


@pytest.fixture(scope="module")
def lenient() -> Iterator[Both]:
    with nves(Deviation.TAKES_CHECKSUMS, Deviation.TAKES_SEQUENCE_NUMBERS) as both:
        yield both


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("more", [{}, NUMBER], ids=["C", "C and S"])
def test_a_right_checksum_is_taken_and_a_wrong_one_is_not(
    lenient: Both, good: Both, length: int, more: dict[str, Any]
) -> None:
    inner = to_red1(Raw(bytes(n * 7 & 0xFF for n in range(length))), type=EXPERIMENTAL)
    packet = nvgre(lenient, inner, chksum_present=1, **more)
    assert lenient.delivered(packet) == [inner]
    assert good.delivered(nvgre(good, inner, chksum_present=1, **more)) == {(NO_SUBNET, "CHECKSUM_BIT"): 1}
    for at in (34 + 4, -1):  # in the sum itself, and in the last byte that is summed
        wrong = bytearray(bytes(packet))
        wrong[at] ^= 0x10
        assert lenient.delivered(bytes(wrong)) == {(NO_SUBNET, "CHECKSUM_BIT"): 1}


def test_a_sequence_number_is_skipped(lenient: Both, good: Both) -> None:
    assert lenient.delivered(nvgre(lenient, **NUMBER)) == [INNER]
    assert good.delivered(nvgre(good, **NUMBER)) == {(NO_SUBNET, "SEQUENCE_BIT"): 1}


def test_one_option_is_not_the_other() -> None:
    with nves(Deviation.TAKES_CHECKSUMS) as both:
        assert both.delivered(nvgre(both, **NUMBER)) == {(NO_SUBNET, "SEQUENCE_BIT"): 1}
        assert both.delivered(nvgre(both, chksum_present=1)) == [INNER]
    with nves(Deviation.TAKES_SEQUENCE_NUMBERS) as both:
        assert both.delivered(nvgre(both, chksum_present=1)) == {(NO_SUBNET, "CHECKSUM_BIT"): 1}


def test_options_that_leave_no_room_for_a_frame_are_a_truncation(lenient: Both) -> None:
    packet = bytes(nvgre(lenient, bytes(14 + 3), flags=0x1000))  # the number, and 13 bytes of an Ethernet header
    assert lenient.delivered(packet) == {(NO_SUBNET, "TRUNCATED"): 1}


def test_padding_of_the_underlay_is_not_summed(lenient: Both) -> None:
    assert lenient.delivered(bytes(nvgre(lenient, chksum_present=1)) + bytes(range(18))) == [INNER]


def test_options_are_skipped_over_ipv6_as_well() -> None:
    deviations = frozenset({Deviation.TAKES_CHECKSUMS, Deviation.TAKES_SEQUENCE_NUMBERS})
    scenario = load("two_hosts").with_nve(deviations=deviations).over_ipv6()
    with running(scenario) as bench, Comparison(bench, UNDERLAY + 20) as comparison:
        both = Both(bench, comparison)
        assert both.delivered(nvgre(both, chksum_present=1, **NUMBER)) == [INNER]


# Bits and keys (G10, G13)


def test_a_receiver_that_refuses_reserved_bits_drops_each(good: Both) -> None:
    with nves(Deviation.REFUSES_RESERVED_BITS) as both:
        for flags in (0x8000 >> bit for bit in range(6, 13)):
            assert both.delivered(nvgre(both, flags=flags)) == {(NO_SUBNET, "RESERVED_BITS"): 1}
            assert good.delivered(nvgre(good, flags=flags)) == [INNER]
        assert both.delivered(nvgre(both)) == [INNER]


def test_a_receiver_that_takes_reserved_bits_takes_4_and_5_and_still_not_1(good: Both) -> None:
    with nves(Deviation.TAKES_RESERVED_BITS) as both:
        for flags in (0x0800, 0x0400, 0x0C00):
            assert both.delivered(nvgre(both, flags=flags)) == [INNER]
            assert good.delivered(nvgre(good, flags=flags)) == {(NO_SUBNET, "RESERVED_BITS"): 1}
        assert both.delivered(nvgre(both, flags=0x4000)) == {(NO_SUBNET, "RESERVED_BITS"): 1}


def test_a_version_of_seven_bits_refuses_9_to_12_and_no_more(good: Both) -> None:
    with nves(Deviation.WIDENS_VERSION) as both:
        for flags in (0x8000 >> bit for bit in range(9, 13)):
            assert both.delivered(nvgre(both, flags=flags)) == {(NO_SUBNET, "VERSION"): 1}
            assert good.delivered(nvgre(good, flags=flags)) == [INNER]
        for flags in (0x8000 >> bit for bit in range(6, 9)):
            assert both.delivered(nvgre(both, flags=flags)) == [INNER]


def test_a_receiver_of_exact_keys_knows_no_flow_id_but_0(good: Both) -> None:
    with nves(Deviation.EXACT_KEYS) as both:
        for flow in (1, 0x44, 0x80, 0xFF):
            assert both.delivered(nvgre(both, key=RED << 8 | flow)) == {(NO_SUBNET, "UNKNOWN_VSID"): 1}
            assert good.delivered(nvgre(good, key=RED << 8 | flow)) == [INNER]
        assert both.delivered(nvgre(both, key=RED << 8)) == [INNER]


# Outer headers (F5, O8)


def test_a_sender_that_hides_ce_says_ect_0_instead(good: Both) -> None:
    frames = [from_red1(packet / UDP()) for ecn in CODEPOINTS for packet in (v4(tos=ecn), v6(tc=ecn))]
    with nves(Deviation.HIDES_CE) as both:
        assert [sent[15] for frame in frames for sent in both.wire(frame)] == [0, 0, 1, 1, 2, 2, 2, 2]
    assert [sent[15] for frame in frames for sent in good.wire(frame)] == [0, 0, 1, 1, 2, 2, 3, 3]


def test_a_receiver_that_ignores_ect_1_leaves_ect_0(good: Both) -> None:
    def inner(ecn: int) -> bytes:
        return to_red1(v4(tos=ecn, src="10.0.0.2", dst="10.0.0.1") / UDP())

    with nves(Deviation.IGNORES_ECT1) as both:
        assert both.delivered(both.bench.nvgre(inner(ECT_0), RED, traffic_class=ECT_1)) == [inner(ECT_0)]
        assert both.delivered(both.bench.nvgre(inner(ECT_0), RED, traffic_class=CE)) == [inner(CE)]
        assert both.delivered(both.bench.nvgre(inner(NOT_ECT), RED, traffic_class=CE)) == {(RED, "CE_ON_NOT_ECT"): 1}
    assert good.delivered(good.bench.nvgre(inner(ECT_0), RED, traffic_class=ECT_1)) == [inner(ECT_1)]


def test_df_and_id_of_the_outer_header() -> None:
    frames = [from_red1(udp), from_red1(Raw(b"no IP"), type=EXPERIMENTAL), from_red1(udp, dst=EVERYBODY)]
    for how, words in {
        (): "0000 4000",
        (Deviation.CLEARS_DF,): "0000 0000",
        (Deviation.REPEATS_ID,): "0001 4000",
        (Deviation.CLEARS_DF, Deviation.REPEATS_ID): "0001 0000",
    }.items():
        with nves(*how) as both:
            assert [sent[18:22].hex(" ", 2) for frame in frames for sent in both.wire(frame)] == [words] * 3
    with nves(Deviation.VARIES_ID) as both:
        (told,) = {sent[18:20] == sent[16:18] for frame in frames for sent in both.wire(frame)}
        assert told  # the ID is the length


# The tests bite


def every_option(both: Both) -> None:
    """A sequence number, a checksum, and a wrong one."""
    both.delivered(nvgre(both, **NUMBER))
    both.delivered(nvgre(both, chksum_present=1))
    wrong = bytearray(bytes(nvgre(both, chksum_present=1)))
    wrong[-1] ^= 0x10
    both.delivered(bytes(wrong))


MUTANTS = {
    "the GRE checksum": Mutant("decapsulate.h", "% SUMMED_AT_ONCE;", "* 0;"),
    "what a checksum is worth": Mutant("decapsulate.h", "has_checksum && !gre_sums_up(skb, start)", "0"),
    "the place of the key": Mutant("decapsulate.h", "(has_checksum ? GRE_OPTION : 0)", "0"),
    "the sequence number": Mutant("decapsulate.h", "(options & GRE_SEQUENCE ? GRE_OPTION : 0)", "0"),
}


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS)
def test_disabling_this_is_noticed(mutant: Mutant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = mutant.compiled(tmp_path)
    monkeypatch.setattr(ebpf, "object_file", lambda: programs)
    with nves(Deviation.TAKES_CHECKSUMS, Deviation.TAKES_SEQUENCE_NUMBERS) as both, pytest.raises(AssertionError):
        every_option(both)


def test_the_data_plane_passes_unchanged(lenient: Both) -> None:
    every_option(lenient)
