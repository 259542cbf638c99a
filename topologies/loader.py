"""Finds a scenario file, reads it, and says everything that is wrong with it in one pass. Touches only that file."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

from pydantic import ValidationError

from topologies import checks, facts, wording
from topologies.problems import Finding, Problem, ScenarioError, did_you_mean
from topologies.scenario import Scenario, build
from topologies.schema import ScenarioPart
from topologies.source import Source, parse, read_text

_SHIPPED = Path(__file__).parent


def shipped() -> list[str]:
    """The names of the scenarios that come with the project, sorted."""
    return sorted(path.stem for path in _SHIPPED.glob("*.yaml"))


def load(name_or_path: str | os.PathLike[str]) -> Scenario:
    """The scenario of a shipped name or of a file.

    Raises:
        ScenarioError: there is no such scenario, or something is wrong with it: all of it, line by line.
    """
    given = os.fspath(name_or_path)
    path = _find(given)
    file = _called(path, given)
    text = read_text(path, file)
    part = _checked(parse(text, file))
    return build(part, path, sha256(text.encode()).hexdigest())


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


def _checked(source: Source) -> ScenarioPart:
    part, found = _validated(source)
    found += checks.check(facts.read(source.data))
    if part is None or found:
        problems = {source.place(finding): None for finding in found}  # two aliases of one mistake are one problem
        raise ScenarioError(source.file, sorted(problems, key=lambda problem: (problem.line, problem.column)))
    return part


def _validated(source: Source) -> tuple[ScenarioPart | None, list[Finding]]:
    try:
        return ScenarioPart.model_validate(source.data), []
    except ValidationError as error:
        return None, wording.findings(error)
