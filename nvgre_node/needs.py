"""What something here needs of the machine: whether it is there, and how to get it."""

from __future__ import annotations

import ctypes.util
import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nvgre_node import kernel


@dataclass(frozen=True)
class Need:
    """Something that a machine has or lacks."""

    name: str
    present: Callable[[], bool]
    remedy: str


def program(name: str, package: str) -> Need:
    """A program on the search path, which a package of the distribution has."""
    return Need(name, lambda: shutil.which(name) is not None, f"apt-get install {package}")


def linux(major: int, minor: int) -> Need:
    """A kernel that is at least so new."""

    def present() -> bool:
        numbers = platform.release().split("-")[0].split(".")[:2]
        return tuple(int(number) for number in numbers) >= (major, minor)

    return Need(f"Linux {major}.{minor} or newer", present, "use a newer kernel")


def file_system(name: str, what: str, option: str) -> Need:
    """A file system that the kernel knows."""
    known = Path("/proc/filesystems")
    return Need(what, lambda: f"\t{name}\n" in known.read_text(), f"use a kernel with {option}")


def library(name: str, major: int, what: str, package: str) -> Need:
    """A shared library, in the version of its interface that is wanted."""

    def present() -> bool:
        return ctypes.util.find_library(name) is not None or any(Path("/usr/lib").glob(f"*/lib{name}.so.{major}"))

    return Need(what, present, f"apt-get install {package}")


def made_by_kernel(name: str) -> Need:
    """Something of `kernel.PROBES`, which only root can find out: for others it counts as present."""
    return Need(name, lambda: os.geteuid() != 0 or not kernel.lacks()[name], "a guest has it: ./nvgre vm run -- ...")
