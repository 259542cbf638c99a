"""Who can be at an end of a virtual subnet: our data planes, and third parties that nobody here wrote. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from nvgre_node.dataplane import DATAPLANES, implementation
from nvgre_node.dataplane.capability import Capability


class ThirdParty(StrEnum):
    """Implementations of NVGRE that are not ours."""

    BY_HAND = "gretap by hand"
    """Linux, as its manual pages have it: a `gretap` device with a key, and a bridge; none of our `gretap` code."""
    UML = "UML vec0"
    """The network driver of User-Mode Linux speaks Ethernet over GRE: the guest is the tenant, and its NIC the NVE."""
    SCAPY = "Scapy"
    """Scapy's layers on a raw socket: packets that it builds and reads, ARP and ICMP answered."""


DECLARED = {
    ThirdParty.BY_HAND: frozenset({Capability.NO_FLOW_IDS, Capability.OUTER_IPV6}),
    ThirdParty.UML: frozenset({Capability.NO_FLOW_IDS, Capability.OUTER_IPV6}),
    ThirdParty.SCAPY: frozenset(
        {Capability.NO_FLOW_IDS, Capability.FLOW_IDS, Capability.EVERY_FLOW_ID, Capability.OUTER_IPV6}
    ),
}
"""What third parties can do, of what matters here. To Linux a key is a key, in User-Mode Linux too: 32 bits count."""

TOO_SLOW = {
    "model": "the model is there to be read, and too slow to compare",
    ThirdParty.SCAPY: "Scapy has no TCP, and would be too slow to compare",
}
"""Who carries no TCP stream, and why."""


class FlowIds(StrEnum):
    """Whether NVEs put entropy of the inner flow into FlowID, as far as they can."""

    SET = "set"
    ZERO = "zero"


@dataclass(frozen=True)
class End:
    """One end: what it is called, and what it declares."""

    name: str
    capabilities: frozenset[Capability]

    @property
    def is_ours(self) -> bool:
        """Whether it is one of our data planes."""
        return self.name not in set(ThirdParty)

    @property
    def takes_any(self) -> bool:
        """Whether it takes packets whatever their FlowID is (G10)."""
        return Capability.EVERY_FLOW_ID in self.capabilities

    def sets(self, mode: FlowIds) -> bool:
        """Whether what it sends has FlowIDs other than 0 (G8, G9)."""
        return mode is FlowIds.SET and Capability.FLOW_IDS in self.capabilities


@dataclass(frozen=True)
class Pair:
    """Two ends of one virtual subnet; `left` is ours."""

    left: End
    right: End

    def __str__(self) -> str:
        return f"{self.left.name} - {self.right.name}"

    @property
    def ends(self) -> tuple[End, End]:
        """Both."""
        return self.left, self.right

    @property
    def directions(self) -> tuple[tuple[End, End], tuple[End, End]]:
        """Who sends, and who receives."""
        return (self.left, self.right), (self.right, self.left)

    def understand(self, sender: End, receiver: End, mode: FlowIds) -> bool:
        """Whether a receiver takes what a sender sends."""
        return receiver.takes_any or not sender.sets(mode)

    def works(self, mode: FlowIds) -> bool:
        """Whether both understand each other."""
        return all(self.understand(*direction, mode) for direction in self.directions)

    @property
    def modes(self) -> tuple[FlowIds, ...]:
        """What is worth trying: first that in which they work best, then the other, if it makes a difference."""
        if not any(end.sets(FlowIds.SET) for end in self.ends):
            return (FlowIds.ZERO,)
        return (FlowIds.SET, FlowIds.ZERO) if self.works(FlowIds.SET) else (FlowIds.ZERO, FlowIds.SET)


def end(name: str) -> End:
    """An end by its name, with what it declares on this machine."""
    if name in set(ThirdParty):
        return End(name, DECLARED[ThirdParty(name)])
    return End(name, implementation(name).capabilities)


def names(dataplanes: Sequence[str] = tuple(DATAPLANES)) -> tuple[str, ...]:
    """Everybody, data planes first."""
    return (*dataplanes, *map(str, ThirdParty))


def pairs(dataplanes: Sequence[str] = tuple(DATAPLANES)) -> Iterator[tuple[str, str]]:
    """Each data plane with itself and those after it, then with each third party."""
    for number, left in enumerate(dataplanes):
        yield from ((left, right) for right in dataplanes[number:])
    yield from ((left, str(right)) for right in ThirdParty for left in dataplanes)


def silent_about_streams(ends: Collection[str]) -> str:
    """Why between these there is no TCP stream; empty if there is one."""
    return "; ".join(dict.fromkeys(TOO_SLOW[name] for name in ends if name in TOO_SLOW))
