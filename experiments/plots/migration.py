"""How long a VM is cut off while it moves: the share of moves that were over within a time (T2)."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments import statistics
from experiments.plots import rows, style
from experiments.results import Sample

_CURVES = {
    "outage_ms": ("datagrams, one per millisecond", style.PATHS["NVGRE"]),
    "tcp_silence_ms": ("a TCP stream stands still", style.PATHS["VXLAN"]),
}
_TICKS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_AT_LEAST_SHOWN = 20.0
_LEAST = 1.0
"""Milliseconds between two probes: what is shorter does not show."""


def draw(samples: Sequence[Sample]) -> Figure:
    """Two curves over samples {outage_ms, tcp_silence_ms}: how many of the moves took at most so long.

    Raises:
        ValueError: there are no samples, or one lacks a column.
    """
    if not samples:
        raise ValueError("no samples")
    with style.look():
        figure = style.new_figure(6.6, title=headline(samples))
        axes = figure.subplots()
        for place, (column, (label, colour)) in enumerate(_CURVES.items()):
            _draw_curve(axes, place, sorted(rows.number(sample, column) for sample in samples), label, colour)
        axes.set_xscale("symlog", linthresh=_LEAST, linscale=0.4)
        axes.set_ylim(0, 104)
        axes.set_xlabel("cut off for at most (ms); what is below 1 ms falls between two probes")
        axes.set_ylabel("% of moves")
        axes.set_xticks(_TICKS, [str(tick) for tick in _TICKS])
        longest = max(rows.number(sample, column) for sample in samples for column in _CURVES)
        axes.set_xlim(0, max(_AT_LEAST_SHOWN, 1.2 * longest))
        axes.grid()
        axes.legend(loc="lower right")
    return figure


def headline(samples: Sequence[Sample]) -> str:
    """The result in words: the median outage, and how many moves lost nothing."""
    outages = [rows.number(sample, "outage_ms") for sample in samples]
    whole = sum(outage == 0 for outage in outages)
    moves = f"{len(outages)} moves" if len(outages) != 1 else "one move"
    return f"{moves}: cut off for {statistics.median(outages):.1f} ms (median); {whole} lost no probe at all"


def _draw_curve(axes: Axes, place: int, values: list[float], label: str, colour: str) -> None:
    shares = [100 * (number + 1) / len(values) for number in range(len(values))]
    axes.step([0.0, *values], [0.0, *shares], where="post", color=colour, linewidth=3, label=label)
    middle = statistics.median(values)
    axes.plot([middle], [50], "o", color=colour, markersize=11, markeredgecolor=style.PAPER)
    axes.annotate(
        f"{middle:.1f} ms",
        (middle, 50),
        textcoords="offset points",
        xytext=(12, -20 + 8 * place),
        color=colour,
        fontsize=15,
        fontweight="bold",
    )
