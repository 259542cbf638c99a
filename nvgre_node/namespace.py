"""Working inside a network namespace: entering it, its netlink socket, its sysctls, and who lives in it. Needs root."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from pyroute2 import IPRoute, netns

NAMED = Path("/run/netns")
"""Where `ip netns` keeps its names."""

NUD_VALID = 0xDE
"""Neighbour states in which an entry may be used: permanent, no-ARP, reachable, probe, stale, delay."""

_CURRENT = Path("/proc/thread-self/ns/net")
_HOME = os.open(_CURRENT, os.O_RDONLY | os.O_CLOEXEC)


@contextmanager
def entered(namespace: Path) -> Iterator[None]:
    """The calling thread works in a network namespace, given as a path, until the block ends."""
    with ExitStack() as stack:
        before, wanted = (stack.enter_context(open(path, "rb")) for path in (_CURRENT, namespace))  # noqa: PTH123
        try:
            netns.setns(wanted.fileno())
            yield
        finally:
            netns.setns(before.fileno())


def go_home() -> None:
    """Takes the calling thread back to where the process was started, wherever an interruption has left it."""
    netns.setns(_HOME)


def netlink() -> IPRoute:
    """A route-netlink socket of the current namespace; a context manager."""
    return IPRoute()


def set_sysctl(name: str, value: int) -> None:
    """Sets `net.NAME` of the current namespace; `name` is written with slashes, since interface names hold dots."""
    Path("/proc/sys/net", name).write_text(str(value))


def add_name(name: str, pid: int) -> None:
    """Makes the namespace of a process visible to `ip netns`."""
    netns.attach(name, pid)


def remove_name(name: str) -> None:
    """Takes a name out of `ip netns`; the namespace goes with its last user. No such name: nothing."""
    with suppress(FileNotFoundError):
        netns.remove(name)


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def is_home(namespace: Path) -> bool:
    """Whether a path is the namespace that this process was started in: nobody's node, whatever else happens."""
    found = os.fstat(_HOME)
    return _identity(namespace) == (found.st_dev, found.st_ino)


def inhabitants(namespace: Path) -> list[int]:
    """The other processes in the network namespace at this path; none if it is gone, or not one that was made since."""
    try:
        wanted = _identity(namespace)
        if is_home(namespace):
            return []
    except OSError:
        return []
    others = (entry for entry in Path("/proc").iterdir() if entry.name.isdigit() and int(entry.name) != os.getpid())
    return [int(entry.name) for entry in others if _lives(entry, wanted)]


def _lives(process: Path, namespace: tuple[int, int]) -> bool:
    try:
        return _identity(process / "ns/net") == namespace
    except OSError:  # it has ended meanwhile
        return False


def end_inhabitants(namespace: Path) -> None:
    """Kills every process in a namespace. A pid that changes hands meanwhile is left alone."""
    for pid in inhabitants(namespace):
        with suppress(OSError):
            handle = os.pidfd_open(pid)
            try:
                if _lives(Path(f"/proc/{pid}"), _identity(namespace)):
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
            finally:
                os.close(handle)
