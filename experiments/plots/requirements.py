"""Every requirement of RFC 7637 as a line of a table: what was asked, what came of it, a packet that shows it. Pure.

The figure of `conformance` shows all rows at a glance; this table says of each what lies behind it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from experiments.plots.conformance import BINDING, SECTIONS, verdicts
from experiments.results import Sample


@dataclass(frozen=True)
class Line:
    """A requirement. `capture` is a file of the run; `choice` is what we do where the RFC leaves it open.

    `tried` has one pair per thing that was tried: what it was, and where it failed also what was expected and seen.
    """

    row: str
    clause: str
    level: str
    statement: str
    choice: str
    verdict: str
    tried: tuple[tuple[str, str], ...]
    reason: str
    packet: str
    capture: str

    @property
    def binds(self) -> bool:
        """Whether an RFC says so in capitals."""
        return self.level in BINDING

    @property
    def badge(self) -> str:
        """The class of its badge on the page."""
        return self.verdict if self.verdict in {"pass", "fail"} else "skip"


def table(samples: Sequence[Sample]) -> list[tuple[str, list[Line]]]:
    """The lines by section, each with its name; sections without lines are left out."""
    found = verdicts(samples)
    of = {row: [sample for sample in samples if sample["row"] == row] for row in found}
    lines = {row: _line(verdict, of[row]) for row, verdict in found.items()}
    sections = {
        name.replace("\n", " "): [line for row, line in lines.items() if row[0] in letters.split()]
        for letters, name in SECTIONS.items()
    }
    return [(name, own) for name, own in sections.items() if own]


def _line(verdict: str, samples: Sequence[Sample]) -> Line:
    def text(column: str) -> str:  # runs of earlier versions lack the last columns
        return str(samples[0].get(column) or "")

    tried = tuple(_tried(samples))
    return Line(
        **{name: text(name) for name in ("row", "clause", "level", "statement", "choice", "packet", "capture")},
        verdict=verdict,
        tried=tried,
        reason="" if tried else text("reason"),
    )


def _tried(samples: Sequence[Sample]) -> Iterator[tuple[str, str]]:
    for sample in samples:
        if sample["what"]:
            failed = f"expected {sample['expected']}; seen {sample['observed']}" if sample["verdict"] == "fail" else ""
            seen = f" (seen, not judged: {sample['observed']})" if sample["verdict"] == "reported" else ""
            yield f"{sample['what']}{seen}", failed
