"""Where frames go: from which PA to which, to whom in which virtual subnet, and what stays on its side of the NVE."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address

from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptSrcLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from experiments.base import distant_pairs
from experiments.conformance.lab import DEAD, NOBODY, Lab, distinct, is_icmp_error, mark
from experiments.conformance.rows import Finding
from experiments.probes import BROADCAST
from nvgre_node.outer import outer_of
from nvgre_node.policy import Address
from nvgre_node.wire import ETHERNET_BYTES

_ANY_CA, _ANY_CA6 = "192.0.2.1", "2001:db8::1"  # RFC 5737, RFC 3849: nobody's
_ALL_NODES_MAC = "33:33:00:00:00:01"


def locations(lab: Lab) -> Iterator[Finding]:
    """U1, U2, T8: one packet from PA to PA, in either direction."""
    for a, b in ((lab.sender, lab.receiver), (lab.receiver, lab.sender)):
        (shot,) = lab.say(lab.ethernet(src=a.mac, dst=b.mac) / mark(), vm=a)
        outer = distinct(f"{o.source} -> {o.destination}" for o in shot.carriers(a.host))
        way, sent = f"{a.name} to {b.name}", f"a unicast frame of {a.name}"
        yield Finding("U1", way, sent, f"{lab.pa(a)} -> {lab.pa(b)}", outer)
        yield Finding("U2", way, sent, f"delivered to {b.name}", shot.delivered)
        yield Finding("T8", way, sent, "1 packet", f"{sum(map(len, shot.out.values()))} packet")


def same_addresses(lab: Lab) -> Iterator[Finding]:
    """T4: a unicast frame stays in its virtual subnet, whoever has the same MAC address in another one."""
    for pair in distant_pairs(lab.policy):
        for a, b in (pair, pair[::-1]):
            (shot,) = lab.say(lab.ethernet(src=a.mac, dst=b.mac) / mark(), vm=a)
            sent = f"a unicast frame of {a.name} to {b.mac}"
            yield Finding("T4", f"{a.name} to {b.name}", sent, f"delivered to {b.name}", shot.delivered)


def replication(lab: Lab) -> Iterator[Finding]:
    """B5, T4: a broadcast costs one unicast copy per NVE of its subnet, and is heard in all of it, nowhere else."""
    for vm in lab.policy.vms:
        (shot,) = lab.say(lab.ethernet(src=vm.mac, dst=BROADCAST) / mark(), vm=vm)
        neighbours = [other for other in lab.policy.vms if other.subnet == vm.subnet and other != vm]
        hearers, sent = ", ".join(sorted(n.name for n in neighbours)), f"a broadcast of {vm.name}"
        yield Finding("T4", sent, sent, f"delivered to {hearers}" if hearers else NOBODY, shot.delivered)
        if not neighbours:  # then no copies prove nothing
            continue
        members = sorted({lab.pa(other) for other in neighbours if other.host != vm.host})
        copies = sorted(str(outer.destination) for outer in shot.carriers(vm.host))
        yield Finding("B5", sent, sent, f"copies to {members}", f"copies to {copies}")


# What a VM sees of the provider


def from_the_tenant(lab: Lab) -> Iterator[Finding]:
    """C3: a VM asks for a provider address, and makes NVGRE packets of its own."""
    vm = lab.sender
    before = len(lab.everything)
    (shot,) = lab.say(_asking(lab, lab.pa(vm)) / mark())
    seen = [sighting.frame for sighting in lab.everything[before:] if sighting.node == vm.name]
    answers = sum(_is_answer(frame) for frame in seen)
    asked = "ARP request" if lab.outer_version == 4 else "Neighbor Solicitation"
    sent = f"{asked} of {vm.name} for {lab.pa(vm)}"
    yield Finding("C3", f"{asked} for a PA", sent, "0 answers", f"{answers} answers" if shot.alive else DEAD)
    forged = Raw(bytes(lab.nvgre())[ETHERNET_BYTES:])
    ethertype = {4: 0x0800, 6: 0x86DD}[lab.outer_version]
    for what, destination in {"port": lab.port_mac(vm), "uplink": lab.uplinks[vm.host].mac}.items():
        (shot,) = lab.say(lab.ethernet(dst=destination, type=ethertype) / forged)
        way = f"a VM's own NVGRE packet, to the host's {what}"
        observed = f"{sum(map(len, shot.out.values()))} on the wire, {shot.delivered}"
        yield Finding("C3", way, f"NVGRE packet of {vm.name}", f"0 on the wire, {NOBODY}", observed, shot.reason)


def _asking(lab: Lab, pa: str) -> Packet:
    """The sender asks for a PA, as one asks for neighbours."""
    vm = lab.sender
    if lab.outer_version == 4:
        return lab.ethernet(dst=BROADCAST, type=0x0806) / ARP(hwsrc=vm.mac, psrc=_ANY_CA, pdst=pa)
    solicitation = ICMPv6ND_NS(tgt=pa) / ICMPv6NDOptSrcLLAddr(lladdr=vm.mac)
    return lab.ethernet(dst=_ALL_NODES_MAC, type=0x86DD) / IPv6(src=_ANY_CA6, dst="ff02::1", hlim=255) / solicitation


def _is_answer(frame: bytes) -> bool:
    """Whether a frame is an ARP reply or a Neighbor Advertisement."""
    return (frame[12:14] == b"\x08\x06" and frame[20:22] == b"\x00\x02") or ICMPv6ND_NA in Ether(frame)


# Over all that was seen in the run


def at_the_end(lab: Lab) -> Iterator[Finding]:
    """T1, O1, S1: what VMs saw of the provider, and what the underlay saw of the VMs."""
    pas = {pa.ip for nve in lab.policy.nves for pa in nve.pas}
    told_vms = [s for s in lab.everything if s.node in lab.policy.machines]
    heard = [s.frame for s in told_vms]
    told = sum(_is_of_provider(frame, pas) for frame in heard)
    lab.look_back(told_vms)
    yield _over_all("T1", "at VM ports", "0 frames with a PA", f"{told} frames with a PA" if heard else DEAD)
    on_wire = [s for s in lab.everything if s.node in lab.uplinks and s.interface not in lab.server_links]
    wire = [s.frame for s in on_wire]
    lab.look_back(on_wire)
    nves = {uplink.mac for uplink in lab.uplinks.values()}
    hops = {uplink.far_mac for uplink in lab.uplinks.values()}
    sources = {packet[6:12].hex(":") for packet in wire}
    alive = bool(heard) and any(_is_gre(packet) and packet[6:12].hex(":") in nves for packet in wire)
    strangers = distinct(sources - nves - hops) if sources - nves - hops else "NVEs and next hops"
    yield _over_all("S1", "source MACs on uplinks", "NVEs and next hops", strangers if alive else DEAD)
    errors = sum(is_icmp_error(packet) for packet in wire)  # such as: protocol 47 is unreachable, at a host with an NVE
    yield _over_all("O1", "answers to NVGRE", "0 ICMP packets", f"{errors} ICMP packets" if alive else DEAD)


def _over_all(row: str, what: str, expected: str, observed: str) -> Finding:
    return Finding(row, what, "everything else", expected, observed)


def _is_gre(packet: bytes) -> bool:
    outer = outer_of(packet)
    return outer is not None and outer.is_gre


def _is_of_provider(frame: bytes, pas: set[Address]) -> bool:
    """Whether a frame that a VM got is addressed by PAs, or is IP protocol 47."""
    if frame[12:14] == b"\x08\x06":
        return IPv4Address(frame[28:32]) in pas
    packet = outer_of(frame)
    return packet is not None and (packet.is_gre or bool({packet.source, packet.destination} & pas))


REACHING: tuple[Callable[[Lab], Iterator[Finding]], ...] = (locations, same_addresses, replication, from_the_tenant)
