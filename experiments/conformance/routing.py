"""Routing between virtual subnets, and who answers for neighbours: on two tenants with equal addresses, both routed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_network

from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import (
    ICMPv6EchoReply,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    in6_getnsma,
    in6_getnsmac,
)
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from experiments.base import distant_pair
from experiments.conformance.lab import DEAD, NOBODY, Lab, Shot, distinct, mark
from experiments.conformance.rows import Finding
from experiments.probes import BROADCAST
from experiments.watch import Sighting
from nvgre_node.choices import Neighbours, RecordType
from nvgre_node.policy import Policy, VirtualSubnet, Vm
from nvgre_node.routing import ROUTER_MAC, CustomerRoute, RoutingDomain
from topologies import Scenario
from topologies.values import made_mac

_TENANTS = ("ours", "theirs")
_FIRST_VSID = 0x10001
_NEAR = (ip_network("100.64.0.0/24"), ip_network("fd00:64::/64"))
_FAR = (ip_network("100.64.1.0/24"), ip_network("fd00:65::/64"))
_OUTSIDE = "192.0.2.1"  # RFC 5737
_SENT_HOPS = 64


def joined(scenario: Scenario) -> Scenario:
    """A variant with two routed tenants of two subnets each instead of its own."""
    a, b = (vm.host for vm in distant_pair(scenario.policy))
    subnets, vms, domains = [], [], []
    for number, tenant in enumerate(_TENANTS):
        near, far = (
            VirtualSubnet(f"{tenant}_{name}", tenant, _FIRST_VSID + 2 * number + index, prefixes)
            for index, (name, prefixes) in enumerate((("near", _NEAR), ("far", _FAR)))
        )
        subnets += [near, far]
        vms += [_vm(near, a, 11), _vm(near, b, 12), _vm(far, b, 21), _vm(far, a, 22), _vm(far, b, 250)]
        vms += [_vm(far, b, 33)] if number == 0 else []  # a CA that the other tenant has not
        gateway = CustomerRoute(ip_network("0.0.0.0/0"), next(ca.ip for ca in vms[-1 - (number == 0)].cas))
        domains.append(RoutingDomain(tenant, (gateway,)))
    return replace(scenario, policy=Policy(scenario.policy.nves, tuple(subnets), tuple(vms), routing=tuple(domains)))


def proxied(scenario: Scenario) -> Scenario:
    """NVEs that answer for VMs."""
    return scenario.with_nve(neighbours=Neighbours.PROXY)


def _vm(subnet: VirtualSubnet, host: str, last: int) -> Vm:
    prefix4, prefix6 = subnet.prefixes
    cas = (IPv4Interface(f"{prefix4[last]}/24"), IPv6Interface(f"{prefix6[last]}/64"))
    record = RecordType.GATEWAY_WILDCARD if last == 250 else RecordType.STATIC
    return Vm(f"{subnet.name}{last}", subnet.name, host, made_mac([ca.ip for ca in cas]), cas, record=record)


# Routing


def between_subnets(lab: Lab) -> Iterator[Finding]:
    """T5, T7, X6: to the other host straight and with the destination's VSID, and on one host never over the wire."""
    near, far, here = (lab.policy.vm(f"ours_{name}") for name in ("near11", "far21", "far22"))
    for version in (4, 6):
        for receiver in (far, here):
            shot, sent = _routed(lab, near, receiver, version)
            what = f"IPv{version}, {near.name} to {receiver.name}"
            yield Finding("T5", what, sent, f"delivered to {receiver.name}", shot.delivered, shot.reason)
            arrived = distinct(_as_routed(frame) for _, frame in shot.heard)
            yield Finding("T7", what, sent, f"{ROUTER_MAC} -> {receiver.mac}, {_SENT_HOPS - 1} hops left", arrived)
            seen = distinct(_vsids(shot, near.host)) if receiver is far else f"{_packets(shot)} packets"
            wanted = f"VSID 0x{lab.policy.vsid_of(far):06x}" if receiver is far else "0 packets"
            yield Finding("X6", f"{what}, on the wire", sent, wanted, seen if shot.alive else DEAD)


def between_tenants(lab: Lab) -> Iterator[Finding]:
    """X6: equal addresses lead each tenant to its own VM, and one that a tenant has not leads nowhere."""
    near, far = lab.policy.vm("theirs_near11"), lab.policy.vm("theirs_far21")
    shot, sent = _routed(lab, near, far, 4)
    yield Finding("X6", "equal addresses", sent, f"delivered to {far.name}", shot.delivered, shot.reason)
    shot, sent = _routed(lab, near, lab.policy.vm("ours_far33"), 4)
    observed = f"{_packets(shot)} packets, {shot.delivered}"
    yield Finding("X6", "an address of another tenant alone", sent, f"0 packets, {NOBODY}", observed, shot.reason)


