"""User-Mode Linux: Debian's stock kernel as an ordinary process. No KVM, no image; boots in two seconds."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from nvgre_node.dataplane.build import OUTPUT
from nvgre_node.errors import MissingError
from testbed.vm.confine import KEPT, RAW
from testbed.vm.engine import Channels

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

    def command(self, job: Path, channels: Channels, memory: int, nics: Sequence[str] = ()) -> list[str]:
        """The command that runs a guest, confined to its job's folder. `nics`: options of `vec0`, `vec1`, ..."""
        stdin = "null" if channels.stdin is None else f"fd:{channels.stdin}"
        kernel = [
            *(KERNEL, "umid=guest", "uml_dir=/dev/", f"mem={memory}M"),
            *("root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", f"init={job}/guest/uml.sh"),
            *("con=null", "con0=null,fd:1", f"con1={stdin},fd:{channels.out}", f"con2=null,fd:{channels.err}"),
            *("quiet", "panic=-1", "noreboot", f"JOB={job}", f"MODULES={MODULES}"),
            *(f"vec{number}:{options}" for number, options in enumerate(nics)),
        ]
        cell = ["unshare", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "--propagation", "private"]
        confined = [
            sys.executable,
            "-m",
            "testbed.vm.confine",
            RAW if nics else KEPT,
            str(job),
            "env",
            f"LD_PRELOAD={shim()}",
        ]
        return [*cell, *confined, *kernel]


def shim() -> Path:
    """The compiled `host/xstate.c`, made now if it has not been made before. Raises MissingError without clang."""
    target = OUTPUT / f"xstate-{hashlib.sha256(_SHIM.read_bytes()).hexdigest()[:12]}.so"
    if not target.exists():
        fresh = target.with_suffix(f".{os.getpid()}")
        OUTPUT.mkdir(exist_ok=True)
        command = ["clang", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", str(_SHIM), "-o", str(fresh)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except FileNotFoundError as error:
            raise MissingError("clang is missing (Debian: apt-get install clang)") from error
        except subprocess.CalledProcessError as error:
            raise MissingError(f"clang could not compile {_SHIM.name}:\n{error.stderr}") from error
        fresh.rename(target)
    return target
