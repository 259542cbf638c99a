"""The rules of the underlay: links, router addresses, one uplink per host, and a path between any two hosts. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from nvgre_node.policy import Interface, Network
from topologies.facts import Facts, Pas
from topologies.problems import Finding, Path, did_you_mean
from topologies.repeats import repeats
from topologies.values import DEFAULT, INTERFACE_NAME_MOST

Rule = Callable[[Facts], Iterator[Finding]]


@dataclass(frozen=True)
class Leg:
    """A router's addresses on the link to a neighbour."""

    router: str
    neighbour: str
    addresses: Pas

    @property
    def path(self) -> Path:
        """Where it stands."""
        return "routers", self.router, self.neighbour


def legs(facts: Facts) -> Iterator[Leg]:
    """Every leg of every router, in the order of the file."""
    for router, addresses in facts.routers.items():
        for neighbour, own in addresses.items():
            yield Leg(router, neighbour, own)


def _known(addresses: Pas) -> list[Interface]:
    """The addresses that could be read: all of them, or none."""
    known = [address for address in addresses if address]
    return known if len(known) == len(addresses) else []


def _prefixes(addresses: Iterable[Interface]) -> set[Network]:
    return {address.network for address in addresses}


def _listed(addresses: Iterable[object]) -> str:
    return ", ".join(map(str, addresses))


def links_join_hosts(facts: Facts) -> Iterator[Finding]:
    """`links` joins hosts; a router's links follow from its addresses."""
    for index, link in enumerate(facts.links):
        for end, name in enumerate(link or ()):
            if name in facts.routers:
                hint = f"say routers: {{{name}: {{NEIGHBOUR: ADDRESS}}}} instead"
                yield Finding(("links", index, end), f"{name} is a router, and links joins hosts", hint)
            elif facts.hosts and name not in facts.hosts:
                hint = did_you_mean(name, facts.hosts)
                yield Finding(("links", index, end), f"no host is called {name}", hint)


def linked_hosts_share_a_prefix(facts: Facts) -> Iterator[Finding]:
    """The PAs at both ends of a link are in the same prefixes."""
    for index, link in enumerate(facts.links):
        a, b = (_known(facts.hosts.get(end, ())) for end in link or ("", ""))
        if link and a and b and _prefixes(a) != _prefixes(b):
            what = f"{link[0]} ({_listed(a)}) and {link[1]} ({_listed(b)}) are not in one prefix"
            yield Finding(("links", index), what, "change a PA, or put a router between them")


def linked_hosts_share_a_vlan(facts: Facts) -> Iterator[Finding]:
    """A link is in one VLAN, or in none (O4)."""
    for index, (a, b) in ((index, link) for index, link in enumerate(facts.links) if link):
        here, there = (facts.vlans.get(end) for end in (a, b))
        if {a, b} <= facts.hosts.keys() and here != there:
            own, other = (f"in VLAN {vid}" if vid else "in no VLAN" for vid in (here, there))
            yield Finding(("links", index), f"{a} is {own}, {b} {other}", "both ends of a link have the same vlan")


def routers_name_what_exists(facts: Facts) -> Iterator[Finding]:
    """A router's neighbours exist, are others, and list it too if they are routers."""
    for leg in legs(facts):
        if leg.neighbour == leg.router:
            yield Finding(leg.path, f"joins {leg.router} to itself", "name a neighbour", at_key=True)
        elif facts.hosts and leg.neighbour not in facts.nodes:
            hint = did_you_mean(leg.neighbour, facts.nodes)
            yield Finding(leg.path, f"no host or router is called {leg.neighbour}", hint, at_key=True)
        elif leg.router not in facts.routers.get(leg.neighbour, {leg.router: None}):
            what = f"{leg.neighbour} has no address on its link to {leg.router}"
            hint = f"say routers: {{{leg.neighbour}: {{{leg.router}: ADDRESS}}}} too"
            yield Finding(leg.path, what, hint, at_key=True)


def routers_share_a_prefix_with_neighbours(facts: Facts) -> Iterator[Finding]:
    """A router's address is in the prefix of its neighbour's; between two routers the second is told."""
    seen: set[str] = set()
    for leg in legs(facts):
        seen.add(leg.router)
        if leg.neighbour in facts.routers and leg.neighbour not in seen:
            continue
        far = _known(facts.hosts.get(leg.neighbour) or facts.routers.get(leg.neighbour, {}).get(leg.router, ()))
        own = _known(leg.addresses)
        if not far or not own or leg.neighbour == leg.router:
            continue
        prefixes = _listed(sorted(_prefixes(far), key=str))
        for address in own:
            if address.network not in _prefixes(far):
                what = f"{address} is not in the prefix of {leg.neighbour}, {prefixes}"
                yield Finding(leg.path, what, f"{leg.neighbour} has {_listed(far)}")
        if missing := _prefixes(far) - _prefixes(own) if _prefixes(own) <= _prefixes(far) else set():
            what = f"{leg.router} has no address in {_listed(sorted(missing, key=str))}"
            yield Finding(leg.path, what, f"where {leg.neighbour} is: give it a list of addresses")


def addresses_are_unique(facts: Facts) -> Iterator[Finding]:
    """An underlay address belongs to one host or router."""
    of_hosts = ((pa, (name, ("hosts", name, "pa", i))) for name, pas in facts.hosts.items() for i, pa in enumerate(pas))
    of_routers = ((pa, (leg.router, (*leg.path, i))) for leg in legs(facts) for i, pa in enumerate(leg.addresses))
    all_of_them = ((pa and pa.ip, owner) for pa, owner in (*of_hosts, *of_routers))
    for address, (first, _), (_, path) in repeats(all_of_them):
        yield Finding(path, f"{address} is an address of {first} too", "each has its own")


