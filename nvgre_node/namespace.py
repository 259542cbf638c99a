"""Working inside a network namespace: entering it, its netlink socket, its sysctls, and who lives in it. Needs root."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pyroute2 import IPRoute, netns

NAMED = Path("/run/netns")
"""Where `ip netns` keeps its names."""


@contextmanager
def entered(namespace: Path) -> Iterator[None]:
    """The calling thread works in a network namespace, given as a path, until the block ends."""
    netns.pushns(str(namespace))
    try:
        yield
    finally:
        netns.popns()


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


_OUTSIDE = _identity(Path("/proc/self/ns/net"))
"""The namespace that this process was started in: nobody's node, whatever else happens."""


def is_outside(namespace: Path) -> bool:
    """Whether a path is the namespace that this process was started in, rather than one that was made since."""
    return _identity(namespace) == _OUTSIDE


def inhabitants(namespace: Path) -> list[int]:
    """The processes whose network namespace is the one at this path; none if it is gone, or not one that we made."""
    try:
        wanted = _identity(namespace)
    except OSError:
        return []
    if wanted == _OUTSIDE:
        return []
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _lives(entry, wanted)]


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
