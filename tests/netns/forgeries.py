"""What red1 may truly say, and what would be forged: frames with addresses of its own and of others."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import ICMP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6MLReport2,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_Redirect,
    ICMPv6ND_RS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptMTU,
    ICMPv6NDOptSrcLLAddr,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.l2 import ARP
from scapy.packet import Packet, Raw

from .frames import EVERYBODY, EXPERIMENTAL, RED1, RED2, frames, from_red1, is_runnable, v4, v6

OWN4, OWN6, LINK_LOCAL = "10.0.0.1", "fd00:10::1", "fe80::aff:fe00:1"
OTHERS4, OTHERS6 = "10.0.0.2", "fd00:10::2"
NOBODY4, NOBODY6 = "0.0.0.0", "::"  # noqa: S104
ALL_NODES, MLD_ROUTERS, SOLICITED = "ff02::1", "ff02::16", "ff02::1:ff00:1"
GROUP_MACS = {ALL_NODES: "33:33:00:00:00:01", MLD_ROUTERS: "33:33:00:00:00:16", SOLICITED: "33:33:ff:00:00:01"}


def arp(**fields: Any) -> Packet:
    """An ARP request of red1 for red2."""
    return ARP(**({"hwsrc": RED1, "psrc": OWN4, "pdst": OTHERS4} | fields))


def changed(packet: Packet, at: int, instead: bytes) -> bytes:
    """The bytes of a packet, some of them other ones."""
    whole = bytes(packet)
    return whole[:at] + instead + whole[at + len(instead) :]


def dhcp(**fields: Any) -> Packet:
    """A DHCP discovery of red1, which has no address yet."""
    ports = {"sport": 68, "dport": 67} | {k: v for k, v in fields.items() if k in ("sport", "dport")}
    ip = {"src": NOBODY4, "dst": "255.255.255.255"} | {k: v for k, v in fields.items() if k not in ports}
    return v4(**ip) / UDP(**ports) / BOOTP(chaddr=bytes(6)) / DHCP(options=[("message-type", "discover"), "end"])


def from_nobody(message: Packet, destination: str) -> Packet:
    """An ICMPv6 message without a source address."""
    return v6(src=NOBODY6, dst=destination, hlim=255) / message


def advertisement(target: str = OWN6, mac: str = RED1, **fields: Any) -> Packet:
    """A neighbour advertisement of red1."""
    return v6(**({"hlim": 255} | fields)) / ICMPv6ND_NA(tgt=target, O=1) / ICMPv6NDOptDstLLAddr(lladdr=mac)


def solicitation(mac: str = RED1, **fields: Any) -> Packet:
    """A neighbour solicitation of red1 for red2."""
    return v6(**({"hlim": 255} | fields)) / ICMPv6ND_NS(tgt=OTHERS6) / ICMPv6NDOptSrcLLAddr(lladdr=mac)


def hidden(packet: Packet, headers: int) -> Packet:
    """The packet with extension headers in front of what it carries."""
    carried, bare = packet.payload, packet.copy()
    bare.remove_payload()
    for _ in range(headers):
        bare /= IPv6ExtHdrDestOpt()
    return bare / carried


HONEST: dict[str, Packet] = {
    "IPv4": v4() / UDP(dport=9),
    "IPv4 to a group": v4(dst="239.255.0.1") / UDP(dport=9),
    "a later fragment of IPv4": v4(frag=3, proto=17) / Raw(bytes(16)),
    "DHCP without an address": dhcp(),
    "an ARP request": arp(),
    "a gratuitous ARP request": arp(pdst=OWN4),
    "an ARP reply": arp(op=2, hwdst=RED2),
    "an ARP probe for its own address": arp(psrc=NOBODY4, pdst=OWN4),
    "IPv6": v6() / UDP(dport=9),
    "IPv6, link-local": v6(src=LINK_LOCAL, dst="fe80::2") / ICMPv6EchoRequest(),
    "IPv6 behind six extension headers": hidden(v6() / UDP(dport=9), 6),
    "IPv6 behind hop-by-hop options": v6() / IPv6ExtHdrHopByHop() / IPv6ExtHdrRouting() / UDP(dport=9),
    "a later fragment of IPv6": v6() / IPv6ExtHdrFragment(nh=58, offset=4) / Raw(bytes(24)),
    "a later fragment of IPv6 that starts with options": v6() / IPv6ExtHdrFragment(nh=60, offset=4) / Raw(bytes(24)),
    "a neighbour solicitation": solicitation(),
    "a neighbour advertisement": advertisement(),
    "a neighbour advertisement of its link-local address": advertisement(LINK_LOCAL, src=LINK_LOCAL),
    "a router advertisement with its own MAC address": v6(src=LINK_LOCAL, dst=ALL_NODES, hlim=255)
    / ICMPv6ND_RA() / ICMPv6NDOptMTU() / ICMPv6NDOptSrcLLAddr(lladdr=RED1),
    "duplicate address detection": from_nobody(ICMPv6ND_NS(tgt=OWN6), SOLICITED),
    "a router solicitation without an address": from_nobody(ICMPv6ND_RS(), "ff02::2"),
    "a listener report without an address": from_nobody(IPv6ExtHdrHopByHop() / ICMPv6MLReport2(), MLD_ROUTERS),
}  # fmt: skip
"""Everything here is true."""

FORGED: dict[str, Packet] = {
    "another VM's IPv4 address": v4(src=OTHERS4) / UDP(dport=9),
    "nobody's IPv4 address": v4(src="203.0.113.9") / ICMP(),
    "no IPv4 address, and no DHCP": v4(src=NOBODY4, dst="255.255.255.255") / UDP(sport=68, dport=69),
    "no IPv4 address, from another port": dhcp(sport=67),
    "no IPv4 address, to one host": dhcp(dst=OTHERS4),
    "no IPv4 address, no UDP": v4(src=NOBODY4, dst="255.255.255.255", proto=6) / Raw(bytes([0, 68, 0, 67]) * 6),
    "no IPv4 address, a later fragment": v4(src=NOBODY4, dst="255.255.255.255", proto=17, frag=1)
    / Raw(bytes([0, 68, 0, 67]) * 6),
    "another VM's IPv4 address in ARP": arp(psrc=OTHERS4),
    "another VM's MAC address in ARP": arp(hwsrc=RED2),
    "an ARP reply for another VM": arp(op=2, psrc=OTHERS4, hwdst=RED2),
    "an ARP probe for another VM's address": arp(psrc=NOBODY4),
    "an ARP reply without an address": arp(op=2, psrc=NOBODY4, pdst=OWN4),
    "ARP of another protocol": Raw(changed(arp(), 2, b"\x86\xdd")),
    "ARP for longer MAC addresses": Raw(changed(arp(), 4, b"\x08")),
    "ARP for longer IP addresses": Raw(changed(arp(), 5, b"\x10")),
    "ARP that is cut short": Raw(bytes(arp())[:26]),
    "another VM's IPv6 address": v6(src=OTHERS6) / UDP(dport=9),
    "an IPv4 address as an IPv6 one": v6(src="::ffff:10.0.0.1") / UDP(dport=9),
    "a link-local address of another making": v6(src="fe80::1") / ICMPv6EchoRequest(),
    "a neighbour advertisement of another VM's address": advertisement(OTHERS6),
    "a neighbour advertisement with another MAC address": advertisement(mac=RED2),
    "a neighbour solicitation with another MAC address": solicitation(RED2),
    "a router advertisement with another MAC address": v6(src=LINK_LOCAL, dst=ALL_NODES, hlim=255)
    / ICMPv6ND_RA() / ICMPv6NDOptMTU() / ICMPv6NDOptSrcLLAddr(lladdr=RED2),
    "a router solicitation with another MAC address": v6(dst=ALL_NODES)
    / ICMPv6ND_RS() / ICMPv6NDOptSrcLLAddr(lladdr=RED2),
    "a redirect to another MAC address": v6(hlim=255)
    / ICMPv6ND_Redirect(tgt=OTHERS6) / ICMPv6NDOptDstLLAddr(lladdr=RED2),
    "a false advertisement behind extension headers": hidden(advertisement(OTHERS6), 3),
    "a false advertisement in a first fragment": v6(hlim=255) / IPv6ExtHdrFragment(nh=58, m=1)
    / ICMPv6ND_NA(tgt=OTHERS6) / ICMPv6NDOptDstLLAddr(lladdr=RED2),
    "more extension headers than are read": hidden(advertisement(), 7),
    "an extension header that is cut short": v6(nh=60) / Raw(bytes([58, 0, 0, 0])),
    "an ND option of no length": advertisement() / Raw(bytes(8)),
    "half an ND option": advertisement() / Raw(b"\1\1\2\0"),
    "an ND message that ends early": v6(hlim=255, plen=16) / ICMPv6ND_NA(tgt=OWN6),
    "an ND message that is cut short": v6(dst=ALL_NODES, nh=58, plen=8) / Raw(bytes([133, 0, 0, 0])),
    "an ND message that is longer than its frame": v6(hlim=255, plen=64) / ICMPv6ND_NA(tgt=OWN6),
    "seventeen ND options": advertisement() / Raw(bytes([14, 1, 0, 0, 0, 0, 0, 0]) * 16),
    "no IPv6 address, an echo request": from_nobody(ICMPv6EchoRequest(), ALL_NODES),
    "no IPv6 address, UDP": v6(src=NOBODY6, dst=ALL_NODES) / UDP(dport=9),
    "no IPv6 address, to one host": from_nobody(ICMPv6ND_RS(), "fd00:10::2"),
    "no IPv6 address, an advertisement": from_nobody(ICMPv6ND_NA(tgt=OWN6), ALL_NODES),
    "no IPv6 address, detection for another VM's": from_nobody(ICMPv6ND_NS(tgt=OTHERS6), SOLICITED),
    "no IPv6 address, detection with another MAC": from_nobody(
        ICMPv6ND_NS(tgt=OWN6) / ICMPv6NDOptSrcLLAddr(lladdr=RED2), SOLICITED
    ),
}  # fmt: skip
"""Everything here claims what is not red1's."""


