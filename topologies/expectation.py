"""What somebody expects of a network: who reaches whom, by what, how large, and over which way. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

Steps = tuple[tuple[str, ...], ...]
"""The nodes of the underlay that a packet arrives at, one after the other; of each step, those that it may be."""


class By(StrEnum):
    """What goes from one to the other."""

    ICMP = "icmp"
    TCP = "tcp"
    UDP = "udp"
    BROADCAST = "broadcast"
    ANY = "any"


@dataclass(frozen=True)
class Way:
    """What is sent: `port` is the destination's, of TCP and UDP."""

    by: By = By.ICMP
    port: int = 0

    def __str__(self) -> str:
        return f"{self.by} {self.port}" if self.port else str(self.by)


@dataclass(frozen=True)
class Expectation:
    """That each of `sources` reaches each of `destinations`, or does not.

    Names are those of VMs, virtual subnets and tenants; a destination may be a physical network. `mtu` is the largest
    packet in bytes of IP; `via` are the nodes at which NVGRE packets arrive, none of them where they stay in a host.
    """

    sources: tuple[str, ...]
    destinations: tuple[str, ...]
    way: Way = Way()
    reaches: bool = True
    mtu: int | None = None
    via: Steps | None = None

    def __str__(self) -> str:
        """Such as `red1 -> red2, tcp 22`."""
        return f"{' + '.join(self.sources)} -> {' + '.join(self.destinations)}, {self.way}"
