"""`list` and `doctor`: what there is, what this machine lacks of it, and with which exit status that is said."""

import json
import os

import pytest

from experiments.runner import EXPERIMENTS
from nvgre_node import kernel
from nvgre_node.dataplane import DATAPLANES
from nvgre_node.needs import Need
from testbed import features
from testbed.features import Feature
from testbed.verbs import doctor
from testbed.vm.uml import UserModeLinux
from topologies import shipped

from .command_line import nvgre, nvgre_process

LACKING = Feature(Need("a flux capacitor", lambda: False, "apt-get install flux"), ("throughput",))
HERE = Feature(Need("water", lambda: True, "open the tap"), ("every network",))


def test_list_names_everything_that_a_user_can_name() -> None:
    said = nvgre("list", "--json")
    assert said.status == 0
    found = json.loads(said.out)
    assert all(entry.keys() == {"kind", "name", "what", "missing"} for entry in found)
    assert all(entry["what"] for entry in found)
    assert [(entry["kind"], entry["name"]) for entry in found] == [
        *(("scenario", name) for name in shipped()),
        *(("experiment", name) for name in EXPERIMENTS),
        *(("data plane", name) for name in DATAPLANES),
    ]


@pytest.mark.parametrize(
    ("needed_by", "stopped"),
    [
        ("throughput", {"throughput"}),
        ("ebpf", {"ebpf"}),
        ("every network", {*shipped(), *EXPERIMENTS, *DATAPLANES}),
        ("one test", set()),
    ],
)
def test_list_says_why_something_does_not_run_here(
    needed_by: str, stopped: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking = Feature(LACKING.need, (needed_by,))
    monkeypatch.setattr(features, "features", lambda: (HERE, lacking))
    said = nvgre("list", "--json")
    assert said.status == 0
    reasons = {entry["name"]: entry["missing"] for entry in json.loads(said.out) if entry["missing"]}
    assert reasons.keys() == stopped
    assert set(reasons.values()) <= {f"a flux capacitor (needed by {needed_by}): apt-get install flux"}


@pytest.mark.parametrize("why", ["", "Operation not supported"])
def test_list_says_what_the_kernel_lacks_for_a_data_plane(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(features, "_OWN", (HERE,))
    monkeypatch.setattr(kernel, "lacks", lambda: dict.fromkeys(kernel.PROBES, "") | {"gretap": why})
    missing = {entry["name"]: entry["missing"] for entry in json.loads(nvgre("list", "--json").out)}
    stopped = {name for name, reason in missing.items() if reason}
    assert stopped == ({"gretap", "gretap_external"} if why else set())
    gretap = "gretap (needed by gretap, gretap_external): a guest has it: ./nvgre vm run -- ..."
    assert missing["gretap"] == (gretap if why else "")


@pytest.fixture
def _no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of whose kernel nothing is asked."""
    monkeypatch.setattr(kernel, "PROBES", {})


@pytest.mark.usefixtures("_no_kernel")
def test_doctor_gives_every_feature_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "features", lambda: (HERE, LACKING))
    said = nvgre("doctor", "--json")
    water = {"feature": "water", "needed_by": "every network", "where": "here", "why": "", "remedy": "open the tap"}
    assert json.loads(said.out) == [
        {**water, "present": True},
        {
            "feature": "a flux capacitor",
            "needed_by": "throughput",
            "where": "nowhere",
            "why": "it is missing",
            "remedy": "apt-get install flux",
            "present": False,
        },
    ]


@pytest.mark.usefixtures("_no_kernel")
@pytest.mark.parametrize("form", [[], ["--json"]], ids=["table", "json"])
@pytest.mark.parametrize(
    ("found", "status"), [((HERE,), 0), ((HERE, LACKING), 3)], ids=["nothing lacks", "something lacks"]
)
def test_doctor_ends_with_3_if_something_lacks(
    found: tuple[Feature, ...], status: int, form: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "features", lambda: found)
    assert nvgre("doctor", *form).status == status


@pytest.mark.usefixtures("_no_kernel")
def test_doctor_shows_a_remedy_exactly_for_what_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "features", lambda: (HERE, LACKING))
    said = nvgre("doctor")
    assert "apt-get install flux" in said.out
    assert "open the tap" not in said.out


def test_doctor_knows_this_machine() -> None:
    said = nvgre_process("doctor", "--json")
    rows = json.loads(said.out)
    needs = [feature.need.name for feature in features.features()]
    assert [row["feature"] for row in rows] == [*(name for name in needs if name not in kernel.PROBES), *kernel.PROBES]
    assert said.status == (0 if all(row["where"] in {"here", "in a guest"} for row in rows) else 3)


@pytest.mark.parametrize(
    ("lacks", "root", "engine_lacks", "where", "words", "status"),
    [
        ("", True, "", "here", "", 0),
        ("no such thing", True, "", "in a guest", "this kernel says: no such thing", 0),
        ("no such thing", True, "no engine: apt-get install it", "nowhere", "apt-get install it", 3),
        ("no such thing", False, "", "unknown", "only root can find out", 3),
    ],
    ids=["here", "in a guest", "nowhere", "unknown"],
)
def test_doctor_says_where_a_feature_of_the_kernel_is(
    lacks: str, root: bool, engine_lacks: str, where: str, words: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "features", lambda: (HERE,))
    monkeypatch.setattr(kernel, "PROBES", {"gretap": kernel.PROBES["gretap"]})
    monkeypatch.setattr(kernel, "lacks", lambda: {"gretap": lacks})
    monkeypatch.setattr(os, "geteuid", lambda: 0 if root else 1000)
    monkeypatch.setattr(UserModeLinux, "missing", lambda _: engine_lacks)
    said = nvgre("doctor")
    assert said.status == status
    [line] = [line for line in said.lines if "gretap" in line]
    assert where in line
    assert words in line


def test_doctor_says_that_a_feature_is_nowhere_if_guests_lack_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "IN_GUESTS", frozenset())
    monkeypatch.setattr(kernel, "lacks", lambda: dict.fromkeys(kernel.PROBES, "no such thing"))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert {row.where for row in doctor.kernel_features()} == {"nowhere"}


def test_every_feature_has_a_remedy() -> None:
    assert all(own.need.name and own.needed_by and own.need.remedy for own in features.features())
