"""The underlay: which provider hosts and routers are joined by which links, and the routes that follow. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from itertools import pairwise
from math import lcm

from nvgre_node.groups import ascending
from nvgre_node.policy import Address, Interface, Network


class Multipath(StrEnum):
    """By what a router spreads packets over equal-cost paths (RFC 7637 section 4.1); what agrees in it keeps one path.

    KEY is what the RFC recommends of outer headers, and INNER what it recommends of inner ones. The other two are what
    devices do that know nothing of NVGRE (OUTER), or not enough (INNER_ADDRESSES).
    """

    OUTER = "outer"
    """Outer addresses."""
    INNER_ADDRESSES = "inner_addresses"
    """Inner IP addresses, where there are such."""
    INNER = "inner"
    """Inner IP addresses, protocol and ports."""
    KEY = "key"
    """Outer addresses and the whole GRE key: VSID and FlowID."""


@dataclass(frozen=True)
class Attachment:
    """One end of a link: the node and its addresses there."""

    node: str
    addresses: tuple[Interface, ...]

    def next_hop(self, version: int) -> Address | None:
        """The address by which others route through it, or None where it has none of an IP version."""
        return next((address.ip for address in self.addresses if address.version == version), None)


@dataclass(frozen=True)
class FabricLink:
    """A point-to-point link of the underlay, maybe in a VLAN (O4). Both ends have addresses in the same prefixes."""

    a: Attachment
    b: Attachment
    vlan: int | None = None

    @property
    def ends(self) -> tuple[Attachment, Attachment]:
        """Both ends."""
        return self.a, self.b


@dataclass(frozen=True)
class Route:
    """A provider route: `prefix` is reached by way of `next_hop`, and as well by way of `others`, at equal cost."""

    prefix: Network
    next_hop: Address
    others: tuple[Address, ...] = ()

    @property
    def next_hops(self) -> tuple[Address, ...]:
        """Every next hop."""
        return (self.next_hop, *self.others)


def paths(routes: Sequence[Route]) -> tuple[tuple[Route, ...], ...]:
    """Routes with several next hops, told apart into paths of equal weight: each has one next hop to every prefix.

    There are none where every route has one next hop.
    """
    several = [route for route in routes if route.others]
    count = lcm(*(len(route.next_hops) for route in several)) if several else 0
    return tuple(
        tuple(Route(route.prefix, route.next_hops[number % len(route.next_hops)]) for route in several)
        for number in range(count)
    )


@dataclass(frozen=True)
class MulticastRoute:
    """An (S,G) entry of a router. Links are told by the router's own first address on them: one in, the others out."""

    source: Address
    group: Address
    incoming: Address
    outgoing: tuple[Address, ...]


@dataclass(frozen=True)
class Fabric:
    """Routers, links and the links' MTU (bytes of IP packet, RFC 7637 section 4.4).

    `multipath` says by what routers spread packets over equal-cost paths; those it does not name, by outer addresses.
    """

    routers: tuple[str, ...]
    links: tuple[FabricLink, ...]
    mtu: int
    multipath: Mapping[str, Multipath] = field(default_factory=dict, hash=False)

    @cached_property
    def _neighbours(self) -> dict[str, list[tuple[Attachment, Attachment]]]:
        """Per node, (own end, far end) of each of its links."""
        table: dict[str, list[tuple[Attachment, Attachment]]] = {}
        for link in self.links:
            table.setdefault(link.a.node, []).append((link.a, link.b))
            table.setdefault(link.b.node, []).append((link.b, link.a))
        return table

    def addresses(self, node: str) -> tuple[Interface, ...]:
        """A node's addresses, in the order in which its links are listed."""
        return tuple(address for own, _ in self._neighbours.get(node, []) for address in own.addresses)

    def routes(self, node: str) -> tuple[Route, ...]:
        """A node's static routes: the fewest hops to each prefix that it is not itself attached to (U2).

        Where several ways have so few, a route has the next hops of all of them (E1).
        """
        attached = {address.network for address in self.addresses(node)}
        found: dict[Network, dict[Address, None]] = {}
        seen = {node}
        level = {far.node: {far: None} for _, far in self._neighbours.get(node, [])}
        while level:  # the nodes that are so many hops away, each with the first hop of every way there
            seen |= level.keys()
            here: dict[Network, dict[Address, None]] = {}
            beyond: dict[str, dict[Attachment, None]] = {}
            for at, first_hops in level.items():
                for own, far in self._neighbours[at] if at in self.routers else ():  # provider hosts do not forward
                    for prefix in {address.network: None for address in own.addresses}:
                        if prefix not in attached and prefix not in found:
                            here.setdefault(prefix, {}).update(_hops(first_hops, prefix.version))
                    if far.node not in seen:
                        beyond.setdefault(far.node, {}).update(first_hops)
            found |= {prefix: hops for prefix, hops in here.items() if hops}
            level = beyond
        return tuple(Route(prefix, *_first_and_others(hops)) for prefix, hops in found.items())

    def spreads_by(self, router: str) -> Multipath:
        """By what a router chooses among equal-cost paths."""
        return self.multipath.get(router, Multipath.OUTER)

    def fork(self, start: str, end: Address) -> tuple[str, tuple[Address, ...]] | None:
        """Where ways of equal cost from a node to an address part: the first such router, and its next hops."""
        at = start
        while route := next((route for route in self.routes(at) if end in route.prefix), None):
            if route.others:
                return at, route.next_hops
            at = self.owner(route.next_hop)
        return None

    def owner(self, address: Address) -> str:
        """The node that has an address. Raises StopIteration where none has."""
        ends = (end for link in self.links for end in link.ends)
        return next(end.node for end in ends if address in {own.ip for own in end.addresses})

    def multicast_routes(
        self, router: str, members: Mapping[Address, Mapping[str, Collection[Address]]]
    ) -> tuple[MulticastRoute, ...]:
        """A router's part in the trees that lead from every member of a group to all others (B2), and to nobody else.

        `members` are the PAs of each group's provider hosts, by host.
        """
        entries = []
        for group, hosts in members.items():
            for host, pas in hosts.items():
                ways = {member: self._way(host, member) for member in hosts if member != host}
                here = [(near, far) for way in ways.values() for near, far in pairwise(way)]
                into = {link.addresses[0].ip for (_, link), _ in here if link.node == router}
                out = ascending({link.addresses[0].ip for _, (link, _) in here if link.node == router})
                entries += [MulticastRoute(pa, group, incoming, out) for incoming in into for pa in pas]
        return tuple(entries)

    def _way(self, start: str, end: str) -> list[tuple[Attachment, Attachment]]:
        """The links from one node to another, each as (near end, far end): the fewest there are, through routers."""
        before: dict[str, tuple[Attachment, Attachment]] = {}
        queue = deque([start])
        while queue and end not in before:
            at = queue.popleft()
            if at != start and at not in self.routers:  # provider hosts do not forward
                continue
            for near, far in self._neighbours.get(at, []):
                if far.node != start and far.node not in before:
                    before[far.node] = near, far
                    queue.append(far.node)
        way: list[tuple[Attachment, Attachment]] = []
        while end in before:
            way.insert(0, before[end])
            end = before[end][0].node
        return way


def _hops(first_hops: Mapping[Attachment, None], version: int) -> dict[Address, None]:
    return {hop: None for first in first_hops if (hop := first.next_hop(version)) is not None}


def _first_and_others(hops: Mapping[Address, None]) -> tuple[Address, tuple[Address, ...]]:
    first, *others = hops
    return first, tuple(others)
