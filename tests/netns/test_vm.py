"""The launcher of guests: what goes in and comes out, that the host is not touched, and that nothing stays."""

from __future__ import annotations

import hashlib
import os
import platform
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from experiments.runner import RESULTS
from nvgre_node import namespace, run
from nvgre_node.errors import MissingError
from nvgre_node.run import ROOT
from nvgre_node.waiting import wait_until
from testbed.vm import machine, streams, uml
from testbed.vm.engine import Channels
from testbed.vm.job import INSIDE, Job
from testbed.vm.uml import UserModeLinux

from .belongings import CHECKOUT, COMMAND, left_of, runs_of

pytestmark = [
    pytest.mark.skipif(INSIDE in os.environ, reason="a guest runs no other"),
    pytest.mark.skipif(bool(UserModeLinux().missing()), reason=UserModeLinux().missing() or "it is there"),
]

PATIENCE = 120.0
"""Seconds for a boot on a machine that is busy with other things."""


def vm(*words: str | bytes, folder: Path = CHECKOUT) -> subprocess.CompletedProcess[bytes]:
    """Runs `./nvgre vm run WORDS` to its end."""
    command = [*COMMAND, "vm", "run", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=PATIENCE, env=environment())


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(CHECKOUT)}


class Guest:
    """`./nvgre vm run WORDS` that goes on running."""

    def __init__(self, *words: str) -> None:
        self.process = subprocess.Popen(  # unbuffered: what `says` leaves is for `communicate`
            [*COMMAND, "vm", "run", *words], cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
        )

    def says(self, line: bytes) -> bool:
        """Whether the next line of its output is this one; waits for it."""
        assert self.process.stdout
        return self.process.stdout.readline() == line + b"\n"

    @property
    def run_id(self) -> str:
        [run_id] = runs_of(self.process.pid)
        return run_id

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


@pytest.fixture
def start() -> Iterator[Callable[..., Guest]]:
    """Starts guests; whatever comes of them, they are gone when the test ends."""
    with ExitStack() as stack:

        def started(*words: str) -> Guest:
            guest = Guest(*words)
            stack.callback(run.clean)
            stack.callback(guest.close)
            return guest

        yield started


def processes_of(run_id: str) -> list[int]:
    """Everything that runs for a guest: all of it is in the guest's network namespace."""
    return namespace.inhabitants(namespace.NAMED / f"{run_id}-guest")


# What goes in and comes out.

AWKWARD = [
    b"a b",
    b'it\'s "quoted"',
    b"two\nlines\n",
    b"",
    b"*",
    b"\\",
    b"$HOME `id`",
    b"\xff\xfe",
    "é".encode(),
    b"-n",
]


def test_arguments_output_error_output_folder_and_status_come_through(tmp_path: Path) -> None:
    said = vm("--", "sh", "-c", 'pwd >&2; printf "%s\\0" "$@"; exit 7', "sh", *AWKWARD, folder=tmp_path)
    assert said.stdout == b"".join(word + b"\0" for word in AWKWARD)
    assert said.stderr == f"{tmp_path}\n".encode()
    assert said.returncode == 7


def test_any_bytes_and_many_of_them_come_out(tmp_path: Path) -> None:
    content = secrets.token_bytes(300_000)
    (tmp_path / "file").write_bytes(content)
    said = vm("cat", str(tmp_path / "file"))
    assert hashlib.sha256(said.stdout).digest() == hashlib.sha256(content).digest()
    assert (said.stderr, said.returncode) == (b"", 0)


def test_the_signal_that_ended_a_command_is_in_its_status_and_the_shell_does_not_comment_on_it() -> None:
    said = vm("sh", "-c", "kill -KILL $$")
    assert (said.stdout, said.stderr, said.returncode) == (b"", b"", 128 + signal.SIGKILL)


def test_a_command_that_does_not_exist_has_the_status_that_shells_give() -> None:
    said = vm("no-such-command")
    assert (said.stdout, said.returncode) == (b"", 127)
    assert b"no-such-command" in said.stderr


def test_what_a_command_leaves_running_ends_with_it() -> None:
    said = vm("sh", "-c", "sleep 1000 & setsid sleep 1000 & echo done")
    assert (said.stdout, said.stderr, said.returncode) == (b"done\n", b"", 0)


