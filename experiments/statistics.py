"""Medians, their bootstrap intervals, and paired ratios. Pure: the same numbers give the same answer, always."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import comb

import numpy as np

RESAMPLES = 2000
SEED = 7637
"""Fixed, so that a report rendered again shows the same intervals."""


def median(values: Sequence[float]) -> float:
    """The median, in the unit of the values. Raises ValueError when there are none."""
    if not values:
        raise ValueError("no values: the median of nothing is not a number")
    return float(np.median(values))


def bootstrap_interval(values: Sequence[float], confidence: float = 0.95, seed: int = SEED) -> tuple[float, float]:
    """The percentile bootstrap interval (low, high) of the median, in the unit of the values (Efron 1979).

    A single value is its own interval. Raises ValueError when there are no values.
    """
    centre = median(values)
    if len(values) == 1:
        return centre, centre
    sample = np.asarray(values, dtype=float)
    picks = np.random.default_rng(seed).integers(0, sample.size, size=(RESAMPLES, sample.size))
    medians = np.median(sample[picks], axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(medians, [tail, 1 - tail], method="inverted_cdf")
    return float(low), float(high)


FALSE_ALARM = 1e-6
"""How often a fair spread may be taken for an unfair one: once in a million times."""


@cache
def fair_range(flows: int, parts: int) -> tuple[int, int]:
    """How many of so many flows each of `parts` gets (least, most) where each flow goes to any of them alike.

    Exact, by the binomial distribution: the chance that any part is outside is at most FALSE_ALARM. `least` is at least
    1, since what gets nothing has no part in it.
    """
    share = 1 / parts
    chances = [comb(flows, n) * share**n * (1 - share) ** (flows - n) for n in range(flows + 1)]
    tail = FALSE_ALARM / (2 * parts)
    least = next(n for n in range(flows + 1) if sum(chances[: n + 1]) > tail)
    most = next(n for n in range(flows, -1, -1) if sum(chances[n:]) > tail)
    return max(least, 1), most


def paired_ratio(a: Sequence[float], b: Sequence[float]) -> tuple[float, ...]:
    """Round by round a / b, without unit: what drifts from round to round cancels out.

    Raises:
        ValueError: the two have different lengths, or a round of `b` is zero.
    """
    if len(a) != len(b):
        raise ValueError(f"a ratio needs pairs: {len(a)} rounds against {len(b)}")
    if 0 in b:
        raise ValueError("a round of the denominator is zero")
    return tuple(over / under for over, under in zip(a, b, strict=True))
