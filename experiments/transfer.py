"""One TCP transfer between two VMs, by ordinary sockets: what an application sees. Needs root and a running network."""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

from nvgre_node.node import TenantVM
from nvgre_node.waiting import wait_until

_PORT = 5001
_TIMEOUTS_OFFSET = 2  # tcpi_retransmits of struct tcp_info: timeouts in a row without progress
_RETRANSMISSIONS_OFFSET = 100  # tcpi_total_retrans
_HOPELESS = 4
"""Retransmission timeouts in a row after which a transfer counts as stalled (3 s at Linux's settings)."""


@dataclass(frozen=True)
class Transfer:
    """How a transfer ended: `received` is bytes that reached the application."""

    connected: bool
    completed: bool
    received: int
    retransmissions: int


def _tcp_info(sock: socket.socket) -> tuple[int, int]:
    """Timeouts in a row, and retransmissions in all."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _RETRANSMISSIONS_OFFSET + 4)
    return info[_TIMEOUTS_OFFSET], int(struct.unpack_from("=I", info, _RETRANSMISSIONS_OFFSET)[0])


def transfer(
    source: TenantVM, destination: TenantVM, address: str, size: int, midway: Callable[[], object] = lambda: None
) -> Transfer:
    """Sends `size` bytes from one VM to another VM's customer address, until they are there or all hope is gone.

    Calls `midway` once half of them are there.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with destination.inside():
        server = socket.create_server((address, _PORT), family=family)
    with source.inside():
        client = socket.socket(family)
    with server, client:
        server.setblocking(False)
        client.setblocking(False)
        client.connect_ex((address, _PORT))
        try:
            wait_until(lambda: select.select([server], [], [], 0)[0], "the TCP handshake", timeout=5)
        except TimeoutError:
            return Transfer(connected=False, completed=False, received=0, retransmissions=_tcp_info(client)[1])
        connection, _ = server.accept()
        with connection:
            connection.setblocking(False)
            return _pump(client, connection, size, midway)


def _pump(client: socket.socket, connection: socket.socket, size: int, midway: Callable[[], object]) -> Transfer:
    unsent, received, due = size, 0, [midway]
    while received < size and _tcp_info(client)[0] < _HOPELESS:
        readable, writable, _ = select.select([connection], [client] if unsent else [], [], 0.05)
        if writable:
            unsent -= client.send(bytes(min(unsent, 1 << 16)))
        if readable:
            received += len(connection.recv(1 << 20))
        if due and received * 2 >= size:
            due.pop()()
    return Transfer(True, received == size, received, _tcp_info(client)[1])
