"""One observation between two ends as a row of raw data, and back; or why a pair was not tried. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Self

from experiments.results import Sample

if TYPE_CHECKING:
    from experiments.interop.ends import End, Pair
    from experiments.interop.network import Setting


class Tried(StrEnum):
    """What is tried between two ends."""

    PING = "ping"
    SENT = "FlowIDs sent"
    ACCEPTED = "FlowIDs accepted"
    LARGEST = "largest packet"
    BROADCAST = "copies of a broadcast"
    MULTICAST = "copies of a multicast"
    STREAM = "TCP stream"

    @property
    def clause(self) -> str:
        """Where what is expected comes from."""
        return _CLAUSES[self]


_CLAUSES = {
    Tried.PING: "RFC 7637 3.2",
    Tried.SENT: "G8, G9",
    Tried.ACCEPTED: "G10",
    Tried.LARGEST: "F3",
    Tried.BROADCAST: "B5",
    Tried.MULTICAST: "B5",
    Tried.STREAM: "RFC 7637 3.2",
}
SET_UP, UP = "both ends", "up"
"""Where an end could not even be started: what was tried, and what should have come of it."""


@dataclass(frozen=True)
class Row:
    """What was expected and seen. `reason`: why the pair was not tried in this setting; then nothing else is there.

    `outer` and `flow_ids` are the setting, `value` is Gb/s, and `place` is where it ran: `here`, or `guest`.
    """

    left: str
    right: str
    outer: str
    flow_ids: str
    tried: str = ""
    sender: str = ""
    receiver: str = ""
    expected: str = ""
    observed: str = ""
    value: float | None = None
    place: str = ""
    reason: str = ""

    @classmethod
    def of(
        cls,
        pair: Pair,
        setting: Setting,
        tried: Tried,
        ends: tuple[End, End],
        limit: int,
        observed: str,
        value: float | None = None,
    ) -> Self:
        """An observation beside what the ends' declarations make one expect."""
        from experiments.interop.expecting import expected

        wanted = expected(pair, setting.flow_ids, tried, ends, limit)
        return cls(
            pair.left.name,
            pair.right.name,
            f"IPv{setting.version}",
            str(setting.flow_ids),
            str(tried),
            ends[0].name,
            ends[1].name,
            wanted,
            observed,
            value,
        )

    @property
    def clause(self) -> str:
        """Where what is expected comes from."""
        return Tried(self.tried).clause if self.tried in set(Tried) else ""

    @property
    def holds(self) -> bool:
        """Whether it is as expected."""
        return self.expected == self.observed

    def sample(self) -> Sample:
        """As raw data."""
        return asdict(self)


def row_of(sample: Sample) -> Row:
    """The row of a sample. Raises ValueError where it is none."""
    try:
        value = sample.get("value")
        text = {name: str(sample[name]) for name in Row.__dataclass_fields__ if name != "value"}
    except KeyError as error:
        raise ValueError(f"there is no column {error}") from error
    if value is not None and not isinstance(value, int | float):
        raise ValueError(f"column 'value' holds {value!r}, which is no number")
    return Row(**text, value=value)
