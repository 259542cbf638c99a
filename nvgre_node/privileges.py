"""What root may do here: in a container, less than elsewhere. Who is not root lacks root, and is told so elsewhere."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

_NUMBERS = {"NET_ADMIN": 12, "SYS_ADMIN": 21, "MKNOD": 27}  # linux/capability.h
_SYSCTL = "/proc/sys/net/ipv4/ip_forward"


def missing_for_a_guest() -> str:
    """What root lacks of what the launcher of guests needs, with the remedy; empty if nothing."""
    missing = _lacking("SYS_ADMIN", "MKNOD")
    return _told(missing, " ".join(f"--cap-add {name}" for name in missing))


def missing_for_a_network() -> str:
    """What root lacks of what building networks needs, with the remedy; empty if nothing."""
    read_only = [] if os.access(_SYSCTL, os.W_OK) else ["a writable /proc/sys"]
    return _told([*_lacking("SYS_ADMIN", "NET_ADMIN"), *read_only], "--privileged, or use ./nvgre vm")


def _lacking(*capabilities: str) -> list[str]:
    lines = Path("/proc/self/status").read_text().splitlines()
    has = next(int(line.split()[1], 16) for line in lines if line.startswith("CapEff:"))
    return [name for name in capabilities if not has >> _NUMBERS[name] & 1]


def _told(missing: Sequence[str], remedy: str) -> str:
    if not missing or os.geteuid() != 0:
        return ""
    return f"root without {', '.join(missing)}; in a container, start that with {remedy}"
