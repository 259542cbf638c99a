"""Which records decide where a packet goes, and why: as Select-NetVirtualizationNextHop says it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from nvgre_node import acl, routing
from nvgre_node.acl import Direction
from nvgre_node.choices import GatewayMode, PaChoice, RecordType
from nvgre_node.groups import group_mac
from nvgre_node.policy import Address, LookupRecord, Policy, UnknownNameError, Vm
from nvgre_node.routing import ROUTER_MAC


@dataclass(frozen=True)
class Step:
    """One decision on a packet's way: what was looked at, what it said, and the record or clause behind it."""

    what: str
    result: str
    because: str


def explain(policy: Policy, source: str, destination: str) -> tuple[Step, ...]:
    """Which records decide where a packet from a VM to a CA (or to a VM by name) goes, and why.

    Raises:
        UnknownNameError: no VM is called `source`, or `destination` is neither an address nor a VM's name.
    """
    sender = policy.vm(source)
    target = address_of(policy, source, destination)
    vsid = policy.vsid_of(sender)
    port = Step(f"port {sender.name} on {sender.host}", f"VSID {vsid} (0x{vsid:06x})", f"subnet {sender.subnet}")
    asked = f"record (VSID {vsid}, CA {target})"
    record = policy.record(vsid, target) or _gateway(policy, sender, target)
    leaving = _acl_step(policy, sender, Direction.OUT, sender, target)
    if any(step.result == acl.DENIES_EVERYTHING for step in leaving):
        return port, *leaving
    if target.is_multicast:
        return port, *leaving, _replication(policy, sender, target)
    if policy.gateways_of(sender) and not _is_on_link(policy, sender, target):
        return port, *leaving, *_explain_routed(policy, sender, target)
    if record is None:
        return port, *leaving, _unknown(policy, sender, target, asked)
    behind = "gateway_wildcard: any CA may be behind it" if record.ca != target else ""
    reason = _elsewhere(policy, sender, target) or behind or "U1, T8"
    found = Step(asked, f"{record.vm}, MAC {record.mac}, PA {record.pa}", reason)
    entering = _acl_step(policy, policy.vm(record.vm), Direction.IN, sender, target)
    way = (*_crossing(policy, sender, record), _arrival(policy, sender, record), *entering)
    return port, *leaving, found, *way, *_outside(policy, policy.vm(record.vm), target)


def address_of(policy: Policy, source: str, destination: str) -> Address:
    """The CA that a destination is for a VM: an address, or that of a VM by name. Raises as `explain`."""
    return _address(destination) or _address_of(policy, policy.vm(source), destination)


def _arrival(policy: Policy, sender: Vm, record: LookupRecord) -> Step:
    here = policy.nve(sender.host)
    if record.pa in here.pas_of(record.pa.version):
        return Step("delivery", f"port {record.vm} on {sender.host}, never on the wire", "same provider host")
    key = f"20 00 65 58 {record.deliver_vsid.to_bytes(3, 'big').hex(' ')} + FlowID"
    outer = f"outer IPv{record.pa.version} {_source(policy, sender, record.pa)} -> {record.pa}, protocol 47"
    return Step(outer, f"GRE {key}", "O1, G5")


def _is_on_link(policy: Policy, sender: Vm, ca: Address) -> bool:
    return any(ca in prefix for prefix in policy.subnet(sender.subnet).prefixes)


def _explain_routed(policy: Policy, sender: Vm, ca: Address) -> Iterator[Step]:
    """The steps of a packet that leaves its virtual subnet by the distributed router (T5, X6)."""
    gateway = next((str(own) for own in policy.gateways_of(sender) if own.version == ca.version), "none")
    yield Step("default gateway", f"the router, {gateway}, MAC {ROUTER_MAC}", f"{ca} is outside {sender.subnet}")
    tenant = policy.tenant_of(sender)
    route = routing.look_up(policy.routes, tenant, ca)
    if route is None:
        yield Step(f"route in {tenant}", "none: ICMP network unreachable", "X6: nothing leaves the routing domain")
        return
    way = f"via {route.next_hop}, metric {route.metric}," if route.next_hop else "on-link"
    yield Step(f"route in {tenant}", f"{route.prefix} {way} in VSID {route.vsid}", "X2" if route.next_hop else "T5")
    target = route.next_hop or ca
    asked = f"record (VSID {route.vsid}, CA {target})"
    record = policy.record(route.vsid, target)
    if record is None:
        own = target in {a for r in routing.interfaces(policy.subnets) if r.vsid == route.vsid for a in r.addresses}
        yield Step(asked, "the router itself" if own else "none: ICMP host unreachable", "X6")
        return
    yield Step(asked, f"{record.vm}, MAC {record.mac}, PA {record.pa}", "U1, T8")
    yield Step("inner frame", f"MAC {ROUTER_MAC} -> {record.mac}, TTL less 1", "X6: VSID of the destination")
    yield from _crossing(policy, sender, record)
    yield _arrival(policy, sender, record)
    yield from _acl_step(policy, policy.vm(record.vm), Direction.IN, sender, ca)
    yield from _outside(policy, policy.vm(record.vm), ca)


