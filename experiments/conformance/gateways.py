"""Gateways: what two tenants with equal addresses look like outside, and what of the answers finds its way back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface

from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from experiments.conformance import routing
from experiments.conformance.lab import DEAD, NOBODY, Lab, Shot, distinct, is_marked, mark
from experiments.conformance.rows import Finding
from experiments.watch import Sighting
from nvgre_node.choices import GatewayMode, RecordType
from nvgre_node.outer import Outer, outer_of
from nvgre_node.outside import Leg, PhysicalNetwork, PortForwarding
from nvgre_node.policy import Policy, Vm
from nvgre_node.routing import ROUTER_MAC
from topologies import Scenario

_HOST = IPv4Interface("192.0.2.1/24")
AT_HOME = IPv4Interface("198.51.100.5/24")
_NO_CA = "172.16.0.1"
_UDP, _DATA, _EMPTY_BYTES = 17, b"\x04", 32  # of WireGuard: the type of what carries data, and without any
_PORT, _CLOSED_PORT, _TO_PORT = 8080, 8081, 80


def translating(scenario: Scenario) -> Scenario:
    """A variant with two routed tenants of equal addresses, and an Internet gateway that has a compartment for each."""
    variant = routing.joined(scenario)
    policy = variant.policy
    internet = PhysicalNetwork(_free_name(variant), (_HOST,))
    legs = {vm.name: _leg(policy, vm, internet, 11 + n) for n, vm in enumerate(_gateways(policy))}
    vms = tuple(replace(vm, leg=legs.get(vm.name)) for vm in policy.vms)
    return replace(variant, policy=replace(policy, vms=vms, outside=(internet,)))


def forwarding(scenario: Scenario) -> Scenario:
    """A variant in which one of two routed tenants has a gateway that forwards without translation."""
    variant = translating(scenario)
    first = _gateways(variant.policy)[0]
    leg = replace(first.leg, mode=GatewayMode.FORWARD, forwarded=()) if first.leg else None
    vms = tuple(replace(vm, leg=leg if vm == first else None) for vm in variant.policy.vms)
    return replace(variant, policy=replace(variant.policy, vms=vms))


def cross_premise(scenario: Scenario) -> Scenario:
    """A variant in which two routed tenants of equal addresses have sites, of equal addresses too (figure 2)."""
    variant = translating(scenario)
    (internet,) = variant.policy.outside
    sites, legs = [], {}
    for number, vm in enumerate(_gateways(variant.policy)):
        at = IPv4Interface(f"{_HOST.network[66 + number]}/24")
        name = f"{variant.policy.tenant_of(vm)}_hq"
        sites.append(PhysicalNetwork(name, (AT_HOME,), behind=internet.name, at=(at,)))
        if vm.leg:
            legs[vm.name] = replace(vm.leg, to=name, mode=GatewayMode.SITE_TO_SITE, forwarded=())
    vms = tuple(replace(vm, leg=legs.get(vm.name)) for vm in variant.policy.vms)
    return replace(variant, policy=replace(variant.policy, vms=vms, outside=(internet, *sites)))


def _free_name(scenario: Scenario) -> str:
    """A name that none of the scenario's nodes has."""
    taken = {*scenario.fabric.routers, *(nve.host for nve in scenario.policy.nves)}
    return next(name for name in ("internet", *(f"outside{n}" for n in range(len(taken)))) if name not in taken)


def _gateways(policy: Policy) -> list[Vm]:
    return [vm for vm in policy.vms if vm.record is RecordType.GATEWAY_WILDCARD]


def _leg(policy: Policy, vm: Vm, network: PhysicalNetwork, last: int) -> Leg:
    """A leg that translates; a port of its address is that of the tenant's first VM."""
    tenant = policy.tenant_of(vm)
    server = next(other.ca(4) for other in policy.vms if policy.tenant_of(other) == tenant)
    forwarded = (PortForwarding(_PORT, server, _TO_PORT),) if server else ()
    return Leg(network.name, (IPv4Interface(f"{_HOST.network[last]}/24"),), GatewayMode.NAT, forwarded)


