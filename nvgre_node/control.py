"""What one process asks of a network that another one runs: a line of JSON each way, over a socket in the run's folder.

A request is a list of words, the first of which names a command; an answer is an object with `said` or `refused`.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from inspect import signature
from pathlib import Path

from nvgre_node.errors import BadInputError
from nvgre_node.run import ROOT

_SOCKET = "control"
_LONGEST = 1 << 16
_PATIENCE = 60.0
"""Seconds for an answer: what is asked for may take as long as the network needs."""

Command = Callable[..., str]
"""Takes the other words of a request, and returns what came of it, in a line."""


class Control:
    """Carries out what others ask of a run, one after the other in a thread, while the `with` block lasts."""

    def __init__(self, folder: Path, commands: Mapping[str, Command]) -> None:
        self._commands = commands
        self._path = folder / _SOCKET
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> None:
        self._socket.bind(str(self._path))
        self._path.chmod(0o600)
        self._socket.listen()
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._path.unlink(missing_ok=True)
        self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                asker, _ = self._socket.accept()
            except OSError:  # it was shut down
                return
            with asker, suppress(OSError, ValueError):  # whoever does not speak our language gets no answer
                words = json.loads(asker.recv(_LONGEST))
                asker.send(json.dumps(self._answer(words)).encode())

    def _answer(self, words: object) -> dict[str, str]:
        if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
            raise ValueError("a request is a list of words")
        name, *rest = words
        command = self._commands.get(name)
        if command is None or len(rest) != len(signature(command).parameters):
            return {"refused": f"a running network knows no {' '.join(words)!r}"}
        try:
            return {"said": command(*rest)}
        except BadInputError as error:
            return {"refused": str(error)}


def listening() -> list[str]:
    """The ids of the runs that can be asked."""
    return sorted(path.parent.name for path in ROOT.glob(f"*/{_SOCKET}"))


def ask(run_id: str, *words: str) -> str:
    """Has a run carry out a command, and returns what it says.

    Raises:
        BadInputError: it refuses, or there is no such run (any more).
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asker:
        asker.settimeout(_PATIENCE)
        try:
            asker.connect(str(ROOT / run_id / _SOCKET))
            asker.send(json.dumps(words).encode())
            answer = json.loads(asker.recv(_LONGEST) or b"{}")
        except (OSError, ValueError) as error:
            raise BadInputError(f"{run_id} does not answer: {error}") from error
    if "said" not in answer:
        raise BadInputError(answer.get("refused", f"{run_id} ended before it answered"))
    return str(answer["said"])
