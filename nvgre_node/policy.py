"""Who may talk to whom, as records: the policy that every NVE works from (RFC 7637 sections 4.3 and 4.5). Pure.

The nouns are those of Hyper-V Network Virtualization: a lookup record says behind which provider address (PA) a
customer address (CA) and its MAC address are found, per virtual subnet. `Policy` holds everything; `Policy.for_host`
cuts out what one NVE needs; `Policy.explain` says which record decides, and why.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Final, Literal, TypeVar

from nvgre_node import acl, routing
from nvgre_node.acl import Direction, Rule
from nvgre_node.errors import BadInputError
from nvgre_node.groups import NO_GROUPS, SubnetGroups, ascending, group_mac
from nvgre_node.routing import ROUTER_MAC, Route, RouterInterface, RoutingDomain
from nvgre_node.wire import octets

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network
_T = TypeVar("_T")

COPY: Final = "copy"
"""The word for a DSCP that is the inner header's."""

Dscp = int | Literal["copy"]
"""The outer DSCP (RFC 2983 section 3): a value of its own, 0 to 63 (pipe model), or `copy`, the inner one (uniform)."""

TTL_DEFAULT = 64
"""The TTL or hop limit of what starts at an NVE, as of what starts at any host (RFC 1700)."""

MAX_PAS = 8
"""How many PAs an NVE may have."""


class FlowIds(StrEnum):
    """What an NVE writes into FlowID: entropy of the inner flow (G8), or always zero (G9)."""

    FLOW = "flow"
    NONE = "none"


class TooBig(StrEnum):
    """What an NVE does with a packet that does not fit (RFC 7588 section 3): an ICMP answer, silence, or fragments.

    FRAGMENT cuts inner IPv4 packets without DF, so that each fragment travels whole, and tells about all others; what
    is flooded is dropped where it does not fit, in silence. FRAGMENT_OUTER is what RFC 7637 forbids (F1), to see
    why: the NVGRE packet itself is fragmented, by this host or, since it has no DF, by a router of the underlay (F5).
    """

    TELL = "tell"
    DROP = "drop"
    FRAGMENT = "fragment"
    FRAGMENT_OUTER = "fragment_outer"


class Fragments(StrEnum):
    """What an NVE does with outer fragments that arrive: drop them, or have the host's kernel reassemble them (F2)."""

    DROP = "drop"
    REASSEMBLE = "reassemble"


class UnknownUnicast(StrEnum):
    """What an NVE does with a unicast frame of a VM that no lookup record knows (B6).

    It drops it, treats it as a broadcast, or hands it to user space (`ProviderHost.punted`), where a controller may
    install the record that is missing. What comes from the wire is delivered or dropped, and never handed over.
    """

    DROP = "drop"
    FLOOD = "flood"
    PUNT = "punt"


class SourceCheck(StrEnum):
    """What a VM's frames must prove of their origin (C1): nothing, its MAC address, or also its CAs."""

    NONE = "none"
    MAC = "mac"
    CA = "ca"


class PaChoice(StrEnum):
    """Which PA of an NVE with several serves a VM: the first, or one per virtual subnet, per VM or per flow (O6, E3).

    Per flow, the sending NVE varies its source PA; packets to it still go to its first.
    """

    FIRST = "first"
    SUBNET = "subnet"
    VM = "vm"
    FLOW = "flow"


class Neighbours(StrEnum):
    """What an NVE does with ARP requests and Neighbour Solicitations: floods them, or answers by its records (S2)."""

    FLOOD = "flood"
    PROXY = "proxy"


class RecordType(StrEnum):
    """What a lookup record knows of its VM, as Hyper-V Network Virtualization has it."""

    STATIC = "static"
    """CA and MAC."""
    DYNAMIC = "dynamic"
    """The same; the VM has its CA by DHCP."""
    L2ONLY = "l2only"
    """The MAC alone: who asks for a CA that no record knows is carried to such VMs, as to all in their subnet."""
    GATEWAY_WILDCARD = "gateway_wildcard"
    """CA and MAC of a gateway: any other CA may be behind it."""


UNKNOWN_CA = IPv4Address(0)
"""The CA of a record that knows none."""


