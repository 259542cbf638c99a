"""The frames of the two_hosts network, as Scapy expressions: what VMs say, what the wire carries, and mutilations."""

from __future__ import annotations

import struct
from typing import Any

from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrFragment
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from nvgre_node.wire import TAG_ETHERTYPES

RED, BLUE, NOBODYS = 5000, 6000, 7000
RED1, RED2, RED3 = (f"02:00:0a:00:00:0{n}" for n in (1, 2, 3))
BLUE1, BLUE2 = "02:00:00:00:0b:01", "02:00:00:00:0b:02"
STRANGER, EVERYBODY, GROUP = "02:00:00:00:0c:01", "ff:ff:ff:ff:ff:ff", "01:00:5e:7f:00:01"
PA1, PA2 = "192.168.0.1", "192.168.0.2"
EXPERIMENTAL = 0x88B5  # IEEE 802 local experimental EtherType 1
OUTER_BYTES = 42

PASS, DROP, REDIRECT = 0, 2, 7
"""What a tc program says of a frame: TC_ACT_OK, TC_ACT_SHOT, TC_ACT_REDIRECT."""


def v4(**fields: Any) -> Packet:
    """From red1 to red2."""
    return IP(**({"src": "10.0.0.1", "dst": "10.0.0.2"} | fields))


def v6(**fields: Any) -> Packet:
    """From red1 to red2."""
    return IPv6(**({"src": "fd00:10::1", "dst": "fd00:10::2"} | fields))


def from_red1(*layers: Packet, dst: str = RED2, **ethernet: Any) -> bytes:
    """A frame that red1 sends, to red2 unless told otherwise."""
    frame: Packet = Ether(src=RED1, dst=dst, **ethernet)
    for layer in layers:
        frame /= layer
    return bytes(frame)


def to_red1(*layers: Packet, dst: str = RED1, **ethernet: Any) -> bytes:
    """A frame that red2 sends, to red1 unless told otherwise."""
    frame: Packet = Ether(src=RED2, dst=dst, **ethernet)
    for layer in layers:
        frame /= layer
    return bytes(frame)


def padded(packet: Packet, size: int) -> Packet:
    """The packet with a payload that makes it `size` bytes long."""
    return packet / Raw(bytes(n & 0xFF for n in range(size - len(packet))))


KINDS = {
    "TCP over IPv4": v4() / TCP(sport=4000, dport=80) / Raw(b"hello"),
    "UDP over IPv4": v4() / UDP(sport=4000, dport=53) / Raw(b"hello"),
    "ICMP": v4() / ICMP() / Raw(b"hello"),
    "TCP over IPv6": v6() / TCP(sport=4000, dport=80) / Raw(b"hello"),
    "UDP over IPv6": v6(fl=0x12345) / UDP(sport=4000, dport=53),
    "ICMPv6": v6() / ICMPv6EchoRequest(data=b"hello"),
    "IPv4 with options": v4(options=b"\x94\x04\x00\x00") / UDP(sport=1, dport=2) / Raw(b"hello"),
    "first fragment": v4(flags="MF") / UDP(sport=1, dport=2, len=2000, chksum=0) / Raw(bytes(24)),
    "last fragment": v4(frag=4, proto=17) / Raw(bytes(24)),
    "IPv6 fragment": v6() / IPv6ExtHdrFragment(nh=17, m=1) / Raw(bytes(24)),
    "unicast ARP": ARP(hwsrc=RED1, psrc="10.0.0.1", pdst="10.0.0.2"),
    "1500 bytes of IPv4": padded(v4(flags="DF") / UDP(), 1500),
    "1500 bytes of IPv6": padded(v6() / UDP(), 1500),
}
"""One packet of every kind that VMs send, the largest included (I1, I3)."""

ports = st.integers(0, 0xFFFF)
transports = st.one_of(
    st.builds(lambda s, d: TCP(sport=s, dport=d), ports, ports),
    st.builds(lambda s, d: UDP(sport=s, dport=d), ports, ports),
)
payloads = st.binary(max_size=64).map(Raw)
addresses4 = st.integers(0, 0xFFFFFFFF).map(lambda n: ".".join(map(str, n.to_bytes(4, "big"))))
addresses6 = st.integers(0, 2**128 - 1).map(lambda n: ":".join(f"{n >> s & 0xFFFF:x}" for s in range(112, -1, -16)))
networks4 = st.builds(
    lambda src, dst, flags, frag: IP(src=src, dst=dst, flags=flags, frag=frag),
    addresses4,
    addresses4,
    st.sampled_from(["", "DF", "MF"]),
    st.sampled_from([0, 0, 0, 1, 185, 0x1FFF]),
)
networks6 = st.builds(
    lambda src, dst, label: IPv6(src=src, dst=dst, fl=label), addresses6, addresses6, st.integers(0, 0xFFFFF)
)
packets = st.one_of(
    st.builds(lambda network, transport, data: network / transport / data, networks4 | networks6, transports, payloads),
    st.builds(lambda network, data: network / IPv6ExtHdrFragment(nh=17, m=1) / data, networks6, payloads),
    st.builds(lambda network, data: network / data, networks4 | networks6, payloads),
    st.builds(lambda address: ARP(hwsrc=RED1, psrc=address), addresses4),
    payloads,
)
ethertypes = st.integers(0, 0xFFFF).filter(lambda ethertype: ethertype not in TAG_ETHERTYPES)
sound_frames = packets.map(lambda packet: from_red1(packet)).filter(lambda frame: len(frame) > 14)


def is_runnable(frame: bytes) -> bool:
    """Whether the kernel takes a frame for a test run: none whose IP header is cut, and none without a payload."""
    return len(frame) >= {0x0800: 34, 0x86DD: 54}.get(int.from_bytes(frame[12:14], "big"), 15)


@st.composite
def mangled_frames(draw: st.DrawFn) -> bytes:
    """A frame from red1 to red2 of which anything but the destination may be broken, and which has no tag."""
    frame = bytearray(draw(sound_frames))
    for position in draw(st.lists(st.integers(6, len(frame) - 1), max_size=4)):
        frame[position] = draw(st.integers(0, 0xFF))
    if draw(st.booleans()):
        frame[12:14] = struct.pack("!H", draw(ethertypes))
    if int.from_bytes(frame[12:14], "big") in TAG_ETHERTYPES:
        frame[12:14] = struct.pack("!H", EXPERIMENTAL)
    return bytes(frame[: draw(st.integers(15, len(frame)))])


frames = st.one_of(sound_frames, mangled_frames()).filter(is_runnable)
"""What red1 may send to red2: whole or broken, without a tag, at most some 150 bytes long."""
