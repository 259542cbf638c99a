"""QEMU's guests: one boot in which everything is asked, and one that is killed.

QEMU is no part of what this project installs by itself; these tests are, and install it.
"""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from nvgre_node import namespace
from nvgre_node.waiting import wait_until
from testbed.vm import initramfs, kernels, qemu
from testbed.vm.compiled import compiled
from testbed.vm.job import INSIDE
from testbed.vm.qemu import Qemu

from .belongings import CHECKOUT, COMMAND, runs_of

pytestmark = [
    pytest.mark.skipif(INSIDE in os.environ, reason="a guest runs no other"),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="QEMU's guests are for x86_64"),
]
PATIENCE = 600.0
INSTALL = ["apt-get", "install", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300", "qemu-system-x86"]
SCRIPT = """
uname -r; test -r /sys/kernel/btf/vmlinux && echo btf; cat /proc/sys/net/core/bpf_jit_enable; printf '%s\\0' "$@"
touch pyproject.toml "$NEW" && echo "seems to write"; echo "$NVGRE_VM" >&2
ip link add gre1 type gretap remote 192.0.2.1 key 5 || exit 1
exit 7
"""


@pytest.fixture(scope="module", autouse=True)
def _qemu() -> None:
    if Qemu().missing():
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        done = subprocess.run(INSTALL, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr
    assert Qemu().missing() == ""


def test_a_guest_with_a_stock_kernel_gives_back_what_its_command_gave() -> None:
    new = CHECKOUT / "build/written-by-a-guest"
    words = ["env", f"NEW={new}", "sh", "-c", SCRIPT, "sh", "a b", "", "two\nlines"]
    done = subprocess.run(
        [*COMMAND, "vm", "run", "--engine", "qemu", "--kernel", "6.1", "--time-limit", str(PATIENCE), "--", *words],
        cwd=CHECKOUT,
        capture_output=True,
        check=False,
    )
    release, btf, jit, rest = done.stdout.split(b"\n", 3)
    assert release.startswith(b"6.1.")
    assert (btf, jit) == (b"btf", b"1")
    assert rest == b"a b\0\0two\nlines\0seems to write\n"
    assert (done.stderr, done.returncode) == (b"qemu\n", 7)
    assert not new.exists()


@pytest.fixture
def guest() -> Iterator[subprocess.Popen[bytes]]:
    command = [*COMMAND, "vm", "run", "--engine", "qemu", "--time-limit", str(PATIENCE), "sleep", "1000"]
    with subprocess.Popen(command, cwd=CHECKOUT) as process:
        yield process
        process.kill()


def is_there(run_id: str) -> bool:
    """Whether QEMU runs for a guest."""
    for pid in namespace.inhabitants(namespace.NAMED / f"{run_id}-guest"):
        with suppress(OSError), open(f"/proc/{pid}/comm") as name:  # noqa: PTH123
            if name.read().startswith("qemu-system"):
                return True
    return False


@pytest.mark.usefixtures("sole_cleaner")
def test_a_killed_launcher_takes_its_guest_with_it(guest: subprocess.Popen[bytes]) -> None:
    [run_id] = wait_until(lambda: runs_of(guest.pid), "its run", PATIENCE)
    wait_until(lambda: is_there(run_id), "QEMU", PATIENCE)
    guest.kill()
    wait_until(lambda: not namespace.inhabitants(namespace.NAMED / f"{run_id}-guest"), "its processes to end", PATIENCE)


@pytest.mark.parametrize("whole", [True, False], ids=["as it is", "without its modules"])
def test_a_guest_that_comes_to_life_is_told_from_one_that_does_not(
    whole: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is how KVM is tried; here every instruction is emulated, since what KVM does depends on the machine."""
    monkeypatch.setattr(qemu, "PATIENCE", PATIENCE)
    start = kernels.start(kernels.find("6.1"))
    if not whole:
        without = tmp_path / "without.cpio"
        without.write_bytes(initramfs.archive({"init": compiled(kernels.INIT, "-static").read_bytes()}))
        start = replace(start, initramfs=without)
    assert qemu.comes_to_life(tmp_path, start, qemu.EMULATED) == whole
