"""The tenants of a script: routing domains, virtual subnets, and the VMs that its lookup records are about. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_network

from nvgre_node.choices import RecordType
from nvgre_node.policy import Address, Network
from nvgre_node.routing import router_address
from topologies import values
from topologies.powershell.profile import (
    ASSUMED_LENGTH,
    BROADCAST,
    KNOWN_TO_THE_VM,
    RDID_PREFIX,
    TYPES,
    VSID_PREFIX,
)
from topologies.powershell.records import Made, Place
from topologies.problems import Problem


@dataclass
class Vm:
    """A VM: what all lookup records of one MAC address in one virtual subnet say."""

    mac: str
    first: Made
    wanted: str = ""
    cas: dict[Address, Place] = field(default_factory=dict)
    types: dict[RecordType, Made] = field(default_factory=dict)

    @property
    def pa(self) -> Address:
        """Where it is."""
        own: Address = self.first.values["ProviderAddress"]
        return own

    @property
    def record(self) -> RecordType:
        """What the policy knows of it: with a wildcard, also beside its own records, it is a gateway."""
        return RecordType.GATEWAY_WILDCARD if RecordType.GATEWAY_WILDCARD in self.types else next(iter(self.types))


@dataclass
class Subnet:
    """A virtual subnet: its prefixes are those of its on-link routes."""

    vsid: int
    place: Place
    wanted: str = ""
    domain: str = ""
    prefixes: dict[Network, Place] = field(default_factory=dict)
    group: tuple[Address, Place] | None = None
    groups: dict[Address, tuple[Address, Place]] = field(default_factory=dict)
    vms: dict[str, Vm] = field(default_factory=dict)


@dataclass
class Domain:
    """A routing domain: a tenant."""

    place: Place
    wanted: str = ""
    subnets: list[Subnet] = field(default_factory=list)
    routes: list[Made] = field(default_factory=list)
    is_known: bool = True
    """Whether a customer route names it: else it is a virtual subnet that nothing says more of."""


class Overlay:
    """What a script says of tenants; `notes` say what is assumed."""

    def __init__(self) -> None:
        self.domains: dict[str, Domain] = {}
        self.problems: list[Problem] = []
        self.notes: list[str] = []
        self._subnets: dict[int, Subnet] = {}

    @property
    def subnets(self) -> list[Subnet]:
        """The virtual subnets in the order in which a scenario has them: tenant by tenant."""
        return [subnet for domain in self.domains.values() for subnet in domain.subnets]

    def add_route(self, made: Made) -> None:
        """New-NetVirtualizationCustomerRoute: on-link, a prefix of its virtual subnet; else a route of its tenant."""
        rdid, prefix, next_hop = (made.values[name] for name in ("RoutingDomainID", "DestinationPrefix", "NextHop"))
        if next_hop.version != prefix.version:
            hint = "both must be of one IP version"
            self.problems.append(made.problem("NextHop", f"{next_hop} is no next hop for {prefix}", hint))
            return
        name = made.variables.get("RoutingDomainID", "").removeprefix(RDID_PREFIX)
        domain = self.domains.setdefault(rdid, Domain(made.at("RoutingDomainID"), name))
        subnet = self._subnet(made)
        if subnet.domain not in ("", rdid):
            what = f"VSID {subnet.vsid} is in routing domain {{{subnet.domain}}} already"
            self.problems.append(made.problem("RoutingDomainID", what, "a virtual subnet is in one routing domain"))
            return
        if not subnet.domain:
            subnet.domain = rdid
            domain.subnets.append(subnet)
        on_link = next_hop.is_unspecified or (next_hop in prefix and next_hop == router_address(prefix))
        if not on_link:
            domain.routes.append(made)
        elif prefix in subnet.prefixes:
            self.problems.append(made.problem("DestinationPrefix", f"{prefix} is there already", "once is enough"))
        else:
            subnet.prefixes[prefix] = made.at("DestinationPrefix")

    def _subnet(self, made: Made) -> Subnet:
        vsid, place = made.values["VirtualSubnetID"], made.at("VirtualSubnetID")
        name = made.variables.get("VirtualSubnetID", "").removeprefix(VSID_PREFIX)
        subnet = self._subnets.setdefault(vsid, Subnet(vsid, place, name))
        subnet.wanted = subnet.wanted or name
        return subnet

    def add_record(self, made: Made) -> None:
        """New-NetVirtualizationLookupRecord: of a VM, or of a group that carries broadcasts."""
        subnet, ca, pa = self._subnet(made), made.values["CustomerAddress"], made.values["ProviderAddress"]
        if ca.is_multicast or str(ca) == BROADCAST:
            self._group(subnet, made)
        elif pa.is_multicast:
            what = f"{pa} is a multicast group, and {ca} is none"
            self.problems.append(made.problem("ProviderAddress", what, "the PA of the VM's host"))
        else:
            self._vm(subnet, made)

    def _group(self, subnet: Subnet, made: Made) -> None:
        ca, pa = made.values["CustomerAddress"], made.values["ProviderAddress"]
        try:
            values.group(str(pa))
        except values.BadValueError as error:
            self.problems.append(made.problem("ProviderAddress", str(error), error.hint))
            return
        if ca in subnet.groups or (str(ca) == BROADCAST and subnet.group):
            self.problems.append(made.problem("CustomerAddress", f"{ca} has a group already", "once is enough"))
        elif str(ca) == BROADCAST:
            subnet.group = pa, made.at("ProviderAddress")
        else:
            subnet.groups[ca] = pa, made.at("ProviderAddress")

    def _vm(self, subnet: Subnet, made: Made) -> None:
        mac, ca, pa = (made.values[name] for name in ("MACAddress", "CustomerAddress", "ProviderAddress"))
        kind = _kind(made)
        if problem := _misfit(kind, made):
            self.problems.append(problem)
            return
        vm = subnet.vms.setdefault(mac, Vm(mac, made))
        if pa != vm.pa:
            what = f"{pa}: line {vm.first.place[0]} has MAC address {mac} of VSID {subnet.vsid} behind {vm.pa}"
            self.problems.append(made.problem("ProviderAddress", what, "a VM is behind one PA"))
        if clash := _clash(vm, kind):
            what = f"{TYPES[kind]}: line {clash.place[0]} has this VM as {TYPES[_kind(clash)]}"
            self.problems.append(made.problem("Type", what, "a VM is of one type; a gateway has a wildcard beside"))
        if vm.types.keys() <= {RecordType.GATEWAY_WILDCARD} or not vm.wanted:
            vm.wanted = made.values.get("VMName") or vm.wanted
        vm.types.setdefault(kind, made)
        if kind is RecordType.L2ONLY:
            vm.cas |= dict.fromkeys(_known_to_the_vm(made.values.get("Context") or ""), made.at("Context"))
        elif not ca.is_unspecified and ca in vm.cas:
            what = f"{ca} is there already, in line {vm.cas[ca][0]}"
            self.problems.append(made.problem("CustomerAddress", what, "once is enough"))
        elif not ca.is_unspecified:
            vm.cas[ca] = made.at("CustomerAddress")

    def finish(self) -> None:
        """What a script leaves open is assumed: prefixes and addresses; to be called when all commands are added."""
        for subnet in self._subnets.values():
            if not subnet.domain:
                self.domains[f"of VSID {subnet.vsid}"] = Domain(subnet.place, subnets=[subnet], is_known=False)
            if not subnet.prefixes:
                self._assume_prefixes(subnet)
            for vm in subnet.vms.values():
                if not vm.cas and subnet.prefixes:
                    self._assume_address(subnet, vm)

    def _assume_prefixes(self, subnet: Subnet) -> None:
        known = [ca for vm in subnet.vms.values() for ca in vm.cas]
        for version in (4, 6):
            own = [ca for ca in known if ca.version == version]
            if own:
                prefix = ip_network(f"{own[0]}/{ASSUMED_LENGTH[version]}", strict=False)
                while not all(ca in prefix for ca in own):
                    prefix = prefix.supernet()
                subnet.prefixes[prefix] = subnet.place
                self.notes.append(f"VSID {subnet.vsid}: no on-link customer route says its prefix; {prefix} is assumed")
        if not subnet.prefixes:
            what = f"nothing says which prefix VSID {subnet.vsid} has"
            hint = "New-NetVirtualizationCustomerRoute ... -DestinationPrefix 10.0.0.0/24 -NextHop 0.0.0.0"
            self.problems.append(Problem("", what, hint, *subnet.place))

    def _assume_address(self, subnet: Subnet, vm: Vm) -> None:
        """The CA of a VM that its records do not know: the last of its subnet that is free."""
        taken = {ca for other in subnet.vms.values() for ca in other.cas}
        prefix = next(iter(subnet.prefixes))
        first, last = int(prefix[0]), int(prefix[-1])
        last -= prefix.num_addresses > 2 and prefix.version == 4
        free = (_address(prefix.version, n) for n in range(last, max(first + 1, last - 70_000), -1))
        address = next((own for own in free if own not in taken), None)
        if address is None:
            what = f"{prefix} has no address left for the VM with MAC address {vm.mac}"
            self.problems.append(vm.first.problem("CustomerAddress", what, "a longer prefix"))
            return
        vm.cas[address] = vm.first.at("CustomerAddress")
        who = vm.wanted or vm.mac
        self.notes.append(f"{who}: its record knows no CA, and its Context names none; {address} is assumed")


def _address(version: int, number: int) -> Address:
    return IPv4Address(number) if version == 4 else IPv6Address(number)


def _kind(made: Made) -> RecordType:
    unspecified = made.values["CustomerAddress"].is_unspecified
    kind: RecordType | None = made.values.get("Type")
    return kind or (RecordType.GATEWAY_WILDCARD if unspecified else RecordType.STATIC)


def _misfit(kind: RecordType, made: Made) -> Problem | None:
    """What is wrong between a record's type and its CA: only some types have one."""
    ca, has_none = made.values["CustomerAddress"], kind in {RecordType.L2ONLY, RecordType.GATEWAY_WILDCARD}
    if has_none and not ca.is_unspecified:
        what = f"{ca}: a record of type {TYPES[kind]} knows no CA"
        return made.problem("CustomerAddress", what, "use 0.0.0.0, or :: for IPv6")
    if not has_none and ca.is_unspecified:
        what = f"{ca}: a record of type {TYPES[kind]} has a CA"
        return made.problem("CustomerAddress", what, "the VM's, or another Type: L2Only, GatewayWildcard")
    return None


def _clash(vm: Vm, kind: RecordType) -> Made | None:
    """A record of a VM with which another type does not go together."""
    beside = {RecordType.GATEWAY_WILDCARD} if kind in {RecordType.STATIC, RecordType.DYNAMIC} else set()
    if kind is RecordType.GATEWAY_WILDCARD:
        beside = {RecordType.STATIC, RecordType.DYNAMIC}
    return next((made for other, made in vm.types.items() if other is not kind and other not in beside), None)


def _known_to_the_vm(context: str) -> list[Address]:
    """The CAs that the comment of an L2Only record names, if it is ours."""
    if not context.startswith(KNOWN_TO_THE_VM):
        return []
    read = [values.usable(values.ca, own.strip()) for own in context.removeprefix(KNOWN_TO_THE_VM).split(",")]
    return [own for own in read if own]
