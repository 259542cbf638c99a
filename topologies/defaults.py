"""What a scenario need not say: addresses, prefixes, VSIDs, links, and where VMs are. Pure.

docs/scenarios.md has the rules. Nothing that a file says is changed, and what cannot be read is left for the checker.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_interface, ip_network
from itertools import count
from typing import Any

from nvgre_node.policy import Interface, Network
from nvgre_node.wire import VSID_LAST
from topologies import values
from topologies.counts import Counted, Part
from topologies.problems import Finding, Path

FIRST_VSID = 5001
_FIRST_HOST, _FIRST_VM = 10, 11
_SMALL = 32
"""A prefix of fewer addresses has hosts and VMs from its second one on: the first is a router's."""


def filled(counted: Counted, stem: str) -> Counted:
    """The data with all that it does not say. `stem` is the name of the file."""
    data = {**counted.data}
    hosts = data.get("hosts")
    if isinstance(hosts, dict):
        data |= _Underlay(data, counted).filled()
    if isinstance(data.get("tenants"), dict):
        data["tenants"] = _Overlay(data, counted).filled()
    data.setdefault("name", _name(stem))
    data.setdefault("title", f"{_many(data.get('hosts'), 'provider host')}, {_many(data.get('tenants'), 'tenant')}")
    return Counted(data, counted.origins, counted.findings)


def _name(stem: str) -> str:
    made = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in stem.lower()).strip("_")
    return made if values.usable(values.name, made) else "scenario"


def _many(parts: Any, what: str) -> str:
    number = len(_mapping(parts))
    return f"{number} {what}" + ("" if number == 1 else "s")


class _Underlay:
    """Hosts' addresses, and what joins hosts where neither links nor routers are said."""

    def __init__(self, data: Part, counted: Counted) -> None:
        self._data, self._counted = data, counted
        self._hosts: Part = dict(data["hosts"])
        self._routers = {name: _mapping(legs) for name, legs in _mapping(data.get("routers")).items()}
        self._links = [link for link in map(_link, _list(data.get("links"))) if link]
        self._near: dict[str, list[tuple[str, Any]]] = defaultdict(list)
        for router, legs in self._routers.items():
            for neighbour, own in legs.items():
                self._near[neighbour].append((router, own))
        written = [address for part in self._hosts.values() for address in _pas(_mapping(part).get("pa"))]
        written += [address for legs in self._routers.values() for own in legs.values() for address in _pas(own)]
        self._taken = {address.ip for address in written}
        self._prefixes = {address.network for address in written}

    def filled(self) -> Part:
        """`hosts`, and `links` or `routers` if neither is there."""
        for number, (name, part) in enumerate(self._hosts.items(), start=1):
            if isinstance(part, dict) and "pa" not in part:
                self._hosts[name] = {**part, **self._address(name, number)}
        made: Part = {"hosts": self._hosts}
        if "links" in self._data or "routers" in self._data:
            return made
        return made | self._joined()

    def _address(self, name: str, number: int) -> Part:
        """A host's PA: in the prefixes of what it is joined to, if these are known, else in one of its own."""
        if near := self._neighbours(name):
            found = [self._free(address.network) for address in near]
            return {"pa": [str(address) for address in found if address]} if all(found) else self._none(name)
        for third in range(number, 255):
            network = ip_network(f"192.168.{third}.0/24")
            if not any(network.overlaps(other) for other in self._prefixes if other.version == 4):
                return {"pa": [str(self._free(network))]}
        return self._none(name)

    def _neighbours(self, name: str) -> list[Interface]:
        for link in self._links:
            if name in link:
                (other,) = set(link) - {name} or {name}
                return _pas(_mapping(self._hosts.get(other)).get("pa"))
        return [address for _, own in self._near.get(name, ()) for address in _pas(own)]

    def _free(self, network: Network) -> Interface | None:
        address = next((ip for ip in _usable(network, _FIRST_HOST) if ip not in self._taken), None)
        if address is None:
            return None
        self._taken.add(address)
        self._prefixes.add(network)
        return ip_interface(f"{address}/{network.prefixlen}")

    def _none(self, name: str) -> Part:
        what = "no address is left for it"
        self._counted.findings.append(Finding(("hosts", name), what, "write its pa", at_key=True))
        return {}

    def _joined(self) -> Part:
        """A link between two hosts in one prefix, and a router between any others."""
        pas = {name: _pas(_mapping(part).get("pa")) for name, part in self._hosts.items()}
        networks = [{address.network for address in own} for own in pas.values()]
        if len(pas) == 2 and networks[0] == networks[1]:
            return {"links": [list(pas)]}
        router = next(name for number in count(1) if (name := f"r{number}") not in _all_names(self._data))
        legs: Part = {}
        for name, own in pas.items():
            legs[name] = [str(_gateway(address, self._taken)) for address in own] or None
            self._counted.origins["routers", router, name] = ("hosts", name)
        return {"routers": {router: legs}}


