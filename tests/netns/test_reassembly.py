"""Outer fragments at the receiver (F2): dropped, or reassembled by the host's kernel where the scenario says so."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP, fragment
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, fragment6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from experiments.watch import Place, Watch, packet_socket
from nvgre_node.choices import Fragments
from nvgre_node.dataplane.base import NO_SUBNET, Drop
from nvgre_node.dataplane.planes import ebpf
from nvgre_node.dataplane.slow_path import ENTRY
from nvgre_node.net import NvgreNet
from nvgre_node.reassembly import reassembly_socket, receive_reassembled
from nvgre_node.waiting import wait_until
from nvgre_node.wire import ETHERTYPE_IPV4
from topologies import load

from .bench import Bench, grouped, running
from .frames import EVERYBODY, RED, RED1, padded, to_red1, v4
from .mutation import Mutant
from .oracle import agrees
from .tap import token

REASSEMBLING = load("two_hosts").with_nve(fragments=Fragments.REASSEMBLE)
UNDERLAYS = {"IPv4": REASSEMBLING, "IPv6": REASSEMBLING.over_ipv6()}
DATAPLANES = ["ebpf", "model"]


@pytest.fixture(scope="module", params=[(d, u) for d in DATAPLANES for u in UNDERLAYS], ids="-".join)
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    dataplane, underlay = request.param
    with NvgreNet(UNDERLAYS[underlay], dataplane) as net:
        yield Bench(net)


def pieces(packet: bytes, size: int = 400) -> list[bytes]:
    """An NVGRE packet from host2 as outer fragments of about `size` bytes, as Scapy makes them."""
    whole = Ether(packet)
    if IPv6 not in whole:
        whole[IP].flags, whole[IP].id = 0, int.from_bytes(token()[-2:], "big")
        del whole[IP].chksum
        return [bytes(piece) for piece in fragment(whole, fragsize=size)]
    header = IPv6ExtHdrFragment(nh=47, id=int.from_bytes(token()[-2:], "big"))
    ip = IPv6(src=whole[IPv6].src, dst=whole[IPv6].dst, tc=whole[IPv6].tc)
    ethernet = Ether(src=whole.src, dst=whole.dst)
    return [bytes(ethernet / piece) for piece in fragment6(ip / header / Raw(packet[54:]), size)]


def frame_of(size: int, ecn: int = 0, dst: str = RED1) -> tuple[bytes, bytes]:
    """A frame of red2's for red1 with `size` bytes of IP packet, and the mark by which it is known."""
    mark = token()
    datagram: Packet = v4(src="10.0.0.2", dst="10.0.0.1", tos=ecn) / UDP(sport=1, dport=2, chksum=0) / Raw(mark)
    return to_red1(padded(datagram, size), dst=dst), mark


def arrive(bench: Bench, packets: list[bytes], mark: bytes) -> list[bytes]:
    """Packets reach host1 from the underlay; what red1 hears of them. A whole packet follows, and has to arrive."""
    last, end = frame_of(100)
    with (
        Watch([Place(bench.net["red1"], "eth0")]) as watch,
        packet_socket(Place(bench.peer, bench.peer.uplinks[0])) as sock,
    ):
        for packet in (*packets, bench.nvgre(last, RED)):
            sock.send(packet)
        seen = watch.until(lambda so_far: any(end in s.frame for s in so_far)) + watch.heard(100)
    assert any(end in sighting.frame for sighting in seen)
    return [sighting.frame for sighting in seen if mark in sighting.frame]


def counted(bench: Bench) -> tuple[int, int]:
    """Outer fragments, and drops for want of a permitted source PA, at host1 so far."""
    counters = bench.host.dataplane.counters()
    return counters[NO_SUBNET].outer_fragments, counters[RED].dropped.get(Drop.SOURCE_PA, 0)


@pytest.mark.parametrize("size", [500, 1500])
def test_fragments_are_delivered_as_the_frame_that_was_sent(bench: Bench, size: int) -> None:
    frame, mark = frame_of(size)
    split, before = pieces(bench.nvgre(frame, RED)), counted(bench)

    assert arrive(bench, split, mark) == [frame]
    assert counted(bench)[0] - before[0] == len(split)


def test_in_whatever_order_they_come(bench: Bench) -> None:
    frame, mark = frame_of(1400)
    assert arrive(bench, pieces(bench.nvgre(frame, RED))[::-1], mark) == [frame]


def test_without_one_of_them_there_is_nothing(bench: Bench) -> None:
    frame, mark = frame_of(1400)
    assert arrive(bench, pieces(bench.nvgre(frame, RED))[:-1], mark) == []


def test_what_is_whole_needs_no_kernel_and_comes_once(bench: Bench) -> None:
    frame, mark = frame_of(1400)
    before = counted(bench)
    assert arrive(bench, [bench.nvgre(frame, RED)], mark) == [frame]
    assert counted(bench)[0] == before[0]


def test_what_was_reassembled_passes_every_check_of_what_came_whole_c1(bench: Bench) -> None:
    frame, mark = frame_of(1400)
    stranger = "fd00:9::77" if bench.nvgre(frame, RED)[12:14] == b"\x86\xdd" else "192.168.0.77"
    before = counted(bench)
    assert arrive(bench, pieces(bench.nvgre(frame, RED, src=stranger)), mark) == []
    after = counted(bench)
    assert (after[0] > before[0], after[1] - before[1]) == (True, 1)


