"""The corpus of broken files: each is told what is beside it as .txt, and together they have every message there is.

Where a message changes, `REWRITE=1 ./nvgre test tests/unit/topologies/test_scenario_broken.py` writes the .txt anew.
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import topologies
from topologies import ScenarioError, load, shipped
from topologies.problems import listed

CODE = Path(topologies.__file__).parent
CORPUS = Path(__file__).parent / "broken"
FILES = sorted(CORPUS.glob("*.yaml"))
SAYING = {"Finding", "BadValueError", "Problem", "_at", "_marked", "_at_end_of", "_say"}
"""What makes a message."""

ELSEWHERE = {
    "target.py": "of target files: test_target_file.py",
    "problems.py": "none: definitions",
    "values.py plain_pa": "of target files",
    "values.py _kernel_name": "of target files",
    "files.py _find": "no file at all: test_scenario_shipped.py",
    "source.py read_text": "no file, or none that can be read: test_scenario_files.py",
    "source.py _composed": "what ruamel.yaml does not foresee either: nothing is known that gets there",
}
"""Messages that are not of a file's content, or that no file is known to raise, by module or function."""


def said(path: Path) -> list[str]:
    """What is wrong with a file, with the settings beside it if there are any, without the path of this folder."""
    beside = path.with_suffix(".set")
    try:
        load(path, beside.read_text().splitlines() if beside.exists() else ())
    except ScenarioError as error:
        return str(error).replace(f"{CORPUS}/", "").replace(listed(shipped()), "SHIPPED").splitlines()
    return []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_broken_file_is_told_what_is_wrong_with_it(path: Path) -> None:
    golden = path.with_suffix(".txt")
    found = said(path)
    if os.environ.get("REWRITE"):
        golden.write_text("".join(f"{line}\n" for line in found))
    assert found != []
    assert found == golden.read_text().splitlines()


def test_the_corpus_is_large_and_nothing_is_left_over_in_it() -> None:
    assert len(FILES) >= 150
    assert {path.stem for path in CORPUS.glob("*.txt")} == {path.stem for path in FILES}
    assert {path.stem for path in CORPUS.glob("*.set")} <= {path.stem for path in FILES}


def sites(path: Path) -> Iterator[tuple[str, range]]:
    """The places of a module that make a message: function, and lines."""
    tree = ast.parse(path.read_text())
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        if function.name in SAYING:
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in SAYING:
                yield function.name, range(node.lineno, (node.end_lineno or node.lineno) + 1)


def missed(lines: dict[str, set[int]]) -> list[str]:
    """The places that make a message, and were not run."""
    found = []
    for path in sorted(CODE.glob("*.py")):
        for function, own in sites(path):
            exempt = ELSEWHERE.keys() & {path.name, f"{path.name} {function}"}
            if not exempt and not lines.get(str(path), set()) & set(own):
                found.append(f"{path.name}:{own[0]} {function}")
    return found


def lines_run(paths: list[Path]) -> dict[str, set[int]]:
    """The lines of the checker that run while files are checked, by module."""
    run: dict[str, set[int]] = {}

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        file = frame.f_code.co_filename
        if not file.startswith(str(CODE)):
            return None
        if event == "line":
            run.setdefault(file, set()).add(frame.f_lineno)
        return trace

    before = sys.gettrace()
    try:
        for path in paths:
            sys.settrace(trace)  # again for each: a file that exhausts the stack ends it
            said(path)
    finally:
        sys.settrace(before)
    return run


def test_every_message_there_is_is_that_of_a_file() -> None:
    assert missed(lines_run(FILES)) == []


def test_a_message_that_no_file_has_is_missed() -> None:
    few = [path for path in FILES if path.stem.startswith("vsid")]
    assert any("server_checks.py" in place for place in missed(lines_run(few)))
