"""Expectations: which pairs they are about, and which observations make which verdict."""

from dataclasses import replace
from pathlib import Path

import pytest

from experiments.as_expected import rows
from experiments.base import Context
from experiments.expectations import outcome
from experiments.expectations.packets import Packet
from experiments.expectations.questions import Answer, Flight, Question, State, questions
from experiments.plots import expectations as plot
from experiments.plots import style
from experiments.results import Outcome, Verdict
from nvgre_node.errors import BadInputError
from topologies import Scenario, load
from topologies.expectation import By, Expectation, Way

REACHES, ARRIVES, SILENT = State.REACHES, State.ARRIVES, State.SILENT


def expecting(*expect: Expectation) -> Scenario:
    """Two hosts, of which this is expected."""
    return replace(load("two_hosts"), expect=expect)


def judged(expected: Expectation, *answers: Answer) -> Outcome:
    """The outcome of a scenario that expects this, with an answer for each pair."""
    scenario = expecting(expected)
    asked = questions(scenario)
    return outcome(Context(scenario, "ebpf", lambda *_: None), list(zip(asked, answers, strict=True)))


def seen(expected: Expectation, answer: Answer) -> list[str]:
    """What the checks of one pair observed, those that failed with a star."""
    return [c.observed + "*" * (c.verdict is Verdict.FAIL) for c in judged(expected, answer).checks]


def test_names_stand_for_all_their_vms_and_nobody_is_asked_for_itself() -> None:
    asked = questions(expecting(Expectation(("red",), ("red_net", "blue1"))))

    assert [(own.source.name, own.destination) for own in asked] == [
        *[("red1", "red2"), ("red1", "red3"), ("red1", "blue1")],
        *[("red2", "red1"), ("red2", "red3"), ("red2", "blue1")],
        *[("red3", "red1"), ("red3", "red2"), ("red3", "blue1")],
    ]


def test_any_is_every_way_and_every_port_of_the_file() -> None:
    tcp, anything = (Expectation(("red1",), ("red2",), way) for way in (Way(By.TCP, 22), Way(By.ANY)))

    first, second = questions(expecting(tcp, anything))

    assert [str(flight) for flight in first.flights] == ["tcp 22 over IPv4", "tcp 22 over IPv6"]
    assert {str(flight.way) for flight in second.flights} == {"icmp", "tcp 22", "tcp 7637", "udp 7637", "broadcast"}


def test_physical_networks_can_be_reached() -> None:
    asked = questions(replace(load("internet_gateway"), expect=(Expectation(("contoso_web",), ("internet",)),)))
    assert [(own.destination, str(own.flights[0].to)) for own in asked] == [("internet", "203.0.113.1")]


def test_who_expects_nothing_is_told() -> None:
    with pytest.raises(BadInputError, match="two_hosts expects nothing"):
        questions(expecting())


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer((REACHES, REACHES)), "reaches"),
        (Answer((SILENT, SILENT), "acl in"), "silent (acl in)*"),
        (Answer((ARRIVES, ARRIVES)), "arrives, unanswered*"),
        (Answer((REACHES, SILENT)), "icmp over IPv4: reaches, icmp over IPv6: silent*"),
    ],
)
def test_what_should_get_there_has_to_in_every_ip_version(answer: Answer, words: str) -> None:
    assert seen(Expectation(("red1",), ("red2",)), answer) == [words]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer((SILENT, SILENT), control="red1 -> red3"), "silent"),
        (Answer((SILENT, SILENT)), "unknown: nothing else gets through either*"),
        (Answer((SILENT, ARRIVES), control="red1 -> red3"), "heard: icmp*"),
        (Answer((SILENT, ARRIVES)), "heard: icmp*"),
    ],
)
def test_silence_counts_only_where_something_else_is_heard(answer: Answer, words: str) -> None:
    assert seen(Expectation(("red1",), ("blue1",), reaches=False), answer) == [words]


