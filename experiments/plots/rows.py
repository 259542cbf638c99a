"""Reads typed columns out of samples, and says which column of which row is wrong. Pure."""

from __future__ import annotations

from experiments.results import Sample


def text(sample: Sample, column: str) -> str:
    """A column that must hold text. Raises ValueError when it does not."""
    value = sample.get(column)
    if not isinstance(value, str):
        raise ValueError(f"column {column!r} holds {value!r}, which is no text")
    return value


def number(sample: Sample, column: str) -> float:
    """A column that must hold a number. Raises ValueError when it does not."""
    value = sample.get(column)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"column {column!r} holds {value!r}, which is no number")
    return float(value)


def optional(sample: Sample, column: str) -> float | None:
    """A column that may hold a number, or None where it is empty. Raises ValueError on anything else."""
    return None if sample.get(column) is None else number(sample, column)
