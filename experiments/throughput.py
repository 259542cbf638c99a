"""How fast, at what cost: NVGRE beside kernel VXLAN and the bare underlay, on the same hosts and links, in turns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Self

from experiments import iperf, offloads, vxlan
from experiments.base import Context, distant_pair, shared_versions
from experiments.results import Check, Measurement, Outcome, Sample
from experiments.statistics import paired_ratio
from nvgre_node.dataplane import implementation
from nvgre_node.net import NvgreNet
from nvgre_node.node import NamespacedNode
from nvgre_node.policy import Policy

NAME = "throughput"
ROUNDS, ROUNDS_QUICK = 12, 6  # multiples of three: each path is equally often first, second and last
SECONDS, SECONDS_QUICK = 2, 1
PROTOCOLS = ("TCP", "UDP")

# Wide enough for the larger of the two encapsulations (VXLAN: 50 bytes), so that both carry the tenants' 1500.
_UNDERLAY_MTU, _TENANT_MTU = 1600, 1500
_SEGMENT_BYTES = 1400
_PORT = 5201
_NOT_FOR_SPEED = frozenset({"model"})


@dataclass(frozen=True)
class Path:
    """One way from one end to the other: who sends, who serves, and at which address."""

    name: str
    client: NamespacedNode
    server: NamespacedNode
    address: str


@dataclass(frozen=True)
class Round:
    """One stream on one path, as one of several that were measured in turns."""

    number: int
    path: str
    protocol: str
    offloads: str
    stream: iperf.Stream
    encapsulated: int  # packets that the NVEs encapsulated meanwhile


class Bench:
    """The three paths of a running network, with a server at the end of each."""

    def __init__(self, net: NvgreNet, policy: Policy) -> None:
        a, b = distant_pair(policy)
        version = shared_versions(a, b)[0]
        made = vxlan.add(net, (net[a.name], net[b.name]), _TENANT_MTU)
        self._net = net
        self.places = [*offloads.interfaces(net), *made]
        self.paths = (
            Path("NVGRE", net[a.name], net[b.name], str(b.ca(version))),
            Path("VXLAN", net[a.name], net[b.name], vxlan.ADDRESSES[1]),
            Path("underlay", net[a.host], net[b.host], str(policy.pa_of(b))),
        )
        self._stack = ExitStack()
        for path in self.paths:
            self._stack.enter_context(iperf.server(path.server, path.address, _PORT))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _encapsulated(self) -> int:
        return sum(own.encapsulated for host in self._net.counters().values() for own in host.values())

    def measure(self, number: int, path: Path, protocol: str, state: str, seconds: int) -> Round:
        """One stream on one path."""
        before = self._encapsulated()
        try:
            stream = iperf.measure(path.client, path.address, _PORT, protocol, seconds, _SEGMENT_BYTES)
        except iperf.NoStreamError:
            stream = iperf.NOTHING
        return Round(number, path.name, protocol, state, stream, self._encapsulated() - before)


def run(context: Context) -> Outcome:
    """Measures every path in turns, round by round, with offloads on and off; only off, where that is needed."""
    if context.dataplane in _NOT_FOR_SPEED:
        why = f"the data plane {context.dataplane} is there to be read, and far too slow to compare"
        return Outcome(NAME, context.dataplane, context.scenario.name, (), (), (), skipped=why)
    rounds, seconds = (ROUNDS_QUICK, SECONDS_QUICK) if context.quick else (ROUNDS, SECONDS)
    scenario = context.scenario.with_mtu(underlay=_UNDERLAY_MTU, tenant=_TENANT_MTU)
    measured: list[Round] = []
    states: dict[str, dict[str, str]] = {}
    wanted = ("on", "off") if implementation(context.dataplane).takes_offloads else ("off",)
    with NvgreNet(scenario, context.dataplane) as net, Bench(net, scenario.policy) as bench:
        for state in wanted:
            offloads.switch(bench.places, state)
            states[state] = offloads.state(bench.places)
            measured += _rounds(context, bench, state, rounds, seconds)
    context.progress(1, 1, "done")
    checks = (*_offload_checks(states), *_path_checks(measured))
    samples = tuple(_sample(one, states[one.offloads]) for one in measured)
    return Outcome(NAME, context.dataplane, context.scenario.name, tuple(_measurements(measured)), checks, samples)


def _rounds(context: Context, bench: Bench, state: str, rounds: int, seconds: int) -> Iterator[Round]:
    """A B C, B C A, C A B, ...: what drifts over time, or follows from the order, hits all paths alike."""
    steps = 2 * rounds * len(PROTOCOLS) * len(bench.paths)
    done = steps // 2 if state == "off" else 0  # where nothing comes before, the first half is over at once
    for number in range(rounds):
        turn = number % len(bench.paths)
        for protocol in PROTOCOLS:
            for path in bench.paths[turn:] + bench.paths[:turn]:
                context.progress(done, steps, f"{protocol} over {path.name}, offloads {state}, round {number + 1}")
                yield bench.measure(number, path, protocol, state, seconds)
                done += 1


def _offload_checks(states: dict[str, dict[str, str]]) -> Iterator[Check]:
    for wanted, found in states.items():
        expected = ", ".join(f"{feature} {wanted}" for feature in offloads.FEATURES)
        yield Check(f"offloads {wanted}", "D2", expected, ", ".join(f"{key} {value}" for key, value in found.items()))


def _path_checks(measured: Sequence[Round]) -> Iterator[Check]:
    """Each path carried data in every round, and only NVGRE's went through the NVEs: the names are true."""
    for one in measured:
        bulk = one.stream.megabytes * 1e6 / _SEGMENT_BYTES / 2  # far more than the few stray ARP and ND packets
        name = f"{one.protocol} over {one.path}, offloads {one.offloads}, round {one.number + 1}"
        observed = "nothing arrived"
        if one.stream.megabytes > 1:
            observed = "through the NVEs" if one.encapsulated > bulk else "past the NVEs"
        yield Check(name, "D2", "through the NVEs" if one.path == "NVGRE" else "past the NVEs", observed)


