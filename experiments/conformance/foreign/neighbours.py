"""Who is where, outside and inside the tunnel: the questions that we ask (ARP, ND), and those that we answer. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    in6_getnsma,
    in6_getnsmac,
)
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet

from experiments.probes import BROADCAST
from nvgre_node.policy import Address

_REQUEST, _REPLY = 1, 2


@dataclass(frozen=True)
class Station:
    """An address and its MAC address."""

    address: Address
    mac: str


def question(asker: Station, wanted: Address) -> Packet:
    """Who has this address? To all (ARP), or to its solicited-node group (Neighbour Discovery)."""
    if wanted.version == 4:
        arp = ARP(op=_REQUEST, hwsrc=asker.mac, psrc=str(asker.address), pdst=str(wanted))
        return Ether(src=asker.mac, dst=BROADCAST) / arp
    group = in6_getnsma(wanted.packed)
    ip = IPv6(src=str(asker.address), dst=str(ip_address(group)), hlim=255)
    asked = ICMPv6ND_NS(tgt=str(wanted)) / ICMPv6NDOptSrcLLAddr(lladdr=asker.mac)
    return Ether(src=asker.mac, dst=in6_getnsmac(group)) / ip / asked


def answer(own: Station, frame: bytes) -> Packet | None:
    """What a station says to a frame that asks for its address; None to anything else."""
    asked = Ether(frame)
    if ARP in asked and asked[ARP].op == _REQUEST and asked[ARP].pdst == str(own.address):
        arp = ARP(op=_REPLY, hwsrc=own.mac, psrc=str(own.address), hwdst=asked[ARP].hwsrc, pdst=asked[ARP].psrc)
        return Ether(src=own.mac, dst=asked[ARP].hwsrc) / arp
    if ICMPv6ND_NS in asked and ip_address(asked[ICMPv6ND_NS].tgt) == own.address:
        source = ip_address(asked[IPv6].src)
        if source.is_unspecified:  # somebody makes sure that an address is free: it is not
            return None
        ip = IPv6(src=str(own.address), dst=str(source), hlim=255)
        said = ICMPv6ND_NA(tgt=str(own.address), R=0, S=1, O=1) / ICMPv6NDOptDstLLAddr(lladdr=own.mac)
        return Ether(src=own.mac, dst=asked.src) / ip / said
    return None


def told(frame: bytes) -> Station | None:
    """What an answer says of who is where; None of anything else."""
    packet = Ether(frame)
    if ARP in packet and packet[ARP].op == _REPLY:
        return Station(ip_address(packet[ARP].psrc), str(packet[ARP].hwsrc))
    if ICMPv6ND_NA in packet:
        option = packet.getlayer(ICMPv6NDOptDstLLAddr)
        return Station(ip_address(packet[ICMPv6ND_NA].tgt), str(option.lladdr if option else packet.src))
    return None
