"""JSON-RPC 1.0 over a Unix socket: how one talks to ovsdb-server (RFC 7047) and, as `ovs-appctl` does, to a daemon."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any, Self

_CHUNK = 1 << 16


class RpcError(RuntimeError):
    """The other side said no; the message is its own."""


class Rpc:
    """A connection to one daemon. Its calls come one after another."""

    def __init__(self, path: Path, timeout: float = 20.0) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._socket.settimeout(timeout)
            self._socket.connect(str(path))
        except BaseException:
            self._socket.close()
            raise
        self._decoder, self._received, self._number = json.JSONDecoder(), "", 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, method: str, *parameters: Any) -> Any:
        """What a method returns.

        Raises:
            RpcError: it failed.
        """
        self._number += 1
        request = {"id": self._number, "method": method, "params": list(parameters)}
        self._socket.sendall(json.dumps(request).encode())
        while (answer := self._next()).get("id") != self._number or "method" in answer:
            if answer.get("method") == "echo":  # whether we are there
                reply = {"id": answer["id"], "result": answer["params"], "error": None}
                self._socket.sendall(json.dumps(reply).encode())
        if answer.get("error"):
            raise RpcError(str(answer["error"]).strip())
        return answer["result"]

    def _next(self) -> dict[str, Any]:
        """The next message; nothing but its own syntax says where it ends."""
        while True:
            try:
                message, end = self._decoder.raw_decode(self._received)
            except json.JSONDecodeError:
                chunk = self._socket.recv(_CHUNK)
                if not chunk:
                    raise ConnectionError("the daemon has hung up") from None
                self._received += chunk.decode()
                continue
            self._received = self._received[end:].lstrip()
            return dict(message)

    def close(self) -> None:
        """Ends the connection."""
        self._socket.close()
