"""The `ebpf` data plane does what the executable specification says: same deliveries, same bytes, same counters."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6PacketTooBig
from scapy.packet import Packet, Raw

from nvgre_node.choices import UnknownUnicast
from nvgre_node.dataplane import model
from nvgre_node.dataplane.model import encapsulate, headers
from nvgre_node.groups import group_mac
from nvgre_node.wire import octets
from topologies import load

from .bench import INNER_GROUP, INNER_GROUP6, Bench, grouped, running
from .frames import (
    BLUE,
    BLUE2,
    EVERYBODY,
    GROUP,
    NOBODYS,
    RED,
    RED1,
    RED2,
    RED3,
    STRANGER,
    frames,
    from_red1,
    is_runnable,
    padded,
    v4,
    v6,
)
from .oracle import agrees, agrees_on_flood, state_of

UNDERLAYS = {"IPv4": load("two_hosts"), "IPv6": load("two_hosts").over_ipv6()}
"""The same network over either IP version (O5)."""


@pytest.fixture(scope="module", params=list(UNDERLAYS.values()), ids=list(UNDERLAYS))
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    with running(request.param) as bench:
        yield bench


@pytest.fixture(scope="module", params=list(UNDERLAYS.values()), ids=list(UNDERLAYS))
def flooding(request: pytest.FixtureRequest) -> Iterator[Bench]:
    with running(request.param.with_nve(unknown=UnknownUnicast.FLOOD)) as bench:
        yield bench


@given(frame=frames, destination=st.sampled_from([RED2, RED3, RED1, BLUE2, STRANGER]))
def test_unicast_from_a_vm(bench: Bench, frame: bytes, destination: str) -> None:
    agrees(bench, "red1", octets(destination) + frame[6:])


TOO_BIG = [
    v4() / TCP(dport=80),
    v4(flags="DF") / UDP(dport=53),
    v4() / ICMP(),
    v4() / ICMP(type=3, code=4),
    v4(frag=3, proto=17),
    v4(flags="MF") / UDP(),
    v4(src="0.0.0.0"),  # noqa: S104
    v4(src="224.0.0.1"),
    v4(dst="255.255.255.255"),
    v6() / TCP(dport=80),
    v6() / ICMPv6EchoRequest(),
    v6() / ICMPv6PacketTooBig(),
    v6(src="::"),
    v6(src="ff02::1"),
]


@pytest.mark.parametrize("packet", TOO_BIG, ids=lambda packet: packet.summary())
@pytest.mark.parametrize("size", [1500, 1501, 1502, 1999, 2000])
def test_what_does_not_fit_and_what_its_sender_is_told(bench: Bench, packet: Packet, size: int) -> None:
    said = agrees(bench, "red1", from_red1(padded(packet, size)))

    assert said.counted.get((RED, "TOO_BIG"), 0) == (size > 1500)


@st.composite
def outer_packets(draw: st.DrawFn, bench: Bench) -> bytes:
    """An NVGRE packet for host1, whole or with anything broken: truncated, bits flipped, padded, for somebody else."""
    inner = octets(draw(st.sampled_from([RED1, RED3, RED2, STRANGER]))) + draw(frames)[6:]
    vsid = draw(st.sampled_from([RED, BLUE, NOBODYS, 0, 4095, 0xFFFFFF]) | st.integers(0, 0xFFFFFF))
    bytes_ = st.integers(0, 255)
    packet = bytearray(bench.nvgre(inner, vsid, draw(bytes_), traffic_class=draw(bytes_)))
    for position in draw(st.lists(st.integers(0, bench.overhead + 13), max_size=2)):
        packet[position] ^= 1 << draw(st.integers(0, 7))
    if draw(st.booleans()):
        return bytes(packet[: draw(st.integers(34, len(packet)))])
    return bytes(packet) + bytes(draw(st.sampled_from([0, 0, 4, 18])))


@given(data=st.data())
def test_whatever_arrives_from_the_wire(bench: Bench, data: st.DataObject) -> None:
    packet = data.draw(outer_packets(bench).filter(is_runnable))
    wanted = model.handle(state_of(bench), bench.uplink, packet)
    if wanted.out and packet[bench.overhead] & 1:
        return  # to a group: a bit flip made it so; that is the next test's
    agrees(bench, bench.uplink, packet)


@given(frame=frames, group=st.sampled_from([EVERYBODY, GROUP]), from_wire=st.booleans())
def test_a_frame_for_everybody(bench: Bench, frame: bytes, group: str, from_wire: bool) -> None:
    flooded = octets(group) + octets(STRANGER) + frame[12:]

    if from_wire:
        agrees_on_flood(bench, bench.uplink, bench.nvgre(flooded, RED), flooded)
    else:
        agrees_on_flood(bench, "red1", flooded, flooded)


@given(frame=frames)
def test_unknown_unicast_is_flooded_where_the_scenario_says_so_b6(flooding: Bench, frame: bytes) -> None:
    unknown = octets(STRANGER) + octets(RED1) + frame[12:]

    agrees_on_flood(flooding, "red1", unknown, unknown)
    agrees_on_flood(flooding, flooding.uplink, flooding.nvgre(unknown, RED), unknown)
    agrees(flooding, flooding.uplink, flooding.nvgre(octets(RED2) + unknown[6:], RED))


@pytest.fixture(scope="module", params=["IPv4", "IPv4, flooding", "IPv6"])
def in_groups(request: pytest.FixtureRequest) -> Iterator[Bench]:
    scenario = load("two_hosts").over_ipv6() if request.param == "IPv6" else load("two_hosts")
    unknown = UnknownUnicast.FLOOD if "flooding" in request.param else UnknownUnicast.DROP
    with running(grouped(scenario).with_nve(unknown=unknown)) as bench:
        yield bench


INNER_GROUPS = [EVERYBODY, GROUP, group_mac(INNER_GROUP).hex(":"), group_mac(INNER_GROUP6).hex(":")]


@given(frame=frames, inner=st.sampled_from(INNER_GROUPS), sender=st.sampled_from(["red1", "blue1"]))
def test_what_is_for_many_leaves_once_for_a_group_b2_b3(
    in_groups: Bench, frame: bytes, inner: str, sender: str
) -> None:
    flooded = octets(inner) + octets(STRANGER) + frame[12:]

    agrees_on_flood(in_groups, sender, flooded, flooded)


@given(frame=frames, destination=st.sampled_from([RED2, STRANGER]))
def test_unicast_and_groups(in_groups: Bench, frame: bytes, destination: str) -> None:
    unicast = octets(destination) + octets(RED1) + frame[12:]
    if destination == STRANGER and in_groups.host.policy.nve.unknown is UnknownUnicast.FLOOD:
        agrees_on_flood(in_groups, "red1", unicast, unicast)
    else:
        agrees(in_groups, "red1", unicast)


@pytest.mark.parametrize("inner", [EVERYBODY, group_mac(INNER_GROUP).hex(":")])
@pytest.mark.parametrize("size", [1500, 1501])
def test_what_does_not_fit_into_a_packet_for_a_group(in_groups: Bench, inner: str, size: int) -> None:
    frame = from_red1(padded(v4() / UDP(), size), dst=inner)

    agrees_on_flood(in_groups, "red1", frame, frame)


@given(
    frame=frames,
    inner=st.sampled_from([RED1, RED2, STRANGER, EVERYBODY, *INNER_GROUPS]),
    vsid=st.sampled_from([RED, BLUE, NOBODYS, 0, 0xFFFFFF]),
    group=st.sampled_from([0, 1, 2]),
    mac=st.sampled_from(["its", "its", "that of the first", "the NVE's", EVERYBODY, GROUP]),
)
def test_what_arrives_for_a_group_b2_b4(
    in_groups: Bench, frame: bytes, inner: str, vsid: int, group: int, mac: str
) -> None:
    """By the Ethernet address of the group, or by one that is not its: then it is not for this NVE."""
    carried = octets(inner) + octets(STRANGER) + frame[12:]
    to = in_groups.groups[group]
    first = group_mac(in_groups.groups[0]).hex(":")
    macs = {"its": group_mac(to).hex(":"), "that of the first": first, "the NVE's": in_groups.mac}
    packet = in_groups.to_group(carried, vsid, to, dst=macs.get(mac, mac))

    wanted = model.handle(state_of(in_groups), in_groups.uplink, packet)

    if not wanted.out or (vsid, inner) == (RED, RED1):
        agrees(in_groups, in_groups.uplink, packet)
    else:
        agrees_on_flood(in_groups, in_groups.uplink, packet, carried)


@pytest.mark.parametrize(
    ("module", "part", "wrong"), [(encapsulate, "GRE_PROTOCOL", 253), (headers, "TAG_ETHERTYPES", frozenset({0x0800}))]
)
def test_the_comparison_bites(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, module: ModuleType, part: str, wrong: object
) -> None:
    monkeypatch.setattr(module, part, wrong)

    with pytest.raises(AssertionError):
        agrees(bench, "red1", from_red1(v4() / UDP() / Raw(b"hello")))
