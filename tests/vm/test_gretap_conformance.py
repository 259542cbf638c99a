"""What of RFC 7637 plain Linux holds, row by row: it lacks exactly what it says, and `imitate: gretap` is like it."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from experiments import conformance
from experiments.base import Context
from experiments.conformance import lacking, receiving, rows, sending, traffic_class
from experiments.conformance.lab import Lab
from experiments.conformance.rows import Finding, Status
from experiments.results import Outcome, Verdict
from nvgre_node.choices import Implementation
from nvgre_node.dataplane import implementation
from nvgre_node.dataplane.capability import Capability
from nvgre_node.deviations import IMITATIONS
from nvgre_node.net import NvgreNet
from topologies import load

PLANES = ["gretap", "gretap_external"]
PAGE = Path(__file__).parents[2] / "docs/dataplanes.md"
SEEN_AS_IT_IS = (*sending.SENDING, *receiving.RECEIVING, *traffic_class.ROWS)
"""The rows about what an NVE sends and takes, on the scenario as it is."""


@cache
def run(plane: str) -> Outcome:
    return conformance.run(Context(load("two_hosts"), plane, lambda *_: None, quick=True))


@pytest.fixture(params=PLANES)
def outcome(request: pytest.FixtureRequest) -> Outcome:
    return run(request.param)


def findings(outcome: Outcome) -> list[Finding]:
    """What was really tried, as it was found; nothing is explained yet."""
    words = ("row", "what", "sent", "expected", "observed")
    tried = [sample for sample in outcome.samples if sample["sent"] not in {"", "nothing"}]
    return [Finding(**{word: str(sample[word]) for word in words}) for sample in tried]  # type: ignore[arg-type]


def shortfalls(found: list[Finding], said: frozenset[Capability]) -> tuple[list[Finding], set[Capability]]:
    """What fails for no reason that was said, and what is said to be lacking though nothing shows it."""
    explained = [lacking.explained(one, said) for one in found]
    lacks = [set(one.lacks.split("; ")) for one in explained if one.verdict == Status.LACKS]
    failed = [one for one in explained if one.verdict == Verdict.FAIL]
    uncounted = {str(Capability.COUNTS_DROPS)}  # which alone explains all that it explains
    shown = set[str]().union(*(uncounted if uncounted <= own else own for own in lacks))
    return failed, {lack for lack in lacking.EXPLAINS.keys() - said if str(lack) not in shown}


def test_it_lacks_what_it_says_and_nothing_else(outcome: Outcome) -> None:
    assert (outcome.reason, outcome.verdict) == ("", Verdict.PASS)
    assert shortfalls(findings(outcome), implementation(outcome.dataplane).capabilities) == ([], set())


def test_whatever_it_would_wrongly_claim_fails(outcome: Outcome) -> None:
    said, found = implementation(outcome.dataplane).capabilities, findings(outcome)
    for wrongly in lacking.EXPLAINS.keys() - said - {Capability.COUNTS_DROPS}:
        alike = {other for other, shown in lacking.EXPLAINS.items() if shown == lacking.EXPLAINS[wrongly]}
        failed, _ = shortfalls(found, said | alike)
        assert {one.row for one in failed} <= {row for row, _ in lacking.EXPLAINS[wrongly]}
        assert failed, wrongly


def test_whatever_it_would_wrongly_not_claim_is_noticed(outcome: Outcome) -> None:
    said, found = implementation(outcome.dataplane).capabilities, findings(outcome)
    for has in lacking.EXPLAINS.keys() & said:
        assert shortfalls(found, said - {has})[1] == {has}


def test_every_must_was_tried_on_the_wire(outcome: Outcome) -> None:
    tried = {one.row for one in findings(outcome)}
    binding = [row.id for row in rows.ROWS if row.level in {"MUST", "MUST NOT"} and row.status is rows.Status.CHECKED]
    assert [row for row in binding if row not in tried] == []


def test_the_page_has_its_figures(outcome: Outcome) -> None:
    (line,) = re.findall(rf"^\| `{outcome.dataplane}` \|(.*)\|$", PAGE.read_text(), re.MULTILINE)
    figures = {str(one.name): int(one.median) for one in outcome.measurements}
    said = dict(zip(("pass", "lacks", "not here", "not applicable"), map(int, re.findall(r"\d+", line)), strict=True))
    assert said == {word: figures.get(word, 0) for word in said}
    assert figures["fail"] == 0


def test_the_imitation_fails_what_the_original_fails() -> None:
    """But for what the kernel does beside the device: it answers what it refuses (O1), and reassembles (F2).

    And ours keeps four tags at most.
    """
    imitation = IMITATIONS[Implementation.GRETAP]
    scenario = load("two_hosts").with_nve(deviations=imitation.deviations, **imitation.choices)
    with NvgreNet(scenario) as net, Lab(net, scenario.policy, seed=7637) as lab:
        imitated = {(one.row, one.what): one for row in SEEN_AS_IT_IS for one in row(lab)}
    real: dict[tuple[str, str], Finding] = {}
    for one in findings(run("gretap")):  # as it is, it is tried first
        real.setdefault((one.row, one.what), one)
    assert imitated.keys() <= real.keys()
    fail_really = {key for key in imitated if real[key].verdict == Verdict.FAIL}
    fail_here = {key for key, one in imitated.items() if one.verdict == Verdict.FAIL}
    assert fail_really - fail_here <= {
        ("O1", "answers to NVGRE"),
        ("F2", "every fragment of a packet"),
        ("I4", "9 tags"),
    }
    assert fail_here <= fail_really
