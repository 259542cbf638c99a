"""Whether packets spread: the verdict from hand-made observations, and how often chance alone would call it wrong."""

from __future__ import annotations

from math import comb

import pytest

from experiments import ecmp
from experiments.ecmp import SPREADING, Cell, Varied, checks, crossing, sources, variants
from experiments.forks import ONE_PATH, SPREADS, verdict
from experiments.plots import ecmp as plot
from experiments.results import Verdict
from experiments.statistics import FALSE_ALARM, fair_range
from nvgre_node.errors import BadInputError
from nvgre_node.fabric import Multipath
from topologies import load

PATHS = ("spine1", "spine2")


def ways(*counts: int, paths: tuple[str, ...] = PATHS) -> list[tuple[str, ...]]:
    """So many packets by each path."""
    return [(path,) for path, count in zip(paths, counts, strict=True) for _ in range(count)]


def test_what_is_fair_is_known_to_the_last_flow() -> None:
    def outside(least: int) -> float:
        """The chance that one of two paths, taken for itself, gets fewer, or that many fewer than all."""
        return 2 * sum(comb(128, n) for n in range(least)) / 2**128

    assert fair_range(128, 2) == (36, 92)
    assert 2 * outside(36) <= FALSE_ALARM < 2 * outside(37)


@pytest.mark.parametrize("paths", range(2, 9))
def test_a_path_that_gets_nothing_is_never_fair(paths: int) -> None:
    least, most = fair_range(128, paths)
    assert 1 <= least < 128 / paths < most < 128


@pytest.mark.parametrize(
    ("taken", "word"),
    [
        (ways(64, 64), SPREADS),
        (ways(36, 92), SPREADS),
        (ways(35, 93), "uneven: 35 by spine1, 93 by spine2"),
        (ways(128, 0), ONE_PATH),
        (ways(0, 128), ONE_PATH),
        ([*ways(64, 63), ()], "1 of 128 packets lost"),
        ([*ways(64, 63), PATHS], "1 of 128 packets seen twice"),
        ([()] * 128, "128 of 128 packets lost"),
    ],
    ids=["half and half", "barely", "hardly", "one", "the other", "a loss", "a copy", "nothing at all"],
)
def test_a_word_for_every_way_in_which_packets_go(taken: list[tuple[str, ...]], word: str) -> None:
    assert verdict(taken, PATHS) == word


def test_one_of_three_paths_that_idles_is_no_spread() -> None:
    three = ("spine1", "spine2", "spine3")
    assert verdict(ways(43, 43, 42, paths=three), three) == SPREADS
    assert verdict(ways(64, 64, 0, paths=three), three) == "uneven: 64 by spine1, 64 by spine2, 0 by spine3"


def test_a_flow_that_leaves_its_path_is_told() -> None:
    taken = [*ways(64, 64), *ways(65, 63)]
    assert verdict(taken, PATHS, [*range(128)] * 2) == "1 of 128 flows left their path"
    assert verdict(ways(1, 127), PATHS, [0] * 128) == "1 of 1 flows left their path"
    assert verdict(ways(128, 0), PATHS, [0] * 128) == ONE_PATH


def test_flows_count_and_not_packets() -> None:
    """A flow of many packets fills its path, and that is no fault of the hash."""
    flows = [*range(127), *[127] * 400]
    assert verdict(ways(64, 463), PATHS, flows) == SPREADS
    assert verdict(ways(64, 463), PATHS) == "uneven: 64 by spine1, 463 by spine2"


# The cells


def cell(mode: Multipath, varied: Varied, *counts: int) -> Cell:
    return Cell(4, mode, varied, PATHS, tuple(ways(*counts)), tuple(range(sum(counts))))


def whole() -> list[Cell]:
    """Every cell, as it should be."""
    return [
        cell(mode, varied, *((64, 64) if varied in SPREADING[mode] else (128, 0)))
        for mode in Multipath
        for varied in Varied
    ]


