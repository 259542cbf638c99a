"""Tries every pair, here or in a guest, and says what follows. Needs root."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from experiments.base import Context, Workbench
from experiments.interop import ends
from experiments.interop.matrix import WITHOUT_GUESTS, Place, State, cells, place_of
from experiments.interop.network import reduced
from experiments.interop.rows import SET_UP, UP, Row, row_of
from experiments.interop.trying import FULL, QUICK, TRYING, try_pairs
from experiments.results import Check, Measurement, Outcome
from nvgre_node.errors import MissingError

NAME = "interop"
_GUEST = "experiments.interop.guest"


class Unaided:
    """A machine of which nothing is known but that it makes networks, and that has no guests."""

    def lacks(self, end: str) -> str:
        """What may need another kernel."""
        return WITHOUT_GUESTS if end == ends.ThirdParty.UML or end.startswith("gretap") else ""

    def guests_lack(self, _end: str) -> str:
        """There are none."""
        return WITHOUT_GUESTS


def run(context: Context) -> Outcome:
    """Tries every pair over both outer IP versions; `quick`: over IPv4. What this kernel cannot do, a guest does.

    Raises:
        BadInputError: the scenario has no two VMs to put at the ends.
    """
    scenario = reduced(context.scenario)
    machines = context.workbench or Unaided()
    pairs = list(ends.pairs(context.dataplanes))
    placed = {pair: place_of(pair, machines) for pair in pairs}
    of = {place: [pair for pair in pairs if placed[pair][0] is place] for place in Place}
    tour = QUICK if context.quick else FULL
    steps = sum(map(len, of.values())) - len(of[Place.NOWHERE])
    counter = _Counter(context, steps)
    rows = [Row(*pair, "", "", reason=placed[pair][1]) for pair in of[Place.NOWHERE]]
    rows += _placed(try_pairs(scenario, of[Place.HERE], tour, context.workbench, counter), Place.HERE)
    if of[Place.GUEST] and context.workbench:
        rows += _placed(_in_guest(context, of[Place.GUEST], context.workbench, counter), Place.GUEST)
    context.progress(steps, steps, "done")
    order = {pair: number for number, pair in enumerate(pairs)}
    rows.sort(key=lambda row: order[row.left, row.right])
    return outcome(context, rows)


def outcome(context: Context, rows: Sequence[Row]) -> Outcome:
    """What follows from the rows."""
    return Outcome(
        NAME,
        context.dataplane,
        context.scenario.name,
        tuple(measurements(rows)),
        tuple(check(row) for row in rows if row.tried),
        tuple(row.sample() for row in rows),
    )


def check(row: Row) -> Check:
    """One expectation beside what was seen."""
    direction = f", from {row.sender} to {row.receiver}" if row.sender else ""
    return Check(
        f"{row.left} - {row.right}, {row.outer}, FlowIDs {row.flow_ids}: {row.tried}{direction}",
        row.clause,
        row.expected,
        row.observed,
    )


def measurements(rows: Sequence[Row]) -> Iterator[Measurement]:
    """How many pairs were tried, and how many of them with what result; then each stream."""
    found = [cell.state for cell in cells(rows).values()]
    if not found:
        return
    yield Measurement("pairs tried", "pairs", (float(len(found) - found.count(State.EMPTY)),))
    for state in State:
        yield Measurement(f"pairs: {state}", "pairs", (float(found.count(state)),))
    for row in rows:
        if row.value is not None:
            yield Measurement(f"TCP over {row.outer}, {row.sender} to {row.receiver}", "Gb/s", (row.value,))


class _Counter:
    """Turns what is told of settings into progress by pairs."""

    def __init__(self, context: Context, steps: int) -> None:
        self._context, self._steps, self._pairs = context, steps, dict[str, None]()

    def __call__(self, told: str) -> None:
        self._pairs[told.partition(",")[0]] = None
        self._context.progress(len(self._pairs) - 1, self._steps, told)


def _placed(rows: Iterator[Row], place: Place) -> Iterator[Row]:
    return (replace(row, place="" if row.reason else str(place)) for row in rows)


def _in_guest(
    context: Context, pairs: Sequence[tuple[str, str]], bench: Workbench, told: Callable[[str], None]
) -> Iterator[Row]:
    """The rows of these pairs, tried in a guest; that it could not be is a finding."""
    context.progress(0, 1, "booting a guest")
    asked = json.dumps({"scenario": str(context.scenario.path.resolve()), "quick": context.quick, "pairs": pairs})
    try:
        said = bench.in_guest([sys.executable, "-m", _GUEST, asked], lambda line: _tell(line, told))
    except (MissingError, RuntimeError) as error:
        yield from (Row(*pair, "", "", SET_UP, expected=UP, observed=str(error)) for pair in pairs)
        return
    yield from map(row_of, json.loads(said))


def _tell(line: str, told: Callable[[str], None]) -> None:
    if line.startswith(TRYING):
        told(line.removeprefix(TRYING))
