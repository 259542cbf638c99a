"""Tries pairs one after the other, here: builds the network of each setting and observes it. Needs root."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from pyroute2.netlink.exceptions import NetlinkError

from experiments.base import Workbench
from experiments.interop.ends import FlowIds, Pair, end
from experiments.interop.network import Setting, meeting
from experiments.interop.observing import observe
from experiments.interop.parties import PartyError
from experiments.interop.rows import SET_UP, UP, Row
from nvgre_node.errors import BadInputError, MissingError
from topologies import Scenario

TRYING = "trying "
"""How a line begins by which a guest says what it tries."""
Told = Callable[[str], None]
"""Called with what is tried next."""


@dataclass(frozen=True)
class Tour:
    """What is tried of each pair: over which outer IP versions, with streams of so many seconds (0: none).

    FlowIDs both set and not set, everywhere (`thorough`), or only for pairs that work in one of the two cases alone.
    """

    versions: tuple[int, ...]
    seconds: int
    thorough: bool = True

    def modes(self, pair: Pair) -> tuple[FlowIds, ...]:
        """The cases of a pair that are tried; the first of them in full."""
        return pair.modes if self.thorough or not pair.works(FlowIds.SET) else pair.modes[:1]


QUICK, FULL = Tour((4,), 1, thorough=False), Tour((4, 6), 2)


def try_pairs(
    scenario: Scenario, pairs: Sequence[tuple[str, str]], tour: Tour, bench: Workbench | None, told: Told
) -> Iterator[Row]:
    """Everything of these pairs; `scenario` is a reduced one."""
    for left, right in pairs:
        pair = Pair(end(left), end(right))
        for version in tour.versions:
            for number, mode in enumerate(tour.modes(pair)):
                setting = Setting(version, mode)
                told(f"{pair}, {setting}")
                yield from _try(scenario, pair, setting, tour.seconds, bench, in_full=number == 0)


def _try(
    scenario: Scenario, pair: Pair, setting: Setting, seconds: int, bench: Workbench | None, *, in_full: bool
) -> Iterator[Row]:
    """Everything of a pair in one setting; or why there is nothing, by a declaration or the machine."""
    nothing = Row(pair.left.name, pair.right.name, f"IPv{setting.version}", str(setting.flow_ids))
    try:
        with meeting(scenario, pair, setting, bench) as of:
            yield from observe(of, seconds, in_full=in_full)
    except BadInputError as error:  # as declared
        yield replace(nothing, reason=str(error))
    except (PartyError, MissingError, NetlinkError, OSError, RuntimeError) as error:  # it should have been possible
        said = f"{type(error).__name__}: {error}".splitlines()[0]
        yield replace(nothing, tried=SET_UP, expected=UP, observed=said)
