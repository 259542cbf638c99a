"""The cell that a guest runs in, so that it can write nothing of the host: `python -m testbed.vm.confine`.

Root in a User-Mode Linux guest may open any path of the host. So it gets mount and process-id namespaces of its own
from util-linux's `unshare`. In these, this program makes everything read-only but one folder, and replaces what would
lead out of them: `/proc`, `/dev`, `/sys`. Then it gives up the privileges that could undo that and becomes the guest.
"""

from __future__ import annotations

import ctypes
import os
import resource
import stat
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

KERNEL_MADE = frozenset(
    [
        "autofs",
        "binfmt_misc",
        "bpf",
        "cgroup",
        "cgroup2",
        "configfs",
        "debugfs",
        "devpts",
        "devtmpfs",
        "efivarfs",
        "fusectl",
        "hugetlbfs",
        "mqueue",
        "nsfs",
        "proc",
        "pstore",
        "rpc_pipefs",
        "securityfs",
        "selinuxfs",
        "sysfs",
        "tracefs",
    ]
)
"""File systems that hold no files, but the kernel's own things, namespaces of other people's networks among them."""
DEVICES = {"null": 3, "zero": 5, "full": 7, "random": 8, "urandom": 9}
"""The devices that are nobody's: minor numbers under the major number 1."""
KEPT = "-all,+chown,+dac_override,+dac_read_search,+fowner,+fsetid,+setuid,+setgid"
"""Privileges of the guest's process: those that files of other users need."""
RAW = f"{KEPT},+net_raw"
"""The same of a guest whose own NIC speaks GRE: it needs a raw socket."""

MEMORY = "/dev/shm"  # noqa: S108 (the cell's own)
"""Where the guest's memory is: in the host's, gone with the cell."""

_LIBC = ctypes.CDLL(None, use_errno=True)
_MNT_DETACH = 2
_MS_NOSUID, _MS_NOEXEC, _MS_BIND = 2, 8, 4096
_SYS_MOUNT_SETATTR = 442
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_READ_ONLY = 1


class _Attributes(ctypes.Structure):
    """The kernel's `struct mount_attr`."""

    _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "userns")]


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str, flags: int = 0, options: str = "") -> None:
    """Mounts something."""
    words = [word.encode() for word in (source, target, kind)]
    _check(_LIBC.mount(*words, ctypes.c_ulong(flags), options.encode()), f"mounting {target}")


def set_read_only(path: str, read_only: bool, recursive: bool = False) -> None:
    """Makes a mount read-only or writable; `recursive`: and all that is mounted below it (Linux 5.12)."""
    wanted = _Attributes(set=_READ_ONLY if read_only else 0, clear=0 if read_only else _READ_ONLY)
    where = (ctypes.c_int(_AT_FDCWD), path.encode(), ctypes.c_uint(_AT_RECURSIVE if recursive else 0))
    size = ctypes.c_size_t(ctypes.sizeof(wanted))
    _check(_LIBC.syscall(ctypes.c_long(_SYS_MOUNT_SETATTR), *where, ctypes.byref(wanted), size), f"protecting {path}")


def mounts() -> list[tuple[str, str]]:
    """Mount points and kinds of file systems, in the order in which they were mounted."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        words, kinds = (part.split() for part in line.split(" - ", 1))
        point = os.fsencode(words[4]).decode("unicode_escape").encode("latin-1")  # blanks are written \\040
        found.append((os.fsdecode(point), kinds[0]))
    return found


def is_replaced(point: str, kind: str) -> bool:
    """Whether a mount has no business in the cell."""
    return kind in KERNEL_MADE or f"{point}/".startswith(("/proc/", "/sys/", "/dev/"))


def confine(shared: str, devices: Sequence[str] = ()) -> None:
    """Makes this process's mounts read-only but for the folder `shared`; needs namespaces that it may change.

    Of the machine's own devices it keeps those that it is told.
    """
    kept = {path: Path(path).stat() for path in devices}
    for point, kind in reversed(mounts()):
        if is_replaced(point, kind):
            with suppress(OSError):  # hidden under another mount, and so out of reach already
                _check(_LIBC.umount2(os.fsencode(point), _MNT_DETACH), f"detaching {point}")
    mount("proc", "/proc", "proc", _MS_NOSUID | _MS_NOEXEC)
    mount(shared, shared, "none", _MS_BIND)
    set_read_only("/", read_only=True, recursive=True)
    set_read_only(shared, read_only=False)
    mount("dev", "/dev", "tmpfs", _MS_NOSUID, "mode=755")
    for name, minor in DEVICES.items():
        os.mknod(f"/dev/{name}", stat.S_IFCHR | 0o666, os.makedev(1, minor))
    for path, found in kept.items():
        os.mknod(path, found.st_mode, found.st_rdev)
    Path(MEMORY).mkdir()


def become(command: list[str], privileges: str) -> NoReturn:
    """Gives up all but these privileges and becomes a program."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    environment = {"PATH": os.defpath, "TMPDIR": MEMORY, "HOME": MEMORY}
    limits = ["--no-new-privs", "--inh-caps=-all", f"--bounding-set={privileges}"]
    os.execvpe("setpriv", ["setpriv", *limits, "--", *command], environment)  # noqa: S606


def wait_for(child: int) -> int:
    """The exit status of a child; buries what else dies here, as process 1 has to."""
    while True:
        pid, status = os.wait()
        if pid == child:
            return os.waitstatus_to_exitcode(status)


def main() -> None:
    """Confines itself and runs the command after `--`; before it: its privileges, the folder to stay writable, devices.

    Before both: the privileges that the program keeps.

    Everything in the cell ends when this process does. The program is its child since a process 1 cannot end itself by
    a signal, which is how User-Mode Linux ends after a panic.
    """
    own, command = sys.argv[1 : sys.argv.index("--")], sys.argv[sys.argv.index("--") + 1 :]
    privileges, shared, *devices = own
    confine(shared, devices)
    child = os.fork()
    if not child:
        become(command, privileges)
    sys.exit(1 if wait_for(child) else 0)


if __name__ == "__main__":
    main()
