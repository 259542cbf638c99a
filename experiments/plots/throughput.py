"""How fast, and at what cost: NVGRE beside VXLAN and the bare underlay, with medians, intervals and every round."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from experiments import statistics
from experiments.plots import rows, style
from experiments.results import Sample

_QUANTITIES = {"gigabits_per_second": "throughput (Gb/s)", "cpu_seconds_per_gigabit": "CPU time (s per Gb)"}


class _Column(NamedTuple):
    protocol: str
    offloads: str


Rounds = dict[str, dict[int, float]]
"""Per path, the value of each round."""


def draw(samples: Sequence[Sample]) -> Figure:
    """Throughput (Gb/s) above CPU time (seconds per gigabit), a column per protocol and offload setting.

    Raises:
        ValueError: there are no samples, or one lacks a column.
    """
    if not samples:
        raise ValueError("no samples")
    columns = sorted({_column(sample) for sample in samples}, key=lambda c: (c.protocol, c.offloads != "on"))
    with style.look():
        figure = style.new_figure(9.4, width=max(style.WIDTH * len(columns) / 4, 9.0), title=headline(samples))
        grid = figure.subplots(len(_QUANTITIES), len(columns), squeeze=False, sharex=False)
        for i, column in enumerate(columns):
            chosen = [sample for sample in samples if _column(sample) == column]
            for j, quantity in enumerate(_QUANTITIES):
                _draw_panel(grid[j][i], chosen, quantity)
            grid[0][i].set_title(f"{column.protocol}, offloads {column.offloads}", pad=48)
            grid[1][i].set_title(" ", pad=26)  # room for the ratio
        for j, label in enumerate(_QUANTITIES.values()):
            grid[j][0].set_ylabel(label)
        _legend(figure, samples)
    return figure


def headline(samples: Sequence[Sample]) -> str:
    """The result in words: NVGRE's TCP throughput in units of VXLAN's, per offload setting."""
    words = []
    for offloads in ("on", "off"):
        chosen = [sample for sample in samples if _column(sample) == ("TCP", offloads)]
        ratio = _ratio(_rounds(chosen, "gigabits_per_second"))
        if ratio:
            words.append(f"{statistics.median(ratio):.2f} \N{MULTIPLICATION SIGN} VXLAN with offloads {offloads}")
    return f"TCP through NVGRE: {', '.join(words)}" if words else "Throughput, and what it costs"


def _column(sample: Sample) -> _Column:
    return _Column(rows.text(sample, "protocol"), rows.text(sample, "offloads"))


def _rounds(samples: Sequence[Sample], quantity: str) -> Rounds:
    found: Rounds = {}
    for sample in samples:
        value = rows.optional(sample, quantity)
        if value is not None:
            found.setdefault(rows.text(sample, "path"), {})[int(rows.number(sample, "round"))] = value
    return found


def _ratio(rounds: Rounds) -> tuple[float, ...]:
    """NVGRE / VXLAN in the rounds that have both."""
    nvgre, vxlan = rounds.get("NVGRE", {}), rounds.get("VXLAN", {})
    shared = [number for number in nvgre if vxlan.get(number)]
    return statistics.paired_ratio([nvgre[number] for number in shared], [vxlan[number] for number in shared])


def _draw_panel(axes: Axes, samples: list[Sample], quantity: str) -> None:
    rounds = _rounds(samples, quantity)
    known = [path for path in style.PATHS if path in rounds]
    paths = [*known, *sorted(rounds.keys() - set(known))]
    for place, path in enumerate(paths):
        _draw_bar(axes, place, path, list(rounds[path].values()))
    losses = [_loss(samples, path) if quantity == "gigabits_per_second" else "" for path in paths]
    names = [path + loss for path, loss in zip(paths, losses, strict=True)]
    axes.set_xticks(range(len(paths)), names, fontsize=12)
    if any(losses):
        axes.set_xlabel("datagrams lost (%)", fontsize=12)
    axes.set_ylim(bottom=0)
    axes.grid(axis="y")
    axes.tick_params(axis="x", length=0)
    ratio = _ratio(rounds)
    if ratio:
        _write_ratio(axes, ratio)


def _draw_bar(axes: Axes, place: int, path: str, values: list[float]) -> None:
    centre = statistics.median(values)
    low, high = statistics.bootstrap_interval(values)
    axes.bar(place, centre, width=0.66, color=style.PATHS.get(path, style.MUTED))
    steps = [place + 0.44 * (i / max(len(values) - 1, 1) - 0.5) for i in range(len(values))]
    axes.plot(steps, values, "o", markersize=6, color=style.PAPER, markeredgecolor=style.INK, markeredgewidth=1.1)
    # The low end may lie above the median by the width of a rounding error, and matplotlib refuses negative lengths.
    ends = [[max(centre - low, 0.0)], [max(high - centre, 0.0)]]
    axes.errorbar(place, centre, yerr=ends, color=style.INK, capsize=9, capthick=2, linewidth=2)


def _loss(samples: list[Sample], path: str) -> str:
    """The median UDP loss of a path, as a second line under its name."""
    known = [rows.optional(sample, "loss_percent") for sample in samples if sample.get("path") == path]
    losses = [loss for loss in known if loss is not None]
    return f"\n{statistics.median(losses):.2g} %" if losses else ""


def _write_ratio(axes: Axes, ratio: tuple[float, ...]) -> None:
    low, high = statistics.bootstrap_interval(ratio)
    words = axes.annotate(
        f"NVGRE / VXLAN = {statistics.median(ratio):.2f}\n[{low:.2f}, {high:.2f}]",
        (0, 1),
        xycoords="axes fraction",
        xytext=(0, 8),
        textcoords="offset points",
        fontsize=12.5,
    )
    words.set_in_layout(False)  # else the layout would take the width of the words from the bars


def _legend(figure: Figure, samples: Sequence[Sample]) -> None:
    paths = dict.fromkeys(rows.text(sample, "path") for sample in samples)
    handles: list[Patch | Line2D] = [
        Patch(color=style.PATHS.get(path, style.MUTED), label=f"{path}, median") for path in paths
    ]
    handles.append(
        Line2D([], [], marker="o", linestyle="", color=style.PAPER, markeredgecolor=style.INK, label="one round")
    )
    handles.append(Line2D([], [], marker="_", linestyle="-", color=style.INK, label="95 % interval of the median"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
