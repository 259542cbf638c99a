from __future__ import annotations

import math

import pytest

from experiments.results import Check, Measurement, Outcome, Verdict

GOOD = Check("a -> b arp", "T6", "silent", "silent")
BAD = Check("contoso_web -> fabrikam_sql arp", "T6", "silent", "heard")


def outcome(*checks: Check, skipped: str = "") -> Outcome:
    return Outcome("isolation", "ebpf", "contoso_fabrikam", (), checks, (), skipped)


def test_a_check_passes_only_if_the_observation_is_the_expectation() -> None:
    assert GOOD.verdict is Verdict.PASS
    assert BAD.verdict is Verdict.FAIL
    assert Check("x", "", "1", "1 ").verdict is Verdict.FAIL


def test_an_outcome_passes_when_all_of_its_checks_do() -> None:
    assert (outcome(GOOD, GOOD).verdict, outcome(GOOD, GOOD).reason) == (Verdict.PASS, "")


def test_an_outcome_without_checks_cannot_pass() -> None:
    assert outcome().verdict is Verdict.FAIL
    assert "nothing was observed" in outcome().reason


def test_one_failed_check_fails_the_outcome_and_is_named() -> None:
    failed = outcome(GOOD, BAD)
    assert failed.verdict is Verdict.FAIL
    assert failed.reason == ("1 of 2 checks failed: contoso_web -> fabrikam_sql arp: expected silent, observed heard")
    assert failed.failed == (BAD,)
    assert failed.passed == (GOOD,)


@pytest.mark.parametrize(("failures", "more"), [(3, False), (4, True)])
def test_the_reason_names_at_most_three_checks(failures: int, more: bool) -> None:
    reason = outcome(*[BAD] * failures).reason
    assert reason.count("expected silent") == 3
    assert reason.endswith("; ...") is more
    assert "\n" not in reason


def test_a_skipped_outcome_says_why_even_if_checks_had_failed() -> None:
    skipped = outcome(BAD, skipped="no NET_IPGRE in this kernel")
    assert (skipped.verdict, skipped.reason) == (Verdict.SKIP, "no NET_IPGRE in this kernel")


def test_a_measurement_knows_its_median_and_interval() -> None:
    rates = Measurement("TCP NVGRE", "Gb/s", (2.0, 3.0, 4.0))
    assert (rates.n, rates.median) == (3, 3.0)
    assert 2.0 <= rates.low <= 3.0 <= rates.high <= 4.0


@pytest.mark.parametrize("values", [(), (1.0, math.nan), (math.inf,)])
def test_a_measurement_needs_finite_values(values: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="TCP NVGRE"):
        Measurement("TCP NVGRE", "Gb/s", values)
