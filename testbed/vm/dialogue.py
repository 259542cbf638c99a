"""Conversations with a program in a guest: a line goes in, a line comes out."""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path

from nvgre_node.errors import MissingError
from testbed.vm import machine
from testbed.vm.engine import Engine
from testbed.vm.job import DIALOGUE, Job
from testbed.vm.machine import MEMORY, Guest, Streams, Tail

_CHUNK = 1 << 16
_BOOT_SECONDS = 60.0
READY = "ready"
"""What the program in the guest says first."""


@dataclass
class Dialogue:
    """A program in a guest that answers each line with one."""

    guest: Guest
    typing: FileIO
    reading: FileIO
    errors: FileIO
    said: bytearray = field(default_factory=bytearray)
    complaints: Tail = field(default_factory=Tail)

    def ask(self, line: str, seconds: float) -> str:
        """The answer to a line.

        Raises:
            MissingError: the guest has ended.
            TimeoutError: there was none within so many seconds.
        """
        os.write(self.typing.fileno(), f"{line}\n".encode())
        return self.hear(seconds)

    def hear(self, seconds: float) -> str:
        """The next line that it says; raises as `ask` does."""
        deadline = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self.reading, selectors.EVENT_READ, self.said.extend)
            selector.register(self.errors, selectors.EVENT_READ, self.complaints)
            for descriptor, sink in self.guest.log.items():
                selector.register(descriptor, selectors.EVENT_READ, sink)
            while b"\n" not in self.said:
                if (left := deadline - time.monotonic()) <= 0:
                    raise TimeoutError(f"the guest said nothing for {seconds:g} s: {self._last_words()}")
                for key, _ in selector.select(left):
                    chunk = os.read(key.fd, _CHUNK)
                    if not chunk and key.fileobj is self.reading:
                        raise MissingError(f"the guest has ended: {self._last_words()}")
                    if not chunk:
                        selector.unregister(key.fileobj)
                    key.data(chunk)
        line, _, rest = bytes(self.said).partition(b"\n")
        self.said[:] = rest
        return line.decode(errors="replace")

    def _last_words(self) -> str:
        return "\n".join(filter(None, (self.complaints.lines(), self.guest.tail.lines()))) or "it left no word"


@contextmanager
def dialogue(engine: Engine, words: Sequence[str], folder: Path, place: Path, nic: str) -> Iterator[Dialogue]:
    """A guest in a network namespace that has a NIC of its own there, and runs a program that says READY first."""
    job = Job(words, folder, mode=DIALOGUE)
    with ExitStack() as stack:
        (reading, out), (errors, err), (stdin, typing) = (
            [stack.enter_context(FileIO(end, mode)) for end, mode in zip(os.pipe(), "rw", strict=True)]
            for _ in range(3)
        )
        streams = Streams(out, err, stdin, {})
        guest = stack.enter_context(machine.started(job, engine, streams, MEMORY, place, [nic]))
        own = Dialogue(guest, typing, reading, errors)
        if (first := own.hear(_BOOT_SECONDS)) != READY:
            raise MissingError(f"a guest said {first!r} instead of {READY!r}")
        yield own
