"""MSS clamping: TCP connections of VMs agree on segments that fit the path, with no help from ICMP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, in4_chksum
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, in6_chksum
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from experiments.transfer import transfer
from experiments.watch import Place, Watch
from nvgre_node.choices import TooBig
from nvgre_node.dataplane.planes import ebpf
from nvgre_node.net import NvgreNet
from topologies import load

from .bench import Bench, running
from .frames import OUTER_BYTES, from_red1, v4, v6
from .mutation import Mutant, without
from .oracle import agrees

CLAMPING = load("two_hosts").with_nve(clamp_mss=True)
FITS = {4: 1460, 6: 1440}  # 1542 bytes of path, 42 of overhead, 20 of TCP, and 20 or 40 of IP
MSS = b"\x02\x04"
DATAPLANES = ["ebpf", "model"]


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with running(CLAMPING) as bench:
        yield bench


def tcp(options: bytes, flags: str = "S") -> Packet:
    """A TCP header with these bytes of options, and as much zero as makes them words."""
    whole = options + bytes(-len(options) % 4)
    return TCP(sport=4000, dport=80, flags=flags, dataofs=5 + len(whole) // 4) / Raw(whole)


def wire_sum(inner: bytes) -> int:
    """The checksum that the TCP of a frame should have, as Scapy makes it."""
    packet = Ether(inner)
    segment = bytearray(inner[14 + (40 if IPv6 in packet else packet[IP].ihl * 4) :])
    segment[16:18] = bytes(2)
    if IPv6 in packet:
        return int(in6_chksum(6, packet[IPv6], bytes(segment)))
    return int(in4_chksum(6, packet[IP], bytes(segment)))


def on_the_wire(bench: Bench, frame: bytes) -> bytes:
    """The inner frame that leaves host1 when red1 sends this one, and that the specification says leaves."""
    (_, packet), *_ = agrees(bench, "red1", frame).out
    return packet[OUTER_BYTES:]


NETWORKS = {4: v4(), 6: v6(), "options": v4(options=b"\x94\x04\x00\x00")}
SOUND = {
    "as Linux says it": MSS + b"\x05\xdc" + b"\x04\x02\x08\x0a" + bytes(8) + b"\x01\x03\x03\x07",
    "behind one NOP, at an odd offset": b"\x01" + MSS + b"\x05\xdc",
    "behind two": b"\x01\x01" + MSS + b"\x23\x28",
    "the last of 40 bytes": b"\x01" * 36 + MSS + b"\xff\xff",
    "twice": MSS + b"\x05\xdc" + MSS + b"\x23\x28",
}


@pytest.mark.parametrize("options", SOUND.values(), ids=SOUND)
@pytest.mark.parametrize("flags", ["S", "SA", "SEC"])
@pytest.mark.parametrize("network", NETWORKS)
def test_an_mss_that_does_not_fit_is_lowered_and_the_checksum_is_right(
    bench: Bench, network: int | str, flags: str, options: bytes
) -> None:
    inner = on_the_wire(bench, from_red1(NETWORKS[network] / tcp(options, flags)))

    found = Ether(inner)[TCP]
    assert {value for name, value in found.options if name == "MSS"} == {FITS[6 if network == 6 else 4]}
    assert found.chksum == wire_sum(inner)


LEFT_ALONE = {
    "it fits": tcp(MSS + b"\x05\xa0"),
    "it is small": tcp(MSS + b"\x02\x18"),
    "where one would be if IP's header were four bytes shorter": (
        TCP(flags="A", ack=0x70020000, chksum=0x0204, urgptr=0x05DC) / Raw(bytes(20))
    ),
    "no option": tcp(b""),
    "no SYN": tcp(MSS + b"\x05\xdc", "A"),
    "RST": tcp(MSS + b"\x05\xdc", "SR"),
    "behind the end of the options": tcp(b"\x01\x00" + MSS + b"\x05\xdc"),
    "behind the end of the options, which has no length": tcp(b"\x00\x02" + MSS + b"\x05\xdc"),
    "of length 3": tcp(b"\x02\x03\x05\xdc"),
    "behind a length of 1": tcp(b"\x1e\x01" + MSS + b"\x05\xdc"),
    "behind a length of 0": tcp(b"\x1e\x00" + MSS + b"\x05\xdc"),
    "behind one that is too long": tcp(b"\x1e\xff" + MSS + b"\x05\xdc"),
    "cut off": tcp(b"\x01\x01" + MSS),
    "in the data": tcp(b"\x01\x01\x01\x01") / Raw(MSS + b"\x05\xdc"),
    "less than a TCP header": TCP(flags="S", dataofs=4),
    "options beyond the packet": TCP(flags="S", dataofs=15) / Raw(MSS + b"\x05\xdc"),
}


@pytest.mark.parametrize("segment", LEFT_ALONE.values(), ids=LEFT_ALONE)
@pytest.mark.parametrize("network", [v4(), v6()], ids=["IPv4", "IPv6"])
def test_all_else_is_left_as_it_is(bench: Bench, network: Packet, segment: Packet) -> None:
    frame = from_red1(network / segment)
    assert on_the_wire(bench, frame) == frame


NOT_WHOLE = {
    "a fragment": v4(flags="MF", proto=6),
    "a later fragment": v4(frag=1, proto=6),
    "UDP": v4(proto=17),
    "an IP header of 16 bytes": v4(ihl=4, proto=6),
    "longer than it is": v4(len=100, proto=6),
    "shorter than it is": v4(len=42, proto=6),
    "an extension header": v6() / IPv6ExtHdrDestOpt(nh=6),
}


@pytest.mark.parametrize("network", NOT_WHOLE.values(), ids=NOT_WHOLE)
def test_what_is_no_whole_tcp_packet_is_left_as_it_is(bench: Bench, network: Packet) -> None:
    frame = from_red1(network / Raw(bytes(tcp(MSS + b"\x05\xdc"))))
    assert on_the_wire(bench, frame) == frame


some_options = st.lists(
    st.one_of(
        st.just(b"\x01"),
        st.integers(0, 0xFFFF).map(lambda value: MSS + value.to_bytes(2, "big")),
        st.binary(min_size=1, max_size=6),
    ),
    max_size=12,
).map(lambda parts: b"".join(parts)[:40])


@given(options=some_options, flags=st.sampled_from(["S", "SA", "A", "SR"]), six=st.booleans(), cut=st.integers(0, 12))
@example(options=b"\x01" * 40, flags="S", six=False, cut=0)
def test_whatever_the_options_are(bench: Bench, options: bytes, flags: str, six: bool, cut: int) -> None:
    frame = from_red1((v6() if six else v4()) / tcp(options, flags))
    inner = on_the_wire(bench, frame[: len(frame) - cut])
    if not cut:
        assert Ether(inner)[TCP].chksum == wire_sum(inner)


def test_without_the_setting_what_vms_agree_on_is_theirs() -> None:
    frame = from_red1(v4() / tcp(MSS + b"\x23\x28"))
    with running() as bench:
        assert on_the_wire(bench, frame) == frame


# On the wire: VMs with checksum offload leave the sum to be made on the way.

BLACK_HOLE = load("two_hosts").with_mtu(underlay=1500, tenant=1500).with_nve(too_big=TooBig.DROP)


@pytest.mark.parametrize("dataplane", DATAPLANES)
@pytest.mark.parametrize("version", [4, 6])
def test_with_clamping_a_black_hole_is_none_for_tcp(dataplane: str, version: int) -> None:
    with NvgreNet(BLACK_HOLE.with_nve(clamp_mss=True), dataplane) as net:
        with Watch([Place(net[name], "eth0") for name in ("red1", "red2")]) as watch:
            done = transfer(net["red1"], net["red2"], str(net["red2"].vm.ca(version)), 1 << 18)
            syns = [p[TCP] for s in watch.heard(100) if TCP in (p := Ether(s.frame)) and "S" in p[TCP].flags]
        assert (done.connected, done.completed) == (True, True)
        assert {dict(syn.options)["MSS"] for syn in syns} == {1500 - 42 - 20 - (20 if version == 4 else 40)}
        assert {str(syn.flags) for syn in syns} == {"S", "SA"}


# What protects the parser, disabled.

MUTANTS = {
    "never raised": Mutant("mss.h", "|| bpf_ntohs(was) <= most", ""),
    "SYN only": Mutant("mss.h", "!= TCP_FLAG_SYN_BIT)", "== 0xff)"),
    "no RST": Mutant("mss.h", "(TCP_FLAG_SYN_BIT | TCP_FLAG_RST_BIT))", "TCP_FLAG_SYN_BIT)"),
    "no fragments": Mutant("mss.h", "!(ip->frag_off & bpf_htons(IP_FRAGMENT))", "1"),
    "IP headers that are too short": Mutant("mss.h", "ip->ihl >= 5", "1"),
    "packets longer than the frame": Mutant("mss.h", "end > skb->len ||", ""),
    "options beyond the packet": Mutant("mss.h", "return tcp->options <= end;", "return 1;"),
    "the end of options": Mutant("mss.h", "|| kind == TCP_END_OF_OPTIONS", ""),
    "lengths below 2": Mutant("mss.h", "length < 2 ||", "length < 1 ||"),
    "options that are too long": Mutant("mss.h", "|| at + length > end", ""),
    "the length of an MSS": Mutant("mss.h", "&& length == 4", ""),
    "odd offsets": without("mss.h", "(at - tcp) & 1"),
    "TCP": Mutant("mss.h", "ip->protocol == IPPROTO_TCP &&", ""),
    "the setting": Mutant("encapsulate.h", "if (nve.clamp_mss)", "if (1)"),
}


def every_check(bench: Bench) -> None:
    for network in (v4(), v6()):
        for segment in LEFT_ALONE.values():
            agrees(bench, "red1", from_red1(network / segment))
    for network in NOT_WHOLE.values():
        agrees(bench, "red1", from_red1(network / Raw(bytes(tcp(MSS + b"\x05\xdc")))))
    for segment in LEFT_ALONE.values():
        agrees(bench, "red1", from_red1(v4(ihl=4, proto=6) / Raw(bytes(segment))))
    for options in SOUND.values():
        agrees(bench, "red1", from_red1(v4() / tcp(options)))
    long = MSS + b"\x05\xdc" + b"\x1e\x24" + bytes(30) + MSS + b"\x05\xdc"
    agrees(bench, "red1", from_red1(v4() / tcp(b"\x1e\x26" + bytes(36) + MSS) / Raw(b"\x05\xdc")))
    agrees(bench, "red1", from_red1(v4() / tcp(long)))


def test_the_data_plane_passes_unchanged(bench: Bench) -> None:
    every_check(bench)


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS)
def test_disabling_this_check_is_noticed(mutant: Mutant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = mutant.compiled(tmp_path)
    monkeypatch.setattr(ebpf, "object_file", lambda: path)
    scenario = load("two_hosts") if "nve.clamp_mss" in mutant.text else CLAMPING
    with running(scenario) as bench, pytest.raises(AssertionError):
        every_check(bench)
