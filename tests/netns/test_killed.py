"""However a run ends, nothing of it stays: at once if it can still act, after `clean` if it was killed.

Everything is told by the run's id and by processes that were seen to be its own, so that runs beside it do not matter.
"""

from __future__ import annotations

import json
import os
import re
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

import pytest
from mininet.net import Mininet

from experiments import isolation, mtu
from experiments.base import Context
from nvgre_node import namespace, run
from nvgre_node.dataplane.ebpf import EbpfDataPlane
from nvgre_node.namespace import NAMED
from nvgre_node.net import NvgreNet
from nvgre_node.node import ProviderHost
from nvgre_node.run import ROOT, Run
from nvgre_node.waiting import wait_until
from topologies import load

CHECKOUT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "testbed"]


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


class Owner:
    """`./nvgre ARGUMENTS` in a process of its own, on a terminal, so that one sees how far it is."""

    def __init__(self, out: Path, *arguments: str) -> None:
        self._terminal, theirs = os.openpty()
        os.set_blocking(self._terminal, False)
        self._seen = ""
        command = [*COMMAND, "run", *arguments, "--out", str(out)]
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
        found = set()
        with suppress(OSError):  # it has just opened or closed something
            for descriptor in Path(f"/proc/{self.process.pid}/fd").iterdir():
                path = Path(descriptor.readlink())
                if path.name == "lock" and path.parent.parent == ROOT:
                    found.add(path.parent.name)
        return found

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


# A neighbour whose network must not notice anything.


class Neighbour:
    """A network of this process in which one VM keeps pinging another."""

    def __init__(self, net: NvgreNet, log: Path) -> None:
        self.net, self._log = net, log

    def replies(self) -> list[int]:
        """The sequence numbers that were answered, in their order."""
        return [int(number) for number in re.findall(r"icmp_seq=(\d+) ttl", self._log.read_text())]

    def is_undisturbed(self) -> bool:
        """Whether pings go on being answered, and none was lost."""
        before = len(self.replies())
        wait_until(lambda: len(self.replies()) > before + 1, "more replies")
        return self.replies() == list(range(1, len(self.replies()) + 1))


@pytest.fixture(scope="module")
def neighbour(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Neighbour]:
    log = tmp_path_factory.mktemp("neighbour") / "ping"
    with NvgreNet(load("two_hosts")) as net, log.open("w") as out:
        ping = net["blue1"].start_process(["ping", "-n", "-i", "0.05", "10.0.0.2"], stdout=out)
        try:
            yield Neighbour(net, log)
        finally:
            ping.kill()
            ping.communicate()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Owner]]:
    """Starts `./nvgre run ...`; whatever comes of it, it and its runs are gone when the test ends."""
    with ExitStack() as stack:

        def started(*arguments: str) -> Owner:
            owner = Owner(tmp_path / "results", *arguments)
            stack.callback(run.clean)
            stack.callback(owner.close)
            return owner

        yield started


# The moments.


def has_a_folder(owner: Owner) -> object:
    """its folder to appear"""
    return owner.runs()


def has_some_namespaces(owner: Owner) -> object:
    """its third namespace to appear"""
    return any(len(names_of(run_id)) >= 3 for run_id in owner.runs())


def has_one_data_plane(owner: Owner) -> object:
    """its first pinned maps to appear"""
    return any(list((ROOT / run_id / "bpf").glob("*/*")) for run_id in owner.runs())


def sends_probes(owner: Owner) -> object:
    """its first probe"""
    return " -> " in owner.seen


def is_in_its_second_network(owner: Owner) -> object:
    """its sweep on the second underlay"""
    return "underlay MTU 1542" in owner.seen and any(len(names_of(run_id)) >= 3 for run_id in owner.runs())


ISOLATION = ("isolation", "--scenario", "two_hosts")
MTU = ("mtu", "--quick", "--scenario", "two_hosts")
MOMENTS = [
    pytest.param(ISOLATION, has_a_folder, id="its folder has appeared"),
    pytest.param(ISOLATION, has_some_namespaces, id="some namespaces exist"),
    pytest.param(ISOLATION, has_one_data_plane, id="the first maps are pinned"),
    pytest.param(ISOLATION, sends_probes, id="a probe is under way"),
    pytest.param(MTU, is_in_its_second_network, id="the second network of mtu is there"),
]
ENDINGS = [
    pytest.param(signal.SIGINT, 130, has_a_folder, id="interrupted when its folder has appeared"),
    pytest.param(signal.SIGINT, 130, has_some_namespaces, id="interrupted when some namespaces exist"),
    pytest.param(signal.SIGINT, 130, has_one_data_plane, id="interrupted when the first maps are pinned"),
    pytest.param(signal.SIGINT, 130, sends_probes, id="interrupted when a probe is under way"),
    pytest.param(signal.SIGTERM, 143, has_a_folder, id="terminated when its folder has appeared"),
    pytest.param(signal.SIGTERM, 143, has_one_data_plane, id="terminated when the first maps are pinned"),
    pytest.param(signal.SIGTERM, 143, sends_probes, id="terminated when a probe is under way"),
    pytest.param(signal.SIGHUP, 129, has_some_namespaces, id="hung up when some namespaces exist"),
]