def _outside(policy: Policy, gateway: Vm, target: Address) -> Iterator[Step]:
    """What a gateway does with a packet to an address that is not its tenant's (X5)."""
    inside = [p for s in policy.subnets if s.tenant == policy.tenant_of(gateway) for p in s.prefixes]
    leg = gateway.leg
    if leg is None or any(target in prefix for prefix in inside):
        return
    tunnelled = leg.mode is GatewayMode.SITE_TO_SITE
    own = leg.addresses[0].ip if tunnelled else leg.address(target.version)
    what, way = f"gateway {gateway.name}", f"out to {leg.to} by {leg.mode}"
    if own is None:
        yield Step(what, f"none: no IPv{target.version} address in {leg.to}", "X5")
    elif leg.mode is GatewayMode.NAT:
        yield Step(what, f"{way}: its source is {own} there", "X5: answers to that address find their VM")
    elif tunnelled:
        at = ", ".join(str(end.ip) for end in policy.physical_network(leg.to).at)
        yield Step(what, f"{way}: in a tunnel, {own} -> {at}", "X1, X3: what is between sees the tunnel alone")
    else:
        yield Step(what, f"{way}: unchanged", f"D5: {leg.to} has a route back by way of {own}")


def _acl_step(policy: Policy, owner: Vm, direction: Direction, sender: Vm, target: Address) -> tuple[Step, ...]:
    """What the rules of a port say of packets to an address, if there are any for that direction."""
    rules = [(name, rule) for name, rule in policy.acl_of(owner) if rule.direction is direction]
    if not rules:
        return ()
    said, names = acl.summary(rules, sender.ca(target.version), target)
    return (Step(f"access control list of {owner.name}, {direction}", said, names),)


def _source(policy: Policy, sender: Vm, remote: Address) -> str:
    nve = policy.nve(sender.host)
    own = nve.pas_of(remote.version)
    if nve.pa_choice is PaChoice.FLOW and len(own) > 1:
        return f"one of {', '.join(map(str, own))}, by flow (E3),"
    pa = policy.pa_of(sender)
    return str(pa if pa in own else own[0])


def _of_type(policy: Policy, subnet: str, record: RecordType) -> list[Vm]:
    return [vm for vm in policy.vms if (vm.subnet, vm.record) == (subnet, record)]


def _gateway(policy: Policy, sender: Vm, ca: Address) -> LookupRecord | None:
    """The record of the gateway in the sender's subnet, for a CA that is outside of it."""
    gateways = _of_type(policy, sender.subnet, RecordType.GATEWAY_WILDCARD)
    if not gateways or _is_on_link(policy, sender, ca):
        return None
    return next(r for r in policy.records if (r.vsid, r.mac) == (policy.vsid_of(sender), gateways[0].mac))


def _unknown(policy: Policy, sender: Vm, ca: Address, asked: str) -> Step:
    """What becomes of a packet to a CA that no record knows."""
    if asking := [vm.name for vm in _of_type(policy, sender.subnet, RecordType.L2ONLY)]:
        return Step(asked, "none: everybody in the subnet is asked", f"l2only: {', '.join(asking)} may have it")
    return Step(asked, "none: dropped as unknown unicast", _elsewhere(policy, sender, ca) or "B6")


def _replication(policy: Policy, sender: Vm, target: Address) -> Step:
    """How a packet to a group of the tenant's travels."""
    nve, vsid, mac = policy.for_host(sender.host), policy.vsid_of(sender), group_mac(target)
    what = f"group {target}, MAC {mac.hex(':')}"
    if group := nve.group(vsid, mac):
        way = f"one copy, outer IPv{group.version} {_source(policy, sender, group)} -> {group}"
        return Step(what, way, "B3: has its own" if mac in nve.groups[vsid].by_mac else "B2")
    copies = ", ".join(map(str, nve.replicas[vsid])) or "none"
    return Step(what, f"a copy to each other NVE: {copies}", "B5: N-way unicast")


def _elsewhere(policy: Policy, sender: Vm, ca: Address) -> str:
    """Who has a CA in other virtual subnets: what a learner would otherwise take for a fault."""
    others = [vm.name for vm in policy.vms if vm.subnet != sender.subnet and ca in {own.ip for own in vm.cas}]
    return f"T4: in another virtual subnet, {', '.join(others)} has this CA" if others else ""


def _crossing(policy: Policy, sender: Vm, record: LookupRecord) -> tuple[Step, ...]:
    """The step from one virtual subnet into another, if the record takes it (X6, or a leak)."""
    if record.deliver_vsid == record.vsid:
        return ()
    owner = next(subnet for subnet in policy.subnets if subnet.vsid == record.deliver_vsid)
    tenant = policy.tenant_of(sender)
    verdict = "X6: inside the tenant" if owner.tenant == tenant else f"LEAK: {tenant} reaches {owner.tenant}"
    return (Step(f"virtual subnet of {record.vm}", f"VSID {owner.vsid} ({owner.name})", verdict),)


def _address_of(policy: Policy, sender: Vm, name: str) -> Address:
    vm = policy.vm(name)
    shared = next((ca.ip for ca in vm.cas if any(ca.version == own.version for own in sender.cas)), None)
    if shared is None:
        raise UnknownNameError(f"{name} and {sender.name} share no IP version")
    return shared


def _address(text: str) -> Address | None:
    for family in (IPv4Address, IPv6Address):
        try:
            return family(text)
        except ValueError:
            continue
    return None
