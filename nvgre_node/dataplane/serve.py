"""A thread that serves sockets, for the parts of a data plane that work in user space."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress

Handler = Callable[[socket.socket], None]


class Server:
    """Calls a handler whenever its socket has something to read, in a thread of its own, until it is closed."""

    def __init__(self, handlers: Mapping[socket.socket, Handler]) -> None:
        self._handlers = {sock.fileno(): (sock, handler) for sock, handler in handlers.items()}
        self._stopped, self._stop = os.pipe()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        poll = select.poll()
        for descriptor in (*self._handlers, self._stopped):
            poll.register(descriptor, select.POLLIN)
        while True:
            ready = [descriptor for descriptor, _ in poll.poll()]
            if self._stopped in ready:  # its other end was closed
                return
            for descriptor in ready:
                sock, handler = self._handlers[descriptor]
                with suppress(OSError):  # nothing there after all, or an interface went down
                    handler(sock)

    def close(self) -> None:
        """Waits until the thread has ended; the sockets stay open."""
        os.close(self._stop)
        self._thread.join()
        os.close(self._stopped)
