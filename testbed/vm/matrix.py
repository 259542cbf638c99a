"""The data planes on this kernel and in guests with others: who loads, carries, isolates, and keeps to the MTU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nvgre_node.dataplane import DATAPLANES
from nvgre_node.errors import MissingError
from testbed.vm import machine, streams
from testbed.vm.engine import Engine
from testbed.vm.job import Job
from testbed.vm.machine import LimitError
from testbed.vm.qemu import Qemu
from testbed.vm.uml import UserModeLinux
from testbed.vm.verdict import Found, Verdict

THIS, UML = "this", "uml"
KERNELS = (THIS, UML, "6.1", "6.12")
"""Those that are tried unless others are named; what is neither of the first two is QEMU's."""
LIMIT = 900.0
"""Seconds for a kernel: an emulated machine that has its processor for itself takes a tenth."""
_PROJECT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Column:
    """A kernel: how it was asked for, what it said of itself, and each data plane on it."""

    kernel: str
    release: str
    about: dict[str, Any] = field(default_factory=dict)
    cells: dict[str, Verdict] = field(default_factory=dict)

    @property
    def heading(self) -> str:
        """How a table calls it."""
        where = {THIS: "this kernel", UML: "User-Mode Linux"}.get(self.kernel, "QEMU")
        return f"{where} {self.release}".strip()


def command(dataplanes: Sequence[str]) -> list[str]:
    """What is run on a kernel."""
    return [sys.executable, "-m", "testbed.vm.trial", *dataplanes]


def column(kernel: str, limit: float = LIMIT, dataplanes: Sequence[str] = tuple(DATAPLANES)) -> Column:
    """Tries the data planes on a kernel.

    Raises:
        BadInputError: there can be no such kernel.
    """
    if kernel == THIS:
        return _here(command(dataplanes), limit, dataplanes)
    engine: Engine = UserModeLinux() if kernel == UML else Qemu(kernel)
    try:
        if reason := engine.missing():
            raise MissingError(reason)
        engine.prepare()
    except MissingError as error:
        return read(kernel, b"", dataplanes, Verdict(Found.UNTRIED, str(error)))
    return _in_a_guest(kernel, engine, command(dataplanes), limit, dataplanes)


def _here(words: list[str], limit: float, dataplanes: Sequence[str]) -> Column:
    with subprocess.Popen(words, cwd=_PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            out, err = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            process.terminate()  # and it removes its network
            out, err = process.communicate()
            return read(THIS, out, dataplanes, Verdict(Found.FAIL, f"not done after {limit:g} s"))
        except BaseException:
            process.terminate()
            process.communicate()
            raise
    return read(THIS, out, dataplanes, Verdict(Found.FAIL, _last_line(err)))


def _in_a_guest(kernel: str, engine: Engine, words: list[str], limit: float, dataplanes: Sequence[str]) -> Column:
    out, err = bytearray(), bytearray()
    try:
        with streams.pipes(out.extend, err.extend) as joined:
            machine.run(Job(words, _PROJECT), engine, joined, limit)
        rest = _last_line(bytes(err))
    except LimitError:
        rest = f"not done after {limit:g} s"
    except MissingError as error:  # it died
        rest = str(error)
    return read(kernel, bytes(out), dataplanes, Verdict(Found.FAIL, rest))


def _last_line(text: bytes) -> str:
    lines = text.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def read(kernel: str, said: bytes, dataplanes: Sequence[str], otherwise: Verdict) -> Column:
    """What a trial said; of data planes of which it said nothing, there is something else to say."""
    whole = [line for line in said.splitlines(keepends=True) if line.endswith(b"\n")]  # the last one may have been cut
    entries = [json.loads(line) for line in whole]
    about: dict[str, Any] = next((entry for entry in entries if "release" in entry), {})
    verdicts = [entry for entry in entries if "dataplane" in entry]
    told = {entry["dataplane"]: Verdict(Found(entry["found"]), entry["reason"]) for entry in verdicts}
    release = str(about.get("release", "" if kernel in (THIS, UML) else kernel))
    return Column(kernel, release, about, {name: told.get(name, otherwise) for name in dataplanes})


def columns(kernels: Sequence[str], limit: float, tell: Callable[[str], object]) -> list[Column]:
    """Each kernel in turn; `tell` is told which one it is. Raises MissingError if not root."""
    if os.geteuid() != 0:
        raise MissingError("networks and guests need root: use sudo")
    found = []
    for kernel in kernels:
        tell(kernel)
        found.append(column(kernel, limit))
    return found


def status(found: Sequence[Column]) -> int:
    """The exit status: 1 if something failed, 3 if something could not be tried, else 0."""
    verdicts = {cell.found for column in found for cell in column.cells.values()}
    return 1 if Found.FAIL in verdicts else 3 if Found.UNTRIED in verdicts else 0
