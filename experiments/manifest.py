"""Under which circumstances a run was made: commit, machine, tools, settings. Names neither the host nor a user."""

from __future__ import annotations

import os
import platform
import pwd
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
_TIMEOUT_SECONDS = 5
_VERSION_COMMANDS = {
    "clang": ["clang", "--version"],
    "iperf3": ["iperf3", "--version"],
    "ethtool": ["ethtool", "--version"],
    "Open vSwitch": ["ovs-vswitchd", "--version"],
    "libbpf": ["pkg-config", "--modversion", "libbpf"],
}


def manifest(
    file: Mapping[str, Mapping[str, str]],
    seed: int,
    dataplanes: Sequence[str],
    mtus: Mapping[str, Any],
    offloads: Mapping[str, Any],
    arguments: Sequence[str],
    datapaths: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """What to note down before a run begins; `finish` adds what its end shows. What cannot be found out is None.

    `file` is what the run is about, `scenario` or `target`, with its name and sha256; `datapaths` say what forwards, of
    each data plane that leaves that to the machine, be it one host's alone.
    """
    return {
        "started": _now().isoformat(timespec="milliseconds"),
        "arguments": [_without_home(argument) for argument in arguments],
        **file,
        "seed": seed,
        "dataplanes": list(dataplanes),
        "datapaths": dict(datapaths),
        "mtus": dict(mtus),
        "offloads": dict(offloads),
        "source": _source(CHECKOUT),
        "machine": _machine(),
        "tools": _tools(),
        "load_before": _load(),
    }


def finish(noted: dict[str, Any]) -> dict[str, Any]:
    """Adds load and duration (seconds) at the end of the run to a manifest, and returns that same manifest."""
    began = datetime.fromisoformat(noted["started"])
    noted["load_after"] = _load()
    noted["duration_seconds"] = round((_now() - began).total_seconds(), 1)
    return noted


def _now() -> datetime:
    return datetime.now(UTC)


def _load() -> list[float]:
    """Load average over 1, 5 and 15 minutes."""
    return [round(value, 2) for value in os.getloadavg()]


def _output(command: list[str]) -> str | None:
    """What a command printed, or None if it is missing, fails, or takes too long."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _source(checkout: Path) -> dict[str, Any]:
    """Commit and whether it was changed since; both None where there is no checkout."""
    if not (checkout / ".git").exists():  # else git would find a repository further up, which is somebody else's
        return {"commit": None, "dirty": None}
    git = ["git", "-C", str(checkout)]
    status = _output([*git, "status", "--porcelain"])
    return {"commit": _output([*git, "rev-parse", "HEAD"]) or None, "dirty": None if status is None else bool(status)}


def _machine() -> dict[str, Any]:
    uname = os.uname()
    return {
        "kernel": f"{uname.sysname} {uname.release} {uname.machine}",
        "python": platform.python_version(),
        "cpu": _proc_field(Path("/proc/cpuinfo"), "model name"),
        "cpus": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }


def _proc_field(path: Path, name: str) -> str | None:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), None)


def _tools() -> dict[str, str | None]:
    tools = {name: _first_line(_output(command)) for name, command in _VERSION_COMMANDS.items()}
    try:
        tools["mininet"] = metadata.version("mininet")
    except metadata.PackageNotFoundError:
        tools["mininet"] = None
    return tools


def _first_line(output: str | None) -> str | None:
    """The version line alone: some tools go on to name the host."""
    return output.splitlines()[0] if output else None


def _without_home(argument: str) -> str:
    """An argument with a home folder as `~`, since its path holds the user's name."""
    homes = {user.pw_dir for user in pwd.getpwall() if user.pw_dir.startswith(("/home/", "/root", "/Users/"))}
    for home in sorted({*homes, str(Path.home())} - {"/"}, key=len, reverse=True):
        argument = argument.replace(home, "~")
    return argument
