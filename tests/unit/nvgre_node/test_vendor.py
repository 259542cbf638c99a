"""The probe of the vendors' VSID: its bytes, and what is none."""

from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.l2 import Ether

from nvgre_node.vendor import ADDRESS, HEADER, PROBE_BYTES, Kind, Probe, reply_to

probes = st.builds(Probe, st.sampled_from(Kind), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF))


def test_its_bytes_are_these() -> None:
    frame = Probe(Kind.REQUEST, 0x1234, 0x56789ABC).pack()

    assert frame.hex(" ") == "02 4e 56 47 52 45 02 4e 56 47 52 45 88 b5 4e 56 45 70 01 00 12 34 56 78 9a bc"
    assert HEADER.pack().hex(" ") == "20 00 65 58 ff ff ff 00"
    assert (Ether(frame).src, Ether(frame).dst, Ether(frame).type) == (ADDRESS.hex(":"), ADDRESS.hex(":"), 0x88B5)


@given(probe=probes, data=st.binary(max_size=40))
def test_what_is_packed_is_read_whatever_follows(probe: Probe, data: bytes) -> None:
    assert Probe.unpack(probe.pack() + data) == probe


@given(probe=probes, data=st.binary(max_size=40))
def test_a_reply_is_its_request_with_another_kind(probe: Probe, data: bytes) -> None:
    reply = reply_to(probe.pack() + data)

    assert reply == Probe(Kind.REPLY, probe.identifier, probe.sequence).pack() + data


@given(frame=st.binary(max_size=60))
def test_anything_else_is_none_and_never_an_error(frame: bytes) -> None:
    found = Probe.unpack(frame)

    assert found is None or frame[12:18] == b"\x88\xb5NVEp"


@given(probe=probes, cut=st.integers(0, PROBE_BYTES - 1), kind=st.integers(3, 255))
def test_a_short_one_and_one_of_another_kind_are_none(probe: Probe, cut: int, kind: int) -> None:
    whole = probe.pack()

    assert Probe.unpack(whole[:cut]) is None
    assert Probe.unpack(whole[:18] + bytes([kind]) + whole[19:]) is None
