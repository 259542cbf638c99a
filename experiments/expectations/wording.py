"""What was expected and what was seen, in words that are equal where the two agree. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.expectations.questions import Answer, Question, State
from topologies.expectation import By, Steps

_STATES = {State.SILENT: "silent", State.ARRIVES: "arrives, unanswered", State.REACHES: "reaches"}


def seen_in_words(question: Question, answer: Answer) -> str:
    """`reaches` or `silent` where that is what was expected; else also what is known of it."""
    if not question.flights:
        return "no IP version in common"
    states = dict(zip(question.flights, answer.states, strict=True))
    if not question.expected.reaches:
        heard = dict.fromkeys(str(flight.way) for flight, state in states.items() if state > State.SILENT)
        if heard:
            return f"heard: {', '.join(heard)}"
        return "silent" if answer.control else "unknown: nothing else gets through either"
    said = {_STATES[state] for state in states.values()}
    if question.expected.way.by is By.ANY:
        said = {_STATES[max(states.values())]}
    each = ", ".join(f"{flight}: {_STATES[state]}" for flight, state in states.items())
    words = said.pop() if len(said) == 1 else each
    return f"{words} ({answer.why})" if answer.why and words != "reaches" else words


def largest_in_words(sizes: Sequence[int]) -> str:
    """The largest packets that got through, in bytes of IP: one where all IP versions agree."""
    return " or ".join(f"{size} bytes" for size in sorted(set(sizes))) or "none gets through"


def way_in_words(expected: Steps, seen: Sequence[tuple[str, ...]] | None = None) -> str:
    """A way, node by node: the expected one, or those that packets took, in the words of the former where they fit."""
    if seen is None:
        return _joined([" or ".join(step) for step in expected])
    return "; ".join(sorted({_joined(_as_expected(expected, way)) for way in seen})) or "none gets through"


def _as_expected(expected: Steps, way: tuple[str, ...]) -> list[str]:
    fits = len(way) == len(expected) and all(node in step for node, step in zip(way, expected, strict=True))
    return [" or ".join(step) for step in expected] if fits else list(way)


def _joined(steps: Sequence[str]) -> str:
    return ", ".join(steps) or "never on the wire"
