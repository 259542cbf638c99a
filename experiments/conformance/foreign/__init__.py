"""Conformance of an NVE that this project did not start: what it takes, and what it sends, as one peer sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from experiments.base import Context
from experiments.conformance import receiving
from experiments.conformance.foreign import answers
from experiments.conformance.foreign.peer import Foreign
from experiments.conformance.journal import Journal
from experiments.conformance.peer import NOBODY
from experiments.conformance.rows import Finding
from topologies.target import Target

Tried = Callable[[Foreign], Iterator[Finding]]

_ALL_ALIKE: tuple[Tried, ...] = (
    receiving.every_flow_id,
    receiving.checksum_sequence_no_key,
    receiving.header_bits,
    receiving.virtual_subnets,
    receiving.senders,
    receiving.inner_tags,
    receiving.back_to_the_wire,
    receiving.outer_fragments,
)
"""Rows that are tried on any NVE in the same way. Padding is not: an answer would not show whether it came along."""


EVERYTHING: tuple[Tried, ...] = (*answers.SENT, *_ALL_ALIKE, *answers.RECEIVED)


def findings(
    context: Context, target: Target, journal: Journal, todo: tuple[Tried, ...] = EVERYTHING
) -> Iterator[Finding]:
    """What comes of trying rows on a target, all of them unless told otherwise.

    Raises:
        BadInputError: its interface is not there, or nothing that is sent to it is answered.
    """
    with Foreign(target, context.seed, journal) as peer:
        for number, row in enumerate(todo):
            context.progress(number, len(todo), (row.__doc__ or "").split(":")[0])
            for finding in row(peer):
                yield replace(finding, judged=finding.judged and _can_be_judged(target, finding))
    context.progress(len(todo), len(todo), "done")


def _can_be_judged(target: Target, finding: Finding) -> bool:
    """Whether what should have been seen is known: some of it is the target's choice, which its file may not say."""
    options = target.options
    match finding.row:
        case "G11":
            return options.optional_fields is not None or finding.what not in receiving.WITH_OPTIONAL_FIELDS
        case "C1":
            return options.checks_source
        case "F2":
            return options.fragments is not None
        case "I6" | "I7":  # a tenant system may itself refuse tags, so that its silence says nothing
            shows = target.said.inside.priority_tags and "VID 0" in finding.what
            return shows or finding.observed != NOBODY
    return True
