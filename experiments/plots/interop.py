"""Who understands whom: a matrix of ends, each cell with what was measured, or why nothing was."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from experiments.interop import matrix
from experiments.interop.matrix import Cell, State
from experiments.interop.rows import Row, row_of
from experiments.plots import style
from experiments.results import Sample

_ROW_INCHES = 1.15
_LINES, _SIZE = 4, 12.5
_REASON_LINES, _REASON_SIZE = 5, 11.0
_NAMES = 1.0
"""Columns that the names of rows take."""


@dataclass(frozen=True)
class _Look:
    fill: str
    ink: str
    hatch: str = ""


_LOOKS = {
    State.ANY: _Look(style.OUTCOMES["pass"], "white"),
    State.ZERO: _Look(style.OUTCOMES["told"], style.INK),
    State.WRONG: _Look(style.OUTCOMES["leak"], "white"),
    State.EMPTY: _Look(style.FAINT, style.INK),
}
_WORDS = {
    State.ANY: "any FlowID",
    State.ZERO: "FlowID 0 alone",
    State.WRONG: "NOT AS EXPECTED",
    State.EMPTY: "not tried",
}


def draw(samples: Sequence[Sample]) -> Figure:
    """The matrix of the samples that `interop` writes.

    Raises:
        ValueError: there are no samples, or one lacks a column.
    """
    rows = _rows(samples)
    found = matrix.cells(rows)
    names, columns = matrix.axes(found)
    with style.look():
        figure = style.new_figure(len(names) * _ROW_INCHES + 2.3, title=headline(samples))
        axes = figure.subplots()
        for top, name in enumerate(names):
            axes.text(-0.06, top + 0.5, name, ha="right", va="center", fontsize=16, fontweight="bold")
            for left, column in enumerate(columns):
                if cell := found.get((column, name)):
                    _draw_cell(axes, left, top, cell, len(columns))
        for left, column in enumerate(columns):
            axes.text(left + 0.5, -0.12, column, ha="center", va="bottom", fontsize=16, fontweight="bold")
        axes.set_xlim(-_NAMES * len(columns) / 5, len(columns))
        axes.set_ylim(len(names), -0.45)
        style.bare(axes)
        present = {cell.state for cell in found.values()}
        handles = [Patch(facecolor=look.fill, label=str(state)) for state, look in _LOOKS.items() if state in present]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=15)
    return figure


def headline(samples: Sequence[Sample]) -> str:
    """The result in words."""
    return matrix.headline(_rows(samples))


def _rows(samples: Sequence[Sample]) -> list[Row]:
    if not samples:
        raise ValueError("no samples")
    return [row_of(sample) for sample in samples]


def _draw_cell(axes: Axes, left: int, top: int, cell: Cell, columns: int) -> None:
    look = _LOOKS[cell.state]
    axes.add_patch(Rectangle((left + 0.02, top + 0.03), 0.96, 0.94, facecolor=look.fill, edgecolor="none"))
    head = _WORDS.get(cell.state, str(cell.state))
    axes.text(left + 0.5, top + 0.17, head, ha="center", va="center", fontsize=14, fontweight="bold", color=look.ink)
    room, size = (_REASON_LINES, _REASON_SIZE) if cell.state is State.EMPTY else (_LINES, _SIZE)
    width = int((style.WIDTH - 2) / columns * 9.5 * _SIZE / size)
    lines = [part for line in cell.lines for part in textwrap.wrap(line, width)]
    shown = lines if len(lines) <= room else [*lines[: room - 1], f"{lines[room - 1][: width - 4]} ..."]
    axes.text(
        left + 0.5,
        top + 0.61,
        "\n".join(shown),
        ha="center",
        va="center",
        fontsize=size,
        color=look.ink,
        linespacing=1.1,
    )
