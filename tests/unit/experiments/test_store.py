from __future__ import annotations

import json
import math
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments import cells
from experiments.manifest import finish, manifest
from experiments.results import Check, Measurement, Outcome, Sample
from experiments.store import Run, RunError

SAMPLES: tuple[Sample, ...] = (
    {"kind": "sweep", "size": 1458, "df": True, "told_mtu": None, "seconds": 2.0, "note": ""},
    {"kind": "transfer", "received": 0, "note": 'a "quoted", 1-line\nnote'},
)
SKIPPED = Outcome("throughput", "gretap", "two_hosts", (), (), (), "no NET_IPGRE")

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(st.characters(codec="utf-8")),
    st.sampled_from(["", "null", "true", "n/a", "42", "-0", "1e5", "inf", "nan", '"', '"x"', "1.", "007"]),
)


def outcome(name: str = "mtu", dataplane: str = "ebpf", observed: str = "1458") -> Outcome:
    measurements = (Measurement("overhead", "bytes", (42.0, 42.0)),)
    return Outcome(name, dataplane, "two_hosts", measurements, (Check("limit", "F3", "1458", observed),), SAMPLES)


def saved(folder: Path, *outcomes: Outcome) -> Run:
    run = Run.create(folder / "results", [o.experiment for o in outcomes], {"seed": 1}, "name: two_hosts\n")
    for each in outcomes:
        run.add(each)
    run.save()
    return run


def test_a_run_survives_the_round_trip(tmp_path: Path) -> None:
    run = saved(tmp_path, outcome(), outcome("isolation", observed="1457"), SKIPPED)
    again = Run.open(run.folder)
    assert again.outcomes == run.outcomes
    assert again.manifest == {"seed": 1}
    assert again.scenario_text == "name: two_hosts\n"


def test_the_folder_is_named_by_time_and_experiments_and_is_never_shared(tmp_path: Path) -> None:
    folders = [Run.create(tmp_path, ["isolation", "mtu"], {}).folder for _ in range(3)]
    assert len(set(folders)) == 3
    assert re.fullmatch(r"\d{8}T\d{6}Z-isolation\+mtu", folders[0].name)


def test_results_json_has_the_agreed_shape(tmp_path: Path) -> None:
    run = saved(tmp_path, outcome(observed="1457"))
    content = json.loads((run.folder / "results.json").read_text())
    (entry,) = content["experiments"]
    assert content["schema"] == 1
    assert list(entry) == ["name", "dataplane", "scenario", "verdict", "reason", "measurements", "checks"]
    assert entry["verdict"] == "fail"
    assert entry["measurements"] == [
        {"name": "overhead", "unit": "bytes", "n": 2, "median": 42.0, "low": 42.0, "high": 42.0, "values": [42.0, 42.0]}
    ]
    assert entry["checks"] == [
        {"id": "limit", "clause": "F3", "expected": "1458", "observed": "1457", "verdict": "fail"}
    ]


def test_tables_carry_the_data_plane_only_where_several_ran_the_experiment(tmp_path: Path) -> None:
    run = saved(tmp_path, outcome())
    assert (run.folder / "mtu.csv").exists()
    run.add(outcome(dataplane="ovs"))
    run.save()
    assert sorted(path.name for path in run.folder.glob("*.csv")) == ["mtu-ebpf.csv", "mtu-ovs.csv"]


def test_the_same_experiment_twice_gets_two_tables(tmp_path: Path) -> None:
    assert len(set(saved(tmp_path, outcome(), outcome(), outcome()).stems)) == 3


def test_further_files_of_an_outcome_lie_in_folders_of_the_run(tmp_path: Path) -> None:
    run = saved(tmp_path, replace(outcome(), files={"captures/ebpf/G12.pcapng": b"packets"}))
    assert (run.folder / "captures/ebpf/G12.pcapng").read_bytes() == b"packets"
    assert Run.open(run.folder).outcomes == run.outcomes


def test_a_name_cannot_leave_the_folder(tmp_path: Path) -> None:
    run = saved(tmp_path, outcome("../../evil"))
    assert {path.parent for path in tmp_path.rglob("*.csv")} == {run.folder}