def said(packet: Packet, **ethernet: Any) -> bytes:
    """The frame in which red1 says a packet, to red2 whatever its IP destination is."""
    is_cut_arp = isinstance(packet, Raw)
    return from_red1(packet, **(({"type": 0x0806} if is_cut_arp else {}) | ethernet))


macs = st.sampled_from([RED1, RED1, RED2, EVERYBODY])
addresses4 = st.sampled_from([OWN4, OWN4, OTHERS4, NOBODY4, "255.255.255.255"])
addresses6 = st.sampled_from([OWN6, OWN6, LINK_LOCAL, OTHERS6, NOBODY6, ALL_NODES])
options = st.lists(
    st.one_of(
        st.builds(lambda mac: ICMPv6NDOptSrcLLAddr(lladdr=mac), macs),
        st.builds(lambda mac: ICMPv6NDOptDstLLAddr(lladdr=mac), macs),
        st.just(ICMPv6NDOptMTU()),
        st.binary(min_size=1, max_size=9).map(Raw),
    ),
    max_size=4,
)
messages = st.one_of(
    st.builds(ICMPv6ND_NS, tgt=addresses6),
    st.builds(ICMPv6ND_NA, tgt=addresses6),
    st.sampled_from([ICMPv6ND_RS(), ICMPv6ND_RA(), ICMPv6ND_Redirect(), ICMPv6EchoRequest(), ICMPv6MLReport2()]),
)
fragments = [IPv6ExtHdrFragment(m=1), IPv6ExtHdrFragment(offset=2)]
extensions = st.lists(
    st.sampled_from([IPv6ExtHdrDestOpt(), IPv6ExtHdrHopByHop(), IPv6ExtHdrRouting(), *fragments]), max_size=7
)


@st.composite
def claims(draw: st.DrawFn) -> bytes:
    """A frame of red1 with addresses from a few that matter, perhaps mangled: about half of them are true."""
    kind = draw(st.sampled_from([4, 6, "arp"]))
    if kind == 4:
        packet = v4(src=draw(addresses4), dst=draw(addresses4)) / UDP(sport=draw(st.sampled_from([67, 68])), dport=67)
    elif kind == "arp":
        packet = arp(op=draw(st.sampled_from([1, 2])), hwsrc=draw(macs), psrc=draw(addresses4), pdst=draw(addresses4))
    else:
        packet = v6(src=draw(addresses6), dst=draw(addresses6))
        for layer in (*draw(extensions), draw(messages), *draw(options)):
            packet /= layer
    frame = bytearray(from_red1(packet))
    for position in draw(st.lists(st.integers(14, len(frame) - 1), max_size=1)):
        frame[position] ^= 1 << draw(st.integers(0, 7))
    return bytes(frame[: draw(st.one_of(st.just(len(frame)), st.integers(15, len(frame))))])


runnable_claims = st.one_of(claims(), frames).filter(is_runnable)
OTHER_ETHERTYPE = from_red1(Raw(b"no address in here"), type=EXPERIMENTAL)
