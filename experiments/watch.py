"""Ears on the network: packet sockets on VM ports and uplinks, and one that sends. Needs root and a running network."""

from __future__ import annotations

import errno
import select
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

from nvgre_node import packet
from nvgre_node.gateway import PhysicalSegment
from nvgre_node.net import NvgreNet
from nvgre_node.node import NamespacedNode, TenantVM
from nvgre_node.server import Server


class Located(Protocol):
    """What has a network namespace: a node, or a place that was there before."""

    @property
    def name(self) -> str:
        """What it is called."""

    def inside(self) -> AbstractContextManager[None]:
        """The calling thread works in its namespace until the block ends."""


@dataclass(frozen=True)
class Spot:
    """Where to listen: an interface. `incoming_only` leaves out what its own namespace sends there."""

    node: Located
    interface: str
    incoming_only: bool = True


@dataclass(frozen=True)
class Place(Spot):
    """Where to listen in a network of ours: an interface of a node."""

    node: NamespacedNode


@dataclass(frozen=True)
class Sighting:
    """A frame that was seen: at which node, and its bytes from the Ethernet header on, 802.1Q tag included.

    `interface` is where at the node, and `time` is when, in seconds since the epoch, by the kernel's clock.
    """

    node: str
    frame: bytes
    interface: str = field(default="", compare=False)
    time: float = field(default=0.0, compare=False)


def vm_ports(net: NvgreNet) -> list[Place]:
    """What each VM of a network gets to hear."""
    return [Place(vm, TenantVM.INTERFACE) for vm in net.vms]


def uplinks(net: NvgreNet) -> list[Place]:
    """Everything that passes between provider hosts and the underlay, in both directions."""
    return [Place(host, name, incoming_only=False) for host in net.provider_hosts for name in host.uplinks]


def legs(net: NvgreNet) -> list[Place]:
    """Everything that passes between gateways and physical networks, in both directions."""
    segments = [node for node in net.hosts if isinstance(node, PhysicalSegment)]
    return [Place(segment, name, incoming_only=False) for segment in segments for name in segment.legs]


def server_links(net: NvgreNet) -> list[Place]:
    """Everything that passes between servers without an NVE and the hosts that have it, tags and all."""
    servers = {node.name for node in net.hosts if isinstance(node, Server)}
    ports = [(host, name) for host in net.provider_hosts for name in host.policy.interfaces if name in servers]
    return [Place(host, name, incoming_only=False) for host, name in ports]


def packet_socket(place: Spot, *, stamped: bool = False) -> socket.socket:
    """A raw packet socket on an interface of a node: sends frames as they are, and receives all that pass."""
    with place.node.inside():
        return packet.packet_socket(place.interface, incoming_only=place.incoming_only, stamped=stamped)


class Watch:
    """Listens at several places at once, from entering the `with` block to its end."""

    def __init__(self, places: Iterable[Spot]) -> None:
        self._places = tuple(places)
        self._stack = ExitStack()
        self._poll = select.poll()
        self._sockets: dict[int, tuple[Spot, socket.socket]] = {}

    def __enter__(self) -> Self:
        for place in self._places:
            sock = self._stack.enter_context(packet_socket(place, stamped=True))
            self._sockets[sock.fileno()] = place, sock
            self._poll.register(sock, select.POLLIN)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def heard(self, milliseconds: float) -> list[Sighting]:
        """What has been seen since the last call; waits up to `milliseconds` for the first frame."""
        found = []
        for descriptor, _ in self._poll.poll(milliseconds):
            place, sock = self._sockets[descriptor]
            while True:
                try:
                    at, frame = packet.receive_stamped(sock)
                    found.append(Sighting(place.node.name, frame, place.interface, at))
                except OSError as error:  # nothing more; or the interface has gone down, and there is nothing to hear
                    if error.errno not in {errno.EAGAIN, errno.ENETDOWN}:
                        raise
                    break
        return found

    def until(self, done: Callable[[list[Sighting]], bool], seconds: float = 1.0) -> list[Sighting]:
        """Listens until `done` says so of all that was seen since this call began, at most for `seconds`."""
        deadline = time.monotonic() + seconds
        seen: list[Sighting] = []
        is_late = False
        while not done(seen) and not is_late:
            is_late = time.monotonic() >= deadline  # one last look: a busy machine may have kept this thread from it
            seen += self.heard(5)
        return seen

    def until_quiet(self, milliseconds: float = 100) -> list[Sighting]:
        """Listens until nothing has been seen for `milliseconds`: for what comes late, or should not come."""
        seen: list[Sighting] = []
        while latest := self.heard(milliseconds):
            seen += latest
        return seen
