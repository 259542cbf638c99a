"""What must be seen between two ends, by what they declare. Pure."""

from __future__ import annotations

from experiments.interop.ends import End, FlowIds, Pair
from experiments.interop.rows import Tried

ANSWERED, SILENT = "answered", "no answer"
ARRIVES, STALLS = "arrives", "nothing arrives"


def expected(pair: Pair, mode: FlowIds, tried: Tried, ends: tuple[End, End], limit: int) -> str:
    """What must come of it, in this direction: `ends` are who sends and who receives."""
    sender, receiver = ends
    through = pair.understand(sender, receiver, mode)
    match tried:
        case Tried.PING:
            return ANSWERED if pair.works(mode) else SILENT
        case Tried.SENT:
            return "several" if sender.sets(mode) else "0"
        case Tried.ACCEPTED:
            return "any" if receiver.takes_any else "0"
        case Tried.LARGEST:
            return str(limit) if through else "none"
        case Tried.BROADCAST | Tried.MULTICAST:
            return "1" if through else "0"
        case Tried.STREAM:
            return ARRIVES if pair.works(mode) else STALLS
