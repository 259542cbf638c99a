"""Unknown unicast that is handed to user space, where a controller may install the missing record (B6)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hypothesis import given
from scapy.layers.inet import UDP
from scapy.packet import Raw

from nvgre_node.choices import UnknownUnicast
from nvgre_node.dataplane import model
from nvgre_node.dataplane.base import PUNT, PUNT_BYTES, Drop, Punted
from nvgre_node.dataplane.planes import ebpf
from nvgre_node.net import NvgreNet
from nvgre_node.node import ProviderHost
from nvgre_node.policy import LookupRecord
from nvgre_node.waiting import wait_until
from nvgre_node.wire import octets
from topologies import load

from .bench import Bench, running
from .frames import DROP, EXPERIMENTAL, PA2, RED, RED1, RED2, STRANGER, frames, from_red1, padded, to_red1, v4
from .mutation import Mutant
from .oracle import agrees, state_of
from .tap import Tap, token, vms

PUNTING = load("two_hosts").with_nve(unknown=UnknownUnicast.PUNT)
MISSING = LookupRecord(RED, IPv4Address("10.0.0.9"), STRANGER, IPv4Address(PA2), "red2", RED)


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with running(PUNTING) as bench:
        yield bench


def agrees_on_punt(bench: Bench, frame: bytes) -> None:
    """Compares the counters, and what user space gets, for a frame of red1 that nobody knows."""
    wanted = model.handle(state_of(bench), "red1", frame)
    got = bench.from_port("red1", frame)
    assert (got.action, got.moved) == (DROP, dict(wanted.counted))
    assert bench.host.punted() == [Punted("red1", RED, sent) for name, sent in wanted.out if name == PUNT]


@given(frame=frames)
def test_user_space_gets_what_no_record_knows(bench: Bench, frame: bytes) -> None:
    agrees_on_punt(bench, octets(STRANGER) + frame[6:])


@pytest.mark.parametrize("size", [PUNT_BYTES - 15, PUNT_BYTES - 14, PUNT_BYTES - 13, 3000])
def test_of_a_large_frame_it_gets_the_first_bytes(bench: Bench, size: int) -> None:
    agrees_on_punt(bench, from_red1(padded(v4() / UDP(), size), dst=STRANGER))


def test_what_a_record_knows_and_what_comes_from_the_wire_is_not_for_user_space(bench: Bench) -> None:
    agrees(bench, "red1", from_red1(v4() / UDP(), dst=RED2))
    assert agrees(bench, bench.uplink, bench.nvgre(to_red1(Raw(b"x"), dst=STRANGER), RED)).counted == {
        (RED, Drop.NOT_LOCAL.name): 1
    }
    assert bench.host.punted() == []


def test_what_nobody_fetches_is_dropped_in_the_end_and_counted(bench: Bench) -> None:
    frame = from_red1(padded(v4() / UDP(), 1500), dst=STRANGER)
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cpus)})  # each CPU has a buffer of its own
    try:
        counted = [bench.from_port("red1", frame).moved for _ in range(300)]
    finally:
        os.sched_setaffinity(0, cpus)
    assert {(RED, "punted"): 1} in counted
    assert counted[-1] == {(RED, Drop.UNKNOWN_UNICAST.name): 1}
    assert len(bench.host.punted()) == counted.count({(RED, "punted"): 1})
    agrees_on_punt(bench, frame)


@pytest.mark.parametrize(
    "mutant",
    [
        Mutant("punt.h", "skb->len < PUNT_BYTES ? skb->len : PUNT_BYTES", "skb->len"),
        Mutant("punt.h", ".vsid = port->vsid,", ".vsid = 0,"),
        Mutant("punt.h", "subnet->punted += packets_in(skb);", "subnet->punted += 2;"),
    ],
    ids=["the length", "the VSID", "the count"],
)
def test_a_fault_is_noticed(mutant: Mutant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = mutant.compiled(tmp_path)
    monkeypatch.setattr(ebpf, "object_file", lambda: path)
    with running(PUNTING) as bench, pytest.raises(AssertionError):
        agrees_on_punt(bench, from_red1(padded(v4() / UDP(), 3000), dst=STRANGER))


def controlled(hosts: list[ProviderHost], frames_seen: list[Punted]) -> None:
    """A controller: it knows of one VM's MAC address that nobody told the NVEs."""
    if any(punted.frame[:6] == octets(MISSING.mac) for punted in frames_seen):
        for host in hosts:
            host.install(MISSING)


@pytest.mark.parametrize("dataplane", ["ebpf", "model"])
def test_a_controller_installs_what_is_missing_and_the_next_frame_arrives(dataplane: str) -> None:
    with NvgreNet(PUNTING, dataplane) as net, Tap(net) as tap:
        host1, host2 = net["host1"], net["host2"]
        mark = token()
        frame = from_red1(Raw(mark), dst=STRANGER, type=EXPERIMENTAL)

        assert tap.say("red1", frame, mark) == {}
        (punted,) = [found for found in host1.punted() if found.frame[:6] == octets(STRANGER)]
        assert punted == Punted("red1", RED, frame)
        controlled([host1, host2], [punted])
        wait_until(lambda: host1.is_ready() and host2.is_ready(), "the next hops to be resolved")

        assert vms(tap.say("red1", frame, mark)) == {"red2": 1}
        assert host1.punted() == []


def test_a_record_moves_a_vm_and_lets_its_nve_send() -> None:
    policy = load("two_hosts").policy.for_host("host1")
    elsewhere = LookupRecord(RED, IPv4Address("10.0.0.2"), RED2, IPv4Address("192.168.0.3"), "red2", RED)

    moved = policy.with_records(elsewhere)

    assert {r.pa for r in moved.records if (r.mac, r.ca.version) == (RED2, 4)} == {elsewhere.pa}
    assert moved.senders[RED] == policy.senders[RED] | {elsewhere.pa}
    assert [r for r in moved.records if r.mac == RED1] == [r for r in policy.records if r.mac == RED1]
