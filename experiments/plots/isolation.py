"""Who heard whom: a heat map of ordered pairs of VMs against kinds of traffic (RFC 7637 T4, T6)."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from experiments.plots import rows, style
from experiments.results import Sample

KINDS = ("ARP", "ICMP", "ICMPv6", "TCP", "UDP", "broadcast", "multicast", "raw")
_ROOMY = 30
"""Up to so many rows, cells have room for their reason."""


@dataclass(frozen=True)
class _State:
    label: str
    word: str
    fill: str
    ink: str
    hatch: str = ""


# By how much they matter: where several probes share a cell, the last of these shows.
_STATES = {
    ("silent", "silent"): _State("silent, as expected", "silent", style.FAINT, style.MUTED),
    ("heard", "heard"): _State("heard, as expected", "heard", style.OUTCOMES["pass"], "white"),
    ("heard", "silent"): _State("LOST: silent, though allowed", "LOST", style.OUTCOMES["lost"], style.INK, "//"),
    ("silent", "heard"): _State("LEAK: heard, though forbidden", "LEAK", style.OUTCOMES["leak"], "white"),
}
_SEVERITY = {state: severity for severity, state in enumerate(_STATES)}

Pair = tuple[str, str]
Cell = tuple[tuple[str, str], str]


def draw(samples: Sequence[Sample]) -> Figure:
    """The heat map of samples {source, destination, source_tenant, destination_tenant, kind, expected, observed}.

    Raises:
        ValueError: there are no samples, or one lacks a column.
    """
    if not samples:
        raise ValueError("no samples")
    cells = _cells(samples)
    inside, between = _groups(samples)
    kinds = sorted({kind for _, kind in cells}, key=lambda kind: (_order(kind), kind))
    roomy = len(inside) + len(between) <= _ROOMY
    row_inches = 0.52 if roomy else 0.3
    height = (len(inside) + len(between) + 1.6) * row_inches + 2.0
    with style.look():
        figure = style.new_figure(height, title=headline(samples))
        axes = figure.subplots()
        _draw_groups(axes, cells, kinds, {"within a tenant": inside, "between tenants": between}, roomy)
        _legend(figure)
    return figure


def headline(samples: Sequence[Sample]) -> str:
    """The result in words: how many allowed probes arrived, and how many forbidden ones did not."""
    states = [_state(sample) for sample in samples]
    heard, lost = states.count(("heard", "heard")), states.count(("heard", "silent"))
    silent, leaked = states.count(("silent", "silent")), states.count(("silent", "heard"))
    words = f"{heard} of {heard + lost} allowed probes arrived, {silent} of {silent + leaked} forbidden ones did not"
    return f"LEAK: {leaked} forbidden probes were heard. {words}" if leaked else words


def _order(kind: str) -> int:
    return KINDS.index(kind) if kind in KINDS else len(KINDS)


def _state(sample: Sample) -> tuple[str, str]:
    state = rows.text(sample, "expected"), rows.text(sample, "observed")
    if state not in _STATES:
        raise ValueError(f"expected and observed are heard or silent, not {state[0]!r} and {state[1]!r}")
    return state


def _cells(samples: Sequence[Sample]) -> dict[tuple[Pair, str], Cell]:
    """Per pair and kind, the state that matters most, and its reason."""
    cells: dict[tuple[Pair, str], Cell] = {}
    for sample in samples:
        at = _pair(sample), rows.text(sample, "kind")
        cell = _state(sample), str(sample.get("reason") or "")
        if at not in cells or _SEVERITY[cell[0]] > _SEVERITY[cells[at][0]]:
            cells[at] = cell
    return cells


def _pair(sample: Sample) -> Pair:
    return rows.text(sample, "source"), rows.text(sample, "destination")


def _groups(samples: Sequence[Sample]) -> tuple[list[Pair], list[Pair]]:
    """The pairs within a tenant and those between tenants, both by tenant and name."""
    tenants = {
        _pair(sample): (rows.text(sample, "source_tenant"), rows.text(sample, "destination_tenant"))
        for sample in samples
    }
    order = sorted(tenants, key=lambda pair: (tenants[pair], pair))
    inside = [pair for pair in order if tenants[pair][0] == tenants[pair][1]]
    return inside, [pair for pair in order if pair not in inside]


def _draw_groups(
    axes: Axes, cells: dict[tuple[Pair, str], Cell], kinds: list[str], groups: dict[str, list[Pair]], roomy: bool
) -> None:
    top, ticks = 0.0, {}
    for name, pairs in groups.items():
        if not pairs:
            continue
        axes.text(0, top + 0.62, name, fontsize=14, fontweight="bold", va="center")
        top += 1
        for pair in pairs:
            ticks[top + 0.5] = " → ".join(pair)
            for column, kind in enumerate(kinds):
                _draw_cell(axes, column, top, cells.get((pair, kind)), roomy)
            top += 1
    axes.set_xlim(0, len(kinds))
    axes.set_ylim(top, 0)
    axes.set_yticks(list(ticks), list(ticks.values()), fontsize=13 if roomy else 10)
    axes.set_xticks([column + 0.5 for column in range(len(kinds))], kinds, fontsize=14, fontweight="bold")
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)


def _draw_cell(axes: Axes, column: int, top: float, cell: Cell | None, roomy: bool) -> None:
    if cell is None:
        axes.text(column + 0.5, top + 0.5, "not probed", ha="center", va="center", fontsize=9, color=style.MUTED)
        return
    key, reason = cell
    state = _STATES[key]
    wrong = key[0] != key[1]
    axes.add_patch(
        Rectangle((column, top), 1, 1, facecolor=state.fill, edgecolor="white", linewidth=2, hatch=state.hatch)
    )
    words, size, weight = state.word, 12.0, "normal"
    if wrong:
        size, weight = 14, "bold"
        axes.add_patch(
            Rectangle((column + 0.03, top + 0.06), 0.94, 0.88, fill=False, edgecolor=style.INK, linewidth=2.5, zorder=3)
        )
    elif reason and key[1] == "silent":
        words, size = "\n".join(textwrap.wrap(reason, 16)[:2]), 9.5
    if roomy or wrong:
        axes.text(
            column + 0.5,
            top + 0.5,
            words,
            ha="center",
            va="center",
            fontsize=size if roomy else 10,
            fontweight=weight,
            color=state.ink,
            zorder=4,
            linespacing=1.05,
            bbox={"facecolor": state.fill, "edgecolor": "none", "pad": 1.5} if state.hatch else None,
        )


def _legend(figure: Figure) -> None:
    handles = [
        Patch(
            facecolor=state.fill,
            hatch=state.hatch,
            edgecolor=style.INK if key[0] != key[1] else state.fill,
            label=state.label,
        )
        for key, state in reversed(_STATES.items())
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
