"""What a hundred moves did to a probe every millisecond: judged from hand-made records, good and bad."""

from dataclasses import replace

import numpy as np
import pytest

from experiments.beacon import Record
from experiments.migration import Move, checks, judge, measurements
from experiments.plots import migration as plot
from experiments.results import Sample, Verdict
from nvgre_node.migration import Migration
from topologies import load

POLICY = load("leaf_spine").policy
PEER = POLICY.vm("red2")
START, PROBES = 1000.0, 1000
FIRST = Migration("red1", "host1", "host2", START + 0.3, START + 0.305)
SECOND = Migration("red1", "host2", "host3", START + 0.6, START + 0.604)


def record(lost: set[int] | None = None, twice: set[int] | None = None) -> Record:
    """A probe every millisecond, all of which but the lost ones arrive at once."""
    numbers = [n for n in range(PROBES) if n not in (lost or set())] + sorted(twice or set())
    arrived = [(n, START + n / 1000) for n in numbers]
    return Record([START + n / 1000 for n in range(PROBES)], arrived, arrived, stream_is_whole=True)


def judged(own: Record) -> list[Move]:
    return judge([FIRST, SECOND], own, POLICY)


def verdicts(own: Record) -> list[Verdict]:
    return [check.verdict for check in checks(judged(own), own, PEER)]


PASS, FAIL = Verdict.PASS, Verdict.FAIL


def test_a_move_that_loses_nothing_has_no_outage() -> None:
    assert [(move.lost, move.outage, move.between_subnets) for move in judged(record())] == [(0, 0.0, True)] * 2
    assert verdicts(record()) == [PASS] * 4


def test_an_outage_is_from_the_first_probe_lost_to_the_first_that_arrives_again() -> None:
    first, second = judged(record(lost={300, 301, 302, 303}))
    assert (first.lost, second.lost) == (4, 0)
    assert first.outage == pytest.approx(0.004)
    assert first.silence == pytest.approx(0.005)
    assert verdicts(record(lost={300, 301, 302, 303})) == [PASS] * 4


def test_what_left_just_before_the_vm_did_belongs_to_the_move() -> None:
    first, second = judged(record(lost={298, 599}))
    assert (first.lost, second.lost) == (1, 1)


def test_a_loss_when_every_nve_knew_is_no_part_of_a_move() -> None:
    assert verdicts(record(lost={400})) == [PASS, PASS, FAIL, PASS]


def test_a_probe_that_arrives_twice_is_found() -> None:
    assert verdicts(record(twice={301})) == [PASS, FAIL, PASS, PASS]


def test_a_vm_that_is_never_reached_again_is_found() -> None:
    assert verdicts(record(lost=set(range(550, PROBES)))) == [FAIL, PASS, FAIL, PASS]


def test_a_broken_stream_is_found_and_one_in_which_nothing_arrived_too() -> None:
    whole = record()
    for broken in (replace(whole, stream_is_whole=False), replace(whole, stream=[])):
        assert verdicts(broken) == [PASS, PASS, PASS, FAIL]


def test_moves_between_subnets_of_pas_are_measured_apart() -> None:
    names = {measurement.name: measurement.n for measurement in measurements(judged(record()))}
    assert names["outage, all moves"] == names["outage, between PA subnets"] == 2


SAMPLES: list[Sample] = [
    {"outage_ms": 0.0, "tcp_silence_ms": 5.0},
    {"outage_ms": 4.0, "tcp_silence_ms": 6.0},
    {"outage_ms": 300.0, "tcp_silence_ms": 310.0},
]


def test_the_figure_says_how_long_and_how_often_not_at_all() -> None:
    assert plot.headline(SAMPLES) == "3 moves: cut off for 4.0 ms (median); 1 lost no probe at all"
    (axes,) = plot.draw(SAMPLES).axes
    assert axes.get_xlim()[1] > 310
    ends = [np.asarray(line.get_ydata()).max() for line in axes.get_lines()]
    assert ends == [100, 50, 100, 50]  # a curve, and its median


def test_a_figure_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no samples"):
        plot.draw([])
