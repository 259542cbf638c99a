"""The page of what implementations do wrong, held against the wire: the rows that fail with each word, no others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments import conformance
from experiments.base import Context
from experiments.conformance import receiving, rows, sending, traffic_class
from experiments.conformance.lab import Lab
from experiments.conformance.rows import Finding
from experiments.results import Verdict
from nvgre_node.choices import Deviation, FlowIds, Implementation
from nvgre_node.deviations import IMITATIONS
from nvgre_node.net import NvgreNet
from topologies import Scenario, load

PAGE = Path(__file__).parents[2] / "docs/deviations.md"
SEEN_AS_IT_IS = (*sending.SENDING, *receiving.RECEIVING, *traffic_class.ROWS)
"""The rows about what an NVE sends and takes, on the scenario as it is."""


def table(of: type[Deviation | Implementation]) -> dict[str, list[str]]:
    """The lines of the page about these words: what is between their bars."""
    lines = [line.split("|")[1:-1] for line in PAGE.read_text().splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line] for line in lines]
    return {line[0].strip("`"): line for line in cells if line[0].strip("`") in set(of)}


def said(line: Sequence[str]) -> set[str]:
    """The rows that fail, as a line says."""
    return set(re.findall(r"\w+", line[-1]))


def failed(findings: Iterable[Finding]) -> set[str]:
    return {finding.row for finding in findings if finding.verdict is Verdict.FAIL}


def seen_as_it_is(scenario: Scenario) -> set[str]:
    with NvgreNet(scenario) as net, Lab(net, scenario.policy, seed=7637) as lab:
        return failed(finding for row in SEEN_AS_IT_IS for finding in row(lab))


def doing_wrong(*how: Deviation) -> Scenario:
    flow_ids = FlowIds.NONE if Deviation.EXACT_KEYS in how else FlowIds.FLOW
    return load("two_hosts").with_nve(deviations=frozenset(how), flow_ids=flow_ids)


def test_the_page_has_every_word() -> None:
    assert list(table(Deviation)) == list(Deviation)
    assert list(table(Implementation)) == list(Implementation)


@pytest.mark.parametrize("deviation", Deviation)
def test_a_deviation_fails_the_rows_that_the_page_says_and_no_others(deviation: Deviation) -> None:
    assert seen_as_it_is(doing_wrong(deviation)) == said(table(Deviation)[deviation])


def test_without_a_deviation_no_row_fails() -> None:
    assert seen_as_it_is(doing_wrong()) == set()


@pytest.mark.parametrize("implementation", Implementation)
def test_the_page_says_what_an_imitation_stands_for(implementation: Implementation) -> None:
    imitation = IMITATIONS[implementation]
    choices = [f"{word}: {choice}" for word, choice in imitation.choices.items()]
    ways = [str(way) for way in Deviation if way in imitation.deviations]
    _, _, stands_for, _ = table(Implementation)[implementation]
    assert re.findall("`(.*?)`", stands_for) == ways + choices


@pytest.mark.parametrize("implementation", [Implementation.GRETAP, Implementation.DASH])
def test_an_imitation_fails_the_rows_that_the_page_says_and_no_others(implementation: Implementation) -> None:
    imitation = IMITATIONS[implementation]
    scenario = load("two_hosts").with_nve(deviations=imitation.deviations, **imitation.choices)
    assert seen_as_it_is(scenario) == said(table(Implementation)[implementation])


def run(scenario: Scenario) -> tuple[Verdict, set[str]]:
    """The verdict of the whole experiment, and the rows that fail; their captures say why."""
    outcome = conformance.run(Context(scenario, "ebpf", lambda *_: None))
    found = {row for row, verdict in rows.verdicts(outcome.samples).items() if verdict == Verdict.FAIL}
    assert all(outcome.files[f"captures/ebpf/{row}.pcapng"] for row in found)
    return outcome.verdict, found


def test_the_whole_experiment_on_nves_that_imitate_open_vswitch(tmp_path: Path) -> None:
    text = load("two_hosts").path.read_text().replace("hosts:\n", "nve: {imitate: ovs}\nhosts:\n", 1)
    (tmp_path / "all_ovs.yaml").write_text(text)
    verdict, failed = run(load(tmp_path / "all_ovs.yaml"))
    # Tags that stay on break what rests on them: NVEs in switches (T3), gateways to VLANs (D5). G16: uncounted.
    also = {"D5", "G16", "T3"}
    assert (verdict, failed) == (Verdict.FAIL, said(table(Implementation)[Implementation.OVS]) | also)


def only(host: str) -> Scenario:
    """ovs_like_peer, in which this host is the one that deviates."""
    scenario = load("ovs_like_peer")
    wrong: dict[str, Any] = {"deviations": IMITATIONS[Implementation.OVS].deviations}
    nves = tuple(
        replace(nve, **(wrong if nve.host == host else {"deviations": frozenset()})) for nve in scenario.policy.nves
    )
    return replace(scenario, policy=replace(scenario.policy, nves=nves))


def test_a_sender_that_deviates_fails_other_rows_than_a_receiver() -> None:
    text = load("ovs_like_peer").path.read_text()
    assert "a receiver does wrong: G11, G13, I6, I7, O8." in text
    assert "they are a sender's: I4, I5, I7, O8." in text
    assert seen_as_it_is(load("ovs_like_peer")) == {"G11", "G13", "I6", "I7", "O8"}
    assert seen_as_it_is(only("host1")) == {"I4", "I5", "I7", "O8"}


@pytest.mark.parametrize("dataplane", ["ebpf", "model"])
def test_vms_behind_a_peer_that_deviates_reach_each_other_all_the_same(dataplane: str) -> None:
    with NvgreNet(load("ovs_like_peer"), dataplane) as net:
        assert net["red1"].ping("10.0.0.2")
        assert net["red2"].ping("fd00:10::1")
