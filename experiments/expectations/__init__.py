"""Whether what the scenario expects holds: who reaches whom, by what, how large a packet, and over which way.

What should get there is tried until it does, for as long as a patience lasts. What should not is sent thrice, as the
sender's own stack would send it and straight to the other's MAC address; it is judged only once something that should
get there has got there after it.
"""

from __future__ import annotations

from collections.abc import Iterator

from experiments.base import Context
from experiments.expectations.asking import Asker
from experiments.expectations.questions import Answer, Question, questions
from experiments.expectations.wording import largest_in_words, seen_in_words, way_in_words
from experiments.results import Check, Measurement, Outcome, Sample, Verdict
from nvgre_node.net import NvgreNet

NAME = "expectations"


def run(context: Context) -> Outcome:
    """Asks every question that follows from what the scenario expects.

    Raises:
        BadInputError: it expects nothing.
    """
    scenario = context.scenario
    asked = questions(scenario)
    with NvgreNet(scenario, context.dataplane) as net, Asker(net, scenario.policy) as asker:
        answers = asker.ask(asked, context.progress)
    return outcome(context, list(zip(asked, answers, strict=True)))


def outcome(context: Context, found: list[tuple[Question, Answer]]) -> Outcome:
    """The verdict on questions and their answers."""
    judged = [(question, about, check) for question, answer in found for about, check in _checks(question, answer)]
    lines = {question.line for question, _, _ in judged}
    broken = {question.line for question, _, check in judged if check.verdict is Verdict.FAIL}
    measurements = (
        Measurement("expectations", "lines", (float(len(lines)),)),
        Measurement("expectations that hold", "lines", (float(len(lines - broken)),)),
    )
    checks = tuple(check for _, _, check in judged)
    samples = tuple(_sample(question, about, check) for question, about, check in judged)
    return Outcome(NAME, context.dataplane, context.scenario.name, measurements, checks, samples)


def _checks(question: Question, answer: Answer) -> Iterator[tuple[str, Check]]:
    """What was expected beside what was seen: whether it gets there, and then how large, and by which way."""
    name, own = str(question), question.expected
    yield "reaches", Check(name, "T4, T6", "reaches" if own.reaches else "silent", seen_in_words(question, answer))
    if own.mtu is not None:
        observed = largest_in_words(answer.largest)
        yield "largest", Check(f"{name}: largest packet", "F3", f"{own.mtu} bytes", observed)
    if own.via is not None:
        yield "way", Check(f"{name}: way", "U1", way_in_words(own.via), way_in_words(own.via, answer.ways))


def _sample(question: Question, about: str, check: Check) -> Sample:
    return {
        "line": question.line,
        "said": str(question.expected),
        "source": question.source.name,
        "destination": question.destination,
        "by": str(question.expected.way),
        "about": about,
        "expected": check.expected,
        "observed": check.observed,
        "verdict": str(check.verdict),
    }
