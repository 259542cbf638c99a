"""Which pairs are tried where, and why some are not; and what came of each, as a cell of the matrix. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from experiments.interop.ends import FlowIds, silent_about_streams
from experiments.interop.rows import Row, Tried
from experiments.statistics import median

WITHOUT_GUESTS = "guests are not at hand: `./nvgre run interop` has them"


class Place(StrEnum):
    """Where a pair can be tried."""

    HERE = "here"
    GUEST = "guest"
    NOWHERE = "nowhere"


class Machines(Protocol):
    """What knows what this machine, and a guest of it, lack for an end; empty: nothing."""

    def lacks(self, end: str) -> str:
        """Why an end cannot be here."""

    def guests_lack(self, end: str) -> str:
        """Why it cannot be in a guest either."""


def place_of(pair: tuple[str, str], machines: Machines) -> tuple[Place, str]:
    """Where a pair can be tried: here, if it can be; else in a guest. And where it cannot, why."""
    here = {end: why for end in pair if (why := machines.lacks(end))}
    if not here:
        return Place.HERE, ""
    guest = {end: why for end in pair if (why := machines.guests_lack(end))}
    if not guest:
        return Place.GUEST, ""
    said = [f"{end}: {why}" for end, why in here.items()]
    said += [f"in a guest, {end}: {why}" for end, why in guest.items() if why not in here.values()]
    return Place.NOWHERE, "; ".join(said)


class State(StrEnum):
    """What came of a pair, as a whole."""

    ANY = "works, with any FlowID"
    ZERO = "works, with FlowID 0 alone"
    WRONG = "NOT AS EXPECTED"
    EMPTY = "not tried"


@dataclass(frozen=True)
class Cell:
    """A pair in the matrix. `lines` say what was measured, or why nothing was."""

    state: State
    lines: tuple[str, ...]
    guest: bool = False

    @property
    def css(self) -> str:
        """The class of its verdict on the page."""
        return {State.WRONG: "fail", State.EMPTY: "skip"}.get(self.state, "pass")


Cells = dict[tuple[str, str], Cell]


def cells(rows: Sequence[Row]) -> Cells:
    """What came of each pair, by its names."""
    pairs = dict.fromkeys((row.left, row.right) for row in rows)
    return {pair: _cell([row for row in rows if (row.left, row.right) == pair]) for pair in pairs}


def _cell(rows: Sequence[Row]) -> Cell:
    tried = [row for row in rows if not row.reason]
    reasons = tuple(dict.fromkeys(row.reason for row in rows if row.reason))
    if not tried:
        return Cell(State.EMPTY, reasons)
    guest = any(row.place == Place.GUEST for row in tried)
    if wrong := [row for row in tried if not row.holds]:
        lines = [f"{row.tried}, {row.outer}: {row.observed} (expected {row.expected})" for row in wrong]
        return Cell(State.WRONG, tuple(dict.fromkeys(lines)), guest)
    return Cell(_state(tried), (*_measured(tried, guest), *reasons), guest)


def _state(rows: Iterable[Row]) -> State:
    """By what was seen of pings: whether the pair works also with FlowIDs that are set."""
    silent = {row.flow_ids for row in rows if row.tried == Tried.PING and row.observed == "no answer"}
    takes_zero_alone = any(row.tried == Tried.ACCEPTED and row.observed == "0" for row in rows)
    return State.ZERO if silent == {FlowIds.SET} or takes_zero_alone else State.ANY


def _measured(rows: Sequence[Row], guest: bool) -> Iterator[str]:
    """Sizes by outer IP version, speeds, and where that was."""
    largest = {row.outer: row.observed for row in rows if row.tried == Tried.LARGEST}
    yield from (f"{size} B over {outer}" for outer, size in largest.items())
    speeds = tuple(row.value for row in rows if row.tried == Tried.STREAM and row.value)
    said = [f"{median(speeds):.2g} Gb/s"] if speeds else []
    if said or guest:
        yield ", ".join([*said, *(["in a guest"] if guest else [])])


def no_stream(rows: Iterable[Row]) -> list[str]:
    """Why some pairs have no speed, each reason once."""
    reasons = [silent_about_streams([row.left, row.right]) for row in rows if not row.reason]
    return list(dict.fromkeys(filter(None, "; ".join(filter(None, reasons)).split("; "))))


def axes(found: Cells) -> tuple[list[str], list[str]]:
    """The names of the matrix's rows and of its columns: those who were right of a pair, and those who were left."""
    columns = list(dict.fromkeys(left for left, _ in found))
    return list(dict.fromkeys([*columns, *(right for _, right in found)])), columns


@dataclass(frozen=True)
class Table:
    """The matrix as a table: a line per right end, a cell per left one, or None; and what is to be said below."""

    columns: tuple[str, ...]
    lines: tuple[tuple[str, tuple[Cell | None, ...]], ...]
    remarks: tuple[str, ...]


def table(rows: Sequence[Row]) -> Table:
    """The matrix of these rows."""
    found = cells(rows)
    names, columns = axes(found)
    lines = tuple((name, tuple(found.get((column, name)) for column in columns)) for name in names)
    return Table(tuple(columns), lines, tuple(f"No speed: {reason}." for reason in no_stream(rows)))


def headline(rows: Sequence[Row]) -> str:
    """The result in words."""
    found = list(cells(rows).items())
    tried = [(pair, cell) for pair, cell in found if cell.state is not State.EMPTY]
    wrong = [f"{left} with {right}" for (left, right), cell in tried if cell.state is State.WRONG]
    empty = len(found) - len(tried)
    rest = f"; {empty} could not be tried here" if empty else ""
    if wrong:
        return f"NOT AS EXPECTED: {', '.join(wrong[:4])}{', ...' if len(wrong) > 4 else ''}{rest}"
    any_id = sum(cell.state is State.ANY for _, cell in tried)
    return (
        f"{len(tried)} pairs understand each other, {any_id} with any FlowID, {len(tried) - any_id} with FlowID 0{rest}"
    )