def test_nothing_but_the_run_is_left_behind(tmp_path: Path) -> None:
    names = {path.name for path in saved(tmp_path, outcome()).folder.iterdir()}
    assert names == {"manifest.json", "results.json", "scenario.yaml", "mtu.csv"}


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("results.json", None, "not a run"),
        ("results.json", "{", "results.json:1:2: not JSON"),
        ("results.json", "[]", "no JSON object"),
        ("results.json", '{"schema": 2}', "schema 2"),
        ("results.json", '{"schema": 1}', "'experiments' is missing"),
        ("results.json", '{"schema": 1, "experiments": [{}]}', "'name' is missing"),
        ("results.json", '{"schema": 1, "experiments": [7]}', "damaged"),
        ("manifest.json", None, "manifest.json: cannot be read"),
        ("mtu.csv", None, "mtu.csv: cannot be read"),
        ("mtu.csv", "a,b\n1\n", "mtu.csv: damaged"),
        ("mtu.csv", b"\xff\xfe", "not UTF-8"),
    ],
)
def test_a_damaged_run_gives_one_message(tmp_path: Path, file: str, content: str | bytes | None, message: str) -> None:
    path = saved(tmp_path, outcome()).folder / file
    path.unlink()
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(RunError, match=re.escape(message)) as caught:
        Run.open(path.parent)
    assert "\n" not in str(caught.value)


def test_a_verdict_that_was_tampered_with_is_noticed(tmp_path: Path) -> None:
    path = saved(tmp_path, outcome(observed="1457")).folder / "results.json"
    path.write_text(path.read_text().replace('"verdict": "fail"', '"verdict": "pass"'))
    with pytest.raises(RunError, match="mtu says pass, its checks say fail"):
        Run.open(path.parent)


def test_a_folder_that_is_not_there_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run"):
        Run.open(tmp_path / "nowhere")


def test_under_sudo_the_run_belongs_to_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given_to: list[tuple[Path, int, int]] = []
    monkeypatch.setenv("SUDO_UID", "1000")
    monkeypatch.setenv("SUDO_GID", "100")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "chown", lambda path, user, group, **_: given_to.append((path, user, group)))
    run = saved(tmp_path, outcome())
    expected = {run.folder.parent, run.folder, *run.folder.iterdir()}
    assert expected == {path for path, _, _ in given_to}
    assert {(user, group) for _, user, group in given_to} == {(1000, 100)}


@given(st.lists(st.dictionaries(st.sampled_from(["a", "b", "c d", "e,f"]), SCALARS), max_size=6))
def test_samples_come_back_with_their_types(samples: list[Sample]) -> None:
    again = cells.read(cells.write(samples))
    assert [[(k, type(v), v) for k, v in row.items()] for row in again] == [
        [(k, type(v), row[k]) for k, v in sorted(row.items(), key=lambda item: _column(samples, item[0]))]
        for row in samples
    ]


def _column(samples: list[Sample], key: str) -> int:
    return list(dict.fromkeys(k for row in samples for k in row)).index(key)


def test_not_a_number_comes_back_too() -> None:
    (row,) = cells.read(cells.write([{"x": math.nan}]))
    assert isinstance(row["x"], float)
    assert math.isnan(row["x"])


def test_the_manifest_notes_circumstances_but_no_names(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = os.uname_result(("Linux", "secret-host", "6.1", "#1", "x86_64"))
    monkeypatch.setattr(os, "uname", lambda: machine)
    monkeypatch.setenv("PATH", "/nowhere")  # as if no tool were installed
    home = Path.home()
    about = {"scenario": {"name": "two_hosts", "sha256": "ab12"}}
    noted = manifest(about, 7, ["ebpf"], {"underlay": 1542}, {}, ["run", "--out", f"{home}/x"])
    finished = finish(noted)
    assert finished is noted
    assert finished["duration_seconds"] >= 0
    assert finished["arguments"] == ["run", "--out", "~/x"]
    assert finished["tools"]["clang"] is None
    assert finished["machine"]["kernel"] == "Linux 6.1 x86_64"
    assert "secret-host" not in json.dumps(finished)