class Ecn(StrEnum):
    """What an NVE writes into the outer ECN field (RFC 6040 section 4.1): normal mode, or compatibility mode.

    RFC 9601 section 4 wants `zero` unless every egress propagates ECN and the ingress reads the inner IP header. Our
    NVEs always do both, so that `copy` is the default; `zero` is for a network with NVEs of another make.
    """

    COPY = "copy"
    ZERO = "zero"


class Vendor(StrEnum):
    """Whether an NVE is of this make: only then does it get packets with the vendors' VSID (V3)."""

    OURS = "ours"
    OTHER = "other"


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
class Vm:
    """A tenant VM: one port of one provider host, in one virtual subnet. `name` is also the port's interface name.

    A VM on a trunk port (I5) is one of these for each of its VLANs, called NAME.VID, and one for its untagged frames,
    if it sends such. `pa` pins it to one of its host's PAs (O6). `cas` are what the VM has; whether the policy knows
    them says `record`.
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
    knows (T8); 0: none.
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


@dataclass(frozen=True)
class Port:
    """A VM's port on a provider host: the interface of that name carries the frames of one virtual subnet.

    A trunk port (I5) is several with one interface: `vid` is the VLAN id that its VM tags this subnet's frames with, or
    None where they are untagged.

    `pa` is that of the VM: what it sends has this source PA, where the destination's has the same IP version. `any_ca`
    says that its VM may have, or have behind it, CAs that no record knows.
    """

    interface: str
    vsid: int
    pa: Address
    mac: str
    cas: tuple[Address, ...]
    any_ca: bool = False
    vid: int | None = None
    acl: tuple[Rule, ...] = ()

    @property
    def name(self) -> str:
        """The name of its VM: on a trunk port NAME.VID."""
        return self.interface if self.vid is None else f"{self.interface}.{self.vid}"

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

    def with_record(self, record: LookupRecord) -> NvePolicy:
        """The same, but one VM is where this record says; its NVE may send into the record's virtual subnets (C1)."""
        others = tuple(r for r in self.records if (r.vsid, r.mac, r.ca) != (record.vsid, record.mac, record.ca))
        vsids = {record.vsid, record.deliver_vsid} & set(self.vsids)
        more = {} if self.is_local(record) else {vsid: self.senders[vsid] | {record.pa} for vsid in vsids}
        return replace(self, records=(*others, record), senders={**self.senders, **more})

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


@dataclass(frozen=True)
class Step:
    """One decision on a packet's way: what was looked at, what it said, and the record or clause behind it."""

    what: str
    result: str
    because: str


