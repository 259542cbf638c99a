"""Outer headers as they are read: Scapy made the packets, and Scapy is asked what they say."""

from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, fragment
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment
from scapy.layers.l2 import GRE, Dot1Q, Ether
from scapy.packet import Packet, Raw

from nvgre_node.outer import outer_of

MACS = {"src": "02:00:00:00:00:01", "dst": "02:00:00:00:00:02"}
ETHERNET = Ether(**MACS)  # Scapy would else ask the network for them
INNER = bytes(Ether(type=0x88B5, **MACS) / Raw(b"hello"))
NVGRE = GRE(key_present=1, proto=0x6558, key=0x12345602) / Raw(INNER)
HEADERS = {4: IP(src="192.0.2.1", dst="192.0.2.2", proto=47), 6: IPv6(src="2001:db8::1", dst="2001:db8::2", nh=47)}


@given(version=st.sampled_from([4, 6]), tags=st.integers(0, 3), padding=st.integers(0, 18))
def test_the_packet_is_read_behind_tags_and_without_padding_o4(version: int, tags: int, padding: int) -> None:
    packet: Packet = ETHERNET
    for _ in range(tags):
        packet /= Dot1Q(vlan=7)
    packet = Ether(bytes(packet / HEADERS[version] / NVGRE))

    outer = outer_of(bytes(packet) + bytes(padding))

    assert outer is not None
    ip = packet[IP if version == 4 else IPv6]
    assert (outer.version, str(outer.source), str(outer.destination)) == (version, ip.src, ip.dst)
    assert (outer.is_gre, outer.is_fragment, outer.length) == (True, False, len(ip))
    assert (outer.gre.hex(), outer.key, outer.inner) == ("2000655812345602", 0x12345602, INNER)


def test_options_are_part_of_the_header() -> None:
    outer = outer_of(bytes(ETHERNET / IP(proto=47, options=b"\x01\x01\x01\x00") / NVGRE))

    assert outer is not None
    assert (len(outer.header), outer.inner) == (24, INNER)


def test_a_fragment_is_one_f1() -> None:
    four = fragment(HEADERS[4] / NVGRE, fragsize=16)
    six = HEADERS[6].copy()
    six.nh = 44
    parts = [*four, six / IPv6ExtHdrFragment(nh=47, m=1) / NVGRE]

    assert {outer.is_fragment for part in parts if (outer := outer_of(bytes(ETHERNET / part)))} == {True}


@given(frame=st.binary(max_size=80), cut=st.integers(0, 80))
def test_anything_else_is_none_or_read_but_never_an_error(frame: bytes, cut: int) -> None:
    for whole in (frame, bytes(ETHERNET / HEADERS[4] / NVGRE)[:cut], bytes(ETHERNET / HEADERS[6] / NVGRE)[:cut]):
        outer = outer_of(whole)
        if outer is not None:
            assert outer.length <= len(whole)