def to_the_gateway(lab: Lab) -> Iterator[Finding]:
    """X2: what is outside goes by the default route to the PA, the VSID and the MAC address of the tenant's gateway."""
    near, gateway = lab.policy.vm("ours_near11"), lab.policy.vm("ours_far250")
    packet = IP(src=str(near.ca(4)), dst=_OUTSIDE, ttl=_SENT_HOPS) / ICMP(type=0) / mark()
    (shot,) = lab.say(Ether(src=near.mac, dst=ROUTER_MAC) / packet, vm=near, arriving_from=ROUTER_MAC)
    to = distinct(
        f"{outer.destination}, VSID 0x{outer.key >> 8:06x}, {outer.inner[:6].hex(':')}"
        for outer in shot.carriers(near.host)
    )
    wanted = f"{lab.pa(gateway)}, VSID 0x{lab.policy.vsid_of(gateway):06x}, {gateway.mac}"
    yield Finding("X2", "a default route", f"packet of {near.name} to {_OUTSIDE}", wanted, to, shot.reason)


def _routed(lab: Lab, sender: Vm, receiver: Vm, version: int) -> tuple[Shot, str]:
    """A packet that nobody answers goes to the router: an echo reply to a request that was not made."""
    ends = {"src": str(sender.ca(version)), "dst": str(receiver.ca(version))}
    packet: Packet
    if version == 4:
        packet = IP(ttl=_SENT_HOPS, **ends) / ICMP(type=0)
    else:
        packet = IPv6(hlim=_SENT_HOPS, **ends) / ICMPv6EchoReply()
    frame = Ether(src=sender.mac, dst=ROUTER_MAC) / packet / mark()
    (shot,) = lab.say(frame, vm=sender, arriving_from=ROUTER_MAC)
    return shot, f"packet of {sender.name} to {ends['dst']}"


def _as_routed(frame: bytes) -> str:
    packet = Ether(frame)
    return f"{packet.src} -> {packet.dst}, {packet[IP].ttl if IP in packet else packet[IPv6].hlim} hops left"


def _vsids(shot: Shot, host: str) -> list[str]:
    return [f"VSID 0x{outer.key >> 8:06x}" for outer in shot.carriers(host)]


def _packets(shot: Shot) -> int:
    return sum(map(len, shot.out.values()))


# Neighbours


def questions(lab: Lab) -> Iterator[Finding]:
    """S2, S4: who asks for a CA is answered at the port, with the MAC address of its record, and the wire is silent."""
    near, neighbour = lab.policy.vm("ours_near11"), lab.policy.vm("ours_near12")
    packets = 0

    def is_answer(sighting: Sighting) -> bool:
        return sighting.node == near.name and bool(_answer(sighting.frame))

    for version, asked in ((4, _arp_request(near, neighbour) / mark()), (6, _solicitation(near, neighbour))):
        before = len(lab.everything)
        (shot,) = lab.say(asked, vm=near)
        if not any(map(is_answer, lab.everything[before:])):  # an answer may take longer than the sound frame behind it
            lab.listen(is_answer)
        told = distinct(_answer(s.frame) for s in lab.everything[before:] if is_answer(s)) if shot.alive else DEAD
        sent, what = f"{near.name} asks for {neighbour.ca(version)}", "ARP" if version == 4 else "Neighbour Discovery"
        wanted = f"{neighbour.ca(version)} is at {neighbour.mac}, 0 packets"
        yield Finding("S2", what, sent, wanted, f"{told}, {_packets(shot)} packets")
        packets += _packets(shot)
    (shot,) = lab.say(_arp_request(near, near, "100.64.0.77") / mark(), vm=near)
    packets += _packets(shot)
    observed = f"{packets} packets" if shot.alive else DEAD
    yield Finding("S4", "questions, answered or not", "requests for neighbours", "0 packets", observed, shot.reason)


def _arp_request(asker: Vm, target: Vm, address: str = "") -> Packet:
    arp = ARP(hwsrc=asker.mac, psrc=str(asker.ca(4)), pdst=address or str(target.ca(4)))
    return Ether(src=asker.mac, dst=BROADCAST) / arp


def _solicitation(asker: Vm, target: Vm) -> Packet:
    address = str(target.ca(6))
    group = in6_getnsma(ip_address(address).packed)
    ip = IPv6(src=str(asker.ca(6)), dst=str(ip_address(group)), hlim=255)
    around_the_mark = Raw(b"\x0e\x02" + mark().load)  # a nonce, which any ND message may have (RFC 3971)
    asks = ICMPv6ND_NS(tgt=address) / ICMPv6NDOptSrcLLAddr(lladdr=asker.mac)  # RFC 4861 section 4.3: it must say who
    return Ether(src=asker.mac, dst=in6_getnsmac(group)) / ip / asks / around_the_mark


def _answer(frame: bytes) -> str:
    """What a frame tells of a neighbour, or nothing."""
    packet = Ether(frame)
    if ARP in packet and packet[ARP].op == 2:
        return f"{packet[ARP].psrc} is at {packet[ARP].hwsrc}"
    if ICMPv6ND_NA in packet:
        return f"{packet[ICMPv6ND_NA].tgt} is at {packet[ICMPv6ND_NA].lladdr}"
    return ""


ROUTING: tuple[Callable[[Lab], Iterator[Finding]], ...] = (between_subnets, between_tenants, to_the_gateway)
