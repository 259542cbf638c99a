"""The rules of gateways: their legs fit the physical networks, and tenants have a way to and from them. Pure.

As in `checks`, a value that is wrong by itself (None in the facts) is passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations

from nvgre_node.choices import GatewayMode, RecordType
from nvgre_node.policy import Address, Network
from topologies.facts import Facts, Gateway, Pas
from topologies.problems import Finding, Path, did_you_mean, listed
from topologies.repeats import repeats

Rule = Callable[[Facts], Iterator[Finding]]


def outside_has_names_of_its_own(facts: Facts) -> Iterator[Finding]:
    """No host, router or VM is called as a physical network is."""
    kinds = (("host", facts.hosts), ("router", facts.routers), ("VM", {vm.node for vm in facts.machines}))
    for name in facts.outside:
        for kind in (kind for kind, names in kinds if name in names):
            hint = "each node has its own name"
            yield Finding(("outside", name), f"a {kind} is called {name} too", hint, at_key=True)


def one_address_per_version(facts: Facts) -> Iterator[Finding]:
    """Where something is outside, it has one address per IP version."""
    places: list[tuple[Path, Pas]] = [(("outside", name), own) for name, own in facts.outside.items()]
    for path, addresses in (*places, *((gateway.path, gateway.addresses) for gateway in facts.gateways)):
        versions = ((own.version if own else None, (index, own)) for index, own in enumerate(addresses))
        for version, _, (index, own) in repeats(versions):
            yield Finding((*path, "address", index), f"{own} is a second IPv{version} address", "one per IP version")


def gateways_lead_to_what_exists(facts: Facts) -> Iterator[Finding]:
    """A gateway's leg is in a physical network that is there, in its prefix."""
    for gateway in facts.gateways:
        if gateway.to is not None and gateway.to not in facts.outside:
            hint = did_you_mean(gateway.to, facts.outside) if facts.outside else "say outside: {NAME: {address: ...}}"
            yield Finding((*gateway.path, "to"), f"no physical network is called {gateway.to}", hint)
            continue
        site = next((site for site in facts.sites if site.name == gateway.to), None)
        if site and site.behind in {other.name for other in facts.sites}:
            continue
        there = facts.outside.get((site.behind if site else gateway.to) or "", ())
        if not there or None in there:
            continue
        for index, own in enumerate(gateway.addresses):
            if own and own.network not in {address.network for address in there if address}:
                what = f"{own} is not in the prefix of {site.behind if site else gateway.to}"
                has = f"which has {', '.join(str(address.network) for address in there if address)}"
                yield Finding((*gateway.path, "address", index), what, has)


def outside_addresses_are_unique(facts: Facts) -> Iterator[Finding]:
    """In one physical network an address belongs to its host, or to one gateway."""
    owners: list[tuple[tuple[str, object] | None, tuple[str, Path]]] = [
        ((name, own.ip) if own else None, (f"the host of {name}", ("outside", name, "address", index)))
        for name, addresses in facts.outside.items()
        for index, own in enumerate(addresses)
    ]
    owners += [
        ((site.behind, own.ip) if own and site.behind else None, (site.name, (*site.path, "at", index)))
        for site in facts.sites
        for index, own in enumerate(site.at)
    ]
    behind = {site.name: site.behind for site in facts.sites}
    for gateway in facts.gateways:
        network = behind.get(gateway.to or "", gateway.to)
        owners += [
            ((network, own.ip) if own and network else None, (gateway.vm.node, (*gateway.path, "address", index)))
            for index, own in enumerate(gateway.addresses)
        ]
    for (_, ip), (first, _), (again, path) in repeats(owners):
        if first != again:  # else it is a second address of one IP version, and is reported
            yield Finding(path, f"{ip} is the address of {first} too", "each has its own")


