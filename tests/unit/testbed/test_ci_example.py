"""The example of a CI workflow: it is YAML, and everything that it has the command line do exists."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click
import pytest
from ruamel.yaml import YAML

from testbed.cli import cli
from testbed.verbs import vm

from .command_line import ROOT

EXAMPLE = YAML(typ="safe").load((ROOT / "docs/ci-example.yml").read_text())
(JOB,) = EXAMPLE["jobs"].values()
STEPS: list[dict[str, Any]] = JOB["steps"]
NVGRE = "nvgre/nvgre"
CALLS = [shlex.split(step["run"]) for step in STEPS if step.get("run", "").startswith(NVGRE)]


def parse(words: list[str]) -> tuple[str, ...]:
    """The verbs that a call ends in, and what it has a guest run; click refuses what does not exist."""
    command: click.Command = cli
    context, rest, verbs = click.Context(cli, info_name=NVGRE, **cli.context_settings), words[1:], tuple[str, ...]()
    while isinstance(command, click.Group):
        name, found, rest = command.resolve_command(context, rest)
        assert name
        assert found
        verbs, command = (*verbs, name), found
        context = command.make_context(name, list(rest), parent=context)
    inner = context.params.get("words", ())
    return verbs if not inner or inner[0] != NVGRE else (*verbs, *parse(list(inner)))


def test_it_checks_networks_tests_them_and_runs_an_experiment_in_a_guest() -> None:
    assert [parse(call) for call in CALLS] == [("check",), ("vm", "test"), ("vm", "run", "run")]


@pytest.mark.parametrize("words", ["fly", "vm fly", "check", "vm run -- nvgre/nvgre run isolaton", "check --quick x"])
def test_what_does_not_exist_would_be_noticed(words: str) -> None:
    with pytest.raises(click.ClickException):
        parse([NVGRE, *shlex.split(words)])


def test_it_has_what_a_guest_needs_and_keeps_what_runs_write() -> None:
    assert JOB["container"]["image"] == "debian:12"
    assert "--cap-add SYS_ADMIN" in JOB["container"]["options"]
    checkout = next(step for step in STEPS if step.get("with", {}).get("repository"))
    kept = STEPS[-1]["with"]["path"]
    assert checkout["with"]["path"] == Path(NVGRE).parent.name
    assert kept == f"{checkout['with']['path']}/results/2*"


@pytest.mark.parametrize(
    ("arguments", "in_own_folder", "added"),
    [
        (("tests", "-q"), True, ()),
        (("tests/test_shop.py::test_one",), True, ()),
        (("tests/unit/test_quality.py",), False, ()),
        (("-k", "trunk"), False, ("tests/vm",)),
        (("-k", ""), False, ("tests/vm",)),
    ],
)
def test_tests_are_those_of_the_folder_that_one_is_in(
    arguments: tuple[str, ...],
    in_own_folder: bool,
    added: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/test_shop.py").touch()
    monkeypatch.chdir(tmp_path)
    assert vm.where_tests_are(arguments) == (tmp_path if in_own_folder else ROOT, added)
