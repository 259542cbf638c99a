"""Sends packets that can be told from all others through the underlay of a network, and says how far each came.

They are NVGRE packets of the vendors' VSID, as if each answered a probe, so that no NVE delivers them to a tenant: one
without `probe` counts them as drops. Packets of a protocol for experiments (RFC 3692) tell a firewall from a way that
carries nothing. Needs root.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from nvgre_node.namespace import entered
from nvgre_node.packet import packet_socket
from nvgre_node.policy import Address
from nvgre_node.probing import connected
from nvgre_node.underlay import Needs, Sent, interfaces
from nvgre_node.vendor import HEADER, Kind, Probe
from nvgre_node.wire import GRE_PROTOCOL, IPV4_BYTES, IPV6_BYTES

_EXPERIMENT = 253
_RUN_BYTES, _NUMBER = 12, struct.Struct("!I")
_LONGEST = 1 << 17
_NOTHING_NOW = (errno.EAGAIN, errno.ENETDOWN)
_HEADERS = {4: IPV4_BYTES, 6: IPV6_BYTES}
_PMTUDISC_PROBE, _IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _IPV6_DONTFRAG = 3, 10, 23, 62
"""DF, whatever path MTU the kernel has in mind (linux/in.h, linux/in6.h)."""


@dataclass(frozen=True)
class _Marked:
    """A packet on its way."""

    host: str
    pa: Address
    kind: str


def trace(needs: Needs, where: Callable[[str], Path], nodes: Iterable[str], patience: float = 3.0) -> list[Sent]:
    """Sends three packets from each host to each PA that its NVE sends to, and says what arrived.

    `where` has the namespace of each of these nodes. What has not come `patience` seconds after all was sent is lost.
    """
    there = set(nodes)
    packets = [
        _Marked(nve.host, pa, kind)
        for nve in needs.policy.nves
        if nve.host in there
        for pa in needs.destinations(nve.host)
        for kind in ("nvgre", "full", "other")
    ]
    mark = os.urandom(_RUN_BYTES)  # by which a packet is found, in whatever it is wrapped
    with ExitStack() as undo:
        listeners = _listeners(needs, where, there, undo)
        for host in {packet.host for packet in packets}:
            with entered(where(host)):
                for number, packet in enumerate(packets):
                    if packet.host == host:
                        _send(needs, packet, mark + _NUMBER.pack(number))
        seen = _collected(needs, listeners, packets, mark, patience)
    return [_told(needs, seen, host, pa) for host, pa in dict.fromkeys((one.host, one.pa) for one in packets)]


def _listeners(
    needs: Needs, where: Callable[[str], Path], there: set[str], undo: ExitStack
) -> dict[socket.socket, str]:
    """A socket on each interface of the underlay, by which node it is."""
    found = {}
    for _, own, _, name in interfaces(needs.fabric):
        if own.node in there:
            with entered(where(own.node)), suppress(OSError):  # an interface that is gone sees nothing
                found[undo.enter_context(packet_socket(name))] = own.node
    return found


def _send(needs: Needs, packet: _Marked, mark: bytes) -> None:
    """Sends it from the current namespace; one that cannot leave is lost there."""
    body = mark
    if packet.kind != "other":
        body = HEADER.pack() + Probe(Kind.REPLY, 0, 0).pack() + body
    if packet.kind == "full":
        body = body.ljust(needs.full_to(packet.pa) - _HEADERS[packet.pa.version], b"\0")
    protocol = _EXPERIMENT if packet.kind == "other" else GRE_PROTOCOL
    with connected(packet.pa, protocol) as sock, suppress(OSError):
        if packet.pa.version == 4:
            sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_PROBE)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_PROBE)
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_DONTFRAG, 1)
        sock.send(body)


def _collected(
    needs: Needs, listeners: Mapping[socket.socket, str], packets: list[_Marked], mark: bytes, patience: float
) -> dict[_Marked, list[str]]:
    """The nodes that saw each packet, in that order."""
    seen: dict[_Marked, list[str]] = {packet: [] for packet in packets}
    missing = set(packets)
    by_descriptor = {sock.fileno(): sock for sock in listeners}
    poll = select.poll()
    for descriptor in by_descriptor:
        poll.register(descriptor, select.POLLIN)
    deadline = time.monotonic() + patience
    while missing and (left := deadline - time.monotonic()) > 0:
        for descriptor, _ in poll.poll(left * 1000):
            sock = by_descriptor[descriptor]
            for frame in _frames(sock):
                if (at := frame.find(mark)) < 0:
                    continue
                packet = packets[_NUMBER.unpack_from(frame, at + len(mark))[0]]
                seen[packet].append(listeners[sock])
                if listeners[sock] == needs.owner(packet.pa):
                    missing.discard(packet)
    return seen


def _frames(sock: socket.socket) -> Iterable[bytes]:
    while True:
        try:
            yield sock.recv(_LONGEST)
        except OSError as error:
            if error.errno in _NOTHING_NOW:
                return
            raise


def _told(needs: Needs, seen: Mapping[_Marked, list[str]], host: str, pa: Address) -> Sent:
    owner = needs.owner(pa)
    nvgre, full, other = (owner in seen[_Marked(host, pa, kind)] for kind in ("nvgre", "full", "other"))
    way = seen[_Marked(host, pa, "full" if nvgre else "nvgre")]
    return Sent(host, pa, nvgre, full, other, way[-1] if way else host)
