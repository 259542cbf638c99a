"""Who may talk to whom, as records: the policy that every NVE works from (RFC 7637 sections 4.3 and 4.5). Pure.

The nouns are those of Hyper-V Network Virtualization: a lookup record says behind which provider address (PA) a
customer address (CA) and its MAC address are found, per virtual subnet. `Policy` holds everything; `Policy.for_host`
cuts out what one NVE needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import TYPE_CHECKING, TypeVar

from nvgre_node import routing
from nvgre_node.acl import Rule
from nvgre_node.choices import (
    TTL_DEFAULT,
    Carries,
    Deviation,
    Dscp,
    Ecn,
    FlowIds,
    Fragments,
    Neighbours,
    PaChoice,
    RecordType,
    SourceCheck,
    TooBig,
    UnknownUnicast,
    Vendor,
)
from nvgre_node.errors import BadInputError
from nvgre_node.groups import NO_GROUPS, SubnetGroups, ascending
from nvgre_node.routing import Route, RouterInterface, RoutingDomain
from nvgre_node.wire import octets

if TYPE_CHECKING:
    from nvgre_node.outside import Leg, PhysicalNetwork

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network
_T = TypeVar("_T")

UNKNOWN_CA = IPv4Address(0)
"""The CA of a record that knows none."""


class UnknownNameError(BadInputError):
    """No such VM, host or subnet in this policy; the message lists those there are."""


@dataclass(frozen=True)
class VirtualSubnet:
    """One broadcast domain (T4) of a tenant (its routing domain), with at most one CA prefix per IP version."""

    name: str
    tenant: str
    vsid: int
    prefixes: tuple[Network, ...]
    groups: SubnetGroups = NO_GROUPS
    acl: tuple[Rule, ...] = ()


@dataclass(frozen=True)
class Behind:
    """Where a machine is that its NVE does not see: behind the trunk port of that name, under a VLAN id (T3, D5)."""

    port: str
    vid: int


@dataclass(frozen=True)
class Vm:
    """A tenant VM: one port of one provider host, in one virtual subnet. `name` is also the port's interface name.

    A VM on a trunk port (I5) is one of these for each of its VLANs, called NAME.VID, and one for its untagged frames,
    if it sends such. `pa` pins it to one of its host's PAs (O6). `cas` are what the VM has; whether the policy knows
    them says `record`. `leg` makes it a gateway.
    `behind` says that not its own port leads to the NVE, but that of a server which has none.
    """

    name: str
    subnet: str
    host: str
    mac: str
    cas: tuple[Interface, ...]
    pa: Address | None = None
    record: RecordType = RecordType.STATIC
    vid: int | None = None
    acl: tuple[Rule, ...] = ()
    leg: Leg | None = None
    behind: Behind | None = None

    @property
    def node(self) -> str:
        """The machine, and the interface of its port: the same for all VLANs of a trunk port."""
        return self.name.partition(".")[0]

    def ca(self, version: int = 4) -> Address | None:
        """Its first customer address of an IP version, or None."""
        return next((ca.ip for ca in self.cas if ca.version == version), None)


@dataclass(frozen=True)
class Nve:
    """The tunnel endpoint of one provider host: its PAs (O5, O6), and how it treats what RFC 7637 leaves open.

    `clamp_mss` lowers the MSS that VMs announce when they open TCP connections to what fits the path. `pcp_to_dscp` has
    the priority (PCP) of the outermost tag that a VM's frame loses choose the outer DSCP; others are up to `dscp` (I5).
    `learning` is how many seconds an NVE keeps what it learnt from packets of where a MAC address is that no record
    knows (T8); 0: none. `vlan` is the VLAN id of its uplink, or None (O4). `dataplane`
    is what implements it, or None where the network decides. `deviations` are what it does wrong.
    """

    host: str
    pas: tuple[Interface, ...]
    flow_ids: FlowIds = FlowIds.FLOW
    too_big: TooBig = TooBig.TELL
    fragments: Fragments = Fragments.DROP
    unknown: UnknownUnicast = UnknownUnicast.DROP
    pa_choice: PaChoice = PaChoice.FIRST
    neighbours: Neighbours = Neighbours.FLOOD
    clamp_mss: bool = False
    source_check: SourceCheck = SourceCheck.NONE
    probe: bool = False
    vendor: Vendor = Vendor.OURS
    ttl: int = TTL_DEFAULT
    dscp: Dscp = 0
    ecn: Ecn = Ecn.COPY
    pcp_to_dscp: Mapping[int, int] = field(default_factory=dict, hash=False)
    learning: int = 0
    vlan: int | None = None
    dataplane: str | None = None
    carries: Carries = Carries.ETHERNET
    deviations: frozenset[Deviation] = frozenset()

    def pas_of(self, version: int) -> tuple[Address, ...]:
        """Its PAs of an IP version."""
        return tuple(pa.ip for pa in self.pas if pa.version == version)


@dataclass(frozen=True)
class LookupRecord:
    """(VSID, CA, MAC) -> PA. `vm` is whom it names; `deliver_vsid` is the virtual subnet in which that VM lives.

    The two VSIDs are equal unless the record crosses virtual subnets, which inside one tenant is routing (X6) and
    between tenants a leak.
    """

    vsid: int
    ca: Address
    mac: str
    pa: Address
    vm: str
    deliver_vsid: int
    type: RecordType = RecordType.STATIC

    @property
    def vsids(self) -> frozenset[int]:
        """The virtual subnets that it is about."""
        return frozenset({self.vsid, self.deliver_vsid})


@dataclass(frozen=True)
class Port:
    """A VM's port on a provider host: the interface of that name carries the frames of one virtual subnet.

    A trunk port (I5) is several with one interface: `vid` is the VLAN id that its VM tags this subnet's frames with, or
    None where they are untagged.

    `pa` is that of the VM: what it sends has this source PA, where the destination's has the same IP version. `any_ca`
    says that its VM may have, or have behind it, CAs that no record knows. `owner` is that VM where the interface is
    called otherwise.
    """

    interface: str
    vsid: int
    pa: Address
    mac: str
    cas: tuple[Address, ...]
    any_ca: bool = False
    vid: int | None = None
    acl: tuple[Rule, ...] = ()
    owner: str = ""

    @property
    def name(self) -> str:
        """The name of its VM: on a trunk port of its own NAME.VID."""
        return self.owner or (self.interface if self.vid is None else f"{self.interface}.{self.vid}")

    @property
    def sources(self) -> tuple[Address, ...]:
        """The addresses that its VM may send from (C1): its CAs, and the link-local one made from its MAC address."""
        return *self.cas, link_local(self.mac)


@dataclass(frozen=True)
class NvePolicy:
    """What one NVE must know: itself, its ports, and the lookup records and members of the virtual subnets it serves.

    `replicas` are, per VSID, one PA of each other NVE with a port in that virtual subnet, ascending: they get its
    broadcasts (B5). `groups` are those of the virtual subnets that have any, by VSID (B2). `senders` are all PAs of
    these NVEs: they alone may send into it (C1). Where the tenant is routed, all NVEs with a port of that tenant may.
    `routers`, `routes` and `records` then cover all virtual subnets of the tenants with a port here. `verified` are the
    PAs of those NVEs that may be sent, and may send, packets with the vendors' VSID (V3).
    """

    nve: Nve
    ports: tuple[Port, ...]
    records: tuple[LookupRecord, ...]
    replicas: Mapping[int, tuple[Address, ...]]
    senders: Mapping[int, frozenset[Address]]
    groups: Mapping[int, SubnetGroups] = field(default_factory=dict)
    routers: tuple[RouterInterface, ...] = ()
    routes: tuple[Route, ...] = ()
    verified: frozenset[Address] = frozenset()

    @cached_property
    def vsids(self) -> tuple[int, ...]:
        """The virtual subnets that have a port here, ascending."""
        return tuple(sorted({port.vsid for port in self.ports}))

    @cached_property
    def joined(self) -> tuple[Address, ...]:
        """The groups of the underlay that this NVE joins (B2), ascending."""
        return ascending({group for groups in self.groups.values() for group in groups.outer})

    def with_records(self, *records: LookupRecord) -> NvePolicy:
        """The same, but VMs are where these records say; their NVEs may send into the records' virtual subnets (C1).

        They come first: what an older record says of the same MAC address counts no more.
        """
        new = {(record.vsid, record.mac, record.ca): record for record in records}
        known = new | {key: own for own in self.records if (key := (own.vsid, own.mac, own.ca)) not in new}
        senders = dict(self.senders)
        for record in records:
            if not self.is_local(record):
                senders |= {vsid: senders[vsid] | {record.pa} for vsid in senders.keys() & record.vsids}
        return replace(self, records=tuple(known.values()), senders=senders)

    def group(self, vsid: int, mac: bytes) -> Address | None:
        """The group that carries frames of a virtual subnet to a MAC address, or None for N-way unicast."""
        return self.groups[vsid].carrying(mac) if vsid in self.groups else None

    @cached_property
    def interfaces(self) -> tuple[str, ...]:
        """The interfaces that are ports, each once."""
        return tuple(dict.fromkeys(port.interface for port in self.ports))

    def ports_at(self, interface: str) -> tuple[Port, ...]:
        """What an interface carries: one port, or several if it is a trunk port (I5); none for an uplink."""
        return tuple(port for port in self.ports if port.interface == interface)

    def port_of(self, record: LookupRecord) -> Port:
        """The port of the VM that a local record names."""
        return next(port for port in self.ports if port.name == record.vm)

    def router(self, vsid: int) -> RouterInterface | None:
        """The interface of the distributed router in a virtual subnet, or None."""
        return next((router for router in self.routers if router.vsid == vsid), None)

    def is_local(self, record: LookupRecord) -> bool:
        """Whether the record's VM sits on this host."""
        return record.pa in self.nve.pas_of(record.pa.version)

    def source_pa(self, port: Port, remote: Address, flow: int) -> Address:
        """The source PA of what a port's VM sends to a remote PA; `flow` is a hash of the inner flow (E3)."""
        own = self.nve.pas_of(remote.version)
        if self.nve.pa_choice is PaChoice.FLOW:
            return own[flow % len(own)]
        return self.fixed_source_pa(port, remote.version) or own[0]

    def fixed_source_pa(self, port: Port, version: int) -> Address | None:
        """The source PA of a port where no flow decides: the port's own, else the NVE's first of an IP version."""
        own = self.nve.pas_of(version)
        return port.pa if port.pa in own else next(iter(own), None)

    @cached_property
    def remote_pas(self) -> frozenset[Address]:
        """Every PA that this NVE may send to."""
        located = {record.pa for record in self.records if not self.is_local(record)}
        return frozenset(located.union(*self.replicas.values()))

    @cached_property
    def peer_pas(self) -> frozenset[Address]:
        """Every PA that packets go to or may come from, groups of the underlay among them."""
        return self.remote_pas.union(self.joined, self.verified, *self.senders.values())


