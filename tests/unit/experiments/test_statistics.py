from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.statistics import bootstrap_interval, median, paired_ratio

NUMBERS = st.floats(min_value=-1e9, max_value=1e9, allow_subnormal=False)
SAMPLES = st.lists(NUMBERS, min_size=1, max_size=25)
POSITIVE = st.floats(min_value=1e-3, max_value=1e6)


@given(SAMPLES)
@settings(max_examples=60, deadline=None)
def test_the_interval_contains_the_median_and_stays_among_the_values(values: list[float]) -> None:
    low, high = bootstrap_interval(values)
    assert min(values) <= low <= median(values) <= high <= max(values)


@given(SAMPLES, st.integers(min_value=-8, max_value=8))
@settings(max_examples=60, deadline=None)
def test_another_unit_scales_median_and_interval(values: list[float], exponent: int) -> None:
    scale = 2.0**exponent  # a power of two, so that scaling does not round
    scaled = [value * scale for value in values]
    assert median(scaled) == median(values) * scale
    assert bootstrap_interval(scaled) == tuple(end * scale for end in bootstrap_interval(values))


@given(SAMPLES)
@settings(max_examples=20, deadline=None)
def test_the_same_values_give_the_same_interval(values: list[float]) -> None:
    assert bootstrap_interval(values) == bootstrap_interval(values)


@given(SAMPLES)
@settings(max_examples=30, deadline=None)
def test_less_confidence_gives_no_wider_interval(values: list[float]) -> None:
    low, high = bootstrap_interval(values, confidence=0.95)
    inner_low, inner_high = bootstrap_interval(values, confidence=0.5)
    assert low <= inner_low <= inner_high <= high


def test_a_single_value_is_its_own_interval() -> None:
    assert bootstrap_interval([4.2]) == (4.2, 4.2)


@pytest.mark.parametrize("of", [median, bootstrap_interval])
def test_nothing_has_no_median(of: object) -> None:
    assert callable(of)
    with pytest.raises(ValueError, match="no values"):
        of([])


@given(st.lists(st.tuples(POSITIVE, POSITIVE), max_size=20), POSITIVE)
def test_a_drift_that_both_share_cancels_out_of_the_ratio(pairs: list[tuple[float, float]], drift: float) -> None:
    a, b = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    plain = paired_ratio(a, b)
    drifted = paired_ratio([value * drift for value in a], [value * drift for value in b])
    assert drifted == pytest.approx(plain)
    assert len(plain) == len(pairs)


def test_a_ratio_needs_pairs_and_a_denominator() -> None:
    with pytest.raises(ValueError, match="2 rounds against 1"):
        paired_ratio([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="zero"):
        paired_ratio([1.0], [0.0])
