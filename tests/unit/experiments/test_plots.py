from __future__ import annotations

import warnings
from collections.abc import Iterator
from ipaddress import IPv4Interface, IPv4Network
from itertools import combinations, permutations
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from experiments.plots import ecmp, interop, isolation, mtu, places, style, throughput, topology
from experiments.results import Sample
from nvgre_node.fabric import Attachment, Fabric, FabricLink
from nvgre_node.policy import Nve, Policy, VirtualSubnet, Vm
from topologies import load
from topologies.colours import tenant_colours

VMS = ("contoso_sql", "contoso_web", "fabrikam_sql", "fabrikam_web")


@pytest.fixture(autouse=True)
def _warnings_are_errors() -> Iterator[None]:
    """A layout that does not fit is only a warning to matplotlib."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        yield


def probes() -> list[Sample]:
    def probe(source: str, destination: str, kind: str) -> Sample:
        tenants = source.split("_")[0], destination.split("_")[0]
        state = "heard" if tenants[0] == tenants[1] else "silent"
        return {
            "source": source,
            "destination": destination,
            "source_tenant": tenants[0],
            "destination_tenant": tenants[1],
            "kind": kind,
            "expected": state,
            "observed": state,
            "reason": "" if state == "heard" else "unknown unicast",
        }

    return [probe(a, b, kind) for a, b in permutations(VMS, 2) for kind in isolation.KINDS]


def sweeps(lost: bool = False) -> list[Sample]:
    def shot(underlay: int, df: bool | None, size: int) -> Sample:
        fits = size <= underlay - 42
        return {
            "kind": "sweep",
            "underlay_mtu": underlay,
            "tenant_mtu": underlay,
            "family": "IPv6" if df is None else "IPv4",
            "protocol": "ICMP",
            "df": df,
            "size": size,
            "outcome": "delivered" if fits else "lost" if lost else "told",
            "told_mtu": None if fits or lost else underlay - 42,
            "overhead": 42 if fits else None,
            "fragments": 0,
        }

    offsets = (-400, -1, 0, 1, 42)
    return [shot(u, df, u - 42 + by) for u in (1500, 9000) for df in (True, False, None) for by in offsets]


def transfers() -> list[Sample]:
    common: Sample = {"kind": "transfer", "sent": 262144, "note": ""}
    return [
        {**common, "remedy": "nobody is told", "received": 0, "completed": False, "retransmissions": 5},
        {**common, "remedy": "the NVE tells", "received": 262144, "completed": True, "retransmissions": 1},
    ]


def rates(paths: tuple[str, ...] = ("NVGRE", "VXLAN", "underlay"), rounds: int = 3) -> list[Sample]:
    return [
        {
            "round": number,
            "path": path,
            "protocol": protocol,
            "offloads": offloads,
            "gigabits_per_second": (3.0 - paths.index(path)) * (1 + number / 10),
            "cpu_seconds_per_gigabit": 0.5,
            "retransmissions": 0 if protocol == "TCP" else None,
            "loss_percent": None if protocol == "TCP" else 0.25,
        }
        for number in range(rounds)
        for protocol in ("TCP", "UDP")
        for offloads in ("on", "off")
        for path in paths
    ]


def spreads(paths: int = 2, versions: tuple[str, ...] = ("IPv4", "IPv6")) -> list[Sample]:
    def share(mode: str, varied: str, version: str, path: int) -> Sample:
        spread = (mode, varied) in {("key", "FlowID"), ("key", "a VM's flows"), ("outer", "source PA")}
        return {
            "outer": version,
            "mode": mode,
            "varied": varied,
            "path": path,
            "router": f"spine{path}",
            "packets": 120 // paths if spread else 120 * (path == 1),
            "expected": "spreads" if spread else "one path",
            "observed": "spreads" if spread else "one path",
        }

    kinds = ("nothing: one flow", "FlowID", "VSID", "inner IP", "inner port", "source PA", "a VM's flows")
    return [
        share(mode, kind, version, path + 1)
        for version in versions
        for mode in ecmp.MODES
        for kind in kinds
        for path in range(paths)
    ]


def meetings(*, wrong: bool = False) -> list[Sample]:
    """What `interop` saw of a data plane with itself and with two others, one of which was not tried."""

    def row(right: str, tried: str, observed: str, value: float | None = None) -> Sample:
        ends = {"left": "ebpf", "right": right, "sender": "ebpf", "receiver": right}
        expected = {"largest packet": "1458"}.get(tried, observed)
        setting = {"outer": "IPv4", "flow_ids": "zero", "place": "here", "reason": ""}
        return {**ends, **setting, "tried": tried, "expected": expected, "observed": observed, "value": value}

    found = [row(right, "ping", "answered") for right in ("ebpf", "Scapy")]
    found.append(row("Scapy", "largest packet", "1400" if wrong else "1458"))
    found.append(row("ebpf", "TCP stream", "arrives", 4.25))
    return [*found, {**row("gretap", "", ""), "place": "", "reason": "gretap: this kernel has no gretap"}]


def network(hosts: int, tenants: int) -> tuple[Policy, Fabric]:
    subnets = tuple(
        VirtualSubnet(f"net{t}", f"tenant{t}", 5001 + t, (IPv4Network("10.0.0.0/24"),)) for t in range(tenants)
    )
    vms = tuple(
        Vm(f"vm{t}_{h}", f"net{t}", f"host{h}", f"02:00:00:00:0{t}:0{h}", (IPv4Interface(f"10.0.0.{h + 1}/24"),))
        for t in range(tenants)
        for h in range(hosts)
    )
    nves = tuple(Nve(f"host{h}", (IPv4Interface(f"192.168.{h}.2/24"),)) for h in range(hosts))
    links = tuple(
        FabricLink(Attachment("r1", (IPv4Interface(f"192.168.{h}.1/24"),)), Attachment(nve.host, nve.pas))
        for h, nve in enumerate(nves)
    )
    return Policy(nves, subnets, vms), Fabric(("r1",), links, 1542)


def words(figure: Figure) -> str:
    return " | ".join(text.get_text() for text in figure.findobj(Text) if isinstance(text, Text) and text.get_text())


def saved(figure: Figure, folder: Path) -> str:
    """Saves a figure, which is when its layout is computed, and returns its words."""
    for path in style.save(figure, folder, "figure"):
        assert path.stat().st_size > 5000
    return words(figure)


def test_a_network_that_keeps_its_tenants_apart_says_so(tmp_path: Path) -> None:
    shown = saved(isolation.draw(probes()), tmp_path)
    assert "32 of 32 allowed probes arrived, 64 of 64 forbidden ones did not" in shown
    assert "contoso_sql → contoso_web" in shown
    assert "unknown unicast" in shown
    assert shown.count("LEAK") == 1  # in the legend


def test_leaks_and_losses_are_loud(tmp_path: Path) -> None:
    samples = probes()
    for sample in samples:
        if (sample["source"], sample["destination"], sample["kind"]) == ("contoso_web", "fabrikam_sql", "ARP"):
            sample["observed"] = "heard"
        if (sample["source"], sample["destination"], sample["kind"]) == ("contoso_web", "contoso_sql", "UDP"):
            sample["observed"] = "silent"
    shown = saved(isolation.draw(samples), tmp_path)
    assert "LEAK: 1 forbidden probe" in shown
    assert "31 of 32 allowed probes arrived, 63 of 64" in shown.replace("\n", " ")
    assert " LEAK |" in shown
    assert " LOST |" in shown


def test_one_leak_among_many_probes_of_a_cell_is_the_one_that_shows() -> None:
    leak = {**probes()[-1], "source_tenant": "contoso", "expected": "silent", "observed": "heard"}
    calm = {**leak, "observed": "silent"}
    for order in ([leak, calm], [calm, leak]):
        assert " LEAK |" in words(isolation.draw(order))


@pytest.mark.parametrize("lost", [False, True])
def test_the_limit_is_measured_and_annotated(tmp_path: Path, lost: bool) -> None:
    shown = saved(mtu.draw([*sweeps(lost), *transfers()]), tmp_path)
    assert "limit = 1458 = 1500 \N{MINUS SIGN} 42" in shown
    assert "limit = 8958 = 9000 \N{MINUS SIGN} 42" in shown
    assert "IPv4 ICMP no DF" in shown
    assert ("lost without a word" if lost else "told: packet too big") in shown
    assert "1 of 2 transfers came through" in shown


def test_fragments_do_not_count_as_fitting() -> None:
    samples = [{**sample, "outcome": "delivered", "fragments": 2} for sample in sweeps()]
    assert mtu.limit(samples) is None
    assert "delivered in fragments" in words(mtu.draw(samples))


@pytest.mark.parametrize("samples", [sweeps(), transfers()], ids=["sweeps alone", "transfers alone"])
def test_either_half_of_the_mtu_figure_stands_alone(tmp_path: Path, samples: list[Sample]) -> None:
    saved(mtu.draw(samples), tmp_path)


def test_throughput_shows_paired_ratios_with_units(tmp_path: Path) -> None:
    shown = saved(throughput.draw(rates()), tmp_path)
    assert "NVGRE / VXLAN = 1.50\n[1.50, 1.50]" in shown
    assert "throughput (Gb/s)" in shown
    assert "CPU time (s per Gb)" in shown
    assert "UDP, offloads off" in shown


@pytest.mark.parametrize("samples", [rates(("NVGRE",)), rates(rounds=1), rates()[:3]])
def test_throughput_does_with_what_there_is(tmp_path: Path, samples: list[Sample]) -> None:
    saved(throughput.draw(samples), tmp_path)


@pytest.mark.parametrize(("paths", "versions"), [(2, ("IPv4", "IPv6")), (2, ("IPv4",)), (8, ("IPv4", "IPv6"))])
def test_what_spreads_shows_its_packets_by_path(tmp_path: Path, paths: int, versions: tuple[str, ...]) -> None:
    shown = saved(ecmp.draw(spreads(paths, versions)), tmp_path)
    assert "A VM's flows spread where routers hash the GRE key" in shown
    assert all(f"by way of spine{path + 1}" in shown for path in range(paths))
    assert shown.split(" | ").count("60") == (6 * len(versions) if paths == 2 else 0)
    assert "EXPECTED" not in shown


def test_ends_that_meet_show_what_was_measured_and_why_nothing_was(tmp_path: Path) -> None:
    shown = saved(interop.draw(meetings()), tmp_path)
    assert "2 pairs understand each other" in shown
    for words in ("1458 B over IPv4", "4.2 Gb/s", "not tried", "gretap: this kernel has no gretap"):
        assert words in shown
    assert "NOT AS EXPECTED" not in shown
    assert "NOT AS EXPECTED: ebpf with Scapy" in saved(interop.draw(meetings(wrong=True)), tmp_path)


def test_leaves_and_spines_stand_in_rows_of_their_own(tmp_path: Path) -> None:
    scenario = load("leaf_spine")
    at = places.Places(scenario.policy, scenario.fabric)
    levels = {name: box.y for name, box in at.routers.items()}
    assert levels["leaf1"] == levels["leaf2"] > levels["spine1"] == levels["spine2"]
    boxes = [*at.routers.values()]
    assert not any(a.y == b.y and a.x < b.right and b.x < a.right for a, b in combinations(boxes, 2))
    starts = [tunnel.start for tunnel in at.tunnels]
    assert all(abs(a - b) > 0.1 for a, b in combinations(starts, 2))
    saved(topology.draw(scenario.policy, scenario.fabric), tmp_path)


@pytest.mark.parametrize(("hosts", "tenants"), [(1, 1), (2, 2), (4, 3)])
def test_the_topology_names_everything(tmp_path: Path, hosts: int, tenants: int) -> None:
    policy, fabric = network(hosts, tenants)
    shown = saved(topology.draw(policy, fabric), tmp_path)
    for vm in policy.vms:
        assert vm.name in shown
        assert vm.mac in shown
    assert all(f"PA {nve.pas[0]}" in shown for nve in policy.nves)
    assert "MTU 1542" in shown
    pairs = hosts * (hosts - 1) // 2
    assert all(shown.split(" | ").count(f"VSID {subnet.vsid}") == pairs for subnet in policy.subnets)


def test_hosts_on_one_link_need_no_router(tmp_path: Path) -> None:
    policy, fabric = network(2, 1)
    direct = FabricLink(fabric.links[0].b, fabric.links[1].b)
    assert "192.168.0.0/24" in saved(topology.draw(policy, Fabric((), (direct,), 1600)), tmp_path)


def test_a_red_tenant_is_red() -> None:
    colours = tenant_colours(["blue", "contoso", "red", "blue"])
    assert list(colours) == ["blue", "contoso", "red"]
    assert len(set(colours.values())) == 3
    assert colours["red"] == tenant_colours(["red"])["red"]


def test_the_same_samples_give_the_same_file(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    for folder in (first, second):
        folder.mkdir()
        style.save(throughput.draw(rates()), folder, "rates")
    assert (first / "rates.svg").read_bytes() == (second / "rates.svg").read_bytes()
    assert (first / "rates.png").read_bytes() == (second / "rates.png").read_bytes()


@pytest.mark.parametrize("draw", [isolation.draw, mtu.draw, throughput.draw, ecmp.draw, interop.draw])
def test_no_samples_no_figure(draw: object) -> None:
    assert callable(draw)
    with pytest.raises(ValueError, match="no samples"):
        draw([])


def test_a_wrong_column_is_named() -> None:
    with pytest.raises(ValueError, match="'gigabits_per_second' holds 'fast'"):
        throughput.draw([{**rates()[0], "gigabits_per_second": "fast"}])
    with pytest.raises(ValueError, match="heard or silent"):
        isolation.draw([{**probes()[0], "observed": "maybe"}])


def test_a_hosts_pas_stay_inside_its_box(tmp_path: Path) -> None:
    scenario = load("hnv")
    shown = saved(topology.draw(scenario.policy, scenario.fabric), tmp_path)

    assert "PA 192.168.1.11/24 and 4 more" in shown