def test_new_files_come_back_from_results_and_named_folders_and_from_nowhere_else(tmp_path: Path) -> None:
    name = f"guest-{secrets.token_hex(4)}"
    back, other = tmp_path / "with blanks", tmp_path / "other"
    for folder in (back, other):
        folder.mkdir()
        (folder / "kept").write_text("before")
    script = 'mkdir "$1"; for f in "$@"; do echo new >"$f/new"; done; rm "$2/kept"; ln -s new "$2/link"'
    try:
        words = ("sh", "-c", script, "sh", str(RESULTS / name), str(back), str(other))
        assert vm("--bring-back", str(back), "--", *words).returncode == 0
        assert (RESULTS / name / "new").read_text() == "new\n"
    finally:
        for path in (RESULTS / name).glob("*"):
            path.unlink()
        (RESULTS / name).rmdir()
    assert {path.name: path.read_text() for path in back.iterdir()} == {
        "kept": "before",
        "new": "new\n",
        "link": "new\n",
    }
    assert [path.name for path in other.iterdir()] == ["kept"]


# The host.

WAYS = """
name=$1; shift
for place in "$@"; do
    echo x >"$place/$name" 2>/dev/null # through the overlay: this one lives in the guest's memory
    mkdir -p /mnt/here
    mount -t hostfs -o "$place" none /mnt/here && mount -o remount,rw /mnt/here
    echo x >"/mnt/here/$name" && echo "wrote $place"
    umount /mnt/here
done 2>/dev/null
mkdir -p /mnt/host; mount -t hostfs -o /proc none /mnt/host 2>/dev/null
echo 0 2>/dev/null >/mnt/host/sys/kernel/panic_on_oops && echo "wrote a limit"
for root in /proc/1/root /proc/2/root /proc/self/root /proc/1/cwd; do
    mount -t hostfs -o "$root$LAST" none /mnt/host 2>/dev/null && echo x 2>/dev/null >"/mnt/host/$name.by-proc" &&
        echo "wrote $root"
done
exit 0
"""


PLACES = [*map(Path, ("/", "/dev", "/dev/shm", "/run", "/tmp")), CHECKOUT]  # noqa: S108
"""Folders of the host in which guests try to write a file."""


def written(name: str, places: list[Path]) -> list[Path]:
    """Where it was written, on the host; removes it."""
    found = [path for place in places for path in place.glob(f"{name}*")]
    for path in found:
        path.unlink()
    return found


def test_a_guest_can_write_nothing_of_the_host(tmp_path: Path) -> None:
    name, places = f"guest-{secrets.token_hex(6)}", [*PLACES, tmp_path]
    limit = Path("/proc/sys/kernel/panic_on_oops")
    before = limit.read_text()
    said = vm("env", f"LAST={tmp_path}", "sh", "-c", WAYS, "sh", name, *map(str, places))
    assert written(name, places) == []
    assert limit.read_text() == before
    # Its process has a /dev of its own: what was written there went with it.
    assert set(said.stdout.splitlines()) <= {b"wrote /dev", b"wrote /dev/shm"}
    assert said.returncode == 0


class Unconfined(UserModeLinux):
    """The engine without its cell."""

    def command(self, job: Path, channels: Channels, memory: int, nics: Sequence[str] = ()) -> list[str]:
        words = super().command(job, channels, memory, nics)
        start = words.index(sys.executable)
        return [*words[:start], *words[words.index("env", start) :]]


def test_without_its_cell_it_could(tmp_path: Path) -> None:
    name, out = f"guest-{secrets.token_hex(6)}", machine.Tail()
    job = Job(["sh", "-c", WAYS, "sh", name, str(tmp_path)])
    with streams.pipes(out, out) as joined:
        machine.run(job, Unconfined(), joined, PATIENCE)
    assert written(name, [tmp_path]) == [tmp_path / name]
    assert f"wrote {tmp_path}" in out.lines()


# Its end.


