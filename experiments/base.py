"""What an experiment is: a question, asked of a scenario and a data plane, that ends in an outcome."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address

from experiments.results import Outcome
from nvgre_node.errors import BadInputError
from nvgre_node.policy import Policy, Vm
from topologies import Scenario

Progress = Callable[[int, int, str], None]
"""Called with (steps done, steps in all, what is being done now)."""


@dataclass(frozen=True)
class Context:
    """What an experiment is run with. `quick` asks for the short form that the demo uses."""

    scenario: Scenario
    dataplane: str
    progress: Progress
    quick: bool = False
    seed: int = 7637


Experiment = Callable[[Context], Outcome]


def distant_pair(policy: Policy) -> tuple[Vm, Vm]:
    """Two VMs of one virtual subnet on different provider hosts: the first such pair in the order of the scenario.

    Raises:
        BadInputError: the scenario has no such pair.
    """
    for a in policy.vms:
        for b in policy.vms:
            if a.subnet == b.subnet and a.host != b.host:
                return a, b
    raise BadInputError("this scenario has no two VMs of one virtual subnet on different provider hosts")


def shared_versions(a: Vm, b: Vm) -> list[int]:
    """The IP versions in which both VMs have a customer address."""
    return [version for version in (4, 6) if a.ca(version) and b.ca(version)]


def ca_text(vm: Vm, version: int) -> str:
    """A VM's customer address of an IP version that it is known to have."""
    return str(ip_address(str(vm.ca(version))))
