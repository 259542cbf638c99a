"""Two hosts, two tenants, one wire: who hears what, and what the wire carries meanwhile."""

import hashlib
import random
import socket
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.packet import Packet, Raw

from nvgre_node.choices import FlowIds
from nvgre_node.dataplane.base import Drop
from nvgre_node.net import NvgreNet
from nvgre_node.node import TenantVM
from topologies import load

from .frames import (
    BLUE,
    BLUE1,
    BLUE2,
    EVERYBODY,
    EXPERIMENTAL,
    GROUP,
    KINDS,
    OUTER_BYTES,
    RED,
    RED1,
    RED2,
    RED3,
    STRANGER,
    from_red1,
    v4,
)
from .tap import Tap, token, vms, wire

MAC = {"red1": RED1, "red2": RED2, "red3": RED3, "blue1": BLUE1, "blue2": BLUE2}


@pytest.fixture(scope="module")
def tap() -> Iterator[Tap]:
    with NvgreNet(load("two_hosts")) as net, Tap(net) as tap:
        yield tap


def vsid(frame: bytes) -> int:
    """The VSID of a frame on the wire."""
    return int.from_bytes(frame[38:41], "big")


def is_multicast(frame: bytes) -> bool:
    """Whether a frame is for more than one, as neighbour discovery is, which rightly reaches every host."""
    return bool(frame[0] & 1)


def raw(source: str, destination: str, mark: bytes) -> bytes:
    """A frame between two VMs by name, or to a MAC address."""
    return bytes(Ether(src=MAC[source], dst=MAC.get(destination, destination), type=EXPERIMENTAL) / Raw(mark))


# Unicast


@pytest.mark.parametrize("address", ["10.0.0.2", "fd00:10::2", "10.0.0.3", "fd00:10::3"])
def test_ping_within_red_i3_u1(tap: Tap, address: str) -> None:
    assert tap.net["red1"].ping(address)


@pytest.mark.parametrize("address", ["10.0.0.2", "fd00:10::2"])
def test_ping_within_blue_by_the_same_addresses_t4(tap: Tap, address: str) -> None:
    assert tap.net["blue1"].ping(address)


@pytest.mark.parametrize("address", ["10.0.0.3", "fd00:10::3"])
def test_blue_cannot_ping_what_only_red_has_t4(tap: Tap, address: str) -> None:
    assert not tap.net["blue1"].ping(address, timeout=1)


@pytest.mark.parametrize(
    ("source", "destination", "number"),
    [
        ("red1", "red2", RED),
        ("red2", "red1", RED),
        ("red3", "red2", RED),
        ("red2", "red3", RED),
        ("blue1", "blue2", BLUE),
        ("blue2", "blue1", BLUE),
    ],
)
def test_any_ethertype_reaches_one_vm_unchanged_and_crosses_the_wire_once_i1_u3(
    tap: Tap, source: str, destination: str, number: int
) -> None:
    mark = token()
    frame = raw(source, destination, mark)

    heard = tap.say(source, frame, mark)

    assert vms(heard) == {destination: 1}
    assert heard[destination] == [frame]
    assert [(vsid(outer), outer[OUTER_BYTES:]) for outer in wire(heard)] == [(number, frame)]


@pytest.mark.parametrize(("source", "destination"), [("red1", "red3"), ("red3", "red1")])
def test_neighbours_on_one_host_never_use_the_wire(tap: Tap, source: str, destination: str) -> None:
    mark = token()
    frame = raw(source, destination, mark)

    assert tap.say(source, frame, mark) == {destination: [frame]}


@pytest.mark.parametrize("address", ["10.0.0.3", "fd00:10::3"])
def test_pings_on_one_host_never_use_the_wire(tap: Tap, address: str) -> None:
    heard = tap.during(lambda: tap.net["red1"].ping(address, count=3))

    assert [outer for outer in wire(heard) if outer[23] == 47 and not is_multicast(outer[OUTER_BYTES:])] == []


@pytest.mark.parametrize("destination", [STRANGER, BLUE1, BLUE2], ids=["nobody", "blue1", "blue2"])
def test_a_frame_for_somebody_elses_mac_is_heard_by_nobody_t4_b6(tap: Tap, destination: str) -> None:
    mark = token()

    assert tap.say("red1", raw("red1", destination, mark), mark) == {}


@pytest.mark.parametrize("packet", KINDS.values(), ids=KINDS.keys())
def test_every_kind_of_packet_arrives_as_it_was_sent_i1_i3_u3(tap: Tap, packet: Packet) -> None:
    mark = token()
    frame = from_red1(packet) + mark if len(packet) < 1000 else from_red1(packet)[: -len(mark)] + mark

    heard = tap.say("red1", frame, mark)

    assert heard["red2"] == [frame]


