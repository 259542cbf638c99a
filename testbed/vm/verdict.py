"""What came of a data plane on a kernel. Pure: guests say it by JSON, and the table is made elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Found(StrEnum):
    """What came of it."""

    PASS = "pass"  # noqa: S105 (no password)
    LACKS = "lacks"
    """The kernel has not what the data plane is made of."""
    FAIL = "fail"
    UNTRIED = "untried"
    """There is no such kernel here."""


@dataclass(frozen=True)
class Verdict:
    """What came of it; `reason` is empty if it passed: what the kernel lacks, or which step failed, and how."""

    found: Found
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.found}: {self.reason}" if self.reason else self.found
