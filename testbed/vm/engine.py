"""What the launcher needs to know of a way to run a guest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


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

    def command(self, job: Path, channels: Channels, memory: int, nics: Sequence[str] = ()) -> list[str]:
        """The command that runs a guest with `memory` MiB for the job in a folder; the kernel's log is its output.

        `nics` are network interfaces of its own, in the engine's words.
        """
