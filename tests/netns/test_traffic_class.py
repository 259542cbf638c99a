"""TTL, DSCP and ECN of the outer header, and what comes in from it again (O8, RFC 2983, RFC 6040, RFC 9601).

What is expected is made by Scapy, checksums included; ECN's table stands here once more, copied from RFC 6040.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from nvgre_node.choices import COPY, Dscp, Ecn
from nvgre_node.dataplane.base import Drop
from topologies import load

from .bench import Bench, running
from .frames import (
    DROP,
    EVERYBODY,
    EXPERIMENTAL,
    RED,
    RED1,
    RED3,
    REDIRECT,
    frames,
    from_red1,
    is_runnable,
    to_red1,
    v4,
    v6,
)
from .oracle import agrees, agrees_on_flood

CODEPOINTS = NOT_ECT, ECT_1, ECT_0, CE = (0, 1, 2, 3)

# RFC 6040 section 4.2, figure 4: the columns are the arriving outer header.
TABLE = """
    inner    Not-ECT  ECT(0)   ECT(1)   CE
    Not-ECT  Not-ECT  Not-ECT  Not-ECT  drop
    ECT(0)   ECT(0)   ECT(0)   ECT(1)   CE
    ECT(1)   ECT(1)   ECT(1)   ECT(1)   CE
    CE       CE       CE       CE       CE
"""
NAMES = {"Not-ECT": NOT_ECT, "ECT(0)": ECT_0, "ECT(1)": ECT_1, "CE": CE}
(_, *OUTER), *ROWS = (line.split() for line in TABLE.strip().splitlines())
CELLS = [
    (NAMES[row[0]], NAMES[outer], NAMES.get(cell)) for row in ROWS for outer, cell in zip(OUTER, row[1:], strict=True)
]
CHOICES: list[dict[str, Any]] = [
    {},
    {"ecn": Ecn.ZERO, "ttl": 1},
    {"dscp": 46, "ttl": 255},
    {"dscp": COPY},
    {"dscp": COPY, "ecn": Ecn.ZERO},
]


@pytest.fixture(scope="module", params=[4, 6], ids=["outer IPv4", "outer IPv6"])
def benches(request: pytest.FixtureRequest) -> Iterator[list[Bench]]:
    """One host1 for each of CHOICES."""
    scenario = load("two_hosts") if request.param == 4 else load("two_hosts").over_ipv6()
    with ExitStack() as stack:
        yield [stack.enter_context(running(scenario.with_nve(**choice))) for choice in CHOICES]


@pytest.fixture(scope="module")
def bench(benches: list[Bench]) -> Bench:
    """The default choices."""
    return benches[0]


@pytest.fixture(scope="module")
def uniform(benches: list[Bench]) -> Bench:
    """RFC 2983's uniform model."""
    return benches[CHOICES.index({"dscp": COPY})]


def packet(version: int, says: int, **addresses: str) -> Packet:
    """A UDP packet with options or a flow label, to show that nothing else changes."""
    header = (
        v4(tos=says, options=b"\x94\x04\x00\x00", **addresses) if version == 4 else v6(tc=says, fl=0xFEDCB, **addresses)
    )
    return header / UDP(sport=1, dport=2) / Raw(b"hello")


# Out: the outer header of what a VM sends.


def outer_of(bench: Bench, frame: bytes) -> Packet:
    sent = bench.from_port("red1", frame)
    assert sent.action == REDIRECT
    assert sent.frame[bench.overhead :] == frame  # RFC 9601 section 4: the inner ECN is not altered
    return Ether(sent.frame).payload


def traffic_class(outer: Packet) -> int:
    return int(outer.tos if outer.version == 4 else outer.tc)


def expected_outer(choice: dict[str, Any], inner: int) -> int:
    dscp: Dscp = choice.get("dscp", 0)
    ecn = inner & 3 if choice.get("ecn", Ecn.COPY) is Ecn.COPY else 0
    return (inner & 0xFC if dscp == COPY else dscp * 4) + ecn


@pytest.mark.parametrize("ecn", CODEPOINTS)
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("choice", range(len(CHOICES)), ids=map(str, CHOICES))
def test_the_outer_header_says_what_was_chosen(benches: list[Bench], choice: int, version: int, ecn: int) -> None:
    outer = outer_of(benches[choice], from_red1(packet(version, 18 << 2 | ecn)))

    assert traffic_class(outer) == expected_outer(CHOICES[choice], 18 << 2 | ecn)
    assert (outer.ttl if outer.version == 4 else outer.hlim) == CHOICES[choice].get("ttl", 64)
    if outer.version == 4:
        rebuilt = outer.copy()
        del rebuilt.chksum
        assert bytes(rebuilt) == bytes(outer)
        assert (outer.id, str(outer.flags)) == (0, "DF")  # RFC 6864: the ID of what is never fragmented says nothing


