"""Inner fragments (RFC 7588): IPv4 packets without DF get through a path that is too narrow, piece by piece."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP, defragment
from scapy.layers.l2 import GRE, Ether
from scapy.packet import Packet, Raw

from experiments.transfer import transfer
from experiments.watch import Place, Watch
from nvgre_node.choices import TooBig
from nvgre_node.dataplane.base import Drop
from nvgre_node.dataplane.planes import ebpf
from nvgre_node.namespace import set_sysctl
from nvgre_node.net import NvgreNet
from nvgre_node.waiting import wait_until
from topologies import load

from .bench import Bench, running
from .frames import OUTER_BYTES, RED, from_red1, padded, v4, v6
from .mutation import Mutant, without
from .oracle import agrees_on_the_wire

FRAGMENTING = load("two_hosts").with_nve(too_big=TooBig.FRAGMENT)
NARROW = FRAGMENTING.with_mtu(underlay=1500, tenant=1500)
JUMBO = FRAGMENTING.with_mtu(underlay=9000, tenant=30000)
DATAPLANES = ["ebpf", "model"]


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with running(NARROW) as bench:
        yield bench


def nobodys(**fields: Any) -> IP:
    """For an address that red2 does not have, so that it answers nothing."""
    return v4(dst="192.0.2.2", **fields)


CUT = {
    "UDP": nobodys(id=7) / UDP(sport=1, dport=2),
    "ICMP": nobodys(id=7) / ICMP(),
    "TCP without DF": nobodys(id=7) / TCP(),
    "a first fragment": nobodys(id=7, flags="MF") / UDP(),
    "a middle fragment": nobodys(id=7, flags="MF", frag=100, proto=17),
    "a last fragment": nobodys(id=7, frag=200, proto=17),
    "the last that there can be": nobodys(id=7, frag=8191 - 185, proto=17),
}
TOLD = {
    "DF": nobodys(flags="DF") / UDP(),
    "IPv6": v6() / UDP(),
    "options": nobodys(options=b"\x94\x04\x00\x00") / UDP(),
    "options that add nothing to the checksum": nobodys(options=bytes(4)) / UDP(),
    "a wrong checksum": nobodys(chksum=1) / UDP(),
    "more than it says": nobodys(len=1490) / UDP(),
}


@pytest.mark.parametrize("size", [1458, 1459, 1466, 1500])
@pytest.mark.parametrize("packet", CUT.values(), ids=CUT)
def test_a_packet_without_df_leaves_in_pieces_that_fit(bench: Bench, packet: Packet, size: int) -> None:
    frame = from_red1(padded(packet, size))
    pieces = agrees_on_the_wire(bench, "red1", frame, 1500)

    assert [len(piece) - 14 <= 1500 for piece in pieces] == [True] * (1 if size == 1458 else 2)
    assert len({Ether(piece)[GRE].key for piece in pieces}) == 1  # one FlowID, so one path
    assert {str(Ether(piece)[IP].flags) for piece in pieces} == {"DF"}  # the outer packets are none (F1, F5)


@pytest.mark.parametrize("packet", TOLD.values(), ids=TOLD)
def test_all_others_are_told_as_ever(bench: Bench, packet: Packet) -> None:
    said = agrees_on_the_wire(bench, "red1", from_red1(padded(packet, 1500)), 1500)
    assert len(said) == 1


def test_an_offset_that_no_header_can_hold_is_refused(bench: Bench) -> None:
    beyond = from_red1(padded(nobodys(frag=8191 - 184, proto=17), 1500))
    assert agrees_on_the_wire(bench, "red1", beyond, 1500) == []


@pytest.mark.parametrize("packet", CUT.values(), ids=CUT)
def test_over_ipv6_the_pieces_are_smaller(over_ipv6: Bench, packet: Packet) -> None:
    pieces = agrees_on_the_wire(over_ipv6, "red1", from_red1(padded(packet, 1441)), 1500)
    assert [len(piece) - 14 for piece in pieces] == [62 + 20 + 1416, 62 + 20 + 5]


@pytest.fixture(scope="module")
def over_ipv6() -> Iterator[Bench]:
    with running(FRAGMENTING.over_ipv6().with_mtu(underlay=1500, tenant=1500)) as bench:
        yield bench


@settings(max_examples=30)
@given(size=st.integers(9001, 30000), offset=st.sampled_from([0, 0, 1000]), more=st.booleans())
def test_pieces_of_many_kilobytes(jumbo: Bench, size: int, offset: int, more: bool) -> None:
    packet = nobodys(id=7, proto=17, frag=offset, flags="MF" if more else 0)
    agrees_on_the_wire(jumbo, "red1", from_red1(padded(packet, size)), 9000)


@pytest.fixture(scope="module")
def jumbo() -> Iterator[Bench]:
    with running(JUMBO) as bench:
        yield bench


# What VMs see

SENDER = """
import socket, struct, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.IPPROTO_IP, 10, 0)  # IP_MTU_DISCOVER: no DF
sock.setsockopt(socket.SOL_SOCKET, 36, struct.pack("=I", int(sys.argv[3])))  # SO_MARK
if int(sys.argv[2]):
    sock.setsockopt(17, 103, int(sys.argv[2]))  # UDP_SEGMENT