@pytest.mark.parametrize("length", [0, 1, 8, 19, 20, 39, 40])
@pytest.mark.parametrize("ethertype", [0x0800, 0x86DD, 0x0806, EXPERIMENTAL, 0x0010], ids=hex)
def test_short_and_broken_payloads_arrive_as_they_were_sent_i1_i2_u3(tap: Tap, ethertype: int, length: int) -> None:
    mark = token()[-4:].rjust(6, b"\x06")
    frame = bytes(Ether(dst=RED2, src=mark, type=ethertype) / Raw(bytes(range(length))))

    heard = tap.say("red1", frame, mark)

    assert heard.get("red2") == [frame]


# Broadcast


@pytest.mark.parametrize("destination", [EVERYBODY, GROUP, "33:33:00:00:00:01", "01:80:c2:00:00:0e"])
@pytest.mark.parametrize(
    ("source", "hearers", "number"),
    [
        ("red1", {"red2", "red3"}, RED),
        ("red2", {"red1", "red3"}, RED),
        ("blue1", {"blue2"}, BLUE),
        ("blue2", {"blue1"}, BLUE),
    ],
)
def test_a_broadcast_reaches_exactly_its_subnet_and_each_vm_once_b5_t4(
    tap: Tap, source: str, hearers: set[str], number: int, destination: str
) -> None:
    mark = token()
    frame = raw(source, destination, mark)

    heard = tap.say(source, frame, mark)

    assert vms(heard) == dict.fromkeys(hearers, 1)
    assert {got for node in hearers for got in heard[node]} == {frame}
    assert [(vsid(outer), outer[OUTER_BYTES:]) for outer in wire(heard)] == [(number, frame)]  # one copy per NVE


def test_an_arp_request_is_answered_by_the_own_tenants_vm_alone_t4(tap: Tap) -> None:
    request = from_red1(ARP(hwsrc=RED1, psrc="10.0.0.1", pdst="10.0.0.2"), dst=EVERYBODY)

    heard = tap.say("red1", request, mark=b"")

    answers = [Ether(frame)[ARP] for frame in heard["red1"] if frame[12:14] == b"\x08\x06"]
    assert [(answer.op, answer.hwsrc, answer.psrc) for answer in answers] == [(2, RED2, "10.0.0.2")]


# Tags: on the wire only, since a test run leaves a tag in the data where a network card takes it out


TAGS = {
    "VID 10": Dot1Q(vlan=10),
    "VID 0, a priority tag": Dot1Q(vlan=0, prio=6),
    "PCP, DEI and VID 4094": Dot1Q(vlan=4094, prio=7, dei=1),
    "S-tag": Dot1AD(vlan=10),
    "QinQ": Dot1AD(vlan=10) / Dot1Q(vlan=20),
    "two C-tags": Dot1Q(vlan=10) / Dot1Q(vlan=20),
}


@pytest.mark.parametrize("tags", TAGS.values(), ids=TAGS.keys())
@pytest.mark.parametrize("destination", [RED2, EVERYBODY], ids=["to red2", "to all"])
@pytest.mark.parametrize("payload", [v4(dst="10.0.0.99", proto=253), ARP(hwsrc=RED1, op=2)], ids=["IPv4", "ARP"])
def test_every_tag_is_removed_before_encapsulation_i4_i5(
    tap: Tap, tags: Packet, destination: str, payload: Packet
) -> None:
    mark = token()
    content = Raw(bytes(40) + mark)
    untagged = from_red1(payload, content, dst=destination)

    heard = tap.say("red1", from_red1(tags, payload, content, dst=destination), mark)

    assert heard["red2"] == [untagged]
    assert [outer[OUTER_BYTES:] for outer in wire(heard)] == [untagged]


@pytest.mark.parametrize("tags", TAGS.values(), ids=TAGS.keys())
def test_a_neighbour_on_the_same_host_gets_no_tag_either_i5(tap: Tap, tags: Packet) -> None:
    mark = token()

    heard = tap.say("red1", from_red1(tags, v4(proto=253), Raw(mark), dst=RED3), mark)

    assert heard == {"red3": [from_red1(v4(proto=253), Raw(mark), dst=RED3)]}


@pytest.mark.parametrize(
    "tags",
    [Raw(b"\x91\x00\x00\x0a"), Dot1Q(vlan=1) / Dot1Q(vlan=2) / Dot1Q(vlan=3) / Dot1Q(vlan=4) / Dot1Q(vlan=5)],
    ids=["0x9100", "five tags"],
)
@pytest.mark.parametrize("destination", [RED2, RED3, EVERYBODY], ids=["to red2", "to red3", "to all"])
def test_what_cannot_be_untagged_goes_nowhere_i4_i7_g16(tap: Tap, tags: Packet, destination: str) -> None:
    mark, before = token(), drops(tap.net)
    ethernet = bytes(Ether(src=RED1, dst=destination, type=0x8100))
    frame = ethernet + bytes(tags) if Dot1Q in tags else ethernet[:12] + bytes(tags)

    heard = tap.say("red1", frame + b"\x08\x00" + bytes(40) + mark, mark)

    assert heard == {}
    assert drops(tap.net) == before | {Drop.TAG_DEPTH: before.get(Drop.TAG_DEPTH, 0) + 1}


