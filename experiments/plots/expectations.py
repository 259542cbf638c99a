"""What a scenario expects beside what was seen: a row for each expectation, and for each pair of VMs that differs."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from experiments.as_expected import Row, rows
from experiments.plots import style
from experiments.results import Sample

_COLUMNS = (0.0, 0.44, 0.51, 0.755)
_WIDTHS = (46, 6, 25, 25)
_HEADINGS = ("expectation", "pairs", "expected", "observed")
_FILLS = {True: style.OUTCOMES["pass"], False: style.OUTCOMES["leak"]}
_LABELS = {True: "as expected", False: "NOT as expected"}
_MOST = 60
"""Rows that a figure has room for; what does not hold comes first where there are more."""


def draw(samples: Sequence[Sample]) -> Figure:
    """The rows of samples {line, said, source, destination, by, about, expected, observed, verdict}.

    Raises:
        ValueError: there are no samples.
    """
    if not samples:
        raise ValueError("no samples")
    found = rows(samples)
    if len(found) > _MOST:
        more = Row(f"and {len(found) - _MOST} more rows: see the run's expectations.csv", 0, "", "")
        found = [*sorted(found, key=lambda row: row.holds)[:_MOST], more]
    cells = [_cells(row) for row in found]
    tall = [max(cell.count("\n") + 1 for cell in own) for own in cells]
    with style.look():
        figure = style.new_figure((sum(tall) + len(tall) + 2) * 0.22 + 1.6, title=headline(samples))
        axes = figure.subplots()
        style.bare(axes)
        _draw_rows(axes, found, cells, tall)
        handles = [Patch(facecolor=_FILLS[holds], label=_LABELS[holds]) for holds in (True, False)]
        figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def headline(samples: Sequence[Sample]) -> str:
    """The result in words: how many of the scenario's expectations hold."""
    lines = {sample["line"] for sample in samples}
    broken = {sample["line"] for sample in samples if sample["verdict"] != "pass"}
    words = f"{len(lines - broken)} of {len(lines)} expectations hold"
    return f"NOT AS EXPECTED: {words}" if broken else words


def _cells(row: Row) -> tuple[str, ...]:
    given = (row.what.replace("->", "→"), str(row.pairs or ""), row.expected, row.observed)
    return tuple("\n".join(textwrap.wrap(text, width)) for text, width in zip(given, _WIDTHS, strict=True))


def _draw_rows(axes: Axes, found: Sequence[Row], cells: Sequence[tuple[str, ...]], tall: Sequence[int]) -> None:
    for at, heading in zip(_COLUMNS, _HEADINGS, strict=True):
        axes.text(at + 0.008, 0.9, heading, fontsize=14, fontweight="bold", va="center")
    top = 2.0
    for row, own, lines in zip(found, cells, tall, strict=True):
        height, fill = lines + 1.0, _FILLS[row.holds]
        axes.add_patch(Rectangle((0, top), 0.74, height - 0.15, facecolor=style.FAINT))
        axes.add_patch(Rectangle((0.745, top), 0.255, height - 0.15, facecolor=fill))
        if not row.holds:
            axes.add_patch(Rectangle((0, top), 1, height - 0.15, fill=False, edgecolor=style.INK, linewidth=1.5))
        for at, text in zip(_COLUMNS, own, strict=True):
            ink = "white" if at == _COLUMNS[-1] else style.INK
            axes.text(at + 0.008, top + height / 2 - 0.07, text, color=ink, fontsize=12, va="center", linespacing=1.1)
        top += height
    axes.set_xlim(0, 1)
    axes.set_ylim(top, 0)
