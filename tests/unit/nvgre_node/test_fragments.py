"""Inner fragments: each is a sound packet that fits, and together they are what was cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.compat import raw
from scapy.layers.inet import IP, UDP, defragment, fragment
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from nvgre_node.dataplane.model.fragment import fragments, is_fragmentable


def datagram(payload: bytes, **fields: object) -> Packet:
    """A UDP datagram of one VM for another, from its IP header on."""
    return IP(
        raw(IP(**({"src": "10.0.0.1", "dst": "10.0.0.2", "id": 77} | fields)) / UDP(sport=1, dport=2) / Raw(payload))
    )


@given(payload=st.binary(min_size=100, max_size=3000), largest=st.integers(28, 1500))
def test_the_fragments_fit_and_are_the_packet(payload: bytes, largest: int) -> None:
    packet = datagram(payload)
    pieces = [IP(piece) for piece in fragments(raw(packet), largest)]

    assert all(len(piece) <= largest and len(piece) == piece.len for piece in pieces)
    assert all((len(piece) - 20) % 8 == 0 for piece in pieces[:-1])
    assert all(piece.chksum == IP(raw(_without_checksum(piece))).chksum for piece in pieces)
    (whole,) = defragment(pieces)
    assert raw(whole) == raw(packet)


@given(payload=st.binary(min_size=600, max_size=3000), room=st.integers(1, 60))
def test_scapy_would_cut_alike(payload: bytes, room: int) -> None:
    packet = datagram(payload)
    assert [raw(IP(piece)) for piece in fragments(raw(packet), 20 + room * 8)] == [
        raw(IP(raw(piece))) for piece in fragment(packet, fragsize=room * 8)
    ]


@given(payload=st.binary(min_size=1500, max_size=3000), first=st.integers(200, 1400), then=st.integers(28, 600))
def test_a_fragment_may_be_cut_again(payload: bytes, first: int, then: int) -> None:
    packet = datagram(payload)
    pieces = [again for piece in fragments(raw(packet), first) for again in fragments(piece, then)]
    (whole,) = defragment([IP(piece) for piece in pieces])
    assert raw(whole) == raw(packet)


MAY_NOT = {
    "DF": datagram(bytes(100), flags="DF"),
    "options": datagram(bytes(100), options=b"\x94\x04\x00\x00"),
    "a wrong checksum": datagram(bytes(100), chksum=1),
    "a wrong length": datagram(bytes(100), len=100),
    "no IPv4": datagram(bytes(100), version=6),
    "an offset beyond 65535 bytes": datagram(bytes(100), frag=0x1FFF),
}


@pytest.mark.parametrize("packet", MAY_NOT.values(), ids=MAY_NOT)
def test_what_may_not_be_cut(packet: Packet) -> None:
    assert not is_fragmentable(raw(Ether(type=0x0800) / packet), 100)


def test_what_may_be_cut() -> None:
    frame = raw(Ether(type=0x0800) / datagram(bytes(100)))
    assert [largest for largest in (27, 28, 100) if is_fragmentable(frame, largest)] == [28, 100]
    assert not is_fragmentable(raw(Ether(type=0x0806)) + frame[14:], 100)
    assert not is_fragmentable(frame[:30], 100)


def _without_checksum(packet: Packet) -> Packet:
    copy = packet.copy()
    del copy.chksum
    return copy
