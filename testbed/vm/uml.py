"""User-Mode Linux: Debian's stock kernel as an ordinary process. No KVM, no image; boots in two seconds."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Sequence
from pathlib import Path

from testbed.vm.compiled import compiled
from testbed.vm.confine import KEPT, RAW
from testbed.vm.engine import Channels, in_a_cell, parameters

KERNEL = "linux.uml"
MODULES = Path("/usr/lib/uml/modules")
ARCHITECTURES = ("x86_64", "i686")
_SHIM = Path(__file__).parent / "host/xstate.c"


class UserModeLinux:
    """The engine that needs nothing but Debian's package."""

    name = "uml"

    def missing(self) -> str:
        """Why it cannot be used, with the remedy; empty if it can."""
        if platform.machine() not in ARCHITECTURES:
            return f"User-Mode Linux is for {' and '.join(ARCHITECTURES)}; this machine is {platform.machine()}"
        if shutil.which(KERNEL) is None or not MODULES.is_dir():
            return "User-Mode Linux is missing (Debian: apt-get install user-mode-linux)"
        return ""

    def prepare(self) -> None:
        """Compiles what is preloaded into it."""
        shim()

    def command(self, job: Path, channels: Channels, memory: int, nics: Sequence[str] = ()) -> list[str]:
        """The command that runs a guest, confined to its job's folder. `nics`: options of `vec0`, `vec1`, ..."""
        stdin = "null" if channels.stdin is None else f"fd:{channels.stdin}"
        kernel = [
            *(KERNEL, "umid=guest", "uml_dir=/dev/", f"mem={memory}M", "noreboot"),
            *("root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", f"init={job}/guest/root.sh"),
            *("con=null", "con0=null,fd:1", f"con1={stdin},fd:{channels.out}", f"con2=null,fd:{channels.err}"),
            *parameters(self.name, job, MODULES, "/dev/tty1", "/dev/tty2"),
            *(f"vec{number}:{options}" for number, options in enumerate(nics)),
        ]
        command = ["env", f"LD_PRELOAD={shim()}", *kernel]
        return in_a_cell(job, command, privileges=RAW if nics else KEPT)


def shim() -> Path:
    """The compiled `host/xstate.c`. Raises MissingError without clang."""
    return compiled(_SHIM, "-shared", "-fPIC")
