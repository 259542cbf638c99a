"""Provider addresses of either IP version, and several per NVE (O5 to O7, E3, U4): what the wire shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from scapy.layers.inet import UDP
from scapy.packet import Raw

from experiments import conformance, isolation, mtu
from experiments.base import Context
from experiments.conformance import rows
from experiments.conformance.variants import with_two_pas
from experiments.results import Verdict
from experiments.transfer import transfer
from nvgre_node.choices import PaChoice
from nvgre_node.net import NvgreNet
from nvgre_node.outer import Outer, outer_of
from topologies import Scenario, load

from .bench import Bench, running
from .frames import EVERYBODY, EXPERIMENTAL, RED1, RED2, from_red1, v4, v6
from .oracle import agrees, agrees_on_flood
from .tap import Tap, token, wire

DATAPLANES = ["ebpf", "model"]

MIXED = """
name: mixed
title: Provider addresses of both IP versions
hosts:
  host1: {pa: [192.168.0.1/24, "fd00::1/64"]}
  host2: {pa: ["fd00::2/64", 192.168.0.2/24, 192.168.0.3/24]}
links: [[host1, host2]]
tenants:
  red:
    subnets: {red_net: {vsid: 5000, prefixes: [10.0.0.0/24, "fd00:10::/64"]}}
    vms:
      red1: {subnet: red_net, host: host1, ca: [10.0.0.1, "fd00:10::1"]}
      red2: {subnet: red_net, host: host2, ca: [10.0.0.2, "fd00:10::2"]}
      red3: {subnet: red_net, host: host1, ca: [10.0.0.3, "fd00:10::3"], pa: "fd00::1"}
      red4: {subnet: red_net, host: host2, ca: [10.0.0.4, "fd00:10::4"], pa: 192.168.0.3}
  blue:
    subnets: {blue_net: {vsid: 6000, prefixes: [10.0.0.0/24]}}
    vms:
      blue1: {subnet: blue_net, host: host1, ca: 10.0.0.1}
