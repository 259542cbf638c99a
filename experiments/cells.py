"""Samples as CSV and back, without loss: how a typed value becomes the text of one cell. Pure.

| value | cell |
|---|---|
| absent from its row | `n/a` |
| None | `null` |
| True, False | `true`, `false` |
| int | decimal digits: `1458` |
| float | Python's shortest form, which always has a point, an exponent, or is `inf` or `nan`: `2.0` |
| str | as it is; in JSON quotes where it could be taken for one of the above, or has a carriage return: `"null"` |

Spreadsheets read such a file as it stands, and data frame libraries take `n/a` and `null` for missing.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence

from experiments.results import Sample, Scalar

_ABSENT = "n/a"
_WORDS: dict[str, Scalar] = {"null": None, "true": True, "false": False}
_INT = re.compile(r"-?[0-9]+")
_FLOAT = re.compile(r"-?([0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?|inf)|nan")


def encode(value: Scalar) -> str:
    """The cell of one value."""
    if isinstance(value, str):
        return value if _is_plain(value) else json.dumps(value, ensure_ascii=False)
    if value is None or isinstance(value, bool):
        return next(word for word, meaning in _WORDS.items() if meaning is value)
    return repr(value)


def decode(cell: str) -> Scalar:
    """The value of one cell that is not `n/a`. Raises ValueError when its JSON quotes do not close."""
    if cell in _WORDS:
        return _WORDS[cell]
    if _INT.fullmatch(cell):
        return int(cell)
    if _FLOAT.fullmatch(cell):
        return float(cell)
    return str(json.loads(cell)) if cell.startswith('"') else cell


def _is_plain(text: str) -> bool:
    special = text in {_ABSENT, *_WORDS} or _INT.fullmatch(text) or _FLOAT.fullmatch(text)
    return not special and not text.startswith('"') and "\r" not in text  # csv would not quote a carriage return


def write(samples: Sequence[Sample]) -> str:
    """The CSV text: a column for every key of any row, in the order of their first appearance."""
    columns = list(dict.fromkeys(key for sample in samples for key in sample))
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(columns)
    for sample in samples:
        rows.writerow([encode(sample[column]) if column in sample else _ABSENT for column in columns])
    return text.getvalue()


def read(text: str) -> tuple[Sample, ...]:
    """The samples of a CSV text. Raises ValueError when a row does not have as many cells as there are columns."""
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = next(rows, [])
        return tuple(_sample(columns, row) for row in rows)
    except csv.Error as error:
        raise ValueError(f"line {rows.line_num}: {error}") from error


def _sample(columns: list[str], row: list[str]) -> Sample:
    return {column: decode(cell) for column, cell in zip(columns, row, strict=True) if cell != _ABSENT}
