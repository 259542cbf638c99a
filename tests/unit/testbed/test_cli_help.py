"""Help is everywhere, costs nothing, and needs nobody's permission."""

import shutil

import pytest

from testbed.cli import VERBS

from .command_line import ROOT, nvgre, nvgre_as_nobody, nvgre_process, python_process

OTHERS = {"test": "--collect-only", "mn": "--topo"}
"""Verbs that hand their arguments on, each with an option that only the other program has."""
OWN = sorted(VERBS.keys() - OTHERS.keys())


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_lists_every_verb_with_what_it_does(flag: str) -> None:
    said = nvgre(flag)
    assert said.status == 0
    listed = {line.split()[0]: " ".join(line.split()[1:]) for line in said.lines if line.startswith("  ")}
    assert {verb: listed.get(verb) for verb in VERBS} == VERBS


def test_every_verb_that_the_help_lists_exists() -> None:
    assert {path.stem.replace("_", "-") for path in (ROOT / "testbed/verbs").glob("[!_]*.py")} == set(VERBS)


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize("verb", OWN)
def test_every_verb_has_help(verb: str, flag: str) -> None:
    said = nvgre(verb, flag)
    assert said.status == 0
    assert said.out.startswith(f"Usage: ./nvgre {verb} ")
    assert "--help" in said.out


@pytest.mark.parametrize(("verb", "option"), OTHERS.items(), ids=OTHERS)
def test_verbs_that_hand_on_their_arguments_show_the_other_programs_help(verb: str, option: str) -> None:
    if verb == "mn" and shutil.which("mn") is None:
        pytest.skip("Mininet's mn is missing")
    said = nvgre_as_nobody(verb, "-h")
    assert said.status == 0, said.err
    assert option in said.out


@pytest.mark.parametrize("verb", ["demo", "run", "check", "list", "explain", "show", "import-hnv", "doctor", "clean"])
def test_every_verb_that_prints_a_result_offers_json(verb: str) -> None:
    assert "--json" in nvgre(verb, "-h").out


def test_what_builds_nothing_imports_nothing_heavy() -> None:
    said = python_process("""
import sys
from contextlib import suppress
from testbed.cli import main

for line in ("-h", "run -h", "check two_hosts", "explain two_hosts red1 red2", "show two_hosts", "doctor", "list"):
    sys.argv = ["nvgre", *line.split()]
    with suppress(SystemExit):
        main()
    print(line, sorted({"matplotlib", "scapy", "mininet"} & sys.modules.keys()), file=sys.stderr)
""")
    assert [line.rpartition("[")[2] for line in said.err.splitlines()] == ["]"] * 7, said.err


def test_the_group_alone_imports_no_verb() -> None:
    said = python_process("import sys, testbed.cli; print([name for name in sys.modules if 'testbed.verbs' in name])")
    assert said.out == "[]\n"


def test_help_is_the_same_in_a_process_of_its_own() -> None:
    said = nvgre_process("-h")
    assert said.status == 0
    assert said.out.startswith("Usage: ./nvgre ")
