"""`check` and `explain`: what they print, and with which exit status."""

import json
from pathlib import Path

import pytest

from topologies import load

from .command_line import nvgre

BAD = """\
name: net
title: Two mistakes
hosts:
  host1: {pa: 192.168.0.1/24}
  host2: {pa: 192.168.0.2/24}
links: [[host1, host2]]
tenants:
  red:
    subnets:
      red_net: {vsid: 4095, prefixes: [10.0.0.0/24]}
    vms:
      red1: {subnet: red_net, host: host9, ca: 10.0.0.1}
"""
WRONG = {(10, 23): "tenants.red.subnets.red_net.vsid", (12, 37): "tenants.red.vms.red1.host"}
"""Where the mistakes are, by line and column from 1."""


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    path = tmp_path / "bad.yaml"
    path.write_text(BAD)
    return path


@pytest.mark.parametrize("scenario", ["two_hosts", "contoso_fabrikam"])
def test_check_says_that_a_good_scenario_is_good(scenario: str) -> None:
    said = nvgre("check", scenario)
    assert said.status == 0
    assert said.out.startswith(f"{scenario}.yaml: good: 2 provider hosts, ")
    assert said.err == ""


def test_check_says_everything_that_is_wrong_line_by_line_on_standard_error(bad: Path) -> None:
    said = nvgre("check", str(bad))
    assert said.status == 2
    assert said.out == ""
    starts = [f"{bad}:{line}:{column}: {path}: " for (line, column), path in WRONG.items()]
    assert [line[: len(start)] for line, start in zip(said.err.splitlines(), starts, strict=True)] == starts


def test_check_gives_good_as_json() -> None:
    said = nvgre("check", "two_hosts", "--json")
    assert said.status == 0
    assert json.loads(said.out) == {"scenario": "two_hosts", "valid": True, "problems": [], "deviations": {}}


def test_check_gives_what_is_wrong_as_json_with_the_same_status(bad: Path) -> None:
    said = nvgre("check", str(bad), "--json")
    assert said.status == 2
    assert said.err == ""
    result = json.loads(said.out)
    assert result.keys() == {"scenario", "valid", "problems", "deviations"}
    assert (result["scenario"], result["valid"]) == (str(bad), False)
    assert {(problem["line"], problem["column"]): problem["path"] for problem in result["problems"]} == WRONG
    assert all(
        problem.keys() == {"path", "message", "hint", "line", "column", "file"} for problem in result["problems"]
    )
    assert all(problem["message"] for problem in result["problems"])


