"""The shape of `results.json`: outcomes as JSON and back, all but their samples. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from experiments.results import Check, Measurement, Outcome, Verdict

SCHEMA = 1


def write(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The content of `results.json`."""
    return {"schema": SCHEMA, "experiments": [_write_outcome(outcome) for outcome in outcomes]}


def _write_outcome(outcome: Outcome) -> dict[str, Any]:
    return {
        "name": outcome.experiment,
        "dataplane": outcome.dataplane,
        "scenario": outcome.scenario,
        "verdict": outcome.verdict.value,
        "reason": outcome.reason,
        "measurements": [
            {"name": m.name, "unit": m.unit, "n": m.n, "median": m.median, "low": m.low, "high": m.high}
            | {"values": list(m.values)}
            for m in outcome.measurements
        ],
        "checks": [
            {"id": c.id, "clause": c.clause, "expected": c.expected, "observed": c.observed, "verdict": c.verdict.value}
            for c in outcome.checks
        ],
    }


def read(content: dict[str, Any]) -> list[Outcome]:
    """The outcomes in the content of `results.json`, without samples.

    Raises:
        ValueError: another schema, a part that is missing or of the wrong kind, or a verdict that its checks deny.
    """
    if content.get("schema") != SCHEMA:
        raise ValueError(f"schema {content.get('schema')!r}; this version reads schema {SCHEMA}")
    try:
        return [_read_outcome(entry) for entry in content["experiments"]]
    except KeyError as error:
        raise ValueError(f"damaged: {error.args[0]!r} is missing") from error
    except (TypeError, AttributeError) as error:
        raise ValueError(f"damaged: {error}") from error


def _read_outcome(entry: dict[str, Any]) -> Outcome:
    outcome = Outcome(
        str(entry["name"]),
        str(entry["dataplane"]),
        str(entry["scenario"]),
        tuple(_read_measurement(measurement) for measurement in entry["measurements"]),
        tuple(_read_check(check) for check in entry["checks"]),
        (),
        str(entry["reason"]) if entry["verdict"] == Verdict.SKIP else "",
    )
    if entry["verdict"] != outcome.verdict:  # computed, never taken on trust
        raise ValueError(f"damaged: {outcome.experiment} says {entry['verdict']}, its checks say {outcome.verdict}")
    return outcome


def _read_measurement(entry: dict[str, Any]) -> Measurement:
    return Measurement(str(entry["name"]), str(entry["unit"]), tuple(float(value) for value in entry["values"]))


def _read_check(entry: dict[str, Any]) -> Check:
    return Check(str(entry["id"]), str(entry["clause"]), str(entry["expected"]), str(entry["observed"]))
