"""Whether the underlay carries what tenants need: what was seen of its nodes, against the fabric, as findings. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from nvgre_node.fabric import Attachment, Fabric, FabricLink
from nvgre_node.faults import Fault, Finding
from nvgre_node.policy import Address, Network, Policy
from nvgre_node.wire import OVERHEAD


@dataclass(frozen=True)
class SeenLink:
    """An interface: whether it is set up and has a carrier, its MTU in bytes, the programs that see what comes in."""

    is_up: bool
    has_carrier: bool
    mtu: int
    programs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Seen:
    """What was seen of a node: interfaces by name, addresses, next hop by destination, and what is resolved.

    `ways` has None for a destination without a route, and the destination itself where it is on the link.
    """

    links: Mapping[str, SeenLink]
    addresses: frozenset[str] = frozenset()
    ways: Mapping[Address, Address | None] = field(default_factory=dict)
    resolved: frozenset[Address] = frozenset()
    forwards: Mapping[int, bool] = field(default_factory=dict)


@dataclass(frozen=True)
class Sent:
    """What became of test packets from a host to a PA: arrived or not, small ones, full ones and other protocols'.

    `last` is the last node that saw the first kind that was lost.
    """

    host: str
    pa: Address
    nvgre: bool
    full: bool
    other: bool
    last: str


@dataclass(frozen=True)
class Needs:
    """What tenants need of the underlay: `tenant_mtu` bytes of IP packet; `programmed` are the hosts with programs."""

    policy: Policy
    fabric: Fabric
    tenant_mtu: int
    programmed: frozenset[str] = frozenset()

    @property
    def full(self) -> int:
        """Bytes of the largest outer packet."""
        versions = {pa.version for nve in self.policy.nves for pa in nve.pas}
        return self.tenant_mtu + max(OVERHEAD[version] for version in versions)

    def full_to(self, pa: Address) -> int:
        """The same, to a PA."""
        return self.tenant_mtu + OVERHEAD[pa.version]

    def destinations(self, node: str) -> list[Address]:
        """The PAs to which a node needs ways: a host those that its NVE sends to, a router all that are sent to."""
        hosts = [nve.host for nve in self.policy.nves]
        asked = hosts if node in self.fabric.routers else [node]
        found = {pa for host in asked for pa in self.policy.for_host(host).remote_pas}
        return sorted(
            found & {pa.ip for nve in self.policy.nves for pa in nve.pas}, key=lambda pa: (pa.version, int(pa))
        )

    def owner(self, pa: Address) -> str:
        """The host that has a PA."""
        return next(nve.host for nve in self.policy.nves if pa in nve.pas_of(pa.version))

    def on_the_way(self, host: str, pa: Address) -> frozenset[str]:
        """Every node that a packet to a PA may pass, both ends among them."""
        seen, queue = {host}, [host]
        while queue:
            at = queue.pop()
            routes = [route for route in self.fabric.routes(at) if pa in route.prefix]
            found = {self.fabric.owner(hop) for route in routes[:1] for hop in route.next_hops} or {self.owner(pa)}
            queue += found - seen
            seen |= found
        return frozenset(seen)


def interfaces(fabric: Fabric) -> Iterator[tuple[FabricLink, Attachment, Attachment, str]]:
    """Both ends of every link, as (link, own end, far end, interface): Mininet counts a node's links as they come."""
    counted: dict[str, int] = {}
    for link in fabric.links:
        for own, far in ((link.a, link.b), (link.b, link.a)):
            number = counted.get(own.node, 0)
            counted[own.node] = number + 1
            yield link, own, far, f"{own.node}-eth{number}"


def findings(needs: Needs, seen: Mapping[str, Seen], sent: Collection[Sent]) -> list[Finding]:
    """What is wrong with the underlay; of what follows from something else that is said, nothing."""
    causes = [*_gone(needs, seen), *_routers(needs, seen), *_programs(needs, seen)]
    down = {finding.about["node"] for finding in causes if finding.fault in (Fault.ROUTER_DOWN, Fault.NO_NODE)}
    causes += _links(needs, seen, down)
    for follows in (_ways(needs, seen), _arrivals(needs, sent)):
        blocked = [finding.nodes for finding in causes if finding.fault is not Fault.DETACHED]
        causes += [found for found, way in follows if not any(nodes <= way for nodes in blocked)]
    return causes


def _gone(needs: Needs, seen: Mapping[str, Seen]) -> Iterator[Finding]:
    for node in (*needs.fabric.routers, *(nve.host for nve in needs.policy.nves)):
        if node not in seen:
            yield Finding(Fault.NO_NODE, frozenset({node}), {"node": node})