@pytest.mark.parametrize(("arguments", "moment"), MOMENTS)
def test_clean_removes_a_killed_run_and_nothing_else(
    arguments: tuple[str, ...], moment: Callable[[Owner], object], start: Callable[..., Owner], neighbour: Neighbour
) -> None:
    owner = start(*arguments)
    owner.until(moment)
    with belongings(owner) as had:
        if moment is sends_probes:
            assert had.is_complete()
        owner.process.kill()
        owner.process.wait()
        dead = dead_runs()
        assert had.run_id in dead
        assert neighbour.net.own.id not in dead
        done = subprocess.run([*COMMAND, "clean", "--json"], cwd=CHECKOUT, capture_output=True, text=True, check=True)
        said = json.loads(done.stdout)
        assert set(said["removed"]) == dead
        assert neighbour.net.own.id in said["alive"]
        assert left_of(had.run_id) == []
        wait_until(lambda: not had.processes_left(), "its processes to end")
        wait_until(lambda: not had.bpf_left(), "the kernel to free its programs and maps")
    assert neighbour.is_undisturbed()


def test_a_living_run_is_not_cleaned_away(neighbour: Neighbour) -> None:
    names = names_of(neighbour.net.own.id)
    assert neighbour.net.own.id not in run.clean()
    assert names_of(neighbour.net.own.id) == names != []
    assert neighbour.is_undisturbed()


@pytest.mark.parametrize(("number", "status", "moment"), ENDINGS)
def test_a_run_that_is_told_to_end_leaves_nothing(
    number: signal.Signals,
    status: int,
    moment: Callable[[Owner], object],
    start: Callable[..., Owner],
    tmp_path: Path,
) -> None:
    owner = start(*ISOLATION)
    owner.until(moment)
    with belongings(owner) as had:
        owner.process.send_signal(number)
        owner.process.send_signal(signal.SIGCONT)
        wait_until(lambda: owner.process.poll() is not None, "it to end", timeout=30)
        assert left_of(had.run_id) == []
        assert had.processes_left() == []
        wait_until(lambda: not had.bpf_left(), "the kernel to free its programs and maps")
    assert owner.process.returncode == status, owner.seen
    assert list((tmp_path / "results").iterdir()) == []


def test_ctrl_c_on_the_terminal_which_reaches_every_process_leaves_nothing(start: Callable[..., Owner]) -> None:
    owner = start(*ISOLATION)
    owner.until(sends_probes)
    with belongings(owner) as had:
        os.killpg(owner.process.pid, signal.SIGINT)
        owner.process.send_signal(signal.SIGCONT)
        wait_until(lambda: owner.process.poll() is not None, "it to end", timeout=30)
        assert left_of(had.run_id) == []
        assert had.processes_left() == []
    assert owner.process.returncode == 130, owner.seen
    assert "everything that was built is removed" in owner.seen


# An exception in the middle, in this process.

MISHAPS = {
    "the network begins to be built": (Mininet, "start", 1, isolation.run),
    "the nodes are made": (NvgreNet, "addHost", 3, isolation.run),
    "the links are made": (Mininet, "addLink", 2, isolation.run),
    "a data plane is attached": (EbpfDataPlane, "attach", 2, isolation.run),
    "the network gets ready": (ProviderHost, "is_ready", 1, isolation.run),
    "counters are read": (NvgreNet, "counters", 1, isolation.run),
    "a probe is sent": (isolation.Session, "send", 5, isolation.run),
    "a packet is shot": (mtu.Range, "shoot", 3, mtu.run),
    "the network is stopped": (Mininet, "stop", 1, isolation.run),
}


class MishapError(BaseException):
    """What goes wrong in these tests: no Exception, just as Ctrl-C is none."""


@pytest.mark.parametrize(("where", "name", "time", "experiment"), MISHAPS.values(), ids=MISHAPS)
def test_an_experiment_that_fails_while(
    where: type,
    name: str,
    time: int,
    experiment: Callable[[Context], object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """... leaves nothing."""
    probes = isolation.probes
    monkeypatch.setattr(isolation, "probes", lambda *arguments: probes(*arguments)[:6])
    made = noted(monkeypatch)
    fails(monkeypatch, where, name, time)
    with pytest.raises(MishapError):
        experiment(Context(load("two_hosts"), "ebpf", lambda *_: None, quick=True))
    assert made
    left = [thing for one in made for thing in left_of(one)]
    run.clean()
    assert left == []


def noted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the runs that are made from now on."""
    made: list[str] = []
    create = Run.create

    def creates() -> Run:
        one = create()
        made.append(one.id)
        return one

    monkeypatch.setattr(Run, "create", staticmethod(creates))
    return made


def fails(monkeypatch: pytest.MonkeyPatch, where: type, name: str, time: int) -> None:
    """Has the `time`th call of a method go wrong."""
    works, calls = getattr(where, name), []

    def method(*arguments: Any, **options: Any) -> Any:
        calls.append(name)
        if len(calls) == time:
            raise MishapError
        return works(*arguments, **options)

    monkeypatch.setattr(where, name, method)


# Interrupted at the worst moment: inside the namespace of a node, whose inhabitants are about to be ended.

INSIDE = """
from pyroute2 import netns
from nvgre_node.net import NvgreNet
from topologies import load

works, calls = netns.setns, []

def strikes(*arguments):
    calls.append(arguments)
    if len(calls) == {turn} == 1:
        works(*arguments)
    if len(calls) == {turn}:
        netns.setns = works
        raise SystemExit(42)
    works(*arguments)

with NvgreNet(load("two_hosts")) as net:
    print(net.own.id, flush=True)
    netns.setns = strikes
    with net["red1"].inside():
        pass
"""


@pytest.mark.parametrize("turn", [1, 2], ids=["just inside", "just before it leaves"])
def test_a_process_that_is_interrupted_inside_a_namespace_does_not_end_itself(turn: int) -> None:
    code = INSIDE.format(turn=turn)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=60
    )
    left = left_of(done.stdout.strip())
    run.clean()
    assert done.returncode == 42, done.stderr
    assert left == []
