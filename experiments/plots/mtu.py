"""What happens to packets around the size that still fits, and what helps (RFC 7637 section 4.4, F1 to F5)."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from matplotlib.lines import Line2D

from experiments.plots import rows, style
from experiments.results import Sample

_WINDOW_BYTES = 12
"""How far to either side of the limit a panel looks."""


@dataclass(frozen=True)
class _Mark:
    label: str
    marker: str
    colour: str
    filled: bool = True


_MARKS = {
    "delivered": _Mark("delivered whole", "o", style.OUTCOMES["pass"]),
    "fragments": _Mark("delivered in fragments", "o", style.OUTCOMES["pass"], filled=False),
    "told": _Mark("told: packet too big", "^", style.OUTCOMES["told"]),
    "lost": _Mark("lost without a word", "X", style.OUTCOMES["leak"]),
}


@dataclass(frozen=True)
class _Point:
    lane: str
    size: int
    mark: str


def draw(samples: Sequence[Sample]) -> Figure:
    """A panel per underlay MTU (bytes) of the rows of kind "sweep"; bars of bytes for those of kind "transfer".

    Raises:
        ValueError: there is neither kind of row, or one lacks a column.
    """
    sweeps = [sample for sample in samples if sample.get("kind") == "sweep"]
    transfers = [sample for sample in samples if sample.get("kind") == "transfer"]
    if not sweeps and not transfers:
        raise ValueError("no samples")
    lanes = list(dict.fromkeys(_lane(sample) for sample in sweeps))
    heights = [2.6 + 0.5 * len(lanes), 0.5] * bool(sweeps) + [1.3 + 0.55 * len(transfers)] * bool(transfers)
    with style.look():
        figure = style.new_figure(sum(heights) + 0.8, title=headline(samples))
        grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
        if sweeps:
            _draw_sweeps(grid[0], sweeps, lanes)
            _draw_legend(figure.add_subplot(grid[1]), sweeps)
        if transfers:
            _draw_transfers(figure.add_subplot(grid[-1]), transfers)
    return figure


def headline(samples: Sequence[Sample]) -> str:
    """The result in words: the overhead in bytes, and how many of the transfers came through."""
    words = []
    overheads = {int(value) for sample in samples if (value := rows.optional(sample, "overhead")) is not None}
    if overheads:
        words.append(f"NVGRE adds {' or '.join(map(str, sorted(overheads)))} bytes to every inner packet")
    transfers = [sample for sample in samples if sample.get("kind") == "transfer"]
    if transfers:
        through = sum(bool(sample.get("completed")) for sample in transfers)
        words.append(f"{through} of {len(transfers)} transfers came through")
    return "; ".join(words)


def limit(sweep: Sequence[Sample]) -> int | None:
    """The largest inner packet (bytes) that arrived in one piece, or None if none did."""
    return max((point.size for point in map(_point, sweep) if point.mark == "delivered"), default=None)


def _lane(sample: Sample) -> str:
    df = sample.get("df")
    suffix = "" if df is None else (" DF" if df else " no DF")
    return f"{rows.text(sample, 'family')} {rows.text(sample, 'protocol')}{suffix}"


def _point(sample: Sample) -> _Point:
    outcome = rows.text(sample, "outcome")
    if outcome not in _MARKS:
        raise ValueError(f"outcome is delivered, told or lost, not {outcome!r}")
    in_pieces = outcome == "delivered" and (rows.optional(sample, "fragments") or 0) > 1
    return _Point(_lane(sample), int(rows.number(sample, "size")), "fragments" if in_pieces else outcome)


def _draw_sweeps(place: SubplotSpec, sweeps: list[Sample], lanes: list[str]) -> None:
    mtus = sorted({int(rows.number(sample, "underlay_mtu")) for sample in sweeps})
    panels = place.subgridspec(1, len(mtus)).subplots(squeeze=False)[0]
    for axes, mtu in zip(panels, mtus, strict=True):
        _draw_panel(axes, [sample for sample in sweeps if sample["underlay_mtu"] == mtu], mtu, lanes)
        axes.set_yticks(range(len(lanes)), lanes if axes is panels[0] else [])
        axes.set_ylim(len(lanes) - 0.4, -1.0)


def _draw_legend(axes: Axes, sweeps: list[Sample]) -> None:
    found = {point.mark for point in map(_point, sweeps)}
    style.bare(axes)
    handles = [_line(mark, [], []) for name, mark in _MARKS.items() if name in found]
    legend = axes.legend(handles=handles, loc="center", ncols=len(handles))
    legend.set_in_layout(False)  # it may be wider than the panels, which must not shrink for it


def _line(mark: _Mark, x: list[int], y: list[int]) -> Line2D:
    return Line2D(
        x,
        y,
        linestyle="",
        marker=mark.marker,
        markersize=9,
        markeredgewidth=1.8,
        markeredgecolor=mark.colour,
        markerfacecolor=mark.colour if mark.filled else style.PAPER,
        label=mark.label,
    )


def _draw_panel(axes: Axes, sweep: list[Sample], mtu: int, lanes: list[str]) -> None:
    largest = limit(sweep)
    points = [_point(sample) for sample in sweep]
    left, right = _window([point.size for point in points], largest)
    for name, mark in _MARKS.items():
        shown = [(p.size, lanes.index(p.lane)) for p in points if p.mark == name and left <= p.size <= right]
        axes.add_line(_line(mark, [x for x, _ in shown], [y for _, y in shown]))
    tenant = "/".join(str(int(value)) for value in sorted({rows.number(sample, "tenant_mtu") for sample in sweep}))
    axes.set_title(f"underlay MTU {mtu}\n(tenant MTU {tenant})")
    axes.set_xlim(left, right)
    axes.set_xlabel(_x_label(points, left, right))
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y")
    axes.locator_params(axis="x", nbins=4, integer=True)
    if largest is not None:
        axes.set_xticks([tick for tick in range(largest - 48, largest + 49, 6) if left <= tick <= right])
        _draw_limit(axes, largest, mtu, len(lanes))


def _window(sizes: list[int], largest: int | None) -> tuple[float, float]:
    """The sizes to show: those near the limit, or all where there is no limit."""
    near = [size for size in sizes if largest is not None and abs(size - largest) <= _WINDOW_BYTES] or sizes
    margin = max(2.0, (max(near) - min(near)) * 0.06)
    return min(near) - margin, max(near) + margin


def _x_label(points: list[_Point], left: float, right: float) -> str:
    notes = ["inner IP packet (bytes)"]
    for side in ([p for p in points if p.size < left], [p for p in points if p.size > right]):
        sizes = sorted({p.size for p in side})
        span = f"{sizes[0]} to {sizes[-1]}" if len(sizes) > 1 else "".join(map(str, sizes))
        marks = [name for name in _MARKS if name in {p.mark for p in side}]
        notes += textwrap.wrap(f"beyond: {span} ({', '.join(marks)})", 34) if side else []
    return "\n".join(notes)


def _draw_limit(axes: Axes, largest: int, mtu: int, lanes: int) -> None:
    axes.axvline(largest + 0.5, ymax=lanes / (lanes + 0.6), color=style.INK, linewidth=1.6, linestyle=(0, (4, 2)))
    words = f"limit = {largest} = {mtu} \N{MINUS SIGN} {mtu - largest}"
    label = axes.text(0.02, -0.72, words, transform=axes.get_yaxis_transform(), va="center", fontweight="bold")
    label.set_in_layout(False)  # else the layout would take its width from the panel


def _draw_transfers(axes: Axes, transfers: list[Sample]) -> None:
    largest = max(rows.number(sample, "sent") for sample in transfers)
    unit, scale = ("KiB", 1024) if largest % 1024 == 0 else ("kB", 1000)
    for lane, sample in enumerate(transfers):
        sent, received = rows.number(sample, "sent"), rows.number(sample, "received")
        colour = style.OUTCOMES["pass" if sample.get("completed") else "leak"]
        axes.barh(lane, sent / scale, height=0.62, color=style.FAINT)
        axes.barh(lane, received / scale, height=0.62, color=colour)
        words = axes.text(largest / scale * 1.012, lane, _transfer_words(sample), va="center", fontsize=12)
        words.set_in_layout(False)  # the axes leave room for it
    labels = ["\n".join(textwrap.wrap(rows.text(sample, "remedy"), 38)) for sample in transfers]
    axes.set_yticks(range(len(transfers)), labels)
    axes.set_ylim(len(transfers) - 0.5, -0.5)
    axes.set_xlim(0, largest / scale * 1.62)
    quarters = [largest / scale * quarter / 4 for quarter in range(5)]
    axes.set_xticks(quarters, [f"{quarter:.0f}" for quarter in quarters])
    axes.spines["bottom"].set_bounds(0, largest / scale)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(f"{unit} received, of those sent (grey)", loc="left")
    axes.set_title("the black hole and its remedies: one TCP transfer each")


def _transfer_words(sample: Sample) -> str:
    sent, received = rows.number(sample, "sent"), rows.number(sample, "received")
    share = "all arrived" if received >= sent else f"{received / sent:.1%} arrived" if received else "nothing arrived"
    again = int(rows.number(sample, "retransmissions"))
    note = "\n".join(textwrap.wrap(str(sample.get("note") or ""), 48))
    return f"{share}; {again} retransmission{'' if again == 1 else 's'}" + (f"\n{note}" if note else "")
