"""A scenario as its file could say it, with everything written out that may be left to defaults: loading's inverse.

It starts from the policy and the fabric, so that it does not matter how the file came by them. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nvgre_node.acl import ALL_PORTS, PROTOCOLS, Action, Rule
from nvgre_node.choices import Implementation, Vendor
from nvgre_node.deviations import IMITATIONS, Imitation
from nvgre_node.errors import BadInputError
from nvgre_node.fabric import Fabric
from nvgre_node.outside import Leg, PhysicalNetwork
from nvgre_node.policy import Nve, Policy, VirtualSubnet, Vm
from nvgre_node.routing import RoutingDomain
from nvgre_node.wire import OVERHEAD
from topologies.expectation import Expectation
from topologies.scenario import Scenario
from topologies.schema import NvePart

Data = dict[str, Any]
"""Plain data of the scenario language: mappings, lists, text, numbers."""

CHOICES = tuple(name for name in NvePart.model_fields if name not in {"deviations", "imitate"})
"""The fields of an NVE that `nve` says for all of them."""


class NotWritableError(BadInputError):
    """No file says this: the scenario was changed since it was loaded."""


def written(scenario: Scenario) -> Data:
    """The data of a file that loads as this scenario: equal in policy, fabric, tenants' MTU and what is expected."""
    policy, fabric = scenario.policy, scenario.fabric
    data: Data = {"name": scenario.name, "title": scenario.title}
    if scenario.about:
        data["about"] = scenario.about + "\n"
    data["mtu"] = _mtu(scenario)
    choices = _shared_choices(policy)
    data["nve"] = {name: plain(value) for name, value in choices.items()}
    data["hosts"] = {nve.host: _host(nve, choices) for nve in policy.nves}
    data["routers"] = _routers(fabric)
    ends = [(link.a.node, link.b.node) for link in fabric.links]
    data["links"] = [list(pair) for pair in ends if not set(pair) & set(fabric.routers)]
    data["multipath"] = {router: plain(mode) for router, mode in fabric.multipath.items()}
    data["servers"] = {name: {"host": vms[0].host} for name, vms in policy.servers.items()}
    data["outside"] = {network.name: _outside(network) for network in policy.outside}
    tenants = dict.fromkeys(subnet.tenant for subnet in policy.subnets)
    data["tenants"] = {tenant: _tenant(policy, tenant) for tenant in tenants}
    data["faults"] = list(faults(policy))
    data["expect"] = [_expectation(own) for own in scenario.expect]
    return {key: value for key, value in data.items() if value not in ({}, [])}


def plain(value: object) -> Any:
    """A value of the policy as plain data: numbers and truth as they are, everything else as text."""
    if isinstance(value, bool) or value is None or type(value) is int:
        return value
    if isinstance(value, Mapping):
        return {plain(key): plain(entry) for key, entry in value.items()}
    return str(value)


def _mtu(scenario: Scenario) -> Data:
    needed = scenario.tenant_mtu + max(OVERHEAD[pa.version] for nve in scenario.policy.nves for pa in nve.pas)
    underlay = scenario.fabric.mtu
    return {"underlay": underlay, "tenant": scenario.tenant_mtu, "undersized": underlay < needed}


def _shared_choices(policy: Policy) -> Data:
    """What every NVE chooses alike; the rest is what some of them imitate."""
    first, *others = policy.nves
    return {
        name: getattr(first, name)
        for name in CHOICES
        if all(getattr(nve, name) == getattr(first, name) for nve in others)
    }


def _host(nve: Nve, shared: Data) -> Data:
    made: Data = {"pa": [str(pa) for pa in nve.pas]}
    if nve.vendor is not Vendor.OURS:
        made["vendor"] = plain(nve.vendor)
    made |= {key: value for key in ("vlan", "dataplane") if (value := getattr(nve, key)) is not None}
    imitated = _imitated(nve, shared)
    if imitated:
        made["imitate"] = plain(imitated)
    if nve.deviations or imitated:
        made["deviations"] = sorted(map(str, nve.deviations))
    return made


def _imitated(nve: Nve, shared: Data) -> Implementation | None:
    """Whom an NVE must imitate for what it does otherwise than others where the rules leave a choice."""
    open_choices = [name for name in CHOICES if name not in shared]
    candidates: list[tuple[Implementation | None, Imitation]] = [(None, Imitation(frozenset())), *IMITATIONS.items()]
    for name, imitation in candidates:
        defaults = {key: imitation.choices.get(key, NvePart.model_fields[key].default) for key in open_choices}
        if imitation.deviations <= nve.deviations and all(getattr(nve, key) == defaults[key] for key in open_choices):
            return name
    choices = ", ".join(open_choices)
    raise NotWritableError(f"no scenario file lets {nve.host} alone choose otherwise in: {choices}")


