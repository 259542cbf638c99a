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
_FLAGS = ["-O2", "-g", "-Wall", "-Werror", "-target", "bpf"]


def object_file(name: str = "nvgre") -> Path:
    """The compiled programs of a source `NAME.bpf.c`; compiled now if these sources have not been compiled before.

    Raises:
        MissingError: no clang, or it refuses the sources (usually for want of libbpf's headers).
    """
    target = OUTPUT / f"{name}-{digest(SOURCES)}.bpf.o"
    return target if target.exists() else compile_programs(SOURCES, target, name)


def digest(sources: Path) -> str:
    """By what a version of the sources is known."""
    found = hashlib.sha256()
    for source in sorted(sources.iterdir()):
        found.update(source.read_bytes())
    return found.hexdigest()[:12]


def compile_programs(sources: Path, target: Path, name: str = "nvgre") -> Path:
    """Compiles the programs in a folder of sources; the target appears whole or not at all. Raises as object_file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_suffix(f".{os.getpid()}")
    multiarch = sysconfig.get_config_var("MULTIARCH")  # where Debian keeps <asm/types.h>
    include = [f"-I/usr/include/{multiarch}"] if multiarch else []
    command = ["clang", *_FLAGS, *include, "-c", str(sources / f"{name}.bpf.c"), "-o", str(fresh)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise MissingError("clang is missing: it compiles the BPF programs (Debian: apt-get install clang)") from error
    except subprocess.CalledProcessError as error:
        raise MissingError(f"clang could not compile the BPF programs:\n{error.stderr}") from error
    return fresh.rename(target)


if __name__ == "__main__":
    print(object_file())
