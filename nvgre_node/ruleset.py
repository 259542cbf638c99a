"""What a gateway's packet filter lets pass and translates, as nftables reads it in JSON (libnftables-json(5)). Pure.

All that is not the tenant's own is dropped: a gateway validates before it forwards (RFC 7637 section 4.6).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from nvgre_node.choices import GatewayMode
from nvgre_node.outside import INSIDE, OUTSIDE, TUNNEL, Compartment, PhysicalNetwork, PortForwarding

if TYPE_CHECKING:
    from nvgre_node.policy import Network

Expression = dict[str, Any]

_TABLE = {"family": "inet", "table": "gateway"}
_FORWARD, _INPUT, _SOURCE, _DESTINATION = "forward", "input", "source", "destination"
_ACCEPT: Expression = {"accept": None}
_IP = {4: "ip", 6: "ip6"}


def ruleset(compartment: Compartment) -> dict[str, list[Expression]]:
    """The commands that make an empty namespace's filter that of this compartment."""
    chains = [_chain(_FORWARD, "filter", "forward", 0, policy="drop")]
    rules = [(_FORWARD, [_state("established", "related"), _ACCEPT])]
    beyond = TUNNEL if compartment.site else OUTSIDE
    rules += [(_FORWARD, [*_passing(INSIDE, beyond), _is("saddr", own), _ACCEPT]) for own in compartment.inside]
    if compartment.leg.mode is GatewayMode.NAT:
        chains += [_chain(_SOURCE, "nat", "postrouting", 100), _chain(_DESTINATION, "nat", "prerouting", -100)]
        rules += _translation(compartment)
    else:
        rules += [(_FORWARD, [*_passing(beyond, INSIDE), _is("daddr", own), _ACCEPT]) for own in compartment.inside]
    if compartment.leg.mode is not GatewayMode.FORWARD:
        chains.append(_INPUT_CHAIN)
        rules += _unreachable(compartment.inside)
    return _commands(chains, rules)


def site_ruleset(site: PhysicalNetwork) -> dict[str, list[Expression]]:
    """The same for the gateway of a tenant's site: from outside, it is at its address outside only."""
    return _commands([_INPUT_CHAIN], list(_unreachable(site.prefixes)))


def _commands(chains: list[Expression], rules: list[tuple[str, list[Expression]]]) -> dict[str, list[Expression]]:
    commands = [{"table": {"family": "inet", "name": "gateway"}}, *chains]
    commands += [{"rule": {**_TABLE, "chain": chain, "expr": parts}} for chain, parts in rules]
    return {"nftables": [{"add": command} for command in commands]}


def _unreachable(prefixes: Iterable[Network]) -> Iterator[tuple[str, list[Expression]]]:
    """Linux would answer at any interface for all of its addresses: at the leg, not for those inside."""
    for own in prefixes:
        yield _INPUT, [_match("==", {"meta": {"key": "iifname"}}, OUTSIDE), _is("daddr", own), {"drop": None}]


def _translation(compartment: Compartment) -> Iterator[tuple[str, list[Expression]]]:
    """What goes out gets the leg's address; what comes in to a forwarded port gets that of a VM (X5)."""
    yield _FORWARD, [*_passing(OUTSIDE, INSIDE), _match("in", {"ct": {"key": "status"}}, "dnat"), _ACCEPT]
    yield _SOURCE, [_match("==", {"meta": {"key": "oifname"}}, OUTSIDE), {"masquerade": None}]
    for forwarding in compartment.leg.forwarded:
        yield _DESTINATION, _forwarded(compartment, forwarding)


def _forwarded(compartment: Compartment, forwarding: PortForwarding) -> list[Expression]:
    version = forwarding.to.version
    own = str(compartment.leg.address(version))
    port = {"payload": {"protocol": str(forwarding.transport), "field": "dport"}}
    return [
        _match("==", {"meta": {"key": "iifname"}}, OUTSIDE),
        _match("==", {"payload": {"protocol": _IP[version], "field": "daddr"}}, own),
        _match("==", port, forwarding.port),
        {"dnat": {"family": _IP[version], "addr": str(forwarding.to), "port": forwarding.to_port}},
    ]


def _chain(name: str, kind: str, hook: str, priority: int, policy: str = "accept") -> Expression:
    return {"chain": {**_TABLE, "name": name, "type": kind, "hook": hook, "prio": priority, "policy": policy}}


_INPUT_CHAIN = _chain(_INPUT, "filter", "input", 0)


def _passing(source: str, destination: str) -> list[Expression]:
    ends = (("iifname", source), ("oifname", destination))
    return [_match("==", {"meta": {"key": key}}, interface) for key, interface in ends]


def _is(field: str, prefix: Network) -> Expression:
    """A match of an address in a prefix."""
    left = {"payload": {"protocol": _IP[prefix.version], "field": field}}
    return _match("==", left, {"prefix": {"addr": str(prefix.network_address), "len": prefix.prefixlen}})


def _state(*states: str) -> Expression:
    return _match("in", {"ct": {"key": "state"}}, list(states))


def _match(operator: str, left: Expression, right: object) -> Expression:
    return {"match": {"op": operator, "left": left, "right": right}}
