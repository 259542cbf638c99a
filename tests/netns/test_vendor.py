"""V2, V3, V4: NVEs of this make probe each other with the vendors' VSID; nobody else gets or says anything with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, ip_address
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from experiments.watch import Place, Watch
from nvgre_node import run
from nvgre_node.choices import Vendor
from nvgre_node.dataplane.base import NO_SUBNET, Drop
from nvgre_node.dataplane.planes import ebpf
from nvgre_node.errors import BadInputError
from nvgre_node.net import NvgreNet
from nvgre_node.vendor import HEADER, PROBE_BYTES, VSID_VENDOR, Kind, Probe
from testbed.cli import cli
from topologies import Scenario, load

from .bench import Bench, running
from .frames import DROP, EVERYBODY, PA1, PA2, PASS, REDIRECT, to_red1
from .mutation import Mutant, without
from .oracle import agrees

PROBING = load("two_hosts").with_nve(probe=True)
REQUEST, REPLY = (Probe(kind, 0x1234, 0x56789ABC).pack() for kind in Kind)


def of_another_make(scenario: Scenario, host: str) -> Scenario:
    """The same network, in which the NVE of one host is not of this make."""
    nves = tuple(replace(nve, vendor=Vendor.OTHER) if nve.host == host else nve for nve in scenario.policy.nves)
    return replace(scenario, policy=replace(scenario.policy, nves=nves))


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with running(PROBING) as bench:
        yield bench


def test_a_request_goes_back_as_a_reply(bench: Bench) -> None:
    packet = bench.nvgre(REQUEST, VSID_VENDOR, flow=0x44, ttl=63, tos=3)

    answered = bench.from_uplink(packet)

    expected = bench.nvgre(REPLY, VSID_VENDOR, src=PA1, dst=PA2, ttl=64)
    assert answered.action == REDIRECT
    assert answered.frame[12:] == expected[12:]
    assert (Ether(answered.frame).src, Ether(answered.frame).dst) == (bench.mac, bench.peer_mac)
    assert answered.moved == {(NO_SUBNET, "answered"): 1}
    agrees(bench, bench.uplink, packet)


def test_data_comes_back_as_it_was(bench: Bench) -> None:
    packet = bench.nvgre(REQUEST + b"some data", VSID_VENDOR)

    assert bench.from_uplink(packet).frame.endswith(REPLY + b"some data")
    agrees(bench, bench.uplink, packet)
    agrees(bench, bench.uplink, packet + bytes(9))  # the underlay's padding is no data


def test_a_reply_is_for_the_host_itself(bench: Bench) -> None:
    assert bench.from_uplink(bench.nvgre(REPLY, VSID_VENDOR)).action == PASS
    agrees(bench, bench.uplink, bench.nvgre(REPLY, VSID_VENDOR))


NO_PROBES = {
    "another EtherType": REQUEST[:12] + b"\x08\x00" + REQUEST[14:],
    "another magic": REQUEST[:14] + b"NVEq" + REQUEST[18:],
    "no kind": REQUEST[:18] + b"\0" + REQUEST[19:],
    "a kind that there is not": REQUEST[:18] + b"\3" + REQUEST[19:],
    "one byte too few": REQUEST[:-1],
    "a tenant's frame": to_red1(IP() / UDP() / Raw(b"hello")),
    "a tenant's broadcast": to_red1(IP() / UDP() / Raw(b"hello"), dst=EVERYBODY),
}


@pytest.mark.parametrize("inner", NO_PROBES.values(), ids=NO_PROBES)
def test_whatever_else_has_the_vendors_vsid_is_dropped_v2(bench: Bench, inner: bytes) -> None:
    dropped = bench.from_uplink(bench.nvgre(inner, VSID_VENDOR))

    assert (dropped.action, dropped.drops) == (DROP, [Drop.RESERVED_VSID])
    agrees(bench, bench.uplink, bench.nvgre(inner, VSID_VENDOR))


@pytest.mark.parametrize("inner", [REQUEST, REPLY])
def test_a_stranger_is_neither_answered_nor_heard_v3(bench: Bench, inner: bytes) -> None:
    packet = bench.nvgre(inner, VSID_VENDOR, src="192.168.0.77")

    assert bench.from_uplink(packet).drops == [Drop.RESERVED_VSID]
    agrees(bench, bench.uplink, packet)


@given(inner=st.one_of(st.binary(min_size=14, max_size=60), st.just(REQUEST), st.just(REPLY)), flip=st.integers(0, 207))
def test_anything_with_the_vendors_vsid_is_as_specified(bench: Bench, inner: bytes, flip: int) -> None:
    frame = bytearray(inner.ljust(PROBE_BYTES, b"\0"))
    frame[flip // 8] ^= 1 << flip % 8

    agrees(bench, bench.uplink, bench.nvgre(bytes(frame), VSID_VENDOR))
    agrees(bench, bench.uplink, bench.nvgre(inner, VSID_VENDOR))


def test_it_is_so_over_ipv6() -> None:
    with running(PROBING.over_ipv6()) as bench:
        for inner in (REQUEST, REPLY, *NO_PROBES.values()):
            agrees(bench, bench.uplink, bench.nvgre(inner, VSID_VENDOR))
        assert bench.from_uplink(bench.nvgre(REQUEST, VSID_VENDOR)).action == REDIRECT


def test_nothing_is_answered_where_the_scenario_does_not_say_so() -> None:
    with running() as bench:
        assert bench.from_uplink(bench.nvgre(REQUEST, VSID_VENDOR)).drops == [Drop.RESERVED_VSID]
        agrees(bench, bench.uplink, bench.nvgre(REQUEST, VSID_VENDOR))


# On a running network


@pytest.mark.parametrize("dataplane", ["ebpf", "model"])
@pytest.mark.parametrize("name", ["two_hosts", "contoso_fabrikam"])
def test_nves_find_each_other_alive(dataplane: str, name: str) -> None:
    scenario = load(name).with_nve(probe=True)
    with NvgreNet(scenario, dataplane) as net:
        found = net.alive(timeout=5)
        counters = net.counters()

    pas = {nve.host: nve.pas[0].ip for nve in scenario.policy.nves}
    assert {host: set(peers) for host, peers in found.items()} == {
        "host1": {pas["host2"]},
        "host2": {pas["host1"]},
    }
    assert all(seconds is not None and seconds > 0 for peers in found.values() for seconds in peers.values())
    assert {host: subnets[NO_SUBNET].answered for host, subnets in counters.items()} == {"host1": 1, "host2": 1}


def test_they_do_over_ipv6() -> None:
    with NvgreNet(PROBING.over_ipv6()) as net:
        assert all(seconds is not None for peers in net.alive(timeout=5).values() for seconds in peers.values())


def test_the_prober_sends_headers_as_the_nve_does() -> None:
    with NvgreNet(PROBING.with_nve(ttl=33, dscp=46)) as net, Watch([Place(net["host2"], "host2-eth0")]) as watch:
        assert net["host1"].probe(IPv4Address(PA2), timeout=5) is not None
        seen = [Ether(sighting.frame) for sighting in watch.until_quiet() if HEADER.pack() in sighting.frame]
    (asked,) = seen

    ip = asked[IP]
    assert (ip.src, ip.dst, ip.flags, ip.ttl, ip.tos, ip.ihl) == (PA1, PA2, "DF", 33, 46 << 2, 5)
    assert bytes(ip.payload).startswith(bytes.fromhex("20006558ffffff00"))


def test_an_nve_that_does_not_live_is_found_out() -> None:
    with NvgreNet(PROBING) as net:
        net["host2"].set_link("host2-eth0", state="down")
        assert net.alive(timeout=0.2)["host1"] == {IPv4Address(PA2): None}


@pytest.mark.parametrize("other", ["host1", "host2"])
def test_an_nve_of_another_make_is_neither_asked_nor_answered_v3(other: str) -> None:
    with running(of_another_make(PROBING, other)) as bench:
        with Watch([Place(bench.host, bench.uplink, incoming_only=False)]) as watch:
            with pytest.raises(BadInputError, match="own vendor"):
                bench.host.probe(IPv4Address(PA2))
            assert bench.net.alive() == {"host1": {}, "host2": {}}
            assert not [s for s in watch.heard(20) if b"\xff\xff\xff\x00" in s.frame[38:42]]
        for inner in (REQUEST, REPLY):
            assert bench.from_uplink(bench.nvgre(inner, VSID_VENDOR)).drops == [Drop.RESERVED_VSID]


def test_show_peers_asks_from_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    with NvgreNet(PROBING) as net:
        monkeypatch.setattr(run, "alive", lambda: [net.own.id])  # the networks of other tests count their probes
        printed = CliRunner().invoke(cli, ["show", "peers", "--json"])
        table = CliRunner().invoke(cli, ["show", "peers"])
        rows = [row for row in json.loads(printed.output) if row["run"] == net.own.id]

    assert [(row["host"], row["peer"]) for row in rows] == [("host1", PA2), ("host2", PA1)]
    assert all(row["seconds"] > 0 for row in rows)
    assert table.exit_code == 0
    assert " ms" in table.output


def test_a_scenario_says_who_probes_whom(tmp_path: Path) -> None:
    text = load("two_hosts").path.read_text()
    text = text.replace("pa: 192.168.0.2/24", "pa: 192.168.0.2/24, vendor: other")
    text = text.replace("hosts:\n", "nve: {probe: true}\nhosts:\n", 1)
    (tmp_path / "two.yaml").write_text(text)
    policy = load(tmp_path / "two.yaml").policy

    assert [(nve.probe, nve.vendor) for nve in policy.nves] == [(True, Vendor.OURS), (True, Vendor.OTHER)]
    assert policy.for_host("host1").verified == policy.for_host("host2").verified == frozenset()
    assert PROBING.policy.for_host("host1").verified == {ip_address(PA2)}
    assert load("two_hosts").policy.for_host("host1").verified == frozenset()


MUTANTS = {
    "the EtherType": Mutant("vendor.h", "probe.eth.h_proto != bpf_htons(ETHERTYPE_PROBE) ||", ""),
    "the magic": Mutant("vendor.h", "|| probe.magic != bpf_htonl(PROBE_MAGIC)", ""),
    "the kind": without("vendor.h", "probe.kind != PROBE_REQUEST"),
    "replies are not answered": without("vendor.h", "probe.kind == PROBE_REPLY"),
    "what is too short": Mutant("vendor.h", "sizeof(probe)) ||", "sizeof(probe) - 1) ||"),
    "who is verified": Mutant("decapsulate.h", "return DROP_RESERVED_VSID;", "return DROP_REASONS;"),
    "no tenant hears it": Mutant("decapsulate.h", "nve.probe && vsid == VSID_VENDOR", "0"),
    "a reply goes back": Mutant("vendor.h", "path.dmac, eth.h_source", "path.dmac, eth.h_dest"),
    "a reply is one": Mutant("vendor.h", "__u8 kind = PROBE_REPLY;", "__u8 kind = PROBE_REQUEST;"),
}  # fmt: skip


def every_check(bench: Bench) -> None:
    for inner in (REQUEST, REPLY, *NO_PROBES.values()):
        agrees(bench, bench.uplink, bench.nvgre(inner, VSID_VENDOR, flow=7))
        agrees(bench, bench.uplink, bench.nvgre(inner, VSID_VENDOR, src="192.168.0.77"))


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS)
def test_disabling_this_check_is_noticed(mutant: Mutant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = mutant.compiled(tmp_path)
    monkeypatch.setattr(ebpf, "object_file", lambda: path)

    with running(PROBING) as bench, pytest.raises(AssertionError):
        every_check(bench)


def test_the_data_plane_passes_unchanged(bench: Bench) -> None:
    every_check(bench)