@dataclass(frozen=True)
class Policy:
    """The whole policy of a network. `overrides` replace the records that the placement of the VMs implies.

    `outside` are the physical networks that gateways lead to.
    """

    nves: tuple[Nve, ...]
    subnets: tuple[VirtualSubnet, ...]
    vms: tuple[Vm, ...]
    overrides: tuple[LookupRecord, ...] = field(default=())
    routing: tuple[RoutingDomain, ...] = ()
    outside: tuple[PhysicalNetwork, ...] = ()

    def vm(self, name: str) -> Vm:
        """The VM of a name, else UnknownNameError."""
        return _named("VM", name, self._vm_by_name)

    @cached_property
    def _vm_by_name(self) -> dict[str, Vm]:
        return {vm.name: vm for vm in self.vms}

    @cached_property
    def _nve_by_host(self) -> dict[str, Nve]:
        return {nve.host: nve for nve in self.nves}

    @cached_property
    def _subnet_by_name(self) -> dict[str, VirtualSubnet]:
        return {subnet.name: subnet for subnet in self.subnets}

    @cached_property
    def _hosts_by_vsid(self) -> dict[int, set[str]]:
        """The hosts with a port in each virtual subnet that has any."""
        found: dict[int, set[str]] = {}
        for vm in self.vms:
            found.setdefault(self.vsid_of(vm), set()).add(vm.host)
        return found

    @cached_property
    def machines(self) -> Mapping[str, tuple[Vm, ...]]:
        """The VMs by the machine that they are: several, where it is on a trunk port."""
        found: dict[str, tuple[Vm, ...]] = {}
        for vm in self.vms:
            found[vm.node] = (*found.get(vm.node, ()), vm)
        return found

    @cached_property
    def servers(self) -> Mapping[str, tuple[Vm, ...]]:
        """The VMs of each server that has no NVE."""
        found: dict[str, tuple[Vm, ...]] = {}
        for vm in self.vms:
            if vm.behind:
                found[vm.behind.port] = (*found.get(vm.behind.port, ()), vm)
        return found

    def nve(self, host: str) -> Nve:
        """The NVE of a provider host, else UnknownNameError."""
        return _named("provider host", host, self._nve_by_host)

    def subnet(self, name: str) -> VirtualSubnet:
        """The virtual subnet of a name, else UnknownNameError."""
        return _named("virtual subnet", name, self._subnet_by_name)

    def physical_network(self, name: str) -> PhysicalNetwork:
        """The physical network of a name, else UnknownNameError."""
        return _named("physical network", name, {network.name: network for network in self.outside})

    def vsid_of(self, vm: Vm) -> int:
        """The VSID of the virtual subnet that a VM's port is in."""
        return self.subnet(vm.subnet).vsid

    def tenant_of(self, vm: Vm) -> str:
        """The tenant (routing domain) that a VM belongs to."""
        return self.subnet(vm.subnet).tenant

    @cached_property
    def records(self) -> tuple[LookupRecord, ...]:
        """Every lookup record: one per known CA of each VM, unless an override of this VSID and MAC takes its place."""
        replaced = {(record.vsid, record.mac) for record in self.overrides}
        implied = (record for vm in self.vms for record in self._implied(vm))
        return (*self.overrides, *(record for record in implied if (record.vsid, record.mac) not in replaced))

    def _implied(self, vm: Vm) -> tuple[LookupRecord, ...]:
        vsid, pa = self.vsid_of(vm), self.pa_of(vm)
        cas = (UNKNOWN_CA,) if vm.record is RecordType.L2ONLY else tuple(ca.ip for ca in vm.cas)
        return tuple(LookupRecord(vsid, ca, vm.mac, pa, vm.name, vsid, vm.record) for ca in cas)

    def pointing_to(self, replaced: Vm, target: Vm) -> Policy:
        """The same policy, but the records that should name `replaced` name `target`: a fault to be found."""
        pa, deliver = self.pa_of(target), self.vsid_of(target)
        right = self._implied(replaced)
        wrong = tuple(replace(record, pa=pa, vm=target.name, deliver_vsid=deliver) for record in right)
        return replace(self, overrides=(*self.overrides, *wrong))

    def moved(self, machine: str, host: str) -> Policy:
        """The same policy, but a machine is on another host; a PA that it was pinned to was its old host's (O6).

        Raises:
            UnknownNameError: there is no such machine or host.
            BadInputError: it is behind a server, and does not move without it.
        """
        own = _named("VM", machine, dict(self.machines))
        self.nve(host)
        if behind := own[0].behind:
            raise BadInputError(f"{machine} is behind {behind.port}, which has no NVE: it cannot move alone")
        there = {vm.name: vm if vm.host == host else replace(vm, host=host, pa=None) for vm in own}
        return replace(self, vms=tuple(there.get(vm.name, vm) for vm in self.vms))

    def with_vm(self, vm: Vm) -> Policy:
        """The same policy, and one VM more.

        Raises:
            UnknownNameError: there is no such virtual subnet or host.
            BadInputError: its name, or in its virtual subnet its MAC address or a CA, is somebody's already.
        """
        vsid = self.vsid_of(vm)
        names = {*self.machines, *self.servers, *(nve.host for nve in self.nves)}
        self.nve(vm.host)
        if vm.node in names:
            raise BadInputError(f"there is a {vm.node} already")
        for other in (other for other in self.vms if self.vsid_of(other) == vsid):
            if taken := {str(ca.ip) for ca in vm.cas} & {str(ca.ip) for ca in other.cas}:
                raise BadInputError(f"{', '.join(sorted(taken))} is the CA of {other.name}")
            if vm.mac.lower() == other.mac.lower():
                raise BadInputError(f"{vm.mac} is the MAC address of {other.name}")
        return replace(self, vms=(*self.vms, vm))

    def without_vm(self, machine: str) -> Policy:
        """The same policy without a machine and its records. Raises UnknownNameError: there is no such machine."""
        gone = {vm.name for vm in _named("VM", machine, dict(self.machines))}
        kept = tuple(record for record in self.overrides if record.vm not in gone)
        return replace(self, vms=tuple(vm for vm in self.vms if vm.name not in gone), overrides=kept)

    def for_host(self, host: str) -> NvePolicy:
        """What the NVE of one provider host must know, and no more (P2): the subnets that have a port there."""
        ports = tuple(self._port(vm) for vm in self.vms if vm.host == host)
        served = {port.vsid for port in ports}
        routed = self._routed_with(served)
        known = served | {subnet.vsid for subnet in routed}
        records = tuple(r for r in self.records if r.vsid in known or r.deliver_vsid in served)
        others = {vsid: self._members(vsid) - {host} for vsid in served}
        replicas = {vsid: self._replicas(host, vsid, members) for vsid, members in others.items()}
        senders = {vsid: self._all_pas(self._senders(vsid) - {host}) for vsid in served}
        tenants = {subnet.tenant for subnet in routed}
        routers, routes = routing.interfaces(routed), tuple(route for route in self.routes if route.domain in tenants)
        groups = {own.vsid: own.groups for own in self.subnets if own.vsid in served and own.groups.outer}
        verified = self._verified(host, {member for members in others.values() for member in members})
        return NvePolicy(self.nve(host), ports, records, replicas, senders, groups, routers, routes, verified)

    def _verified(self, host: str, members: set[str]) -> frozenset[Address]:
        """The PAs of those among its peers whose vendor is known to be ours, if it probes at all (V3, V4)."""
        nves = [self.nve(name) for name in (host, *members)]
        if not nves[0].probe or nves[0].vendor is not Vendor.OURS:
            return frozenset()
        return self._all_pas({nve.host for nve in nves[1:] if nve.vendor is Vendor.OURS})

    @cached_property
    def group_members(self) -> dict[Address, dict[str, tuple[Address, ...]]]:
        """Per group of the underlay, the provider hosts that send to it and join it, with their PAs."""
        members: dict[Address, dict[str, tuple[Address, ...]]] = {}
        for nve in self.nves:
            for group in self.for_host(nve.host).joined:
                members.setdefault(group, {})[nve.host] = nve.pas_of(group.version)
        return members

    @cached_property
    def routes(self) -> tuple[Route, ...]:
        """The routes of all routing domains that have a router."""
        return tuple(route for domain in self.routing for route in routing.table(domain, self._subnets_of(domain)))

    def domain(self, tenant: str) -> RoutingDomain | None:
        """The routing domain of a tenant that has a router, else None."""
        return next((domain for domain in self.routing if domain.tenant == tenant), None)

    def gateways_of(self, vm: Vm) -> tuple[Address, ...]:
        """The addresses of the router in a VM's virtual subnet, of the VM's IP versions; none without a router."""
        if self.domain(self.tenant_of(vm)) is None:
            return ()
        (router,) = routing.interfaces([self.subnet(vm.subnet)])
        return tuple(address for address in router.addresses if vm.ca(address.version))

    def _subnets_of(self, domain: RoutingDomain) -> tuple[VirtualSubnet, ...]:
        return tuple(subnet for subnet in self.subnets if subnet.tenant == domain.tenant)

    def _routed_with(self, vsids: set[int]) -> tuple[VirtualSubnet, ...]:
        """All virtual subnets of the routing domains that one of these belongs to."""
        domains = [self._subnets_of(domain) for domain in self.routing]
        return tuple(s for subnets in domains if any(s.vsid in vsids for s in subnets) for s in subnets)

    def _senders(self, vsid: int) -> set[str]:
        """The hosts whose NVEs may send into a virtual subnet."""
        return self._members(vsid).union(*(self._members(subnet.vsid) for subnet in self._routed_with({vsid})))

    def _port(self, vm: Vm) -> Port:
        any_ca = vm.record in {RecordType.L2ONLY, RecordType.GATEWAY_WILDCARD}
        cas, rules = tuple(ca.ip for ca in vm.cas), tuple(rule for _, rule in self.acl_of(vm))
        interface, vid, owner = (vm.behind.port, vm.behind.vid, vm.name) if vm.behind else (vm.node, vm.vid, "")
        return Port(interface, self.vsid_of(vm), self.pa_of(vm), vm.mac, cas, any_ca, vid, rules, owner)

    def acl_of(self, vm: Vm) -> tuple[tuple[str, Rule], ...]:
        """The rules of a VM's port, in the order in which they are tried: its own, then its subnet's; each by name."""
        owners = ((vm.name, vm.acl), (vm.subnet, self.subnet(vm.subnet).acl))
        return tuple((f"{name}.acl[{n}]", rule) for name, own in owners for n, rule in enumerate(own))

    def pa_of(self, vm: Vm) -> Address:
        """The PA behind which a VM is found: the one it is pinned to, or the one that its NVE's policy picks (O6)."""
        nve = self.nve(vm.host)
        if vm.pa is not None:
            return vm.pa
        if nve.pa_choice is PaChoice.VM:
            neighbours = [other.name for other in self.vms if other.host == vm.host]
            return nve.pas[neighbours.index(vm.name) % len(nve.pas)].ip
        return self._subnet_pa(nve, self.vsid_of(vm))

    def _subnet_pa(self, nve: Nve, vsid: int) -> Address:
        if nve.pa_choice is not PaChoice.SUBNET:
            return nve.pas[0].ip
        return nve.pas[[subnet.vsid for subnet in self.subnets].index(vsid) % len(nve.pas)].ip

    def _members(self, vsid: int) -> set[str]:
        return self._hosts_by_vsid.get(vsid, set())

    def _all_pas(self, hosts: set[str]) -> frozenset[Address]:
        return frozenset(pa.ip for host in hosts for pa in self.nve(host).pas)

    def _replicas(self, host: str, vsid: int, members: set[str]) -> tuple[Address, ...]:
        """One PA per member, of an IP version that the host has too."""
        versions = {pa.version for pa in self.nve(host).pas}
        found = set()
        for nve in map(self.nve, members):
            wanted = self._subnet_pa(nve, vsid)
            shared = [pa.ip for pa in nve.pas if pa.version in versions]
            found.add(wanted if wanted in shared or not shared else shared[0])
        return ascending(found)

    def record(self, vsid: int, ca: Address) -> LookupRecord | None:
        """The lookup record of a CA in a virtual subnet, or None."""
        return next((r for r in self.records if (r.vsid, r.ca) == (vsid, ca)), None)


def link_local(mac: str) -> IPv6Address:
    """The IPv6 link-local address that is made from a MAC address (RFC 4291 appendix A, RFC 2464 section 4)."""
    own = octets(mac)
    return IPv6Address(b"\xfe\x80" + bytes(6) + bytes([own[0] ^ 0x02]) + own[1:3] + b"\xff\xfe" + own[3:])


def _named(kind: str, name: str, known: dict[str, _T]) -> _T:
    if name not in known:
        raise UnknownNameError(f"no {kind} is called {name!r}; there are: {', '.join(sorted(known)) or 'none'}")
    return known[name]