def drops(net: NvgreNet) -> dict[Drop, int]:
    return dict(net.counters()["host1"][RED].dropped)


# FlowID


def test_without_flow_ids_every_packet_has_flow_id_zero_g9() -> None:
    with NvgreNet(load("two_hosts").with_nve(flow_ids=FlowIds.NONE)) as net, Tap(net) as tap:

        def talk() -> None:
            assert net["red1"].ping("10.0.0.2", count=3)
            assert net["red1"].ping("fd00:10::2")
            assert net["blue2"].ping("10.0.0.1")

        tunnelled = [outer for outer in wire(tap.during(talk)) if outer[23] == 47]

    assert len(tunnelled) >= 10
    assert {outer[41] for outer in tunnelled} == {0}


# Streams


def received(source: TenantVM, destination: TenantVM, address: str, data: bytes) -> bytes:
    """What the other end of a TCP connection gets when `data` is sent into it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with destination.inside():
        server = socket.create_server((address, 0), family=family)
    with source.inside():
        client = socket.create_connection((address, server.getsockname()[1]), timeout=20)
    with server, client, ThreadPoolExecutor(1) as pool:
        connection, _ = server.accept()
        connection.settimeout(20)
        sending = pool.submit(_send_all, client, data)
        with connection, connection.makefile("rb") as stream:
            got = stream.read()
        sending.result()
    return got


def _send_all(client: socket.socket, data: bytes) -> None:
    client.sendall(data)
    client.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize(
    ("source", "destination", "address"),
    [
        ("red1", "red2", "10.0.0.2"),
        ("red1", "red2", "fd00:10::2"),
        ("red2", "red1", "10.0.0.1"),
        ("red1", "red3", "10.0.0.3"),
        ("blue1", "blue2", "10.0.0.2"),
    ],
)
def test_a_megabyte_of_tcp_arrives_intact_u3(tap: Tap, source: str, destination: str, address: str) -> None:
    data = random.Random(7637).randbytes(1 << 20)  # noqa: S311

    got = received(tap.net[source], tap.net[destination], address, data)

    assert hashlib.sha256(got).hexdigest() == hashlib.sha256(data).hexdigest()


def test_two_tenants_with_equal_addresses_keep_their_streams_apart_t4(tap: Tap) -> None:
    for_red, for_blue = b"red" * 100_000, b"blue" * 100_000

    assert received(tap.net["red1"], tap.net["red2"], "10.0.0.2", for_red) == for_red
    assert received(tap.net["blue1"], tap.net["blue2"], "10.0.0.2", for_blue) == for_blue


@pytest.mark.parametrize(("source", "destination", "number"), [("red1", "red2", RED), ("blue1", "blue2", BLUE)])
@pytest.mark.parametrize("address", ["10.0.0.2", "fd00:10::2"])
def test_what_one_nve_encapsulates_the_other_decapsulates(
    tap: Tap, source: str, destination: str, number: int, address: str
) -> None:
    def tally() -> Counter[str]:
        tap.during(lambda: None)  # until all is quiet
        return tunnelled(tap.net, number)

    before = tally()
    received(tap.net[source], tap.net[destination], address, bytes(1 << 20))
    moved = tally() - before

    assert moved["host1 encapsulated_bytes"] > 1 << 20
    for sender, receiver in (("host1", "host2"), ("host2", "host1")):
        assert moved[f"{sender} encapsulated"] == moved[f"{receiver} decapsulated"] > 10
        assert moved[f"{sender} encapsulated_bytes"] == moved[f"{receiver} decapsulated_bytes"]


def tunnelled(net: NvgreNet, number: int) -> Counter[str]:
    """What each NVE counts of one virtual subnet."""
    tally: Counter[str] = Counter()
    for host, subnets in net.counters().items():
        counted = subnets[number]
        for name in ("encapsulated", "encapsulated_bytes", "decapsulated", "decapsulated_bytes"):
            tally[f"{host} {name}"] = getattr(counted, name)
    return tally


def test_packets_are_counted_as_the_wire_has_them_whatever_the_offloads_d2(tap: Tap) -> None:
    """A megabyte in segments of at most 1448 bytes, however large the pieces are in which the kernel hands it over."""
    before = tunnelled(tap.net, RED)
    received(tap.net["red1"], tap.net["red2"], "10.0.0.2", bytes(1 << 20))
    moved = tunnelled(tap.net, RED) - before

    assert moved["host1 encapsulated"] >= (1 << 20) / 1460
