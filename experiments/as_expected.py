"""Expectations beside observations: a row for each line of the scenario, and for each pair that differs. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from experiments.results import Sample

_ABOUT = {"reaches": "", "largest": ", largest packet", "way": ", way"}


@dataclass(frozen=True)
class Row:
    """What was expected, of whom, and what was seen. `pairs` is how many pairs of VMs it is about."""

    what: str
    pairs: int
    expected: str
    observed: str

    @property
    def holds(self) -> bool:
        """Whether the observation is the expectation."""
        return self.expected == self.observed


def rows(samples: Sequence[Sample]) -> list[Row]:
    """In the order of the scenario; of a line, first the pairs of which it holds, in one row, then each other."""
    found = []
    for key in dict.fromkeys((sample["line"], sample["about"]) for sample in samples):
        own = [sample for sample in samples if (sample["line"], sample["about"]) == key]
        about, good = _ABOUT[str(key[1])], [sample for sample in own if sample["verdict"] == "pass"]
        if good:
            expected = str(good[0]["expected"])
            found.append(Row(f"{good[0]['said']}{about}", len(good), expected, expected))
        for sample in own:
            if sample["verdict"] != "pass":
                what = f"{sample['source']} -> {sample['destination']}, {sample['by']}{about}"
                found.append(Row(what, 1, str(sample["expected"]), str(sample["observed"])))
    return found
