"""Outer fragments as RFC 7637 forbids them (F1, F5): a mode for comparison, and what comes of it at the receiver."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.compat import raw
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, defragment6
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from experiments.transfer import transfer
from experiments.watch import Place, Watch
from nvgre_node.choices import COPY, Ecn, Fragments, Neighbours, PaChoice, SourceCheck, TooBig, UnknownUnicast
from nvgre_node.dataplane.base import Drop
from nvgre_node.dataplane.model.fragment import fragments6
from nvgre_node.net import NvgreNet
from topologies import load

from .bench import Bench, running
from .frames import from_red1, padded, v4
from .oracle import agrees_on_the_wire

FORBIDDEN = load("two_hosts").with_nve(too_big=TooBig.FRAGMENT_OUTER)
NARROW = FORBIDDEN.with_mtu(underlay=1500, tenant=1500)
REASSEMBLED = NARROW.with_nve(fragments=Fragments.REASSEMBLE)
UNDERLAYS = {"IPv4": NARROW, "IPv6": FORBIDDEN.over_ipv6().with_mtu(underlay=1500, tenant=1500)}
DATAPLANES = ["ebpf", "model"]


@pytest.fixture(scope="module", params=UNDERLAYS.values(), ids=list(UNDERLAYS))
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    with running(request.param) as bench:
        yield bench


def without_identification(frame: bytes) -> bytes:
    """A frame but for what makes a fragmented packet different from the next: each data plane has its own way."""
    if frame[12:14] == b"\x08\x00":
        return frame[:18] + bytes(2) + frame[20:24] + bytes(2) + frame[26:]
    return frame[:58] + bytes(4) + frame[62:] if frame[20] == 44 else frame


@pytest.mark.parametrize("df", ["", "DF"])
@pytest.mark.parametrize("size", [100, 1400, 1438, 1439, 1458, 1459, 1500])
def test_whatever_does_not_fit_leaves_in_outer_fragments(bench: Bench, size: int, df: str) -> None:
    frame = from_red1(padded(v4(dst="192.0.2.2", flags=df) / UDP(), size))
    pieces = agrees_on_the_wire(bench, "red1", frame, 1500, but=without_identification)

    assert len(pieces) == (1 if size + bench.overhead <= 1500 else 2)
    assert not any(piece[20] & 0x40 for piece in pieces if piece[12:14] == b"\x08\x00")


def test_fragments_of_one_packet_share_an_identification_that_others_have_not() -> None:
    frames = [from_red1(padded(v4(dst="192.0.2.2") / Raw(bytes([n])), 1500)) for n in range(20)]
    with running(NARROW) as bench:
        sent = [agrees_on_the_wire(bench, "red1", frame, 1500, but=without_identification) for frame in frames]
    found = [{Ether(piece)[IP].id for piece in pieces} for pieces in sent]
    assert {len(ids) for ids in found} == {1}
    assert len(set.union(*found)) > 10


@given(payload=st.binary(min_size=1400, max_size=4000), largest=st.integers(1280, 1500))
def test_scapy_reassembles_fragments_of_ipv6(payload: bytes, largest: int) -> None:
    packet = IPv6(src="fd00::1", dst="fd00::2", nh=47) / Raw(payload)
    pieces = [IPv6(piece) for piece in fragments6(raw(packet), largest)]
    assert all(len(raw(piece)) <= largest and IPv6ExtHdrFragment in piece for piece in pieces)
    assert raw(defragment6(pieces))[40:] == payload


# At the receiver


@pytest.mark.parametrize("dataplane", DATAPLANES)
def test_it_is_a_black_hole_where_receivers_drop_fragments_f2(dataplane: str) -> None:
    with NvgreNet(NARROW, dataplane) as net:
        done = transfer(net["red1"], net["red2"], "10.0.0.2", 1 << 18)
        assert (done.connected, done.completed, done.received) == (True, False, 0)
        assert net.dropped()[Drop.OUTER_FRAGMENT] > 0


@pytest.mark.parametrize("dataplane", DATAPLANES)
@pytest.mark.parametrize("underlay", UNDERLAYS)
def test_it_works_where_they_reassemble(dataplane: str, underlay: str) -> None:
    scenario = UNDERLAYS[underlay].with_nve(fragments=Fragments.REASSEMBLE)
    with NvgreNet(scenario, dataplane) as net:
        ping = ["ping", "-n", "-c", "2", "-i", "0.2", "-W", "2", "-M", "do", "-s", "1472", "10.0.0.2"]
        assert net["red1"].run_process(ping).returncode == 0
        done = transfer(net["red1"], net["red2"], "10.0.0.2", 1 << 17)
        assert (done.connected, done.completed) == (True, True)
        assert net.dropped()[Drop.TOO_BIG] == 0


def test_without_df_a_router_of_the_underlay_fragments_f5() -> None:
    scenario = load("contoso_fabrikam").with_nve(too_big=TooBig.FRAGMENT_OUTER, fragments=Fragments.REASSEMBLE)
    with NvgreNet(scenario) as net:
        for node, interface in (("r1", "r1-eth1"), ("host2", "host2-eth0")):
            net[node].set_link(interface, mtu=1400)
        places = [Place(net["host1"], "host1-eth0", incoming_only=False), Place(net["host2"], "host2-eth0")]
        with Watch(places) as watch:
            ping = ["ping", "-n", "-c", "1", "-W", "2", "-M", "do", "-s", "1472", "10.1.1.12"]
            assert net["contoso_sql"].run_process(ping).returncode == 0
            seen = [(s.node, Ether(s.frame)) for s in watch.heard(100)]
        fragmented = {node for node, p in seen if IP in p and p[IP].proto == 47 and (p[IP].flags == "MF" or p[IP].frag)}
        assert "host2" in fragmented
        assert not any(
            p[IP].flags == "MF" for node, p in seen if node == "host1" and IP in p and p[IP].dst != "192.168.1.10"
        )


@pytest.mark.parametrize("fragments", list(Fragments))
@pytest.mark.parametrize("too_big", list(TooBig))
def test_the_verifier_takes_every_mode_beside_whatever_else_costs_stack(too_big: TooBig, fragments: Fragments) -> None:
    costly = load("two_hosts").with_nve(
        clamp_mss=True,
        source_check=SourceCheck.CA,
        unknown=UnknownUnicast.FLOOD,
        neighbours=Neighbours.PROXY,
        dscp=COPY,
        ecn=Ecn.COPY,
        pa_choice=PaChoice.FLOW,
    )
    for scenario in (costly, costly.over_ipv6()):
        with NvgreNet(scenario.with_nve(too_big=too_big, fragments=fragments)) as net:
            assert net["red1"].ping("10.0.0.2")
