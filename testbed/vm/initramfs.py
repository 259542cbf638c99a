"""The archive that a QEMU guest starts from: one program, and the modules that lead to the host's files. Pure.

Its format is cpio's "newc" (Documentation/driver-api/early-userspace/buffer-format.rst).
"""

from __future__ import annotations

import lzma
import posixpath
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from nvgre_node.errors import BadInputError

WANTED = ("virtio_pci", "9pnet_virtio", "9p")
"""What finds the host's files; kernels have each as a module, or in themselves."""
_END = "TRAILER!!!"
_COMPRESSED = {".xz": lzma.decompress}


def archive(files: Mapping[str, bytes]) -> bytes:
    """An archive with these files, which everybody may execute, and the folders that they are in."""
    folders = {parent for name in files for parent in map(str, Path(name).parents) if parent != "."}
    entries = [
        *((name, stat.S_IFDIR | 0o755, b"") for name in sorted(folders)),
        *((name, stat.S_IFREG | 0o755, content) for name, content in files.items()),
        (_END, 0, b""),
    ]
    return b"".join(_entry(number, *entry) for number, entry in enumerate(entries, 1))


def _entry(number: int, name: str, mode: int, content: bytes) -> bytes:
    words = [number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0]
    head = b"070701" + b"".join(f"{word:08x}".encode() for word in words) + name.encode() + b"\0"
    return _padded(head) + _padded(content)


def _padded(text: bytes) -> bytes:
    return text + bytes(-len(text) % 4)


def in_order(dependencies: str, builtin: str, wanted: Iterable[str] = WANTED) -> list[str]:
    """The paths of modules to load, each after those that it needs, by a kernel's `modules.dep` and `modules.builtin`.

    Raises:
        BadInputError: the kernel has one of those that are wanted neither as a module nor in itself.
    """
    needs = {path: rest.split() for path, _, rest in (line.partition(":") for line in dependencies.splitlines())}
    paths = {name_of(path): path for path in needs}
    own = {name_of(path) for path in builtin.splitlines()}
    if lacking := [name for name in wanted if name not in paths and name not in own]:
        raise BadInputError(f"it has no {' and no '.join(lacking)}, by which a guest finds the host's files")
    ordered: dict[str, None] = {}
    for name in wanted:
        if name in paths:
            # A line names all that a module needs, those first that need the others.
            ordered |= dict.fromkeys([*reversed(needs[paths[name]]), paths[name]])
    return list(ordered)


def name_of(path: str) -> str:
    """A module's name by its file: `kernel/net/9p/9pnet_virtio.ko.xz`."""
    return posixpath.basename(path).partition(".ko")[0].replace("-", "_")


def module(path: Path) -> bytes:
    """What a module's file holds, not compressed. Raises BadInputError if that cannot be done here."""
    if path.suffix == ".ko":
        return path.read_bytes()
    if path.suffix not in _COMPRESSED:
        raise BadInputError(f"its modules are compressed in a way that is not known here: {path.name}")
    return _COMPRESSED[path.suffix](path.read_bytes())


def contents(program: Path, modules: Path) -> dict[str, bytes]:
    """What the archive has: a program as `init`, and modules in the order in which it loads them."""
    builtin, dependencies = ((modules / f"modules.{name}").read_text() for name in ("builtin", "dep"))
    ordered = in_order(dependencies, builtin)
    return {
        "init": program.read_bytes(),
        **{f"modules/{number}": module(modules / path) for number, path in enumerate(ordered)},
    }