def _routers(fabric: Fabric) -> Data:
    legs: Data = {router: {} for router in fabric.routers}
    for link in fabric.links:
        for own, far in (link.ends, link.ends[::-1]):
            if own.node in legs:
                legs[own.node][far.node] = [str(address) for address in own.addresses]
    return legs


def _outside(network: PhysicalNetwork) -> Data:
    made: Data = {"address": [str(address) for address in network.addresses]}
    if network.behind:
        made |= {"behind": network.behind, "at": [str(address) for address in network.at]}
    return made


def _tenant(policy: Policy, tenant: str) -> Data:
    domain = policy.domain(tenant)
    made: Data = {"router": domain is not None}
    if domain and domain.routes:
        made["routes"] = list(_routes(domain))
    made["subnets"] = {subnet.name: _subnet(subnet) for subnet in policy.subnets if subnet.tenant == tenant}
    vms = {node: _vm(own) for node, own in policy.machines.items() if policy.tenant_of(own[0]) == tenant}
    return made | ({"vms": vms} if vms else {})


def _routes(domain: RoutingDomain) -> Iterator[Data]:
    for route in domain.routes:
        yield {"to": str(route.prefix), "via": str(route.next_hop), "metric": route.metric}


def _subnet(subnet: VirtualSubnet) -> Data:
    made: Data = {"vsid": subnet.vsid, "prefixes": [str(prefix) for prefix in subnet.prefixes]}
    if subnet.groups.default:
        made["group"] = str(subnet.groups.default)
    if subnet.groups.inner:
        made["groups"] = {str(inner): str(outer) for inner, outer in subnet.groups.inner}
    return made | ({"acl": [_rule(rule) for rule in subnet.acl]} if subnet.acl else {})


def _vm(places: tuple[Vm, ...]) -> Data:
    """A VM; on a trunk port with what it is under each VLAN id."""
    vm, made = places[0], Data()
    vlans = {own.vid: _place(own) for own in places if own.vid is not None}
    made |= next((_place(own) for own in places if own.vid is None), {})
    made |= {"host": vm.behind.port, "vlan": vm.behind.vid} if vm.behind else {"host": vm.host}
    if vlans:
        made["trunk"] = vlans
    made |= {"mac": vm.mac, "record": plain(vm.record)}
    if vm.pa:
        made["pa"] = str(vm.pa)
    if vm.leg:
        made["gateway"] = _leg(vm.leg)
    return made | ({"acl": [_rule(rule) for rule in vm.acl]} if vm.acl else {})


def _place(vm: Vm) -> Data:
    return {"subnet": vm.subnet, "ca": [str(ca.ip) for ca in vm.cas]}


def _leg(leg: Leg) -> Data:
    made: Data = {"to": leg.to, "address": [str(address) for address in leg.addresses], "mode": plain(leg.mode)}
    forwarded = [
        {"port": own.port, "to": _endpoint(str(own.to), own.to_port), "transport": plain(own.transport)}
        for own in leg.forwarded
    ]
    return made | ({"forward": forwarded} if forwarded else {})


def _endpoint(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _rule(rule: Rule) -> Data:
    made: Data = {"allow" if rule.action is Action.ALLOW else "deny": plain(rule.direction)}
    if rule.protocol is not None:
        made["protocol"] = next((n for n, number in PROTOCOLS.items() if number == rule.protocol), rule.protocol)
    ends = (("source", rule.source, rule.source_ports), ("destination", rule.destination, rule.destination_ports))
    for name, prefix, (first, last) in ends:
        if prefix:
            made[name] = str(prefix)
        if (first, last) != ALL_PORTS:
            made[f"{name}_port"] = first if first == last else f"{first}-{last}"
    return made


def faults(policy: Policy) -> Iterator[Data]:
    """The wrong lookup records, as a file says them."""
    for vsid, mac, target in dict.fromkeys((r.vsid, r.mac, r.vm) for r in policy.overrides):
        wrong = next(vm for vm in policy.vms if (policy.vsid_of(vm), vm.mac) == (vsid, mac))
        yield {"subnet": wrong.subnet, "record_of": wrong.name, "points_to": target}


def _expectation(own: Expectation) -> Data:
    made: Data = {"from": list(own.sources), "to": list(own.destinations), "by": str(own.way), "reaches": own.reaches}
    if own.mtu:
        made["mtu"] = own.mtu
    if own.via is not None:
        made["via"] = [step[0] if len(step) == 1 else list(step) for step in own.via]
    return made
