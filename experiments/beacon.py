"""A probe every millisecond from one VM to another, as datagrams and on a TCP connection, and when each arrived.

Both ends are processes of their own, so that what the test bed does meanwhile does not disturb their clock:
`python -m experiments.beacon send|receive ADDRESS`. Each is ready when it says so, ends with its standard input, and
then prints what it knows as JSON.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count

from nvgre_node.node import TenantVM

INTERVAL = 0.001
"""Seconds between two probes, at least."""
_PORT = 7637
_PROBE = struct.Struct("!Q")
_SO_TIMESTAMPNS, _TIMESPEC = 35, struct.Struct("=qq")
_READY = "ready"
_BUFFER = 8 << 20


@dataclass
class Record:
    """What a beacon did: when each probe was sent, and each arrival of a datagram and of a part of the TCP stream.

    Seconds of `time.time`; datagrams that arrive have the kernel's time stamps. Filled in when it has ended.
    """

    sent: list[float] = field(default_factory=list)
    arrived: list[tuple[int, float]] = field(default_factory=list)
    stream: list[tuple[int, float]] = field(default_factory=list)
    stream_is_whole: bool = False


@contextmanager
def beacon(source: TenantVM, destination: TenantVM, address: str) -> Iterator[Record]:
    """Probes a customer address of `destination` from the beginning of the block to its end."""
    record = Record()
    with _started(destination, "receive", address) as receiver:
        with _started(source, "send", address) as sender:
            yield record
            record.sent = json.loads(sender.communicate()[0])
        found = json.loads(receiver.communicate()[0])
    record.arrived = [(int(number), at) for number, at in found["arrived"]]
    record.stream = [(int(number), at) for number, at in found["stream"]]
    record.stream_is_whole = found["is_whole"]


@contextmanager
def _started(vm: TenantVM, part: str, address: str) -> Iterator[subprocess.Popen[str]]:
    process = vm.start_process([sys.executable, "-m", __name__, part, address], stdin=subprocess.PIPE)
    try:
        if process.stdout is None or process.stdout.readline().strip() != _READY:
            raise RuntimeError(f"the beacon of {vm.name} did not start: {process.communicate()[1]}")
        yield process
    finally:
        process.kill()
        process.communicate()


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def send(address: str) -> None:
    """Sends until standard input ends; a probe that comes late is not made up for."""
    sent = []
    with socket.socket(_family(address), socket.SOCK_DGRAM) as datagrams, socket.socket(_family(address)) as stream:
        stream.connect((address, _PORT))
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        print(_READY, flush=True)
        due = time.monotonic()
        for number in count():
            sent.append(time.time())
            with suppress(OSError):  # while nobody is there, what ICMP says comes back here
                datagrams.sendto(_PROBE.pack(number), (address, _PORT))
            stream.sendall(_PROBE.pack(number))
            due = max(due + INTERVAL, time.monotonic())
            if select.select([sys.stdin], [], [], max(0.0, due - time.monotonic()))[0]:
                break
    print(json.dumps(sent))


def receive(address: str) -> None:
    """Notes what arrives until standard input ends, and whether the TCP stream had every byte in its place."""
    arrived, stream, whole = list[tuple[int, float]](), list[tuple[int, float]](), bytearray()
    family = _family(address)
    server = socket.create_server((address, _PORT), family=family)
    with socket.socket(family, socket.SOCK_DGRAM) as datagrams, server:
        datagrams.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        datagrams.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        datagrams.bind((address, _PORT))
        print(_READY, flush=True)
        connection, _ = server.accept()
        open_ = [datagrams, connection]
        while sys.stdin not in (ready := select.select([*open_, sys.stdin], [], [])[0]):
            if datagrams in ready:
                data, told, _, _ = datagrams.recvmsg(_PROBE.size, socket.CMSG_SPACE(_TIMESPEC.size))
                seconds, nanoseconds = _TIMESPEC.unpack(told[0][2])
                arrived.append((_PROBE.unpack(data)[0], seconds + nanoseconds / 1e9))
            if connection in ready:
                data = connection.recv(1 << 16)
                whole += data
                stream.append((len(whole) // _PROBE.size, time.time()))
                if not data:
                    open_.remove(connection)
    numbers = [number for (number,) in _PROBE.iter_unpack(whole[: len(whole) // _PROBE.size * _PROBE.size])]
    print(json.dumps({"arrived": arrived, "stream": stream, "is_whole": numbers == list(range(len(numbers)))}))


if __name__ == "__main__":
    {"send": send, "receive": receive}[sys.argv[1]](sys.argv[2])
