"""How packets were shared among paths: what differed between them against what routers hashed (RFC 7637 E1 to E3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from experiments.plots import rows, style
from experiments.results import Sample
from topologies.colours import TENANTS

MODES = {
    "outer": "outer\naddresses",
    "inner_addresses": "inner\naddresses",
    "inner": "inner addr.\nand ports",
    "key": "outer addr.\nand GRE key",
}
"""What each mode of a router hashes, as it stands over its column."""

_IN_WORDS = {
    "outer": "outer addresses",
    "inner_addresses": "inner addresses",
    "inner": "inner addresses and ports",
    "key": "the GRE key",
}
_SPREADS, _OF_A_VM = "spreads", "a VM's flows"
_ROW_INCHES = 0.66
_NARROW = 0.25
"""A share below this has no room for its number."""


@dataclass(frozen=True)
class _Cell:
    """Packets by router, in the order of the paths, and what was expected and seen."""

    packets: dict[str, float]
    expected: str
    observed: str


Cells = dict[tuple[str, str, str], _Cell]


def draw(samples: Sequence[Sample]) -> Figure:
    """Bars of samples {outer, mode, varied, router, packets, expected, observed}, a panel per outer IP version.

    Raises:
        ValueError: there are no samples, or one lacks a column.
    """
    cells = _cells(samples)
    versions, modes, varied = (list(dict.fromkeys(key[part] for key in cells)) for part in range(3))
    routers = list(dict.fromkeys(router for cell in cells.values() for router in cell.packets))
    colours = {router: TENANTS[number % len(TENANTS)] for number, router in enumerate(routers)}
    with style.look():
        figure = style.new_figure(len(varied) * _ROW_INCHES + 2.6, title=headline(samples))
        panels = figure.subplots(1, len(versions), squeeze=False, sharey=True)
        for version, axes in zip(versions, panels[0], strict=True):
            for column, mode in enumerate(modes):
                for row, what in enumerate(varied):
                    if cell := cells.get((version, mode, what)):
                        _draw_cell(axes, column, row, cell, colours)
            _label(axes, version, modes, varied)
        panels[0][0].set_ylabel("what differs between packets", fontsize=14)
        handles = [Patch(color=colour, label=f"by way of {router}") for router, colour in colours.items()]
        figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 6))
    return figure


def headline(samples: Sequence[Sample]) -> str:
    """The result in words: what routers must hash for a VM's flows to spread, or what was not as expected."""
    cells = _cells(samples)
    wrong = [(mode, what, version) for (version, mode, what), cell in cells.items() if cell.expected != cell.observed]
    if wrong:
        named = "; ".join(f"{what}, hashed by {mode}, over {version}" for mode, what, version in wrong[:3])
        return f"NOT AS EXPECTED in {len(wrong)} of {len(cells)} cases: {named}"
    of_a_vm = {mode: cell.observed for (_, mode, what), cell in cells.items() if what == _OF_A_VM}
    spreading = [_IN_WORDS.get(mode, mode) for mode, seen in of_a_vm.items() if seen == _SPREADS]
    words = (
        f"A VM's flows spread where routers hash {' or '.join(spreading)}"
        if spreading
        else "A VM's flows kept together"
    )
    return f"{words}; {len(cells)} of {len(cells)} cases as expected"


def _cells(samples: Sequence[Sample]) -> Cells:
    if not samples:
        raise ValueError("no samples")
    cells: Cells = {}
    for sample in samples:
        key = rows.text(sample, "outer"), rows.text(sample, "mode"), rows.text(sample, "varied")
        cell = cells.setdefault(key, _Cell({}, rows.text(sample, "expected"), rows.text(sample, "observed")))
        cell.packets[rows.text(sample, "router")] = rows.number(sample, "packets")
    return cells


def _draw_cell(axes: Axes, column: int, row: int, cell: _Cell, colours: dict[str, str]) -> None:
    wrong = cell.expected != cell.observed
    left, width, total = column + 0.05, 0.9, sum(cell.packets.values()) or 1.0
    for router, packets in cell.packets.items():
        share = packets / total
        axes.add_patch(Rectangle((left, row + 0.14), share * width, 0.72, facecolor=colours[router], edgecolor="none"))
        if share >= _NARROW and not wrong:
            x = left + share * width / 2
            words = axes.text(x, row + 0.5, f"{packets:g}", ha="center", va="center", color="white", zorder=4)
            words.set(fontsize=14, fontweight="bold")
        left += share * width
    if wrong:
        axes.add_patch(
            Rectangle((column + 0.02, row + 0.06), 0.96, 0.88, fill=False, edgecolor=style.INK, linewidth=3, zorder=3)
        )
        said = axes.text(column + 0.5, row + 0.5, f"EXPECTED:\n{cell.expected}", ha="center", va="center", zorder=5)
        said.set(fontsize=11, fontweight="bold", linespacing=1.0)
        said.set_bbox({"facecolor": style.PAPER, "edgecolor": style.INK, "pad": 2.5})


def _label(axes: Axes, version: str, modes: Sequence[str], varied: Sequence[str]) -> None:
    axes.set_xlim(0, len(modes))
    axes.set_ylim(len(varied), 0)
    axes.set_title(f"packets by path, over {version}, where routers hash ...", pad=14)
    names = [MODES.get(mode, mode) for mode in modes]
    axes.set_xticks([column + 0.5 for column in range(len(modes))], names, fontsize=13, fontweight="bold")
    axes.set_yticks([row + 0.5 for row in range(len(varied))], varied, fontsize=15)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)
