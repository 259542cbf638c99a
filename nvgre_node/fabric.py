"""The underlay: which provider hosts and routers are joined by which links, and the routes that follow. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from nvgre_node.groups import ascending
from nvgre_node.policy import Address, Interface, Network


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
    """A provider route: `prefix` is reached by way of `next_hop`."""

    prefix: Network
    next_hop: Address


@dataclass(frozen=True)
class MulticastRoute:
    """An (S,G) entry of a router. Links are told by the router's own first address on them: one in, the others out."""

    source: Address
    group: Address
    incoming: Address
    outgoing: tuple[Address, ...]


@dataclass(frozen=True)
class Fabric:
    """Routers, links and the links' MTU (bytes of IP packet, RFC 7637 section 4.4)."""

    routers: tuple[str, ...]
    links: tuple[FabricLink, ...]
    mtu: int

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
        """A node's static routes: the fewest hops to each prefix that it is not itself attached to (U2)."""
        attached = {address.network for address in self.addresses(node)}
        found: dict[Network, Address] = {}
        queue = deque((far.node, far) for _, far in self._neighbours.get(node, []))
        seen = {node}
        while queue:
            at, first_hop = queue.popleft()
            if at in seen:
                continue
            seen.add(at)
            if at not in self.routers:  # provider hosts do not forward
                continue
            for own, far in self._neighbours[at]:
                for prefix in {address.network: None for address in own.addresses if address.network not in attached}:
                    if (next_hop := first_hop.next_hop(prefix.version)) is not None:
                        found.setdefault(prefix, next_hop)
                queue.append((far.node, first_hop))
        return tuple(Route(prefix, hop) for prefix, hop in found.items())

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
