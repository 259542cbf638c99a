"""Experiment `migration`: how long a VM is cut off while it moves to another provider host, and what that costs.

Another VM of its virtual subnet probes it every millisecond, by datagrams and on a TCP connection, through all moves.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from experiments.base import Context, capabilities, distant_pair, shared_versions
from experiments.beacon import Record, beacon
from experiments.results import Check, Measurement, Outcome, Sample
from nvgre_node.dataplane.capability import Capability
from nvgre_node.errors import BadInputError
from nvgre_node.migration import Migration
from nvgre_node.net import NvgreNet
from nvgre_node.policy import Policy, Vm
from nvgre_node.waiting import wait_until

NAME = "migration"
MOVES, MOVES_QUICK = 100, 10
_SETTLED = 100
"""Probes between two moves, so that the one is over before the next begins."""
_LONGEST = 60.0


@dataclass(frozen=True)
class Move:
    """One move, and what became of the probes that were sent from its beginning to that of the next.

    Times in seconds. `outage` is how long what was sent was lost; `silence`: how long the TCP stream stood still.
    """

    migration: Migration
    between_subnets: bool
    sent: int
    lost: int
    late_losses: int
    outage: float
    silence: float

    @property
    def took(self) -> float:
        """From the moment at which the VM was on its new host until the last NVE knew."""
        return self.migration.known - self.migration.switched


def run(context: Context) -> Outcome:
    """Moves a VM from host to host, each time to one drawn by lot. `quick`: 10 times instead of 100.

    Raises:
        BadInputError: the scenario has no two VMs of a subnet on different hosts, or its data planes cannot do that.
    """
    policy = context.scenario.policy
    vm, peer = distant_pair(policy)
    version = next(iter(shared_versions(vm, peer)), None)
    if version is None:
        raise BadInputError(f"{vm.name} and {peer.name} share no IP version")
    if Capability.UPDATES not in capabilities(context):
        raise BadInputError(f"{context.dataplane} has no {Capability.UPDATES}")
    rng = random.Random(context.seed)  # noqa: S311 (which host is next)
    moves = MOVES_QUICK if context.quick else MOVES
    with NvgreNet(context.scenario, context.dataplane) as net:
        made = list[Migration]()
        with beacon(net[peer.name], net[vm.name], str(vm.ca(version))) as record:
            at = vm.host
            _settle(net, peer)
            for number in range(moves):
                context.progress(number, moves, f"{vm.name} leaves {at}")
                at = rng.choice([nve.host for nve in policy.nves if nve.host != at])
                made.append(net.migrate(vm.name, at))
                _settle(net, peer)
    context.progress(moves, moves, "done")
    found = judge(made, record, policy)
    return Outcome(
        NAME,
        context.dataplane,
        context.scenario.name,
        tuple(measurements(found)),
        checks(found, record, peer),
        tuple(map(_sample, found)),
    )


def _settle(net: NvgreNet, peer: Vm) -> None:
    """Waits until some more probes have left."""
    vsid = net.mover.policy.vsid_of(peer)

    def left() -> int:
        counted = net.counters()[peer.host][vsid]
        return counted.encapsulated + counted.local

    before = left()
    wait_until(lambda: left() >= before + 2 * _SETTLED, "probes to leave", timeout=_LONGEST)


def judge(migrations: Sequence[Migration], record: Record, policy: Policy) -> list[Move]:
    """What became of the probes of each move."""
    starts = [bisect_left(record.sent, migration.switched) for migration in migrations]
    # What left just before the VM did may arrive after it, and the last may have been on their way at the end.
    borders = [max(start - _SETTLED // 2, 0) for start in (*starts, len(record.sent))]
    return [
        _judged(migration, range(*numbers), record, policy)
        for migration, numbers in zip(migrations, pairwise(borders), strict=True)
    ]


def _judged(migration: Migration, numbers: range, record: Record, policy: Policy) -> Move:
    arrived = {number for number, _ in record.arrived}
    lost = [number for number in numbers if number not in arrived]
    known = bisect_left(record.sent, migration.known)
    return Move(
        migration,
        _subnet(policy, migration.source) != _subnet(policy, migration.target),
        len(numbers),
        len(lost),
        sum(number > known for number in lost),
        _outage(record, lost),
        _silence(record, migration),
    )


def _subnet(policy: Policy, host: str) -> str:
    return str(policy.nve(host).pas[0].network)


def _outage(record: Record, lost: Sequence[int]) -> float:
    """From the first probe that was lost to the first that arrived again."""
    if not lost:
        return 0.0
    end = min(lost[-1] + 1, len(record.sent) - 1)
    return record.sent[end] - record.sent[lost[0]]


def _silence(record: Record, migration: Migration) -> float:
    """The longest time that the TCP stream stood still around a move."""
    times = [at for _, at in record.stream]
    first = max(bisect_left(times, migration.switched) - 1, 0)
    around = times[first : bisect_left(times, migration.known + 1.0) + 1]
    return max((later - earlier for earlier, later in pairwise(around)), default=0.0)


def measurements(moves: Sequence[Move]) -> Iterator[Measurement]:
    """Over all moves, and over those between subnets of PAs."""
    far = [move for move in moves if move.between_subnets]
    for what, own in (("all moves", moves), ("between PA subnets", far)):
        if own:
            yield Measurement(f"outage, {what}", "ms", tuple(1000 * move.outage for move in own))
            yield Measurement(f"probes lost, {what}", "probes", tuple(float(move.lost) for move in own))
            yield Measurement(f"TCP stands still, {what}", "ms", tuple(1000 * move.silence for move in own))
    yield Measurement("until the last NVE knows", "ms", tuple(1000 * move.took for move in moves))


def checks(moves: Sequence[Move], record: Record, peer: Vm) -> tuple[Check, ...]:
    """Nothing twice, nothing lost but while an NVE did not know yet, and the VM can be reached after every move."""
    twice = sum(times - 1 for times in Counter(number for number, _ in record.arrived).values())
    late = sum(move.late_losses for move in moves)
    reached = sum(move.lost < move.sent for move in moves)
    return (
        Check(f"moves after which {peer.name} reaches it", "RFC 7637 T2", f"{len(moves)}", f"{reached}"),
        Check("probes delivered twice", "RFC 7637 T2", "0", f"{twice}"),
        Check("probes lost that were sent when every NVE knew", "RFC 7637 P2", "0", f"{late}"),
        Check("the TCP stream through all moves", "RFC 7637 T2", "whole", _wholeness(record)),
    )


def _wholeness(record: Record) -> str:
    arrived = max((number for number, _ in record.stream), default=0)
    return "whole" if record.stream_is_whole and arrived else f"broken after {arrived} parts"


def _sample(move: Move) -> Sample:
    return {
        "from": move.migration.source,
        "to": move.migration.target,
        "between_subnets": move.between_subnets,
        "sent": move.sent,
        "lost": move.lost,
        "outage_ms": round(1000 * move.outage, 3),
        "tcp_silence_ms": round(1000 * move.silence, 3),
        "until_known_ms": round(1000 * move.took, 3),
    }
