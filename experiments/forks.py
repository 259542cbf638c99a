"""Where ways of equal cost part in a running network, and which way packets take there (RFC 7637 section 4.1)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from experiments.statistics import fair_range
from experiments.watch import Place
from nvgre_node.fabric import Fabric
from nvgre_node.net import NvgreNet
from nvgre_node.node import NamespacedNode
from nvgre_node.policy import Address

ONE_PATH, SPREADS = "one path", "spreads"


@dataclass(frozen=True)
class Fork:
    """A router at which ways of equal cost part, and where each begins: what the next router hears from it."""

    router: str
    paths: tuple[Place, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The next routers, in the order of the paths."""
        return tuple(place.node.name for place in self.paths)


def fork(net: NvgreNet, fabric: Fabric, start: str, end: Address) -> Fork | None:
    """Where the ways from a provider host to a PA part, or None where there is one way."""
    if (found := fabric.fork(start, end)) is None:
        return None
    router, hops = found
    return Fork(router, tuple(_place(net[fabric.owner(hop)], hop) for hop in hops))


def _place(node: NamespacedNode, address: Address) -> Place:
    return Place(node, node.interface_with(address))


def verdict(taken: Sequence[Iterable[str]], paths: Sequence[str], flows: Sequence[Hashable] | None = None) -> str:
    """How packets went, in words; `taken` has the paths on which each was seen, and `flows` what each belongs to.

    Every packet is seen once, and packets of one flow on one path; else that is said. Of flows then, one path has all
    (ONE_PATH), or each path has as many as a fair hash gives it (SPREADS, by `statistics.fair_range`).
    """
    ways = [tuple(way) for way in taken]
    if missed := sum(not way for way in ways):
        return f"{missed} of {len(ways)} packets lost"
    if doubled := sum(len(way) > 1 for way in ways):
        return f"{doubled} of {len(ways)} packets seen twice"
    by_flow: dict[Hashable, set[str]] = {}
    for flow, (path,) in zip(range(len(ways)) if flows is None else flows, ways, strict=True):
        by_flow.setdefault(flow, set()).add(path)
    if strayed := sum(len(own) > 1 for own in by_flow.values()):
        return f"{strayed} of {len(by_flow)} flows left their path"
    counted = Counter(path for own in by_flow.values() for path in own)
    if len(counted) <= 1:
        return ONE_PATH
    least, most = fair_range(len(by_flow), len(paths))
    if all(least <= counted[path] <= most for path in paths):
        return SPREADS
    return f"uneven: {', '.join(f'{counted[path]} by {path}' for path in paths)}"
