"""What one run owns: its id, folder, namespaces and BPF pins; and removing what dead runs left.

The owner holds a lock on its folder for as long as it lives, so liveness needs no guess about process ids. Everything
that a run makes is found by its id: never by a name pattern that somebody else's things could match.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO

from nvgre_node import namespace
from nvgre_node.errors import MissingError
from nvgre_node.waiting import uninterrupted, wait_until

ROOT = Path("/run/nvgre")
DATAPLANES = "dataplanes"
"""The folder of a run in which each provider host is a file, which holds the name of its data plane."""


class Run:
    """One owner's belongings. Use `Run.create()`; `close()` removes everything, and may be called twice."""

    def __init__(self, run_id: str, lock: IO[str]) -> None:
        self.id = run_id
        self._lock = lock

    @classmethod
    def create(cls) -> Run:
        """A new run, owned by this process.

        Raises:
            MissingError: not root.
        """
        if os.geteuid() != 0:
            raise MissingError("building a network needs root: use sudo")
        run_id = f"nvgre-{secrets.token_hex(3)}"
        with _registry():
            (ROOT / run_id).mkdir(mode=0o700)
            lock = (ROOT / run_id / "lock").open("w")
            fcntl.flock(lock, fcntl.LOCK_EX)
        return cls(run_id, lock)

    @property
    def directory(self) -> Path:
        """The run's own folder; gone when the run is closed."""
        return ROOT / self.id

    def namespace(self, node: str) -> Path:
        """Where `ip netns` shows the namespace of one of the run's nodes."""
        return namespace.NAMED / f"{self.id}-{node}"

    def adopt(self, node: str, pid: int) -> None:
        """Records that the namespace of a process belongs to this run, under a node's name.

        Raises:
            ValueError: it is the machine's own namespace, which no run may own: its end would be the machine's.
        """
        if namespace.is_home(Path(f"/proc/{pid}/ns/net")):
            raise ValueError(f"{node} has no network namespace of its own")
        namespace.add_name(self.namespace(node).name, pid)

    def release(self, node: str) -> None:
        """Ends what still runs in a node's namespace and gives up its name."""
        _remove_namespace(self.namespace(node))

    def bpf_directory(self) -> Path:
        """The run's own BPF file system, mounted on first use: pins cannot outlive it."""
        directory = self.directory / "bpf"
        if not directory.is_mount():
            directory.mkdir(mode=0o700, exist_ok=True)
            subprocess.run(["mount", "-t", "bpf", "bpf", directory], check=True, capture_output=True)
        return directory

    def close(self) -> None:
        """Removes everything that the run owns."""
        with uninterrupted():
            if not self._lock.closed:
                namespace.go_home()
                _remove(self.id)
                self._lock.close()


@cache
def process_run() -> Run:
    """The run of this process, for nodes that are given none (Mininet's own `mn`); closed when the process ends."""
    run = Run.create()
    atexit.register(run.close)
    return run


def clean() -> list[str]:
    """Removes what runs left whose owner is dead, and returns their ids. Runs that are alive are not touched."""
    if not ROOT.is_dir():
        return []
    with _registry():
        dead = [run_id for run_id in _known() if not _is_alive(run_id)]
        for run_id in dead:
            _remove(run_id)
    return dead


def alive() -> list[str]:
    """The ids of the runs whose owner lives."""
    return [run_id for run_id in _known() if _is_alive(run_id)] if ROOT.is_dir() else []


@contextmanager
def _registry() -> Iterator[None]:
    """Keeps a half-made run from looking like a dead one."""
    ROOT.mkdir(mode=0o755, exist_ok=True)
    with (ROOT / "registry.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _known() -> list[str]:
    return sorted(entry.name for entry in ROOT.iterdir() if entry.is_dir())


def _is_alive(run_id: str) -> bool:
    try:
        with (ROOT / run_id / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: others may be asking at this moment
    except BlockingIOError:
        return True
    except OSError:  # no lock file: its owner died before it had one
        return False
    return False


def _remove(run_id: str) -> None:
    for path in sorted(namespace.NAMED.glob(f"{run_id}-*")):
        _remove_namespace(path)
    bpf = ROOT / run_id / "bpf"
    if bpf.is_mount():
        # Copies of the mount may live on in other mount namespaces for a while; emptied, they hold nothing.
        for host in bpf.iterdir():
            shutil.rmtree(host, ignore_errors=True)
        subprocess.run(["umount", bpf], check=True, capture_output=True)
    shutil.rmtree(ROOT / run_id, ignore_errors=True)


def _remove_namespace(path: Path) -> None:
    with suppress(FileNotFoundError):
        namespace.end_inhabitants(path)
        wait_until(lambda: not namespace.inhabitants(path), f"the processes in {path.name} to end")
    namespace.remove_name(path.name)
