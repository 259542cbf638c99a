"""The rules of routing inside a tenant: the router's addresses are free, and its routes lead somewhere. Pure.

As in `checks`, a value that is wrong by itself (None in the facts) is passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations

from nvgre_node.choices import RecordType
from nvgre_node.policy import Network
from nvgre_node.routing import ROUTER_MAC, router_address
from topologies.facts import Facts, Route, Routing
from topologies.problems import Finding, listed
from topologies.repeats import repeats

Rule = Callable[[Facts], Iterator[Finding]]


def the_routers_addresses_are_free(facts: Facts) -> Iterator[Finding]:
    """No VM has the router's address in its subnet, nor the router's MAC address."""
    routed = _routed(facts)
    for vm in facts.vms:
        subnet = facts.subnet_of(vm)
        if vm.tenant not in routed or subnet is None:
            continue
        taken = {router_address(prefix) for prefix in subnet.prefixes if prefix is not None}
        for index, ca in enumerate(vm.cas):
            if ca in taken:
                what, hint = f"{ca} is the router's address in {subnet.name}", "the first of a prefix: use another"
                yield Finding((*vm.path, "ca", index), what, hint)
        if vm.mac == ROUTER_MAC:
            yield Finding((*vm.path, "mac"), f"{vm.mac} is the router's MAC address", "use another")


def routed_subnets_are_apart(facts: Facts) -> Iterator[Finding]:
    """The prefixes of a routed tenant do not overlap: one CA is in one virtual subnet."""
    for tenant in _routed(facts):
        own = [(s, index, p) for s in facts.subnets if s.tenant == tenant for index, p in enumerate(s.prefixes) if p]
        for (first, _, prefix), (again, index, other) in combinations(own, 2):
            if first is not again and _overlap(prefix, other):
                what = f"{other} overlaps {prefix} of {first.name}"
                yield Finding((*again.path, "prefixes", index), what, f"a router cannot tell them apart in {tenant}")


def routes_need_a_router(facts: Facts) -> Iterator[Finding]:
    """Only a tenant with a router has routes."""
    for routing in facts.routing:
        if routing.routes and not routing.router:
            what = f"tenant {routing.tenant} has no router"
            yield Finding((*routing.path, "routes"), what, "say router: true", at_key=True)


def routes_lead_to_vms(facts: Facts) -> Iterator[Finding]:
    """A next hop is a CA of a VM of the tenant, known to the policy, and of the prefix's IP version."""
    for routing, index, route in _routes(facts):
        path = (*routing.path, "routes", index, "via")
        if route.via is None or not routing.router:
            continue
        if route.to and route.to.version != route.via.version:
            yield Finding(path, f"{route.via} is no next hop for {route.to}", "both must be of one IP version")
        vm = next((vm for vm in facts.vms if vm.tenant == routing.tenant and route.via in vm.cas), None)
        if vm is None:
            what, hint = f"no VM of tenant {routing.tenant} has the CA {route.via}", _known(facts, routing, route)
            yield Finding(path, what, hint)
        elif vm.record == RecordType.L2ONLY:
            yield Finding(path, f"no record knows the CA {route.via}", f"{vm.name} has an l2only record")


def routes_are_told_apart(facts: Facts) -> Iterator[Finding]:
    """Routes to one prefix have different metrics, else none of them would win."""
    keys = (
        ((routing.tenant, route.to, route.metric) if route.to and route.metric is not None else None, (routing, index))
        for routing, index, route in _routes(facts)
    )
    for (_, to, metric), (_, first), (routing, index) in repeats(keys):
        what = f"routes[{first}] leads to {to} with metric {metric} too"
        yield Finding((*routing.path, "routes", index), what, "the lowest metric wins: give them different ones")


def _routed(facts: Facts) -> list[str]:
    return [routing.tenant for routing in facts.routing if routing.router]


def _routes(facts: Facts) -> Iterator[tuple[Routing, int, Route]]:
    for routing in facts.routing:
        for index, route in enumerate(routing.routes):
            yield routing, index, route


def _overlap(a: Network, b: Network) -> bool:
    return a.version == b.version and a.overlaps(b)


def _known(facts: Facts, routing: Routing, route: Route) -> str:
    owners = [vm.name for vm in facts.vms if vm.tenant != routing.tenant and route.via in vm.cas]
    own = {str(ca) for vm in facts.vms if vm.tenant == routing.tenant for ca in vm.cas if ca}
    return f"{owners[0]} is another tenant's" if owners else f"there are: {listed(own)}"


RULES: tuple[Rule, ...] = (
    the_routers_addresses_are_free,
    routed_subnets_are_apart,
    routes_need_a_router,
    routes_lead_to_vms,
    routes_are_told_apart,
)
