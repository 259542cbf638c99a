"""The tenant's side of an end: what it says, what it hears, and streams. Here, or in a guest that is asked to."""

from __future__ import annotations

import base64
import json
import select
import subprocess
import zlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

from experiments import iperf
from nvgre_node.packet import packet_socket, receive

if TYPE_CHECKING:  # a guest takes its time to import what it does not need
    from experiments.base import Dialogue

PORT = 5201
_PATIENCE_SECONDS = 60.0


class Station(Protocol):
    """A tenant's machine at one end."""

    streams: bool

    def ping(self, address: str, seconds: int) -> bool:
        """Whether an echo request to an address of the other end was answered within so many seconds."""

    def say(self, frames: Sequence[bytes]) -> None:
        """Sends frames as they are; one that its interface refuses is lost."""

    def hear(self, milliseconds: float) -> list[bytes]:
        """The frames that came since the last call; waits up to so long for the first."""

    def serve(self, address: str) -> AbstractContextManager[None]:
        """An iperf3 server at one of its addresses, until the block ends."""

    def stream(self, address: str, seconds: int, segment: int) -> float:
        """Gigabits per second of one TCP stream to a server; 0 where none came about."""


class Machine(iperf.Machine, Protocol):
    """Where a tenant is, and its programs run."""

    def inside(self) -> AbstractContextManager[None]:
        """The calling thread works in its network namespace until the block ends."""


@dataclass(frozen=True)
class Here:
    """The namespace that we are in."""

    name: str = "here"

    def inside(self) -> AbstractContextManager[None]:
        """Nothing to do."""
        return nullcontext()

    def start_process(self, command: Sequence[str], **options: Any) -> subprocess.Popen[str]:
        """Starts a command, with text streams."""
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(list(command), text=True, **(pipes | options))

    def run_process(self, command: Sequence[str], timeout: float = 30.0) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end."""
        return subprocess.run(list(command), capture_output=True, text=True, check=False, timeout=timeout)


class Interface:
    """A station whose interface is in reach of this process."""

    streams = True

    def __init__(self, machine: Machine, interface: str) -> None:
        self._machine, self._interface = machine, interface

    def __enter__(self) -> Self:
        with self._machine.inside():
            self._socket = packet_socket(self._interface)
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ping(self, address: str, seconds: int) -> bool:
        """As Linux's `ping` says."""
        command = ["ping", "-n", "-c", "1", "-i", "0.2", "-w", str(seconds), address]  # until one is answered
        return self._machine.run_process(command).returncode == 0

    def say(self, frames: Sequence[bytes]) -> None:
        """Sends frames as they are."""
        for frame in frames:
            try:
                self._socket.send(frame)
            except OSError as error:
                if error.errno != _TOO_LONG:
                    raise

    def hear(self, milliseconds: float) -> list[bytes]:
        """The frames that came."""
        found: list[bytes] = []
        select.select([self._socket], [], [], milliseconds / 1000)
        with suppress(BlockingIOError):
            while True:
                found.append(receive(self._socket))
        return found

    @contextmanager
    def serve(self, address: str) -> Iterator[None]:
        """An iperf3 server."""
        with iperf.server(self._machine, address, PORT):
            yield
        self.hear(0)  # its packets are nobody's business

    def stream(self, address: str, seconds: int, segment: int) -> float:
        """One TCP stream."""
        try:
            return iperf.measure(self._machine, address, PORT, "TCP", seconds, segment).gigabits_per_second
        except iperf.NoStreamError:
            return 0.0
        finally:
            self.hear(0)


_TOO_LONG = 90  # EMSGSIZE


def packed(frames: Sequence[bytes]) -> str:
    """Frames in a short line: what a guest's terminal takes at once is little."""
    return base64.b64encode(zlib.compress(" ".join(frame.hex() for frame in frames).encode())).decode()


def unpacked(line: str) -> list[bytes]:
    """The frames of such a line."""
    return [bytes.fromhex(frame) for frame in zlib.decompress(base64.b64decode(line)).decode().split()]


class Remote:
    """A station in a guest, where `agent.py` does what it is told."""

    streams = True

    def __init__(self, dialogue: Dialogue) -> None:
        self._dialogue = dialogue

    def _tell(self, do: str, **what: Any) -> Any:
        answer = json.loads(self._dialogue.ask(json.dumps({"do": do, **what}), _PATIENCE_SECONDS))
        if "error" in answer:
            raise RuntimeError(f"in the guest: {answer['error']}")
        return answer["is"]

    def settle(self, **what: Any) -> None:
        """Sets its interface up: `interface`, `mac` and `cas`, in the form `10.0.0.1/24`."""
        self._tell("settle", **what)

    def ping(self, address: str, seconds: int) -> bool:
        """As Linux's `ping` says, there."""
        return bool(self._tell("ping", address=address, seconds=seconds))

    def say(self, frames: Sequence[bytes]) -> None:
        """Sends frames as they are, there."""
        self._tell("say", frames=packed(frames))

    def hear(self, milliseconds: float) -> list[bytes]:
        """The frames that came there."""
        return unpacked(self._tell("hear", milliseconds=milliseconds))

    @contextmanager
    def serve(self, address: str) -> Iterator[None]:
        """An iperf3 server there."""
        self._tell("serve", address=address)
        try:
            yield
        finally:
            self._tell("serve_no_more")

    def stream(self, address: str, seconds: int, segment: int) -> float:
        """One TCP stream from there."""
        return float(self._tell("stream", address=address, seconds=seconds, segment=segment))
