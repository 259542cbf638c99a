"""Every requirement of RFC 7637 as one cell, by section: what held, what did not, and what was not tried."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Patch, Rectangle

from experiments.plots import rows, style
from experiments.results import Sample

_COLUMNS = 16  # as many as the longest section has rows
_CELL_INCHES = 0.62
SECTIONS = {
    "T": "terms and model",
    "O": "outer headers",
    "G": "GRE header",
    "I": "inner frame",
    "V": "reserved VSIDs",
    "E": "ECMP",
    "B U P X": "broadcast, unicast,\npolicy, routing",
    "F": "fragments, MTU",
    "D S C": "devices, scale, security",
}
"""The sections by the letters of their rows."""


@dataclass(frozen=True)
class _State:
    label: str
    fill: str
    ink: str
    hatch: str = ""


# By how much they matter: a row that was tried several times shows the last of these.
_STATES = {
    "not applicable": _State("not applicable", style.PAPER, style.MUTED),
    "not here": _State("this machine cannot try it", style.FAINT, style.MUTED, "x"),
    "reported": _State("reported, not judged", style.PAPER, style.INK, "."),
    "lacks": _State("declared as lacking", style.PAPER, style.INK, "/"),
    "pass": _State("holds on the wire", style.OUTCOMES["pass"], "white"),
    "fail": _State("FAILS", style.OUTCOMES["leak"], "white", "//"),
}
_ORDER = list(_STATES)
BINDING = ("MUST", "MUST NOT")
_NAMED = 6  # failures that the headline names


def draw(samples: Sequence[Sample]) -> Figure:
    """The table of samples {row, level, verdict}; a row that any sample failed has failed.

    Raises:
        ValueError: there are no samples, or one lacks a column.
    """
    if not samples:
        raise ValueError("no samples")
    found = verdicts(samples)
    binding = {rows.text(s, "row") for s in samples if rows.text(s, "level") in BINDING}
    sections = {letters: [row for row in found if row[0] in letters.split()] for letters in SECTIONS}
    with style.look():
        figure = style.new_figure(len(SECTIONS) * _CELL_INCHES + 1.9, title=headline(samples))
        axes = figure.subplots()
        for top, (letters, own) in enumerate(sections.items()):
            axes.text(-0.2, top + 0.5, SECTIONS[letters], ha="right", va="center", fontsize=14, linespacing=1.0)
            for column, row in enumerate(own):
                _draw_cell(axes, column, top, row, _STATES[found[row]], row in binding)
        axes.set_xlim(-4.4, max(_COLUMNS, *map(len, sections.values())))
        axes.set_ylim(len(SECTIONS), 0)
        style.bare(axes)
        _legend(figure, set(found.values()))
    return figure


def headline(samples: Sequence[Sample]) -> str:
    """The result in words: how many rows hold, which do not, and how many were not tried."""
    found = verdicts(samples)
    counted = Counter(found.values())
    tried = counted["pass"] + counted["fail"]
    failures = [row for row, verdict in found.items() if verdict == "fail"]
    failed = ", ".join(failures[:_NAMED]) + (", ..." if len(failures) > _NAMED else "")
    words = f"{counted['pass']} of {tried} requirements tried hold on the wire"
    reported = f"{counted['reported']} reported, " if counted["reported"] else ""
    open_ = f"{reported}{counted['not applicable']} not applicable"
    open_ += f", {counted['not here']} not here" if counted["not here"] else ""
    return f"{failed} FAIL: {words}; {open_}" if failed else f"{words}; {open_}"


def verdicts(samples: Sequence[Sample]) -> dict[str, str]:
    """Per row the verdict that matters most."""
    found: dict[str, str] = {}
    for sample in samples:
        row, verdict = rows.text(sample, "row"), rows.text(sample, "verdict")
        if verdict not in _STATES:
            raise ValueError(f"a verdict is {', '.join(_STATES)}, not {verdict!r}")
        found[row] = max(found.get(row, verdict), verdict, key=_ORDER.index)
    return found


def _draw_cell(axes: Axes, column: int, top: int, row: str, state: _State, binding: bool) -> None:
    box = Rectangle(
        (column + 0.05, top + 0.07),
        0.9,
        0.86,
        facecolor=state.fill,
        edgecolor=style.INK if state.hatch else "white" if state.fill != style.PAPER else style.FAINT,
        linewidth=2 if state.hatch or state.fill == style.PAPER else 0,
        hatch=state.hatch,
    )
    axes.add_patch(box)
    axes.text(
        column + 0.5,
        top + 0.5,
        row,
        ha="center",
        va="center",
        fontsize=15,
        fontweight="bold" if binding or state.hatch else "normal",
        color=state.ink,
        bbox={"facecolor": state.fill, "edgecolor": "none", "pad": 1.5} if state.hatch else None,
    )
    if binding:
        line = [column + 0.28, column + 0.72], [top + 0.8, top + 0.8]
        axes.plot(*line, color=state.ink, linewidth=2.5, solid_capstyle="butt")


def _legend(figure: Figure, present: set[str]) -> None:
    handles = [
        Patch(facecolor=state.fill, hatch=state.hatch, edgecolor=style.MUTED, label=state.label)
        for verdict, state in reversed(_STATES.items())
        if verdict in present
    ]
    legend = figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=15)
    legend.set_title("bold and underlined: MUST, MUST NOT", prop=FontProperties(size=14))
