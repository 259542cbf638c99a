"""The kernels that QEMU can boot: Debian's by series, or any by its file; and what is made of one to start from."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nvgre_node.errors import BadInputError
from testbed.vm import debian, image, initramfs
from testbed.vm.compiled import compiled

DEFAULT = "6.1"
INIT = Path(__file__).parent / "boot/init.c"
_MODULES = Path("/lib/modules")


@dataclass(frozen=True)
class Kernel:
    """A kernel: its image, and the folder with the modules of its release."""

    image: Path
    modules: Path


@dataclass(frozen=True)
class Start:
    """What QEMU loads: a kernel, an initramfs, and by what the two are known."""

    kernel: Path
    initramfs: Path
    digest: str


def check(choice: str) -> None:
    """Raises BadInputError if a choice can be no kernel: neither one of Debian's nor a file."""
    if choice not in debian.SUITES and not Path(choice).is_file():
        known = " and ".join(debian.SUITES)
        raise BadInputError(f"there is no kernel {choice}: Debian's are {known}; any other is the path of its image")


def find(choice: str) -> Kernel:
    """A kernel by Debian's series or by the path of its image.

    Raises:
        BadInputError: it is no kernel, or its modules are not found.
        MissingError: it cannot be fetched.
    """
    check(choice)
    if choice not in debian.SUITES:
        return of_file(Path(choice).resolve())
    folder = debian.kernel(choice)
    [path] = (folder / "boot").glob("vmlinuz-*")
    [modules] = debian.modules_in(folder)
    return Kernel(path, modules)


def of_file(path: Path) -> Kernel:
    """A kernel with its modules: in the tree that it was unpacked to with them, or else this machine's."""
    with _about(path):
        release = image.release(path.read_bytes())
    places = [path.parents[1] / "lib/modules", path.parents[1] / "usr/lib/modules", _MODULES]
    for modules in (place / release for place in places):
        if (modules / "modules.dep").exists():
            return Kernel(path, modules)
    looked = ", ".join(dict.fromkeys(map(str, places)))
    raise BadInputError(
        f"{path}: its modules are not there: no {release}/modules.dep in {looked} (depmod -b FOLDER {release} makes it)"
    )


def start(kernel: Kernel) -> Start:
    """What QEMU loads of a kernel, made now if it was not before. Raises BadInputError if none can be made."""
    program = compiled(INIT, "-static")
    content, builtin = kernel.image.read_bytes(), (kernel.modules / "modules.builtin").read_bytes()
    dependencies = (kernel.modules / "modules.dep").read_bytes()
    digest = hashlib.sha256(b"".join([program.read_bytes(), content, builtin, dependencies])).hexdigest()[:12]
    debian.CACHE.mkdir(parents=True, exist_ok=True)
    unpacked, packed = debian.CACHE / f"{digest}.vmlinux", debian.CACHE / f"{digest}.cpio"
    if not packed.exists():
        with _about(kernel.image):
            files = initramfs.contents(program, kernel.modules)
        _write(unpacked, image.unpacked(content) or content)
        _write(packed, initramfs.archive(files))
    return Start(unpacked, packed, digest)


@contextmanager
def _about(path: Path) -> Iterator[None]:
    """What is bad in the block is said to be so of this kernel."""
    try:
        yield
    except BadInputError as error:
        raise BadInputError(f"{path}: {error}") from error


def _write(path: Path, content: bytes) -> None:
    """Writes a file, which appears whole or not at all."""
    fresh = path.with_suffix(f".{os.getpid()}")
    fresh.write_bytes(content)
    fresh.rename(path)
