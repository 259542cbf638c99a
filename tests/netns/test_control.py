"""What another terminal asks of a network that `up` runs: it is done, or refused with a reason, and nothing is left."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nvgre_node import run
from nvgre_node.control import Control, ask, listening
from nvgre_node.errors import BadInputError
from nvgre_node.waiting import wait_until

CHECKOUT = Path(__file__).parents[2]


def answer(first: str, second: str) -> str:
    if (first, second) == ("in", "vain"):
        raise BadInputError("there is nothing in it")
    return f"{first} {second}"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a run `own`, and no other runs."""
    monkeypatch.setattr("nvgre_node.control.ROOT", tmp_path)
    (tmp_path / "own").mkdir()
    return tmp_path / "own"


def test_a_command_gets_its_words_and_its_answer_comes_back(folder: Path) -> None:
    with Control(folder, {"echo": answer}):
        assert listening() == ["own"]
        assert ask("own", "echo", "red1", "host 2") == "red1 host 2"
    assert listening() == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("echo", "in", "vain"), "there is nothing in it"),
        (("fly",), "a running network knows no 'fly'"),
        (("echo", "one"), "a running network knows no 'echo one'"),
        (("nothing", "at all"), "a running network knows no 'nothing at all'"),
    ],
)
def test_what_is_refused_is_refused_with_the_reason(folder: Path, words: tuple[str, ...], message: str) -> None:
    with Control(folder, {"echo": answer, "nothing": lambda: ""}), pytest.raises(BadInputError) as refusal:
        ask("own", *words)
    assert str(refusal.value) == message


def test_who_talks_nonsense_gets_no_answer_and_the_next_one_does(folder: Path) -> None:
    with Control(folder, {"echo": answer}):
        for nonsense in (b"", b"\xff", b"{}", b"3", json.dumps([["echo"]]).encode()):
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asker:
                asker.connect(str(folder / "control"))
                asker.send(nonsense)
        assert ask("own", "echo", "still", "here") == "still here"


def test_a_run_that_is_not_there_is_named() -> None:
    with pytest.raises(BadInputError, match="nvgre-000000 does not answer"):
        ask("nvgre-000000", "migrate")


# As a user does it


@contextmanager
def up(scenario: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`./nvgre up`, and the id of its run once it listens."""
    before = set(listening())
    command = [sys.executable, "-m", "testbed", "up", scenario]
    pipe, both = subprocess.PIPE, subprocess.STDOUT
    with subprocess.Popen(command, cwd=CHECKOUT, stdin=pipe, stdout=pipe, stderr=both, text=True) as process:
        try:

            def mine() -> str:
                found = [own for own in listening() if own not in before and _belongs_to(own, process.pid)]
                return found[0] if found else ""

            yield process, wait_until(mine, "its run to listen", timeout=60)
        finally:
            process.kill()


def _belongs_to(run_id: str, pid: int) -> bool:
    lock = run.ROOT / run_id / "lock"
    return any(descriptor.resolve() == lock for descriptor in Path(f"/proc/{pid}/fd").iterdir())


def migrate(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "testbed", "migrate", *arguments]
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)


def test_a_vm_is_moved_from_another_terminal() -> None:
    with up("two_hosts") as (process, run_id):
        moved = migrate("red1", "host2", "--run", run_id)
        again = migrate("red1", "host2", "--run", run_id)
        unknown = migrate("green1", "host2", "--run", run_id)
        said, _ = process.communicate("red2 ping -c 1 10.0.0.1\nexit\n", timeout=60)

    assert moved.returncode == 0
    assert moved.stdout.startswith("red1 is on host2, and no longer on host1; every NVE knew ")
    assert (again.returncode, again.stdout) == (2, "")
    assert "red1 is on host2 already" in again.stderr
    assert unknown.returncode == 2
    assert "no VM is called 'green1'; there are: blue1, blue2, red1, red2" in unknown.stderr
    assert "1 received, 0% packet loss" in said
    assert not (run.ROOT / run_id).exists()


def test_a_network_that_is_not_up_is_said_to_be_so() -> None:
    done = migrate("red1", "host2", "--run", "nvgre-000000")
    assert (done.returncode, done.stdout) == (2, "")
    assert "nvgre-000000 does not answer" in done.stderr
