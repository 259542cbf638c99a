"""The rows of gateways fail where a gateway does not do what they say: by its packet filter, or by who is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from experiments import conformance
from experiments.base import Context
from experiments.conformance import gateways, rows
from experiments.conformance.journal import Journal
from experiments.conformance.lab import DEAD
from experiments.results import Outcome, Sample, Verdict
from nvgre_node import gateway
from nvgre_node.choices import GatewayMode
from nvgre_node.outside import Compartment
from nvgre_node.ruleset import ruleset
from topologies import Scenario, load

Filter = Callable[[Compartment], dict[str, Any]]


def tried(variant: Callable[[Scenario], Scenario], scenario: str = "two_hosts") -> Outcome:
    """The outcome of the rows of gateways on a variant of a scenario."""
    asked = Context(load(scenario), "ebpf", lambda *_: None)
    journal = Journal()
    todo = [(variant, gateways.TRANSLATING)]
    return conformance.outcome(asked, list(journal.follow(conformance.on_variants(asked, journal, todo))), journal)


def failures(outcome: Outcome) -> list[str]:
    return [str(sample["what"]) for sample in outcome.samples if sample["verdict"] == Verdict.FAIL]


def of_x5(outcome: Outcome) -> list[Sample]:
    return [sample for sample in outcome.samples if sample["row"] == "X5"]


def test_what_is_right_passes_with_a_capture_behind_it() -> None:
    outcome = tried(gateways.translating)
    assert failures(outcome) == []
    assert rows.verdicts(outcome.samples)["X5"] == Verdict.PASS
    assert all(sample["capture"] and sample["packet"] for sample in of_x5(outcome))


def without(word: str) -> Filter:
    """The packet filter without the rules that have a word in their expressions."""

    def poorer(compartment: Compartment) -> dict[str, Any]:
        commands = ruleset(compartment)["nftables"]
        kept = [c for c in commands if not any(word in part for part in c["add"].get("rule", {}).get("expr", ()))]
        assert kept != commands
        return {"nftables": kept}

    return poorer


def with_ports_open(compartment: Compartment) -> dict[str, Any]:
    """Every port is forwarded, whichever is asked for."""
    commands = ruleset(compartment)["nftables"]
    for expressions in (c["add"]["rule"]["expr"] for c in commands if "rule" in c["add"]):
        if "dnat" in expressions[-1]:
            expressions[2]["match"]["op"] = "!="
            expressions[2]["match"]["right"] = 1
    return {"nftables": commands}


FILTERS: dict[str, tuple[Filter, list[str]]] = {
    "nothing is translated": (
        without("masquerade"),
        [
            *("ours_near11, outside", "ours_near11, the answer"),
            *("theirs_near11, outside", "theirs_near11, the answer"),
            "all packets outside",
        ],
    ),
    "no port is forwarded": (
        without("dnat"),
        ["ours_far250, forwarded port", "theirs_far250, forwarded port"],
    ),
    "every port is forwarded": (
        with_ports_open,
        ["ours_far250, another port", "theirs_far250, another port"],
    ),
}


@pytest.mark.parametrize(("poorer", "found"), FILTERS.values(), ids=list(FILTERS))
def test_a_fault_in_the_filter_is_found(poorer: Filter, found: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "ruleset", poorer)
    assert failures(tried(gateways.translating)) == found


def test_compartments_that_are_crossed_are_found() -> None:
    """The packets of one tenant to its gateway go to that of the other, by a wrong lookup record."""

    def crossed(scenario: Scenario) -> Scenario:
        variant = gateways.translating(scenario)
        ours, theirs = (variant.policy.vm(f"{tenant}_far250") for tenant in ("ours", "theirs"))
        return replace(variant, policy=variant.policy.pointing_to(theirs, ours))

    found = failures(tried(crossed))
    assert {"theirs_near11, outside", "theirs_near11, the answer"} <= set(found)
    assert "ours_near11, outside" not in found


def test_ports_that_lead_to_the_other_tenant_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both tenants' gateways have the other's address outside."""

    def swapped(scenario: Scenario) -> Scenario:
        variant = gateways.translating(scenario)
        ours, theirs = (variant.policy.vm(f"{tenant}_far250") for tenant in ("ours", "theirs"))
        legs = {ours.name: theirs.leg, theirs.name: ours.leg}
        vms = tuple(replace(vm, leg=legs.get(vm.name)) for vm in variant.policy.vms)
        return replace(variant, policy=replace(variant.policy, vms=vms))

    right = gateways.borders

    def as_configured(_policy: object) -> Iterator[Any]:
        yield from right(gateways.translating(load("two_hosts")).policy)

    monkeypatch.setattr(gateways, "borders", as_configured)
    found = failures(tried(swapped))
    assert {"ours_near11, outside", "theirs_near11, outside"} <= set(found)


def test_silence_outside_is_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateways, "TRANSLATING", (gateways.seen_outside,))
    (sample,) = of_x5(tried(gateways.translating))
    assert (sample["verdict"], sample["observed"]) == (Verdict.FAIL, DEAD)


def of_forwarding() -> Outcome:
    asked = Context(load("two_hosts"), "ebpf", lambda *_: None)
    journal = Journal()
    todo = [(gateways.forwarding, gateways.FORWARDING)]
    return conformance.outcome(asked, list(journal.follow(conformance.on_variants(asked, journal, todo))), journal)


def test_a_gateway_that_forwards_has_the_customer_addresses_outside_d5() -> None:
    outcome = of_forwarding()
    assert failures(outcome) == []
    assert rows.verdicts(outcome.samples)["D5"] == Verdict.PASS


def test_a_gateway_that_translates_what_it_should_forward_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def translating(own: Compartment) -> dict[str, Any]:
        return ruleset(replace(own, leg=replace(own.leg, mode=GatewayMode.NAT)))

    monkeypatch.setattr(gateway, "ruleset", translating)
    assert failures(of_forwarding()) == ["ours_near11, outside"]
