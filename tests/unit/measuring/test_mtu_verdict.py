"""MTU: which sizes, told MTUs, overheads and transfers make which verdict, and what counts as having been told."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6PacketTooBig, IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from experiments.mtu import Lane, Remedy, Shot, lanes, largest, remedies, remedy_checks, told_mtu
from experiments.mtu import sweep_checks as checks_of_sweep
from experiments.probes import Kind, sized
from experiments.results import Check, Verdict
from experiments.transfer import Transfer
from experiments.watch import Sighting
from nvgre_node.choices import TooBig
from topologies import load

LANE = Lane(4, Kind.TCP, df=True)
UNDERLAY, LIMIT = 1500, 1458  # 1500 - 42: outer IPv4 20, GRE 8, inner Ethernet 14
NAME = "underlay 1500, IPv4 TCP DF"


def sweep_checks(shots: list[Shot]) -> tuple[Check, ...]:
    return checks_of_sweep(shots, overhead=42)


def good(size: int, underlay: int = UNDERLAY, lane: Lane = LANE) -> Shot:
    """What an NVE that does everything right makes of a packet of this size."""
    fits = size <= underlay - 42
    return Shot(
        underlay,
        lane,
        size,
        delivered=fits,
        told_mtu=None if fits else underlay - 42,
        overhead=42 if fits else None,
        fragments=0,
    )


def shots(underlay: int = UNDERLAY, lane: Lane = LANE) -> list[Shot]:
    """Sizes on both sides of the limit, all right."""
    return [good(underlay - 42 + offset, underlay, lane) for offset in (-100, -1, 0, 1, 20, 42)]


def at(size: int, change: Callable[[Shot], Shot]) -> list[Shot]:
    """The same, but one of them is otherwise."""
    assert size in {shot.size for shot in shots()}
    return [change(shot) if shot.size == size else shot for shot in shots()]


def failed(checks: Iterable[Check]) -> dict[str, str]:
    """What was observed by each check that failed."""
    return {check.id: check.observed for check in checks if check.verdict is Verdict.FAIL}


def test_all_right_passes_with_five_checks_per_underlay_and_lane() -> None:
    lane = Lane(6, Kind.ICMPV6, df=None)
    checks = sweep_checks([*shots(), *shots(9000), *shots(1542, lane)])
    assert failed(checks) == {}
    assert len(checks) == 3 * 5
    assert {check.id.partition(":")[0] for check in checks} == {
        NAME,
        "underlay 9000, IPv4 TCP DF",
        "underlay 1542, IPv6 ICMPv6",
    }


LOST: Callable[[Shot], Shot] = lambda shot: replace(shot, delivered=False, told_mtu=None)  # noqa: E731
WRONG = {
    "a fragment on the wire": (LIMIT, lambda s: replace(s, fragments=2), {"fragments on the wire": "2"}),
    "a fragment of a packet that is too big": (
        LIMIT + 1,
        lambda s: replace(s, fragments=1),
        {"fragments on the wire": "1"},
    ),
    "an overhead of 50 once": (LIMIT - 1, lambda s: replace(s, overhead=50), {"overhead in bytes": "42, 50"}),
    "a packet below the limit that is lost": (LIMIT - 100, LOST, {"packets up to it": "delivered, lost"}),
    "a packet below the limit that is refused": (
        LIMIT - 1,
        lambda s: replace(s, delivered=False, told_mtu=LIMIT - 2),
        {"packets up to it": "delivered, told"},
    ),
    "the largest packet that is lost": (
        LIMIT,
        LOST,
        {"packets up to it": "delivered, lost", "largest packet": str(LIMIT - 1)},
    ),
    "a larger packet that vanishes untold": (LIMIT + 20, LOST, {"larger packets are told": f"{LIMIT}, lost"}),
    "a larger packet that is told a wrong MTU": (
        LIMIT + 1,
        lambda s: replace(s, told_mtu=1500),
        {"larger packets are told": f"{LIMIT}, 1500"},
    ),
    "a larger packet that arrives": (
        LIMIT + 42,
        lambda s: replace(s, delivered=True, told_mtu=None),
        {"larger packets are told": f"{LIMIT}, delivered", "largest packet": str(LIMIT + 42)},
    ),
}


@pytest.mark.parametrize(("size", "change", "found"), WRONG.values(), ids=WRONG)
def test_one_wrong_shot_fails_the_check_that_is_about_it(
    size: int, change: Callable[[Shot], Shot], found: dict[str, str]
) -> None:
    assert failed(sweep_checks(at(size, change))) == {f"{NAME}: {what}": observed for what, observed in found.items()}


def test_a_packet_that_arrives_although_its_sender_was_told_otherwise_fails() -> None:
    both = at(LIMIT, lambda shot: replace(shot, told_mtu=LIMIT))
    assert failed(sweep_checks(both)) != {}


def test_a_dead_network_passes_no_check_but_the_one_on_fragments() -> None:
    dead = [replace(shot, delivered=False, told_mtu=None, overhead=None) for shot in shots()]
    assert {check.id for check in sweep_checks(dead) if check.verdict is Verdict.PASS} == {
        f"{NAME}: fragments on the wire"
    }


def test_without_shots_there_are_no_checks() -> None:
    assert sweep_checks([]) == ()


def test_a_fault_in_one_lane_is_no_fault_of_another() -> None:
    other = Lane(4, Kind.ICMP, df=False)
    bad = [replace(shot, fragments=1) for shot in shots(lane=other)]
    assert set(failed(sweep_checks([*shots(), *bad]))) == {"underlay 1500, IPv4 ICMP no DF: fragments on the wire"}


def test_the_largest_packet_is_one_that_arrived() -> None:
    assert largest(shots()) == LIMIT
    assert largest([good(LIMIT + 1)]) is None


@pytest.mark.parametrize(
    ("versions", "named"),
    [
        ([4], ["IPv4 ICMP DF", "IPv4 ICMP no DF", "IPv4 TCP DF", "IPv4 TCP no DF"]),
        ([6], ["IPv6 ICMPv6", "IPv6 TCP"]),
        ([], []),
    ],
    ids=["IPv4", "IPv6", "neither"],
)
def test_each_ip_version_has_its_lanes(versions: list[int], named: list[str]) -> None:
    assert [str(lane) for lane in lanes(versions)] == named


# The remedies.

COMPLETED = Transfer(connected=True, completed=True, received=262144, retransmissions=1)
STALLED = Transfer(connected=True, completed=False, received=0, retransmissions=4)
REMEDIES = remedies(42)
BLACK_HOLE, OUTER = REMEDIES[0], REMEDIES[-2]


def test_the_black_hole_and_outer_fragments_stall_and_every_remedy_completes() -> None:
    transfers = [(remedy, COMPLETED if remedy.completes else STALLED) for remedy in REMEDIES]
    assert failed(remedy_checks(transfers)) == {}
    assert [remedy.name for remedy in REMEDIES if not remedy.completes] == [BLACK_HOLE.name, OUTER.name]


ENDED_OTHERWISE = {
    "a black hole that delivers": (BLACK_HOLE, COMPLETED),
    "a black hole that lets some of it through": (BLACK_HOLE, replace(STALLED, received=1458)),
    "a black hole in which not even the handshake succeeds": (BLACK_HOLE, replace(STALLED, connected=False)),
    **{f"{remedy.name}, and yet it stalls": (remedy, STALLED) for remedy in REMEDIES if remedy.completes},
}


@pytest.mark.parametrize(("remedy", "done"), ENDED_OTHERWISE.values(), ids=ENDED_OTHERWISE)
def test_a_transfer_that_ends_otherwise_than_its_remedy_promises_fails(remedy: Remedy, done: Transfer) -> None:
    assert list(failed(remedy_checks([(remedy, done)]))) == [f"TCP when {remedy.name}"]


def test_the_black_hole_is_told_nothing_and_has_misfitting_mtus() -> None:
    scenario = BLACK_HOLE.apply(load("two_hosts"))
    assert {nve.too_big for nve in scenario.policy.nves} == {TooBig.DROP}
    assert (scenario.fabric.mtu, scenario.tenant_mtu) == (1500, 1500)


# What counts as having been told.

POLICY = load("two_hosts").policy
RED1, RED2 = POLICY.vm("red1"), POLICY.vm("red2")
TCP4 = sized(Kind.TCP, 4, RED1, RED2, 1459, tag=5)
TCP6 = sized(Kind.TCP, 6, RED1, RED2, 1459, tag=5)
ECHO4 = sized(Kind.ICMP, 4, RED1, RED2, 1459, df=False, tag=5)
ECHO6 = sized(Kind.ICMPV6, 6, RED1, RED2, 1459, tag=5)


def icmp(about: bytes, mtu: int = 1458, kind: int = 3, code: int = 4) -> bytes:
    """An ICMP error about a frame: IP header and 8 bytes are quoted (RFC 792)."""
    packet = IP(src="10.0.0.2", dst="10.0.0.1") / ICMP(type=kind, code=code, nexthopmtu=mtu)
    return to_sender(packet / Raw(about[14 : 14 + 28]))


def icmpv6(about: bytes, error: Packet | None = None) -> bytes:
    """An ICMPv6 error about a frame: as much is quoted as fits into 1280 bytes (RFC 4443)."""
    error = ICMPv6PacketTooBig(mtu=1458) if error is None else error
    return to_sender(IPv6(src="fd00:10::2", dst="fd00:10::1") / error / Raw(about[14 : 14 + 1232]))


def to_sender(packet: Packet) -> bytes:
    return bytes(Ether(src=RED2.mac, dst=RED1.mac) / packet)


ANSWERS = {
    "ICMP about TCP": (TCP4, [Sighting("red1", icmp(TCP4))], 1458),
    "ICMP about an echo request without DF": (ECHO4, [Sighting("red1", icmp(ECHO4))], 1458),
    "ICMPv6 about TCP": (TCP6, [Sighting("red1", icmpv6(TCP6))], 1458),
    "ICMPv6 about an echo request": (ECHO6, [Sighting("red1", icmpv6(ECHO6))], 1458),
    "a wrong MTU, as it is": (TCP4, [Sighting("red1", icmp(TCP4, mtu=0))], 0),
    "nothing": (TCP4, [], None),
    "an error at somebody else": (TCP4, [Sighting("red2", icmp(TCP4)), Sighting("host1", icmp(TCP4))], None),
    "port unreachable": (TCP4, [Sighting("red1", icmp(TCP4, code=3))], None),
    "time exceeded": (TCP4, [Sighting("red1", icmp(TCP4, kind=11, code=0))], None),
    "ICMPv6 unreachable": (TCP6, [Sighting("red1", icmpv6(TCP6, ICMPv6DestUnreach()))], None),
    "an error about the packet before": (
        TCP4,
        [Sighting("red1", icmp(sized(Kind.TCP, 4, RED1, RED2, 1459, tag=4)))],
        None,
    ),
    "an ICMPv6 error about the packet before": (
        TCP6,
        [Sighting("red1", icmpv6(sized(Kind.TCP, 6, RED1, RED2, 1459, tag=4)))],
        None,
    ),
    "an error about a packet of another size": (
        TCP4,
        [Sighting("red1", icmp(sized(Kind.TCP, 4, RED1, RED2, 1460, tag=5)))],
        None,
    ),
    "an error about another packet, then the right one": (
        TCP4,
        [Sighting("red1", icmp(sized(Kind.TCP, 4, RED1, RED2, 1459, tag=4), mtu=1)), Sighting("red1", icmp(TCP4))],
        1458,
    ),
    "the packet itself": (TCP4, [Sighting("red1", TCP4)], None),
    "a frame that is no IP": (TCP4, [Sighting("red1", b"\xff" * 12 + b"\x88\xb5" + TCP4)], None),
}


@pytest.mark.parametrize(("sent", "seen", "mtu"), ANSWERS.values(), ids=ANSWERS)
def test_what_counts_as_told(sent: bytes, seen: list[Sighting], mtu: int | None) -> None:
    assert told_mtu(sent, seen, "red1") == mtu


@pytest.mark.parametrize("size", [100, 1458, 1459, 9000])
@pytest.mark.parametrize("lane", lanes([4, 6]), ids=str)
def test_a_shot_is_exactly_as_large_as_it_says(lane: Lane, size: int) -> None:
    frame = sized(lane.protocol, lane.version, RED1, RED2, size, df=bool(lane.df), tag=1)
    assert len(frame) == 14 + size
    packet = Ether(frame)
    if lane.version == 4:
        assert (packet[IP].len, bool(packet[IP].flags.DF)) == (size, lane.df)
    else:
        assert packet[IPv6].plen + 40 == size
