"""What lies behind each finding: the frames that were sent and seen for it, as a capture per row for Wireshark.

Scapy writes the files: its `PcapNgWriter` knows interfaces and comments, which is all that is asked of one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from scapy.layers.l2 import Ether
from scapy.packet import Raw
from scapy.utils import PcapNgWriter

from experiments.conformance import dissect
from experiments.conformance.rows import BY_ID, Finding
from experiments.results import Verdict

_MOST = 1000
"""How many frames of a whole run a capture holds: a row about everything does not need all of it."""


@dataclass(frozen=True)
class Frame:
    """A frame that was sent or seen: when (seconds since the epoch), on which interface, and what it is.

    `sent` marks those that a row is about; not the sound ones behind them.
    """

    time: float
    interface: str
    data: bytes
    role: str
    sent: bool = False


Batch = tuple[Frame, ...]
"""Frames that went together, and all that was seen meanwhile."""


@dataclass(frozen=True)
class _Entry:
    finding: Finding
    batches: tuple[Batch, ...]


class Journal:
    """Notes batches of frames as they happen, and findings as they are made from them."""

    def __init__(self) -> None:
        self._batches: list[Batch] = []
        self._entries: list[_Entry] = []

    def record(self, frames: Iterable[Frame]) -> None:
        """Notes a batch: the next findings rest on it."""
        self._batches.append(tuple(sorted(frames, key=lambda frame: frame.time)))

    def recall(self, frames: Sequence[Frame]) -> None:
        """Notes what is looked at again, at the end of a run: the next findings rest on that and not on what was sent.

        At most 1000 frames are kept, and the first says of how many.
        """
        kept = list(frames[:_MOST])
        if len(frames) > _MOST:
            first = kept[0]
            role = f"{first.role}, the first {_MOST} of {len(frames)}"
            kept[0] = Frame(first.time, first.interface, first.data, role, first.sent)
        self.record(kept)

    def follow(self, findings: Iterable[Finding]) -> Iterator[Finding]:
        """Hands findings on. Each rests on the batches since the one before, or on the same where there are none."""
        seen, current = len(self._batches), tuple[Batch, ...]()
        for finding in findings:
            if len(self._batches) > seen:
                current, seen = tuple(self._batches[seen:]), len(self._batches)
            self._entries.append(_Entry(finding, current))
            yield finding

    def captures(self) -> dict[str, bytes]:
        """Per row that has frames, a pcapng file."""
        rows = dict.fromkeys(entry.finding.row for entry in self._entries if any(entry.batches))
        return {row: _written(self._commented(row)) for row in rows}

    def packets(self) -> dict[str, str]:
        """Per row that has frames, one packet that shows it, in one line: of what failed, if anything did."""
        ordered = sorted(self._entries, key=lambda entry: entry.finding.verdict is not Verdict.FAIL)
        found: dict[str, str] = {}
        for entry in ordered:
            if shown := _telling([frame for batch in entry.batches for frame in batch]):
                found.setdefault(entry.finding.row, dissect.line(shown.data))
        return found

    def _commented(self, row: str) -> Iterator[tuple[Frame, str]]:
        """The frames of a row in the order of time, each once, with a comment."""
        batches: dict[int, tuple[Batch, list[Finding]]] = {}
        for entry in self._entries:
            if entry.finding.row == row:
                for batch in entry.batches:
                    batches.setdefault(id(batch), (batch, []))[1].append(entry.finding)
        for batch, findings in batches.values():
            for frame in batch:
                yield frame, _comment(frame, findings)


def _comment(frame: Frame, findings: Sequence[Finding]) -> str:
    """What a frame is; on those that were sent also what was expected of them, and what was seen."""
    row = BY_ID[findings[0].row]
    tried = "; ".join(dict.fromkeys(finding.what for finding in findings))
    lines = [f"{row.id} {tried}: {frame.role}"]
    if frame.sent:
        lines += [f"{row.clause} {row.level}: {row.statement}"]
        lines += [f"{f.what}: expected {f.expected}; seen {f.observed}; {f.verdict}" for f in findings]
    return "\n".join(lines)


def _telling(frames: Sequence[Frame]) -> Frame | None:
    """The first NVGRE packet that was sent, else the first that was seen, else what was sent."""
    nvgre = [frame for frame in frames if dissect.outer(frame.data) is not None]
    of_row = [frame for frame in nvgre if "sound" not in frame.role]
    sent = [frame for frame in frames if frame.sent]
    return next(iter([*(f for f in of_row if f.sent), *of_row, *sent, *frames]), None)


def _written(frames: Iterable[tuple[Frame, str]]) -> bytes:
    """A pcapng file: an interface block per place, and a comment on each packet."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "capture.pcapng")
        with PcapNgWriter(str(path)) as writer:
            writer.write_header(Ether())
            for frame, comment in frames:
                packet = Raw(frame.data)  # as it is: a dissected packet might be written in another way
                packet.time, packet.sniffed_on, packet.comment = frame.time, frame.interface, comment.encode()
                writer.write_packet(packet)
        return path.read_bytes()
