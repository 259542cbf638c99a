"""What an NVE keeps its tenants from, where the scenario asks for it: speaking as another VM."""

from __future__ import annotations

from collections.abc import Iterator

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP
from scapy.packet import Packet, Raw

from experiments.conformance.lab import DEAD, NOBODY, Lab, mark
from experiments.conformance.rows import Finding

DENIED_OUT, DENIED_IN, _ALLOWED = 7, 9, 13  # UDP ports: echo, discard, daytime
_STRANGER = "02:00:00:00:00:99"
_ANY_CA, _ANY_CA6 = "192.0.2.1", "2001:db8::1"  # RFC 5737, RFC 3849: nobody's, so that nobody answers
_NONCE_OF_16 = b"\x0e\x02"  # an ND option that any message may have (RFC 3971), here around a mark


def forgeries(lab: Lab) -> Iterator[Finding]:
    """C1: a VM sends as itself and is heard; as another VM, by MAC address, by CA, in ARP, in ND, it is not."""
    vm, other = lab.sender, lab.receiver
    yield _said(lab, "its MAC address", lab.ethernet() / mark(), lab.to_receiver)
    yield _said(lab, "another MAC address", lab.ethernet(src=_STRANGER) / mark(), NOBODY)
    if vm.ca(4) and other.ca(4):
        yield from _by_ipv4(lab, str(vm.ca(4)), str(other.ca(4)))
    if vm.ca(6) and other.ca(6):
        yield from _by_ipv6(lab, str(vm.ca(6)), str(other.ca(6)))


def _by_ipv4(lab: Lab, own: str, others: str) -> Iterator[Finding]:
    def udp(source: str) -> Packet:
        return lab.ethernet(type=0x0800) / IP(src=source, dst=_ANY_CA) / UDP(chksum=0) / mark()

    def arp(source: str, mac: str) -> Packet:
        return lab.ethernet(type=0x0806) / ARP(op=2, hwsrc=mac, psrc=source, pdst=_ANY_CA) / mark()

    yield _said(lab, "its IPv4 address", udp(own), lab.to_receiver)
    yield _said(lab, "another's IPv4 address", udp(others), NOBODY)
    yield _said(lab, "its addresses in ARP", arp(own, lab.sender.mac), lab.to_receiver)
    yield _said(lab, "another's IPv4 address in ARP", arp(others, lab.sender.mac), NOBODY)
    yield _said(lab, "another MAC address in ARP", arp(own, _STRANGER), NOBODY)


def _by_ipv6(lab: Lab, own: str, others: str) -> Iterator[Finding]:
    def bare(source: str) -> Packet:
        return lab.ethernet(type=0x86DD) / IPv6(src=source, dst=_ANY_CA6, nh=59) / mark()

    def claim(target: str, mac: str) -> Packet:
        header = lab.ethernet(type=0x86DD) / IPv6(src=own, dst=_ANY_CA6, hlim=255)
        return header / ICMPv6ND_NA(tgt=target) / ICMPv6NDOptDstLLAddr(lladdr=mac) / Raw(_NONCE_OF_16 + mark().load)

    yield _said(lab, "its IPv6 address", bare(own), lab.to_receiver)
    yield _said(lab, "another's IPv6 address", bare(others), NOBODY)
    yield _said(lab, "its addresses in ND", claim(own, lab.sender.mac), lab.to_receiver)
    yield _said(lab, "another's IPv6 address in ND", claim(others, lab.sender.mac), NOBODY)
    yield _said(lab, "another MAC address in ND", claim(own, _STRANGER), NOBODY)


def access_lists(lab: Lab) -> Iterator[Finding]:
    """T6: policy within a virtual subnet: what its access control list denies, out of or in to a VM, reaches nobody."""
    own = lab.sender.ca(4)
    network = IP(src=str(own), dst=_ANY_CA) if own else IPv6(src=str(lab.sender.ca(6)), dst=_ANY_CA6)
    for port, expected in ((DENIED_OUT, NOBODY), (DENIED_IN, NOBODY), (_ALLOWED, lab.to_receiver)):
        ethernet = lab.ethernet(type=0x0800 if own else 0x86DD)
        (shot,) = lab.say(ethernet / network / UDP(sport=_ALLOWED, dport=port, chksum=0) / mark())
        way = {DENIED_OUT: "denied out of VMs", DENIED_IN: "denied in to VMs"}.get(port, "not denied")
        sent = f"UDP of {lab.sender.name} to port {port}"
        yield Finding("T6", f"UDP to port {port}, {way}", sent, expected, shot.delivered, shot.reason)
        if port == DENIED_OUT:
            wire = f"{sum(map(len, shot.out.values()))} packets" if shot.alive else DEAD
            yield Finding("T6", f"UDP to port {port}, on the wire", sent, "0 packets", wire, shot.reason)


def _said(lab: Lab, what: str, frame: Packet, expected: str) -> Finding:
    (shot,) = lab.say(frame)
    sent = f"frame of {lab.sender.name}, {shot.sent.hex(' ', 2)[:125]} ..."
    return Finding("C1", f"{what}, from a VM", sent, expected, shot.delivered, shot.reason)
