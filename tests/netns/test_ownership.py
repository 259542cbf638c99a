"""What a run owns is gone when it ends, however it ends, and nobody else's things are ever touched."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nvgre_node import net as net_module
from nvgre_node import run
from nvgre_node.dataplane.planes.ebpf import EbpfDataPlane
from nvgre_node.link import VethLink
from nvgre_node.namespace import NAMED, netlink
from nvgre_node.net import NvgreNet
from nvgre_node.node import NamespacedNode, ProviderHost, TenantVM
from topologies import load

Build = Callable[..., NvgreNet]

CHILD = """
import signal
from nvgre_node.net import NvgreNet
from topologies import load

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs, and what they start, ignore it
with NvgreNet(load("two_hosts")) as net:
    print(net.own.id, flush=True)
    input()
"""


@dataclass(frozen=True)
class Traces:
    """What can be seen of one run."""

    namespaces: frozenset[str]
    folder: bool
    mounts: tuple[str, ...]
    processes: frozenset[int]


NOTHING = Traces(frozenset(), False, (), frozenset())


def traces(run_id: str, inodes: set[int]) -> Traces:
    """What is left of a run whose namespaces had these inodes."""
    named = frozenset(path.name for path in NAMED.glob(f"{run_id}-*")) if NAMED.is_dir() else frozenset()
    mounts = tuple(line for line in Path("/proc/self/mountinfo").read_text().splitlines() if run_id in line)
    return Traces(named, (run.ROOT / run_id).exists(), mounts, inhabitants(inodes))


def inhabitants(inodes: set[int]) -> frozenset[int]:
    """The processes in these network namespaces."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "ns/net").stat().st_ino in inodes:
                found.add(int(process.name))
        except OSError:  # it has ended meanwhile
            continue
    return frozenset(found)


_held: list[int] = []


def namespaces(run_id: str) -> set[int]:
    """The inodes of a run's namespaces, which are held open: no other's gets such a number until the test has ended."""
    opened = [os.open(path, os.O_RDONLY) for path in NAMED.glob(f"{run_id}-*")]
    _held.extend(opened)
    return {os.fstat(descriptor).st_ino for descriptor in opened}


@pytest.fixture(autouse=True)
def _hold_no_longer() -> Iterator[None]:
    yield
    while _held:
        os.close(_held.pop())


def root_links() -> set[str]:
    with netlink() as ip:
        return {str(link.get("ifname")) for link in ip.get_links()}


def children() -> set[str]:
    """The live child processes of this one."""
    table = Path("/proc/self/task")
    return {pid for task in table.iterdir() for pid in (task / "children").read_text().split()}


@contextmanager
def a_child() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another process with a running network of its own, and that run's id."""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", CHILD], text=True, **pipes) as child:
        try:
            assert child.stdout
            yield child, child.stdout.readline().strip()
        finally:
            child.kill()
            child.communicate()
            run.clean()


# Two at a time


def test_two_networks_side_by_side_work_and_do_not_disturb_each_other(nvgre_net: Build) -> None:
    one, two = nvgre_net("two_hosts"), nvgre_net("two_hosts")

    for net in (one, two, one):
        assert net["red1"].ping("10.0.0.2")
    assert one.own.id != two.own.id
    assert {one.own.id, two.own.id} <= set(run.alive())


def test_one_network_ends_and_the_other_goes_on(nvgre_net: Build) -> None:
    other = nvgre_net("two_hosts")
    with NvgreNet(load("two_hosts")) as net:
        assert net["red1"].ping("10.0.0.2")

    assert other["red1"].ping("10.0.0.2")
    assert other["blue1"].ping("10.0.0.2")


# A run that ends


def test_a_running_network_shows_what_it_owns_under_its_id(nvgre_net: Build) -> None:
    net = nvgre_net("two_hosts")

    left = traces(net.own.id, namespaces(net.own.id))

    assert left.namespaces == {f"{net.own.id}-{node.name}" for node in net.hosts}
    assert left.folder
    assert len([mount for mount in left.mounts if " - bpf " in mount]) == 1
    assert len(left.processes) >= len(net.hosts)


def test_nothing_is_left_of_a_network_that_has_ended() -> None:
    before, links = children(), root_links()
    with NvgreNet(load("two_hosts")) as net:
        inodes = namespaces(net.own.id)
        assert root_links() == links  # not even while it runs

    assert traces(net.own.id, inodes) == NOTHING
    assert net.own.id not in run.alive()
    assert children() <= before
    assert root_links() == links


def test_a_process_that_a_node_runs_ends_with_the_network() -> None:
    with NvgreNet(load("two_hosts")) as net:
        sleeper = net["red1"].start_process(["cat"], stdin=subprocess.PIPE)
        assert sleeper.poll() is None

    assert sleeper.wait(timeout=10) != 0
    sleeper.communicate()