def borders(policy: Policy) -> Iterator[tuple[Vm, Vm, IPv4Address]]:
    """Per tenant, its first VM, its gateway, and the gateway's address outside."""
    for gateway in _gateways(policy):
        tenant = policy.tenant_of(gateway)
        vm = next(vm for vm in policy.vms if policy.tenant_of(vm) == tenant)
        own = gateway.leg.address(4) if gateway.leg else None
        if isinstance(own, IPv4Address):
            yield vm, gateway, own


def translated(lab: Lab) -> Iterator[Finding]:
    """X5: tenants with equal addresses have different ones outside, and each gets its own answers."""
    for vm, gateway, address in borders(lab.policy):
        yield from _asked(lab, "X5", vm, gateway, str(address))


def routed(lab: Lab) -> Iterator[Finding]:
    """D5: a gateway with a routed physical side mediates: packets pass unchanged, and the answers find their way."""
    for vm, gateway, _ in borders(lab.policy):
        yield from _asked(lab, "D5", vm, gateway, str(vm.ca(4)))


def _asked(lab: Lab, row: str, vm: Vm, gateway: Vm, known_as: str) -> Iterator[Finding]:
    """A VM asks the host outside, which knows it by some address."""
    request = IP(src=str(vm.ca(4)), dst=str(_HOST.ip)) / ICMP(id=7637, seq=1) / mark()
    frame = Ether(src=vm.mac, dst=ROUTER_MAC) / request
    (shot,) = lab.say(frame, vm=vm, arriving_from=ROUTER_MAC, answered=True)
    sent = f"echo request of {vm.name}, {vm.ca(4)}, to {_HOST.ip}"
    wanted = f"{known_as} -> {_HOST.ip}, {_HOST.ip} -> {known_as} at {gateway.name}"
    yield Finding(row, f"{vm.name}, outside", sent, wanted, _conversations(shot), shot.reason)
    both = f"delivered to {gateway.name}, {vm.name}"  # the request to the one, the answer to the other
    yield Finding(row, f"{vm.name}, the answer", sent, both, shot.delivered, shot.reason)


def forwarded(lab: Lab) -> Iterator[Finding]:
    """X5: a forwarded port leads to the VM of that tenant whose address is asked, and other ports lead nowhere."""
    for vm, gateway, address in borders(lab.policy):
        for port, wanted in ((_PORT, f"delivered to {vm.name}"), (_CLOSED_PORT, NOBODY)):
            shot = lab.call_in(gateway, _call(address, port), vm)
            sent = f"TCP SYN of {_HOST.ip} to {address}, port {port}"
            what = "forwarded" if port == _PORT else "another"
            yield Finding("X5", f"{gateway.name}, {what} port", sent, wanted, shot.delivered, shot.reason)


def site_of(policy: Policy, gateway: Vm) -> PhysicalNetwork:
    """The site that a gateway leads to."""
    return policy.physical_network(gateway.leg.to if gateway.leg else "")


def tunnelled(lab: Lab) -> Iterator[Finding]:
    """X1, X3: each tenant reaches its own site, by a tunnel between the two gateways' addresses outside."""
    for vm, gateway, address in borders(lab.policy):
        site = site_of(lab.policy, gateway)
        before = len(lab.everything)
        (shot,) = lab.say(_request(vm, str(vm.ca(4))), vm=vm, arriving_from=ROUTER_MAC, answered=True)
        sent = f"echo request of {vm.name}, {vm.ca(4)}, to {AT_HOME.ip}"
        both = f"delivered to {gateway.name}, {vm.name}"  # the request to the one, the answer to the other
        yield Finding("X1", f"{vm.name}, the answer of {site.name}", sent, both, shot.delivered, shot.reason)
        ends = distinct(f"{p.source} -> {p.destination}" for p in _data(lab.everything[before:], lab))
        far = site.at[0].ip
        wanted = distinct((f"{address} -> {far}", f"{far} -> {address}"))
        yield Finding("X3", f"{vm.name}, the tunnel", sent, wanted, ends, shot.reason)