def sites_are_behind_a_network(facts: Facts) -> Iterator[Finding]:
    """A tenant's site is behind a network that is none itself, at an address in its prefix."""
    sites = {site.name for site in facts.sites}
    for site in facts.sites:
        for key, example in (("behind", "behind: NAME, one of outside"), ("at", "at: 203.0.113.66/24")):
            if key not in site.says:
                yield Finding((*site.path, key), "is missing", f"such as {example}")
        if site.behind is None:
            continue
        if site.behind in sites:
            what = f"{site.behind} is a site itself" if site.behind != site.name else "is behind itself"
            yield Finding((*site.path, "behind"), what, "name the network between the sites")
        elif site.behind not in facts.outside:
            hint = did_you_mean(site.behind, set(facts.outside) - sites)
            yield Finding((*site.path, "behind"), f"no physical network is called {site.behind}", hint)
        else:
            there = [address.network for address in facts.outside[site.behind] if address]
            for index, own in enumerate(site.at):
                if own and own.network not in there and None not in facts.outside[site.behind]:
                    what = f"{own} is not in the prefix of {site.behind}"
                    yield Finding((*site.path, "at", index), what, f"which has {', '.join(map(str, there))}")


def sites_are_reached_by_tunnel(facts: Facts) -> Iterator[Finding]:
    """A site is one tenant's, whose gateway tunnels to it, over one IP version at both ends; other networks are not."""
    sites = {site.name: site for site in facts.sites}
    for gateway in facts.gateways:
        site, tunnels = sites.get(gateway.to or ""), gateway.mode == GatewayMode.SITE_TO_SITE
        if gateway.mode is None or gateway.to not in facts.outside:
            continue
        if site and not tunnels:
            yield Finding((*gateway.path, "mode"), f"{gateway.to} is a site", f"say mode: {GatewayMode.SITE_TO_SITE}")
        elif tunnels and not site:
            hint = "say behind and at there, or another mode"
            yield Finding((*gateway.path, "mode"), f"{gateway.to} is not a site", hint)
        elif site and not _versions(site.at) & _versions(gateway.addresses):
            hint = f"give {gateway.vm.node} an address of its IP version"
            yield Finding((*gateway.path, "address"), f"no tunnel leads to {gateway.to}", hint)
    for to, first, again in repeats((own.to if own.to in sites else None, own) for own in facts.gateways):
        what = f"{to} is the site of {first.vm.node} too"
        yield Finding((*again.path, "to"), what, "a site is one tenant's, and has one gateway")


def gateways_are_reached(facts: Facts) -> Iterator[Finding]:
    """A gateway's tenant has a router, and a route by way of it: else nobody would ever ask it."""
    routing = {own.tenant: own for own in facts.routing}
    for gateway in facts.gateways:
        own, cas = routing[gateway.vm.tenant], [ca for ca in gateway.vm.cas if ca]
        if not own.router:
            what = f"tenant {gateway.vm.tenant} has no router that could lead to it"
            yield Finding(gateway.path, what, "say router: true, and routes", at_key=True)
        elif cas and not {route.via for route in own.routes} & {None, *cas}:
            hint = f"say routes: [{{to: 0.0.0.0/0, via: {cas[0]}}}]"
            yield Finding(gateway.path, f"no route of {gateway.vm.tenant} leads to it", hint, at_key=True)


def gateways_have_a_plain_port(facts: Facts) -> Iterator[Finding]:
    """A gateway is known as one, and is in one virtual subnet."""
    for gateway in facts.gateways:
        if gateway.vm.record not in (None, RecordType.GATEWAY_WILDCARD):
            what = f"the record of a gateway is not {gateway.vm.record}"
            yield Finding((*gateway.vm.home, "record"), what, "leave it out: it is gateway_wildcard")
        if gateway.vm.vid is not None or "trunk" in gateway.vm.says:
            yield Finding(gateway.path, "a gateway has no trunk port", "one gateway per virtual subnet", at_key=True)