@pytest.mark.parametrize(("codes", "heard"), [((1, 1), [1]), ((1, 3), [3]), ((0, 1), []), ((0, 3), [])])
def test_a_mix_of_not_ect_and_others_is_discarded_rfc9601(
    bench: Bench, codes: tuple[int, int], heard: list[int]
) -> None:
    frame, mark = frame_of(700, ecn=1)
    split = [Ether(piece) for piece in pieces(bench.nvgre(frame, RED), 480)]
    for piece, code in zip(split, codes, strict=True):
        if piece.type == ETHERTYPE_IPV4:
            piece[IP].tos = code
            del piece[IP].chksum
        else:
            piece[IPv6].tc = code
    arrived = arrive(bench, [bytes(piece) for piece in split], mark)
    assert [Ether(inner)[IP].tos & 3 for inner in arrived] == heard


def test_large_packets_come_through_too() -> None:
    for scenario in UNDERLAYS.values():
        with NvgreNet(scenario.with_mtu(underlay=1500, tenant=9000)) as net:
            bench = Bench(net)
            frame, mark = frame_of(8900)
            assert arrive(bench, pieces(bench.nvgre(frame, RED), 1480), mark) == [frame]


@pytest.mark.parametrize("dataplane", DATAPLANES)
def test_fragments_of_a_packet_for_a_group_are_made_whole_for_its_members_b2(dataplane: str) -> None:
    for scenario in UNDERLAYS.values():
        with NvgreNet(grouped(scenario), dataplane) as net:
            bench = Bench(net)
            frame, mark = frame_of(1400, dst=EVERYBODY)
            assert arrive(bench, pieces(bench.to_group(frame, RED)), mark) == [frame]


# What the data plane does with each fragment, and what it does by default


@pytest.fixture(scope="module", params=UNDERLAYS.values(), ids=list(UNDERLAYS))
def steps(request: pytest.FixtureRequest) -> Iterator[Bench]:
    with running(request.param) as steps:
        yield steps


def test_each_fragment_is_left_to_the_kernel_and_counted(steps: Bench) -> None:
    for piece in pieces(steps.nvgre(frame_of(1400)[0], RED)):
        assert agrees(steps, steps.uplink, piece).left_alone
    agrees(steps, steps.uplink, steps.nvgre(frame_of(1400)[0], RED))


def interfaces(net: NvgreNet) -> set[str]:
    listed = net["host1"].run_process(["ip", "-brief", "link"]).stdout.splitlines()
    return {line.split()[0].split("@")[0] for line in listed}


@pytest.mark.parametrize("dataplane", DATAPLANES)
def test_by_default_they_are_dropped_and_nothing_is_there_for_them(dataplane: str) -> None:
    threads = threading.active_count()
    with NvgreNet(load("two_hosts"), dataplane) as net:
        bench = Bench(net)
        frame, mark = frame_of(1400)
        split = pieces(bench.nvgre(frame, RED))
        assert arrive(bench, split, mark) == []
        assert net.dropped() == {Drop.OUTER_FRAGMENT: len(split)}
        assert ENTRY not in interfaces(net)
        assert threading.active_count() == threads + (len(net.provider_hosts) if dataplane == "model" else 0)


def test_its_thread_ends_with_the_network() -> None:
    before = threading.active_count()
    with NvgreNet(REASSEMBLING) as net:
        assert threading.active_count() == before + len(net.provider_hosts)
        assert ENTRY in interfaces(net)
    assert threading.active_count() == before


def test_the_sockets_tell_what_came_in_pieces_from_what_came_whole() -> None:
    with NvgreNet(load("two_hosts"), "model") as net:  # whose kernel gets to see both
        bench = Bench(net)
        frame, _ = frame_of(700)
        packet = bench.nvgre(frame, RED)
        with bench.host.inside():
            sock = reassembly_socket(socket.AF_INET)
        with sock, packet_socket(Place(bench.peer, bench.peer.uplinks[0])) as mouth:
            sock.setblocking(True)
            sock.settimeout(5)
            for sent in (packet, *pieces(packet)):
                mouth.send(sent)
            assert receive_reassembled(sock, packet[:6]) is None
            whole = wait_until(lambda: receive_reassembled(sock, packet[:6]), "the reassembled packet")
        assert ((whole or b"")[:6], (whole or b"")[34:]) == (packet[:6], packet[34:])


MUTANTS = {
    "the setting": Mutant("decapsulate.h", "fault == DROP_OUTER_FRAGMENT && nve.reassemble", "0"),
    "the way back": Mutant("nvgre.bpf.c", "if (nve.reassemble && !mark && !pull_headers(skb))", "if (0)"),
}


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS)
def test_disabling_this_is_noticed(mutant: Mutant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = mutant.compiled(tmp_path)
    monkeypatch.setattr(ebpf, "object_file", lambda: path)
    frame, mark = frame_of(1400)
    with NvgreNet(REASSEMBLING) as net:
        bench = Bench(net)
        assert arrive(bench, pieces(bench.nvgre(frame, RED)), mark) == []


def test_fragments_are_no_way_past_the_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Mutant("decapsulate.h", "&& nve.reassemble", "").compiled(tmp_path)
    monkeypatch.setattr(ebpf, "object_file", lambda: path)
    with running(load("two_hosts")) as bench, pytest.raises(AssertionError):
        agrees(bench, bench.uplink, pieces(bench.nvgre(frame_of(1400)[0], RED))[0])
