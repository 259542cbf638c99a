"""Counters by port and by remote PA agree with those by virtual subnet, and with what was said (G16)."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from scapy.layers.inet import UDP
from scapy.packet import Raw

from nvgre_node.dataplane.base import NO_PA, NO_PORT, Drop, PaCounters, PortCounters
from nvgre_node.dataplane.layouts import END_NO_PA
from nvgre_node.dataplane.planes import ebpf
from nvgre_node.dataplane.tables import SPARE, Numbering
from nvgre_node.net import NvgreNet
from nvgre_node.waiting import wait_until
from testbed.verbs import show
from topologies import load

from .bench import Bench, Tally, running
from .frames import EVERYBODY, EXPERIMENTAL, NOBODYS, RED, RED1, RED2, RED3, STRANGER, from_red1, to_red1, v4
from .mutation import Mutant

STRANGERS_PA = "192.168.0.77"


def said(bench: Bench) -> None:
    """A frame of each fate, from red1 and from host2."""
    for destination in (RED2, RED2, RED3, RED1, STRANGER, EVERYBODY):
        bench.from_port("red1", from_red1(v4() / UDP(sport=5) / Raw(bytes(40)), dst=destination, type=0x0800))
    bench.from_port("red1", from_red1(Raw(bytes(2000)), type=EXPERIMENTAL))
    inner = to_red1(Raw(bytes(46)), type=EXPERIMENTAL)
    for packet in (
        *(bench.nvgre(inner, RED), bench.nvgre(inner, NOBODYS), bench.nvgre(inner, RED, src=STRANGERS_PA)),
        *(bench.nvgre(to_red1(Raw(b"x"), dst=to), RED) for to in (EVERYBODY, RED2)),
        bench.nvgre(to_red1(Raw(bytes(30)), type=0x8100), RED),
    ):
        bench.from_uplink(packet)


def agree(bench: Bench) -> None:
    """What holds whatever was said: of ports, of PAs and of virtual subnets, the sums."""
    dataplane = bench.host.dataplane
    with bench.host.inside():
        subnets, ports, pas = dataplane.counters(), dataplane.port_counters(), dataplane.pa_counters()
    for name in ("encapsulated", "encapsulated_bytes", "decapsulated", "decapsulated_bytes"):
        assert sum(getattr(own, name) for own in pas.values()) == sum(getattr(own, name) for own in subnets.values())
    at_ends: Counter[Drop] = Counter()
    for own in (*ports.values(), *pas.values()):
        at_ends.update(own.dropped or {})
    in_subnets: Counter[Drop] = Counter()
    for subnet in subnets.values():
        in_subnets.update(subnet.dropped)
    assert at_ends == in_subnets
    assert at_ends.total() > 5


def as_said(bench: Bench, moved: Tally) -> None:
    """What ports and PAs count of what was said."""
    peer, drops = bench.peer_pa, dict.fromkeys((Drop.OWN_ADDRESS, Drop.UNKNOWN_UNICAST, Drop.TOO_BIG), 1)
    assert moved == {
        ("red1", "sent"): 7,
        ("red1", "sent_bytes"): 6 * 82 + 2014,
        **{("red1", reason.name): n for reason, n in drops.items()},
        ("red1", "received"): 2,
        ("red1", "received_bytes"): 60 + 15,
        ("red3", "received"): 3,
        ("red3", "received_bytes"): 2 * 82 + 15,
        (peer, "encapsulated"): 3,
        (peer, "encapsulated_bytes"): 3 * 82,
        (peer, "decapsulated"): 2,
        (peer, "decapsulated_bytes"): 60 + 15,
        (peer, Drop.NOT_LOCAL.name): 1,
        (peer, Drop.INNER_TAG.name): 1,
        (NO_PA, Drop.UNKNOWN_VSID.name): 1,
        (NO_PA, Drop.SOURCE_PA.name): 1,
    }


def test_the_sums_by_port_and_by_pa_are_those_by_virtual_subnet() -> None:
    with running() as bench:
        before = bench.ends_tally()
        said(bench)
        agree(bench)
        as_said(bench, bench.moved_at_ends_since(before))


SUMS = {
    "what is sent to a PA": Mutant("encapsulate.h", "count_went(to->end, packets_in(skb), to->frame_bytes);", ""),
    "what comes from a PA": Mutant("decapsulate.h", "count_came(from.end, from.packets, skb->len);", ""),
    "bytes": Mutant("counters.h", "own->went_bytes += bytes;", "own->went_bytes += bytes + 1;"),
    "drops at ports and PAs": Mutant("counters.h", "own->dropped[reason] +=", "own->dropped[reason] += 1 +"),
    "drops in virtual subnets": Mutant("counters.h", "subnet->dropped[reason] +=", "subnet->dropped[reason] += 1 +"),
}
ENDS = {
    "what a port takes in": Mutant("nvgre.bpf.c", "count_came(end_of(port), packets_in(skb), skb->len);", ""),
    "whose port it is": Mutant("counters.h", "return FIRST_PORT + port", "return 1 + FIRST_PORT + port"),
    "what a neighbour gets": Mutant("nvgre.bpf.c", "count_went(record->end, packets_in(skb), skb->len);", ""),
    "what comes out of the wire": Mutant("decapsulate.h", "count_went(end, from", "count_went(end, 1 + from"),
    "copies": Mutant("replicate.h", "count_went(to->end, from->packets, skb->len);", ""),
    "who may send": Mutant("decapsulate.h", ".end = NO_PA,", ".end = NO_PORT,"),
    "who sends": Mutant("decapsulate.h", "from->end = peer->end;", ""),
}


@pytest.mark.parametrize("name", [*SUMS, *ENDS])
def test_counters_that_are_wrong_are_noticed(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sums notice what is counted in one place alone; the rest, what was said does."""
    path = (SUMS | ENDS)[name].compiled(tmp_path)
    monkeypatch.setattr(ebpf, "object_file", lambda: path)
    with running() as bench:
        before = bench.ends_tally()
        said(bench)
        moved = bench.moved_at_ends_since(before)
        with pytest.raises(AssertionError):
            agree(bench) if name in SUMS else as_said(bench, moved)


