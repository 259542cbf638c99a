"""The wire format: golden vectors, what a receiver refuses, two independent readers, and the FlowID's entropy."""

import random
import struct
from collections import Counter
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from os_ken.lib.packet import gre as os_ken_gre
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment
from scapy.layers.l2 import ARP, GRE, Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Packet, Raw

from nvgre_node import wire
from nvgre_node.wire import NvgreHeader, WireError, check_vsid, flow_id

settings.register_profile("unhurried", deadline=None)  # how long Scapy takes depends on what else the machine does
settings.load_profile("unhurried")

vsids = st.integers(0, 0xFFFFFF)
flow_ids = st.integers(0, 0xFF)


def header(flags: int = 0x2000, protocol: int = 0x6558, key: int = 0x00138844) -> bytes:
    return struct.pack("!HHI", flags, protocol, key)


# The header


@pytest.mark.parametrize(
    ("vsid", "flow", "golden"),
    [
        pytest.param(5000, 0x44, "20 00 65 58 00 13 88 44", id="as Open vSwitch sends it"),
        pytest.param(5000, 0x00, "20 00 65 58 00 13 88 00", id="no FlowID: G9"),
        pytest.param(0xFFFFFE, 0x00, "20 00 65 58 ff ff fe 00", id="highest VSID: V5"),
        pytest.param(0x001000, 0x00, "20 00 65 58 00 10 00 00", id="lowest VSID: V5"),
        pytest.param(0x123456, 0x02, "20 00 65 58 12 34 56 02", id="byte order: G5"),
    ],
)
def test_golden_vectors_g1_to_g6(vsid: int, flow: int, golden: str) -> None:
    assert NvgreHeader(vsid, flow).pack() == bytes.fromhex(golden)
    assert NvgreHeader.unpack(bytes.fromhex(golden)) == NvgreHeader(vsid, flow)


def test_the_key_is_vsid_then_flow_id_g5() -> None:
    assert NvgreHeader(0x123456, 0x02).key == 0x12345602


def test_overhead_is_42_bytes() -> None:
    assert len(IP() / GRE(key_present=1) / Ether()) == wire.OVERHEAD_IPV4 == 42


@given(vsids, flow_ids, st.binary(max_size=20))
def test_what_is_packed_can_be_unpacked_whatever_follows(vsid: int, flow: int, rest: bytes) -> None:
    assert NvgreHeader.unpack(NvgreHeader(vsid, flow).pack() + rest) == NvgreHeader(vsid, flow)


@pytest.mark.parametrize("flags", [0x2000 | 1 << bit for bit in range(3, 10)], ids=hex)
def test_bits_6_to_12_are_ignored_g13(flags: int) -> None:
    assert NvgreHeader.unpack(header(flags)) == NvgreHeader(5000, 0x44)


@pytest.mark.parametrize(
    ("data", "clause"),
    [
        pytest.param(header(0xA000), "G1", id="C: G1"),
        pytest.param(header(0x3000), "G1", id="S: G1"),
        pytest.param(header(0x0000), "G2", id="no K: G2"),
        pytest.param(header(protocol=0x0800), "G4", id="IPv4 inside: G4"),
        pytest.param(header(protocol=0x88BE), "G4", id="ERSPAN inside: G4"),
        pytest.param(header(0x6000), "G12", id="bit 1: G12"),
        pytest.param(header(0x2800), "G12", id="bit 4: G12"),
        pytest.param(header(0x2400), "G12", id="bit 5: G12"),
        *(pytest.param(header(0x2000 | version), "G14", id=f"version {version}: G14") for version in range(1, 8)),
    ],
)
def test_a_receiver_refuses_and_names_the_clause(data: bytes, clause: str) -> None:
    with pytest.raises(WireError, match=clause):
        NvgreHeader.unpack(data)


@pytest.mark.parametrize("length", range(8))
def test_a_short_header_is_refused(length: int) -> None:
    with pytest.raises(WireError, match="too few"):
        NvgreHeader.unpack(header()[:length])


@given(st.binary(max_size=16))
def test_arbitrary_bytes_are_read_or_refused_and_never_anything_else(data: bytes) -> None:
    try:
        assert NvgreHeader.unpack(data).key == int.from_bytes(data[4:8], "big")
    except WireError:
        assert len(data) < 8 or data[0] & 0xFC != 0x20 or data[1] & 0x07 or data[2:4] != b"\x65\x58"


