"""The distributed router between a tenant's virtual subnets (T5, X6): addresses, routes, and which decides. Pure.

As in Hyper-V Network Virtualization, every NVE with a port of a routed tenant is that tenant's router: it has an
interface at the first address of each of the tenant's prefixes, with one MAC address everywhere. Routes hold inside one
routing domain, which is one tenant; no packet ever leaves it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nvgre_node.policy import Address, Network, VirtualSubnet

ROUTER_MAC = "02:4e:56:47:52:45"
"""The router's, everywhere: locally administered, then "NVGRE". No VM of a routed tenant may have it."""


@dataclass(frozen=True)
class CustomerRoute:
    """A route in CA space: `prefix` is reached by way of a VM's CA. Of one prefix the lowest metric wins."""

    prefix: Network
    next_hop: Address
    metric: int = 0


@dataclass(frozen=True)
class RoutingDomain:
    """A tenant whose virtual subnets are joined by the distributed router."""

    tenant: str
    routes: tuple[CustomerRoute, ...] = ()


@dataclass(frozen=True)
class RouterInterface:
    """Where the router is in a virtual subnet: at most one address per IP version."""

    vsid: int
    domain: str
    addresses: tuple[Address, ...]

    def address(self, version: int) -> Address | None:
        """Its address of an IP version, or None."""
        return next((address for address in self.addresses if address.version == version), None)


@dataclass(frozen=True)
class Route:
    """What the router does with a prefix: on to `next_hop` in a virtual subnet, or to the destination itself (None)."""

    domain: str
    prefix: Network
    vsid: int
    next_hop: Address | None
    metric: int


def router_address(prefix: Network) -> Address:
    """The router's address in a prefix: the first that an interface can have."""
    return prefix[0] if prefix.num_addresses <= 2 else prefix[1]


def interfaces(subnets: Iterable[VirtualSubnet]) -> tuple[RouterInterface, ...]:
    """The router's interfaces in these virtual subnets."""
    return tuple(RouterInterface(s.vsid, s.tenant, tuple(map(router_address, s.prefixes))) for s in subnets)


def table(domain: RoutingDomain, subnets: Iterable[VirtualSubnet]) -> tuple[Route, ...]:
    """The routes of a domain with these virtual subnets, one per prefix; on-link ones have metric 0, and win a tie."""
    own = tuple(subnets)
    best: dict[Network, Route] = {}
    for route in sorted((*_on_link(domain, own), *_via(domain, own)), key=lambda route: route.metric):
        best.setdefault(route.prefix, route)
    return tuple(best.values())


def look_up(routes: Iterable[Route], domain: str, ca: Address) -> Route | None:
    """The route to a CA in a domain: that of the longest prefix."""
    found = [route for route in routes if route.domain == domain and ca in route.prefix]
    return max(found, key=lambda route: route.prefix.prefixlen, default=None)


def _on_link(domain: RoutingDomain, subnets: tuple[VirtualSubnet, ...]) -> Iterator[Route]:
    for subnet in subnets:
        for prefix in subnet.prefixes:
            yield Route(domain.tenant, prefix, subnet.vsid, None, 0)


def _via(domain: RoutingDomain, subnets: tuple[VirtualSubnet, ...]) -> Iterator[Route]:
    for route in domain.routes:
        home = next(s for s in subnets if any(route.next_hop in prefix for prefix in s.prefixes))
        yield Route(domain.tenant, route.prefix, home.vsid, route.next_hop, route.metric)
