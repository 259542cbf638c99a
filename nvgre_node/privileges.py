"""What this process may do: root in a container may less than root elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

GUEST = ("SYS_ADMIN",)
"""What namespaces and mounts need: all that the launcher of a guest uses."""
NETWORK = ("SYS_ADMIN", "NET_ADMIN")
_NUMBERS = {"NET_ADMIN": 12, "SYS_ADMIN": 21}  # linux/capability.h


def lacking(needed: Iterable[str]) -> list[str]:
    """Those capabilities, by their names, that this process does not have."""
    lines = Path("/proc/self/status").read_text().splitlines()
    has = next(int(line.split()[1], 16) for line in lines if line.startswith("CapEff:"))
    return [name for name in needed if not has >> _NUMBERS[name] & 1]


def remedy(names: Iterable[str]) -> str:
    """How root gets capabilities that it lacks."""
    return f"in a container, start that with {' '.join(f'--cap-add {name}' for name in names)}"
