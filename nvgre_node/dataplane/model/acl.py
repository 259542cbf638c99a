"""Whether a port's access control list lets a frame pass: the first rule that matches decides. Pure.

What rules are about, and what becomes of packets that cannot be read, is in `nvgre_node.acl`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nvgre_node.acl import ALL_PORTS, PORT_PROTOCOLS, Action, Direction, Rule
from nvgre_node.dataplane.model.headers import ICMPV6, ethertype
from nvgre_node.dataplane.model.inner import read
from nvgre_node.policy import Network
from nvgre_node.wire import ETHERTYPE_IPV4, ETHERTYPE_IPV6

ADDRESS_RESOLUTION = frozenset({135, 136})  # neighbour solicitation and advertisement,
ND_HOP_LIMIT = 255  # which a receiver takes from its own link only (RFC 4861 section 7.1)


@dataclass(frozen=True)
class Fields:
    """What rules ask of a packet. What cannot be read of it is None."""

    version: int
    source: bytes | None
    destination: bytes | None
    protocol: int | None
    ports: tuple[int, int] | None


def denies(rules: Iterable[Rule], direction: Direction, frame: bytes) -> bool:
    """Whether a list stops a frame in one direction."""
    version = {ETHERTYPE_IPV4: 4, ETHERTYPE_IPV6: 6}.get(ethertype(frame))
    if version is None or _is_address_resolution(frame):
        return False
    fields = _fields(version, frame)
    for rule in rules:
        matches = _matches(rule, fields) if rule.direction is direction else False
        if matches or (matches is None and rule.action is Action.DENY):
            return rule.action is Action.DENY
    return False


def _is_address_resolution(frame: bytes) -> bool:
    packet = read(frame)
    if packet is None or packet.protocol != ICMPV6 or packet.at is None or ethertype(frame) != ETHERTYPE_IPV6:
        return False
    return frame[21] == ND_HOP_LIMIT and bool(ADDRESS_RESOLUTION & set(frame[packet.at :][:1]))


def _fields(version: int, frame: bytes) -> Fields:
    packet = read(frame)
    if packet is None:
        return Fields(version, None, None, None, None)
    ports = None
    if packet.protocol in PORT_PROTOCOLS and packet.at is not None and packet.at + 4 <= len(frame):
        source, destination = frame[packet.at : packet.at + 2], frame[packet.at + 2 : packet.at + 4]
        ports = int.from_bytes(source, "big"), int.from_bytes(destination, "big")
    return Fields(version, packet.source, packet.destination, packet.protocol, ports)


def _matches(rule: Rule, fields: Fields) -> bool | None:
    """Whether a rule matches a packet; None where that cannot be known."""
    answers = (
        rule.version in (None, fields.version),
        _in(rule.source, fields.source),
        _in(rule.destination, fields.destination),
        _is(rule.protocol, fields.protocol),
        _between(rule.source_ports, fields.ports and fields.ports[0]),
        _between(rule.destination_ports, fields.ports and fields.ports[1]),
    )
    return False if False in answers else None if None in answers else True


def _in(prefix: Network | None, address: bytes | None) -> bool | None:
    if prefix is None or prefix.prefixlen == 0:
        return True
    if address is None or len(address) != len(prefix.network_address.packed):
        return None
    bits = 8 * len(address) - prefix.prefixlen
    return int.from_bytes(address, "big") >> bits == int(prefix.network_address) >> bits


def _is(wanted: int | None, protocol: int | None) -> bool | None:
    return True if wanted is None else None if protocol is None else wanted == protocol


def _between(ports: tuple[int, int], port: int | None) -> bool | None:
    return True if ports == ALL_PORTS else None if port is None else ports[0] <= port <= ports[1]
