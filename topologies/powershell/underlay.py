"""The hosts and the underlay of a script: provider addresses, and the router that provider routes speak of. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_interface

from nvgre_node.policy import Address, Interface, Network
from topologies.powershell.names import Names
from topologies.powershell.profile import ASSUMED_LENGTH
from topologies.powershell.records import Made, Place
from topologies.problems import Path as At
from topologies.problems import Problem

ROUTER = "r1"
"""What the router is called that stands between the hosts: a script knows only its addresses."""


@dataclass
class Host:
    """A provider host: the addresses it has, with their places, and the next hops it knows."""

    name: str
    pas: list[Interface] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    vlan: int | None = None
    next_hops: dict[Address, Place] = field(default_factory=dict)

    @property
    def prefixes(self) -> dict[Network, None]:
        """The prefixes that it has a PA in, in order."""
        return {pa.network: None for pa in self.pas}


class Underlay:
    """The hosts that a script speaks of, by their names, and their PAs; `notes` say what is assumed."""

    def __init__(self, names: Names) -> None:
        self.hosts: dict[str, Host] = {}
        self.problems: list[Problem] = []
        self.notes: list[str] = []
        self.origin: dict[At, Place] = {}
        self._names = names
        self._by_session: dict[str, str] = {}
        self._by_pa: dict[Address, str] = {}

    def host(self, session: str) -> Host:
        """The host of a session: of the first part of its name, in small letters."""
        if session.lower() not in self._by_session:
            name = self._names.new(session.partition(".")[0], f"host{len(self.hosts) + 1}", most=10)
            self._by_session[session.lower()] = name
            self.hosts[name] = Host(name)
        return self.hosts[self._by_session[session.lower()]]

    def host_of(self, pa: Address, place: Place) -> Host:
        """The host that has a PA. One that no command gave to a host is a host of its own, in an assumed prefix."""
        if pa not in self._by_pa:
            length = ASSUMED_LENGTH[pa.version]
            host = self.host(str(pa))
            self._give(host, ip_interface(f"{pa}/{length}"), place)
            self.notes.append(f"{pa}: no command says its PrefixLength; {length} is assumed")
        return self.hosts[self._by_pa[pa]]

    def add_address(self, made: Made) -> None:
        """New-NetVirtualizationProviderAddress. Without a session, each PA is taken for another host's."""
        pa, length = made.values["ProviderAddress"], made.values["PrefixLength"]
        if length > pa.max_prefixlen:
            hint = f"use 1 to {pa.max_prefixlen}"
            self.problems.append(made.problem("PrefixLength", f"{length} is too long for {pa}", hint))
            length = ASSUMED_LENGTH[pa.version]
        if len(made.sessions) > 1:
            what = f"{pa} is given to {len(made.sessions)} hosts"
            self.problems.append(made.problem("CimSession", what, "each PA is one host's"))
            return
        if pa in self._by_pa:
            what = f"{pa} is there already, on {self._by_pa[pa]}"
            self.problems.append(made.problem("ProviderAddress", what, "each PA is one host's"))
            return
        host = self.host(made.sessions[0] if made.sessions else str(pa))
        vlan = made.values.get("VlanID") or None
        if host.pas and vlan != host.vlan:
            said = [f"in VLAN {vid}" if vid else "in no VLAN" for vid in (vlan, host.vlan)]
            what = f"{pa} is {said[0]}, and other PAs of {host.name} {said[1]}"
            self.problems.append(made.problem("VlanID", what, "a host has one uplink here: one VLAN, or none"))
        host.vlan = vlan
        self._give(host, ip_interface(f"{pa}/{length}"), made.at("ProviderAddress"))

    def _give(self, host: Host, pa: Interface, place: Place) -> None:
        self.origin["hosts", host.name, "pa", len(host.pas)] = place
        self.origin.setdefault(("hosts", host.name), place)
        host.pas.append(pa)
        host.places.append(place)
        self._by_pa[pa.ip] = host.name

    def add_route(self, made: Made) -> None:
        """New-NetVirtualizationProviderRoute: a router is at its next hop. To be called when all PAs are known."""
        next_hop, place = made.values["NextHop"], made.at("NextHop")
        if next_hop.is_unspecified:
            return  # on-link, as the PAs' prefixes say anyway
        own = [self.host(session) for session in made.sessions] or [
            host for host in self.hosts.values() if any(next_hop in prefix for prefix in host.prefixes)
        ]
        for host in own or [Host("any host")]:
            if any(next_hop in prefix for prefix in host.prefixes):
                host.next_hops.setdefault(next_hop, place)
            else:
                what = f"{next_hop} is in no prefix of {host.name}"
                has = ", ".join(map(str, host.prefixes)) or "none has a PA by then"
                self.problems.append(made.problem("NextHop", what, f"it has {has}" if host.pas else has))

    def data(self) -> dict[str, object]:
        """Hosts and the links between them, as a scenario says them."""
        hosts = {host.name: self._host(host) for host in self.hosts.values() if host.pas}
        known = [self.hosts[name] for name in hosts]
        self._origins(known)
        if len(known) == 2 and not any(host.next_hops for host in known):
            a, b = known
            if a.prefixes.keys() == b.prefixes.keys():
                self.origin["links", 0] = a.places[0]
                return {"hosts": hosts, "links": [[a.name, b.name]]}
        self._refuse_shared_prefixes(known)
        return {"hosts": hosts, "routers": {ROUTER: {host.name: list(self._leg(host)) for host in known}}}

    def _host(self, host: Host) -> dict[str, object]:
        return {"pa": [str(pa) for pa in host.pas]} | ({"vlan": host.vlan} if host.vlan else {})

    def _origins(self, known: list[Host]) -> None:
        for host in known:
            self.origin["routers", ROUTER, host.name] = next(iter(host.next_hops.values()), host.places[0])

    def _leg(self, host: Host) -> Iterator[str]:
        """The router's address in each prefix of a host: a next hop that the host knows, or the first free one."""
        for prefix in host.prefixes:
            address = next((hop for hop in host.next_hops if hop in prefix), None)
            if address is None:
                taken = {pa.ip for pa in host.pas}
                address = next((own for own in prefix.hosts() if own not in taken), prefix[0])
                what = f"{prefix}: no provider route says where {host.name}'s router is; {address} is assumed"
                self.notes.append(what)
            yield f"{address}/{prefix.prefixlen}"

    def _refuse_shared_prefixes(self, known: list[Host]) -> None:
        """Links are point to point in this language: more than two hosts in one prefix have no words."""
        first: dict[Network, Host] = {}
        for host in known:
            for prefix in host.prefixes:
                other = first.setdefault(prefix, host)
                if other is not host:
                    what = f"{host.name} is in {prefix}, where {other.name} is too"
                    hint = "links are point to point here: give each host a prefix of its own, and routes"
                    self.problems.append(Problem("-ProviderAddress", what, hint, *host.places[0]))
