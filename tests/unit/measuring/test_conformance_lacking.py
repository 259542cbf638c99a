"""What a data plane declares that it lacks explains what fails, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from experiments import conformance
from experiments.conformance import lacking, rows
from experiments.conformance.rows import Finding, Status
from experiments.conformance.wishes import Rows, Tried, Variant, as_far_as_it_can, functions
from experiments.results import Verdict
from nvgre_node.choices import COPY, Ecn, FlowIds
from nvgre_node.dataplane import DATAPLANES, implementation
from nvgre_node.dataplane.capability import EVERYTHING, Capability, asked_for
from topologies import load

TRIED = [row for _, tried in conformance.OTHERWISE for row in functions(tried)]
TAGGED = Finding("I6", "0x8100, VID 10", "a tagged frame", "delivered to nobody", "delivered to web")
WITHOUT = EVERYTHING - {Capability.DROPS_TAGS}


def test_what_is_declared_is_no_failure() -> None:
    found = lacking.explained(TAGGED, WITHOUT)
    assert (found.verdict, found.lacks) == (Status.LACKS, "refusal of inner VLAN tags (I6)")
    assert rows.checks([found]) == ()
    assert rows.verdicts(rows.samples([found]))["I6"] == "lacks"


def test_what_is_not_declared_fails() -> None:
    found = lacking.explained(TAGGED, EVERYTHING)
    assert found.verdict == Verdict.FAIL
    assert [check.verdict for check in rows.checks([found])] == [Verdict.FAIL]


def test_what_holds_all_the_same_passes() -> None:
    found = lacking.explained(replace(TAGGED, observed=TAGGED.expected), WITHOUT)
    assert found.verdict == Verdict.PASS


def test_a_failure_beside_a_lack_fails_the_row() -> None:
    other = Finding("O8", "TTL 64", "a frame", "TTL 64", "TTL 63")
    ecn = Finding("O8", "ECN copy, IPv4, CE out", "a frame", "CE", "ECT(0)")
    found = [lacking.explained(one, EVERYTHING - {Capability.COPIES_ECN}) for one in (other, ecn)]
    assert [one.verdict for one in found] == [Verdict.FAIL, Status.LACKS]
    assert rows.verdicts(rows.samples(found))["O8"] == "fail"


def test_a_row_that_is_declared_in_part_is_not_passed() -> None:
    held = Finding("O8", "TTL 64", "a frame", "TTL 64", "TTL 64")
    declared = Finding("O8", "ID 0", "a frame", "ID 0", "ID 7", lacks="an ID of zero")
    for order in ([held, declared], [declared, held]):
        assert rows.verdicts(rows.samples(order))["O8"] == "lacks"


def test_a_network_that_cannot_be_had_says_so_for_each_of_its_rows() -> None:
    granted = as_far_as_it_can(load("two_hosts"), *entry("joined"), EVERYTHING - {Capability.ROUTES})
    assert granted.rows == ()
    assert {one.row for one in granted.lost} == {"T5", "T7", "X2", "X6", "S2", "S4"}
    assert {one.verdict for one in granted.lost} == {Status.LACKS}


def entry(name: str) -> tuple[Variant, Rows]:
    """A variant with its rows, by its name."""
    return next(one for one in conformance.OTHERWISE if one[0].__name__ == name)


@pytest.mark.parametrize(
    ("lacks", "lost"),
    [
        (Capability.COPIES_DSCP, {"O8"}),
        (Capability.ZERO_ECN, {"O8"}),
        (Capability.OUTER_TTL, {"O8"}),
        (Capability.NO_FLOW_IDS, {"G9"}),
    ],
)
def test_one_thing_that_is_lacking_loses_no_other_row(lacks: Capability, lost: set[str]) -> None:
    granted = as_far_as_it_can(load("two_hosts"), *entry("at_the_limits"), EVERYTHING - {lacks})
    tried = {row for one in granted.rows for row in lacking.rows_of(one)}
    assert {one.row for one in granted.lost} == lost
    assert tried >= {"F1", "F5", "V5", "O8", "G9"} - (lost - {"O8"})
    assert lacking.refused(granted.scenario.policy, EVERYTHING - {lacks}) == []


@pytest.mark.parametrize(("variant", "tried"), conformance.OTHERWISE, ids=lambda one: getattr(one, "__name__", ""))
def test_a_data_plane_that_lacks_nothing_loses_no_row(variant: Variant, tried: Rows) -> None:
    granted = as_far_as_it_can(load("contoso_fabrikam"), variant, tried, EVERYTHING)
    assert (granted.lost, granted.rows) == ([], functions(tried))


def test_rows_that_share_a_network_are_tried_on_it_together() -> None:
    granted = as_far_as_it_can(load("two_hosts"), *entry("at_the_limits"), EVERYTHING)
    (nve, *_) = granted.scenario.policy.nves
    assert (nve.flow_ids, nve.ttl, nve.dscp, nve.ecn) == (FlowIds.NONE, 255, COPY, Ecn.ZERO)


def test_a_network_that_this_machine_cannot_build_says_so_and_neither_passes_nor_fails() -> None:
    _, keyed = entry("by_key")
    found = [
        one for row in functions(keyed) for one in lacking.not_here(row, "hashed keys", "no hashes in this kernel")
    ]
    assert {one.row for one in found} == {"E1", "E2"}
    assert rows.checks(found) == ()
    shown = rows.samples(found)
    assert {rows.verdicts(shown)[row] for row in ("E1", "E2")} == {Status.NOT_HERE}
    assert "no hashes in this kernel" in {sample["reason"] for sample in shown}


def test_what_was_tried_elsewhere_counts_before_what_cannot_be_tried_here() -> None:
    here = Finding("E1", "by address", "flows", "spread", "spread")
    there = Finding("E1", "by key", "", "", "", missing="hashes")
    for order in ([here, there], [there, here]):
        assert rows.verdicts(rows.samples(order))["E1"] == Verdict.PASS
    assert rows.verdicts(rows.samples([replace(here, observed="not"), there]))["E1"] == Verdict.FAIL


@pytest.mark.parametrize("row", TRIED, ids=lambda row: row.__name__)
def test_every_function_names_rows_that_there_are(row: Tried) -> None:
    assert lacking.rows_of(row)
    assert set(lacking.rows_of(row)) <= rows.BY_ID.keys()


def test_ranges_of_rows_are_spelled_out() -> None:
    def row() -> None:
        """O1, G1 to G3, I4: what each header says."""

    assert lacking.rows_of(row) == ["O1", "G1", "G2", "G3", "I4"]


def test_explanations_name_rows_that_there_are() -> None:
    assert {row for shown in lacking.EXPLAINS.values() for row, _ in shown} <= rows.BY_ID.keys()


@pytest.mark.parametrize("name", DATAPLANES)
def test_what_a_data_plane_lacks_can_be_found(name: str) -> None:
    """Each lack either explains a row, or is asked for by the networks of some."""
    scenario = load("contoso_fabrikam")
    variants = [as_far_as_it_can(scenario, *one, EVERYTHING).scenario for one in conformance.OTHERWISE]
    asked = {
        capability
        for other in variants
        for nve in other.policy.nves
        for capability in asked_for(other.policy.for_host(nve.host))
    }
    known = asked | lacking.EXPLAINS.keys() | UNSEEN
    assert EVERYTHING - implementation(name).capabilities <= known


UNSEEN = {
    Capability.CROSSES,  # a fault, that `isolation` is for
    Capability.CLAMPS_MSS,  # of TCP connections
    Capability.FRAGMENTS_OUTER,  # what no sound network asks for; `mtu` shows it
    Capability.CARRIES_IP,  # `isolation` knows it
    Capability.FORWARDS_BY_CA,  # no row of RFC 7637's
    Capability.COUNTS_PORTS,  # `show counters` says so
    Capability.COUNTS_PAS,
    Capability.UPDATES,  # `migration` is for
    Capability.DEVIATES,  # what conformance is there to find
}
