"""The Vagrantfile, as far as it can be held against the tree without Vagrant: what it sends, and what it calls."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from testbed.cli import VERBS

from .command_line import ROOT

VAGRANTFILE = (ROOT / "Vagrantfile").read_text()
RSYNC_AS_VAGRANT = ("rsync", "--archive", "--delete", "--copy-links")


def own() -> list[str]:
    """The patterns of what a machine keeps to itself."""
    found = re.search(r"^OWN = %w\[(.*?)\]", VAGRANTFILE, re.DOTALL | re.MULTILINE)
    assert found
    return found[1].split()


def send(source: Path, target: Path, patterns: list[str]) -> None:
    """What `vagrant up` and `vagrant rsync` do with the folder."""
    excludes = [word for pattern in patterns for word in ("--exclude", pattern)]
    subprocess.run([*RSYNC_AS_VAGRANT, *excludes, f"{source}/", f"{target}"], check=True)


def test_what_git_ignores_stays_where_it_was_made() -> None:
    ignored = (ROOT / ".gitignore").read_text().split()
    made = {line.rstrip("/") for line in ignored if not line.startswith(("/results/", "!"))}
    made -= {"/.vagrant"}  # Vagrant itself leaves that out
    assert set(own()) == {*made, "/results/2*"}  # runs are named by their time; README.md and reference/ are sent


@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed; vagrant needs it, nothing else does")
def test_a_copy_brings_the_sources_and_leaves_the_machines_own_things_alone(tmp_path: Path) -> None:
    host, machine = tmp_path / "host", tmp_path / "machine"
    for path in ("nvgre", "results/README.md", "results/reference/report.html", ".venv/ready", "testbed/build.py"):
        write(host / path, "host's")
    for path in (".venv/ready", "build/setup.log", "results/20261125T120000Z-isolation/report.html", "gone.py"):
        write(machine / path, "machine's")
    send(host, machine, own())
    assert {str(path.relative_to(machine)) for path in machine.rglob("*") if path.is_file()} == {
        "nvgre",
        "results/README.md",
        "results/reference/report.html",
        "testbed/build.py",
        ".venv/ready",
        "build/setup.log",
        "results/20261125T120000Z-isolation/report.html",
    }
    assert (machine / ".venv/ready").read_text() == "machine's"
    send(host, machine, [])
    assert not (machine / "build").exists()  # so it is the patterns that keep them


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_it_is_set_up_by_the_one_command() -> None:
    found = re.findall(r'config\.vm\.provision "shell", inline: "(.*)"', VAGRANTFILE)
    assert len(found) == 1
    program, verb = shlex.split(found[0])
    assert program == "/vagrant/nvgre"
    assert verb in VERBS


def test_each_provider_gets_the_same_memory_and_processors() -> None:
    blocks = re.findall(r'config\.vm\.provider "(\w+)" do (.*?)\n  end', VAGRANTFILE, re.DOTALL)
    assert [name for name, _ in blocks] == ["virtualbox", "libvirt"]
    for _, block in blocks:
        assert "machine.memory = MEMORY" in block
        assert "machine.cpus = CPUS" in block
