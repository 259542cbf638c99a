"""What can be known of a scenario file, even of one with errors: the ground that the rules in `checks` stand on. Pure.

A value that the schema refuses is None here, so that one mistake does not hide the next and causes no others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

from nvgre_node.choices import Transport
from nvgre_node.policy import Address, Interface, Network
from nvgre_node.wire import OVERHEAD
from topologies import values
from topologies.problems import Path
from topologies.schema import MtuPart

_T = TypeVar("_T")
Pas = tuple[Interface | None, ...]


@dataclass(frozen=True)
class Mtus:
    """MTUs in bytes. `underlay` is None where it follows from the tenants'."""

    underlay: int | None
    tenant: int | None
    undersized: bool


@dataclass(frozen=True)
class Subnet:
    """A virtual subnet as written."""

    name: str
    tenant: str
    vsid: int | None
    prefixes: tuple[Network | None, ...]
    rules: int
    group: Address | None = None
    inner_groups: tuple[tuple[Address, str, Address | None], ...] = ()  # with its key as written, and the underlay's

    @property
    def path(self) -> Path:
        """Where it stands."""
        return "tenants", self.tenant, "subnets", self.name


@dataclass(frozen=True)
class Vm:
    """A VM as written; on a trunk port, what it is under one VLAN id. On a server, `host` is that server's."""

    name: str
    tenant: str
    subnet: str | None
    host: str | None
    cas: tuple[Address | None, ...]
    mac: str | None
    has_own_mac: bool
    record: str | None
    pa: Address | None
    vid: int | None = None
    says: frozenset[str] = frozenset()
    rules: int = 0
    server: str | None = None
    vlan: int | None = None

    @property
    def path(self) -> Path:
        """Where it stands: of a VLAN, within the VM."""
        return self.home if self.vid is None else (*self.home, "trunk", self.vid)

    @property
    def home(self) -> Path:
        """Where the VM stands."""
        return "tenants", self.tenant, "vms", self.node

    @property
    def node(self) -> str:
        """The machine that it is."""
        return self.name.partition(".")[0]


@dataclass(frozen=True)
class Forwarding:
    """A forwarded port as written."""

    transport: str | None
    port: int | None
    to: Address | None


@dataclass(frozen=True)
class Gateway:
    """A VM's leg outside as written. `path` is where it stands."""

    vm: Vm
    to: str | None
    mode: str | None
    addresses: Pas
    forwarded: tuple[Forwarding, ...]

    @property
    def path(self) -> Path:
        """Where it stands."""
        return *self.vm.home, "gateway"


@dataclass(frozen=True)
class Route:
    """A customer route as written."""

    to: Network | None
    via: Address | None
    metric: int | None


@dataclass(frozen=True)
class Routing:
    """What a tenant says of routing, as written."""

    tenant: str
    router: bool
    routes: tuple[Route, ...]

    @property
    def path(self) -> Path:
        """Where it stands."""
        return "tenants", self.tenant


@dataclass(frozen=True)
class Fault:
    """A wrong lookup record as written."""

    index: int
    subnet: str | None
    record_of: str | None
    points_to: str | None

    @property
    def path(self) -> Path:
        """Where it stands."""
        return "faults", self.index


@dataclass(frozen=True)
class Expected:
    """What an expectation names, as written; None for what is no name. `via` has each step's names."""

    index: int
    sources: tuple[str | None, ...]
    destinations: tuple[str | None, ...]
    via: tuple[tuple[str, ...], ...]

    @property
    def path(self) -> Path:
        """Where it stands."""
        return "expect", self.index


@dataclass(frozen=True)
class Site:
    """What makes a physical network a tenant's site, as written."""

    name: str
    behind: str | None
    at: Pas
    says: frozenset[str]

    @property
    def path(self) -> Path:
        """Where it stands."""
        return "outside", self.name