def test_the_table_of_what_spreads_is_that_of_the_rfc_and_of_linux() -> None:
    assert {check.verdict for check in checks(whole())} == {Verdict.PASS}
    spreading = {(mode.value, varied.name) for mode, several in SPREADING.items() for varied in several}
    assert spreading == {
        *(("outer", "SOURCE_PA"), ("inner_addresses", "INNER_IP")),
        *(("inner", "INNER_IP"), ("inner", "INNER_PORT"), ("inner", "VM_FLOWS")),
        *(("key", "FLOW_ID"), ("key", "VSID"), ("key", "SOURCE_PA"), ("key", "VM_FLOWS")),
    }


@pytest.mark.parametrize("mode", Multipath)
@pytest.mark.parametrize("varied", Varied)
def test_a_cell_that_does_the_contrary_fails(mode: Multipath, varied: Varied) -> None:
    contrary = (128, 0) if varied in SPREADING[mode] else (64, 64)
    (check,) = checks([cell(mode, varied, *contrary)])
    assert check.verdict is Verdict.FAIL
    assert check.clause == f"RFC 7637 4.1 {varied.row}"


def test_the_picture_says_what_was_not_as_expected() -> None:
    good = [sample for own in whole() for sample in ecmp._samples(own)]
    assert plot.headline(good) == (
        "A VM's flows spread where routers hash inner addresses and ports or the GRE key; 28 of 28 cases as expected"
    )
    bad = [*good, *ecmp._samples(Cell(6, Multipath.KEY, Varied.FLOW_ID, PATHS, tuple(ways(128, 0)), tuple(range(128))))]
    assert plot.headline(bad) == "NOT AS EXPECTED in 1 of 29 cases: FlowID, hashed by key, over IPv6"
    shown = {text.get_text() for axes in plot.draw(bad).axes for text in axes.texts}
    assert "EXPECTED:\nspreads" in shown
    assert "EXPECTED:\nspreads" not in {text.get_text() for axes in plot.draw(good).axes for text in axes.texts}


# What is tried


def test_packets_differ_in_what_is_varied_and_in_nothing_else() -> None:
    scenario = load("leaf_spine")
    source, destination = crossing(scenario)
    macs = "02:00:00:00:00:01", "02:00:00:00:00:02"
    ends = ecmp.Ends(*macs, sources(scenario, source), scenario.policy.pa_of(destination))
    first = ecmp.packet(ends, Varied.NOTHING, 0)
    at = {Varied.FLOW_ID: {41}, Varied.VSID: {38, 39, 40}, Varied.INNER_PORT: {76, 77}, Varied.NOTHING: set[int]()}
    for varied, allowed in at.items():
        own = [ecmp.packet(ends, varied, number) for number in range(ecmp.FLOWS)]
        assert len(set(own)) == (1 if varied is Varied.NOTHING else ecmp.FLOWS)
        changed = {n for packet in own for n, (a, b) in enumerate(zip(first, packet, strict=True)) if a != b}
        assert changed <= allowed


def test_source_pas_are_nobody_elses() -> None:
    scenario = load("leaf_spine")
    for own in variants(scenario).values():
        source, _ = crossing(own)
        pas = sources(own, source)
        taken = {at.ip for link in own.fabric.links for end in link.ends for at in end.addresses}
        assert len(set(pas)) == len(pas) == ecmp.FLOWS
        assert set(pas) & taken == {own.policy.pa_of(source)} == {pas[0]}


def test_the_underlay_is_tried_over_both_ip_versions() -> None:
    assert sorted(variants(load("leaf_spine"))) == [4, 6]
    assert list(variants(load("leaf_spine").over_ipv6())) == [6]


@pytest.mark.parametrize("name", ["two_hosts", "contoso_fabrikam"])
def test_without_paths_of_equal_cost_there_is_nothing_to_try(name: str) -> None:
    with pytest.raises(BadInputError, match=f"{name} has no equal-cost paths"):
        crossing(load(name))
