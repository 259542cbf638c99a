"""What an NVE knows, and what it makes of a frame: the types that the whole specification speaks in. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from nvgre_node.dataplane.base import Drop
from nvgre_node.policy import UNKNOWN_CA, Address, LookupRecord, Nve, NvePolicy, Port


@dataclass(frozen=True)
class Path:
    """The way to a remote PA: interface, Ethernet addresses of this NVE and of the next hop (O2, O3), and path MTU."""

    interface: str
    source_mac: bytes
    next_hop_mac: bytes
    mtu: int


@dataclass(frozen=True)
class Learnt:
    """Behind which PA a MAC address was seen, and when, in seconds of the state's clock."""

    pa: Address
    seen: float


@dataclass(frozen=True)
class State:
    """What an NVE knows: its policy, its uplinks' MAC addresses, and the ways to the other NVEs that it can reach.

    `paths` has a way to each multicast group of the underlay too; its next hop is the MAC address of the group.
    `learnt` is, by VSID and MAC address, what packets taught (T8); `now` is the time, in seconds.
    """

    policy: NvePolicy
    uplink_macs: frozenset[bytes]
    paths: Mapping[Address, Path]
    learnt: Mapping[tuple[int, bytes], Learnt] = field(default_factory=dict)
    now: float = 0.0

    def treating(self, nve: Nve) -> State:
        """The same, with an NVE that chooses otherwise for one frame."""
        return self if nve is self.policy.nve else replace(self, policy=replace(self.policy, nve=nve))

    def ports_in(self, vsid: int) -> list[Port]:
        """The ports of a virtual subnet on this host."""
        return [port for port in self.policy.ports if port.vsid == vsid]

    def record(self, vsid: int, mac: bytes) -> LookupRecord | None:
        """The lookup record of a MAC address in a virtual subnet."""
        text = mac.hex(":")
        return next((r for r in self.policy.records if (r.vsid, r.mac.lower()) == (vsid, text)), None)

    def record_of_ca(self, vsid: int, ca: Address) -> LookupRecord | None:
        """The lookup record of a customer address in a virtual subnet."""
        return next((r for r in self.policy.records if (r.vsid, r.ca) == (vsid, ca) and ca != UNKNOWN_CA), None)


Counted = tuple[int, str]
"""What is counted: the VSID (or NO_SUBNET), and the name of a counter or of a Drop."""

End = str | Address
"""Where frames come from and go to: the name of a port, or a remote PA (or group); or NO_PORT, or NO_PA."""

CountedAtEnd = tuple[End, str]
"""What is counted there: its counter in PortCounters or PaCounters, or a Drop of what came from there."""


@dataclass(frozen=True)
class Result:
    """What becomes of a frame: (interface, frame) for each that goes out, and what is counted, also by ends.

    `left_alone` says that the frame is the provider host's own business: the NVE hands it on untouched. `taught` is
    what the NVE is to know afterwards (`learn.after`): VSID, MAC address, and the PA behind which it is.
    """

    out: tuple[tuple[str, bytes], ...] = ()
    counted: Mapping[Counted, int] = field(default_factory=dict)
    at_ends: Mapping[CountedAtEnd, int] = field(default_factory=dict)
    left_alone: bool = False
    taught: tuple[int, bytes, Address] | None = None

    def came_from(self, end: End, **counters: int) -> Result:
        """The same of a frame that came from there: so are the drops, and these counters."""
        drops = {(end, name): n for (_, name), n in self.counted.items() if name in Drop.__members__}
        return replace(self, at_ends={**self.at_ends, **drops, **{(end, name): n for name, n in counters.items()}})


def dropped(vsid: int, reason: Drop) -> Result:
    """Nothing goes out, and exactly one reason is counted (G16)."""
    return Result(counted={(vsid, reason.name): 1})
