"""Reads the text of a scenario or target file: plain data, and the place of every value in it.

Touches only the file it reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path as FilePath
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, StringMark, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from topologies.nodes import MERGE, YAML_TAG, children, entries, plain, scalar, within
from topologies.problems import Finding, Path, Problem, ScenarioError, dotted, show

BYTES_AT_MOST = 2_000_000
VALUES_AT_MOST = 50_000
"""Values in a file after its aliases are followed: far above any network, far below what aliases can multiply to."""


@dataclass(frozen=True)
class Language:
    """What a file is meant to be, for the hints: what it is called, what it must have, and how it starts."""

    name: str
    least: str
    start: str

    @property
    def question(self) -> str:
        """What to ask of a file that is something else altogether."""
        return f"is it a {self.name}?"


SCENARIO = Language("scenario", "hosts and tenants", "name: two_hosts")

_TAGS = {YAML_TAG + kind for kind in ("str", "int", "float", "bool", "null", "map", "seq", "merge")}

# Tags can call anything an integer, and Python refuses to read one of thousands of digits.
_WHOLE_NUMBER = re.compile(r"[-+]?[0-9][0-9a-fA-FxXoO_]{0,40}", re.ASCII)


def read_text(path: FilePath, file: str, language: Language = SCENARIO) -> str:
    """The text of a file; `file` is what to call it in messages.

    Raises:
        ScenarioError: missing, a directory, unreadable, too long, or not UTF-8.
    """
    try:
        with path.open("rb") as stream:
            raw = stream.read(BYTES_AT_MOST + 1)
    except FileNotFoundError:
        raise ScenarioError(file, [Problem("", "no such file")]) from None
    except IsADirectoryError:
        raise ScenarioError(file, [Problem("", "is a directory", f"name a {language.name} file")]) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise ScenarioError(file, [Problem("", f"cannot be read: {reason or error}")]) from None
    if len(raw) > BYTES_AT_MOST:
        raise ScenarioError(file, [Problem("", f"is longer than {BYTES_AT_MOST} bytes", language.question)])
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8-sig", "replace")
        raise ScenarioError(file, [_at_end_of(before, "is not text in UTF-8", language.question)]) from None


@dataclass(frozen=True)
class Source:
    """A parsed file. `data` is plain dicts, lists and scalars, in which aliases share their value."""

    file: str
    root: MappingNode
    _entries: dict[int, dict[str, tuple[Node, Node]]] = field(default_factory=dict)

    @cached_property
    def data(self) -> dict[str, Any]:
        """What the file says."""
        made: dict[str, Any] = plain(self.root)
        return made

    def place(self, finding: Finding, written: Path | None = None) -> Problem:
        """A finding with its line and column; where a key is missing, those of the mapping that lacks it.

        `written` is where that stands in the file which the finding is about, if that is not its path.
        """
        path, lost = [], False
        node: Node = self.root
        key = node
        for step in finding.path if written is None else written:
            if isinstance(step, int) and isinstance(node, ScalarNode):
                continue  # a single value where a list may stand: it has no index in the file
            path.append(step)
            found = None if lost else self._child(node, step)
            lost = found is None
            key, node = found or (node, node)
        mark = (key if finding.at_key else node).start_mark
        file = "" if mark.name == self.file else str(mark.name)
        shown = dotted(tuple(path) if written is None else finding.path)
        return Problem(shown, finding.message, finding.hint, mark.line + 1, mark.column + 1, file)

    def _child(self, node: Node, step: str | int) -> tuple[Node, Node] | None:
        if isinstance(node, SequenceNode) and isinstance(step, int) and step < len(node.value):
            return node.value[step], node.value[step]
        if isinstance(node, MappingNode):
            if id(node) not in self._entries:
                self._entries[id(node)] = entries(node)
            return self._entries[id(node)].get(str(step))
        return None


def parse(text: str, file: str, language: Language = SCENARIO) -> Source:
    """Reads YAML of which the top is a mapping.

    Raises:
        ScenarioError: bad syntax, duplicate keys, unknown tags, aliases without end: what leaves no data to check.
    """
    root: Any = _composed(text, file, language)
    if root is None or root.tag == YAML_TAG + "null":
        raise ScenarioError(file, [Problem("", "is empty", f"a {language.name} has at least {language.least}")])
    if not isinstance(root, MappingNode):
        hint = f"a {language.name} starts like `{language.start}`"
        raise ScenarioError(file, [_at(root, "is not a mapping", hint)])
    return Source(file, root)


def parse_value(text: str, file: str) -> Node:
    """Reads one value, which has no line: `file` alone says where it is from. Raises as `parse` does."""
    try:
        root = _composed(text, file, SCENARIO) or ScalarNode(YAML_TAG + "null", "null")
    except ScenarioError as error:
        raise ScenarioError(file, [Problem("", problem.message) for problem in error.problems]) from None
    for node in within(root, set()):
        node.start_mark = StringMark(file, 0, -1, -1, None, 0)
    return root


def _composed(text: str, file: str, language: Language) -> Node | None:
    """The nodes of a text, in which nothing is left that YAML does not allow."""
    try:
        root: Node | None = YAML(typ="safe", pure=True).compose(text)
        if root and (problems := _unusable(root)):
            raise ScenarioError(file, problems)
    except MarkedYAMLError as error:
        raise ScenarioError(file, [_syntax(error)]) from None
    except ReaderError as error:
        before = text[: error.position]
        what = f"the character {show(chr(error.character))} may not stand in YAML"
        raise ScenarioError(file, [_at_end_of(before, what, language.question)]) from None
    except RecursionError:
        raise ScenarioError(file, [Problem("", "lists and mappings are nested too deeply")]) from None
    except (YAMLError, ValueError, TypeError, LookupError, AttributeError) as error:
        # What its author did not foresee fails inside the YAML library in its own ways.
        raise ScenarioError(file, [Problem("", "is not YAML that can be read", show(str(error)))]) from None
    for node in within(root, set()) if root else ():
        node.start_mark.name = file
    return root


def _unusable(root: Node) -> list[Problem]:
    if _values_in(root, {}) > VALUES_AT_MOST:
        return [Problem("", f"has more than {VALUES_AT_MOST} values once its aliases are followed")]
    problems = [problem for node in within(root, set()) for problem in _unusable_node(node)]
    return sorted(problems, key=lambda problem: (problem.line, problem.column))


def _values_in(node: Node, known: dict[int, int]) -> int:
    """How many values a node unfolds to, or "too many" also if it contains itself. Each node is counted once."""
    too_many = VALUES_AT_MOST + 1
    if id(node) not in known:
        known[id(node)] = too_many  # until its own count is there, only a node inside it can ask: a circle
        known[id(node)] = min(too_many, 1 + sum(_values_in(child, known) for child in children(node)))
    return known[id(node)]


def _unusable_node(node: Node) -> Iterator[Problem]:
    if node.tag not in _TAGS:
        kind = str(node.tag).removeprefix(YAML_TAG)
        yield _at(node, f"is of the YAML type {show(kind)}", "put it in quotes if it is meant as text")
    elif node.tag == YAML_TAG + "int" and not _WHOLE_NUMBER.fullmatch(str(node.value)):
        yield _at(node, f"{show(node.value)} is not a whole number", "put it in quotes if it is meant as text")
    elif not _is_of_its_type(node):
        what = (
            show(node.value)
            if isinstance(node, ScalarNode)
            else f"a {'mapping' if isinstance(node, MappingNode) else 'list'}"
        )
        kind = str(node.tag).removeprefix(YAML_TAG)
        yield _at(node, f"{what} is not of the YAML type {show(kind)}", "leave the tag out")
    if not isinstance(node, MappingNode):
        return
    seen: dict[str, Node] = {}
    for key, value in node.value:
        if not isinstance(key, ScalarNode):
            yield _at(key, "a list or mapping cannot be a key")
        elif (first := seen.setdefault(key.value, key)) is not key:
            yield _at(key, f"the key {show(key.value)} is there twice", f"first in line {first.start_mark.line + 1}")
        elif key.tag == MERGE and not _is_mergeable(value):
            yield _at(value, "what << merges in is a mapping, or a list of mappings", "such as <<: *name")


def _is_of_its_type(node: Node) -> bool:
    """Whether a tag that was written, such as `!!float`, fits what it stands at."""
    kind = str(node.tag).removeprefix(YAML_TAG)
    if isinstance(node, ScalarNode):
        try:
            return kind not in {"map", "seq"} and (node.tag == MERGE or scalar(node) is not None or kind == "null")
        except (YAMLError, ValueError, LookupError):
            return False
    return kind == ("map" if isinstance(node, MappingNode) else "seq")


def _is_mergeable(value: Node) -> bool:
    parts = value.value if isinstance(value, SequenceNode) else [value]
    return all(isinstance(part, MappingNode) for part in parts)


def _syntax(error: MarkedYAMLError) -> Problem:
    what = " ".join(str(error.problem or error.context or "is not YAML").split()).removeprefix("but ")
    mark = error.problem_mark or error.context_mark
    if "'\\t'" in what:
        return _marked(mark, "a tab cannot stand here", "YAML indents with spaces")
    began = ""
    if error.problem and error.context and error.context_mark:
        began = f"{error.context}, from line {error.context_mark.line + 1}"
    return _marked(mark, what, began)


def _at(node: Node, what: str, hint: str = "") -> Problem:
    return _marked(node.start_mark, what, hint)


def _marked(mark: StringMark | None, what: str, hint: str) -> Problem:
    return Problem("", what, hint, mark.line + 1, mark.column + 1) if mark else Problem("", what, hint)


def _at_end_of(before: str, what: str, hint: str) -> Problem:
    line_start = before.rfind("\n") + 1
    return Problem("", what, hint, before.count("\n") + 1, len(before) - line_start + 1)
