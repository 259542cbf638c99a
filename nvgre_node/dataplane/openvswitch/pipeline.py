"""The language that the flows of `ovs` are written in: tables, registers, what is counted, and one flow as text. Pure.

A frame passes the tables in the order of their numbers. From a VM: ARRIVE, UNTAG, CHECK_MAC, CHECK_CA, ACL_OUT, ANSWER,
SEND, then maybe ROUTE to ROUTED, then RECORDS; from there SOURCE_PA to TUNNEL if it leaves, or ACL_IN to DELIVER if it
stays. From the wire: ARRIVE, RECEIVE, and the same end. FLOOD and LOCAL_COPIES have a frame go on once per copy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address

from nvgre_node.choices import Ecn, Neighbours
from nvgre_node.dataplane.base import Drop
from nvgre_node.policy import Address, LookupRecord, Nve, NvePolicy, Port


class Table(IntEnum):
    """The tables of the bridge that VMs are on."""

    ARRIVE = 0
    UNTAG = 1
    CHECK_MAC = 2
    CHECK_CA = 3
    ACL_OUT = 4
    ANSWER = 5
    ADVERTISE = 6
    SEND = 7
    ROUTE = 8
    NEXT_HOP = 9
    ROUTED = 10
    RECORDS = 11
    UNKNOWN = 12
    FLOOD = 13
    SOURCE_PA = 14
    PA_OF_FLOW = 15
    FLOW_ID = 16
    TUNNEL = 17
    CONGESTION = 18
    RECEIVE = 19
    LOCAL_COPIES = 20
    ACL_IN = 21
    COUNT = 22
    DELIVER = 23


class Reg(StrEnum):
    """What the registers hold while a frame passes the tables."""

    VSID = "reg0"  # of the port or packet that it came from: what is counted is counted there
    TO_VSID = "reg1"  # where it goes
    FROM = "reg2"  # the number of the port that it came from; 0: the wire
    TO = "reg3"  # and of the one that it goes to
    TAGS = "reg4"  # how many have been taken off, where that has to be known
    TOO_BIG = "reg5"
    TUNNEL = "reg6"  # the OpenFlow port that it leaves by
    PA = "reg7"  # which of the own PAs, where the flow decides
    NEXT_HOP = "reg8"  # a CA of IPv4; of IPv6: xxreg2, which is reg8 to reg11
    COPY = "reg12"  # 1: one of the copies of a broadcast


NEXT_HOP6 = "xxreg2"
TUNNEL_PORTS = {4: 1, 6: 2}
"""The OpenFlow ports of the tunnels, by the IP version of the PAs."""

ADVERTISER = 3
"""The OpenFlow port that leads to the bridge that makes advertisements, where the kernel forwards."""

FIRST_PORT = 10
"""The OpenFlow port of the first interface that is a VM's port; the others follow."""

_FIRST_EXIT = 1000

_KIND_SHIFT, _DROPS = 32, 0x100


class Kind(IntEnum):
    """What a flow counts: names are those of `SubnetCounters`, but for UNTAGGED."""

    ENCAPSULATED = 1
    DECAPSULATED = 2
    LOCAL = 3
    ANSWERED = 4
    ROUTED = 5
    ENCAPSULATED_UNTAGGED_1 = 6  # as ENCAPSULATED, but one tag is counted that has been taken off
    ENCAPSULATED_UNTAGGED_2 = 7


UNTAGGED = {1: Kind.ENCAPSULATED_UNTAGGED_1, 2: Kind.ENCAPSULATED_UNTAGGED_2}
"""What counts frames that had tags, by their number: the kernel's byte counts are of frames as they arrived."""


def cookie(what: Kind | Drop, vsid: int) -> int:
    """The cookie of a flow that counts something for a virtual subnet."""
    number = what + _DROPS if isinstance(what, Drop) else int(what)
    return number << _KIND_SHIFT | vsid


def counted(value: int) -> tuple[int, Kind | Drop] | None:
    """The VSID and what is counted by a flow with this cookie; None for flows that count nothing."""
    number, vsid = value >> _KIND_SHIFT, value & 0xFFFFFFFF
    if not number:
        return None
    return vsid, Drop(number - _DROPS) if number >= _DROPS else Kind(number)


def flow(table: Table, priority: int, match: Iterable[str], actions: Iterable[str], counts: int = 0) -> str:
    """One flow as `ovs-ofctl` reads it; without actions it drops."""
    head = [f"cookie=0x{counts:x}", f"table={int(table)}", f"priority={priority}", *match]
    return ",".join((*head, f"actions={','.join(actions) or 'drop'}"))


