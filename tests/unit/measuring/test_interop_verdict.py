"""Who should understand whom, where each pair can be tried, and what the matrix says: from hand-made observations."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from experiments.base import Context
from experiments.interop import conducting, ends, matrix
from experiments.interop.ends import End, FlowIds, Pair, ThirdParty, end
from experiments.interop.matrix import Place, State, cells, place_of, table
from experiments.interop.network import Setting, reduced, scenario_of
from experiments.interop.rows import SET_UP, UP, Row, Tried, row_of
from experiments.results import Outcome, Verdict
from experiments.runner import Plan
from nvgre_node import choices
from nvgre_node.dataplane import DATAPLANES
from nvgre_node.dataplane.capability import Capability
from nvgre_node.errors import BadInputError
from topologies import load

FREE = End("free", frozenset({Capability.FLOW_IDS, Capability.NO_FLOW_IDS, Capability.EVERY_FLOW_ID}))
KEYED = End("keyed", frozenset({Capability.NO_FLOW_IDS}))
"""To which all 32 bits of a key count."""
BOTH, MIXED, STRICT = Pair(FREE, FREE), Pair(FREE, KEYED), Pair(KEYED, KEYED)


# What is expected follows from what is declared.


def expected(pair: Pair, mode: FlowIds, tried: Tried, from_left: bool = True) -> str:
    ends_ = pair.directions[0 if from_left else 1]
    return Row.of(pair, Setting(4, mode), tried, ends_, 1458, "").expected


def test_free_ends_work_either_way_and_that_with_flow_ids_is_tried_first() -> None:
    assert BOTH.modes == (FlowIds.SET, FlowIds.ZERO)
    assert {expected(BOTH, mode, Tried.PING) for mode in FlowIds} == {"answered"}
    assert expected(BOTH, FlowIds.SET, Tried.SENT) == "several"
    assert expected(BOTH, FlowIds.ZERO, Tried.SENT) == "0"
    assert expected(BOTH, FlowIds.SET, Tried.ACCEPTED) == "any"


def test_to_a_keyed_end_flow_ids_must_be_zero_and_the_other_case_is_tried_too() -> None:
    assert MIXED.modes == (FlowIds.ZERO, FlowIds.SET)
    assert expected(MIXED, FlowIds.ZERO, Tried.PING) == "answered"
    assert expected(MIXED, FlowIds.SET, Tried.PING) == "no answer"
    assert expected(MIXED, FlowIds.SET, Tried.BROADCAST) == "0"
    assert expected(MIXED, FlowIds.SET, Tried.BROADCAST, from_left=False) == "1"
    assert expected(MIXED, FlowIds.SET, Tried.LARGEST) == "none"
    assert expected(MIXED, FlowIds.ZERO, Tried.LARGEST) == "1458"
    assert (expected(MIXED, FlowIds.ZERO, Tried.ACCEPTED), expected(MIXED, FlowIds.ZERO, Tried.ACCEPTED, False)) == (
        "0",
        "any",
    )


def test_two_keyed_ends_have_one_case() -> None:
    assert STRICT.modes == (FlowIds.ZERO,)
    assert expected(STRICT, FlowIds.ZERO, Tried.STREAM) == "arrives"


def test_every_data_plane_meets_itself_every_other_and_every_third_party_once() -> None:
    found = list(ends.pairs())
    assert len(found) == len(set(map(frozenset, found)))
    count = len(DATAPLANES)
    assert len(found) == count * (count + 1) // 2 + count * len(ThirdParty)
    assert all(end(left).is_ours for left, _ in found)
    assert list(ends.pairs(["ebpf"])) == [("ebpf", "ebpf"), *(("ebpf", party) for party in ThirdParty)]


@pytest.mark.parametrize("name", ["ebpf", "model", "ovs"])
def test_ours_take_any_flow_id_and_plain_linux_does_not(name: str) -> None:
    assert Pair(end(name), end(ThirdParty.SCAPY)).works(FlowIds.SET)
    assert not Pair(end(name), end(ThirdParty.BY_HAND)).works(FlowIds.SET)
    assert Pair(end(name), end(ThirdParty.BY_HAND)).works(FlowIds.ZERO)


def test_a_run_notes_the_data_planes_that_it_was_about() -> None:
    plan = Plan(["interop"], load("two_hosts"), ["ovs"], together=["ebpf", "model"])
    assert plan.used == ("ebpf", "model")
    assert replace(plan, experiments=["mtu"]).used == ("ovs",)
    assert replace(plan, experiments=["mtu", "interop"]).used == ("ovs", "ebpf", "model")


# Where each pair can be tried.


@dataclass
class Machine:
    here: dict[str, str] = field(default_factory=dict)
    guest: dict[str, str] = field(default_factory=dict)

    def lacks(self, name: str) -> str:
        return self.here.get(name, "")

    def guests_lack(self, name: str) -> str:
        return self.guest.get(name, "")


def test_what_this_kernel_can_do_is_done_here_and_else_in_a_guest() -> None:
    machine = Machine(here={"gretap": "this kernel has no gretap"}, guest={"uml": "a guest runs no other"})
    assert place_of(("ebpf", "uml"), machine) == (Place.HERE, "")
    assert place_of(("ebpf", "gretap"), machine) == (Place.GUEST, "")


def test_what_neither_can_do_has_both_reasons() -> None:
    machine = Machine(here={"gretap": "this kernel has no gretap"}, guest={"uml": "a guest runs no other"})
    where, why = place_of(("gretap", "uml"), machine)
    assert where is Place.NOWHERE
    assert why == "gretap: this kernel has no gretap; in a guest, uml: a guest runs no other"


def test_without_a_workbench_what_may_need_a_guest_is_not_tried() -> None:
    where, why = place_of(("ebpf", ThirdParty.UML), conducting.Unaided())
    assert (where, why) == (Place.NOWHERE, f"{ThirdParty.UML}: {matrix.WITHOUT_GUESTS}")
    assert place_of(("ebpf", ThirdParty.SCAPY), conducting.Unaided()) == (Place.HERE, "")


# The verdict, and the matrix.


def seen(pair: Pair, *, but: dict[Tried, str] | None = None) -> list[Row]:
    """Everything as it should be, in both cases, but for some."""
    rows = []
    for number, mode in enumerate(pair.modes):
        for direction in pair.directions:
            for tried in (Tried.PING, Tried.SENT) if number else Tried:
                row = Row.of(pair, Setting(4, mode), tried, direction, 1458, "", 2.5 if tried is Tried.STREAM else None)
                observed = (but or {}).get(tried, row.expected)
                rows.append(replace(row, observed=observed, place="here"))
    return rows


def outcome(rows: list[Row]) -> Outcome:
    return conducting.outcome(Context(load("two_hosts"), "each with each", lambda *_: None), rows)


def test_what_is_as_declared_passes_and_known_differences_are_no_failures() -> None:
    rows = [*seen(BOTH), *seen(MIXED), *seen(STRICT)]
    assert outcome(rows).verdict is Verdict.PASS
    found = cells(rows)
    assert [cell.state for cell in found.values()] == [State.ANY, State.ZERO, State.ZERO]
    assert found["free", "keyed"].lines == ("1458 B over IPv4", "2.5 Gb/s")
    assert matrix.headline(rows) == "3 pairs understand each other, 1 with any FlowID, 2 with FlowID 0"


@pytest.mark.parametrize(
    ("tried", "observed"),
    [
        (Tried.PING, "no answer"),
        (Tried.LARGEST, "1459"),
        (Tried.LARGEST, "1457"),
        (Tried.BROADCAST, "2"),
        (Tried.MULTICAST, "0"),
        (Tried.SENT, "7"),
        (Tried.ACCEPTED, "0, 1"),
        (Tried.STREAM, "nothing arrives"),
    ],
)
def test_one_thing_that_is_not_as_declared_fails_the_pair_by_name(tried: Tried, observed: str) -> None:
    rows = [*seen(BOTH), *seen(MIXED, but={tried: observed})]
    found = outcome(rows)
    assert found.verdict is Verdict.FAIL
    assert all("free - keyed" in check.id and str(tried) in check.id for check in found.failed)
    assert cells(rows)["free", "keyed"].state is State.WRONG
    assert cells(rows)["free", "free"].state is State.ANY
    assert matrix.headline(rows) == "NOT AS EXPECTED: free with keyed"


def test_a_pair_that_works_although_it_should_not_is_found_too() -> None:
    rows = [replace(row, observed="answered") if row.tried == Tried.PING else row for row in seen(MIXED)]
    assert outcome(rows).verdict is Verdict.FAIL


def test_an_end_that_does_not_come_up_is_a_failure_and_a_reason_is_none() -> None:
    nothing = Row("free", "keyed", "IPv4", "zero")
    refused = outcome([*seen(BOTH), replace(nothing, reason="keyed: this kernel has no gretap")])
    assert refused.verdict is Verdict.PASS
    failed = outcome([*seen(BOTH), replace(nothing, tried=SET_UP, expected=UP, observed="PartyError: no")])
    assert failed.verdict is Verdict.FAIL
    assert "PartyError: no" in failed.reason


def test_nothing_tried_is_no_pass() -> None:
    assert outcome([Row("free", "keyed", "", "", reason="no")]).verdict is Verdict.FAIL


def test_an_empty_cell_says_why_and_one_that_is_not_asked_for_is_none() -> None:
    found = table([*seen(BOTH), Row("free", "keyed", "", "", reason="keyed: no gretap here")])
    assert found.columns == ("free",)
    [(_, [whole]), (name, [empty])] = found.lines
    assert whole is not None
    assert empty is not None
    assert (name, empty.state, empty.lines) == ("keyed", State.EMPTY, ("keyed: no gretap here",))


def test_rows_come_back_from_their_samples() -> None:
    for row in seen(MIXED):
        assert row_of(row.sample()) == row
    with pytest.raises(ValueError, match="right"):
        row_of({"left": "a"})


# The network of a pair.


def test_of_a_scenario_two_hosts_and_what_is_between_them_stay_and_no_choice() -> None:
    own = reduced(load("contoso_fabrikam"))
    assert [vm.name for vm in own.policy.vms] == ["contoso_sql", "contoso_web"]
    assert own.fabric.routers == ("r1",)
    there = scenario_of(own, Pair(end("ebpf"), end("model")), Setting(6, FlowIds.ZERO))
    assert [nve.dataplane for nve in there.policy.nves] == ["ebpf", "model"]
    assert {nve.flow_ids for nve in there.policy.nves} == {choices.FlowIds.NONE}
    assert {pa.version for nve in there.policy.nves for pa in nve.pas} == {6}
    assert (there.fabric.mtu, there.tenant_mtu) == (1500, 1500)


@pytest.mark.parametrize("name", ["two_hosts", "leaf_spine", "hnv", "internet_gateway", "vlan_gateway"])
def test_every_shipped_network_has_a_pair_of_hosts(name: str) -> None:
    own = reduced(load(name))
    assert len({vm.host for vm in own.policy.vms}) == 2
    assert {nve.host for nve in own.policy.nves} == {vm.host for vm in own.policy.vms}


def test_without_a_pair_there_is_nothing_to_try(tmp_path: Path) -> None:
    text = load("two_hosts").path.read_text().replace("host: host2", "host: host1")
    path = tmp_path / "lonely.yaml"
    path.write_text(text)
    with pytest.raises(BadInputError, match="different provider hosts"):
        reduced(load(path))
