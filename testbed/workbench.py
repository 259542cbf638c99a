"""What experiments may use beyond this machine's kernel: guests with a stock one, to run in and to talk to."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from experiments.base import Dialogue
from experiments.interop.ends import ThirdParty
from nvgre_node import kernel
from nvgre_node.dataplane import DATAPLANES, implementation
from testbed.features import missing_for
from testbed.vm import machine, streams
from testbed.vm.dialogue import dialogue
from testbed.vm.job import INSIDE, Job
from testbed.vm.machine import LimitError
from testbed.vm.uml import UserModeLinux

PROJECT = Path(__file__).parents[1]
_LIMIT_SECONDS = 1800.0
_NO_OTHER = "a guest runs no other"


def kernel_features(end: str) -> tuple[str, ...]:
    """What an end needs of the kernel beyond what every network does: names in `kernel.PROBES`."""
    if end in DATAPLANES:
        return tuple(need.name for need in implementation(end).needs if need.name in kernel.PROBES)
    return ("gretap", "ip6gretap") if end == ThirdParty.BY_HAND else ()


class Guests:
    """Guests of User-Mode Linux."""

    def __init__(self) -> None:
        self._engine = UserModeLinux()

    def lacks(self, end: str) -> str:
        """Why it cannot be an end here; empty if it can."""
        if end == ThirdParty.UML:
            return self._no_guest()
        if end in DATAPLANES and (missing := missing_for([end], beside=kernel.PROBES)):
            return missing
        return _said("this kernel has", [name for name in kernel_features(end) if _lacks()[name]])

    def guests_lack(self, end: str) -> str:
        """Why it cannot be an end in a guest either; empty if it can."""
        if end == ThirdParty.UML:
            return _NO_OTHER
        if end in DATAPLANES and (missing := missing_for([end], beside=kernel.PROBES)):
            return missing
        lacking = [name for name in kernel_features(end) if name not in kernel.IN_GUESTS]
        return _said("guests have", lacking) or self._no_guest()

    def _no_guest(self) -> str:
        return _NO_OTHER if INSIDE in os.environ else self._engine.missing()

    def in_guest(self, words: Sequence[str], said: Callable[[str], None]) -> str:
        """Runs a command in a guest and returns what it printed; `said` gets each line of its error output."""
        printed, lines = bytearray(), _Lines(said)
        try:
            with streams.pipes(printed.extend, lines) as joined:
                status = machine.run(Job(words, PROJECT), self._engine, joined, _LIMIT_SECONDS)
        except LimitError as error:
            raise RuntimeError(str(error)) from error
        if status:
            raise RuntimeError(f"in a guest, {' '.join(words[:3])} ended with {status}: {lines.last()}")
        return printed.decode()

    @contextmanager
    def talk(self, words: Sequence[str], place: Path, nic: str) -> Iterator[Dialogue]:
        """Boots a guest in a network namespace, with a NIC of its own there, to talk to a program in it."""
        with dialogue(self._engine, words, PROJECT, place, nic) as found:
            yield found


class _Lines:
    """Hands on line by line what is written to it."""

    def __init__(self, said: Callable[[str], None]) -> None:
        self._said, self._rest, self._lines = said, b"", list[str]()

    def __call__(self, chunk: bytes) -> None:
        """Takes some more."""
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        for line in whole:
            self._lines.append(line.decode(errors="replace"))
            self._said(self._lines[-1])

    def last(self) -> str:
        """The end of it."""
        return "\n".join([*self._lines[-5:], self._rest.decode(errors="replace")]).strip()


def _said(who: str, lacking: Sequence[str]) -> str:
    return f"{who} no {', no '.join(lacking)}" if lacking else ""


@cache
def _lacks() -> dict[str, str]:
    return kernel.lacks()
