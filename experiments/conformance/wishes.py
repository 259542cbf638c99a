"""Rows that ask one thing more of a network, so that a data plane that lacks it is judged by all the others. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from experiments.conformance import lacking
from experiments.conformance.lab import Lab
from experiments.conformance.rows import Finding
from nvgre_node.dataplane.capability import Capability
from topologies import Scenario

Tried = Callable[[Lab], Iterator[Finding]]
Variant = Callable[[Scenario], Scenario]


@dataclass(frozen=True)
class Wish:
    """A row, and what it asks of its network beyond what others do."""

    network: Variant
    row: Tried


Rows = Sequence[Tried | Wish]


@dataclass(frozen=True)
class Granted:
    """What is left of a variant where something is lacking: its network, the rows to try on it, and what is lost."""

    scenario: Scenario
    rows: Sequence[Tried]
    lost: Sequence[Finding]


def as_far_as_it_can(scenario: Scenario, variant: Variant, tried: Rows, own: Collection[Capability]) -> Granted:
    """A variant of a scenario with every wish that a data plane with these capabilities can grant."""
    network = variant(scenario)
    if lacks := lacking.refused(network.policy, own):
        lost = [one for row in functions(tried) for one in lacking.untried(row, named(variant), lacks)]
        return Granted(network, (), lost)
    granted, lost = list[Tried](), list[Finding]()
    for row in tried:
        if not isinstance(row, Wish):
            granted.append(row)
            continue
        wished = row.network(network)
        if lacks := lacking.refused(wished.policy, own):
            lost += lacking.untried(row.row, named(row.network), lacks)
        else:
            network = wished
            granted.append(row.row)
    return Granted(network, tuple(dict.fromkeys(granted)), lost)


def functions(tried: Rows) -> Sequence[Tried]:
    """What tries them, each once: several wishes may be seen in one go."""
    return tuple(dict.fromkeys(row.row if isinstance(row, Wish) else row for row in tried))


def named(variant: Variant) -> str:
    """What a variant is, in words."""
    return (variant.__doc__ or "").rstrip(".")