def test_stopping_twice_is_stopping_once() -> None:
    with NvgreNet(load("two_hosts")) as net:
        net.stop()
        net.stop()

    assert traces(net.own.id, set()) == NOTHING


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_exception_inside_the_block_leaves_nothing(error: type[BaseException]) -> None:
    before, inodes, net = children(), set[int](), NvgreNet(load("two_hosts"))

    def use() -> None:
        with net:
            inodes.update(namespaces(net.own.id))
            raise error

    with pytest.raises(error):
        use()
    assert traces(net.own.id, inodes) == NOTHING
    assert children() <= before


MIDDLES = {
    "the first namespace is named": (run.Run, "adopt", 1),
    "the fourth namespace is named": (run.Run, "adopt", 4),
    "the first link is made": (VethLink, "__init__", 1),
    "the third link is made": (VethLink, "__init__", 3),
    "an address is set": (NamespacedNode, "set_address", 2),
    "a VM is configured": (TenantVM, "config", 2),
    "a host is configured": (ProviderHost, "config", 1),
    "the second data plane is attached": (EbpfDataPlane, "attach", 2),
    "the BPF file system is mounted": (run.Run, "bpf_directory", 1),
    "the next hops are awaited": (net_module, "wait_until", 1),
}


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize(("owner", "name", "nth"), MIDDLES.values(), ids=MIDDLES.keys())
def test_an_exception_in_the_middle_of_bring_up_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, owner: object, name: str, nth: int, error: type[BaseException]
) -> None:
    before, ids, inodes = children(), list[str](), set[int]()
    original, create, calls = getattr(owner, name), run.Run.create, iter(range(1, nth + 1))

    def failing(*args: Any, **options: Any) -> Any:
        if next(calls, nth) < nth:
            return original(*args, **options)
        inodes.update(namespaces(ids[0]))
        raise error("in the middle")

    def noted() -> run.Run:
        made = create()
        ids.append(made.id)
        return made

    monkeypatch.setattr(run.Run, "create", noted)
    monkeypatch.setattr(owner, name, failing)
    with pytest.raises(error, match="in the middle"), NvgreNet(load("two_hosts")):
        pytest.fail("it came up")

    assert traces(ids[0], inodes) == NOTHING
    assert children() <= before


# A process that dies


@pytest.mark.usefixtures("sole_cleaner")
def test_what_a_killed_process_leaves_is_cleaned_and_a_live_run_is_untouched(nvgre_net: Build) -> None:
    live = nvgre_net("two_hosts")
    with a_child() as (child, dead):
        inodes = namespaces(dead)
        child.kill()
        child.wait()
        left = traces(dead, inodes)
        cleaned = run.clean()

        assert left.folder
        assert left.namespaces
        assert dead in cleaned
        assert live.own.id not in cleaned
        assert traces(dead, inodes) == NOTHING
    assert len(traces(live.own.id, set()).namespaces) == len(live.hosts)
    assert live["red1"].ping("10.0.0.2")


@pytest.mark.usefixtures("sole_cleaner")
def test_clean_leaves_another_process_network_alone() -> None:
    with a_child() as (child, alive):
        assert alive not in run.clean()
        assert child.poll() is None
        assert len(traces(alive, set()).namespaces) == 7


@pytest.mark.usefixtures("sole_cleaner")
def test_clean_has_nothing_to_do_on_a_clean_machine() -> None:
    run.clean()

    assert run.clean() == []


def test_clean_has_nothing_to_do_where_nothing_ever_ran(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(run, "ROOT", tmp_path / "never made")

    assert run.clean() == run.alive() == []
    assert not (tmp_path / "never made").exists()


@pytest.mark.usefixtures("sole_cleaner")
def test_clean_touches_no_names_that_are_not_a_runs() -> None:
    before = {path.name for path in NAMED.iterdir()} if NAMED.is_dir() else set()
    run.clean()
    after = {path.name for path in NAMED.iterdir()} if NAMED.is_dir() else set()

    assert {name for name in before - after if not re.match(r"nvgre-[0-9a-f]{6}-", name)} == set()


@pytest.mark.usefixtures("sole_cleaner")
def test_an_interrupted_process_leaves_nothing() -> None:
    with a_child() as (child, run_id):
        inodes = namespaces(run_id)
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=20)

        assert "KeyboardInterrupt" in errors
        assert traces(run_id, inodes) == NOTHING


@pytest.mark.usefixtures("sole_cleaner")
def test_a_process_whose_input_ends_leaves_nothing() -> None:
    with a_child() as (child, run_id):
        inodes = namespaces(run_id)
        child.communicate("\n", timeout=20)

        assert child.returncode == 0
        assert traces(run_id, inodes) == NOTHING
