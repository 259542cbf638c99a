"""Multicast groups of the underlay that carry broadcasts of virtual subnets (RFC 7637 section 4.2). Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network, IPv6Address

Address = IPv4Address | IPv6Address

_SCOPED = IPv4Network("239.0.0.0/8")
_SCOPES = frozenset({4, 5, 8})  # RFC 4291 section 2.7, RFC 7346: admin-local, site-local, organization-local
_FLAGS = frozenset({0, 1})  # well-known or transient; R and P put more into the address than a group


def is_administratively_scoped(group: Address) -> bool:
    """Whether an address is a group that an administrator may give away (B1): RFC 2365, RFC 4291 section 2.7."""
    if isinstance(group, IPv4Address):
        return group in _SCOPED
    first, second = group.packed[:2]
    return first == 0xFF and second >> 4 in _FLAGS and second & 0xF in _SCOPES


def ascending(addresses: Iterable[Address]) -> tuple[Address, ...]:
    """Addresses in order, those of IPv4 first."""
    return tuple(sorted(addresses, key=lambda address: (address.version, int(address))))


def group_mac(group: Address) -> bytes:
    """The MAC address of a multicast group (RFC 1112 section 6.4, RFC 2464 section 7). Many groups share one."""
    if isinstance(group, IPv4Address):
        return b"\x01\x00\x5e" + (int(group) & 0x7FFFFF).to_bytes(3, "big")
    return b"\x33\x33" + group.packed[-4:]


@dataclass(frozen=True)
class SubnetGroups:
    """The groups that a virtual subnet has in the underlay (B1); without any, it has N-way unicast (B5).

    `default` is for all that has no group of its own (B2); `inner` pairs a group of the tenant's with its own (B3).
    Several virtual subnets may share a group (B4).
    """

    default: Address | None = None
    inner: tuple[tuple[Address, Address], ...] = ()

    @cached_property
    def outer(self) -> frozenset[Address]:
        """Every group of the underlay: the NVEs of the subnet join them."""
        own = {self.default} if self.default else set()
        return frozenset(own | {group for _, group in self.inner})

    @cached_property
    def by_mac(self) -> dict[bytes, Address]:
        """The groups of the underlay by the inner group's MAC address, which is what an NVE sees of it."""
        return {group_mac(inner): group for inner, group in self.inner}

    def carrying(self, mac: bytes) -> Address | None:
        """The group that carries frames to a MAC address, or None for N-way unicast."""
        return self.by_mac.get(mac, self.default)


NO_GROUPS = SubnetGroups()
"""N-way unicast."""
