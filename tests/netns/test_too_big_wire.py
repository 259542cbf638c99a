"""An underlay of 1500 bytes and VMs that think they have 1500 too: told, never fragmented (F1, F5, RFC 7588)."""

import json
from collections.abc import Iterator

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6PacketTooBig, IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from experiments.transfer import transfer
from nvgre_node.choices import TooBig
from nvgre_node.net import NvgreNet
from topologies import load

from .frames import KINDS, from_red1, padded, v4, v6
from .tap import Heard, Tap, token, wire

NARROW = load("two_hosts").with_mtu(underlay=1500, tenant=1500)
LIMIT = 1500 - 42


@pytest.fixture(scope="module")
def tap() -> Iterator[Tap]:
    with NvgreNet(NARROW) as net, Tap(net) as tap:
        yield tap


PACKETS = {
    "ICMP, DF": v4(flags="DF") / ICMP(),
    "TCP, DF": v4(flags="DF") / TCP(dport=9),
    "UDP, DF": v4(flags="DF") / UDP(dport=9),
    "UDP, no DF": v4() / UDP(dport=9),
    "ICMPv6": v6() / ICMPv6EchoRequest(),
    "TCP over IPv6": v6() / TCP(dport=9),
    "UDP over IPv6": v6() / UDP(dport=9),
}


def of_size(packet: Packet, size: int, mark: bytes) -> Packet:
    """The packet, `size` bytes long, with the mark right behind its headers, where an answer quotes it."""
    return padded(packet / Raw(mark), size)


def answers(heard: Heard) -> list[Packet]:
    """What told red1 that a packet does not fit."""
    frames = map(Ether, heard.get("red1", []))
    return [frame for frame in frames if is_fragmentation_needed(frame) or ICMPv6PacketTooBig in frame]


def is_fragmentation_needed(frame: Packet) -> bool:
    return ICMP in frame and (frame[ICMP].type, frame[ICMP].code) == (3, 4)


def told_mtu(answer: Packet) -> int:
    return int(answer[ICMP].nexthopmtu if ICMP in answer else answer[ICMPv6PacketTooBig].mtu)


@pytest.mark.parametrize("packet", PACKETS.values(), ids=PACKETS.keys())
def test_the_largest_packet_arrives_and_nobody_complains_f3(tap: Tap, packet: Packet) -> None:
    mark = token()
    frame = from_red1(of_size(packet, LIMIT, mark))

    heard = tap.say("red1", frame, mark)

    assert frame in heard["red2"]
    assert answers(heard) == []


@pytest.mark.parametrize("size", [LIMIT + 1, LIMIT + 8, 1500])
@pytest.mark.parametrize("packet", PACKETS.values(), ids=PACKETS.keys())
def test_one_byte_more_is_told_and_never_reaches_the_wire_f1_f5(tap: Tap, packet: Packet, size: int) -> None:
    mark = token()

    heard = tap.say("red1", from_red1(of_size(packet, size, mark)), mark)

    assert set(heard) == {"red1"}
    (answer,) = answers(heard)
    assert told_mtu(answer) == LIMIT
    assert (answer.payload.src, answer.payload.dst) == (packet.dst, packet.src)


@pytest.mark.parametrize("version", [IP, IPv6])
def test_the_sender_learns_the_path_mtu_and_ping_says_so_f4(tap: Tap, version: type[Packet]) -> None:
    address, fits = ("10.0.0.2", LIMIT - 28) if version is IP else ("fd00:10::2", LIMIT - 48)
    ping = ["ping", "-n", "-c", "1", "-W", "2", "-M", "do", "-s"]

    assert tap.net["red1"].run_process([*ping, str(fits), address]).returncode == 0
    assert tap.net["red1"].run_process([*ping, str(fits + 1), address]).returncode != 0
    (route,) = json.loads(tap.net["red1"].run_process(["ip", "-json", "route", "get", address]).stdout)
    assert [metric["mtu"] for metric in route["metrics"]] == [LIMIT]


def test_df_is_always_set_and_nothing_is_ever_a_fragment_f1_f5(tap: Tap) -> None:
    vm = tap.net["red1"]

    def talk() -> None:
        for size in ("56", "1400", "3000", "9000"):  # the VM's own fragments are its own affair
            vm.run_process(["ping", "-n", "-c", "2", "-i", "0.2", "-W", "1", "-M", "dont", "-s", size, "10.0.0.2"])

    outer = [Ether(frame)[IP] for frame in wire(tap.during(talk)) if frame[23] == 47]

    assert len(outer) > 8
    assert {(int(packet.flags), packet.frag) for packet in outer} == {(2, 0)}


@pytest.mark.parametrize("packet", KINDS.values(), ids=KINDS.keys())
def test_df_is_set_whatever_the_inner_packet_says_f5(tap: Tap, packet: Packet) -> None:
    if len(packet) > LIMIT:
        packet = packet.__class__(bytes(packet)[:LIMIT])
    mark = token()

    heard = tap.say("red1", from_red1(packet)[: 14 + LIMIT - len(mark)] + mark, mark)

    (outer,) = wire(heard)
    assert Ether(outer)[IP].flags == "DF"


@pytest.mark.parametrize(("source", "destination"), [("red1", "red2"), ("blue2", "blue1")])
@pytest.mark.parametrize("version", [4, 6])
def test_a_tcp_transfer_completes_where_senders_are_told_rfc7588(
    tap: Tap, source: str, destination: str, version: int
) -> None:
    address = str(tap.net[destination].vm.ca(version))

    done = transfer(tap.net[source], tap.net[destination], address, 1 << 20)

    assert (done.connected, done.completed) == (True, True)


def test_a_tcp_transfer_stalls_in_a_black_hole_rfc7588() -> None:
    with NvgreNet(NARROW.with_nve(too_big=TooBig.DROP)) as net:
        done = transfer(net["red1"], net["red2"], "10.0.0.2", 1 << 18)

    assert (done.connected, done.completed, done.received) == (True, False, 0)