class _Overlay:
    """Virtual subnets' VSIDs and prefixes, and VMs' virtual subnets, hosts and CAs."""

    def __init__(self, data: Part, counted: Counted) -> None:
        self._data, self._counted = data, counted
        subnets = [part for tenant in _mappings(data.get("tenants")) for part in _mappings(tenant.get("subnets"))]
        written = {values.usable(values.vsid, part.get("vsid")) for part in subnets}
        self._vsids = (vsid for vsid in range(FIRST_VSID, VSID_LAST + 1) if vsid not in written)
        hosts = [name for name in _mapping(data.get("hosts")) if isinstance(name, str)]
        self._hosts = (hosts[number % len(hosts)] for number in count()) if hosts else iter(())

    def filled(self) -> Part:
        """`tenants`."""
        tenants = self._data["tenants"]
        return {name: self._tenant(name, part) if isinstance(part, dict) else part for name, part in tenants.items()}

    def _tenant(self, name: str, part: Part) -> Part:
        subnets = part.get("subnets", {f"{name}_net": {}})
        if not isinstance(subnets, dict):
            return part
        written = [prefix for own in _mappings(subnets) for prefix in _prefixes(own.get("prefixes"))]
        all_of_them = (ip_network(f"10.{number >> 8}.{number & 255}.0/24") for number in range(1, 1 << 16))
        free = (own for own in all_of_them if not _overlaps(own, written))
        made = {
            own: self._subnet(("tenants", name, "subnets", own), subnet, free) if isinstance(subnet, dict) else subnet
            for own, subnet in subnets.items()
        }
        part = {**part, "subnets": made}
        if isinstance(part.get("vms"), dict):
            part["vms"] = self._vms(name, part["vms"], made)
        return part

    def _subnet(self, path: Path, part: Part, free: Iterator[Network]) -> Part:
        made = {**part}
        if "vsid" not in part:
            made["vsid"] = next(self._vsids)
        if "prefixes" not in part and (prefix := next(free, None)):
            made["prefixes"] = [str(prefix)]
        elif "prefixes" not in part:
            what = "no prefix is left for it"
            self._counted.findings.append(Finding(path, what, "write its prefixes", at_key=True))
        return made

    def _vms(self, tenant: str, vms: Part, subnets: Part) -> Part:
        pools = {name: _Pool(_prefixes(_mapping(part).get("prefixes"))) for name, part in subnets.items()}
        for vm in _mappings(vms):
            for place in (vm, *_mappings(vm.get("trunk"))):
                name = place.get("subnet", next(iter(pools), None))
                if isinstance(name, str) and name in pools:
                    pools[name].take(place.get("ca"))
        turn = (list(subnets)[number % len(subnets)] for number in count()) if subnets else iter(())
        return {
            name: self._vm(("tenants", tenant, "vms", name), part, pools, turn) if isinstance(part, dict) else part
            for name, part in vms.items()
        }

    def _vm(self, path: Path, part: Part, pools: dict[str, _Pool], turn: Iterator[str]) -> Part:
        made = {**part}
        if "host" not in part and (host := next(self._hosts, None)):
            made["host"] = host
        if "subnet" not in part and ("trunk" not in part or "ca" in part):
            if len(pools) == 1:
                made["subnet"] = next(iter(pools))
            elif path in self._counted.origins and (subnet := next(turn, None)):
                made["subnet"] = subnet
        pool = pools.get(made["subnet"]) if isinstance(made.get("subnet"), str) else None
        if "ca" not in part and pool and pool.prefixes:
            made["ca"] = pool.give()
            if len(made["ca"]) < len(pool.prefixes):
                what = f"no address is left for it in {made['subnet']}"
                self._counted.findings.append(Finding(path, what, "write a larger prefix, or its ca", at_key=True))
                del made["ca"]
        return made


@dataclass
class _Pool:
    """The CAs of a virtual subnet: what VMs have, and what is next."""

    prefixes: list[Network]
    taken: set[object] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._free = [
            (address for address in _usable(prefix, _FIRST_VM) if address not in self.taken) for prefix in self.prefixes
        ]

    def take(self, cas: Any) -> None:
        """These are a VM's."""
        self.taken |= set(_read(values.ca, cas))

    def give(self) -> list[str]:
        """One CA of each prefix, but for those that have none left."""
        return [str(address) for own in self._free if (address := next(own, None)) is not None]


def _usable(network: Network, first: int) -> Iterator[Any]:
    """The addresses that interfaces can have, from the one of that number on; in small prefixes all but the first."""
    if network.num_addresses <= 2:
        return iter(network)
    end = network.num_addresses - (1 if network.version == 4 else 0)
    return (network[index] for index in range(first if network.num_addresses >= _SMALL else 2, end))


def _gateway(address: Interface, taken: set[Any]) -> Interface:
    """The lowest address beside another one that nobody has."""
    network = address.network
    usable = network if network.num_addresses <= 2 else (network[index] for index in range(1, network.num_addresses))
    free = next((ip for ip in usable if ip not in taken), address.ip)
    taken.add(free)
    return ip_interface(f"{free}/{network.prefixlen}")


def _overlaps(prefix: Network, others: Iterable[Network]) -> bool:
    return any(prefix.version == other.version and prefix.overlaps(other) for other in others)


def _all_names(data: Part) -> set[Any]:
    vms = [vm for tenant in _mappings(data.get("tenants")) for vm in _mapping(tenant.get("vms"))]
    return {*vms, *(name for key in ("hosts", "servers", "outside") for name in _mapping(data.get(key)))}


def _mapping(value: Any) -> Part:
    return value if isinstance(value, dict) else {}


def _mappings(value: Any) -> list[Part]:
    """The mappings in a mapping."""
    return [part for part in _mapping(value).values() if isinstance(part, dict)]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _read(read: Callable[[object], Any], value: Any) -> list[Any]:
    """What can be read of a value, or of a list of them."""
    given = value if isinstance(value, list) else [value]
    return [found for found in (values.usable(read, each) for each in given) if found is not None]


def _pas(value: Any) -> list[Interface]:
    return _read(values.pa, value)


def _prefixes(value: Any) -> list[Network]:
    return _read(values.prefix, value)


def _link(value: Any) -> tuple[str, str] | None:
    return values.usable(values.link, value)