def test_of_any_one_way_is_enough() -> None:
    expected = Expectation(("red1",), ("red2",), Way(By.ANY))
    (asked,) = questions(expecting(expected))
    silent = [SILENT] * (len(asked.flights) - 1)

    assert seen(expected, Answer((*silent, REACHES))) == ["reaches"]
    assert seen(expected, Answer((*silent, ARRIVES))) == ["arrives, unanswered*"]


@pytest.mark.parametrize(
    ("largest", "words"),
    [((1500, 1500), "1500 bytes"), ((1500, 1480), "1480 bytes or 1500 bytes*"), ((1501, 1501), "1501 bytes*")],
)
def test_the_largest_packet_is_that_of_every_ip_version(largest: tuple[int, ...], words: str) -> None:
    expected = Expectation(("red1",), ("red2",), mtu=1500)
    assert seen(expected, Answer((REACHES, REACHES), largest=largest)) == ["reaches", words]


@pytest.mark.parametrize(
    ("way", "words"),
    [
        (("leaf1", "spine2", "leaf2"), "leaf1, spine1 or spine2, leaf2"),
        (("leaf1", "leaf2"), "leaf1, leaf2*"),
        (("leaf1", "spine3", "leaf2"), "leaf1, spine3, leaf2*"),
        (("leaf2", "spine1", "leaf1"), "leaf2, spine1, leaf1*"),
        ((), "never on the wire*"),
    ],
)
def test_a_way_is_every_node_in_order(way: tuple[str, ...], words: str) -> None:
    expected = Expectation(("red1",), ("red2",), via=(("leaf1",), ("spine1", "spine2"), ("leaf2",)))
    assert seen(expected, Answer((REACHES, REACHES), ways=(way,))) == ["reaches", words]
    assert seen(expected, Answer((REACHES, REACHES))) == ["reaches", "none gets through*"]


def test_a_line_is_one_row_and_each_pair_that_differs_another() -> None:
    good, bad = Answer((REACHES, REACHES)), Answer((SILENT, SILENT), "acl in")
    found = judged(Expectation(("red1",), ("red",)), good, bad)

    assert [(row.what, row.pairs, row.observed, row.holds) for row in rows(found.samples)] == [
        ("red1 -> red, icmp", 1, "reaches", True),
        ("red1 -> red3, icmp", 1, "silent (acl in)", False),
    ]
    assert plot.headline(found.samples) == "NOT AS EXPECTED: 0 of 1 expectations hold"
    assert plot.headline(judged(Expectation(("red1",), ("red",)), good, good).samples) == "1 of 1 expectations hold"


def test_a_figure_is_drawn_also_of_very_many(tmp_path: Path) -> None:
    found = judged(Expectation(("red1",), ("red2",)), Answer((REACHES, REACHES)))
    many = [{**found.samples[0], "line": line} for line in range(100)]
    assert all(path.stat().st_size for path in style.save(plot.draw(many), tmp_path, "many"))
    with pytest.raises(ValueError, match="no samples"):
        plot.draw([])


def question(way: Way) -> Question:
    """Whether red1 reaches red2 by this."""
    (asked,) = questions(expecting(Expectation(("red1",), ("red2",), way)))
    return asked


@pytest.mark.parametrize("way", [Way(), Way(By.TCP, 22), Way(By.UDP, 53), Way(By.BROADCAST)], ids=str)
def test_a_packet_is_known_by_its_own_number(way: Way) -> None:
    from experiments.expectations.packets import frame

    asked = question(way)
    for flight in asked.flights:
        own, other = (Packet(number, flight, asked.source, "red2") for number in (20000, 20001))
        sent = frame(own, "02:00:0a:00:00:02")
        assert own.is_in(sent)
        assert own.is_in(b"outer headers" + sent)
        assert not other.is_in(sent)
        assert not own.is_answered_in(sent)
        if own.wants_answer:
            answer = frame(Packet(own.port, _back(flight, own.number), asked.source, "red1"), "02:00:0a:00:00:01")
            assert way.by is By.ICMP or own.is_answered_in(answer)
            assert not other.is_answered_in(answer)


def _back(flight: Flight, port: int) -> Flight:
    return Flight(Way(flight.way.by, port), flight.to, flight.source)
