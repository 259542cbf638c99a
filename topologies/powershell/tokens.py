"""The words of a PowerShell script, each with its place, as far as a list of commands and assignments needs them. Pure.

What has a value only when the script runs, such as what stands in parentheses, is one token whose value is not known.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from topologies.problems import Problem, show


class Kind(Enum):
    """What a token is."""

    WORD = auto()
    TEXT = auto()
    VARIABLE = auto()
    UNKNOWN = auto()
    """Something whose value only a running script has."""
    BROKEN = auto()
    """Something that is never closed, which is among the problems."""
    BLOCK = auto()
    PARAMETER = auto()
    COMMA = auto()
    ASSIGN = auto()
    PIPE = auto()
    OTHER = auto()
    END = auto()


@dataclass(frozen=True)
class Token:
    """A token at a line and column from 1. `parts` of a TEXT are its pieces: every second one names a variable.

    Of a VARIABLE the text is its name in small letters, of an UNKNOWN that of the variable it starts with, if any.
    """

    kind: Kind
    text: str
    line: int
    column: int
    parts: tuple[str, ...] = ()


_SINGLE, _DOUBLE, _DASHES = "'\u2018\u2019\u201a\u201b", '"\u201c\u201d\u201e', "-\u2013\u2014\u2015"
_BLANK = re.compile(r"[ \t\f\v\u00a0\ufeff\r]+")
_CONTINUED = re.compile(r"`[ \t\r]*(?:\n|\Z)")
_PROMPT = re.compile(r"PS [^\n>]{0,200}>")
_CAST = re.compile(r"\[[A-Za-z.]{1,60}(\[\])?\][ \t]*(?=\$)")
_VARIABLE = re.compile(r"\$(?:(?:global|script|local|private):)?([A-Za-z_][A-Za-z0-9_]*)|\$\{([^}\n]{1,200})\}", re.I)
_MEMBER = re.compile(r"\.[A-Za-z_][A-Za-z0-9_]*")
_PARAMETER = re.compile(rf"[{_DASHES}]([A-Za-z][A-Za-z0-9]*):?")
_WORD = re.compile(rf"(?:`[^\n]|[^\s;,|&(){{}}`{_SINGLE}{_DOUBLE}])+")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_MANY = 50
"""After so many problems, the first bracket that is never closed ends the reading."""
_OPENING = {"(": ")", "{": "}", "[": "]"}


class Reader:
    """Reads a script once, from its start to its end; `problems` are what it found wrong."""

    def __init__(self, text: str, outer: Reader | None = None, offset: int = 0) -> None:
        self.problems: list[Problem] = []
        self._text, self._at = text, 0
        self._outer, self._offset = outer, offset
        self._is_broken = False
        self._lines = [] if outer else [0, *(found.end() for found in re.finditer("\n", text))]

    def tokens(self) -> Iterator[Token]:
        """Every token, with an END behind each statement."""
        first = True
        while self._at < len(self._text):
            for token in self._next(first):
                yield token
                first = token.kind is Kind.END
        yield self._token(Kind.END, "", self._at)

    def _next(self, first: bool) -> list[Token]:
        """What stands at the present place: nothing, a token, or the elements of a list. Moves on."""
        text, start = self._text, self._at
        char = text[start]
        if found := _BLANK.match(text, start) or (first and _PROMPT.match(text, start)):
            return self._skip(found.end())
        if char in "\n;":
            return self._one(Kind.END, char, start + 1)
        if char == "#" or text.startswith("<#", start):
            return self._comment(start)
        if behind := _CONTINUED.match(text, start):
            return self._continuation(behind)
        if char in _SINGLE or char in _DOUBLE:
            return self._single(start) if char in _SINGLE else self._double(start)
        if char == "$" or (first and _CAST.match(text, start)):
            return self._variable(text.index("$", start))
        if char == "@" and start + 1 < len(text):
            return self._at_sign(start)
        return self._plain(char, start)

    def _plain(self, char: str, start: int) -> list[Token]:
        if char in "({":
            return self._one(Kind.UNKNOWN if char == "(" else Kind.BLOCK, "", self._behind_members(self._closed(start)))
        single = {",": Kind.COMMA, "|": Kind.PIPE, "&": Kind.OTHER, ")": Kind.OTHER, "}": Kind.OTHER, "`": Kind.OTHER}
        if char in single:
            return self._one(single[char], char, start + 1)
        if char == "=" and not self._text.startswith("==", start):
            return self._one(Kind.ASSIGN, char, start + 1)
        if found := _PARAMETER.match(self._text, start):
            return self._one(Kind.PARAMETER, found[1], found.end())
        word = _WORD.match(self._text, start)
        end = word.end() if word else start + 1
        return self._one(Kind.WORD, re.sub(r"`(.)", r"\1", self._text[start:end]), end)

    def _continuation(self, behind: re.Match[str]) -> list[Token]:
        """A backtick that ends its line joins it to the next."""
        if behind[0].rstrip("\n\r") != "`":
            self._problem(self._at, "a blank stands behind the backtick", "it must be the last on its line")
        return self._skip(behind.end())

    def _comment(self, start: int) -> list[Token]:
        if self._text[start] == "#":
            return self._skip(self._end_of_line(start))
        end = self._text.find("#>", start + 2)
        if end < 0:
            self._problem(start, "this comment never ends", "close it with #>")
            return self._skip(len(self._text))
        return self._skip(end + 2)

    def _single(self, start: int) -> list[Token]:
        found = re.compile(rf"((?:[^{_SINGLE}]|[{_SINGLE}]{{2}})*)[{_SINGLE}]").match(self._text, start + 1)
        if not found:
            return self._unclosed_text(start)
        text = re.sub(rf"[{_SINGLE}]([{_SINGLE}])", r"\1", found[1])
        return self._one(Kind.TEXT, text, found.end(), (text,))

    def _double(self, start: int) -> list[Token]:
        """Text in which `$name` is a variable's value, and a backtick escapes."""
        parts, at, known = [""], start + 1, True
        while at < len(self._text) and self._text[at] not in _DOUBLE:
            char, after = self._text[at], self._text[at + 1 : at + 2]
            if char == "`" and after:
                parts[-1] += _ESCAPES.get(after, after)
                at += 2
            elif char == "$" and (variable := _VARIABLE.match(self._text, at)):
                parts += [(variable[1] or variable[2]).lower(), ""]
                at = variable.end()
            else:
                known = known and not (char == "$" and after == "(")
                parts[-1] += char
                at += 1
            if self._text[at : at + 1] in _DOUBLE and self._text[at + 1 : at + 2] in tuple(_DOUBLE):
                parts[-1] += '"'
                at += 2
        if at >= len(self._text):
            return self._unclosed_text(start)
        return self._one(Kind.TEXT if known else Kind.UNKNOWN, "".join(parts) if known else "", at + 1, tuple(parts))

    def _unclosed_text(self, start: int) -> list[Token]:
        self._problem(start, "this quotation mark is never closed", "close it on the same line")
        return self._one(Kind.BROKEN, "", self._end_of_line(start))

    def _variable(self, start: int) -> list[Token]:
        found = _VARIABLE.match(self._text, start)
        if not found:
            opens = self._text[start + 1 : start + 2] == "("
            end = self._behind_members(self._closed(start + 1)) if opens else start + 1
            return self._one(Kind.UNKNOWN, "", end)
        end = self._behind_members(found.end())
        name = (found[1] or found[2]).lower()
        return self._one(Kind.VARIABLE if end == found.end() else Kind.UNKNOWN, name, end)

    def _behind_members(self, end: int) -> int:
        """The place behind what is asked of a value: `.ifIndex`, `[0]`, `.ToString()`."""
        while end < len(self._text) and (self._text[end] in "[(" or _MEMBER.match(self._text, end)):
            member = _MEMBER.match(self._text, end)
            end = member.end() if member else self._closed(end)
        return end

    def _at_sign(self, start: int) -> list[Token]:
        """A list `@(...)` of plain values is its elements; a table `@{...}` is not known; `@name` is not read."""
        after = self._text[start + 1]
        if after == "{":
            return self._one(Kind.UNKNOWN, "", self._closed(start + 1))
        if after != "(":
            word = _WORD.match(self._text, start)
            return self._one(Kind.OTHER, word[0] if word else "@", word.end() if word else start + 1)
        return self._list(start)

    def _list(self, start: int) -> list[Token]:
        end, opening = self._closed(start + 1), self._token(Kind.UNKNOWN, "", start)
        inner = Reader(self._text[start + 2 : end - 1], self, start + 2)
        tokens: list[Token] = []
        while inner._at < len(inner._text):
            if inner._text[inner._at] in "@({":  # a list in a list, or a command: not plain
                return self._one(Kind.UNKNOWN, "", end)
            tokens += inner._next(first=False)
        self.problems += inner.problems
        self._skip(end)
        plain = {Kind.WORD, Kind.TEXT, Kind.VARIABLE, Kind.COMMA, Kind.END}
        if any(token.kind not in plain for token in tokens):
            return [opening]
        values = [token for token in tokens if token.kind not in {Kind.COMMA, Kind.END}]
        commas = (Token(Kind.COMMA, ",", token.line, token.column) for token in values[1:])
        return [values[0], *(t for pair in zip(commas, values[1:], strict=True) for t in pair)] if values else [opening]

    def _closed(self, start: int) -> int:
        """The place behind the bracket that closes the one at `start`; the end of the line where none does."""
        open_ones, at = [_OPENING[self._text[start]]], start + 1
        while open_ones and at < len(self._text):
            char = self._text[at]
            if char in _SINGLE or char in _DOUBLE:
                quotes = _SINGLE if char in _SINGLE else _DOUBLE
                closing = re.compile(f"[{quotes}]").search(self._text, at + 1)
                at = closing.start() if closing else len(self._text)
            elif char in _OPENING:
                open_ones.append(_OPENING[char])
            elif char == open_ones[-1]:
                open_ones.pop()
            at += 1
        if open_ones:
            bracket = self._text[start]
            self._problem(start, f"this {bracket} is never closed", f"close it with {_OPENING[bracket]}")
            self._is_broken = True
            return self._end_of_line(start) if len(self.problems) < _MANY else len(self._text)
        return at

    def _end_of_line(self, start: int) -> int:
        end = self._text.find("\n", start)
        return end if end >= 0 else len(self._text)

    def _skip(self, end: int) -> list[Token]:
        self._at = end
        return []

    def _one(self, kind: Kind, text: str, end: int, parts: tuple[str, ...] = ()) -> list[Token]:
        token = self._token(Kind.BROKEN if self._is_broken else kind, text, self._at, parts)
        self._at, self._is_broken = end, False
        return [token]

    def _token(self, kind: Kind, text: str, at: int, parts: tuple[str, ...] = ()) -> Token:
        line, column = self._place(at)
        return Token(kind, text, line, column, parts)

    def _place(self, at: int) -> tuple[int, int]:
        if self._outer:
            return self._outer._place(at + self._offset)
        line = bisect_right(self._lines, at)
        return line, at - self._lines[line - 1] + 1

    def _problem(self, at: int, message: str, hint: str) -> None:
        line, column = self._place(at)
        self.problems.append(Problem("", message, hint, line, column))


def said(token: Token) -> str:
    """A token for a message."""
    return show(token.text) if token.text else "this"
