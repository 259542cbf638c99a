"""What can be wrong with a scenario, and how it is said. Pure."""

from __future__ import annotations

import reprlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from nvgre_node.errors import BadInputError

Path = tuple[str | int, ...]
"""The way from the top of the file to a value: keys of mappings and indices of lists."""

NAMES_LISTED = 16
NAMES_COMPARED = 200

_short = reprlib.Repr()
_short.maxstring = _short.maxother = _short.maxlong = 60


@dataclass(frozen=True)
class Finding:
    """Something wrong at a path. `at_key` says that the key is what is wrong, not the value behind it."""

    path: Path
    message: str
    hint: str = ""
    at_key: bool = False


@dataclass(frozen=True)
class Problem:
    """Something wrong at a place in the file. `line` and `column` count from 1; 0 means the file as a whole.

    `file` is the place where that is not the scenario's own: an included file, or a setting of the command line.
    """

    path: str
    message: str
    hint: str = ""
    line: int = 0
    column: int = 0
    file: str = ""

    def __str__(self) -> str:
        said = f"{self.path}: {self.message}" if self.path else self.message
        return f"{said} ({self.hint})" if self.hint else said


class ScenarioError(BadInputError):
    """A scenario cannot be used. `problems` holds everything that is wrong with it, in the order of the file."""

    def __init__(self, file: str, problems: Sequence[Problem]) -> None:
        super().__init__(file, problems)
        self.file = file
        self.problems = list(problems)

    def __str__(self) -> str:
        """One line per problem: `file:line:column: path: what is wrong (hint)`."""
        return "\n".join(self._line(problem) for problem in self.problems)

    def _line(self, problem: Problem) -> str:
        file = problem.file or self.file
        place = f"{file}:{problem.line}:{problem.column}" if problem.line else file
        return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in f"{place}: {problem}")


def show(value: object) -> str:
    """A value for a message: on one line, and cut short if it is long."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else _short.repr(value)


def dotted(path: Path) -> str:
    """A path for a message: `tenants.red.vms.red1.ca[0]`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{_key(step)}" for step in path).removeprefix(".")


def _key(step: str) -> str:
    return step if step.isidentifier() and len(step) <= _short.maxstring else show(step)


def listed(names: Collection[str]) -> str:
    """Names for a message, `a, b, c`; the first of them if they are many."""
    known = sorted(names)
    more = f", and {len(known) - NAMES_LISTED} more" if len(known) > NAMES_LISTED else ""
    return ", ".join(known[:NAMES_LISTED]) + more or "none"


def did_you_mean(name: str, names: Collection[str]) -> str:
    """A hint for an unknown name: the nearest of the known ones, and which there are."""
    # The comparison is quadratic in a name's length and linear in their number: bounded, so that no file can stall it.
    close = get_close_matches(name[:60], sorted(names)[:NAMES_COMPARED], n=1)
    there_are = f"there are: {listed(names)}"
    return f"did you mean {close[0]}? {there_are}" if close else there_are