def test_another_process_reads_the_same() -> None:
    with NvgreNet(load("two_hosts")) as net:
        assert net["red1"].ping("10.0.0.2")

        def outside() -> tuple[dict[str, dict[str, PortCounters]], dict[str, dict[object, PaCounters]]]:
            found = show.counters()
            ports: dict[str, dict[str, PortCounters]] = {host.name: {} for host in net.provider_hosts}
            pas: dict[str, dict[object, PaCounters]] = {host.name: {} for host in net.provider_hosts}
            for port in (row for row in found.by_port if row.run == net.own.id):
                ports[port.host][port.port] = port.counters
            for pa in (row for row in found.by_pa if row.run == net.own.id):
                pas[pa.host][pa.pa] = pa.counters
            return ports, pas

        assert wait_until(lambda: outside() == (net.port_counters(), net.pa_counters()), "no VM to say anything")
        ports, _ = outside()
    assert list(ports["host1"]) == [NO_PORT, "red1", "red3", "blue1"]
    assert ports["host1"]["red1"].sent > 0


def test_a_pa_that_a_record_brings_has_a_number_of_its_own_while_there_are_any() -> None:
    policy = load("two_hosts").policy.for_host("host1")
    numbering = Numbering(policy)
    strangers = tuple(IPv4Address(f"198.51.100.{n}") for n in range(SPARE["pas"] + 1))
    numbering.cover(replace(policy, senders={**policy.senders, 5000: frozenset(strangers)}))
    numbers = [numbering.pa_end(pa) for pa in strangers]
    assert len(set(numbers)) == SPARE["pas"] + 1
    assert max(numbers) == numbering.sizes["ends"] - 1
    assert numbers[-1] == END_NO_PA


def test_what_goes_where_a_record_says_later_is_counted_there() -> None:
    elsewhere = IPv4Address("192.168.0.2")
    with running() as bench:
        moved = replace(next(r for r in bench.host.policy.records if r.mac == RED3), pa=elsewhere)
        bench.host.install(moved)
        made = bench.from_port("red1", from_red1(Raw(bytes(46)), dst=RED3, type=EXPERIMENTAL))
    wanted: Tally = {("red1", "sent"): 1, ("red1", "sent_bytes"): 60}
    assert made.moved_at_ends == wanted | {(elsewhere, "encapsulated"): 1, (elsewhere, "encapsulated_bytes"): 60}


def test_open_vswitch_counts_ports_by_their_interfaces_and_no_pas() -> None:
    with NvgreNet(load("two_hosts"), "ovs") as net:
        assert net["red1"].ping("10.0.0.2", count=3)
        host = net["host1"]
        ports = host.port_counters()
        pas = host.pa_counters()
        found = [row for row in show.counters().elsewhere if row.run == net.own.id]
    assert ports["red1"].sent >= 3
    assert ports["red1"].received >= 3
    assert ports["red1"].dropped is None
    assert ports["blue1"].sent < ports["red1"].sent
    assert pas == {}
    assert {row.dataplane for row in found} == {"ovs"}
    assert "counters by remote PA" in found[0].lacks
