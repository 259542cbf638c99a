"""The frames that experiments send, made with Scapy: each carries a token by which it is known wherever it turns up."""

from __future__ import annotations

import struct
from enum import StrEnum
from functools import partial
from typing import Any

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw

from nvgre_node.policy import Vm

TEST_ETHERTYPE = 0x88B5  # IEEE 802 local experimental EtherType 1: I1
BROADCAST = "ff:ff:ff:ff:ff:ff"
_GROUP, _GROUP_MAC = "239.255.0.1", "01:00:5e:7f:00:01"
_TAG = 0x8100
_PORT = 7637  # nobody listens there


class Kind(StrEnum):
    """What a probe is."""

    ARP = "ARP"
    ICMP = "ICMP"
    ICMPV6 = "ICMPv6"
    TCP = "TCP"
    UDP = "UDP"
    BROADCAST = "broadcast"
    MULTICAST = "multicast"
    RAW = "raw"

    @property
    def is_flooded(self) -> bool:
        """Whether it is for everybody in the virtual subnet."""
        return self in {Kind.ARP, Kind.BROADCAST, Kind.MULTICAST}

    @property
    def version(self) -> int | None:
        """The IP version that both VMs must speak, or None where any will do."""
        return {Kind.RAW: None, Kind.ICMPV6: 6}.get(self, 4)


def probe(kind: Kind, source: Vm, destination: Vm, token: bytes) -> bytes:
    """A frame from one VM to another VM's addresses; they have a CA of `kind.version`."""
    v4 = partial(IP, src=str(source.ca(4)))
    v6 = partial(IPv6, src=str(source.ca(6)))
    to4, to6 = str(destination.ca(4)), str(destination.ca(6))
    ports = {"sport": _PORT, "dport": _PORT}
    unicast, everybody, group = destination.mac, BROADCAST, _GROUP_MAC
    mac: str
    packet: Any
    match kind:
        case Kind.ARP:
            mac, packet = everybody, ARP(hwsrc=source.mac, psrc=str(source.ca(4)), pdst=to4)
        case Kind.ICMP:
            mac, packet = unicast, v4(dst=to4) / ICMP()
        case Kind.ICMPV6:
            mac, packet = unicast, v6(dst=to6) / ICMPv6EchoRequest()
        case Kind.TCP:
            mac, packet = unicast, v4(dst=to4) / TCP(flags="S", **ports)
        case Kind.UDP:
            mac, packet = unicast, v4(dst=to4) / UDP(**ports)
        case Kind.BROADCAST:
            mac, packet = everybody, v4(dst="255.255.255.255") / UDP(**ports)
        case Kind.MULTICAST:
            mac, packet = group, v4(dst=_GROUP, ttl=1) / UDP(**ports)
        case Kind.RAW:
            return bytes(Ether(src=source.mac, dst=unicast, type=TEST_ETHERTYPE) / Raw(token))
    return bytes(Ether(src=source.mac, dst=mac) / packet / Raw(token))


def tagged(frame: bytes, vid: int | None) -> bytes:
    """A frame with the 802.1Q tag of a VLAN, or as it is for None."""
    return frame if vid is None else frame[:12] + struct.pack("!HH", _TAG, vid) + frame[12:]


def untagged(frame: bytes) -> tuple[bytes, int | None]:
    """A frame without its 802.1Q tag, and the VLAN id that was in it."""
    if int.from_bytes(frame[12:14], "big") != _TAG:
        return frame, None
    return frame[:12] + frame[16:], int.from_bytes(frame[14:16], "big") & 0xFFF


def sized(kind: Kind, version: int, source: Vm, destination: Vm, size: int, *, df: bool = True, tag: int = 0) -> bytes:
    """An ICMP echo request or a TCP segment whose IP packet is exactly `size` bytes; `tag` tells probes apart."""
    if version == 4:
        header = IP(src=str(source.ca(4)), dst=str(destination.ca(4)), id=tag & 0xFFFF, flags="DF" if df else 0)
        echo: Any = ICMP(id=_PORT, seq=tag & 0xFFFF)
    else:
        header = IPv6(src=str(source.ca(6)), dst=str(destination.ca(6)), fl=tag & 0xFFFFF)
        echo = ICMPv6EchoRequest(id=_PORT, seq=tag & 0xFFFF)
    l4 = echo if kind in {Kind.ICMP, Kind.ICMPV6} else TCP(sport=_PORT, dport=_PORT, flags="PA", seq=tag)
    bare = len(header / l4)
    return bytes(Ether(src=source.mac, dst=destination.mac) / header / l4 / Raw(bytes(size - bare)))
