"""Compiles the BPF programs with clang, once per version of their sources."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sysconfig
from pathlib import Path

from nvgre_node.errors import MissingError

SOURCES = Path(__file__).parent / "bpf"
OUTPUT = Path(__file__).parents[2] / "build"
KERNEL_BTF = Path("/sys/kernel/btf/vmlinux")
"""The kernel's own type information, where it has any: Debian's kernels do, User-Mode Linux does not."""
_FLAGS = ["-O2", "-g", "-Wall", "-Werror", "-target", "bpf"]


def object_file(name: str = "nvgre", kernel_btf: bool | None = None) -> Path:
    """The compiled programs of a source `NAME.bpf.c`; compiled now if these sources have not been compiled before.

    They are for a kernel with or without type information of its own; if that is not said, for this one.

    Raises:
        MissingError: no clang, or it refuses the sources (usually for want of libbpf's headers).
    """
    kernel_btf = KERNEL_BTF.exists() if kernel_btf is None else kernel_btf
    target = OUTPUT / f"{name}-{digest(SOURCES)}{'' if kernel_btf else '-without-btf'}.bpf.o"
    return target if target.exists() else compile_programs(SOURCES, target, name, kernel_btf)


def digest(sources: Path) -> str:
    """By what a version of the sources is known."""
    found = hashlib.sha256()
    for source in sorted(sources.iterdir()):
        found.update(source.read_bytes())
    return found.hexdigest()[:12]


def compile_programs(sources: Path, target: Path, name: str = "nvgre", kernel_btf: bool | None = None) -> Path:
    """Compiles the programs in a folder of sources; the target appears whole or not at all. As object_file."""
    kernel_btf = KERNEL_BTF.exists() if kernel_btf is None else kernel_btf
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_suffix(f".{os.getpid()}")
    multiarch = sysconfig.get_config_var("MULTIARCH")  # where Debian keeps <asm/types.h>
    include = [f"-I/usr/include/{multiarch}"] if multiarch else []
    variant = [] if kernel_btf else ["-DWITHOUT_KERNEL_BTF"]
    command = ["clang", *_FLAGS, *variant, *include, "-c", str(sources / f"{name}.bpf.c"), "-o", str(fresh)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise MissingError("clang is missing: it compiles the BPF programs (Debian: apt-get install clang)") from error
    except subprocess.CalledProcessError as error:
        raise MissingError(f"clang could not compile the BPF programs:\n{error.stderr}") from error
    return fresh.rename(target)


if __name__ == "__main__":
    for source in sorted(SOURCES.glob("*.bpf.c")):
        for with_btf in (True, False):
            print(object_file(source.name.removesuffix(".bpf.c"), with_btf))
