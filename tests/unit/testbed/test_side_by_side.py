"""When tests run side by side: not for one file, nor where somebody looks at a test."""

from __future__ import annotations

import pytest

from tests.conftest import is_one_file


@pytest.mark.parametrize(
    "arguments", [["tests/unit/test_quality.py"], ["a.py::test_one"], ["a.py::test_one[x.py]", "a.py::test_two"]]
)
def test_tests_of_one_file_need_no_company(arguments: list[str]) -> None:
    assert is_one_file(arguments)


@pytest.mark.parametrize("arguments", [["tests"], ["tests/unit"], ["a.py", "b.py"], ["a.py", "tests"], []])
def test_tests_of_several_files_run_side_by_side(arguments: list[str]) -> None:
    assert not is_one_file(arguments)