@pytest.mark.parametrize("choice", range(len(CHOICES)), ids=map(str, CHOICES))
@pytest.mark.parametrize(
    "frame",
    [
        from_red1(ARP(hwsrc=RED1, psrc="10.0.0.1")),
        from_red1(Raw(b"\x45\xff" + bytes(40)), type=EXPERIMENTAL),
        from_red1(Raw(b"\x60\xff" + bytes(40)), type=0x0800),  # says IPv4, and is not
        from_red1(Raw(b"\x45\xff" + bytes(40)), type=0x86DD),
    ],
    ids=["ARP", "another EtherType", "no IPv4", "no IPv6"],
)
def test_what_is_not_ip_has_nothing_to_copy(benches: list[Bench], choice: int, frame: bytes) -> None:
    assert traffic_class(outer_of(benches[choice], frame)) == expected_outer(CHOICES[choice], 0)


def test_a_broadcast_has_the_outer_header_of_a_unicast_frame(benches: list[Bench]) -> None:
    for bench in benches:
        frame = from_red1(packet(4, 0xB9), dst=EVERYBODY)
        agrees_on_flood(bench, "red1", frame, frame)


def test_what_stays_on_the_host_is_left_alone(bench: Bench) -> None:
    frame = from_red1(packet(4, 0xFF, dst="10.0.0.3"), dst=RED3)

    assert bench.from_port("red1", frame).frame == frame


# In: what a VM gets, and what its outer header changes about it.


@pytest.mark.parametrize("choice", range(len(CHOICES)), ids=map(str, CHOICES))
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(("inner", "outer", "cell"), CELLS)
def test_each_cell_of_rfc_6040_section_4_2(
    benches: list[Bench], choice: int, version: int, inner: int, outer: int, cell: int | None
) -> None:
    bench = benches[choice]
    sent = to_red1(packet(version, 10 << 2 | inner))
    arrived = bench.from_uplink(bench.nvgre(sent, RED, traffic_class=46 << 2 | outer))

    if cell is None:
        assert (arrived.action, arrived.drops) == (DROP, [Drop.CE_ON_NOT_ECT])
    else:
        dscp = 46 if CHOICES[choice].get("dscp") == COPY else 10
        assert (arrived.action, arrived.drops) == (REDIRECT, [])
        assert arrived.frame == to_red1(packet(version, dscp << 2 | cell))


@pytest.mark.parametrize("outer", CODEPOINTS)
def test_what_is_not_ip_arrives_as_it_was_whatever_befell_it(uniform: Bench, outer: int) -> None:
    for frame in (to_red1(ARP()), to_red1(Raw(bytes(40)), type=0x0800), to_red1(Raw(b"x"), type=EXPERIMENTAL)):
        assert uniform.from_uplink(uniform.nvgre(frame, RED, traffic_class=0xFC | outer)).frame == frame


def test_every_vm_that_hears_a_broadcast_hears_of_congestion(uniform: Bench) -> None:
    frame, marked = (to_red1(packet(4, tos), dst=EVERYBODY) for tos in (10 << 2 | ECT_0, 46 << 2 | CE))

    agrees_on_flood(uniform, uniform.uplink, uniform.nvgre(frame, RED, traffic_class=46 << 2 | CE), marked)


@given(
    version=st.sampled_from([4, 6]), inner=st.integers(0, 255), outer=st.integers(0, 255), data=st.binary(max_size=9)
)
def test_nothing_but_the_traffic_class_and_the_checksum_changes(
    benches: list[Bench], version: int, inner: int, outer: int, data: bytes
) -> None:
    for bench, choice in zip(benches, CHOICES, strict=True):
        arrived = bench.from_uplink(bench.nvgre(to_red1(packet(version, inner) / data), RED, traffic_class=outer))
        cell = next(cell for one, other, cell in CELLS if (one, other) == (inner & 3, outer & 3))
        dscp = (outer if choice.get("dscp") == COPY else inner) & 0xFC
        if cell is not None:
            assert arrived.frame == to_red1(packet(version, dscp | cell) / data)


@given(frame=frames, tos=st.integers(0, 255))
def test_frames_of_any_shape_fare_as_the_specification_says(benches: list[Bench], frame: bytes, tos: int) -> None:
    for bench in benches:
        agrees(bench, "red1", frame)
        arriving = bench.nvgre(bytes.fromhex(RED1.replace(":", "")) + frame[6:], RED, traffic_class=tos)
        assert is_runnable(arriving)
        agrees(bench, bench.uplink, arriving)