def _routers(needs: Needs, seen: Mapping[str, Seen]) -> Iterator[Finding]:
    versions = {pa.version for nve in needs.policy.nves for pa in nve.pas}
    for node in needs.fabric.routers:
        if node not in seen:
            continue
        own = [name for _, end, _, name in interfaces(needs.fabric) if end.node == node]
        if own and not any(_is_up(seen[node], name) for name in own):
            yield Finding(Fault.ROUTER_DOWN, frozenset({node}), {"node": node, "interface": own[0]})
        for version in sorted(versions):
            if not seen[node].forwards.get(version, True):
                sysctl = "net.ipv4.ip_forward" if version == 4 else "net.ipv6.conf.all.forwarding"
                yield Finding(
                    Fault.NO_FORWARDING, frozenset({node}), {"node": node, "version": version, "sysctl": sysctl}
                )


def _is_up(seen: Seen, interface: str) -> bool:
    return interface in seen.links and seen.links[interface].is_up


def _programs(needs: Needs, seen: Mapping[str, Seen]) -> Iterator[Finding]:
    """The NVE's programs at its uplinks and ports, where it has such."""
    uplinks = {(end.node, name) for _, end, _, name in interfaces(needs.fabric)}
    for nve in needs.policy.nves:
        if nve.host not in seen or nve.host not in needs.programmed:
            continue
        ports = [(name, "from_port") for name in needs.policy.for_host(nve.host).interfaces]
        wanted = [*((name, "from_uplink") for node, name in uplinks if node == nve.host), *ports]
        for interface, program in sorted(wanted):
            link = seen[nve.host].links.get(interface)
            if link is not None and program not in link.programs:
                about = {"host": nve.host, "interface": interface, "program": program}
                yield Finding(Fault.DETACHED, frozenset({nve.host}), about)


def _links(needs: Needs, seen: Mapping[str, Seen], down: Collection[str]) -> Iterator[Finding]:
    """Links that are down are told once, from the end that is; of others, each end is asked."""
    for _, own, far, name in interfaces(needs.fabric):
        if {own.node, far.node} & set(down) or own.node not in seen:
            continue
        link, nodes = seen[own.node].links.get(name), frozenset({own.node, far.node})
        about = {"node": own.node, "interface": name, "peer": far.node}
        if link is None or not link.is_up:
            yield Finding(Fault.LINK_DOWN, nodes, about)
            continue
        if link.mtu < needs.full:
            more = {"mtu": link.mtu, "needed": needs.full, "tenant": needs.tenant_mtu}
            yield Finding(Fault.SMALL_MTU, nodes, about | more)
        for address in own.addresses:
            if str(address) not in seen[own.node].addresses and link.has_carrier:
                yield Finding(Fault.NO_PA, frozenset({own.node}), about | {"address": address})


def _ways(needs: Needs, seen: Mapping[str, Seen]) -> Iterator[tuple[Finding, frozenset[str]]]:
    """Each node's routes and next hops, with the nodes on the way."""
    for node, has in seen.items():
        told = set()
        for pa, hop in has.ways.items():
            if pa in {ip.ip for ip in needs.fabric.addresses(node)}:
                continue
            about, way = {"node": node, "pa": pa, "host": needs.owner(pa)}, needs.on_the_way(node, pa)
            if hop is None:
                prefix, to = _route(needs.fabric, node, pa)
                yield Finding(Fault.NO_ROUTE, frozenset({node}), about | {"prefix": prefix, "hop": to}), way
            elif hop not in has.resolved and hop not in told:
                told.add(hop)
                yield Finding(Fault.NO_NEXT_HOP, frozenset({node}), about | {"hop": hop}), way


def _route(fabric: Fabric, node: str, pa: Address) -> tuple[Network | str, Address]:
    route = next((route for route in fabric.routes(node) if pa in route.prefix), None)
    return (route.prefix, route.next_hop) if route else (f"{pa}/{pa.max_prefixlen}", pa)


def _arrivals(needs: Needs, sent: Collection[Sent]) -> Iterator[tuple[Finding, frozenset[str]]]:
    """What test packets say, with the nodes on their way."""
    for one in sent:
        about: dict[str, Any] = {
            "host": one.host,
            "pa": one.pa,
            "peer": needs.owner(one.pa),
            "seen": one.last,
        }
        if one.nvgre and one.full:
            continue
        fault = Fault.BLACK_HOLE if one.nvgre else Fault.NVGRE_BLOCKED if one.other else Fault.NOTHING_ARRIVES
        if fault is Fault.BLACK_HOLE:
            about |= {"needed": needs.full_to(one.pa)}
        nodes = frozenset({one.host, needs.owner(one.pa)})
        yield Finding(fault, nodes, about), needs.on_the_way(one.host, one.pa)
