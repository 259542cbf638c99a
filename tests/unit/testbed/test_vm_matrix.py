"""The table of data planes and kernels: what a trial said, what is said of one that said nothing, and the status."""

from __future__ import annotations

import json
import os

import pytest

from testbed.vm import matrix
from testbed.vm.matrix import Column
from testbed.vm.verdict import Found, Verdict

from .command_line import nvgre

SAID = b"""\
{"release": "6.1.0-50-amd64", "btf": true, "jit": true}
{"dataplane": "ebpf", "found": "pass", "reason": ""}
{"dataplane": "gretap", "found": "lacks", "reason": "gretap: no"}
"""
DIED = Verdict(Found.FAIL, "it said nothing")
PLANES = ("ebpf", "gretap", "ovs")


def test_a_data_plane_of_which_a_trial_said_nothing_is_no_pass() -> None:
    found = matrix.read("6.1", SAID, PLANES, DIED)
    assert found.heading == "QEMU 6.1.0-50-amd64"
    assert found.about["btf"] is True
    assert found.cells == {"ebpf": Verdict(Found.PASS), "gretap": Verdict(Found.LACKS, "gretap: no"), "ovs": DIED}


def test_a_line_that_was_cut_says_nothing() -> None:
    assert matrix.read("6.1", SAID + b'{"dataplane": "ovs", "found": "pa', PLANES, DIED).cells["ovs"] == DIED


def test_a_kernel_that_said_nothing_at_all_has_a_heading_too() -> None:
    assert matrix.read("6.12", b"", PLANES, DIED).heading == "QEMU 6.12"
    assert matrix.read("uml", b"", PLANES, DIED).heading == "User-Mode Linux"
    assert set(matrix.read("uml", b"", PLANES, DIED).cells.values()) == {DIED}


@pytest.mark.parametrize(
    ("found", "status"),
    [
        ([Found.PASS, Found.LACKS], 0),
        ([Found.PASS, Found.UNTRIED], 3),
        ([Found.UNTRIED, Found.FAIL], 1),
    ],
)
def test_a_failure_counts_more_than_what_was_not_tried(found: list[Found], status: int) -> None:
    columns = [Column("uml", "6.1", cells={"ebpf": Verdict(verdict)}) for verdict in found]
    assert matrix.status(columns) == status


@pytest.fixture
def _tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels on which the same comes of data planes as above."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(matrix, "column", lambda kernel, _: matrix.read(kernel, SAID, PLANES, DIED))


@pytest.mark.usefixtures("_tried")
def test_the_table_has_a_reason_for_whatever_is_no_pass() -> None:
    said = nvgre("vm", "matrix", "--kernel", "this", "--kernel", "6.12")
    assert said.status == 1
    assert said.lines[0].split("  ")[0] == " data plane"
    assert [line.count("pass") for line in said.lines[-3:]] == [2, 0, 0]
    assert said.lines[-2].count("lacks: gretap: no") == said.lines[-1].count("fail: it said nothing") == 2


@pytest.mark.usefixtures("_tried")
def test_it_can_be_had_as_json() -> None:
    said = nvgre("vm", "matrix", "--kernel", "uml", "--json")
    [column] = json.loads(said.out)
    assert column["kernel"] == "uml"
    assert column["cells"]["gretap"] == {"found": "lacks", "reason": "gretap: no"}


def test_without_root_none_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert nvgre("vm", "matrix").status == 3


def test_a_kernel_that_is_none_is_refused_before_any_is_tried() -> None:
    said = nvgre("vm", "matrix", "--kernel", "this", "--kernel", "4.19")
    assert said.status == 2
    assert said.err.startswith("there is no kernel 4.19: Debian's are 6.1 and 6.12")
