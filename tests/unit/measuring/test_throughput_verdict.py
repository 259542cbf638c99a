"""Throughput: in which order paths are measured, and which streams and offload states make which verdict."""

import json
import subprocess
from collections import Counter
from collections.abc import Iterable
from typing import Any, cast

import pytest

from experiments import iperf, offloads, throughput
from experiments.base import Context
from experiments.iperf import Stream
from experiments.results import Check, Verdict
from experiments.throughput import Bench, Path, Round
from experiments.watch import Place
from nvgre_node.node import NamespacedNode
from topologies import load

PATHS = ("NVGRE", "VXLAN", "underlay")
PACKETS = 100_000  # of 1400 bytes in 140 MB


def one(path: str, encapsulated: int, megabytes: float = 140.0, number: int = 0, rate: float = 1.1) -> Round:
    """A round in which this much arrived while the NVEs encapsulated this many packets."""
    return Round(number, path, "TCP", "on", Stream(rate, 0.5, megabytes, 0, None), encapsulated)


def right(path: str, number: int = 0) -> Round:
    """A round in which all went as the path's name says; a few ARP and ND packets cross the NVEs in any case."""
    return one(path, PACKETS if path == "NVGRE" else 4, number=number)


def failed(checks: Iterable[Check]) -> dict[str, str]:
    """What was observed by each check that failed."""
    return {check.id: check.observed for check in checks if check.verdict is Verdict.FAIL}


def test_each_path_that_is_what_its_name_says_passes_in_every_round() -> None:
    checks = list(throughput._path_checks([right(path, number) for number in range(2) for path in PATHS]))
    assert failed(checks) == {}
    assert [check.id for check in checks[:4]] == [
        "TCP over NVGRE, offloads on, round 1",
        "TCP over VXLAN, offloads on, round 1",
        "TCP over underlay, offloads on, round 1",
        "TCP over NVGRE, offloads on, round 2",
    ]


WRONG = {
    "VXLAN that went through the NVEs": (one("VXLAN", PACKETS), "through the NVEs"),
    "underlay that went through the NVEs": (one("underlay", PACKETS), "through the NVEs"),
    "NVGRE that went past the NVEs": (one("NVGRE", 4), "past the NVEs"),
    "NVGRE of which nothing arrived": (one("NVGRE", 0, megabytes=0), "nothing arrived"),
    "NVGRE that was sent but never arrived": (one("NVGRE", PACKETS, megabytes=0), "nothing arrived"),
    "VXLAN of which nothing arrived": (one("VXLAN", 0, megabytes=0), "nothing arrived"),
    "underlay of which a few packets arrived": (one("underlay", 0, megabytes=0.1), "nothing arrived"),
}


@pytest.mark.parametrize(("wrong", "observed"), WRONG.values(), ids=WRONG)
def test_a_round_that_is_not_what_its_name_says_fails(wrong: Round, observed: str) -> None:
    rounds = [right(path) for path in PATHS if path != wrong.path]
    assert failed(throughput._path_checks([*rounds, wrong])) == {
        f"TCP over {wrong.path}, offloads on, round 1": observed
    }


def test_one_wrong_round_among_many_fails() -> None:
    rounds = [right(path, number) for number in range(9) for path in PATHS]
    found = failed(throughput._path_checks([*rounds, one("VXLAN", PACKETS, number=9)]))
    assert list(found) == ["TCP over VXLAN, offloads on, round 10"]


# Offloads.


def states(**changed: str) -> dict[str, dict[str, str]]:
    """Both states as they should read back, but for the features of state `on` that are named."""
    both = {state: dict.fromkeys(offloads.FEATURES, state) for state in ("on", "off")}
    both["on"] |= changed
    return both


def test_offloads_that_are_as_asked_pass() -> None:
    assert failed(throughput._offload_checks(states())) == {}
    assert len(list(throughput._offload_checks(states()))) == 2


@pytest.mark.parametrize("found", ["off", "mixed"])
@pytest.mark.parametrize("feature", offloads.FEATURES)
def test_one_offload_that_did_not_switch_fails(feature: str, found: str) -> None:
    assert list(failed(throughput._offload_checks(states(**{feature: found})))) == ["offloads on"]


