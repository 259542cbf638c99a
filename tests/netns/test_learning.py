"""Data-plane learning (T8): what packets teach an NVE of MAC addresses that no record knows, and for how long."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from nvgre_node.choices import TooBig, UnknownUnicast
from nvgre_node.dataplane import model
from nvgre_node.dataplane.libbpf import Map
from nvgre_node.dataplane.model.learn import MAX_LEARNT
from nvgre_node.dataplane.planes import ebpf
from nvgre_node.dataplane.planes.ebpf import EbpfDataPlane
from nvgre_node.net import NvgreNet
from nvgre_node.policy import LookupRecord
from nvgre_node.wire import octets
from topologies import load

from .bench import Bench, running
from .frames import (
    BLUE,
    BLUE2,
    EVERYBODY,
    EXPERIMENTAL,
    GROUP,
    NOBODYS,
    PA1,
    PA2,
    RED,
    RED1,
    RED2,
    RED3,
    STRANGER,
    frames,
    from_red1,
    padded,
    v4,
)
from .mutation import Mutant
from .oracle import agrees, agrees_on_flood, state_of
from .tap import Tap, token, vms, wire

SECONDS = 300
LEARNING = load("two_hosts").with_nve(learning=SECONDS)
IN_GROUPS = Path(__file__).with_name("in_groups.yaml")
NEWCOMER = "02:00:00:00:0c:02"
OTHER_PA = "192.168.0.3"


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with running(LEARNING) as bench:
        yield bench


@pytest.fixture(autouse=True)
def nothing_learnt(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "bench" in request.fixturenames:
        forget(request.getfixturevalue("bench"))


def learnt_map(bench: Bench) -> Map:
    assert isinstance(bench.host.dataplane, EbpfDataPlane)
    return bench.host.dataplane.loaded.maps["learnt"]


def forget(bench: Bench) -> None:
    for key in list(learnt_map(bench)):
        del learnt_map(bench)[key]


def made_older(bench: Bench, seconds: float) -> None:
    """As if what was learnt had been learnt as many seconds earlier."""
    for key in list(learnt_map(bench)):
        value = learnt_map(bench).get(key) or b""
        (seen,) = struct.unpack_from("=Q", value)
        learnt_map(bench)[key] = struct.pack("=Q", seen - int(seconds * 1e9)) + value[8:]


def known(bench: Bench) -> dict[tuple[int, bytes], str]:
    return {(found.vsid, octets(found.mac)): str(found.pa) for found in bench.host.dataplane.learnt()}


def says(source: str, destination: str = EVERYBODY, frame: bytes = b"") -> bytes:
    """A frame that somebody elsewhere says."""
    return octets(destination) + octets(source) + (frame[12:] or struct.pack("!H", EXPERIMENTAL) + b"hello")


def agrees_on_what_is_learnt(bench: Bench, packet: bytes) -> None:
    """Compares what a packet from the wire teaches; that its delivery agrees is for others to compare."""
    state = state_of(bench)
    wanted = model.after(state, model.handle(state, bench.uplink, packet))
    bench.from_uplink(packet)
    assert known(bench) == {key: str(found.pa) for key, found in wanted.learnt.items()}


@given(
    frame=frames,
    source=st.sampled_from([STRANGER, NEWCOMER, RED2, RED1, RED3, BLUE2, EVERYBODY, GROUP, "00:00:00:00:00:00"]),
    destination=st.sampled_from([RED1, RED2, RED3, STRANGER, EVERYBODY]),
    vsid=st.sampled_from([RED, RED, BLUE, NOBODYS]),
    pa=st.sampled_from([PA2, PA2, OTHER_PA, PA1]),
)
def test_what_a_packet_teaches(bench: Bench, frame: bytes, source: str, destination: str, vsid: int, pa: str) -> None:
    inner = says(source, destination, frame)
    agrees_on_what_is_learnt(bench, bench.nvgre(inner, vsid, src=pa))


def teach(bench: Bench, source: str = STRANGER, vsid: int = RED) -> None:
    agrees_on_what_is_learnt(bench, bench.nvgre(says(source), vsid))


@given(frame=frames)
def test_what_was_learnt_is_where_frames_go(bench: Bench, frame: bytes) -> None:
    teach(bench)
    sent = agrees(bench, "red1", octets(STRANGER) + frame[6:])
    assert [name for name, _ in sent.out] == [bench.uplink]


def test_nothing_is_learnt_from_what_fails_a_check(bench: Bench) -> None:
    tagged = says(STRANGER)[:12] + b"\x81\x00\x00\x0a" + says(STRANGER)[12:]
    for packet in (
        bench.nvgre(tagged, RED),
        bench.nvgre(says(STRANGER, RED2), RED),
        bench.nvgre(says(STRANGER), RED, src=OTHER_PA),
        bench.nvgre(says(STRANGER), RED, flags="MF"),
        bench.nvgre(says(STRANGER), NOBODYS),
    ):
        agrees_on_what_is_learnt(bench, packet)
    assert known(bench) == {}


def test_a_record_wins(bench: Bench) -> None:
    agrees_on_what_is_learnt(bench, bench.nvgre(says(RED3), RED))
    assert known(bench) == {}
    assert agrees(bench, "red1", from_red1(Raw(b"hello"), dst=RED3, type=EXPERIMENTAL)).out[0][0] == "red3"


def test_it_never_crosses_virtual_subnets(bench: Bench) -> None:
    teach(bench, vsid=BLUE)
    assert agrees(bench, "red1", from_red1(Raw(b"hello"), dst=STRANGER)).out == ()
    assert agrees(bench, "blue1", from_red1(Raw(b"hello"), dst=STRANGER)).out


def test_it_is_forgotten_unless_it_is_seen_again(bench: Bench) -> None:
    teach(bench)
    made_older(bench, SECONDS - 30)
    assert agrees(bench, "red1", from_red1(Raw(b"still there"), dst=STRANGER)).out
    teach(bench)
    made_older(bench, 60)
    assert agrees(bench, "red1", from_red1(Raw(b"it was refreshed"), dst=STRANGER)).out
    made_older(bench, SECONDS)
    assert known(bench) == {}
    assert agrees(bench, "red1", from_red1(Raw(b"gone"), dst=STRANGER)).out == ()


def test_what_does_not_fit_is_told_and_never_cut_for_what_was_learnt() -> None:
    with running(LEARNING.with_nve(too_big=TooBig.FRAGMENT)) as bench:
        teach(bench)
        told = agrees(bench, "red1", from_red1(padded(v4() / UDP(), 1600), dst=STRANGER))
        assert [name for name, _ in told.out] == ["red1"]


def test_a_vm_that_was_flooded_to_is_flooded_to_no_more() -> None:
    with running(LEARNING.with_nve(unknown=UnknownUnicast.FLOOD)) as bench:
        said = from_red1(Raw(b"where are you?"), dst=STRANGER, type=EXPERIMENTAL)
        agrees_on_flood(bench, "red1", said, said)
        teach(bench)
        agrees(bench, "red1", said)


MUTANTS = {
    "no records": Mutant("learn.h", "find_record(vsid, mac))", "0)"),
    "groups": Mutant("learn.h", "mac[0] & 1 ||", ""),
    "no address": Mutant("learn.h", "!(mac[0] | mac[1] | mac[2] | mac[3] | mac[4] | mac[5])", "0"),
    "the age": Mutant("learn.h", "bpf_ktime_get_ns() - found->seen >= learning.age", "0"),
    "the VSID that is learnt": Mutant("decapsulate.h", "learn(vsid, inner.h_source", "learn(5000, inner.h_source"),
    "the VSID that is asked": Mutant("nvgre.bpf.c", "find_learnt(port->vsid,", "find_learnt(6000,"),
    "the PA": Mutant("learn.h", "value.record.pa = *pa;", ""),
    "nothing that fails a check": Mutant(
        "decapsulate.h",
        "if (is_tag(head.eth.h_proto))",
        "learn(vsid, head.eth.h_source, &arrival.pa, from.end);\n\tif (is_tag(head.eth.h_proto))",
    ),
    "no number, no slow path": Mutant("fragment.h", "record->number &&", ""),
}


def every_check(bench: Bench) -> None:
    """What is learnt of whom, and what is not, and what it is used for."""
    for source in (EVERYBODY, "00:00:00:00:00:00", RED3, STRANGER):
        agrees_on_what_is_learnt(bench, bench.nvgre(says(source), RED))
    agrees_on_what_is_learnt(bench, bench.nvgre(says(NEWCOMER), BLUE))
    agrees_on_what_is_learnt(bench, bench.nvgre(says("02:00:00:00:0c:03", RED2), RED))
    for destination in (STRANGER, NEWCOMER):
        agrees(bench, "red1", from_red1(v4() / UDP(), dst=destination))
    agrees(bench, "red1", from_red1(padded(v4() / UDP(), 1600), dst=STRANGER))
    made_older(bench, SECONDS)
    agrees(bench, "red1", from_red1(v4() / UDP(), dst=STRANGER))


def test_the_data_plane_passes_unchanged() -> None:
    with running(LEARNING.with_nve(too_big=TooBig.FRAGMENT)) as bench:
        every_check(bench)


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS)
def test_disabling_this_check_is_noticed(mutant: Mutant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = mutant.compiled(tmp_path)
    monkeypatch.setattr(ebpf, "object_file", lambda: path)
    with running(LEARNING.with_nve(too_big=TooBig.FRAGMENT)) as bench, pytest.raises(AssertionError):
        every_check(bench)


# From a VM's point of view


@pytest.mark.parametrize("dataplane", ["ebpf", "model"])
def test_a_stranger_is_found_where_it_speaks_and_followed_where_it_goes(dataplane: str) -> None:
    scenario = load(IN_GROUPS).with_nve(unknown=UnknownUnicast.FLOOD, learning=SECONDS)
    blue1 = scenario.policy.vm("blue1")
    with NvgreNet(scenario, dataplane) as net, Tap(net) as tap:

        def hearers(vm: str, source: str, destination: str) -> tuple[dict[str, int], list[str]]:
            """The VMs that hear a frame, and the PAs to which copies of it leave host1."""
            mark = token()
            heard = tap.say(vm, bytes(Ether(src=source, dst=destination, type=EXPERIMENTAL) / Raw(mark)), mark)
            sent = [packet for packet in wire(heard) if packet[26:30] == IPv4Address("192.168.1.10").packed]
            return vms(heard), sorted(str(IPv4Address(packet[30:34])) for packet in sent)

        assert hearers("blue1", blue1.mac, STRANGER) == ({"blue2": 1, "blue4": 1}, ["192.168.2.10", "192.168.4.10"])
        for vm, pa in (("blue2", "192.168.2.10"), ("blue4", "192.168.4.10")):
            hearers(vm, STRANGER, EVERYBODY)
            assert hearers("blue1", blue1.mac, STRANGER) == ({vm: 1}, [pa])
            known_now = [(found.vsid, found.mac, str(found.pa)) for found in net["host1"].dataplane.learnt()]
            assert known_now == [(7000, STRANGER, pa)]


# The specification alone


def test_the_specification_forgets_the_oldest_first() -> None:
    policy = replace(LEARNING.policy).for_host("host1")
    state = model.State(policy, frozenset(), {})
    pa = IPv4Interface("192.168.0.2/24").ip
    for number in range(MAX_LEARNT + 1):
        taught = (RED, b"\x02" + number.to_bytes(5, "big"), pa)
        state = model.after(replace(state, now=float(number)), model.Result(taught=taught))
    assert len(state.learnt) == MAX_LEARNT
    assert (RED, b"\x02" + bytes(5)) not in state.learnt


def test_a_record_that_is_installed_later_wins() -> None:
    with running(LEARNING) as bench:
        teach(bench)
        bench.host.install(LookupRecord(RED, IPv4Address("10.0.0.9"), STRANGER, bench.pa, "red3", RED))
        assert agrees(bench, "red1", from_red1(Raw(b"hello"), dst=STRANGER)).out[0][0] == "red3"
