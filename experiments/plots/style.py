"""One look for all figures: colours that colour-blind people can tell apart, and type that a lecture hall can read."""

from __future__ import annotations

import io
import textwrap
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

WIDTH = 14.0
"""Inches: a figure as wide as a slide, so that 13 points are a fortieth of its height there."""

INK, MUTED, FAINT, PAPER = "#1B1F24", "#5B6470", "#E4E8EC", "#FFFFFF"

# Okabe and Ito's palette (jfly.uni-koeln.de/color), which stays distinct under every common colour blindness.
_BLUE, _ORANGE, _VERMILION = "#0072B2", "#E69F00", "#D55E00"

PATHS = {"NVGRE": _BLUE, "VXLAN": _ORANGE, "underlay": "#8A929C"}
OUTCOMES = {"pass": _BLUE, "told": _ORANGE, "lost": "#F0C000", "leak": _VERMILION}

_LOOK: Any = {  # Any, since only the newest stubs of matplotlib list the keys
    "font.family": "DejaVu Sans",
    "font.size": 13,
    "axes.titlesize": 14,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.labelsize": 13,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.9,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 13,
    "figure.constrained_layout.w_pad": 0.14,
    "figure.constrained_layout.h_pad": 0.14,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "hatch.linewidth": 1.2,
    "svg.fonttype": "path",  # the page must look the same where this font is missing
    "svg.hashsalt": "nvgre",  # the same samples give the same file
}
_PNG_DOTS_PER_INCH = 150


def look() -> AbstractContextManager[None]:
    """The context within which figures are made and saved."""
    return mpl.rc_context(_LOOK)


def new_figure(height: float, width: float = WIDTH, title: str = "", laid_out: bool = True) -> Figure:
    """An empty figure (inches) without any global state; `title` stands over everything at its left.

    What is not `laid_out` has axes that know their own places.
    """
    figure = Figure(figsize=(width, height), layout="constrained" if laid_out else None)
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(
            "\n".join(textwrap.wrap(title, int(width * 6.2))), x=0.012, ha="left", fontsize=18, fontweight="bold"
        )
    return figure


def bare(axes: Axes) -> None:
    """Takes frame and ticks off axes on which shapes are drawn."""
    axes.set_axis_off()
    axes.margins(0)


def save(figure: Figure, folder: Path, stem: str) -> tuple[Path, Path]:
    """Writes `stem.svg` and `stem.png`, byte for byte the same for the same figure; returns their paths."""
    paths = folder / f"{stem}.svg", folder / f"{stem}.png"
    for path, image in zip(paths, (_image(figure, "svg"), _image(figure, "png")), strict=True):
        draft = path.with_name(f".{path.name}.draft")
        draft.write_bytes(image)
        draft.replace(path)
    return paths


def svg(figure: Figure) -> str:
    """The text of what `save` writes as SVG."""
    return _image(figure, "svg").decode()


def _image(figure: Figure, kind: str) -> bytes:
    metadata = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}[kind]
    image = io.BytesIO()
    with look():
        figure.savefig(image, format=kind, dpi=_PNG_DOTS_PER_INCH, metadata=metadata)
    return image.getvalue()