class Ethtool:
    """A node whose interfaces have these features active, by interface."""

    def __init__(self, active: dict[str, bool]) -> None:
        self.name, self._active = "node", active

    def run_process(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        """What ethtool prints of the interface that the command names."""
        features = {name: {"active": self._active[command[-1]]} for name in offloads.FEATURES.values()}
        return subprocess.CompletedProcess(command, 0, json.dumps([features]), "")


@pytest.mark.parametrize(
    ("active", "state"),
    [((True, True), "on"), ((False, False), "off"), ((True, False), "mixed"), ((False, True), "mixed")],
)
def test_the_state_is_that_of_all_interfaces(active: tuple[bool, bool], state: str) -> None:
    node = cast("NamespacedNode", Ethtool(dict(zip(("a", "b"), active, strict=True))))
    places = [Place(node, name) for name in ("a", "b")]
    assert offloads.state(places) == dict.fromkeys(offloads.FEATURES, state)


# The order of the paths.


class Recorder:
    """A bench that measures nothing, and notes what it was asked to measure."""

    def __init__(self) -> None:
        nobody = cast("NamespacedNode", None)
        self.paths = tuple(Path(name, nobody, nobody, "") for name in PATHS)
        self.asked: list[tuple[int, str, str]] = []

    def measure(self, number: int, path: Path, protocol: str, state: str, seconds: int) -> Round:  # noqa: ARG002
        self.asked.append((number, protocol, path.name))
        return one(path.name, 0, number=number)


def conducted(rounds: int, state: str = "on") -> tuple[list[tuple[int, str, str]], list[tuple[int, int, str]]]:
    """What is measured in some rounds, in its order, and the progress that is reported."""
    bench, progress = Recorder(), []

    def report(done: int, total: int, what: str) -> None:
        progress.append((done, total, what))

    context = Context(load("two_hosts"), "ebpf", report)
    list(throughput._rounds(context, cast("Bench", bench), state, rounds, 1))
    return bench.asked, progress


def test_in_each_round_each_path_is_measured_once_per_protocol() -> None:
    asked, _ = conducted(4)
    assert Counter(asked) == {
        (number, protocol, path): 1 for number in range(4) for protocol in throughput.PROTOCOLS for path in PATHS
    }
    assert [number for number, _, _ in asked] == sorted(number for number, _, _ in asked)


def test_the_paths_take_turns() -> None:
    asked, _ = conducted(3)
    tcp = [path for _, protocol, path in asked if protocol == "TCP"]
    assert tcp == ["NVGRE", "VXLAN", "underlay", "VXLAN", "underlay", "NVGRE", "underlay", "NVGRE", "VXLAN"]


@pytest.mark.parametrize("place", [0, 1, 2], ids=["first", "second", "last"])
@pytest.mark.parametrize("rounds", [throughput.ROUNDS, throughput.ROUNDS_QUICK], ids=["full", "quick"])
def test_each_path_is_equally_often_in_each_place(rounds: int, place: int) -> None:
    asked, _ = conducted(rounds)
    tcp = [path for _, protocol, path in asked if protocol == "TCP"]
    assert len(set(Counter(tcp[place :: len(PATHS)]).values())) == 1


def test_progress_counts_up_to_the_whole_over_both_offload_states() -> None:
    steps = 2 * 2 * len(throughput.PROTOCOLS) * len(PATHS)
    progress = [report for state in ("on", "off") for report in conducted(2, state)[1]]
    assert [(done, total) for done, total, _ in progress] == [(done, steps) for done in range(steps)]
    assert progress[0][2] == "TCP over NVGRE, offloads on, round 1"


# One stream.


class Iperf:
    """A node on which iperf3 reports this."""

    name = "node"

    def __init__(self, report: dict[str, Any]) -> None:
        self._report = report
        self.command: list[str] = []

    def run_process(self, command: list[str], timeout: float) -> subprocess.CompletedProcess[str]:  # noqa: ARG002
        self.command = command
        return subprocess.CompletedProcess(command, 0, json.dumps(self._report), "")


def report(received: int, **more: Any) -> dict[str, Any]:
    """A report of two seconds, shortened to what is read."""
    return {"end": {"sum_sent": {"retransmits": 3}, "sum_received": {"bytes": received, "seconds": 2.0, **more}}}


def measured(node: Iperf, protocol: str = "TCP") -> Stream:
    return iperf.measure(cast("NamespacedNode", node), "10.0.0.2", 5201, protocol, 2, 1400)


def test_a_rate_is_of_what_arrived() -> None:
    stream = measured(Iperf(report(250_000_000, lost_percent=12.5)))
    assert (stream.gigabits_per_second, stream.megabytes) == (1.0, 250.0)
    assert (stream.retransmissions, stream.loss_percent) == (3, 12.5)
    assert stream.cpu_seconds_per_gigabit is not None
    assert stream.cpu_seconds_per_gigabit >= 0


@pytest.mark.parametrize(("protocol", "words"), [("TCP", ["--set-mss", "1400"]), ("UDP", ["--length", "1400"])])
def test_every_protocol_sends_packets_of_one_size(protocol: str, words: list[str]) -> None:
    node = Iperf(report(1))
    measured(node, protocol)
    assert " ".join(words) in " ".join(node.command)
    assert ("--udp" in node.command) == (protocol == "UDP")


def test_a_stream_of_which_nothing_arrived_is_an_observation_not_a_crash() -> None:
    assert measured(Iperf(report(0))).megabytes == 0


def test_an_error_of_iperf3_says_who_could_not_reach_whom() -> None:
    with pytest.raises(RuntimeError, match=r"from node to 10\.0\.0\.2: unable to connect"):
        measured(Iperf({"error": "unable to connect"}))
