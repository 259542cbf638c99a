"""What an experiment found: measurements, checks, samples, and the verdict that follows from them. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from experiments import statistics

Scalar = str | int | float | bool | None
Sample = dict[str, Scalar]
"""One row of raw data: column name to value."""

_NAMED_FAILURES = 3


class Verdict(StrEnum):
    """What the observations say."""

    PASS = "pass"  # noqa: S105 (not a password)
    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True)
class Measurement:
    """One quantity, measured one or more times. Raises ValueError without values, or with one that is not finite."""

    name: str
    unit: str
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError(f"measurement {self.name!r} has no values")
        if not all(math.isfinite(value) for value in self.values):
            raise ValueError(f"measurement {self.name!r} has a value that is not finite")

    @property
    def n(self) -> int:
        """How many times it was measured."""
        return len(self.values)

    @cached_property
    def median(self) -> float:
        """The median, in `unit`."""
        return statistics.median(self.values)

    @cached_property
    def _interval(self) -> tuple[float, float]:
        return statistics.bootstrap_interval(self.values)

    @property
    def low(self) -> float:
        """The lower end of the median's 95 % bootstrap interval, in `unit`."""
        return self._interval[0]

    @property
    def high(self) -> float:
        """The upper end of the median's 95 % bootstrap interval, in `unit`."""
        return self._interval[1]


@dataclass(frozen=True)
class Check:
    """One expectation beside what was observed. `clause` names the source of the expectation (RFC 7637 F1, T6, ...)."""

    id: str
    clause: str
    expected: str
    observed: str

    @property
    def verdict(self) -> Verdict:
        """Pass exactly if the observation is the expectation."""
        return Verdict.PASS if self.expected == self.observed else Verdict.FAIL


@dataclass(frozen=True)
class Outcome:
    """What one experiment found with one data plane in one scenario. `skipped` is the reason why it did not run.

    `files` are further files of the run by their paths in it; an outcome that was read back has none in memory.
    """

    experiment: str
    dataplane: str
    scenario: str
    measurements: tuple[Measurement, ...]
    checks: tuple[Check, ...]
    samples: tuple[Sample, ...]
    skipped: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict, compare=False, repr=False)

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that failed, in their order."""
        return tuple(check for check in self.checks if check.verdict is Verdict.FAIL)

    @property
    def passed(self) -> tuple[Check, ...]:
        """The checks that passed, in their order."""
        return tuple(check for check in self.checks if check.verdict is Verdict.PASS)

    @property
    def verdict(self) -> Verdict:
        """Computed, never asserted: skip if it did not run, pass if there are checks and all passed, else fail."""
        if self.skipped:
            return Verdict.SKIP
        return Verdict.PASS if self.checks and not self.failed else Verdict.FAIL

    @property
    def reason(self) -> str:
        """One line: why it was skipped, or which checks failed (the first three); empty on a pass."""
        if self.skipped:
            return self.skipped
        if not self.checks:
            return "no checks: nothing was observed"
        if not self.failed:
            return ""
        named = [f"{c.id}: expected {c.expected}, observed {c.observed}" for c in self.failed[:_NAMED_FAILURES]]
        more = ["..."] if len(self.failed) > _NAMED_FAILURES else []
        return f"{len(self.failed)} of {len(self.checks)} checks failed: {'; '.join([*named, *more])}"
