"""The page about the scenario language: its example is good, and no word of the language is missing from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from topologies import load, schema

from .scenario_cases import DOCUMENTED, EVERYTHING

PARTS = [part for part in vars(schema).values() if isinstance(part, type) and issubclass(part, schema.Part)]


@pytest.fixture
def example(tmp_path: Path) -> Path:
    file = tmp_path / "everything.yaml"
    file.write_text(EVERYTHING)
    return file


def keys(value: Any) -> Iterator[str]:
    """Every key of a mapping, and of all that is in it."""
    for key, part in value.items() if isinstance(value, dict) else ():
        yield str(key)
        yield from keys(part)
    for part in value if isinstance(value, list) else ():
        yield from keys(part)


def test_the_example_is_a_scenario(example: Path) -> None:
    assert load(example).name == "everything"


@pytest.mark.parametrize("text", [text for text in DOCUMENTED if "tenants:" in text])
def test_every_example_is_one(text: str, tmp_path: Path) -> None:
    (tmp_path / "example.yaml").write_text(text)
    assert load(tmp_path / "example.yaml").policy.vms


def test_no_word_of_the_language_is_missing(example: Path) -> None:
    words = {field.alias or name for part in PARTS for name, field in part.model_fields.items()}
    assert words - set(keys(YAML(typ="safe").load(example))) == set()
