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

INSIDE, OUTSIDE = "eth0", "outside"
"""A compartment's interfaces: its port of the NVE, and its leg."""

DEFAULT: dict[int, Network] = {4: IPv4Network((0, 0)), 6: IPv6Network((0, 0))}
"""The prefix of everything, by IP version."""


@dataclass(frozen=True)
class PhysicalNetwork:
    """A network beyond the overlay: one segment, on which a host with these addresses answers."""

    name: str
    addresses: tuple[Interface, ...]


@dataclass(frozen=True)
class PortForwarding:
    """Connections to a port of a gateway's outside address go to a port of a tenant's VM."""

    port: int
    to: Address
    to_port: int
    transport: Transport = Transport.TCP


@dataclass(frozen=True)
class Leg:
    """A gateway's leg in the physical network `to`: its addresses there, and what it does with what passes."""

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


def compartment(policy: Policy, vm: Vm, leg: Leg) -> Compartment:
    """The compartment of a gateway: the rest of the tenant is behind the router, and everything else is outside."""
    tenant = policy.tenant_of(vm)
    inside = tuple(prefix for subnet in policy.subnets if subnet.tenant == tenant for prefix in subnet.prefixes)
    return Compartment(leg, inside, (*_inward(policy, vm, inside), *_outward(policy, leg)))


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