def _select(measured: Sequence[Round], path: str, protocol: str, state: str) -> list[iperf.Stream]:
    return [r.stream for r in measured if (r.path, r.protocol, r.offloads) == (path, protocol, state)]


def _measurements(measured: Sequence[Round]) -> Iterator[Measurement]:
    """Ratios first, since they alone can be compared between machines; NVGRE beside VXLAN before all."""
    settings = [(protocol, state) for protocol in PROTOCOLS for state in ("off", "on")]
    for peer in ("VXLAN", "underlay"):
        for protocol, state in settings:
            ours, theirs = (_rates(_select(measured, path, protocol, state)) for path in ("NVGRE", peer))
            if all(theirs):
                yield Measurement(f"{protocol} NVGRE / {peer}, offloads {state}", "ratio", paired_ratio(ours, theirs))
    for protocol, state in settings:
        for path in ("NVGRE", "VXLAN", "underlay"):
            streams = _select(measured, path, protocol, state)
            yield Measurement(f"{protocol} {path}, offloads {state}", "Gb/s", _rates(streams))
            costs = tuple(cost for stream in streams if (cost := stream.cpu_seconds_per_gigabit) is not None)
            if costs:
                yield Measurement(f"{protocol} {path}, CPU time, offloads {state}", "CPU s/Gb", costs)


def _rates(streams: Sequence[iperf.Stream]) -> tuple[float, ...]:
    return tuple(stream.gigabits_per_second for stream in streams)


def _sample(one: Round, state: dict[str, str]) -> Sample:
    return {
        "round": one.number,
        "path": one.path,
        "protocol": one.protocol,
        "offloads": one.offloads,
        "gigabits_per_second": one.stream.gigabits_per_second,
        "cpu_seconds_per_gigabit": one.stream.cpu_seconds_per_gigabit,
        "retransmissions": one.stream.retransmissions,
        "loss_percent": one.stream.loss_percent,
        **{f"offload_{feature}": value for feature, value in state.items()},
    }
