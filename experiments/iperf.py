"""iperf3 between two nodes: one stream, its result, and the CPU time that the machine spent meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_IDLE_COLUMNS = (3, 4, 7)  # idle, iowait, steal of /proc/stat


class Machine(Protocol):
    """Where iperf3 runs: a node, or the namespace that we are in."""

    @property
    def name(self) -> str:
        """What it is called."""

    def start_process(self, command: Sequence[str], **options: Any) -> subprocess.Popen[str]:
        """Starts a command there, with text streams."""

    def run_process(self, command: Sequence[str], timeout: float = 30.0) -> subprocess.CompletedProcess[str]:
        """Runs a command there to its end."""


@dataclass(frozen=True)
class Stream:
    """One measured stream: what arrived, what it cost (None if nothing arrived), and what was lost on the way."""

    gigabits_per_second: float
    cpu_seconds_per_gigabit: float | None
    megabytes: float
    retransmissions: int | None
    loss_percent: float | None


NOTHING = Stream(0.0, None, 0.0, None, None)
"""A stream that never came about."""

_CONNECT_MILLISECONDS = 3000


class NoStreamError(RuntimeError):
    """No stream could be measured; the message says between whom, and what iperf3 said."""


def _busy_seconds() -> float:
    """CPU time that was not idle, of all CPUs together, since boot."""
    first = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    return sum(int(ticks) for column, ticks in enumerate(first) if column not in _IDLE_COLUMNS) / _TICKS_PER_SECOND


@contextmanager
def server(node: Machine, address: str, port: int) -> Iterator[None]:
    """An iperf3 server at an address of a node, ready when the block begins and gone when it ends."""
    command = ["iperf3", "--server", "--bind", address, "--port", str(port), "--forceflush"]
    process = node.start_process(command, stderr=subprocess.STDOUT)
    try:
        said = ""
        while "listening" not in said:
            if not (line := process.stdout.readline() if process.stdout else ""):
                raise RuntimeError(f"iperf3 did not start at {address} of {node.name}: {said.strip()}")
            said += line
        yield
    finally:
        process.kill()
        process.communicate()


def measure(node: Machine, address: str, port: int, protocol: str, seconds: int, segment: int) -> Stream:
    """One stream from a node to a server: TCP as fast as it goes, or UDP as fast as the sender can.

    `segment` is the payload per packet in bytes, so that every path carries packets of one size.
    """
    form = ["--udp", "--bitrate", "0", "--length", str(segment)] if protocol == "UDP" else ["--set-mss", str(segment)]
    limits = ["--time", str(seconds), "--connect-timeout", str(_CONNECT_MILLISECONDS)]
    command = ["iperf3", "--client", address, "--port", str(port), "--json", *limits, *form]
    before = _busy_seconds()
    done = node.run_process(command, timeout=seconds + 20)
    busy = _busy_seconds() - before
    report = json.loads(done.stdout)
    if "error" in report:
        raise NoStreamError(f"iperf3 from {node.name} to {address}: {report['error']}")
    sent, arrived = report["end"]["sum_sent"], report["end"]["sum_received"]
    gigabits = arrived["bytes"] * 8 / 1e9
    return Stream(
        gigabits_per_second=gigabits / arrived["seconds"],
        cpu_seconds_per_gigabit=busy / gigabits if gigabits else None,
        megabytes=arrived["bytes"] / 1e6,
        retransmissions=sent.get("retransmits"),
        loss_percent=arrived.get("lost_percent"),
    )
