"""Joins a guest's command to this process's standard streams: by pipes, or by a terminal of its own."""

from __future__ import annotations

import fcntl
import os
import signal
import termios
import tty
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from io import FileIO

from testbed.vm.machine import Sink, Streams

_SIZE = 8
"""Bytes of the kernel's `struct winsize`."""


@contextmanager
def pipes(out: Sink | None = None, err: Sink | None = None) -> Iterator[Streams]:
    """Its output and its error output, apart, go where they are told to, or where ours go; it has no input."""
    with ExitStack() as stack:
        (our_out, out_end), (our_err, err_end) = (
            [stack.enter_context(FileIO(end, mode)) for end, mode in zip(os.pipe(), "rw", strict=True)]
            for _ in range(2)
        )
        sinks = {our_out.fileno(): out or partial(write, 1), our_err.fileno(): err or partial(write, 2)}
        yield Streams(out_end, err_end, None, sinks)


@contextmanager
def terminal(keys: int = 0) -> Iterator[Streams]:
    """It gets a terminal of its own, as large as ours, and every key that is pressed on ours."""
    with ExitStack() as stack:
        ours, theirs = (stack.enter_context(FileIO(end, "r+")) for end in os.openpty())
        typed_into = stack.enter_context(FileIO(os.dup(theirs.fileno()), "r"))
        nowhere = stack.enter_context(FileIO(os.devnull, "w"))
        stack.enter_context(_same_size(keys, ours.fileno()))
        stack.enter_context(_raw(keys))
        yield Streams(theirs, nowhere, typed_into, {ours.fileno(): partial(write, 1)}, typed=keys)


def write(descriptor: int, chunk: bytes) -> None:
    """Writes all of it."""
    while chunk:
        chunk = chunk[os.write(descriptor, chunk) :]


@contextmanager
def _raw(descriptor: int) -> Iterator[None]:
    """A terminal hands on every key as it is; one that is none stays as it is."""
    if not os.isatty(descriptor):
        yield
        return
    before = termios.tcgetattr(descriptor)
    tty.setraw(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSAFLUSH, before)


@contextmanager
def _same_size(descriptor: int, other: int) -> Iterator[None]:
    """Another terminal has the size of this one, from now on."""

    def copy(*_: object) -> None:
        if os.isatty(descriptor):
            size = fcntl.ioctl(descriptor, termios.TIOCGWINSZ, bytes(_SIZE))
            fcntl.ioctl(other, termios.TIOCSWINSZ, size)

    copy()
    before = signal.signal(signal.SIGWINCH, copy)
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)
