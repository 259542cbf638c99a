"""A scenario: a network that was read and checked, as the policy of its tenants and the fabric below them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from ipaddress import IPv6Address, IPv6Interface, ip_interface
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nvgre_node.acl import Rule
from nvgre_node.choices import RecordType
from nvgre_node.deviations import IMITATIONS, Imitation
from nvgre_node.errors import BadInputError
from nvgre_node.fabric import Attachment, Fabric, FabricLink, Multipath
from nvgre_node.groups import SubnetGroups
from nvgre_node.outside import PhysicalNetwork
from nvgre_node.policy import Address, Behind, Interface, Network, Nve, Policy, VirtualSubnet, Vm
from nvgre_node.routing import CustomerRoute, RoutingDomain
from nvgre_node.wire import OVERHEAD
from topologies.expectation import Expectation
from topologies.schema import HostPart, NvePart, RulePart, ScenarioPart
from topologies.values import DEFAULT, made_mac

if TYPE_CHECKING:
    from nvgre_node.topo import NvgreTopo


@dataclass(frozen=True)
class Scenario:
    """A network. `text` is what its file says, or several and settings together, and `sha256` its hash.

    `tenant_mtu` is in bytes of IP packet.
    """

    name: str
    title: str
    about: str
    path: Path
    sha256: str
    policy: Policy
    fabric: Fabric
    tenant_mtu: int
    text: str = ""
    expect: tuple[Expectation, ...] = ()

    def with_mtu(self, underlay: int | None = None, tenant: int | None = None) -> Scenario:
        """The same network with other MTUs (bytes of IP packet), unchecked: an experiment may want a misfit."""
        fabric = self.fabric if underlay is None else replace(self.fabric, mtu=underlay)
        return replace(self, fabric=fabric, tenant_mtu=self.tenant_mtu if tenant is None else tenant)

    def with_nve(self, **choices: Any) -> Scenario:
        """The same network, in which every NVE does otherwise where RFC 7637 leaves a choice: fields of `Nve`."""
        nves = tuple(replace(nve, **choices) for nve in self.policy.nves)
        return replace(self, policy=replace(self.policy, nves=nves))

    def over_ipv6(self) -> Scenario:
        """The same network with IPv6 in the underlay (O5): each address has one of IPv6 made from it instead."""

        def other(address: Interface) -> Interface:
            return address if address.version == 6 else _ipv6_of(address)

        moved = {pa.ip: other(pa).ip for nve in self.policy.nves for pa in nve.pas}

        def of_ipv6(end: Attachment) -> Attachment:
            return replace(end, addresses=tuple(map(other, end.addresses)))

        links = tuple(replace(link, a=of_ipv6(link.a), b=of_ipv6(link.b)) for link in self.fabric.links)
        policy = replace(
            self.policy,
            nves=tuple(replace(nve, pas=tuple(map(other, nve.pas))) for nve in self.policy.nves),
            subnets=tuple(replace(own, groups=_groups_of_ipv6(own.groups)) for own in self.policy.subnets),
            vms=tuple(replace(vm, pa=moved[vm.pa] if vm.pa else None) for vm in self.policy.vms),
            overrides=tuple(replace(record, pa=moved[record.pa]) for record in self.policy.overrides),
        )
        mtu = self.fabric.mtu + OVERHEAD[6] - max(OVERHEAD[pa.version] for nve in self.policy.nves for pa in nve.pas)
        return replace(self, policy=policy, fabric=replace(self.fabric, links=links, mtu=mtu))

    def with_multipath(self, mode: Multipath) -> Scenario:
        """The same network, in which every router spreads packets over equal-cost paths by this (E1)."""
        return replace(self, fabric=replace(self.fabric, multipath=dict.fromkeys(self.fabric.routers, mode)))

    def with_groups(self, groups: Mapping[str, SubnetGroups]) -> Scenario:
        """The same network, in which virtual subnets have other multicast groups in the underlay, by subnet name."""
        subnets = tuple(replace(own, groups=groups.get(own.name, own.groups)) for own in self.policy.subnets)
        return replace(self, policy=replace(self.policy, subnets=subnets))

    def expectations(self) -> tuple[Expectation, ...]:
        """What is expected of the network.

        Raises:
            BadInputError: nothing is.
        """
        if not self.expect:
            raise BadInputError(f"{self.name} expects nothing: it has no `expect:` (docs/scenarios.md)")
        return self.expect

    def topo(self, **options: object) -> NvgreTopo:
        """The network for Mininet: what `mn --custom FILE --topo NAME` calls; `options` are those of NvgreTopo."""
        # Only here: checking a scenario must not need Mininet.
        from nvgre_node.topo import NvgreTopo

        return NvgreTopo(self.policy, self.fabric, self.tenant_mtu, **options)


def build(part: ScenarioPart, path: Path, text: str) -> Scenario:
    """The scenario of a file in which nothing is wrong, and nothing is missing any more."""
    return Scenario(
        name=part.name,
        title=part.title,
        about=part.about.strip(),
        path=path,
        sha256=sha256(text.encode()).hexdigest(),
        policy=_policy(part),
        fabric=Fabric(tuple(part.routers), tuple(_links(part)), _underlay_mtu(part), _multipath(part)),
        tenant_mtu=part.mtu.tenant,
        text=text,
        expect=tuple(own.expectation() for own in part.expect),
    )


def _policy(part: ScenarioPart) -> Policy:
    policy = Policy(
        nves=tuple(_nve(name, host, part.nve) for name, host in part.hosts.items()),
        subnets=tuple(
            VirtualSubnet(
                name,
                tenant,
                subnet.vsid,
                tuple(subnet.prefixes),
                SubnetGroups(subnet.group, tuple(subnet.groups.items())),
                _rules(subnet.acl),
            )
            for tenant, parts in part.tenants.items()
            for name, subnet in parts.subnets.items()
        ),
        vms=tuple(_vms(part)),
        routing=tuple(_routing(part)),
        outside=tuple(
            PhysicalNetwork(name, tuple(own.address), own.behind or "", tuple(own.at))
            for name, own in part.outside.items()
        ),
    )
    for fault in part.faults:
        policy = policy.pointing_to(policy.vm(fault.record_of), policy.vm(fault.points_to))
    return policy


def _nve(name: str, host: HostPart, nve: NvePart) -> Nve:
    """The NVE of a host: what an implementation chooses counts where the scenario says nothing itself."""
    says_itself = host.imitate is not None or host.deviations is not None
    imitate, deviations = (host.imitate, host.deviations or []) if says_itself else (nve.imitate, nve.deviations)
    imitated = IMITATIONS[imitate] if imitate else Imitation(frozenset())
    choices = {key: value for key, value in nve if key not in {"deviations", "imitate"}}
    choices |= {key: value for key, value in imitated.choices.items() if key not in nve.model_fields_set}
    all_of_them = imitated.deviations.union(deviations)
    choices |= host.model_dump(include={"vendor", "vlan", "dataplane"})
    return Nve(name, tuple(host.pa), deviations=all_of_them, **choices)


def _routing(part: ScenarioPart) -> Iterator[RoutingDomain]:
    for name, tenant in part.tenants.items():
        if tenant.router:
            yield RoutingDomain(name, tuple(CustomerRoute(r.to, r.via, r.metric) for r in tenant.routes))


def _vms(part: ScenarioPart) -> Iterator[Vm]:
    for tenant in part.tenants.values():
        for name, vm in tenant.vms.items():
            places: dict[int | None, tuple[str, list[Address]]] = {}
            if vm.subnet is not None:
                places[None] = vm.subnet, vm.ca
            for vid, vlan in (vm.trunk or {}).items():
                places[vid] = vlan.subnet, vlan.ca
            host = part.servers[vm.host].host if vm.host in part.servers else vm.host
            mac = vm.mac or made_mac([ca for _, cas in places.values() for ca in cas])
            for place, (subnet, own) in places.items():
                cas = tuple(_with_length(ca, tenant.subnets[subnet].prefixes) for ca in own)
                called = name if place is None else f"{name}.{place}"
                leg = vm.gateway.leg() if vm.gateway else None
                record = vm.record or (RecordType.GATEWAY_WILDCARD if leg else RecordType.STATIC)
                behind = Behind(vm.host, vm.vlan) if vm.vlan is not None else None
                yield Vm(called, subnet, host, mac, cas, vm.pa, record, place, _rules(vm.acl), leg, behind)


def _rules(acl: list[RulePart]) -> tuple[Rule, ...]:
    return tuple(part.rule() for part in acl)


def _with_length(ca: Address, prefixes: list[Network]) -> Interface:
    own = next(prefix for prefix in prefixes if ca in prefix)
    return ip_interface(f"{ca}/{own.prefixlen}")


def _links(part: ScenarioPart) -> Iterator[FabricLink]:
    """The links between hosts, then those of the routers; one between two routers is there once."""
    for a, b in part.links:
        yield FabricLink(_attachment(a, part.hosts[a].pa), _attachment(b, part.hosts[b].pa), part.hosts[a].vlan)
    done: set[str] = set()
    for router, legs in part.routers.items():
        done.add(router)
        for neighbour, addresses in legs.items():
            if neighbour not in done:
                host = part.hosts.get(neighbour)
                far, vlan = (host.pa, host.vlan) if host else (part.routers[neighbour][router], None)
                yield FabricLink(_attachment(router, addresses), _attachment(neighbour, far), vlan)


def _multipath(part: ScenarioPart) -> dict[str, Multipath]:
    default = part.multipath.get(DEFAULT, Multipath.OUTER)
    return {router: part.multipath.get(router, default) for router in part.routers}


def _groups_of_ipv6(groups: SubnetGroups) -> SubnetGroups:
    """The same groups, but of IPv6: of site-local scope, each with an IPv4 group in its last four bytes."""

    def other(group: Address) -> Address:
        return group if group.version == 6 else IPv6Address(b"\xff\x15" + bytes(10) + group.packed)

    default = other(groups.default) if groups.default else None
    return SubnetGroups(default, tuple((inner, other(outer)) for inner, outer in groups.inner))


def _ipv6_of(address: Interface) -> Interface:
    """A unique local address (RFC 4193) that holds an IPv4 prefix in its own, and the host's number in the rest."""
    prefix = b"\xfd" + address.network.network_address.packed + bytes([address.network.prefixlen, 0, 0])
    host = int(address.ip) - int(address.network.network_address)
    return IPv6Interface((prefix + host.to_bytes(8, "big"), 64))


def _attachment(node: str, addresses: list[Interface]) -> Attachment:
    return Attachment(node, tuple(addresses))


def _underlay_mtu(part: ScenarioPart) -> int:
    """As written, else what a full tenant packet needs over the PAs that there are (F3)."""
    versions = {pa.version for host in part.hosts.values() for pa in host.pa}
    return part.mtu.underlay or part.mtu.tenant + max(OVERHEAD[version] for version in versions)
