"""What every data plane offers: the interface behind which the implementations of the NVE meet. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from ipaddress import IPv6Address
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

from nvgre_node.dataplane.capability import Capability
from nvgre_node.policy import Address, LookupRecord, NvePolicy

if TYPE_CHECKING:
    from nvgre_node.needs import Need


class Drop(IntEnum):
    """Why an NVE dropped a frame: exactly one reason each (G16). The order is that of `bpf/counters.h`."""

    UNKNOWN_UNICAST = 0
    OWN_ADDRESS = 1
    TOO_BIG = 2
    NO_ROUTE = 3
    NO_NEIGHBOUR = 4
    TAG_DEPTH = 5
    MALFORMED = 6
    BAD_OUTER = 7
    OUTER_FRAGMENT = 8
    CHECKSUM_BIT = 9
    SEQUENCE_BIT = 10
    RESERVED_BITS = 11
    NO_KEY = 12
    VERSION = 13
    PROTOCOL_TYPE = 14
    TRUNCATED = 15
    RESERVED_VSID = 16
    UNKNOWN_VSID = 17
    SOURCE_PA = 18
    INNER_TAG = 19
    NOT_LOCAL = 20
    SOURCE_MAC = 21
    SOURCE_CA = 22
    UNKNOWN_NEIGHBOUR = 23
    ANNOUNCEMENT = 24
    CE_ON_NOT_ECT = 25
    UNTAGGED = 26
    UNKNOWN_VLAN = 27
    MARTIAN = 28
    NO_CUSTOMER_ROUTE = 29
    TTL_EXCEEDED = 30
    ROUTER_ADDRESS = 31
    ACL_OUT = 32
    ACL_IN = 33
    NOT_IP = 34

    @property
    def label(self) -> str:
        """The reason in words: `unknown unicast`."""
        return self.name.lower().replace("_", " ")


@dataclass(frozen=True)
class SubnetCounters:
    """What one NVE did for one virtual subnet. Packets are wire packets; bytes are those of inner frames.

    `answered` are a VM's own packets that the NVE itself answered, other than those that are too big; under NO_SUBNET,
    probes of other NVEs (V2). `punted` are those that it handed to user space.
    """

    encapsulated: int = 0
    encapsulated_bytes: int = 0
    decapsulated: int = 0
    decapsulated_bytes: int = 0
    local: int = 0
    told_too_big: int = 0
    answered: int = 0
    punted: int = 0
    routed: int = 0
    outer_fragments: int = 0
    dropped: Mapping[Drop, int] = field(default_factory=dict)


@dataclass(frozen=True)
class PortCounters:
    """What one NVE did at one VM's port. Packets are wire packets; bytes are those of frames without their tags.

    `sent` is what its VM sent and the port took in, `received` what was handed to the VM, answers and copies included.
    `dropped` is of what the VM sent. None is what the data plane does not count.
    """

    sent: int = 0
    sent_bytes: int = 0
    received: int = 0
    received_bytes: int = 0
    dropped: Mapping[Drop, int] | None = field(default_factory=dict)


@dataclass(frozen=True)
class PaCounters:
    """What one NVE exchanged with one PA of another, or sent to one group. Bytes are those of inner frames.

    `dropped` is of what came from there, and passed the check that it may send (C1); None where it is not counted.
    """

    encapsulated: int = 0
    encapsulated_bytes: int = 0
    decapsulated: int = 0
    decapsulated_bytes: int = 0
    dropped: Mapping[Drop, int] | None = field(default_factory=dict)


@dataclass(frozen=True)
class Punted:
    """A frame (its first 2048 bytes) that no lookup record knows: from which port, in which virtual subnet."""

    port: str
    vsid: int
    frame: bytes


@dataclass(frozen=True)
class Sighted:
    """Where a MAC address was seen that no lookup record knows (T8): in which virtual subnet, behind which PA.

    `age` is how many seconds ago that was.
    """

    vsid: int
    mac: str
    pa: Address
    age: float


PUNT, PUNT_BYTES = "punt", 2048
"""Where the specification sends such a frame, in place of an interface, and how much of it."""

NO_SUBNET = 0
"""The key under which packets are counted that belong to no virtual subnet of this NVE."""


@dataclass(frozen=True)
class Home:
    """Where a data plane may keep what it must: nothing is there before it asks or makes it, and the run removes it."""

    pins: Callable[[], Path]
    """Gives a path on a BPF file system."""
    folder: Path


NO_PORT = ""
"""The name under which frames are counted that came in at an interface, but for none of its ports (I5)."""

NO_PA: Address = IPv6Address(0)
"""The PA under which packets are counted that came from none that may send into their virtual subnet."""


@runtime_checkable
class Restorable(Protocol):
    """A data plane that can mend what somebody else has done to it. Inside its host's network namespace."""

    def restore(self) -> None:
        """Has everything be as the policy in force has it."""


class DataPlane(Protocol):
    """The NVE of one provider host. Its methods run inside that host's network namespace."""

    name: ClassVar[str]
    summary: ClassVar[str]
    """What it is, in a line."""
    needs: ClassVar[tuple[Need, ...]]
    """What of the machine, beyond what every network needs."""
    capabilities: ClassVar[frozenset[Capability]]
    takes_offloads: ClassVar[bool]
    """Whether it works with packets larger than the MTU and checksums yet to be made; else with those of a cable."""
    datapath: ClassVar[str | None]
    """What forwards, of a data plane that leaves this to the machine."""

    def __init__(self, home: Home) -> None:
        """Makes nothing yet."""

    def attach(self, policy: NvePolicy, uplinks: tuple[str, ...]) -> None:
        """Puts the policy into force on the ports it names and on these uplinks; all of them exist and are up."""

    def is_ready(self) -> bool:
        """Whether it passes on what VMs send, from the next frame on."""

    def counters(self) -> dict[int, SubnetCounters]:
        """Counters since attach, by VSID; NO_SUBNET holds what could be given to none."""

    def port_counters(self) -> dict[str, PortCounters]:
        """Counters since attach, by the names of ports; NO_PORT holds what was for none. Empty where it counts none."""

    def pa_counters(self) -> dict[Address, PaCounters]:
        """The same by remote PAs and groups; NO_PA holds what came from none that may send."""

    def punted(self) -> list[Punted]:
        """The frames that were handed to user space since the last call, where `unknown` is `punt`."""

    def learnt(self) -> list[Sighted]:
        """What the NVE has learnt from packets, and not forgotten."""

    def install(self, *records: LookupRecord) -> None:
        """Puts lookup records into force, each in place of the one of its VSID, CA and MAC address, if there is one."""

    def update(self, policy: NvePolicy) -> None:
        """Puts another policy into force, of the same NVE: other ports, records and peers. What stays is not disturbed.

        Raises:
            BadInputError: it cannot do so while it runs.
        """

    def close(self) -> None:
        """Lets go of everything that attach made outside the namespace. Safe to call twice."""