@dataclass(frozen=True)
class Policy:
    """The whole policy of a network. `overrides` replace the records that the placement of the VMs implies."""

    nves: tuple[Nve, ...]
    subnets: tuple[VirtualSubnet, ...]
    vms: tuple[Vm, ...]
    overrides: tuple[LookupRecord, ...] = field(default=())
    routing: tuple[RoutingDomain, ...] = ()

    def vm(self, name: str) -> Vm:
        """The VM of a name, else UnknownNameError."""
        return _named("VM", name, {vm.name: vm for vm in self.vms})

    @cached_property
    def machines(self) -> Mapping[str, tuple[Vm, ...]]:
        """The VMs by the machine that they are: several, where it is on a trunk port."""
        found: dict[str, tuple[Vm, ...]] = {}
        for vm in self.vms:
            found[vm.node] = (*found.get(vm.node, ()), vm)
        return found

    def nve(self, host: str) -> Nve:
        """The NVE of a provider host, else UnknownNameError."""
        return _named("provider host", host, {nve.host: nve for nve in self.nves})

    def subnet(self, name: str) -> VirtualSubnet:
        """The virtual subnet of a name, else UnknownNameError."""
        return _named("virtual subnet", name, {subnet.name: subnet for subnet in self.subnets})

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
        return Port(vm.node, self.vsid_of(vm), self.pa_of(vm), vm.mac, cas, any_ca, vm.vid, rules)

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
        return {vm.host for vm in self.vms if self.vsid_of(vm) == vsid}

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

    def explain(self, source: str, destination: str) -> tuple[Step, ...]:
        """Which records decide where a packet from a VM to a CA (or to a VM by name) goes, and why.

        Raises:
            UnknownNameError: no VM is called `source`, or `destination` is neither an address nor a VM's name.
        """
        sender = self.vm(source)
        target = _address(destination) or self._address_of(sender, destination)
        vsid = self.vsid_of(sender)
        port = Step(f"port {sender.name} on {sender.host}", f"VSID {vsid} (0x{vsid:06x})", f"subnet {sender.subnet}")
        asked = f"record (VSID {vsid}, CA {target})"
        record = self.record(vsid, target) or self._gateway(sender, target)
        leaving = self._acl_step(sender, Direction.OUT, sender, target)
        if any(step.result == acl.DENIES_EVERYTHING for step in leaving):
            return port, *leaving
        if target.is_multicast:
            return port, *leaving, self._replication(sender, target)
        if self.gateways_of(sender) and not self._is_on_link(sender, target):
            return port, *leaving, *self._explain_routed(sender, target)
        if record is None:
            return port, *leaving, self._unknown(sender, target, asked)
        behind = "gateway_wildcard: any CA may be behind it" if record.ca != target else ""
        reason = self._elsewhere(sender, target) or behind or "U1, T8"
        found = Step(asked, f"{record.vm}, MAC {record.mac}, PA {record.pa}", reason)
        entering = self._acl_step(self.vm(record.vm), Direction.IN, sender, target)
        return port, *leaving, found, *self._crossing(sender, record), self._arrival(sender, record), *entering

    def _arrival(self, sender: Vm, record: LookupRecord) -> Step:
        here = self.nve(sender.host)
        if record.pa in here.pas_of(record.pa.version):
            return Step("delivery", f"port {record.vm} on {sender.host}, never on the wire", "same provider host")
        key = f"20 00 65 58 {record.deliver_vsid.to_bytes(3, 'big').hex(' ')} + FlowID"
        outer = f"outer IPv{record.pa.version} {self._source(sender, record.pa)} -> {record.pa}, protocol 47"
        return Step(outer, f"GRE {key}", "O1, G5")

    def _is_on_link(self, sender: Vm, ca: Address) -> bool:
        return any(ca in prefix for prefix in self.subnet(sender.subnet).prefixes)

    def _explain_routed(self, sender: Vm, ca: Address) -> Iterator[Step]:
        """The steps of a packet that leaves its virtual subnet by the distributed router (T5, X6)."""
        gateway = next((str(own) for own in self.gateways_of(sender) if own.version == ca.version), "none")
        yield Step("default gateway", f"the router, {gateway}, MAC {ROUTER_MAC}", f"{ca} is outside {sender.subnet}")
        tenant = self.tenant_of(sender)
        route = routing.look_up(self.routes, tenant, ca)
        if route is None:
            yield Step(f"route in {tenant}", "none: ICMP network unreachable", "X6: nothing leaves the routing domain")
            return
        way = f"via {route.next_hop}, metric {route.metric}," if route.next_hop else "on-link"
        yield Step(f"route in {tenant}", f"{route.prefix} {way} in VSID {route.vsid}", "X2" if route.next_hop else "T5")
        target = route.next_hop or ca
        asked = f"record (VSID {route.vsid}, CA {target})"
        record = self.record(route.vsid, target)
        if record is None:
            own = target in {a for r in routing.interfaces(self.subnets) if r.vsid == route.vsid for a in r.addresses}
            yield Step(asked, "the router itself" if own else "none: ICMP host unreachable", "X6")
            return
        yield Step(asked, f"{record.vm}, MAC {record.mac}, PA {record.pa}", "U1, T8")
        yield Step("inner frame", f"MAC {ROUTER_MAC} -> {record.mac}, TTL less 1", "X6: VSID of the destination")
        yield from self._crossing(sender, record)
        yield self._arrival(sender, record)
        yield from self._acl_step(self.vm(record.vm), Direction.IN, sender, ca)

    def _acl_step(self, owner: Vm, direction: Direction, sender: Vm, target: Address) -> tuple[Step, ...]:
        """What the rules of a port say of packets to an address, if there are any for that direction."""
        rules = [(name, rule) for name, rule in self.acl_of(owner) if rule.direction is direction]
        if not rules:
            return ()
        said, names = acl.summary(rules, sender.ca(target.version), target)
        return (Step(f"access control list of {owner.name}, {direction}", said, names),)

    def _source(self, sender: Vm, remote: Address) -> str:
        nve = self.nve(sender.host)
        own = nve.pas_of(remote.version)
        if nve.pa_choice is PaChoice.FLOW and len(own) > 1:
            return f"one of {', '.join(map(str, own))}, by flow (E3),"
        pa = self.pa_of(sender)
        return str(pa if pa in own else own[0])

    def record(self, vsid: int, ca: Address) -> LookupRecord | None:
        """The lookup record of a CA in a virtual subnet, or None."""
        return next((r for r in self.records if (r.vsid, r.ca) == (vsid, ca)), None)

    def _of_type(self, subnet: str, record: RecordType) -> list[Vm]:
        return [vm for vm in self.vms if (vm.subnet, vm.record) == (subnet, record)]

    def _gateway(self, sender: Vm, ca: Address) -> LookupRecord | None:
        """The record of the gateway in the sender's subnet, for a CA that is outside of it."""
        gateways = self._of_type(sender.subnet, RecordType.GATEWAY_WILDCARD)
        if not gateways or self._is_on_link(sender, ca):
            return None
        return next(r for r in self.records if (r.vsid, r.mac) == (self.vsid_of(sender), gateways[0].mac))

    def _unknown(self, sender: Vm, ca: Address, asked: str) -> Step:
        """What becomes of a packet to a CA that no record knows."""
        if asking := [vm.name for vm in self._of_type(sender.subnet, RecordType.L2ONLY)]:
            return Step(asked, "none: everybody in the subnet is asked", f"l2only: {', '.join(asking)} may have it")
        return Step(asked, "none: dropped as unknown unicast", self._elsewhere(sender, ca) or "B6")

    def _replication(self, sender: Vm, target: Address) -> Step:
        """How a packet to a group of the tenant's travels."""
        nve, vsid, mac = self.for_host(sender.host), self.vsid_of(sender), group_mac(target)
        what = f"group {target}, MAC {mac.hex(':')}"
        if group := nve.group(vsid, mac):
            way = f"one copy, outer IPv{group.version} {self._source(sender, group)} -> {group}"
            return Step(what, way, "B3: has its own" if mac in nve.groups[vsid].by_mac else "B2")
        copies = ", ".join(map(str, nve.replicas[vsid])) or "none"
        return Step(what, f"a copy to each other NVE: {copies}", "B5: N-way unicast")

    def _elsewhere(self, sender: Vm, ca: Address) -> str:
        """Who has a CA in other virtual subnets: what a learner would otherwise take for a fault."""
        others = [vm.name for vm in self.vms if vm.subnet != sender.subnet and ca in {own.ip for own in vm.cas}]
        return f"T4: in another virtual subnet, {', '.join(others)} has this CA" if others else ""

    def _crossing(self, sender: Vm, record: LookupRecord) -> tuple[Step, ...]:
        """The step from one virtual subnet into another, if the record takes it (X6, or a leak)."""
        if record.deliver_vsid == record.vsid:
            return ()
        owner = next(subnet for subnet in self.subnets if subnet.vsid == record.deliver_vsid)
        tenant = self.tenant_of(sender)
        verdict = "X6: inside the tenant" if owner.tenant == tenant else f"LEAK: {tenant} reaches {owner.tenant}"
        return (Step(f"virtual subnet of {record.vm}", f"VSID {owner.vsid} ({owner.name})", verdict),)

    def _address_of(self, sender: Vm, name: str) -> Address:
        vm = self.vm(name)
        shared = next((ca.ip for ca in vm.cas if any(ca.version == own.version for own in sender.cas)), None)
        if shared is None:
            raise UnknownNameError(f"{name} and {sender.name} share no IP version")
        return shared


def link_local(mac: str) -> IPv6Address:
    """The IPv6 link-local address that is made from a MAC address (RFC 4291 appendix A, RFC 2464 section 4)."""
    own = octets(mac)
    return IPv6Address(b"\xfe\x80" + bytes(6) + bytes([own[0] ^ 0x02]) + own[1:3] + b"\xff\xfe" + own[3:])


def _address(text: str) -> Address | None:
    for family in (IPv4Address, IPv6Address):
        try:
            return family(text)
        except ValueError:
            continue
    return None


def _named(kind: str, name: str, known: dict[str, _T]) -> _T:
    if name not in known:
        raise UnknownNameError(f"no {kind} is called {name!r}; there are: {', '.join(sorted(known)) or 'none'}")
    return known[name]
