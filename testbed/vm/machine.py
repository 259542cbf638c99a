"""Runs a guest from its boot to its end: as a run of its own, so that nothing of it stays, however it ends."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path

from pyroute2 import netns

from nvgre_node.errors import MissingError
from nvgre_node.namespace import entered
from nvgre_node.privileges import missing_for_a_guest
from nvgre_node.run import Run
from nvgre_node.waiting import uninterrupted
from testbed.vm import job as jobs
from testbed.vm.engine import Channels, Engine
from testbed.vm.job import Job

MEMORY = 1024
"""MiB of a guest unless said otherwise; it takes from the host what it uses."""
_CHUNK = 1 << 16
_LOG = 1 << 14
_NODE = "guest"

Sink = Callable[[bytes], object]
"""Takes what comes out of a guest."""


class LimitError(Exception):
    """The time limit of a guest is over."""


@dataclass
class Tail:
    """The end of what is written to it."""

    text: bytearray = field(default_factory=bytearray)

    def __call__(self, chunk: bytes) -> None:
        """Takes some more."""
        self.text += chunk
        del self.text[:-_LOG]

    def lines(self, count: int = 12) -> str:
        """Its last lines, without those in which a kernel says where in its code it was."""
        lines = self.text.decode(errors="replace").splitlines()
        return "\n".join([line for line in lines if not line.startswith(" [<")][-count:])


@dataclass(frozen=True)
class Streams:
    """How a guest's command is joined to the host: its ends, open, and who takes what comes out of ours."""

    out: FileIO
    err: FileIO
    stdin: FileIO | None
    sinks: Mapping[int, Sink]
    typed: int | None = None
    """What is typed on it goes to the first of `sinks`; it is a terminal then."""

    @property
    def ends(self) -> list[FileIO]:
        """The guest's ends."""
        return [end for end in (self.out, self.err, self.stdin) if end is not None]

    @property
    def channels(self) -> Channels:
        """The guest's ends as descriptors."""
        return Channels(None if self.stdin is None else self.stdin.fileno(), self.out.fileno(), self.err.fileno())


def run(job: Job, engine: Engine, streams: Streams, limit: float | None = None, memory: int = MEMORY) -> int:
    """Boots a guest, has it do a job, and returns the exit status of the job's command.

    Closes the guest's ends of the streams.

    Raises:
        BadInputError: no guest can do this job.
        MissingError: not root, or root without what this needs; in a guest; the engine cannot be used; or the guest
            ended before the command did.
        LimitError: it was not done after `limit` seconds.
    """
    with started(job, engine, streams, memory) as guest:
        pump({**streams.sinks, **guest.log}, streams.typed, limit)
        return result(job, guest.folder, guest.tail)


@dataclass(frozen=True)
class Guest:
    """One that runs: the folder of its job, and the end of its kernel's log, with where to read that."""

    folder: Path
    tail: Tail
    log: Mapping[int, Sink]


@contextmanager
def started(
    job: Job,
    engine: Engine,
    streams: Streams,
    memory: int = MEMORY,
    place: Path | None = None,
    nics: Sequence[str] = (),
) -> Iterator[Guest]:
    """A guest that has begun with a job, ended with the block; raises as `run` does.

    `place` is the network namespace that it is in, one of its own unless told otherwise; `nics` are its interfaces.
    """
    job.check()
    if os.geteuid() != 0:
        raise MissingError("a guest needs root: use sudo")
    if reason := missing_for_a_guest():
        raise MissingError(reason)
    if jobs.INSIDE in os.environ:
        raise MissingError("this is a guest already, and a guest runs no other")
    if reason := engine.missing():
        raise MissingError(reason)
    engine.prepare()
    with uninterrupted():
        own = Run.create()
    try:
        folder, log = own.directory / "job", Tail()
        job.write(folder, engine.name)
        with _process(own, engine.command(folder, streams.channels, memory, nics), streams.ends, place) as process:
            assert process.stdout is not None  # noqa: S101 (for mypy: it is a pipe)
            yield Guest(folder, log, {process.stdout.fileno(): log})
    finally:
        own.close()


@contextmanager
def _process(own: Run, command: list[str], ends: list[FileIO], place: Path | None) -> Iterator[subprocess.Popen[bytes]]:
    """The guest's process, in a session and a network namespace of its own, by which the run finds all of it.

    In somebody else's namespace it is that one's owner who finds it.
    """
    if place is None:
        netns.create(own.namespace(_NODE).name)
    dies_with_us = ["setpriv", "--pdeathsig", "KILL", "--"]
    with entered(place or own.namespace(_NODE)):
        process = subprocess.Popen(
            [*dies_with_us, *command],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[end.fileno() for end in ends],
            start_new_session=True,
        )
    try:
        for end in ends:
            end.close()
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def pump(sinks: Mapping[int, Sink], typed: int | None, limit: float | None) -> None:
    """Hands on what comes out of descriptors until all are at their end; what is typed goes to the first of them.

    Raises:
        LimitError: `limit` seconds are over.
    """
    deadline = None if limit is None else time.monotonic() + limit
    with selectors.DefaultSelector() as selector:
        for descriptor in (*sinks, *([] if typed is None else [typed])):
            selector.register(descriptor, selectors.EVENT_READ)
        while selector.get_map().keys() - {typed}:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise LimitError(f"the time limit of {limit:g} s is over; the guest is ended, and nothing came back")
            for key, _ in selector.select(left):
                chunk = _read(key.fd)
                if not chunk:
                    selector.unregister(key.fd)
                elif key.fd == typed:
                    os.write(next(iter(sinks)), chunk)
                else:
                    sinks[key.fd](chunk)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, _CHUNK)
    except OSError:  # how a terminal says that its other end is closed
        return b""


def result(job: Job, folder: Path, log: Tail) -> int:
    """The status of a job's command; brings back what it wrote. Raises MissingError if the guest did not finish."""
    status = jobs.status(folder)
    if status is None:
        raise MissingError(f"the guest ended before its command did; the end of its kernel's log:\n{log.lines()}")
    jobs.bring_back(job, folder)
    if not jobs.is_complete(folder):
        raise MissingError(f"not everything came back: the guest could not copy it (status of the command: {status})")
    return status
