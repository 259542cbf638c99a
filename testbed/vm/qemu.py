"""QEMU: any stock kernel on a whole machine, with JIT and type information; by KVM where that works, else emulated."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nvgre_node.errors import BadInputError
from testbed.vm import debian, kernels
from testbed.vm.engine import Channels, in_a_cell, parameters
from testbed.vm.kernels import Kernel, Start

PROGRAM = "qemu-system-x86_64"
KVM = Path("/dev/kvm")
EMULATED = "tcg"
_MOST_CPUS = 2
_EMULATES_CPUS = (10,)
"""The first version that several emulated CPUs are known to work with; 7.2 corrupts its guests' memory."""
_FIRST_SLOT = 2
"""The first of a guest's slots that is free: Linux numbers ports by the order of their devices."""
PATIENCE = 20.0
"""Seconds in which a guest must have come to life by KVM; an emulated one takes five."""
_ALIVE = b"init: alive"
_VERSION = re.compile(r"version (\d+)\.(\d+)")


@dataclass(frozen=True)
class Qemu:
    """The engine that boots a kernel of the user's choice: one of Debian's, by its series, or an image."""

    choice: str = kernels.DEFAULT
    name = "qemu"

    def missing(self) -> str:
        """Why it cannot be used, with the remedy; empty if it can."""
        if platform.machine() != "x86_64":
            what = "QEMU guests share this machine's programs, and are for x86_64"
            return f"{what}; this machine is {platform.machine()}"
        if shutil.which(PROGRAM) is None:
            return "QEMU is missing (Debian: apt-get install --no-install-recommends qemu-system-x86)"
        return ""

    def prepare(self) -> None:
        """Fetches its kernel. Raises BadInputError if the choice is none, MissingError if it cannot be had."""
        kernels.start(kernels.find(self.choice))

    def command(self, job: Path, channels: Channels, memory: int, nics: Sequence[str] = ()) -> list[str]:
        """The command that runs a guest, confined to its job's folder. Raises BadInputError for one with NICs."""
        if nics:
            raise BadInputError("guests of QEMU have no NIC here")
        kernel = kernels.find(self.choice)
        start = kernels.start(kernel)
        accelerator = "kvm" if kvm_works(job, start) else EMULATED
        return guest(job, start, accelerator, processors(accelerator, version()), memory, kernel, channels)


def guest(
    job: Path, start: Start, accelerator: str, cpus: int, memory: int, kernel: Kernel, channels: Channels
) -> list[str]:
    """The command of a guest that does a job."""
    is_terminal = channels.stdin is not None
    ends = terminal(channels) if is_terminal else pipes(channels)
    out, err = ("/dev/hvc0", "/dev/hvc1") if is_terminal else ("/dev/vport0p1", "/dev/vport0p2")
    appended = parameters("qemu", job, kernel.modules.parent, out, err)
    words = [
        *machine(start, accelerator, cpus, memory, [quoted(word) for word in appended]),
        *("-device", f"virtio-serial-pci,ioeventfd=off,addr={_FIRST_SLOT}", *ends),
        *("-fsdev", f"local,id=job,path={job},security_model=passthrough"),
        *("-device", "virtio-9p-pci,fsdev=job,mount_tag=job"),
    ]
    return in_a_cell(job, words, devices_of(accelerator))


def machine(start: Start, accelerator: str, cpus: int, memory: int, appended: list[str]) -> list[str]:
    """QEMU's words for a machine that starts a kernel, sees the host's files, and prints its kernel's log."""
    processor = "host" if accelerator == "kvm" else "max"
    return [
        *(PROGRAM, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
        *("-accel", accelerator, "-cpu", processor, "-smp", str(cpus), "-m", f"{memory}M"),
        *("-kernel", str(start.kernel), "-initrd", str(start.initramfs)),
        *("-append", " ".join(["console=ttyS0", *appended])),
        *("-chardev", "stdio,id=log,signal=off", "-serial", "chardev:log"),
        *("-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap"),
        *("-device", f"virtio-9p-pci,fsdev=host,mount_tag=host,addr={_FIRST_SLOT + 1}"),
    ]


def pipes(channels: Channels) -> list[str]:
    """Ports of the guest that lead to pipes.

    What a port is given goes to a log, since logs are written whole, and before the guest goes on: a pipe's own device
    loses what is under way when a guest switches off.
    """
    words = []
    for number, descriptor in enumerate([channels.out, channels.err], 1):
        words += [
            *("-add-fd", f"fd={descriptor},set={descriptor}"),
            *("-chardev", f"file,id=port{number},path=/dev/null,logfile=/dev/fdset/{descriptor},logappend=on"),
            *("-device", f"virtserialport,chardev=port{number},nr={number}"),
        ]
    return words


def terminal(channels: Channels) -> list[str]:
    """Consoles of the guest: the first is joined to a terminal, the other goes nowhere."""
    return [
        *("-add-fd", f"fd={channels.out},set={channels.out}"),
        *("-chardev", f"serial,id=console,path=/dev/fdset/{channels.out}", "-device", "virtconsole,chardev=console"),
        *("-chardev", "null,id=none", "-device", "virtconsole,chardev=none"),
    ]


def quoted(word: str) -> str:
    """A parameter of a kernel, whose value may have blanks."""
    name, _, value = word.partition("=")
    return f'{name}="{value}"' if " " in value else word


def devices_of(accelerator: str) -> list[Path]:
    """What of the machine's devices QEMU needs."""
    return [KVM] if accelerator == "kvm" else []


def processors(accelerator: str, qemu: tuple[int, ...]) -> int:
    """How many CPUs a guest can have."""
    sound = accelerator == "kvm" or qemu >= _EMULATES_CPUS
    return min(_MOST_CPUS, len(os.sched_getaffinity(0))) if sound else 1


def version() -> tuple[int, ...]:
    """QEMU's version, its first two numbers; (0,) if it says none."""
    done = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=False)
    found = _VERSION.search(done.stdout)
    return tuple(map(int, found.groups())) if found else (0,)


def kvm_works(job: Path, start: Start) -> bool:
    """Whether a guest comes to life by KVM here: tried, once for each kernel and boot of this machine.

    That /dev/kvm is there says little: in a virtual machine it may be there, and its guests die.
    """
    if not KVM.exists():
        return False
    boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    known_by = hashlib.sha256(f"{boot}{version()}{start.digest}".encode()).hexdigest()[:12]
    found = debian.CACHE / f"{known_by}.kvm"
    if not found.exists():
        found.write_text("works\n" if comes_to_life(job, start, "kvm") else "fails\n")
    return found.read_text() == "works\n"


def comes_to_life(job: Path, start: Start, accelerator: str) -> bool:
    """Whether a guest gets as far as to the host's files."""
    command = in_a_cell(job, machine(start, accelerator, 1, 512, ["panic=-1", "PROBE=1"]), devices_of(accelerator))
    with suppress(subprocess.TimeoutExpired):
        done = subprocess.run(
            ["setpriv", "--pdeathsig", "KILL", "--", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=PATIENCE,
            check=False,
        )
        return _ALIVE in done.stdout
    return False
