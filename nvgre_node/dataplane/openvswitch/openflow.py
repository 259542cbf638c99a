"""Reading the counters of flows by OpenFlow 1.3, over a bridge's Unix socket: numbers, and no text to parse."""

from __future__ import annotations

import socket
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

_VERSION = 4  # OpenFlow 1.3
_HELLO, _ERROR, _ECHO_REQUEST, _ECHO_REPLY, _MULTIPART_REQUEST, _MULTIPART_REPLY = 0, 1, 2, 3, 18, 19
_HEADER = struct.Struct("!BBHI")
_MULTIPART = struct.Struct("!HH4x")
_FLOW_REQUEST = struct.Struct("!B3xII4xQQHH4x")  # table, port, group, cookie and its mask, match
_FLOW = struct.Struct("!H22xQQQ")  # length; cookie, packets, bytes
_ALL_TABLES, _EMPTY_MATCH = 0xFF, (1, 4)
_FLOW_STATS, _MORE, _ANY = 1, 1, 0xFFFFFFFF
_TIMEOUT_SECONDS = 20.0


def counts(path: Path) -> Counter[tuple[int, str]]:
    """Packets and bytes of all flows of a bridge, summed by cookie: (cookie, `packets` or `bytes`)."""
    found: Counter[tuple[int, str]] = Counter()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as sock:
        sock.settimeout(_TIMEOUT_SECONDS)
        sock.connect(str(path))
        sock.sendall(_message(_HELLO, b"") + _message(_MULTIPART_REQUEST, _everything()))
        for body in _replies(sock):
            for cookie, packets, size in _flows(body):
                found[cookie, "packets"] += packets
                found[cookie, "bytes"] += size
    return found


def _message(kind: int, body: bytes, number: int = 1) -> bytes:
    return _HEADER.pack(_VERSION, kind, _HEADER.size + len(body), number) + body


def _everything() -> bytes:
    return _MULTIPART.pack(_FLOW_STATS, 0) + _FLOW_REQUEST.pack(_ALL_TABLES, _ANY, _ANY, 0, 0, *_EMPTY_MATCH)


def _replies(sock: socket.socket) -> Iterator[bytes]:
    """The bodies of the replies, up to the last one."""
    more = True
    while more:
        _, kind, length, number = _HEADER.unpack(_exactly(sock, _HEADER.size))
        body = _exactly(sock, length - _HEADER.size)
        if kind == _ERROR:
            raise RuntimeError(f"the bridge refuses to count its flows: {body[:4].hex()}")
        if kind == _ECHO_REQUEST:
            sock.sendall(_message(_ECHO_REPLY, body, number))
        if kind == _MULTIPART_REPLY:
            _, flags = _MULTIPART.unpack_from(body)
            more = bool(flags & _MORE)
            yield body[_MULTIPART.size :]


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = sock.recv(size - len(data))
        if not chunk:
            raise ConnectionError("the bridge has hung up")
        data += chunk
    return data


def _flows(body: bytes) -> Iterator[tuple[int, int, int]]:
    at = 0
    while at < len(body):
        length, cookie, packets, size = _FLOW.unpack_from(body, at)
        yield cookie, packets, size
        at += length
