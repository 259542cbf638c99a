"""However a run ends, nothing of it stays: at once if it can still act, after `clean` if it was killed.

Everything is told by the run's id and by processes that were seen to be its own, so that runs beside it do not matter.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from nvgre_node import run
from nvgre_node.net import NvgreNet
from nvgre_node.run import ROOT
from nvgre_node.waiting import wait_until
from topologies import load

from .belongings import (
    CHECKOUT,
    COMMAND,
    Owner,
    belongings,
    dead_runs,
    left_of,
    names_of,
)

pytestmark = pytest.mark.usefixtures("sole_cleaner")

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
