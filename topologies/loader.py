"""Reads a scenario, and says everything that is wrong with it in one pass. Touches only its files.

A file is read with what it includes, settings are applied, counts are carried out, and what is not said is filled in;
then every rule is asked. Single values are checked as they were written, so that no mistake is told a hundred times.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Sequence

from pydantic import ValidationError
from ruamel.yaml import YAML

from topologies import checks, counts, defaults, facts, files, settings, wording
from topologies.counts import Counted
from topologies.nodes import spelt_out
from topologies.problems import Finding, Problem, ScenarioError
from topologies.scenario import Scenario, build
from topologies.schema import ScenarioPart
from topologies.source import Source

shipped = files.shipped

_NUMBERED = re.compile(r"\S*[0-9]\S*")
"""What differs between messages about entries of one count: names with numbers, and addresses."""


def load(name_or_path: str | os.PathLike[str], sets: Sequence[str] = ()) -> Scenario:
    """The scenario of a shipped name or of a file, with settings such as `nve.ttl=5` in place of what it says.

    Raises:
        ScenarioError: there is no such scenario, or something is wrong with it: all of it, line by line.
    """
    found = files.read(name_or_path)
    source = settings.applied(found.source, sets)
    text = _text(source) if found.text is None or sets else found.text
    part = _checked(Source(source.file, spelt_out(source.root)), found.path.stem)
    return build(part, found.path, text)


def _text(source: Source) -> str:
    """One file that says what several, or a file and settings, say together."""
    stream = io.StringIO()
    YAML().dump(source.data, stream)
    return stream.getvalue()


def _checked(source: Source, stem: str) -> ScenarioPart:
    written, found = _validated(source.data)
    counted = defaults.filled(counts.expanded(source.data), stem)
    found += counted.findings
    found += checks.check(facts.read(counted.data))
    if not found and written:
        # Whatever is filled in follows from what was found good.
        return ScenarioPart.model_validate(counted.data)
    raise ScenarioError(source.file, _told(source, counted, found))


def _validated(data: object) -> tuple[ScenarioPart | None, list[Finding]]:
    try:
        return ScenarioPart.model_validate(data), []
    except ValidationError as error:
        return None, wording.findings(error)


def _told(source: Source, counted: Counted, found: Iterable[Finding]) -> list[Problem]:
    """Every problem once, in the order of the files: of what a count stands for, the first with a mistake."""
    problems: dict[object, Problem] = {}
    for finding in found:
        written = counted.written(finding.path)
        if written == finding.path:
            problem = source.place(finding)
            problems.setdefault(problem, problem)
        else:
            problem = source.place(finding, written)
            problems.setdefault((written, _NUMBERED.sub("", finding.message)), problem)
    return sorted(problems.values(), key=lambda problem: (problem.file, problem.line, problem.column))
