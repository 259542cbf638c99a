"""What a scenario's expectations ask, pair by pair, and the form of an answer. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address

from nvgre_node.policy import Address, Policy, Vm
from topologies import Scenario
from topologies.expectation import By, Expectation, Way

BROADCAST = IPv4Address("255.255.255.255")
_PORT = 7637  # nobody listens there


class State(IntEnum):
    """How far something got."""

    SILENT = 0
    ARRIVES = 1
    REACHES = 2


@dataclass(frozen=True)
class Flight:
    """One kind of packet to one address."""

    way: Way
    source: Address
    to: Address

    def __str__(self) -> str:
        return f"{self.way} over IPv{self.to.version}"


@dataclass(frozen=True)
class Question:
    """Whether one VM reaches another, or a host outside: as expected in that line of the scenario, from 0."""

    line: int
    expected: Expectation
    source: Vm
    destination: str
    flights: tuple[Flight, ...]

    def __str__(self) -> str:
        return f"{self.source.name} -> {self.destination} {self.expected.way}"


@dataclass(frozen=True)
class Answer:
    """How far each flight got, and what was learnt beside. `control` is what got through after what should not.

    `largest` has the largest packet by IP version, in bytes of IP; `ways` the nodes that were passed, by flight.
    """

    states: tuple[State, ...]
    why: str = ""
    control: str = ""
    largest: tuple[int, ...] = ()
    ways: tuple[tuple[str, ...], ...] = ()


def questions(scenario: Scenario) -> list[Question]:
    """Every pair of every expectation, in their order.

    Raises:
        BadInputError: nothing is expected.
    """
    policy = scenario.policy
    ports = {own.way for own in scenario.expectations() if own.way.by in (By.TCP, By.UDP)}
    every = (Way(), Way(By.TCP, _PORT), Way(By.UDP, _PORT), *sorted(ports, key=str), Way(By.BROADCAST))
    found = []
    for line, own in enumerate(scenario.expectations()):
        ways = every if own.way.by is By.ANY else (own.way,)
        for source in vms_of(policy, own.sources):
            for name, addresses in _destinations(policy, own.destinations):
                if name != source.name:
                    flights = tuple(_flights(source, addresses, ways))
                    found.append(Question(line, own, source, name, flights))
    return found


def vms_of(policy: Policy, names: tuple[str, ...]) -> list[Vm]:
    """The VMs that names stand for, each once, in the order of the scenario."""

    def is_meant(vm: Vm) -> bool:
        return bool({vm.name, vm.subnet, policy.tenant_of(vm)} & set(names))

    return [vm for vm in policy.vms if vm.vid is None and is_meant(vm)]


def _destinations(policy: Policy, names: tuple[str, ...]) -> Iterator[tuple[str, list[Address]]]:
    for vm in vms_of(policy, names):
        yield vm.name, [ca.ip for ca in vm.cas]
    for network in policy.outside:
        if network.name in names:
            yield network.name, [address.ip for address in network.addresses]


def _flights(source: Vm, addresses: list[Address], ways: tuple[Way, ...]) -> Iterator[Flight]:
    for way in ways:
        targets = [BROADCAST] if way.by is By.BROADCAST else addresses
        for to in targets:
            if own := source.ca(to.version):
                yield Flight(way, own, to)