@dataclass(frozen=True)
class Facts:
    """A whole file. `links` keeps an unusable link as None, so that an index is that of the file."""

    mtus: Mtus
    hosts: dict[str, Pas]
    routers: dict[str, dict[str, Pas]]
    links: tuple[tuple[str, str] | None, ...]
    tenants: tuple[str, ...]
    subnets: tuple[Subnet, ...]
    vms: tuple[Vm, ...]
    faults: tuple[Fault, ...]
    routing: tuple[Routing, ...] = ()
    vlans: dict[str, int] = field(default_factory=dict)
    multipath: tuple[str, ...] = ()
    outside: dict[str, Pas] = field(default_factory=dict)
    gateways: tuple[Gateway, ...] = ()
    sites: tuple[Site, ...] = ()
    servers: dict[str, str | None] = field(default_factory=dict)
    vms_are_known: bool = True
    expected: tuple[Expected, ...] = ()

    @cached_property
    def overhead(self) -> int:
        """Bytes that NVGRE adds: those of IPv6 where any PA is IPv6."""
        return max((OVERHEAD[pa.version] for pas in self.hosts.values() for pa in pas if pa), default=OVERHEAD[4])

    @cached_property
    def nodes(self) -> set[str]:
        """Hosts and routers."""
        return {*self.hosts, *self.routers}

    @cached_property
    def machines(self) -> tuple[Vm, ...]:
        """Each VM once, whatever its port carries."""
        first = {(vm.tenant, vm.node): vm for vm in reversed(self.vms)}
        return tuple(vm for vm in self.vms if first[vm.tenant, vm.node] is vm)

    @cached_property
    def subnet_by_name(self) -> dict[str, Subnet]:
        """Subnets; the first of a name."""
        return {subnet.name: subnet for subnet in reversed(self.subnets)}

    @cached_property
    def vm_by_name(self) -> dict[str, Vm]:
        """VMs; the first of a name."""
        return {vm.name: vm for vm in reversed(self.vms)}

    def subnet_of(self, vm: Vm) -> Subnet | None:
        """The virtual subnet of a VM, if it is one of its own tenant's."""
        return self._subnet_by_tenant_and_name.get((vm.tenant, vm.subnet))

    def subnet_names(self, tenant: str) -> list[str]:
        """The names of a tenant's virtual subnets."""
        return self._subnet_names.get(tenant, [])

    @cached_property
    def _subnet_names(self) -> dict[str, list[str]]:
        names: dict[str, list[str]] = {}
        for subnet in self.subnets:
            names.setdefault(subnet.tenant, []).append(subnet.name)
        return names

    @cached_property
    def _subnet_by_tenant_and_name(self) -> dict[tuple[str, str | None], Subnet]:
        return {(subnet.tenant, subnet.name): subnet for subnet in self.subnets}


def read(data: dict[str, Any]) -> Facts:
    """Takes what it can from a file's data; never fails."""
    tenants, hosts = _mapping(data.get("tenants")), _mapping(data.get("hosts"))
    vlans = {name: values.usable(values.vid, _mapping(host).get("vlan")) for name, host in hosts.items()}
    tenants = _mapping(data.get("tenants"))
    servers = {name: _text(_mapping(own).get("host")) for name, own in _mapping(data.get("servers")).items()}
    return Facts(
        servers=servers,
        vms_are_known=all(isinstance(_mapping(part).get("vms", {}), dict) for part in tenants.values()),
        mtus=_mtus(_mapping(data.get("mtu"))),
        hosts={name: _each(values.pa, _mapping(host), "pa") for name, host in hosts.items()},
        vlans={name: vid for name, vid in vlans.items() if vid},
        routers={
            name: {neighbour: _each(values.pa, _mapping(legs), neighbour) for neighbour in _mapping(legs)}
            for name, legs in _mapping(data.get("routers")).items()
        },
        links=_links(data.get("links")),
        tenants=tuple(tenants),
        subnets=tuple(
            _subnet(name, tenant, _mapping(part))
            for tenant, parts in tenants.items()
            for name, part in _mapping(_mapping(parts).get("subnets")).items()
        ),
        vms=tuple(
            vm
            for tenant, parts in tenants.items()
            for name, part in _vm_parts(parts)
            for vm in _placed(_vms(name, tenant, part), servers, _mapping(data.get("hosts")))
        ),
        routing=tuple(_routing(tenant, _mapping(parts)) for tenant, parts in tenants.items()),
        multipath=tuple(_mapping(data.get("multipath"))),
        outside={
            name: _each(values.pa, _mapping(part), "address") for name, part in _mapping(data.get("outside")).items()
        },
        sites=tuple(
            Site(name, _text(part.get("behind")), _each(values.pa, part, "at"), frozenset(part))
            for name, part in ((name, _mapping(own)) for name, own in _mapping(data.get("outside")).items())
            if part.keys() & {"behind", "at"}
        ),
        gateways=tuple(
            _gateway(vm, _mapping(part.get("gateway")))
            for tenant, parts in tenants.items()
            for name, part in _vm_parts(parts)
            for vm in [next(iter(_vms(name, tenant, part)))]
            if isinstance(part.get("gateway"), dict)
        ),
        expected=tuple(_expected(index, _mapping(part)) for index, part in enumerate(_list(data.get("expect")))),
        faults=tuple(_fault(index, _mapping(part)) for index, part in enumerate(_list(data.get("faults")))),
    )


def _vm_parts(tenant: object) -> list[tuple[str, dict[str, Any]]]:
    return [(name, _mapping(part)) for name, part in _mapping(_mapping(tenant).get("vms")).items()]


def _gateway(vm: Vm, part: dict[str, Any]) -> Gateway:
    forwarded = tuple(map(_forwarding, map(_mapping, _list(part.get("forward")))))
    return Gateway(vm, _text(part.get("to")), _text(part.get("mode")), _each(values.pa, part, "address"), forwarded)