"""


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    file: Path = tmp_path_factory.mktemp("mixed") / "mixed.yaml"
    file.write_text(MIXED)
    return load(file)


@pytest.fixture(scope="module", params=DATAPLANES)
def tap(request: pytest.FixtureRequest, mixed: Scenario) -> Iterator[Tap]:
    with NvgreNet(mixed, request.param) as net, Tap(net) as tap:
        yield tap


@pytest.fixture(scope="module")
def bench(mixed: Scenario) -> Iterator[Bench]:
    with running(mixed) as bench:
        yield bench


def read(frames: list[bytes]) -> list[Outer]:
    return [outer for frame in frames if (outer := outer_of(frame)) and outer.is_gre]


# Both IP versions in one network


@pytest.mark.parametrize(
    ("source", "destination", "pas"),
    [
        pytest.param("red1", "red2", ("fd00::1", "fd00::2"), id="the first PA of the receiver's NVE decides"),
        pytest.param("red1", "red4", ("192.168.0.1", "192.168.0.3"), id="a VM is pinned to another PA"),
        pytest.param("red2", "red3", ("fd00::2", "fd00::1"), id="to a VM that is pinned to IPv6"),
        pytest.param("red4", "red1", ("192.168.0.3", "192.168.0.1"), id="from a VM that is pinned"),
        pytest.param("red2", "red1", ("192.168.0.2", "192.168.0.1"), id="the sender has a PA of that version too"),
    ],
)
@pytest.mark.parametrize("version", [4, 6])
def test_the_policy_says_which_pas_carry_a_packet_o6_o7(
    tap: Tap, source: str, destination: str, pas: tuple[str, str], version: int
) -> None:
    policy, mark = tap.net.topo.policy, token()
    macs = {"src": policy.vm(source).mac, "dst": policy.vm(destination).mac}
    packet = (v4(src="192.0.2.1") if version == 4 else v6(src="2001:db8::1")) / UDP() / Raw(mark)
    frame = bytes(from_red1(packet))[12:]

    heard = tap.say(source, bytes.fromhex((macs["dst"] + macs["src"]).replace(":", "")) + frame, mark)

    (outer,) = read(wire(heard, policy.vm(source).host))
    assert (str(outer.source), str(outer.destination)) == pas
    assert heard[destination][0][12:] == frame


def test_one_copy_of_a_broadcast_per_nve_whatever_its_pas_b5(tap: Tap) -> None:
    mark = token()

    heard = tap.say("red1", from_red1(Raw(mark), dst=EVERYBODY, type=EXPERIMENTAL), mark)

    assert len(read(wire(heard))) == 1
    assert {name for name in heard if not name.startswith("host")} == {"red2", "red3", "red4"}


@pytest.mark.parametrize("mac", [RED2, "02:00:0a:00:00:04", "02:00:0a:00:00:03", "02:00:00:00:0c:01"])
@pytest.mark.parametrize("packet", [v4() / UDP(), v6() / UDP(), Raw(b"x")], ids=lambda packet: packet.name)
def test_the_data_plane_does_what_the_specification_says(bench: Bench, mac: str, packet: Raw) -> None:
    agrees(bench, "red1", from_red1(packet, dst=mac))
    agrees_on_flood(bench, "red1", from_red1(packet, dst=EVERYBODY), from_red1(packet, dst=EVERYBODY))


def test_every_pa_of_a_member_may_send_and_every_own_pa_receives_o6_c1(bench: Bench) -> None:
    inner = from_red1(Raw(b"hello"), dst=RED1)
    for source in ("192.168.0.2", "192.168.0.3"):
        agrees(bench, bench.uplink, bench.nvgre(inner, 5000, src=source, dst="192.168.0.1"))
    agrees(bench, bench.uplink, bench.nvgre(inner, 5000, src="192.168.0.4", dst="192.168.0.1"))


# One PA per flow


@pytest.mark.parametrize("dataplane", DATAPLANES)
@pytest.mark.parametrize("ipv6", [False, True], ids=["IPv4", "IPv6"])
def test_flows_spread_over_the_source_pas_and_each_keeps_its_own_e3(dataplane: str, ipv6: bool) -> None:
    two_hosts = load("two_hosts")
    scenario = with_two_pas(two_hosts.over_ipv6() if ipv6 else two_hosts, PaChoice.FLOW)
    with NvgreNet(scenario, dataplane) as net, Tap(net) as tap:
        used: dict[int, set[str]] = {}
        for port in (*range(16), *range(16)):
            mark = token()
            heard = tap.say("red1", from_red1(v4(src="192.0.2.1") / UDP(sport=port) / Raw(mark)), mark)
            used.setdefault(port, set()).update(str(outer.source) for outer in read(wire(heard)))
            assert "red2" in heard
    own = {str(pa) for pa in scenario.policy.nve("host1").pas_of(6 if ipv6 else 4)}
    assert set.union(*used.values()) == own
    assert {len(pas) for pas in used.values()} == {1}


# What works over IPv4 works over IPv6 (O5)


@pytest.mark.parametrize("dataplane", DATAPLANES)
def test_every_row_holds_over_ipv6(dataplane: str) -> None:
    found = conformance.run(Context(load("contoso_fabrikam").over_ipv6(), dataplane, lambda *_: None))
    failed = [row for row, verdict in rows.verdicts(found.samples).items() if verdict == Verdict.FAIL]
    assert (found.reason, failed, found.verdict) == ("", [], Verdict.PASS)


@pytest.mark.parametrize("experiment", [isolation, mtu])
def test_isolation_and_mtu_hold_over_ipv6(experiment: object) -> None:
    context = Context(load("contoso_fabrikam").over_ipv6(), "ebpf", lambda *_: None, quick=True)
    found = experiment.run(context)  # type: ignore[attr-defined]
    assert (found.verdict, found.reason) == (Verdict.PASS, "")


@pytest.mark.parametrize("dataplane", DATAPLANES)
def test_a_transfer_survives_a_narrow_link_in_an_ipv6_fabric_f4(dataplane: str) -> None:
    scenario = load("contoso_fabrikam").over_ipv6()
    with NvgreNet(scenario, dataplane) as net:
        net["r1"].set_link("r1-eth1", mtu=1400)
        net["host2"].set_link("host2-eth0", mtu=1400)
        assert transfer(net["contoso_sql"], net["contoso_web"], "10.1.1.12", 100_000).completed


def test_a_leak_over_ipv6_is_found() -> None:
    scenario = load("contoso_fabrikam").over_ipv6()
    policy = scenario.policy
    wrong = policy.pointing_to(policy.vm("contoso_sql"), policy.vm("fabrikam_sql"))
    found = isolation.run(Context(replace(scenario, policy=wrong), "ebpf", lambda *_: None, quick=True))
    assert found.verdict is Verdict.FAIL
