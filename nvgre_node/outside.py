"""Gateways and what is outside: the legs that tenants have in physical networks (RFC 7637 sections 4.6 and 4.7). Pure.

As in Hyper-V Network Virtualization, a gateway has a compartment per tenant: a machine of that tenant's, on a port of
the gateway host's NVE, with a second leg in a physical network. Nothing but that leg joins the two worlds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING

from nvgre_node.choices import GatewayMode, Transport
from nvgre_node.fabric import Route

if TYPE_CHECKING:
    from nvgre_node.policy import Address, Interface, Network, Policy, Vm

INSIDE, OUTSIDE, TUNNEL = "eth0", "outside", "tunnel"
"""A compartment's interfaces: its port of the NVE, its leg, and the tunnel that it may have over that."""

DEFAULT: dict[int, Network] = {4: IPv4Network((0, 0)), 6: IPv6Network((0, 0))}
"""The prefix of everything, by IP version."""


@dataclass(frozen=True)
class PhysicalNetwork:
    """A network beyond the overlay: one segment, on which a host with these addresses answers.

    A tenant's site is such a network `behind` another: its host is its gateway too, with the addresses `at` over there.
    """

    name: str
    addresses: tuple[Interface, ...]
    behind: str = ""
    at: tuple[Interface, ...] = ()

    @property
    def prefixes(self) -> tuple[Network, ...]:
        """Its prefixes."""
        return tuple(address.network for address in self.addresses)


@dataclass(frozen=True)
class PortForwarding:
    """Connections to a port of a gateway's outside address go to a port of a tenant's VM."""

    port: int
    to: Address
    to_port: int
    transport: Transport = Transport.TCP


@dataclass(frozen=True)
class Leg:
    """A gateway's leg to a physical network: its addresses outside, and what it does with what passes.

    To a site it is a leg in the network which that is behind.
    """

    to: str
    addresses: tuple[Interface, ...]
    mode: GatewayMode
    forwarded: tuple[PortForwarding, ...] = ()

    def address(self, version: int) -> Address | None:
        """Its address of an IP version, or None."""
        return next((own.ip for own in self.addresses if own.version == version), None)


@dataclass(frozen=True)
class Compartment:
    """What a gateway must know to be one tenant's way out. `inside` are the prefixes of that tenant alone."""

    leg: Leg
    inside: tuple[Network, ...]
    routes: tuple[Route, ...]
    site: PhysicalNetwork | None = None


def compartment(policy: Policy, vm: Vm, leg: Leg) -> Compartment:
    """The compartment of a gateway: the rest of the tenant is behind the router, and everything else is outside."""
    tenant = policy.tenant_of(vm)
    inside = tuple(prefix for subnet in policy.subnets if subnet.tenant == tenant for prefix in subnet.prefixes)
    inward = tuple(_inward(policy, vm, inside))
    if leg.mode is GatewayMode.SITE_TO_SITE:  # nothing leaves but by the tunnel
        return Compartment(leg, inside, inward, policy.physical_network(leg.to))
    return Compartment(leg, inside, (*inward, *_outward(policy, leg)))


def attached_to(policy: Policy, leg: Leg) -> str:
    """The physical network that a gateway's leg is plugged into."""
    return policy.physical_network(leg.to).behind or leg.to


def gateway_of(policy: Policy, site: PhysicalNetwork) -> Vm | None:
    """The gateway of the tenant whose site it is."""
    return next((vm for vm in policy.vms if vm.leg and vm.leg.to == site.name), None)


@dataclass(frozen=True)
class Peer:
    """The far end of a tunnel: the node, its address outside, and the prefixes behind it."""

    name: str
    endpoint: Address
    beyond: tuple[Network, ...]


def peer_of_gateway(leg: Leg, site: PhysicalNetwork) -> Peer:
    """The far end of a gateway's tunnel to a site."""
    return Peer(site.name, next(own.ip for own in site.at if leg.address(own.version)), site.prefixes)


def peer_of_site(policy: Policy, site: PhysicalNetwork) -> Peer | None:
    """The far end of a site's tunnel to its tenant's gateway, if there is one."""
    vm = gateway_of(policy, site)
    if vm is None or vm.leg is None:
        return None
    versions = {own.version for own in site.at}
    endpoint = next(own.ip for own in vm.leg.addresses if own.version in versions)
    return Peer(vm.name, endpoint, compartment(policy, vm, vm.leg).inside)


def routes_in(policy: Policy, network: PhysicalNetwork) -> tuple[Route, ...]:
    """The routes that a physical network's host has to tenants: those behind gateways that do not translate."""
    return tuple(
        Route(prefix, next_hop)
        for vm in policy.vms
        if vm.leg and vm.leg.to == network.name and vm.leg.mode is GatewayMode.FORWARD
        for prefix in compartment(policy, vm, vm.leg).inside
        if (next_hop := vm.leg.address(prefix.version))
    )


def _inward(policy: Policy, vm: Vm, inside: tuple[Network, ...]) -> Iterator[Route]:
    routers = {address.version: address for address in policy.gateways_of(vm)}
    beyond = [prefix for prefix in inside if prefix not in policy.subnet(vm.subnet).prefixes]
    yield from (Route(prefix, routers[prefix.version]) for prefix in beyond if prefix.version in routers)


def _outward(policy: Policy, leg: Leg) -> Iterator[Route]:
    for address in policy.physical_network(leg.to).addresses:
        if leg.address(address.version):
            yield Route(DEFAULT[address.version], address.ip)