def test_a_time_limit_ends_it_and_says_so(start: Callable[..., Guest]) -> None:
    guest = start("--time-limit", "0.5", "--", "sleep", "1000")
    out, err = guest.process.communicate(timeout=PATIENCE)
    assert (out, guest.process.returncode) == (b"", 124)
    assert err == b"the time limit of 0.5 s is over; the guest is ended, and nothing came back\n"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_told_to_end_it_leaves_nothing(number: signal.Signals, status: int, start: Callable[..., Guest]) -> None:
    guest = start("sh", "-c", "echo ready; sleep 1000")
    assert guest.says(b"ready")
    run_id = guest.run_id
    handles = [os.pidfd_open(pid) for pid in processes_of(run_id)]
    assert handles
    guest.process.send_signal(number)
    guest.process.communicate(timeout=PATIENCE)
    assert guest.process.returncode == status
    assert left_of(run_id) == []
    for handle in handles:
        wait_until(lambda: has_ended(handle), "its processes to end")  # noqa: B023
        os.close(handle)


def has_ended(handle: int) -> bool:
    try:
        signal.pidfd_send_signal(handle, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.usefixtures("sole_cleaner")
def test_killed_its_guest_dies_too_and_clean_removes_the_rest(start: Callable[..., Guest]) -> None:
    guest = start("sh", "-c", "echo ready; sleep 1000")
    assert guest.says(b"ready")
    run_id = guest.run_id
    assert processes_of(run_id)
    guest.process.kill()
    guest.process.wait()
    wait_until(lambda: not processes_of(run_id), "its processes to end")
    assert run_id in run.clean()
    assert left_of(run_id) == []


@pytest.mark.usefixtures("sole_cleaner")
def test_clean_ends_what_outlived_its_launcher() -> None:
    """As if nobody had told the guest's process that its launcher died."""
    owner = subprocess.Popen(
        [sys.executable, "-c", OUTLIVED], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    run_id = owner.communicate(timeout=PATIENCE)[0].strip()
    assert processes_of(run_id)
    assert run_id in run.clean()
    assert left_of(run_id) == []


OUTLIVED = """
import os, subprocess
from pyroute2 import netns
from nvgre_node.namespace import entered
from nvgre_node.run import Run
own = Run.create()
netns.create(own.namespace("guest").name)
with entered(own.namespace("guest")):
    subprocess.Popen(["sleep", "1000"], stdout=subprocess.DEVNULL)
print(own.id, flush=True)
os._exit(0)
"""


def test_two_guests_side_by_side(start: Callable[..., Guest]) -> None:
    script = 'echo "$0"; echo "$0" >/run/name; sleep 1; cat /run/name'
    guests = {name: start("sh", "-c", script, name) for name in ("one", "two")}
    assert [guest.says(name.encode()) for name, guest in guests.items()] == [True, True]
    assert len({guest.run_id for guest in guests.values()}) == 2
    for name, guest in guests.items():
        out, err = guest.process.communicate(timeout=PATIENCE)
        assert (out, err, guest.process.returncode) == (f"{name}\n".encode(), b"", 0)


def test_a_guest_whose_kernel_dies_is_no_status_of_its_command() -> None:
    said = vm("sh", "-c", "echo before; echo c >/proc/sysrq-trigger; sleep 1000")
    assert (said.stdout, said.returncode) == (b"before\n", 3)
    assert b"the guest ended before its command did" in said.stderr
    assert b"panic" in said.stderr


# What is refused.


@pytest.mark.parametrize(
    ("machine_type", "program", "words"),
    [
        ("aarch64", "linux.uml", "this machine is aarch64"),
        ("x86_64", "no-such-kernel", "apt-get install user-mode-linux"),
    ],
)
def test_without_its_kernel_it_says_what_lacks(
    machine_type: str, program: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine_type)
    monkeypatch.setattr(uml, "KERNEL", program)
    before = set(ROOT.iterdir())
    with streams.pipes() as joined, pytest.raises(MissingError, match=words):
        machine.run(Job(["true"]), UserModeLinux(), joined)
    assert set(ROOT.iterdir()) - before == set()


def test_a_folder_that_a_guest_has_of_its_own_is_refused() -> None:
    said = vm("true", folder=Path("/run"))
    assert (said.stdout, said.returncode) == (b"", 2)
    assert said.stderr == b"/run: a guest has a /run of its own; use another folder\n"
