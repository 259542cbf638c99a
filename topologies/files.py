"""Finds scenario files, and reads one with all that it includes. Touches only those files.

A file that includes others is laid over them, later ones over earlier ones: mappings key by key, all else as a whole.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from topologies.nodes import YAML_TAG, entries, laid_over, mapping, spelt_out
from topologies.problems import Problem, ScenarioError, did_you_mean, show
from topologies.source import Source, parse, read_text

_SHIPPED = Path(__file__).parent

FILES_AT_MOST = 32
"""Files that one may include, those that they include among them."""


def shipped() -> list[str]:
    """The names of the scenarios that come with the project, sorted."""
    return sorted(path.stem for path in _SHIPPED.glob("*.yaml"))


@dataclass(frozen=True)
class Read:
    """A file as it was read. `text` is its own, or None where it includes others."""

    path: Path
    source: Source
    text: str | None


def read(name_or_path: str | os.PathLike[str]) -> Read:
    """The scenario file of a shipped name or of a path, with all that it includes.

    Raises:
        ScenarioError: one of the files is not there, or leaves no data to check.
    """
    given = os.fspath(name_or_path)
    path = _find(given)
    file = _called(path, given)
    text = read_text(path, file)
    source = parse(text, file)
    gathering = _Gathering(file)
    root = gathering.with_included(source.root, path, (file,))
    if gathering.problems:
        raise ScenarioError(file, gathering.problems)
    return Read(path, Source(file, root), None if gathering.files else text)


def _find(given: str) -> Path:
    if given in shipped():
        return _SHIPPED / f"{given}.yaml"
    path = Path(given)
    looks_like_a_path = path.suffix or len(path.parts) > 1
    if given and (looks_like_a_path or path.exists()):
        return path
    hint = f"{did_you_mean(given, shipped())}; the path of a file works too"
    raise ScenarioError(given or "(nothing)", [Problem("", "no such scenario", hint)])


def _called(path: Path, given: str) -> str:
    """What to call a file in messages: as it was given, or from here if that is shorter."""
    if str(path) == given or not path.is_relative_to(Path.cwd()):
        return str(path)
    return str(path.relative_to(Path.cwd()))


@dataclass
class _Gathering:
    """The files that a scenario includes, as they are found, and what is wrong with them. `top` is its own."""

    top: str
    problems: list[Problem] = field(default_factory=list)
    files: int = 0

    def with_included(self, root: MappingNode, path: Path, chain: tuple[str, ...]) -> MappingNode:
        """A file laid over those that it includes; `chain` leads to it."""
        own = entries(root)
        _, wanted = own.pop("include", (None, None))
        below: MappingNode | None = None
        for name in self._names(wanted, chain[-1]):
            found = self._included(name, path, chain)
            if found:
                below = spelt_out(laid_over(below, found) if below else found)
        return laid_over(below, spelt_out(mapping(own, root))) if below else mapping(own, root)

    def _names(self, wanted: Node | None, file: str) -> list[ScalarNode]:
        if wanted is None:
            return []
        given = wanted.value if isinstance(wanted, SequenceNode) else [wanted]
        names = [name for name in given if isinstance(name, ScalarNode) and name.tag == YAML_TAG + "str" and name.value]
        for other in given:
            if other not in names:
                what = "has no value" if other.tag == YAML_TAG + "null" else "is not the name of a file"
                self._say(file, other, what, "such as include: base.yaml, or the name of a shipped scenario")
        return names

    def _included(self, name: ScalarNode, path: Path, chain: tuple[str, ...]) -> MappingNode | None:
        given = name.value
        found = Path(os.path.normpath(_SHIPPED / f"{given}.yaml" if given in shipped() else path.parent / given))
        file = _called(found, str(found))
        if _same(file, chain):
            way = " -> ".join((*chain[[_real(each) for each in chain].index(_real(file)) :], file))
            self._say(chain[-1], name, f"{show(given)} would include itself", way)
            return None
        if self.files == FILES_AT_MOST:
            self._say(chain[-1], name, f"is one file more than the {FILES_AT_MOST} that one may include")
        self.files += 1
        if self.files > FILES_AT_MOST:
            return None
        try:
            text = read_text(found, file)
        except ScenarioError as error:
            hint = did_you_mean(given, shipped()) if not Path(given).suffix and not found.exists() else ""
            self._say(chain[-1], name, f"{show(given)}: {error.problems[0].message}", hint)
            return None
        try:
            return self.with_included(parse(text, file).root, found, (*chain, file))
        except ScenarioError as error:
            self.problems += [replace(problem, file=problem.file or error.file) for problem in error.problems]
            return None

    def _say(self, file: str, node: Node, what: str, hint: str = "") -> None:
        mark, own = node.start_mark, "" if file == self.top else file
        self.problems.append(Problem("include", what, hint, mark.line + 1, mark.column + 1, own))


def _same(file: str, chain: tuple[str, ...]) -> bool:
    return _real(file) in [_real(each) for each in chain]


def _real(file: str) -> str:
    return os.path.realpath(file)
