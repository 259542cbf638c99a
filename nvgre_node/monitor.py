"""A passive NVGRE monitor: what passes an interface, by VSID, FlowID, direction and PA (RFC 7637 section 4.9, D1).

It is a packet socket whose BPF filter accounts packets and takes none in: it can neither change nor delay anything, and
needs nothing of the NVE. It goes with the socket.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv6Address
from typing import Self

from nvgre_node.dataplane.build import object_file
from nvgre_node.dataplane.libbpf import Map, Object
from nvgre_node.policy import Address

_ETH_P_ALL, _SO_ATTACH_BPF = 0x0003, 50
# The layouts of bpf/monitor.bpf.c.
_FLOW = struct.Struct("=IBBxx16s")
_ACCOUNT = struct.Struct("=QQ")
_FIRST = bytes(4)


class Direction(StrEnum):
    """Which way a packet passes an interface, from the point of view of its host."""

    OUT = "out"
    IN = "in"


@dataclass(frozen=True)
class Flow:
    """What packets are told apart by; `pa` is that of the other end, or a group."""

    vsid: int
    flow_id: int
    direction: Direction
    pa: Address


@dataclass(frozen=True)
class Account:
    """Packets on the wire, and bytes of their inner frames; a GSO frame has the packets that it becomes."""

    packets: int = 0
    bytes: int = 0

    def __add__(self, other: Account) -> Account:
        """Both together."""
        return Account(self.packets + other.packets, self.bytes + other.bytes)


class MonitorFullError(Exception):
    """More flows passed than there is room for: totals would be too low."""


class Monitor:
    """Accounts what passes an interface of the current network namespace, from entering the `with` block to its end."""

    def __init__(self, interface: str) -> None:
        self._interface = interface
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._object = Object(object_file("monitor"))
            stack.callback(self._object.close)
            sock = stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
            sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_BPF, self._object.program("look"))
            sock.bind((self._interface, _ETH_P_ALL))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def flows(self) -> dict[Flow, Account]:
        """What has passed so far, by flow.

        Raises:
            MonitorFullError: some of it found no place.
        """
        if (lost := _sum(self._object.maps["overflow"], _FIRST)).packets:
            raise MonitorFullError(f"{lost.packets} packets on {self._interface} are of flows beyond what fits")
        accounts = self._object.maps["accounts"]
        return {_flow(key): _sum(accounts, key) for key in accounts}


def by_vsid(flows: Mapping[Flow, Account]) -> dict[tuple[Direction, int], Account]:
    """The totals of each virtual subnet, in either direction."""
    totals: dict[tuple[Direction, int], Account] = {}
    for flow, account in flows.items():
        key = flow.direction, flow.vsid
        totals[key] = totals.get(key, Account()) + account
    return dict(sorted(totals.items()))


def by_pa(flows: Mapping[Flow, Account]) -> dict[tuple[Direction, Address], Account]:
    """The totals of each PA to which packets went, or from which they came."""
    totals: dict[tuple[Direction, Address], Account] = {}
    for flow, account in flows.items():
        key = flow.direction, flow.pa
        totals[key] = totals.get(key, Account()) + account
    return totals


def _flow(key: bytes) -> Flow:
    vsid, flow_id, outgoing, packed = _FLOW.unpack(key)
    pa = IPv6Address(packed)
    return Flow(vsid, flow_id, Direction.OUT if outgoing else Direction.IN, pa.ipv4_mapped or pa)


def _sum(accounts: Map, key: bytes) -> Account:
    """The account of a key, over all CPUs."""
    return sum((Account(*values) for values in _ACCOUNT.iter_unpack(accounts.get(key) or b"")), Account())
