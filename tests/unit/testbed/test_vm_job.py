"""What a guest is given to do and what it answers, as files; and which mounts have no business in its cell."""

from __future__ import annotations

from pathlib import Path

import pytest

from nvgre_node.errors import BadInputError, MissingError
from testbed.vm import confine, machine
from testbed.vm.job import Job, passed_on, status


def test_a_job_is_words_that_end_with_nul(tmp_path: Path) -> None:
    job = Job(["echo", "a b", ""], Path("/some where"), [Path("/results")], {"TERM": "dumb"})
    job.write(tmp_path / "job", "uml")
    words = (tmp_path / "job/command").read_bytes()
    assert words == b"env\0-i\0-C\0/some where\0TERM=dumb\0NVGRE_VM=uml\0echo\0a b\0\0"
    assert (tmp_path / "job/back").read_bytes() == b"results\0"
    assert (tmp_path / "job/mode").read_text() == "pipes\n"


def test_not_all_of_the_environment_is_passed_on() -> None:
    assert passed_on({"TERM": "dumb", "SECRET": "x", "PATH": "/bin"}) == {"TERM": "dumb", "PATH": "/bin"}


@pytest.mark.parametrize(
    ("job", "words"),
    [
        (Job(["true"], Path("/dev/shm/x")), "a guest has a /dev of its own"),  # noqa: S108
        (Job(["true"], Path("/home"), [Path("/run/x")]), "/run/x: a guest has a /run of its own"),
        (Job(["x" * 100_001], Path("/home")), "too long"),
    ],
)
def test_what_no_guest_can_do_is_refused(job: Job, words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        job.check()


@pytest.mark.parametrize(("answer", "wanted"), [("0\n", 0), ("137\n", 137), ("", None), (None, None)])
def test_only_a_status_that_was_written_is_one(answer: str | None, wanted: int | None, tmp_path: Path) -> None:
    if answer is not None:
        (tmp_path / "status").write_text(answer)
    assert status(tmp_path) == wanted


def test_what_did_not_come_back_whole_is_no_success(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("0\n")
    job = Job(["true"])
    assert machine.result(job, tmp_path, machine.Tail()) == 0
    (tmp_path / "lost").touch()
    with pytest.raises(MissingError, match="not everything came back"):
        machine.result(job, tmp_path, machine.Tail())


@pytest.mark.parametrize(
    ("point", "kind", "replaced"),
    [
        ("/", "ext4", False),
        ("/home", "nfs4", False),
        ("/tmp", "tmpfs", False),  # noqa: S108
        ("/run", "tmpfs", False),
        ("/run/netns/x", "nsfs", True),
        ("/run/nvgre/x/bpf", "bpf", True),
        ("/proc", "proc", True),
        ("/dev", "devtmpfs", True),
        ("/dev/shm", "tmpfs", True),  # noqa: S108
        ("/sys/fs/cgroup", "tmpfs", True),
        ("/device", "ext4", False),
    ],
)
def test_what_leads_out_of_a_cell_is_replaced_and_files_stay(point: str, kind: str, replaced: bool) -> None:
    assert confine.is_replaced(point, kind) == replaced
