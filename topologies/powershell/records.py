"""What a script makes, command by command, with the place of every value: lookup records, routes, addresses. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from topologies.powershell.cmdlets import Cmdlet, Parameter
from topologies.powershell.commands import Command, Value
from topologies.problems import Problem
from topologies.values import BadValueError

Place = tuple[int, int]
"""Line and column, from 1."""


@dataclass(frozen=True)
class Made:
    """What one command makes. `values` are by parameter; `variables` says which variable a value came from.

    `sessions` are the hosts on which it is made, as they are named; none where the script does not say.
    """

    cmdlet: Cmdlet
    place: Place
    values: dict[str, Any]
    places: dict[str, Place]
    variables: dict[str, str] = field(default_factory=dict)
    sessions: tuple[str, ...] = ()

    def at(self, parameter: str) -> Place:
        """Where a parameter's value stands, or the command."""
        return self.places.get(parameter, self.place)

    def problem(self, parameter: str, message: str, hint: str = "") -> Problem:
        """Something wrong with a parameter."""
        return Problem(f"-{parameter}" if parameter else "", message, hint, *self.at(parameter))


def made(commands: list[Command], problems: list[Problem]) -> Iterator[Made]:
    """What commands make: those of which every mandatory value is good. Adds to the problems."""
    for command in commands:
        values: dict[str, Any] = {}
        places = {name: (given[0].line, given[0].column) for name, given in command.values.items()}
        for name, given in command.values.items():
            if any(value.told for value in given):
                continue
            parameter = command.cmdlet.parameters[name]
            try:
                values[name] = _read(parameter, given)
            except BadValueError as error:
                problems.append(Problem(f"-{name}", str(error), error.hint, *places[name]))
        variables = {name: given[0].variable for name, given in command.values.items() if len(given) == 1}
        lacks = any(own.mandatory and name not in values for name, own in command.cmdlet.parameters.items())
        good = not lacks and len(values) == len(command.values)
        if good:
            sessions = tuple(dict.fromkeys(values.pop("CimSession", ())))
            yield Made(command.cmdlet, (command.line, command.column), values, places, variables, sessions)


def _read(parameter: Parameter, given: tuple[Value, ...]) -> Any:
    if parameter.many:  # a session that the script makes has the name of its variable
        names = [value.text if value.known else value.variable for value in given]
        if not all(names):
            raise BadValueError("is not the name of a host", "such as host1, or a variable with the session")
        return names
    if len(given) > 1:
        raise BadValueError(f"has {len(given)} values", "one is enough")
    (value,) = given
    if value.known:
        return parameter.reader(value.text)
    if not parameter.free:
        raise BadValueError("is known only when the script runs", "write its value out")
    return None