def validated(lab: Lab) -> Iterator[Finding]:
    """X3: a packet from an address that the tenant has not gets to its gateway, and no further."""
    for vm, gateway, _ in borders(lab.policy):
        before = len(lab.everything)
        (shot,) = lab.say(_request(vm, _NO_CA), vm=vm, arriving_from=ROUTER_MAC)
        packets = len(_data(lab.everything[before:], lab))
        wanted, sent = f"0 packets outside, delivered to {gateway.name}", f"packet of {vm.name} from {_NO_CA}"
        observed = f"{packets} packets outside, {shot.delivered}"
        yield Finding("X3", f"{vm.name}, a stranger's address", sent, wanted, observed, shot.reason)


def seen_between(lab: Lab) -> Iterator[Finding]:
    """X3: between the sites there are the tunnels' packets, and nothing of what is in them."""
    carriers = bool(_data(lab.everything, lab))
    yield from _seen_in("X3", lab)
    legible = sum(is_marked(s.frame) for s in lab.everything if s.interface in lab.legs)
    observed = f"{legible} in clear" if carriers else DEAD
    yield Finding("X3", "what tenants sent", "everything else", "0 in clear", observed)


def _request(vm: Vm, source: str) -> Packet:
    ip = IP(src=source, dst=str(AT_HOME.ip))
    return Ether(src=vm.mac, dst=ROUTER_MAC) / ip / ICMP(id=7637, seq=1) / mark()


def _data(seen: Sequence[Sighting], lab: Lab) -> list[Outer]:
    """The packets at gateways' legs in which WireGuard carries something: neither handshakes nor its empty ones."""
    packets = [outer for s in seen if s.interface in lab.legs and (outer := outer_of(s.frame))]
    return [p for p in packets if p.protocol == _UDP and p.payload[8:9] == _DATA and len(p.payload) > 8 + _EMPTY_BYTES]


def seen_outside(lab: Lab) -> Iterator[Finding]:
    """X5: what is outside sees neither NVGRE nor a customer address."""
    yield from _seen_in("X5", lab)


def _seen_in(row: str, lab: Lab) -> Iterator[Finding]:
    """What all packets outside are; that tells something only where tenants' own were among them."""
    seen = [sighting for sighting in lab.everything if sighting.interface in lab.legs]
    packets = [outer for sighting in seen if (outer := outer_of(sighting.frame))]
    lab.look_back(seen)
    inside = [prefix for subnet in lab.policy.subnets for prefix in subnet.prefixes]
    tunnels = sum(packet.is_gre for packet in packets)
    named = sum(any(p.source in own or p.destination in own for own in inside) for p in packets)
    observed = f"{tunnels} of NVGRE, {named} with a CA" if _got_out(seen, lab) else DEAD
    yield Finding(row, "all packets outside", "everything else", "0 of NVGRE, 0 with a CA", observed)


def _got_out(seen: Sequence[Sighting], lab: Lab) -> bool:
    """Whether something of a tenant's is among what was seen outside: in a tunnel, or not from the host there."""
    marked = [outer_of(sighting.frame) for sighting in seen if is_marked(sighting.frame)]
    return bool(_data(seen, lab)) or any(outer and outer.source != _HOST.ip for outer in marked)


def _call(address: IPv4Address, port: int) -> Packet:
    return IP(src=str(_HOST.ip), dst=str(address)) / TCP(sport=40000, dport=port, flags="S") / mark()


def _conversations(shot: Shot) -> str:
    """Who spoke to whom outside, at the leg of which gateway."""
    found = {leg: [outer for frame in frames if (outer := outer_of(frame))] for leg, frames in shot.outside.items()}
    return distinct(
        f"{', '.join(dict.fromkeys(f'{o.source} -> {o.destination}' for o in packets))} at {leg}"
        for leg, packets in found.items()
        if packets
    )


TRANSLATING: tuple[Callable[[Lab], Iterator[Finding]], ...] = (translated, forwarded, seen_outside)
FORWARDING: tuple[Callable[[Lab], Iterator[Finding]], ...] = (routed,)
TUNNELLING: tuple[Callable[[Lab], Iterator[Finding]], ...] = (tunnelled, validated, seen_between)