def test_check_gives_a_scenario_that_does_not_exist_as_json_too() -> None:
    said = nvgre("check", "nowhere", "--json")
    assert said.status == 2
    result = json.loads(said.out)
    assert not result["valid"]
    assert [problem["message"] for problem in result["problems"]] == ["no such scenario"]


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe\x00", b"[" * 500, b"name: &a [*a]", b"- 1\n"],
    ids=["empty", "binary", "deep", "loop", "list"],
)
def test_check_has_one_answer_to_any_file_no_traceback(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.yaml"
    path.write_bytes(content)
    said = nvgre("check", str(path))
    assert said.status == 2
    assert said.err.startswith(str(path))


def test_check_of_a_folder_is_bad_input(tmp_path: Path) -> None:
    said = nvgre("check", str(tmp_path))
    assert said.status == 2
    assert str(tmp_path) in said.err


@pytest.mark.parametrize(
    "verb",
    [["check", "two_hosts"], ["explain", "two_hosts", "red1", "red2"], ["show", "records", "two_hosts"],
     ["up", "two_hosts"], ["run", "isolation", "--scenario", "two_hosts"]],
    ids=lambda verb: verb[0],
)  # fmt: skip
def test_every_verb_that_takes_a_scenario_takes_settings_and_says_which_is_wrong(verb: list[str]) -> None:
    said = nvgre(*verb, "--set", "nve.ecn=zero", "--set", "nve.ttl=999")
    assert (said.status, said.out) == (2, "")
    assert said.err == "--set nve.ttl=999: nve.ttl: a TTL of 999 is too large (use 1 to 255)\n"


def test_a_setting_that_is_right_shows() -> None:
    said = nvgre("show", "records", "two_hosts", "--set", "hosts.host1.pa=192.168.0.9/24", "--json")
    assert {record["pa"] for record in json.loads(said.out)} == {"192.168.0.9", "192.168.0.2"}


def test_settings_are_not_for_what_runs_already() -> None:
    said = nvgre("show", "counters", "--set", "nve.ttl=5")
    assert (said.status, said.err) == (2, "--set is for a scenario: what runs is as it was built\n")


def test_check_names_the_included_file_as_json_too(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("hosts: {host1: {vlan: 0}}\n")
    (tmp_path / "net.yaml").write_text("include: base.yaml\ntenants: {red: {vms: 2}}\n")
    (problem,) = json.loads(nvgre("check", str(tmp_path / "net.yaml"), "--json").out)["problems"]
    assert (problem["file"], problem["line"], problem["column"]) == (str(tmp_path / "base.yaml"), 1, 23)


EXPLAINED = {
    "a VM on the same host": (
        ["red1", "red3"],
        [
            ("port red1 on host1", "VSID 5000 (0x001388)", "subnet red_net"),
            ("record (VSID 5000, CA 10.0.0.3)", "red3, MAC 02:00:0a:00:00:03, PA 192.168.0.1", "U1, T8"),
            ("delivery", "port red3 on host1, never on the wire", "same provider host"),
        ],
    ),
    "a VM on another host": (
        ["blue1", "10.0.0.2"],
        [
            ("port blue1 on host1", "VSID 6000 (0x001770)", "subnet blue_net"),
            (
                "record (VSID 6000, CA 10.0.0.2)",
                "blue2, MAC 02:00:00:00:0b:02, PA 192.168.0.2",
                "T4: in another virtual subnet, red2 has this CA",
            ),
            ("outer IPv4 192.168.0.1 -> 192.168.0.2, protocol 47", "GRE 20 00 65 58 00 17 70 + FlowID", "O1, G5"),
        ],
    ),
    "an address in IPv6": (
        ["red2", "fd00:10::3"],
        [
            ("port red2 on host2", "VSID 5000 (0x001388)", "subnet red_net"),
            ("record (VSID 5000, CA fd00:10::3)", "red3, MAC 02:00:0a:00:00:03, PA 192.168.0.1", "U1, T8"),
            ("outer IPv4 192.168.0.2 -> 192.168.0.1, protocol 47", "GRE 20 00 65 58 00 13 88 + FlowID", "O1, G5"),
        ],
    ),
    "an address that nobody has": (
        ["red1", "10.0.0.9"],
        [
            ("port red1 on host1", "VSID 5000 (0x001388)", "subnet red_net"),
            ("record (VSID 5000, CA 10.0.0.9)", "none: dropped as unknown unicast", "B6"),
        ],
    ),
    "an address that only another tenant has": (
        ["blue1", "10.0.0.3"],
        [
            ("port blue1 on host1", "VSID 6000 (0x001770)", "subnet blue_net"),
            (
                "record (VSID 6000, CA 10.0.0.3)",
                "none: dropped as unknown unicast",
                "T4: in another virtual subnet, red3 has this CA",
            ),
        ],
    ),
}


@pytest.mark.parametrize(("asked", "steps"), EXPLAINED.values(), ids=EXPLAINED)
def test_explain_gives_the_records_that_decide(asked: list[str], steps: list[tuple[str, str, str]]) -> None:
    said = nvgre("explain", "two_hosts", *asked, "--json")
    assert said.status == 0
    assert [tuple(step.values()) for step in json.loads(said.out)] == steps
    assert all(step.keys() == {"what", "result", "because"} for step in json.loads(said.out))


@pytest.mark.parametrize(("asked", "steps"), EXPLAINED.values(), ids=EXPLAINED)
def test_explain_shows_them_as_numbered_rows(asked: list[str], steps: list[tuple[str, str, str]]) -> None:
    said = nvgre("explain", "two_hosts", *asked)
    assert said.status == 0
    title, headings, _rule, *rows = said.lines
    assert title == " to ".join(asked)
    assert headings.split() == ["asked", "answer", "because"]
    assert [tuple(cell.strip() for cell in row.split("  ") if cell.strip()) for row in rows] == [
        (str(number), *step) for number, step in enumerate(steps, start=1)
    ]


def test_explain_calls_a_leak_a_leak(tmp_path: Path) -> None:
    path = tmp_path / "leaky.yaml"
    fault = "faults: [{subnet: red_net, record_of: red1, points_to: blue1}]\n"
    path.write_text(load("two_hosts").path.read_text() + fault)
    said = nvgre("explain", str(path), "red2", "red1")
    assert "LEAK: red reaches blue" in said.out


@pytest.mark.parametrize(
    ("asked", "named"),
    [(["redd", "red1"], "'redd'"), (["red1", "bleu1"], "'bleu1'"), (["red1", "10.0.0.300"], "'10.0.0.300'")],
    ids=["sender", "destination", "address"],
)
def test_explain_answers_an_unknown_name_with_one_line(asked: list[str], named: str) -> None:
    said = nvgre("explain", "two_hosts", *asked)
    assert said.status == 2
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert named in said.err
    assert "blue1, blue2, red1, red2, red3" in said.err