@pytest.mark.parametrize(("vsid", "flow"), [(-1, 0), (1 << 24, 0), (5000, -1), (5000, 256)])
def test_what_does_not_fit_into_the_key_is_refused_g5_g6(vsid: int, flow: int) -> None:
    with pytest.raises(WireError):
        NvgreHeader(vsid, flow)


@pytest.mark.parametrize("vsid", [4096, 5000, 16777214])
def test_a_tenant_may_have_a_vsid_from_4096_to_16777214_v5(vsid: int) -> None:
    assert check_vsid(vsid) == vsid


@pytest.mark.parametrize(
    ("vsid", "why"),
    [(0, "future"), (1, "future"), (4095, "future"), (16777215, "vendor"), (16777216, "24 bits"), (-1, "24 bits")],
)
def test_a_reserved_vsid_is_refused_v1_v2(vsid: int, why: str) -> None:
    with pytest.raises(WireError, match=why):
        check_vsid(vsid)


# Independent readers


@given(vsids, flow_ids)
def test_scapy_reads_what_we_write(vsid: int, flow: int) -> None:
    theirs = GRE(NvgreHeader(vsid, flow).pack())

    assert (theirs.key_present, theirs.proto, theirs.key) == (1, 0x6558, vsid << 8 | flow)
    assert (theirs.chksum_present, theirs.routing_present, theirs.seqnum_present, theirs.version) == (0, 0, 0, 0)


@given(vsids, flow_ids)
def test_we_read_what_scapy_writes(vsid: int, flow: int) -> None:
    theirs = GRE(key_present=1, proto=0x6558, key=vsid << 8 | flow)

    assert NvgreHeader.unpack(bytes(theirs)) == NvgreHeader(vsid, flow)


@given(vsids, flow_ids)
def test_os_ken_reads_what_we_write(vsid: int, flow: int) -> None:
    theirs, _, _ = os_ken_gre.gre.parser(NvgreHeader(vsid, flow).pack())

    assert (theirs.vsid, theirs.flow_id, theirs.protocol, theirs.version) == (vsid, flow, 0x6558, 0)


@given(vsids, flow_ids)
def test_we_read_what_os_ken_writes(vsid: int, flow: int) -> None:
    theirs = os_ken_gre.nvgre(vsid=vsid, flow_id=flow)

    assert NvgreHeader.unpack(bytes(theirs.serialize(b"", None))) == NvgreHeader(vsid, flow)


# FlowID


def inner(*layers: Packet) -> bytes:
    frame: Packet = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    for layer in layers:
        frame /= layer
    return bytes(frame)


def v4(**fields: object) -> Packet:
    return IP(**({"src": "10.0.0.1", "dst": "10.0.0.2"} | fields))


def v6(**fields: object) -> Packet:
    return IPv6(**({"src": "fd00:10::1", "dst": "fd00:10::2"} | fields))


def distinct(frames: Iterable[bytes]) -> int:
    return len({flow_id(frame) for frame in frames})


@pytest.mark.parametrize("protocol", [TCP, UDP])
@pytest.mark.parametrize("network", [v4, v6], ids=["IPv4", "IPv6"])
def test_the_packets_of_one_flow_share_a_flow_id_g6(network: type[Packet], protocol: type[Packet]) -> None:
    flow = [network() / protocol(sport=4000, dport=80) / Raw(bytes(n)) for n in range(100)]

    assert distinct(inner(packet) for packet in flow) == 1


def test_what_changes_within_a_flow_does_not_matter_g6() -> None:
    segments = [v4(id=n, ttl=n, tos=n) / TCP(seq=n, ack=n, window=n, flags=n & 0xFF) for n in range(1, 200)]

    assert distinct(inner(segment) for segment in segments) == 1


def spliced(frame: bytes, addresses: bytes, protocol: int, ports: bytes) -> bytes:
    """An IPv4 frame with another 5-tuple: much faster than building one."""
    return frame[:23] + bytes([protocol]) + frame[24:26] + addresses + ports + frame[38:]


def random_flows(n: int, rng: random.Random) -> Iterator[bytes]:
    frame = inner(v4(), UDP())
    return (spliced(frame, rng.randbytes(8), rng.choice([6, 17]), rng.randbytes(4)) for _ in range(n))


def neighbouring_flows(n: int) -> Iterator[bytes]:
    frame, addresses = inner(v4(), TCP(dport=80)), bytes([10, 0, 0, 1, 10, 0, 0, 2])
    return (spliced(frame, addresses, 6, struct.pack("!HH", 1024 + port, 80)) for port in range(n))


