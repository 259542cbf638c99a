"""The table of requirements is whole, and verdicts, checks and the page follow from what was found."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.base import Context, distant_pair, distant_pairs
from experiments.conformance import outcome, rows
from experiments.conformance.journal import Frame, Journal
from experiments.conformance.page import page, tally
from experiments.conformance.rows import BY_ID, CHOICES, LEVELS, OPTIONAL, ROWS, Finding, Row, Status
from experiments.conformance.spreading import on_two_paths
from experiments.conformance.variants import at_both_ends
from experiments.plots import conformance as plot
from experiments.results import Sample, Verdict
from topologies import Scenario, load, shipped

SECTIONS = {
    "T": 8,
    "O": 8,
    "G": 16,
    "I": 7,
    "V": 5,
    "E": 4,
    "B": 6,
    "U": 4,
    "P": 2,
    "X": 6,
    "F": 5,
    "D": 5,
    "S": 4,
    "C": 4,
}
"""How many rows each section of the reference has."""

CONFORMANCE = Path(rows.__file__).parent
GOOD = Finding("I6", "VID 10", "a packet", "delivered to nobody", "delivered to nobody", "inner tag")
BAD = replace(GOOD, what="VID 0", observed="delivered to web", reason="")
ENTROPY = Finding("G8", "many flows", "flows", "256 FlowIDs", "16 FlowIDs")


def found(*findings: Finding) -> tuple[Sample, ...]:
    return rows.samples(findings)


def of(row: str, samples: tuple[Sample, ...]) -> list[Sample]:
    return [sample for sample in samples if sample["row"] == row]


# The table


def test_every_row_of_the_reference_is_there_once() -> None:
    assert [row.id for row in ROWS if row.id[0] in SECTIONS] == [row.id for row in ROWS]
    assert sorted(row.id for row in ROWS) == sorted(
        f"{letter}{n + 1}" for letter, many in SECTIONS.items() for n in range(many)
    )


@pytest.mark.parametrize("row", ROWS, ids=[row.id for row in ROWS])
def test_a_row_is_checked_or_says_why_not(row: Row) -> None:
    assert bool(row.reason) == (row.status is not Status.CHECKED)
    assert row.level in LEVELS
    assert row.clause.startswith("RFC ")
    assert row.statement


def test_what_claims_to_be_checked_appears_in_code_that_checks_and_nothing_else_does() -> None:
    """By the row ids that these modules hold as strings of their own."""
    trees = [ast.parse(path.read_text()) for path in CONFORMANCE.glob("*.py") if path.name != "rows.py"]
    words = {node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    assert words & set(BY_ID) == {row.id for row in ROWS if row.status is Status.CHECKED}


def test_where_the_rfc_leaves_it_open_our_choice_is_named() -> None:
    assert {row.id for row in ROWS if row.level == "silent"} <= set(CHOICES) <= set(BY_ID)
    assert {sample["row"]: sample["choice"] for sample in found() if sample["choice"]} == CHOICES


# Samples


def test_what_is_not_checked_has_a_sample_and_never_passes() -> None:
    samples = found()
    assert {sample["row"] for sample in samples} == set(BY_ID)
    assert Verdict.PASS not in {sample["verdict"] for sample in samples}
    never = next(row for row in ROWS if row.status is Status.NOT_APPLICABLE)
    (sample,) = of(never.id, samples)
    assert (sample["verdict"], sample["reason"]) == ("not applicable", never.reason)


def test_a_row_that_a_scenario_cannot_show_is_not_applicable_there() -> None:
    (sample,) = of("I6", found())
    assert (sample["verdict"], sample["reason"]) == ("not applicable", "this scenario has nothing to try it with")


def test_one_failure_fails_a_row_whatever_else_passed() -> None:
    for findings in ((GOOD, BAD), (BAD, GOOD)):
        assert rows.verdicts(found(*findings))["I6"] == "fail"
    assert rows.verdicts(found(GOOD))["I6"] == "pass"


# The verdict of a run


def verdict(*findings: Finding) -> tuple[Verdict, int]:
    result = outcome(Context(load("contoso_fabrikam"), "ebpf", lambda *_: None), list(findings))
    return result.verdict, len(result.checks)


def test_a_row_that_must_hold_decides_the_run() -> None:
    assert verdict(GOOD) == (Verdict.PASS, 1)
    assert verdict(GOOD, BAD) == (Verdict.FAIL, 2)


def test_an_optional_row_is_reported_and_decides_nothing() -> None:
    assert BY_ID["G8"].level in OPTIONAL
    assert verdict(GOOD, ENTROPY) == (Verdict.PASS, 1)
    assert rows.verdicts(found(GOOD, ENTROPY))["G8"] == "fail"


def test_a_run_holds_a_capture_per_row_and_its_samples_lead_there() -> None:
    journal = Journal()

    def tried() -> Iterator[Finding]:
        journal.record([Frame(1.0, "sent:web", bytes(60), "sent, 1 of 1", sent=True)])
        yield GOOD

    asked = Context(load("contoso_fabrikam"), "ebpf", lambda *_: None)
    result = outcome(asked, list(journal.follow(tried())), journal)
    assert list(result.files) == ["captures/ebpf/I6.pcapng"]
    (sample,) = (sample for sample in result.samples if sample["capture"])
    assert (sample["row"], sample["capture"]) == ("I6", "captures/ebpf/I6.pcapng")
    assert sample["packet"]


def test_a_sample_says_what_was_asked_by_whom_what_was_sent_expected_and_seen() -> None:
    (sample,) = of("I6", found(GOOD))
    asked = ("row", "clause", "level", "what", "sent", "expected", "observed", "verdict")
    assert [sample[column] for column in asked] == [
        "I6", "RFC 7637 3.3", "MUST", "VID 10", "a packet", "delivered to nobody", "delivered to nobody", "pass",
    ]  # fmt: skip


def test_a_run_in_which_nothing_was_tried_has_not_passed() -> None:
    assert verdict() == (Verdict.FAIL, 0)
    assert verdict(ENTROPY) == (Verdict.FAIL, 0)


def test_a_check_names_its_clause_and_level() -> None:
    check = rows.check(replace(GOOD, row="G12", what="bit 4 set"))
    assert (check.id, check.clause) == ("G12 bit 4 set", "RFC 2784 2.3 MUST")


# The variant of a scenario


def test_two_virtual_subnets_get_the_ends_of_the_range() -> None:
    policy = at_both_ends(load("contoso_fabrikam")).policy
    assert [policy.vsid_of(vm) for vm, _ in distant_pairs(policy)] == [0x001000, 0xFFFFFE]


def test_a_virtual_subnet_that_has_such_a_vsid_already_keeps_apart() -> None:
    scenario = load("contoso_fabrikam")
    contoso, fabrikam = scenario.policy.subnets
    taken = replace(scenario.policy, subnets=(contoso, replace(fabrikam, vsid=0x001000)))
    policy = at_both_ends(replace(scenario, policy=taken)).policy
    assert [subnet.vsid for subnet in policy.subnets] == [0x001000, 0xFFFFFE]


@pytest.mark.parametrize("over", [Scenario.with_mtu, Scenario.over_ipv6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("name", shipped())
def test_any_network_can_be_put_on_two_paths(name: str, over: Callable[[Scenario], Scenario]) -> None:
    scenario = over(load(name))
    variant = on_two_paths(scenario)
    sender, receiver = distant_pair(variant.policy)
    found = variant.fabric.fork(sender.host, variant.policy.pa_of(receiver))
    assert found
    assert len(found[1]) == 2
    assert variant.fabric.mtu == scenario.fabric.mtu
    assert [vm.cas for vm in variant.policy.vms] == [vm.cas for vm in scenario.policy.vms]
    hosts = {nve.host: nve.pas for nve in variant.policy.nves}
    assert {host: variant.fabric.addresses(host) for host in hosts} == hosts
    assert {pa.ip for pas in hosts.values() for pa in pas} >= {record.pa for record in variant.policy.records}


# The page


def test_the_page_has_a_line_per_row_with_its_verdict() -> None:
    text = page(found(GOOD, ENTROPY))
    lines = {cells[1].strip(): line for line in text.splitlines() if len(cells := line.split("|")) > 2}
    assert set(BY_ID) <= set(lines)
    assert "| pass | VID 10 [inner tag] |" in lines["I6"]
    never = next(row for row in ROWS if row.status is Status.NOT_APPLICABLE)
    assert f"| not applicable | {never.reason} |" in lines[never.id]
    assert "| **fail** | many flows (expected 256 FlowIDs, saw 16 FlowIDs) |" in lines["G8"]


def test_the_tally_counts_rows_and_not_checks() -> None:
    assert tally(found(GOOD, GOOD, ENTROPY)) == f"1 passed, 1 failed, {len(ROWS) - 2} not applicable"


# The picture


def test_the_picture_says_which_rows_fail() -> None:
    samples = found(GOOD, BAD)
    assert plot.headline(samples).startswith("I6 FAIL: 0 of 1 requirements")
    shown = {text.get_text() for text in plot.draw(samples).axes[0].texts}
    assert set(BY_ID) <= shown


@pytest.mark.parametrize("samples", [(), ({"row": "I6", "level": "MUST", "verdict": "perhaps"},)])
def test_samples_that_are_none_are_refused(samples: tuple[Sample, ...]) -> None:
    with pytest.raises(ValueError, match=r"no samples|perhaps"):
        plot.draw(samples)
