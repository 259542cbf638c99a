"""The mutation score comes from what became of the tests, and no mutant escapes it."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Literal

import pytest

from tests.conftest import mutation_score

TESTS = Path(__file__).parents[2]
Outcome = Literal["passed", "failed", "skipped"]


def report(name: str, outcome: Outcome, when: Literal["setup", "call", "teardown"] = "call") -> pytest.TestReport:
    keywords: dict[str, Literal[1]] = {} if name == "other" else {"mutants": 1}
    return pytest.TestReport(name, ("f.py", 1, name), keywords, outcome, None, when)


def run(name: str, outcome: Outcome, end: Outcome = "passed") -> list[pytest.TestReport]:
    return [report(name, "passed", "setup"), report(name, outcome), report(name, end, "teardown")]


def test_a_mutant_is_noticed_by_a_test_that_passes() -> None:
    assert mutation_score([*run("a", "passed"), *run("b", "passed"), *run("other", "passed")]) == (2, 2)


@pytest.mark.parametrize(
    "reports",
    [run("a", "failed"), run("a", "skipped"), run("a", "passed", end="failed"), [report("a", "skipped", "setup")]],
    ids=["failed", "skipped", "could not clean up", "never began"],
)
def test_what_does_not_pass_notices_nothing(reports: list[pytest.TestReport]) -> None:
    assert mutation_score([*reports, *run("b", "passed")]) == (1, 2)


def test_without_mutants_there_is_no_score() -> None:
    assert mutation_score(run("other", "passed")) == (0, 0)


def test_no_mutant_is_compiled_but_by_a_test_itself() -> None:
    """A test is known for one about a mutant by its own code: what a helper has compiled would not be counted."""
    found = []
    for path in sorted(TESTS.glob("netns/*.py")):
        for function in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)):
            calls = (node.func for node in ast.walk(function) if isinstance(node, ast.Call))
            if any(isinstance(call, ast.Attribute) and call.attr == "compiled" for call in calls):
                found.append(function.name)
    assert len(found) > 20
    assert [name for name in found if not name.startswith("test_")] == []
