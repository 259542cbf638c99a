"""What an experiment is: a question, asked of a scenario and a data plane, that ends in an outcome."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from experiments.results import Outcome
from nvgre_node.dataplane import DATAPLANES, implementation
from nvgre_node.dataplane.capability import Capability
from nvgre_node.errors import BadInputError
from nvgre_node.policy import Policy, Vm
from topologies import Scenario
from topologies.target import Target

Progress = Callable[[int, int, str], None]
"""Called with (steps done, steps in all, what is being done now)."""


class Dialogue(Protocol):
    """A program in a guest that answers each line with one."""

    def ask(self, line: str, seconds: float) -> str:
        """The answer to a line. Raises TimeoutError where there is none within so many seconds."""


class Workbench(Protocol):
    """What an experiment may use beyond this machine's kernel, if there is any: guests with a stock one."""

    def lacks(self, end: str) -> str:
        """Why somebody who speaks NVGRE, by its name in `interop`, cannot do so on this machine; empty if it can."""

    def guests_lack(self, end: str) -> str:
        """Why it cannot do so in a guest either; empty if it can."""

    def in_guest(self, words: Sequence[str], said: Callable[[str], None]) -> str:
        """Runs a command in a guest and returns what it printed; `said` gets each line of its error output.

        Raises:
            MissingError: there can be no guest, or it ended first.
            RuntimeError: the command failed, or took too long.
        """

    def talk(self, words: Sequence[str], place: Path, nic: str) -> AbstractContextManager[Dialogue]:
        """Boots a guest in a network namespace, with a NIC of its own there, to talk to a program in it."""


@dataclass(frozen=True)
class Context:
    """What an experiment is run with. `quick` asks for the short form that the demo uses.

    What compares data planes with each other does so with all in `dataplanes`; `workbench` is what it may use for that.
    With a `target` it is about an NVE that is there already: no network is built, and `scenario` is what its file says.
    """

    scenario: Scenario
    dataplane: str
    progress: Progress
    quick: bool = False
    seed: int = 7637
    target: Target | None = None
    dataplanes: tuple[str, ...] = tuple(DATAPLANES)
    workbench: Workbench | None = None


Experiment = Callable[[Context], Outcome]


def capabilities(context: Context) -> frozenset[Capability]:
    """What all data planes of a network have in common."""
    names = {nve.dataplane or context.dataplane for nve in context.scenario.policy.nves}
    return frozenset.intersection(*(implementation(name).capabilities for name in names))


def distant_pairs(policy: Policy) -> list[tuple[Vm, Vm]]:
    """Per virtual subnet, its first two VMs on different provider hosts, where there are such; in scenario order."""
    pairs: dict[str, tuple[Vm, Vm]] = {}
    untagged = [vm for vm in policy.vms if vm.vid is None]  # a VLAN of a trunk port may have no interface of its own
    for a in untagged:
        for b in untagged:
            if a.subnet == b.subnet and a.host != b.host:
                pairs.setdefault(a.subnet, (a, b))
    return list(pairs.values())


def distant_pair(policy: Policy) -> tuple[Vm, Vm]:
    """Two VMs of one virtual subnet on different provider hosts: the first such pair in the order of the scenario.

    Raises:
        BadInputError: the scenario has no such pair.
    """
    if pairs := distant_pairs(policy):
        return pairs[0]
    raise BadInputError("this scenario has no two VMs of one virtual subnet on different provider hosts")


def shared_versions(a: Vm, b: Vm) -> list[int]:
    """The IP versions in which both VMs have a customer address."""
    return [version for version in (4, 6) if a.ca(version) and b.ca(version)]
