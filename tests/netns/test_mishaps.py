"""Whatever goes wrong in the middle of a run, in whatever place: nothing of it stays."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from mininet.net import Mininet

from experiments import isolation, mtu
from experiments.base import Context
from nvgre_node import run
from nvgre_node.dataplane.planes.ebpf import EbpfDataPlane
from nvgre_node.net import NvgreNet
from nvgre_node.node import ProviderHost
from nvgre_node.run import Run
from topologies import load

from .belongings import CHECKOUT, left_of

pytestmark = pytest.mark.usefixtures("sole_cleaner")

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