sock.sendto(bytes(n % 251 for n in range(int(sys.argv[1]))), ("10.0.0.2", 5007))
"""


def received(net: NvgreNet, size: int, segment: int = 0, mark: int = 0) -> bytes:
    """What red2's application gets of a datagram of red1's, or of several of `segment` bytes."""
    with net["red2"].inside():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        sock.bind(("10.0.0.2", 5007))
        sock.setblocking(False)
        sent = net["red1"].run_process(["python3", "-c", SENDER, str(size), str(segment), str(mark)])
        assert (sent.returncode, sent.stderr) == (0, "")
        got: list[bytes] = []

        def all_there() -> bool:
            with suppress(BlockingIOError):
                got.append(sock.recv(1 << 16))
            return sum(map(len, got)) >= size

        wait_until(all_there, f"{size} bytes in datagrams")
    return b"".join(got)


def sent(size: int) -> bytes:
    return bytes(n % 251 for n in range(size))


@pytest.fixture(scope="module", params=DATAPLANES)
def net(request: pytest.FixtureRequest) -> Iterator[NvgreNet]:
    with NvgreNet(NARROW, request.param) as net:
        yield net


@pytest.mark.parametrize("size", [1430, 1431, 1472, 4000, 60000])
def test_a_datagram_gets_through_whole_whatever_its_size(net: NvgreNet, size: int) -> None:
    assert received(net, size) == sent(size)
    assert not net.dropped()[Drop.TOO_BIG]


def test_so_do_datagrams_that_the_vm_leaves_to_be_segmented(net: NvgreNet) -> None:
    assert received(net, 20 * 1472, segment=1472) == sent(20 * 1472)


def test_the_checksum_on_the_wire_is_right_though_the_vm_left_it_to_others(net: NvgreNet) -> None:
    uplink = Place(net["host1"], net["host1"].uplinks[0], incoming_only=False)
    with Watch([uplink]) as watch:
        received(net, 1472)
        packets = [Ether(s.frame[OUTER_BYTES:]) for s in watch.heard(100)]
    (whole,) = defragment([p[IP] for p in packets if IP in p and p[IP].proto == 17])
    summed = whole.copy()
    del summed[UDP].chksum
    assert whole[UDP].chksum == IP(bytes(summed))[UDP].chksum


def test_a_ping_of_1500_bytes_without_df_is_answered(net: NvgreNet) -> None:
    ping = ["ping", "-n", "-c", "3", "-i", "0.2", "-W", "2", "-M", "dont", "-s", "1472", "10.0.0.2"]
    assert net["red1"].run_process(ping).returncode == 0


def test_tcp_without_df_comes_through(net: NvgreNet) -> None:
    with net["red1"].inside():
        set_sysctl("ipv4/ip_no_pmtu_disc", 1)
    done = transfer(net["red1"], net["red2"], "10.0.0.2", 1 << 18)
    with net["red1"].inside():
        set_sysctl("ipv4/ip_no_pmtu_disc", 0)
    assert (done.connected, done.completed) == (True, True)


@pytest.mark.parametrize("mark", [0x80010001, 0x00030001, 0xFFFFFFFF])
def test_a_vm_cannot_forge_what_the_slow_path_goes_by(net: NvgreNet, mark: int) -> None:
    assert received(net, 1000, mark=mark) == sent(1000)
    assert received(net, 1472, mark=mark) == sent(1472)


def test_fragments_may_come_where_nothing_needs_cutting() -> None:
    with NvgreNet(FRAGMENTING) as net:
        assert received(net, 4000) == sent(4000)


# What protects it, disabled.

MUTANTS = {
    "DF": Mutant("fragment.h", "word & IP_DF ||", ""),
    "options": Mutant("fragment.h", "|| ip->ihl != 5", ""),
    "the checksum": Mutant("fragment.h", "|| ip_checksum(ip) != 0xffff", ""),
    "the length": Mutant("fragment.h", "|| total + ETH_HLEN != skb->len", ""),
    "the last offset": without("fragment.h", "(word & IP_OFFSET) + (total - sizeof(*ip)) / FRAGMENT_UNIT > IP_OFFSET"),
    "MF": Mutant("fragment.h", "ip.frag_off |= bpf_htons(IP_MF);", ""),
    "the offset": Mutant("fragment.h", "bpf_ntohs(ip.frag_off) + taken / FRAGMENT_UNIT", "bpf_ntohs(ip.frag_off)"),
    "units of 8": Mutant("slow_path.h", "/ FRAGMENT_UNIT * FRAGMENT_UNIT", ""),
    "the rest": Mutant("fragment.h", "long lost = bpf_clone_redirect", "long lost = 0 && bpf_clone_redirect"),
    "one FlowID": Mutant("flow.h", "if (!(ip->frag_off & bpf_htons(IP_FRAGMENT)))", "if (1)"),
    "the record that was found": Mutant("slow_path.h", "record_of(SLOW_PATH_RECORD(mark))", "record_of(1)"),
}


def every_check(bench: Bench) -> None:
    for packet in (*CUT.values(), *TOLD.values(), nobodys(frag=8191 - 184, proto=17)):
        agrees_on_the_wire(bench, "red1", from_red1(padded(packet, 1500)), 1500)


def test_the_data_plane_passes_unchanged(bench: Bench) -> None:
    every_check(bench)


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS)
def test_disabling_this_check_is_noticed(mutant: Mutant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = mutant.compiled(tmp_path)
    monkeypatch.setattr(ebpf, "object_file", lambda: path)
    with running(NARROW) as bench, pytest.raises(AssertionError):
        every_check(bench)


def test_the_counters_count_each_piece(bench: Bench) -> None:
    before = bench.host.dataplane.counters()[RED]
    agrees_on_the_wire(bench, "red1", from_red1(padded(nobodys() / Raw(), 1500)), 1500)
    after = bench.host.dataplane.counters()[RED]
    assert after.encapsulated - before.encapsulated == 2
    assert after.encapsulated_bytes - before.encapsulated_bytes == 2 * (14 + 20) + 1480