def inside_and_outside_are_apart(facts: Facts) -> Iterator[Finding]:
    """A tenant's prefix is not one of the network that its gateway's leg is in, nor of its site."""
    for gateway in facts.gateways:
        there = [own.network for own in (*gateway.addresses, *facts.outside.get(gateway.to or "", ())) if own]
        for outside in dict.fromkeys(there):
            for prefix, name in _inside(facts, gateway):
                if _overlap(outside, prefix):
                    what = f"{outside} overlaps {prefix} of {name}"
                    yield Finding((*gateway.path, "to"), what, "inside and outside must be told apart")


def tenants_are_told_apart(facts: Facts) -> Iterator[Finding]:
    """What is not translated is in one tenant only: the network outside could not tell who is meant."""
    forwarding = [gateway for gateway in facts.gateways if gateway.mode == GatewayMode.FORWARD]
    for first, again in combinations(forwarding, 2):
        if first.to is None or first.to != again.to:
            continue
        for (prefix, _), (other, _) in _pairs(facts, first, again):
            if _overlap(prefix, other):
                what = f"{other} is behind {first.vm.node} too, which leads to {first.to} untranslated"
                yield Finding((*again.path, "mode"), what, "use nat, or another physical network")
                break


def forwarded_ports_lead_to_vms(facts: Facts) -> Iterator[Finding]:
    """A port is forwarded once, in mode nat, to a CA of the tenant's, from an address of the same IP version."""
    for gateway in facts.gateways:
        if gateway.forwarded and gateway.mode is not None and gateway.mode != GatewayMode.NAT:
            what = f"nothing is translated in mode {gateway.mode}"
            yield Finding((*gateway.path, "forward"), what, "ports are forwarded in mode nat", at_key=True)
        known = {ca for vm in facts.vms if vm.tenant == gateway.vm.tenant for ca in vm.cas if ca}
        for index, own in enumerate(gateway.forwarded):
            path = (*gateway.path, "forward", index)
            if own.to and own.to not in known:
                what = f"no VM of tenant {gateway.vm.tenant} has the CA {own.to}"
                yield Finding((*path, "to"), what, f"there are: {listed({str(ca) for ca in known})}")
            elif own.to and own.to.version not in _versions(gateway.addresses) & _versions(gateway.vm.cas):
                what = f"{gateway.vm.node} has not IPv{own.to.version} on either side"
                yield Finding((*path, "to"), what, "give it a CA and an address outside")
        yield from _ports_are_unique(gateway)


def _ports_are_unique(gateway: Gateway) -> Iterator[Finding]:
    keys = (
        ((own.transport, own.port, own.to.version) if own.transport and own.port and own.to else None, index)
        for index, own in enumerate(gateway.forwarded)
    )
    for (transport, port, _), first, index in repeats(keys):
        what = f"{transport} port {port} is that of forward[{first}] too"
        yield Finding((*gateway.path, "forward", index, "port"), what, "a port leads to one VM")


def _versions(addresses: tuple[Address | None, ...]) -> set[int]:
    """The IP versions there are, or may be where one could not be read."""
    return {4, 6} if None in addresses else {own.version for own in addresses if own}


def _inside(facts: Facts, gateway: Gateway) -> list[tuple[Network, str]]:
    """The prefixes of a gateway's tenant, each with the name of its virtual subnet."""
    own = (subnet for subnet in facts.subnets if subnet.tenant == gateway.vm.tenant)
    return [(prefix, subnet.name) for subnet in own for prefix in subnet.prefixes if prefix]


def _pairs(facts: Facts, a: Gateway, b: Gateway) -> list[tuple[tuple[Network, str], tuple[Network, str]]]:
    return [(one, other) for one in _inside(facts, a) for other in _inside(facts, b)]


def _overlap(a: Network, b: Network) -> bool:
    return a.version == b.version and a.overlaps(b)


RULES: tuple[Rule, ...] = (
    outside_has_names_of_its_own,
    one_address_per_version,
    gateways_lead_to_what_exists,
    outside_addresses_are_unique,
    sites_are_behind_a_network,
    sites_are_reached_by_tunnel,
    gateways_are_reached,
    gateways_have_a_plain_port,
    inside_and_outside_are_apart,
    tenants_are_told_apart,
    forwarded_ports_lead_to_vms,
)
