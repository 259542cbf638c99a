"""A program in a guest that has a NIC in a namespace of ours is talked to, and one that says nothing is noticed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyroute2 import netns

from nvgre_node.errors import MissingError
from nvgre_node.namespace import inhabitants
from nvgre_node.run import Run
from testbed.vm.dialogue import dialogue
from testbed.vm.uml import UserModeLinux

from .belongings import CHECKOUT, left_of

pytestmark = pytest.mark.skipif(bool(UserModeLinux().missing()), reason=UserModeLinux().missing() or "it is there")
NIC = "transport=gre,src=127.0.0.1,dst=127.0.0.1,tx_key=1,rx_key=1,mtu=1400"
BACKWARDS = "print('ready', flush=True)\nprint(input()[::-1], flush=True)\n"
PATIENCE = 120


@pytest.fixture
def place() -> Iterator[Path]:
    """A namespace of a run of its own."""
    own = Run.create()
    try:
        netns.create(own.namespace("host").name)
        yield own.namespace("host")
        assert inhabitants(own.namespace("host")) == []
    finally:
        own.close()
    assert left_of(own.id) == []


def test_it_answers_each_line_and_its_end_is_noticed(place: Path) -> None:
    with dialogue(UserModeLinux(), [sys.executable, "-c", BACKWARDS], CHECKOUT, place, NIC) as talk:
        assert inhabitants(place)
        assert talk.ask("abc", PATIENCE) == "cba"
        with pytest.raises(MissingError, match="the guest has ended"):
            talk.ask("more", PATIENCE)


def test_what_says_nothing_is_not_waited_for_without_end(place: Path) -> None:
    silent = f"{BACKWARDS}while True:\n    input()\n"
    with dialogue(UserModeLinux(), [sys.executable, "-c", silent], CHECKOUT, place, NIC) as talk:
        talk.ask("abc", PATIENCE)
        with pytest.raises(TimeoutError, match="said nothing"):
            talk.ask("more", 0.2)


def test_another_first_word_is_refused(place: Path) -> None:
    wrong = "print('hello', flush=True)\n"
    with (
        pytest.raises(MissingError, match="'hello' instead of 'ready'"),
        dialogue(UserModeLinux(), [sys.executable, "-c", wrong], CHECKOUT, place, NIC),
    ):
        pass