def chi_square(counts: Counter[int], n: int) -> float:
    expected = n / 256
    return sum((counts[value] - expected) ** 2 / expected for value in range(256))


@pytest.mark.parametrize(
    "flows",
    [
        pytest.param(list(random_flows(10_240, random.Random(7637))), id="random 5-tuples"),  # noqa: S311
        pytest.param(list(neighbouring_flows(10_240)), id="one source port after the other"),
    ],
)
def test_many_flows_use_all_256_flow_ids_evenly_g8(flows: list[bytes]) -> None:
    counts = Counter(map(flow_id, flows))

    assert len(counts) == 256
    # 255 degrees of freedom: mean 255, deviation 22.6. Six deviations are a chance of about one in ten million.
    assert chi_square(counts, len(flows)) < 255 + 6 * 22.6


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param([inner(v4(), TCP(sport=port, dport=80)) for port in range(1, 257)], id="TCP source port"),
        pytest.param([inner(v4(), UDP(sport=53, dport=port)) for port in range(1, 257)], id="UDP destination port"),
        pytest.param([inner(v4(), SCTP(sport=port, dport=80)) for port in range(1, 257)], id="SCTP source port"),
        pytest.param([inner(v6(), TCP(sport=port, dport=80)) for port in range(1, 257)], id="TCP over IPv6"),
        pytest.param([inner(v6(fl=label), UDP()) for label in range(256)], id="IPv6 flow label"),
        pytest.param([inner(v4(dst=f"10.0.0.{last}"), UDP()) for last in range(256)], id="IPv4 address"),
        pytest.param([inner(v6(src=f"fd00::{last:x}"), UDP()) for last in range(256)], id="IPv6 address"),
        pytest.param([inner(v4(proto=protocol), Raw(bytes(8))) for protocol in range(256)], id="IPv4 protocol"),
        pytest.param([bytes(Ether(src=f"02:00:00:00:00:{last:02x}") / ARP()) for last in range(256)], id="MAC, no IP"),
    ],
)
def test_every_field_of_the_flow_adds_entropy_g8(frames: list[bytes]) -> None:
    assert distinct(frames) > 128  # 256 draws from 256 values: 162 distinct ones on average


fragment_of_v4 = st.builds(
    lambda more, offset: {"flags": "MF" if more or not offset else 0, "frag": offset},
    st.booleans(),
    st.integers(0, 0x1FFF),
)


@given(fragment_of_v4, st.binary(min_size=4, max_size=60), st.sampled_from([6, 17, 132]))
def test_the_fragments_of_a_datagram_share_a_flow_id_whatever_they_carry_g8(
    fragment: dict[str, object], content: bytes, protocol: int
) -> None:
    first = inner(v4(flags="MF", proto=protocol), Raw(bytes(60)))

    assert flow_id(inner(v4(proto=protocol, **fragment), Raw(content))) == flow_id(first)


@given(st.integers(0, 0x1FFF), st.booleans(), st.binary(min_size=4, max_size=60))
def test_the_fragments_of_an_ipv6_datagram_share_a_flow_id_g8(offset: int, more: bool, content: bytes) -> None:
    first = inner(v6(), IPv6ExtHdrFragment(nh=17, m=1), Raw(bytes(60)))

    assert flow_id(inner(v6(), IPv6ExtHdrFragment(nh=17, m=more, offset=offset), Raw(content))) == flow_id(first)


def test_ports_are_found_behind_ipv4_options_g8() -> None:
    options = b"\x94\x04\x00\x00" * 3

    assert distinct(inner(v4(options=options), TCP(sport=port)) for port in range(1, 257)) > 128


@given(st.binary(max_size=120))
def test_flow_id_has_an_answer_for_arbitrary_bytes(frame: bytes) -> None:
    assert 0 <= flow_id(frame) <= 0xFF


@given(st.sampled_from([0x0800, 0x86DD]), st.binary(max_size=100))
def test_flow_id_has_an_answer_for_broken_ip(ethertype: int, rest: bytes) -> None:
    assert 0 <= flow_id(bytes(12) + struct.pack("!H", ethertype) + rest) <= 0xFF


def test_less_than_an_ethernet_header_has_flow_id_zero_g9() -> None:
    assert {flow_id(bytes(range(length))) for length in range(14)} == {0}
