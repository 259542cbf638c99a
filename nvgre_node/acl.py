"""Access control lists: which packets of a tenant VM the provider carries. Pure.

Rules are tried in order, and the first that matches decides; where none does, the packet is allowed. They are
stateless: an answer needs a rule as its question does. They are about IP packets only: frames of other EtherTypes pass,
ARP among them, and so do neighbour solicitations and advertisements, which are to IPv6 what ARP is to IPv4.

Where a field that a rule asks for cannot be read (the ports in a later fragment, or what is behind more IPv6 extension
headers than an NVE reads), nothing is allowed by that rule, and everything denied that it could be about.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address

MAX_RULES = 64
"""How many rules one port may have, its virtual subnet's included (bpf/policy.h)."""

PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "icmpv6": 58, "sctp": 132}
"""IP protocol numbers by name."""

PORT_PROTOCOLS = frozenset({6, 17, 132})
"""The protocols that have ports: TCP, UDP, SCTP."""

ALL_PORTS = (0, 65535)


class Action(StrEnum):
    """What becomes of a packet that a rule matches."""

    ALLOW = "allow"
    DENY = "deny"

    @property
    def done(self) -> str:
        """What then has happened to the packet: `allowed`, `denied`."""
        return {"allow": "allowed", "deny": "denied"}[self]


class Direction(StrEnum):
    """Where a packet goes, as the VM sees it: in to it, or out of it."""

    IN = "in"
    OUT = "out"


@dataclass(frozen=True)
class Rule:
    """One rule. A field that is None, and the range of all ports, match everything; ranges include both ends."""

    action: Action
    direction: Direction
    protocol: int | None = None
    source: IPv4Network | IPv6Network | None = None
    source_ports: tuple[int, int] = ALL_PORTS
    destination: IPv4Network | IPv6Network | None = None
    destination_ports: tuple[int, int] = ALL_PORTS

    @property
    def version(self) -> int | None:
        """The IP version that its addresses are of, or None where it has none: then it is about both."""
        prefix = self.source or self.destination
        return prefix.version if prefix else None

    def is_about(self, source: Address | None, destination: Address) -> bool:
        """Whether its addresses match; a source that is None is unknown, and may be any."""
        if self.version not in (None, destination.version):
            return False
        from_there = source is None or self.source is None or source in self.source
        return from_there and (self.destination is None or destination in self.destination)

    @property
    def what(self) -> str:
        """The protocol and ports that it asks for, in words: `tcp to port 443`; empty where it asks for none."""
        if self.protocol is None:
            return ""
        name = next((name for name, number in PROTOCOLS.items() if number == self.protocol), f"IP {self.protocol}")
        return " ".join((name, *_ports("from", self.source_ports), *_ports("to", self.destination_ports)))


def _ports(word: str, ports: tuple[int, int]) -> tuple[str, ...]:
    first, last = ports
    if ports == ALL_PORTS:
        return ()
    return (f"{word} port {first}",) if first == last else (f"{word} ports {first} to {last}",)


DENIES_EVERYTHING = "everything: denied"


def summary(rules: Iterable[tuple[str, Rule]], source: Address | None, destination: Address) -> tuple[str, str]:
    """What rules, each with a name, say of packets between two addresses, and which of them say it.

    Such as `tcp to port 443: allowed; all else: denied` and `web.acl[0], web.acl[1]`.
    """
    said, names = list[str](), list[str]()
    for name, rule in rules:
        if not rule.is_about(source, destination):
            continue
        names.append(name)
        said.append(f"{rule.what or _rest(said)}: {rule.action.done}")
        if not rule.what:  # what stands behind it is never tried
            return "; ".join(said), ", ".join(names)
    said.append(f"{_rest(said)}: {Action.ALLOW.done}")
    return "; ".join(said), ", ".join(names) or "no rule is about these addresses"


def _rest(said: list[str]) -> str:
    return "all else" if said else "everything"