def _forwarding(part: dict[str, Any]) -> Forwarding:
    to = values.usable(values.endpoint, part.get("to"))
    transport = _text(part.get("transport", Transport.TCP.value))
    return Forwarding(transport, values.usable(values.port, part.get("port")), to[0] if to else None)


def _links(value: object) -> tuple[tuple[str, str] | None, ...]:
    given = value if isinstance(value, list) else [] if value is None else [value]
    return tuple(values.usable(values.link, link) for link in given)


def _mtus(part: dict[str, Any]) -> Mtus:
    default = MtuPart()
    return Mtus(
        values.usable(values.mtu, part.get("underlay")),
        values.usable(values.mtu, part.get("tenant", default.tenant)),
        part.get("undersized", default.undersized) is not False,
    )


def _subnet(name: str, tenant: str, part: dict[str, Any]) -> Subnet:
    vsid, prefixes = values.usable(values.vsid, part.get("vsid")), _each(values.prefix, part, "prefixes")
    group = values.usable(values.group, part.get("group"))
    rules = len(_list(part.get("acl")))
    return Subnet(name, tenant, vsid, prefixes, rules, group, tuple(_inner_groups(_mapping(part.get("groups")))))


def _inner_groups(part: dict[str, Any]) -> Iterator[tuple[Address, str, Address | None]]:
    for key, value in part.items():
        if inner := values.usable(values.inner_group, key):
            yield inner, key, values.usable(values.group, value)


def _vms(name: str, tenant: str, part: dict[str, Any]) -> Iterator[Vm]:
    """A VM, or what it is under each VLAN id of its trunk port."""
    trunk = part.get("trunk")
    vlans = trunk if isinstance(trunk, dict) else {}
    vids = {vid: _mapping(vlan) for vid, vlan in vlans.items() if values.usable(values.vid, vid) is not None}
    if not vids or part.get("subnet") is not None or part.get("ca") is not None:
        own_vid = values.usable(values.vid, part.get("vlan"))
        yield replace(_vm(name, tenant, part), says=frozenset(part), vlan=own_vid)
    made = None if part.get("mac") is not None else _made_mac([part, *vids.values()])
    for vid, vlan in vids.items():
        own = {"mac": made, **part, "ca": None, "subnet": None, **vlan}
        yield replace(_vm(f"{name}.{vid}", tenant, own), vid=vid, has_own_mac=own["mac"] is not None)


def _placed(vms: Iterator[Vm], servers: dict[str, str | None], hosts: dict[str, Any]) -> Iterator[Vm]:
    """VMs on servers are where the servers' NVEs are, if that is known."""
    for vm in vms:
        server = vm.host if vm.host in servers and vm.host not in hosts else None
        host = servers.get(server or "")
        yield replace(vm, host=host if host in hosts else None, server=server) if server else vm


def _made_mac(parts: Sequence[dict[str, Any]]) -> str | None:
    """The MAC address that a VM gets from its first CA, whichever VLAN has it."""
    cas = [ca for part in parts for ca in _each(values.ca, part, "ca") if ca]
    return values.made_mac(cas) if cas else None


def _vm(name: str, tenant: str, part: dict[str, Any]) -> Vm:
    return Vm(
        name,
        tenant,
        subnet=_text(part.get("subnet")),
        host=_text(part.get("host")),
        cas=_each(values.ca, part, "ca"),
        mac=values.usable(values.mac, part.get("mac")),
        has_own_mac=part.get("mac") is not None,
        record=_text(part.get("record")),
        pa=values.usable(values.own_pa, part.get("pa")),
        rules=len(_list(part.get("acl"))),
    )


def _routing(tenant: str, part: dict[str, Any]) -> Routing:
    routes = tuple(map(_route, map(_mapping, _list(part.get("routes")))))
    return Routing(tenant, part.get("router") is True, routes)


def _route(part: dict[str, Any]) -> Route:
    return Route(
        values.usable(values.prefix, part.get("to")),
        values.usable(values.ca, part.get("via")),
        values.usable(values.metric, part.get("metric", 0)),
    )


def _fault(index: int, part: dict[str, Any]) -> Fault:
    return Fault(index, _text(part.get("subnet")), _text(part.get("record_of")), _text(part.get("points_to")))


def _expected(index: int, part: dict[str, Any]) -> Expected:
    via = values.usable(values.steps, part["via"]) if "via" in part else None
    return Expected(index, _each(values.text, part, "from"), _each(values.text, part, "to"), via or ())


def _each(read: Callable[[object], _T], part: dict[str, Any], key: str) -> tuple[_T | None, ...]:
    given = part.get(key)
    return tuple(values.usable(read, value) for value in (given if isinstance(given, list) else [given]))


def _text(value: object) -> str | None:
    return values.usable(values.text, value)


def _mapping(value: object) -> dict[str, Any]:
    return {key: entry for key, entry in value.items() if isinstance(key, str)} if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