def prefixes_are_of_one_link(facts: Facts) -> Iterator[Finding]:
    """Links are point to point, so two of them cannot use overlapping prefixes: no route could tell them apart."""
    known: list[tuple[Network, str]] = []
    for path, prefix, link in _link_prefixes(facts):
        for other, name in known:
            if prefix.version == other.version and prefix.overlaps(other):
                what = f"{prefix} overlaps {other} of the link {name}"
                yield Finding(path, what, "each link has a prefix of its own")
                break
        known.append((prefix, link))


def _link_prefixes(facts: Facts) -> Iterator[tuple[Path, Network, str]]:
    """(path, prefix, name) of each link whose ends both exist: the prefixes of one end."""
    for index, link in enumerate(facts.links):
        if link and link[1] in facts.hosts:
            for prefix in sorted(_prefixes(_known(facts.hosts.get(link[0], ()))), key=str):
                yield ("links", index), prefix, f"{link[0]} - {link[1]}"
    seen: set[str] = set()
    for leg in legs(facts):
        seen.add(leg.router)
        if leg.neighbour in facts.nodes and leg.neighbour not in seen:
            for prefix in sorted(_prefixes(_known(leg.addresses)), key=str):
                yield leg.path, prefix, f"{leg.router} - {leg.neighbour}"


def hosts_have_one_uplink(facts: Facts) -> Iterator[Finding]:
    """Each host has exactly one link."""
    ends = _link_ends(facts)
    for name, _, path in repeats((name, path) for name, path in ends if name in facts.hosts):
        what = f"{name} has a link already"
        yield Finding(path, what, "one uplink per host for now", at_key=path[0] == "routers")
    if _links_are_known(facts):
        for name in sorted(set(facts.hosts) - {name for name, _ in ends}):
            hint = "join it to another host under links, or give a router an address on its link"
            yield Finding(("hosts", name), f"{name} has no link", hint, at_key=True)


def _link_ends(facts: Facts) -> list[tuple[str, Path]]:
    """(node, where it is named) of every end of a link, but for the router's own end."""
    of_links = [(name, ("links", i, end)) for i, link in enumerate(facts.links) for end, name in enumerate(link or ())]
    return [*of_links, *((leg.neighbour, leg.path) for leg in legs(facts))]


def hosts_reach_each_other(facts: Facts) -> Iterator[Finding]:
    """Any two hosts have a path between them (U2)."""
    if not _links_are_known(facts) or not facts.hosts:
        return
    neighbours = _neighbours(facts)
    linked = [host for host in facts.hosts if neighbours.get(host)]
    reached = _reached(linked[0], neighbours, set(facts.routers)) if linked else set()
    for host in linked:
        if host not in reached:
            hint = "join their links by a router"
            yield Finding(("hosts", host), f"no path leads from {linked[0]} to {host}", hint, at_key=True)


def _links_are_known(facts: Facts) -> bool:
    """Whether every link names what exists: else what seems to be missing may be misspelt only."""
    return None not in facts.links and {name for name, _ in _link_ends(facts)} <= facts.nodes


def _neighbours(facts: Facts) -> dict[str, set[str]]:
    table: dict[str, set[str]] = {}
    for a, b in [*(link for link in facts.links if link), *((leg.router, leg.neighbour) for leg in legs(facts))]:
        table.setdefault(a, set()).add(b)
        table.setdefault(b, set()).add(a)
    return table


def _reached(start: str, neighbours: dict[str, set[str]], forwarding: set[str]) -> set[str]:
    """Every node that packets from `start` get to: by way of routers, since hosts do not forward."""
    seen, waiting = {start}, [start]
    while waiting:
        at = waiting.pop()
        if at == start or at in forwarding:
            new = neighbours.get(at, set()) - seen
            seen |= new
            waiting += new
    return seen


def router_interfaces_have_names(facts: Facts) -> Iterator[Finding]:
    """A router's last interface, NAME-ethN, still has a name that Linux takes."""
    for router, addresses in facts.routers.items():
        last = f"{router}-eth{len(addresses) - 1}"
        if len(addresses) > 10 and len(last) > INTERFACE_NAME_MOST:
            what = f"its last interface would be {last}, which is longer than {INTERFACE_NAME_MOST} characters"
            yield Finding(("routers", router), what, "choose a shorter name", at_key=True)


def multipath_names_routers(facts: Facts) -> Iterator[Finding]:
    """What chooses among equal-cost paths is a router."""
    for name in facts.multipath:
        if name in facts.hosts:
            what, hint = f"{name} is a host, which has one uplink", "only routers choose among paths"
            yield Finding(("multipath", name), what, hint, at_key=True)
        elif name != DEFAULT and name not in facts.routers:
            hint = did_you_mean(name, [*facts.routers, DEFAULT])
            yield Finding(("multipath", name), f"no router is called {name}", hint, at_key=True)


RULES: tuple[Rule, ...] = (
    links_join_hosts,
    linked_hosts_share_a_prefix,
    linked_hosts_share_a_vlan,
    routers_name_what_exists,
    routers_share_a_prefix_with_neighbours,
    addresses_are_unique,
    prefixes_are_of_one_link,
    hosts_have_one_uplink,
    hosts_reach_each_other,
    router_interfaces_have_names,
    multipath_names_routers,
)
