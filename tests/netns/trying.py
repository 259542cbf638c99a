"""Rows of `conformance`, tried a few at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from experiments import conformance
from experiments.base import Context
from experiments.conformance import rows
from experiments.conformance.lab import Lab
from experiments.conformance.rows import Finding
from experiments.results import Outcome, Verdict
from nvgre_node.net import NvgreNet
from topologies import Scenario, load

Rows = Callable[[Lab], Iterator[Finding]]
Variant = Callable[[Scenario], Scenario]


def context(scenario: str | Path = "contoso_fabrikam", dataplane: str = "ebpf") -> Context:
    return Context(load(scenario), dataplane, lambda *_: None)


def failed(outcome: Outcome) -> list[str]:
    """The rows that failed, optional ones included."""
    return [row for row, verdict in rows.verdicts(outcome.samples).items() if verdict == Verdict.FAIL]


def tried(what: Rows, variant: Variant, asked: Context | None = None) -> Outcome:
    """The outcome of trying a few rows on a variant of a network."""
    asked = asked or context()
    scenario = variant(asked.scenario)
    with NvgreNet(scenario, asked.dataplane) as net, Lab(net, scenario.policy, asked.seed) as lab:
        return conformance.outcome(asked, list(what(lab)))
