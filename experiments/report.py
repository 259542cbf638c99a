"""A run as one page: figures, verdicts, measurements and circumstances in a single self-contained HTML file."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from experiments.explain import EXPLANATIONS, Explanation
from experiments.interop.matrix import Table, table
from experiments.interop.rows import row_of
from experiments.results import Measurement, Outcome, Sample, Verdict
from experiments.store import Run, RunError
from nvgre_node.fabric import Fabric
from nvgre_node.policy import Policy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from experiments.plots.requirements import Line

REPORT = "report.html"
_KEY_FIGURES = 4


@dataclass(frozen=True)
class Picture:
    """A figure, ready to be put into a page: a data URI, and what it says in words."""

    uri: str
    words: str


@dataclass(frozen=True)
class Section:
    """One experiment on the page. `stem` is unique on it."""

    stem: str
    outcome: Outcome
    explanation: Explanation | None
    picture: Picture | None
    requirements: Sequence[tuple[str, Sequence[Line]]] = ()
    matrix: Table | None = None

    @property
    def key_figures(self) -> tuple[Measurement, ...]:
        """What the summary shows: ratios first, since they alone can be compared between machines."""
        ordered = sorted(self.outcome.measurements, key=lambda measurement: measurement.unit != "ratio")
        return tuple(ordered[:_KEY_FIGURES])


def render(run: Run, policy: Policy, fabric: Fabric) -> Path:
    """Draws the figures of a run into its folder and writes `report.html` beside them; returns the path of that page.

    Raises:
        RunError: the samples of a known experiment are not what its figure needs.
    """
    sections = [_section(run, stem, outcome) for stem, outcome in zip(run.stems, run.outcomes, strict=True)]
    page = _environment().get_template(f"{REPORT}.j2")
    html = page.render(
        run=run,
        name=run.folder.name,
        topology=_topology(run, policy, fabric),
        sections=sections,
        tally=_tally(run.outcomes),
        manifest=list(flatten(run.manifest)),
    )
    path = run.write(REPORT, html)
    run.hand_over()
    return path


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["quantity"] = quantity
    return environment


def _tally(outcomes: Sequence[Outcome]) -> str:
    """How many experiments ended how: `2 passed, 1 skipped`."""
    verdicts = [outcome.verdict for outcome in outcomes]
    words = {Verdict.PASS: "passed", Verdict.FAIL: "failed", Verdict.SKIP: "skipped"}
    counts = [f"{verdicts.count(verdict)} {word}" for verdict, word in words.items() if verdict in verdicts]
    return ", ".join(counts) or "nothing was run"


def _section(run: Run, stem: str, outcome: Outcome) -> Section:
    draw, headline = _drawing(outcome.experiment)
    picture = None
    if draw and headline and outcome.samples:
        try:
            picture = _picture(run, draw(outcome.samples), stem, headline(outcome.samples))
        except (ValueError, KeyError) as error:
            raise RunError(f"{run.folder / stem}.csv: cannot be drawn: {error}") from error
    return Section(
        stem, outcome, EXPLANATIONS.get(outcome.experiment), picture, _requirements(run, outcome), _matrix(outcome)
    )


def _matrix(outcome: Outcome) -> Table | None:
    """The table of `interop`."""
    if outcome.experiment != "interop" or not outcome.samples:
        return None
    return table([row_of(sample) for sample in outcome.samples])


def _requirements(run: Run, outcome: Outcome) -> list[tuple[str, list[Line]]]:
    """The table of `conformance`; a capture that is not beside the page is not linked."""
    if outcome.experiment != "conformance":
        return []
    from experiments.plots import requirements  # only here, as in _drawing

    def there(line: Line) -> Line:
        return line if (run.folder / line.capture).is_file() else replace(line, capture="")

    return [(name, [there(line) for line in lines]) for name, lines in requirements.table(outcome.samples)]


Draw = Callable[[Sequence[Sample]], "Figure"]
Headline = Callable[[Sequence[Sample]], str]


def _drawing(experiment: str) -> tuple[Draw | None, Headline | None]:
    """How to draw an experiment and what to call the figure, or nothing where there is no figure for it."""
    # Only here: matplotlib takes a second to import, and most commands draw nothing.
    name = f"experiments.plots.{experiment}"
    if find_spec(name) is None:
        return None, None
    plots = import_module(name)
    return plots.draw, plots.headline


def _topology(run: Run, policy: Policy, fabric: Fabric) -> Picture:
    from experiments.plots import topology

    return _picture(run, topology.draw(policy, fabric), "topology", topology.headline(policy))


def _picture(run: Run, figure: Figure, stem: str, words: str) -> Picture:
    """Saves a figure, and embeds its SVG as an image: its ids then cannot clash with those of another figure."""
    from experiments.plots import style

    svg, _ = style.save(figure, run.folder, stem)
    return Picture(f"data:image/svg+xml;base64,{base64.b64encode(svg.read_bytes()).decode()}", words)


def quantity(value: float) -> str:
    """A number for people: whole and large ones without decimals, others with four significant digits."""
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    return f"{value:#.4g}"


def flatten(manifest: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """The manifest as rows of a table: nested names are joined, lists are spelled out, None is a dash."""
    for name, value in manifest.items():
        where = (*path, name.replace("_", " "))
        if isinstance(value, Mapping) and value:
            yield from flatten(value, where)
        else:
            yield ", ".join(where), _spelled(value)


def _spelled(value: object) -> str:
    if value is None or value in ((), [], {}, ""):
        return "\N{EM DASH}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(_spelled, value))
    return quantity(value) if isinstance(value, float) else str(value)
