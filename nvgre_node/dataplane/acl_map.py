"""The access control lists of ports as the BPF programs read them: the layouts of `acls` in bpf/policy.h."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from nvgre_node.acl import MAX_RULES, Action, Direction, Rule
from nvgre_node.policy import Network, Port

_KEY = struct.Struct("=III")
_COUNT = struct.Struct("=I")
_RULE = struct.Struct("=BBH2H2H16s16s16s16s")
_ANY_PROTOCOL = 0xFFFF


def entries(port: Port, ifindex: int) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a port, for each direction in which it has rules."""
    for direction in Direction:
        if rules := [rule for rule in port.acl if rule.direction is direction]:
            yield key(ifindex, port.vid, direction), packed(rules)


def key(ifindex: int, vid: int | None, direction: Direction) -> bytes:
    """A `struct acl_key`."""
    return _KEY.pack(ifindex, vid or 0, list(Direction).index(direction))


def packed(rules: Sequence[Rule]) -> bytes:
    """A `struct acl`. Raises ValueError for more than MAX_RULES rules."""
    if len(rules) > MAX_RULES:
        raise ValueError(f"a port has {len(rules)} rules in one direction, and {MAX_RULES} are the most")
    return _COUNT.pack(len(rules)) + b"".join(map(_rule, rules)).ljust(MAX_RULES * _RULE.size, b"\0")


def _rule(rule: Rule) -> bytes:
    return _RULE.pack(
        rule.action is Action.DENY,
        rule.version or 0,
        _ANY_PROTOCOL if rule.protocol is None else rule.protocol,
        *rule.source_ports,
        *rule.destination_ports,
        *_prefix(rule.source),
        *_prefix(rule.destination),
    )


def _prefix(prefix: Network | None) -> tuple[bytes, bytes]:
    """Address and mask; both zero match every address."""
    return (prefix.network_address.packed, prefix.netmask.packed) if prefix else (b"", b"")
