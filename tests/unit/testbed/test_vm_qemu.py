"""The QEMU engine's words: its command line, how many CPUs it may have, and what it says where it cannot be used."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

import pytest

from nvgre_node.errors import BadInputError
from testbed.verbs.vm import chosen_engine
from testbed.vm import debian, qemu
from testbed.vm.confine import KEPT
from testbed.vm.engine import Channels
from testbed.vm.kernels import Kernel, Start
from testbed.vm.qemu import Qemu
from testbed.vm.uml import UserModeLinux

from .command_line import nvgre

JOB = Path("/run/nvgre/x/job")
START = Start(Path("/cache/a.vmlinux"), Path("/cache/a.cpio"), "a")
KERNEL = Kernel(Path("/boot/vmlinuz"), Path("/my modules/6.1.0"))


def words(accelerator: str = "tcg", stdin: int | None = None) -> list[str]:
    return qemu.guest(JOB, START, accelerator, 1, 512, KERNEL, Channels(stdin, 7, 8))


def after(option: str, said: list[str]) -> list[str]:
    """What follows each of an option."""
    return [said[at + 1] for at, word in enumerate(said) if word == option]


def test_it_is_confined_to_its_job_and_sees_the_host_read_only() -> None:
    said = words()
    assert said[0] == "unshare"
    assert said[said.index("testbed.vm.confine") + 1 : said.index("--")] == [KEPT, str(JOB)]
    shares = [word for word in after("-fsdev", said) if word.startswith("local,")]
    assert [("readonly=on" in share, "path=/," in share) for share in shares] == [(True, True), (False, False)]
    assert f"path={JOB}," in shares[1]


def test_only_by_kvm_it_keeps_a_device_of_the_machines() -> None:
    assert after(KEPT, words("kvm")) == [str(JOB)]
    assert after(str(JOB), words("kvm"))[0] == "/dev/kvm"
    assert after("-cpu", words("kvm")) == ["host"]
    assert "/dev/kvm" not in words("tcg")
    assert after("-cpu", words("tcg")) == ["max"]


def test_pipes_are_ports_and_a_terminal_is_a_console() -> None:
    assert [word for word in after("-device", words()) if word.startswith("virtserialport")] == [
        "virtserialport,chardev=port1,nr=1",
        "virtserialport,chardev=port2,nr=2",
    ]
    assert "file,id=port2,path=/dev/null,logfile=/dev/fdset/8,logappend=on" in after("-chardev", words())
    assert after("-add-fd", words()) == ["fd=7,set=7", "fd=8,set=8"]
    assert "serial,id=console,path=/dev/fdset/7" in after("-chardev", words(stdin=9))


@pytest.mark.parametrize(("stdin", "out"), [(None, "/dev/vport0p1"), (9, "/dev/hvc0")])
def test_the_kernels_command_line_tells_the_guest_its_job(stdin: int | None, out: str) -> None:
    [line] = after("-append", words(stdin=stdin))
    assert f" ENGINE=qemu JOB={JOB} " in line
    assert 'MODULES="/my modules"' in line
    assert f" OUT={out} " in line


@pytest.mark.parametrize(
    ("accelerator", "version", "most"),
    [("tcg", (7, 2), 1), ("tcg", (9, 1), 1), ("tcg", (10, 0), 2), ("kvm", (7, 2), 2)],
)
def test_several_cpus_are_not_emulated_by_versions_that_cannot(
    accelerator: str, version: tuple[int, int], most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8))
    assert qemu.processors(accelerator, version) == most


@pytest.mark.parametrize(
    ("machine", "program", "said"),
    [
        ("aarch64", "/usr/bin/qemu", "are for x86_64; this machine is aarch64"),
        ("x86_64", None, "apt-get install --no-install-recommends qemu-system-x86"),
        ("x86_64", "/usr/bin/qemu", ""),
    ],
)
def test_it_says_why_it_cannot_be_used(
    machine: str, program: str | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(shutil, "which", lambda _: program)
    assert said in Qemu().missing()
    assert bool(Qemu().missing()) == bool(said)


def test_without_a_device_kvm_is_not_tried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(qemu, "KVM", tmp_path / "kvm")
    monkeypatch.setattr(qemu, "comes_to_life", lambda *_: pytest.fail("tried"))
    assert not qemu.kvm_works(JOB, START)


@pytest.mark.parametrize("works", [True, False])
def test_what_boots_by_kvm_is_tried_once(works: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tries: list[object] = []

    def boot(*words: object) -> bool:
        tries.append(words)
        return works

    monkeypatch.setattr(qemu, "KVM", tmp_path)
    monkeypatch.setattr(qemu, "version", lambda: (7, 2))
    monkeypatch.setattr(debian, "CACHE", tmp_path)
    monkeypatch.setattr(qemu, "comes_to_life", boot)
    assert [qemu.kvm_works(JOB, START) for _ in range(2)] == [works, works]
    assert len(tries) == 1


def test_an_engine_is_chosen_with_its_kernel() -> None:
    assert isinstance(chosen_engine("uml", None), UserModeLinux)
    assert chosen_engine("qemu", None) == Qemu("6.1")
    assert chosen_engine("qemu", "6.12") == Qemu("6.12")
    with pytest.raises(BadInputError, match="needs --engine qemu"):
        chosen_engine("uml", "6.12")


def test_a_kernel_without_qemu_is_bad_input() -> None:
    said = nvgre("vm", "run", "--kernel", "6.12", "true")
    assert (said.status, said.out) == (2, "")
    assert said.err == "--kernel 6.12: User-Mode Linux boots its own kernel; another needs --engine qemu\n"