def drops(table: Table, priority: int, match: Iterable[str], reason: Drop, vsid: int) -> str:
    """A flow that drops, and counts why."""
    return flow(table, priority, match, (), cookie(reason, vsid))


def onward(table: Table) -> str:
    """The action that hands a frame to a later table."""
    return f"goto_table:{int(table)}"


def again(table: Table) -> str:
    """The action that has a frame pass a table, and then comes back."""
    return f"resubmit(,{int(table)})"


def is_(register: Reg, value: int) -> str:
    """The match on a register."""
    return f"{register}={value}"


def load(register: Reg | str, value: int) -> str:
    """The action that writes a register."""
    return f"set_field:{value}->{register}"


def copied(*actions: str) -> str:
    """The action that does these to a copy."""
    return f"clone({','.join(actions)})"


def tun(end: str, pa: Address) -> str:
    """The field of the outer source (`src`) or destination (`dst`) address, for a PA of its version."""
    return f"tun_{end}" if pa.version == 4 else f"tun_ipv6_{end}"


@dataclass(frozen=True)
class Exit:
    """A tunnel of its own, for what Open vSwitch in user space cannot be told otherwise; nothing comes in there.

    What leaves by it has a TTL that no other packet has: by that, flows of the uplink's bridge know what to mend.
    """

    of_port: int
    version: int
    pa: Address | None
    congested: bool
    ttl: int


def exits(nve: Nve) -> tuple[Exit, ...]:
    """Those for what is congested (CE), and for each PA of IPv6 but the first: there, Open vSwitch takes no source."""
    also: list[tuple[int, Address | None, bool]] = [(6, pa, False) for pa in nve.pas_of(6)[1:]]
    if nve.ecn is Ecn.COPY:
        also += [(4, None, True), *((6, pa, True) for pa in nve.pas_of(6))]
    ttls = [ttl for ttl in range(255, 0, -1) if ttl != nve.ttl]
    return tuple(Exit(_FIRST_EXIT + n, *own, ttl) for n, (own, ttl) in enumerate(zip(also, ttls, strict=False)))


def exit_of(nve: Nve, version: int, pa: Address | None, *, congested: bool) -> int:
    """The OpenFlow port of the tunnel for packets like these; without one of their own, that of all."""
    wanted = (version, pa if version == 6 else None, congested)
    found = (one.of_port for one in exits(nve) if (one.version, one.pa, one.congested) == wanted)
    return next(found, TUNNEL_PORTS[version])


AT_ECT_1: dict[int, Address] = {4: IPv4Address("127.78.86.1"), 6: IPv6Address("fe80::4e56:1")}
"""Where tunnels end for packets whose outer ECN is ECT(1), and no others: that is how flows behind them can tell."""

GROUP = "dl_dst=01:00:00:00:00:00/01:00:00:00:00:00"
CARRIED = ("ip", "ipv6", "arp")
"""What an NVE carries that carries IP and ARP alone."""

TAGGED = "vlan_tci=0x1000/0x1000"


@dataclass(frozen=True)
class View:
    """A policy, with the numbers that its flows call things by.

    `mtus` are the path MTUs to the PAs that can be reached. `native` says that Open vSwitch makes outer headers itself,
    in user space, and not the kernel.
    """

    policy: NvePolicy
    mtus: dict[Address, int] = field(default_factory=dict)
    native: bool = True

    @property
    def advertises_apart(self) -> bool:
        """Whether a bridge in user space makes advertisements: the kernel cannot, and somebody wants them."""
        return not self.native and bool(self.policy.routers or self.policy.nve.neighbours is Neighbours.PROXY)

    def number(self, port: Port) -> int:
        """The number of a port; that of a trunk has several."""
        return self.policy.ports.index(port) + 1

    def of_port(self, port: Port) -> int:
        """The OpenFlow port of the interface that a port is on."""
        return FIRST_PORT + self.policy.interfaces.index(port.interface)

    @property
    def numbered(self) -> Iterator[tuple[int, Port]]:
        """The ports with their numbers."""
        return enumerate(self.policy.ports, start=1)

    @cached_property
    def records(self) -> tuple[LookupRecord, ...]:
        """The first record of each VSID and MAC address: a VM has one per CA."""
        found: dict[tuple[int, str], LookupRecord] = {}
        for record in self.policy.records:
            found.setdefault((record.vsid, record.mac.lower()), record)
        return tuple(found.values())

    def local_port(self, record: LookupRecord) -> Port | None:
        """The port of a record's VM if it is on this host."""
        return self.policy.port_of(record) if self.policy.is_local(record) else None
