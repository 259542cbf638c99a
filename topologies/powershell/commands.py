"""The commands of a PowerShell script with the values of their parameters, as far as these can be known. Pure.

A script is read as what it is for here: a list of cmdlets and assignments. What decides or repeats (`if`, `foreach`,
functions, pipes) is a problem, and not passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from topologies.powershell.cmdlets import CMDLETS, COMMON, HARMLESS, Cmdlet
from topologies.powershell.tokens import Kind, Reader, Token, said
from topologies.problems import Problem, did_you_mean

_COMMAND = re.compile(r"[A-Za-z]+-[A-Za-z0-9]+", re.ASCII)
_SINKS = frozenset({"out-null", "out-host", "out-default"})
_DECIDING = frozenset({"if", "foreach", "for", "while", "do", "switch", "try"})
_VALUES = frozenset({Kind.WORD, Kind.TEXT, Kind.VARIABLE, Kind.UNKNOWN, Kind.BROKEN})


@dataclass(frozen=True)
class Value:
    """A value at its place. `known` says whether the text is it; `variable` is the only one that it came from.

    `told` says that it is wrong, and that this is among the problems.
    """

    text: str
    line: int
    column: int
    variable: str = ""
    known: bool = True
    told: bool = False


@dataclass(frozen=True)
class Command:
    """A cmdlet with its parameters, which have their full names."""

    cmdlet: Cmdlet
    line: int
    column: int
    values: dict[str, tuple[Value, ...]]


@dataclass
class Script:
    """What a script does: its commands in order, the names of those without effect here, and what is wrong."""

    commands: list[Command] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def read(text: str) -> Script:
    """Reads a script; never fails."""
    reader, script, variables = Reader(text), Script(), dict[str, tuple[Value, ...]]()
    for is_end, tokens in groupby(reader.tokens(), key=lambda token: token.kind is Kind.END):
        if not is_end:
            _Statement(script, variables).read(list(tokens))
    script.problems += reader.problems
    return script


def _problem(token: Token | Value, message: str, hint: str = "", path: str = "") -> Problem:
    return Problem(path, message, hint, token.line, token.column)


@dataclass
class _Statement:
    """One statement, read into a script."""

    script: Script
    variables: dict[str, tuple[Value, ...]]

    def read(self, tokens: list[Token]) -> None:
        """An assignment, or a command."""
        first = tokens[0]
        if first.kind is Kind.VARIABLE and len(tokens) > 1 and tokens[1].kind is Kind.ASSIGN:
            self._assign(first, tokens[2:])
        elif first.kind is Kind.WORD:
            self._command(tokens)
        elif first.kind is Kind.UNKNOWN and first.text and len(tokens) > 1 and tokens[1].kind is Kind.ASSIGN:
            self._wrong(first, f"a part of ${first.text} is set, which is not read", "set the variable as a whole")
        else:
            self._wrong(first, f"{said(first)} is neither a command nor an assignment", "one cmdlet per line")

    def _wrong(self, token: Token | Value, message: str, hint: str = "", path: str = "") -> None:
        self.script.problems.append(_problem(token, message, hint, path))

    def _assign(self, name: Token, tokens: list[Token]) -> None:
        unknown = (Value("", name.line, name.column, name.text, known=False),)
        first = tokens[0] if tokens else name
        self.variables[name.text] = unknown
        if not tokens:
            self._wrong(name, f"${name.text} gets no value")
        elif first.kind is Kind.WORD and (_COMMAND.fullmatch(first.text) or first.text.lower() in _DECIDING):
            self._command(tokens)
        elif (values := self._listed(tokens)) is not None:
            self.variables[name.text] = values

    def _listed(self, tokens: Sequence[Token]) -> tuple[Value, ...] | None:
        """Values with commas between them; None for anything else, such as a sum."""
        kinds = [token.kind for token in tokens]
        plain = all(kind in _VALUES for kind in kinds[::2]) and all(kind is Kind.COMMA for kind in kinds[1::2])
        return tuple(v for token in tokens[::2] for v in self._values(token)) if plain and len(kinds) % 2 else None

    def _values(self, token: Token) -> tuple[Value, ...]:
        """What a token stands for: one value, or several where a variable has a list."""
        if token.kind in (Kind.UNKNOWN, Kind.BROKEN):
            return (Value("", token.line, token.column, known=False, told=token.kind is Kind.BROKEN),)
        if token.kind is Kind.VARIABLE:
            return self._variable(token, token.text)
        if token.kind is Kind.WORD:
            return (Value(token.text, token.line, token.column),)
        named = [self._variable(token, name) for name in token.parts[1::2]]
        known = all(len(own) == 1 and own[0].known for own in named)
        pieces = [own[0].text for own in named] if known else []
        text = "".join(a + b for a, b in zip(token.parts[::2], [*pieces, ""], strict=True)) if known else ""
        alone = token.parts[1] if len(token.parts) == 3 and not token.parts[0] + token.parts[2] else ""
        told = any(own.told for values in named for own in values)
        return (Value(text, token.line, token.column, alone, known, told),)

    def _variable(self, token: Token, name: str) -> tuple[Value, ...]:
        """The value of a variable, at the place where it is used."""
        if name in {"true", "false", "null"}:
            return (Value(f"${name}", token.line, token.column),)
        if name not in self.variables:
            hint = did_you_mean(name, self.variables) if self.variables else "set it above"
            self._wrong(token, f"${name} has no value here", hint)
            return (Value("", token.line, token.column, name, known=False, told=True),)
        return tuple(replace(own, line=token.line, column=token.column, variable=name) for own in self.variables[name])

    def _command(self, tokens: list[Token]) -> None:
        piped = next((index for index, token in enumerate(tokens) if token.kind is Kind.PIPE), len(tokens))
        first, name = tokens[0], tokens[0].text.lower()
        behind = tokens[piped + 1 : piped + 2]
        sunk = not behind or (len(tokens) == piped + 2 and behind[0].text.lower() in _SINKS)
        if name in CMDLETS and not sunk:
            self._wrong(tokens[piped], "what stands behind a pipe is not read", "one cmdlet per line")
        elif name in CMDLETS:
            self._of_hnv(CMDLETS[name], first, tokens[1:piped])
        elif not self._is_harmless(tokens):
            known = did_you_mean(first.text, [own.name for own in CMDLETS.values()])
            hint = known if _COMMAND.fullmatch(first.text) else "write out what it does, one cmdlet per line"
            self._wrong(first, f"{said(first)} is not read", hint)
        elif first.text not in self.script.ignored:
            self.script.ignored.append(first.text)

    def _is_harmless(self, tokens: list[Token]) -> bool:
        """Whether a line makes nothing of the policy: it only looks, or is about other things of a host."""
        names = [t.text.lower() for t in tokens if t.kind is Kind.WORD and _COMMAND.fullmatch(t.text)]
        first = tokens[0].text.lower()
        looks = first.startswith(("get-", "write-", "select-", "test-")) or first in HARMLESS
        return looks and not any(name in CMDLETS for name in names)

    def _of_hnv(self, cmdlet: Cmdlet, first: Token, tokens: list[Token]) -> None:
        values: dict[str, tuple[Value, ...]] = {}
        good = all(token.kind is not Kind.BROKEN for token in tokens)
        for parameter, given in _arguments(tokens):
            name = self._parameter(cmdlet, parameter) if parameter else ""
            if parameter is None:
                hint = "every value stands behind the name of its parameter"
                self._wrong(given[0], f"{said(given[0])} is behind no parameter", hint)
            elif name in values:
                self._wrong(parameter, "is there twice", path=f"-{name}")
            elif name and name not in COMMON:
                values[name] = self._given(parameter, name, given)
            elif name == "WhatIf":
                self._wrong(parameter, "nothing is made with it", "leave it out", "-WhatIf")
            good = good and parameter is not None and bool(name)
        lacking = [name for name, own in cmdlet.parameters.items() if own.mandatory and name not in values]
        if lacking and good:
            examples = ", ".join(f"-{name} {cmdlet.parameters[name].example}" for name in lacking)
            self._wrong(
                first, f"{cmdlet.name} lacks {', '.join(f'-{name}' for name in lacking)}", f"such as {examples}"
            )
        self.script.commands.append(Command(cmdlet, first.line, first.column, values))

    def _given(self, parameter: Token, name: str, tokens: list[Token]) -> tuple[Value, ...]:
        values = self._listed(tokens)
        if values is None:
            what = "has no value" if not tokens else "is not a plain value"
            self._wrong(tokens[0] if tokens else parameter, what, "write it out", f"-{name}")
            return (Value("", parameter.line, parameter.column, known=False, told=True),)
        return values

    def _parameter(self, cmdlet: Cmdlet, token: Token) -> str:
        """The full name of a parameter, which may be cut short if no other starts so; empty where there is none."""
        names, wanted = [*cmdlet.parameters, *COMMON], token.text.lower()
        found = [name for name in names if name.lower() == wanted]
        found = found or [name for name in names if name.lower().startswith(wanted)]
        found = found or [name for name, own in cmdlet.parameters.items() if own.alias.lower() == wanted]
        if len(found) == 1:
            return found[0]
        if found:
            self._wrong(token, f"-{token.text} may be {', '.join(f'-{name}' for name in found)}", "write it out")
        else:
            hint = did_you_mean(token.text, list(cmdlet.parameters))
            self._wrong(token, f"{cmdlet.name} has no parameter -{token.text}", hint)
        return ""


def _arguments(tokens: list[Token]) -> Iterator[tuple[Token | None, list[Token]]]:
    """(parameter, its tokens): the first value behind it and what commas join to that. Without one, None."""
    at = 0
    while at < len(tokens):
        parameter = tokens[at] if tokens[at].kind is Kind.PARAMETER else None
        start = end = at + (parameter is not None)
        if end < len(tokens) and tokens[end].kind is not Kind.PARAMETER:
            end += 1
            while end < len(tokens) and Kind.COMMA in (tokens[end].kind, tokens[end - 1].kind):
                end += 1
        yield parameter, tokens[start:end]
        at = max(end, at + 1)
