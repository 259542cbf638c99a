"""C programs of the launcher's own, compiled with clang once per version of their source."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

from nvgre_node.dataplane.build import OUTPUT
from nvgre_node.errors import MissingError


def compiled(source: Path, *options: str) -> Path:
    """The program or library that clang makes of a source with these options, made now if it was not before.

    Raises:
        MissingError: there is no clang, or it refuses.
    """
    target = OUTPUT / f"{source.stem}-{hashlib.sha256(source.read_bytes()).hexdigest()[:12]}"
    if target.exists():
        return target
    fresh = target.with_suffix(f".{os.getpid()}")
    OUTPUT.mkdir(exist_ok=True)
    command = ["clang", "-O2", "-Wall", "-Werror", *options, str(source), "-o", str(fresh)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise MissingError("clang is missing (Debian: apt-get install clang)") from error
    except subprocess.CalledProcessError as error:
        raise MissingError(f"clang could not compile {source.name}:\n{error.stderr}") from error
    return fresh.rename(target)
