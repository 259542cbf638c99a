"""Pairs of ends on the wire: those that should understand each other do, and one that is wrong is found out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pytest
from scapy.packet import Packet

from experiments import interop
from experiments.base import Context, Workbench
from experiments.interop import conducting
from experiments.interop.ends import FlowIds, ThirdParty
from experiments.interop.matrix import State, cells, table
from experiments.interop.network import reduced
from experiments.interop.parties import PARTIES, PartyError, ScapyPeer, Site
from experiments.interop.rows import SET_UP, Row, Tried, row_of
from experiments.interop.stations import Station
from experiments.interop.trying import Tour, try_pairs
from experiments.results import Verdict
from testbed.vm.uml import UserModeLinux
from testbed.workbench import Guests
from topologies import load

BRIEF, BOTH = Tour((4,), 0), Tour((4, 6), 0)


def tried(left: str, right: str, tour: Tour = BRIEF, bench: Workbench | None = None) -> list[Row]:
    """What comes of one pair."""
    return list(try_pairs(reduced(load("two_hosts")), [(left, right)], tour, bench, lambda _: None))


def wrong(rows: list[Row]) -> list[str]:
    return [f"{row.outer}, {row.flow_ids}, {row.tried}, {row.sender}: {row.observed}" for row in rows if not row.holds]


def observed(rows: list[Row], what: Tried, sender: str) -> set[str]:
    return {row.observed for row in rows if row.tried == what and row.sender == sender}


@pytest.mark.parametrize("right", ["ovs", ThirdParty.SCAPY])
def test_a_pair_understands_each_other_over_both_ip_versions(right: str) -> None:
    rows = tried("ebpf", right, BOTH)
    assert wrong(rows) == []
    assert cells(rows)["ebpf", right].state is State.ANY
    assert {(row.outer, row.flow_ids) for row in rows} == {(ip, mode) for ip in ("IPv4", "IPv6") for mode in FlowIds}
    assert observed(rows, Tried.LARGEST, "ebpf") == {"1458", "1438"}


def test_streams_have_their_speed() -> None:
    rows = tried("ebpf", "ebpf", Tour((4,), 1))
    assert wrong(rows) == []
    assert all(row.value for row in rows if row.tried == Tried.STREAM)
    assert len([row for row in rows if row.tried == Tried.STREAM]) == 2


@pytest.mark.skipif(bool(UserModeLinux().missing()), reason=UserModeLinux().missing() or "it is there")
def test_user_mode_linux_speaks_it_with_flow_id_0_and_with_no_other() -> None:
    rows = tried("ebpf", ThirdParty.UML, BRIEF, Guests())
    assert wrong(rows) == []
    assert cells(rows)["ebpf", ThirdParty.UML].state is State.ZERO
    pings = {row.flow_ids: row.observed for row in rows if row.tried == Tried.PING}
    assert pings == {"zero": "answered", "set": "no answer"}


# What is wrong is found.


class OfAnotherSubnet(ScapyPeer):
    """It has been told the wrong VSID."""

    def __init__(self, site: Site) -> None:
        super().__init__(replace(site, vsid=site.vsid + 1))


class Keyed(ScapyPeer):
    """It declares to take any FlowID, and takes 0 alone."""

    def _take(self, gre: Packet) -> None:
        if not gre.key & 0xFF:
            super()._take(gre)


class Stammering(ScapyPeer):
    """It says everything twice."""

    def say(self, frames: Sequence[bytes]) -> None:
        super().say([frame for frame in frames for _ in range(2)])


class Narrow(ScapyPeer):
    """It hears nothing that is large."""

    def _take(self, gre: Packet) -> None:
        if len(gre.payload) < 1400:
            super()._take(gre)


@pytest.mark.parametrize(
    ("peer", "failing"),
    [
        (OfAnotherSubnet, {Tried.PING, Tried.ACCEPTED, Tried.LARGEST, Tried.BROADCAST, Tried.MULTICAST}),
        (Keyed, {Tried.PING, Tried.ACCEPTED, Tried.LARGEST, Tried.BROADCAST, Tried.MULTICAST}),
        (Stammering, {Tried.BROADCAST, Tried.MULTICAST}),
        (Narrow, {Tried.LARGEST}),
    ],
)
def test_a_peer_that_is_wrong_fails_on_what_is_wrong_with_it(
    peer: Callable[[Site], ScapyPeer], failing: set[Tried], monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def started(site: Site, _bench: Workbench | None) -> Iterator[Station]:
        with peer(site) as station:
            yield station

    monkeypatch.setitem(PARTIES, ThirdParty.SCAPY, started)
    rows = tried("ebpf", ThirdParty.SCAPY)
    assert {row.tried for row in rows if not row.holds} == failing
    assert cells(rows)["ebpf", ThirdParty.SCAPY].state is State.WRONG


def test_a_peer_that_does_not_start_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def started(_site: Site, _bench: Workbench | None) -> Iterator[Station]:
        raise PartyError("ip link add: no")
        yield

    monkeypatch.setitem(PARTIES, ThirdParty.SCAPY, started)
    rows = tried("ebpf", ThirdParty.SCAPY)
    assert {(row.tried, row.observed) for row in rows} == {(SET_UP, "PartyError: ip link add: no")}
    assert not any(row.holds for row in rows)


# The experiment.


def test_without_guests_it_does_what_it_can_and_says_why_not_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conducting, "QUICK", BRIEF)
    context = Context(load("two_hosts"), "each with each", lambda *_: None, quick=True, dataplanes=("ebpf",))
    found = interop.run(context)
    assert (found.verdict, found.reason) == (Verdict.PASS, "")
    lines = dict(table([row_of(sample) for sample in found.samples]).lines)
    states = {name: cell.state for name, (cell,) in lines.items() if cell}
    assert states == {
        "ebpf": State.ANY,
        ThirdParty.SCAPY: State.ANY,
        ThirdParty.BY_HAND: State.EMPTY,
        ThirdParty.UML: State.EMPTY,
    }
