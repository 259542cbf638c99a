"""What the launcher needs to know of a way to run a guest, and what every such way has in common."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from testbed.vm.confine import KEPT


@dataclass(frozen=True)
class Channels:
    """File descriptors for a guest: where its command's input (None: none), output and error output are."""

    stdin: int | None
    out: int
    err: int


class Engine(Protocol):
    """A way to run a guest."""

    name: str

    def missing(self) -> str:
        """Why it cannot be used on this machine, with the remedy; empty if it can."""

    def prepare(self) -> None:
        """Gets what it needs once and can get by itself. Raises MissingError if it cannot."""

    def command(self, job: Path, channels: Channels, memory: int, nics: Sequence[str] = ()) -> list[str]:
        """The command that runs a guest with `memory` MiB for the job in a folder; the kernel's log is its output.

        `nics` are network interfaces of its own, in the engine's words.
        """


def in_a_cell(job: Path, command: Sequence[str], devices: Sequence[Path] = (), privileges: str = KEPT) -> list[str]:
    """A command as it is run in a cell: all that it can write is the folder of a job. Devices are the host's own."""
    namespaces = ["--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "--propagation", "private"]
    confined = [sys.executable, "-m", "testbed.vm.confine", privileges, str(job), *map(str, devices), "--"]
    return ["unshare", *namespaces, *confined, *command]


def parameters(engine: str, job: Path, modules: Path, out: str, err: str) -> list[str]:
    """The kernel's command line, as far as `guest/root.sh` and any kernel need it."""
    named = {"ENGINE": engine, "JOB": job, "MODULES": modules, "OUT": out, "ERR": err}
    return ["quiet", "panic=-1", *(f"{name}={value}" for name, value in named.items())]
