"""What belongs to a run, told by its id and by processes that were seen to be its own."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nvgre_node import namespace, run
from nvgre_node.namespace import NAMED
from nvgre_node.run import ROOT
from nvgre_node.waiting import wait_until

CHECKOUT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "testbed"]
HEEDS_CTRL_C = ["env", "--default-signal=INT"]  # also where the tests are a shell's background job, which ignores it


# What belongs to a run.


def names_of(run_id: str) -> list[Path]:
    """Its namespaces, as `ip netns` shows them."""
    return sorted(NAMED.glob(f"{run_id}-*"))


def mounts_of(run_id: str) -> list[str]:
    """What is mounted under its folder."""
    return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f"{ROOT / run_id}/" in line]


def left_of(run_id: str) -> list[str]:
    """Everything that still bears the run's id."""
    folder = [str(ROOT / run_id)] if (ROOT / run_id).exists() else []
    return [*map(str, names_of(run_id)), *mounts_of(run_id), *folder]


def dead_runs() -> set[str]:
    """The runs whose owner is dead, as of now."""
    return {path.name for path in ROOT.iterdir() if path.is_dir()} - set(run.alive())


def runs_of(pid: int) -> set[str]:
    """The runs whose lock a process holds open."""
    found = set()
    with suppress(OSError):  # it has just opened or closed something
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            path = Path(descriptor.readlink())
            if path.name == "lock" and path.parent.parent == ROOT:
                found.add(path.parent.name)
    return found


class Owner:
    """`./nvgre ARGUMENTS` in a process of its own, on a terminal, so that one sees how far it is."""

    def __init__(self, out: Path, *arguments: str) -> None:
        self._terminal, theirs = os.openpty()
        os.set_blocking(self._terminal, False)
        self._seen = ""
        command = [*HEEDS_CTRL_C, *COMMAND, "run", *arguments, "--out", str(out)]
        environment = {**os.environ, "COLUMNS": "160", "TERM": "xterm"}
        self.process = subprocess.Popen(
            command, cwd=CHECKOUT, env=environment, stdout=subprocess.DEVNULL, stderr=theirs, start_new_session=True
        )
        os.close(theirs)

    @property
    def seen(self) -> str:
        """What it has written to its terminal."""
        with suppress(OSError):  # nothing new, or its end is closed
            while chunk := os.read(self._terminal, 1 << 16):
                self._seen += chunk.decode(errors="replace")
        return self._seen

    def runs(self) -> set[str]:
        """The runs whose lock it holds open."""
        return runs_of(self.process.pid)

    @property
    def run_id(self) -> str:
        """The id of its only run."""
        [run_id] = self.runs()
        return run_id

    def until(self, moment: Callable[[Owner], object]) -> None:
        """Lets it get this far."""

        def reached() -> bool:
            assert self.process.poll() is None, f"it has ended: {self.seen}"
            return bool(moment(self))

        wait_until(reached, moment.__doc__ or "the moment", timeout=60, interval=0.001)

    def close(self) -> None:
        """Kills it if it still lives, and has removed what it left."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._terminal)


@dataclass
class Belongings:
    """What a stopped run has in the kernel: its processes, as handles that no later process can take over, and BPF."""

    run_id: str
    processes: dict[int, int]  # handle to pid
    bpf: dict[str, set[int]]  # ids, by kind

    def processes_left(self) -> list[int]:
        """Those of its processes that have not ended."""
        poll = select.poll()
        for handle in self.processes:
            poll.register(handle, select.POLLIN)
        ended = {handle for handle, _ in poll.poll(0)}
        return [pid for handle, pid in self.processes.items() if handle not in ended]

    def is_complete(self) -> bool:
        """Whether it has all that two hosts and their VMs make, else one would look for nothing afterwards."""
        programs = len(self.bpf["prog"]) if self.bpf else 4  # without bpftool, nobody can say
        return len(self.processes) >= len(names_of(self.run_id)) >= 7 and programs == 4

    def bpf_left(self) -> dict[str, set[int]]:
        """Those of its programs and maps that still exist."""
        return {
            kind: left for kind, ids in self.bpf.items() if (left := ids & {entry["id"] for entry in bpftool(kind)})
        }


@contextmanager
def belongings(owner: Owner) -> Iterator[Belongings]:
    """Stops a run's owner in its tracks and takes stock; it stays stopped."""
    owner.process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, owner.process.pid, os.WSTOPPED | os.WNOWAIT)
    run_id = owner.run_id
    pids = {*descendants(owner.process.pid), *(pid for path in names_of(run_id) for pid in namespace.inhabitants(path))}
    with ExitStack() as stack:
        handles = {}
        for pid in pids - {owner.process.pid}:
            with suppress(ProcessLookupError):
                handle = os.pidfd_open(pid)
                stack.callback(os.close, handle)
                handles[handle] = pid
        bpf = {"map": maps_of(run_id), "prog": programs_of(run_id)} if shutil.which("bpftool") else {}
        yield Belongings(run_id, handles, bpf)


def descendants(pid: int) -> set[int]:
    """The children of a process, and theirs."""
    children = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        children |= {int(child) for child in (task / "children").read_text().split()}
    return children.union(*map(descendants, children)) if children else children


def bpftool(*arguments: str) -> Any:
    """What bpftool says, of everything of a kind or of one thing."""
    done = subprocess.run(["bpftool", "-j", *arguments], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def maps_of(run_id: str) -> set[int]:
    """The ids of the maps that it has pinned."""
    pins = (ROOT / run_id / "bpf").glob("*/*")
    return {bpftool("map", "show", "pinned", str(pin))["id"] for pin in pins}


def programs_of(run_id: str) -> set[int]:
    """The ids of the programs that use its maps."""
    maps = maps_of(run_id)
    return {entry["id"] for entry in bpftool("prog") if maps & set(entry.get("map_ids", ()))}
