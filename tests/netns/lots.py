"""Frames and networks drawn by lot: the same seed draws the same ones. Pure."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, get_type_hints

from scapy.layers.inet import ICMP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6PacketTooBig, IPv6ExtHdrHopByHop
from scapy.layers.l2 import ARP
from scapy.packet import Packet, Raw

from nvgre_node.choices import Deviation, TooBig
from nvgre_node.dataplane.model.headers import checksum
from nvgre_node.policy import Address, Nve
from nvgre_node.wire import ETHERNET_BYTES, ETHERTYPE_IPV4, ETHERTYPE_IPV6, VSID_FIRST, VSID_LAST, octets
from topologies import Scenario, load

from .frames import KINDS, STRANGER, padded, v4, v6

_TAGS = (0x8100, 0x88A8, 0x9100)
_GROUPS = ("ff:ff:ff:ff:ff:ff", "01:00:5e:7f:00:01", "33:33:00:00:00:01", "01:80:c2:00:00:00")
_MTUS = (1542, 1542, 1500, 1601, 9000)
_JUMBO = 8900
_IPV6_ADDRESS, _FRAGMENT = 16, 0x3FFF
_CHECKSUM, _SEQUENCE = 0x8000, 0x1000


def choices(rng: random.Random) -> dict[str, Any]:
    """A choice for every field of `Nve` that is one of several: fields that come later are drawn as well.

    All but outer fragments, which the host's kernel makes, later and elsewhere (`test_fragment_outer`).
    """
    drawn: dict[str, Any] = {}
    for name, kind in get_type_hints(Nve).items():
        if kind is bool:
            drawn[name] = rng.random() < 0.5
        elif kind == frozenset[Deviation]:
            often = rng.choice((0, 0, 0.3, 0.7))  # half of all networks do nothing wrong
            drawn[name] = frozenset(way for way in Deviation if rng.random() < often)
        elif isinstance(kind, type) and issubclass(kind, Enum):
            drawn[name] = rng.choice([choice for choice in kind if choice is not TooBig.FRAGMENT_OUTER])
    return drawn


def network(rng: random.Random) -> Scenario:
    """two_hosts with other VSIDs, MTUs and choices, and now and then with a lookup record that points elsewhere."""
    scenario = load("two_hosts").with_nve(**choices(rng))
    if rng.random() < 0.3:
        scenario = scenario.over_ipv6()
    underlay = rng.choice(_MTUS)
    scenario = scenario.with_mtu(underlay, rng.choice((underlay - 42, underlay, 1500, 9000)))
    policy = scenario.policy
    vsids = rng.sample([VSID_FIRST, VSID_LAST, 5000, rng.randint(VSID_FIRST, VSID_LAST)], len(policy.subnets))
    subnets = tuple(replace(subnet, vsid=vsid) for subnet, vsid in zip(policy.subnets, vsids, strict=True))
    policy = replace(policy, subnets=subnets)
    if rng.random() < 0.3:
        policy = policy.pointing_to(*rng.sample(policy.vms, 2))
    return replace(scenario, policy=policy)


def _templates() -> list[bytes]:
    """Packets of every kind behind an Ethernet header's addresses: EtherType and what follows."""
    packets: dict[int, list[Packet]] = {
        0x0800: [
            *(packet for name, packet in KINDS.items() if "IPv4" in name or name in {"ICMP", "last fragment"}),
            v4(options=b"\x94\x04\x00\x00" * 10) / TCP(dport=80),
            v4(tos=3) / TCP(flags="S", options=[("MSS", 1460), ("SAckOK", b"")]),
            v4(tos=1) / UDP(),
            v4(frag=185, flags="MF", proto=6) / Raw(bytes(40)),
            v4() / ICMP(type=3, code=4) / v4() / UDP(),
            v4(proto=47) / Raw(bytes.fromhex("20006558 00138800")),
            v4(src="0.0.0.0"),  # noqa: S104
            v4(src="224.0.0.1", dst="255.255.255.255"),
            v4(),
            *(
                padded(v4(flags=flags) / UDP(), size)
                for flags in ("", "DF")
                for size in (200, 1458, 1500, 1501, _JUMBO)
            ),
        ],
        0x86DD: [
            *(packet for name, packet in KINDS.items() if "v6" in name),
            v6(tc=2) / TCP(flags="S", options=[("MSS", 1440)]),
            v6() / IPv6ExtHdrHopByHop() / UDP(),
            v6() / ICMPv6PacketTooBig() / v6(),
            v6() / ICMPv6EchoRequest(),
            v6(src="::"),
            v6(src="ff02::1"),
            *(padded(v6() / TCP(), size) for size in (200, 1458, 1501, _JUMBO)),
        ],
        0x0806: [
            ARP(psrc="10.0.0.1", pdst="10.0.0.2"),
            ARP(op=2, psrc="10.0.0.3", pdst="10.0.0.1"),
            ARP(pdst="10.0.0.9"),
        ],
        0x88B5: [Raw(b""), Raw(b"x"), Raw(bytes(range(46)))],
    }
    return [struct.pack("!H", ethertype) + bytes(packet) for ethertype, own in packets.items() for packet in own]


@dataclass(frozen=True)
class Underlay:
    """What a packet to this host is addressed by: MAC and PA of the sender, and of this host."""

    peer_mac: str
    peer_pa: Address
    mac: str
    pa: Address


class Lots:
    """Frames for one host of a network: `draw` says where one comes in, and its bytes."""

    def __init__(self, rng: random.Random, scenario: Scenario, host: str, uplink: str, underlay: Underlay) -> None:
        self._rng, self._uplink = rng, uplink
        policy = scenario.policy
        self._ports = [vm.name for vm in policy.vms if vm.host == host]
        self._own = {vm.name: octets(vm.mac) for vm in policy.vms}
        self._macs = [*map(octets, (*(vm.mac for vm in policy.vms), STRANGER)), *map(octets, _GROUPS[:2])]
        self._rare_macs = [octets(mac) for mac in _GROUPS] + [bytes(6)]
        self._vsids = [subnet.vsid for subnet in policy.subnets] * 4
        self._vsids += [0, 1, VSID_FIRST - 1, VSID_FIRST, VSID_LAST, 0xFFFFFF, 7000]
        ethertype = ETHERTYPE_IPV6 if underlay.pa.version == 6 else ETHERTYPE_IPV4
        self._macs_and_type = octets(underlay.mac) + octets(underlay.peer_mac), struct.pack("!H", ethertype)
        self._peer_pa, self._pa = underlay.peer_pa.packed, underlay.pa.packed
        self._longest = ETHERNET_BYTES + scenario.tenant_mtu
        self._packets = _templates()

    def draw(self) -> tuple[str, bytes]:
        """An interface of the host, and a frame that comes in there."""
        if self._chance(0.5):
            port = self._rng.choice(self._ports)
            return port, self._frame(port)
        return self._uplink, self._wire()

    def _chance(self, probability: float) -> bool:
        return self._rng.random() < probability

    def _frame(self, port: str | None = None) -> bytes:
        """What a VM may say, or what may be inside an NVGRE packet."""
        rng = self._rng
        destination = rng.choice(self._macs) if self._chance(0.95) else rng.choice(self._rare_macs)
        source = self._own[port] if port and self._chance(0.9) else rng.choice(self._macs)
        packet = rng.choice(self._packets)
        if len(packet) > 1700 and self._chance(0.9):  # long ones are slow, and much alike
            packet = packet[: rng.randint(2, 1700)]
        if self._chance(0.06):
            tags = rng.choices(_TAGS, k=rng.choice((1, 1, 2, 4, 5)))
            packet = b"".join(struct.pack("!HH", tag, rng.getrandbits(16)) for tag in tags) + packet
        frame = bytearray((destination + source + packet)[: self._longest])  # no VM sends more
        if self._chance(0.5):
            self._scatter(frame, 12 if self._chance(0.1) else 14, min(len(frame), 80))
        end = rng.randint(ETHERNET_BYTES, len(frame)) if self._chance(0.1) else self._longest
        padding = rng.randbytes(rng.choice((1, 4, 18))) if self._chance(0.05) else b""
        return bytes(frame + padding)[:end]

    def _scatter(self, frame: bytearray, first: int, end: int) -> None:
        """Other bytes, here and there: other addresses and ports, or nonsense."""
        for _ in range(self._rng.randint(1, 4)):
            if first < end:
                frame[self._rng.randrange(first, end)] = self._rng.getrandbits(8)

    def _wire(self) -> bytes:
        """An NVGRE packet for this host, and what can be wrong with one."""
        rng, inner = self._rng, self._frame()
        outer = Outer(self._peer_pa, self._pa, rng.choice(self._vsids) << 8 | rng.getrandbits(8), 28 + len(inner))
        if self._chance(0.4):
            outer.ttl, outer.tos, outer.identification = rng.getrandbits(8), rng.getrandbits(8), rng.getrandbits(16)
        if self._chance(0.45):
            rng.choice(_WRONGS)(outer, rng)
        packet = outer.tags.join(self._macs_and_type) + outer.packed(inner) + outer.trailer
        if self._chance(0.06):
            return packet[: rng.randint(14, min(len(packet), 120))]  # at every byte of every header
        if self._chance(0.08):
            mangled = bytearray(packet)
            self._scatter(mangled, 0, min(len(mangled), 60))
            return bytes(mangled)
        return packet


@dataclass
class Outer:
    """Outer IP and GRE, sound as they are made; then anything may be made wrong before they are packed.

    `length` is that of an IPv4 packet, `words` that of an IPv4 header; `tags` stand before the outer EtherType.
    """

    source: bytes
    destination: bytes
    key: int
    length: int
    flags: int = 0x2000
    protocol: int = 0x6558
    fragment: int = 0x4000
    words: int = 5
    options: bytes = b""
    ip_protocol: int = 47
    ttl: int = 64
    tos: int = 0
    identification: int = 0
    checksum_error: int = 0
    whole: bool = False
    gre_checksum_error: int = 0
    tags: bytes = b""
    trailer: bytes = b""

    def packed(self, inner: bytes) -> bytes:
        """The bytes, up to the end of an inner frame; checksums are right unless their errors say otherwise."""
        return (self._ipv6() if len(self.source) == _IPV6_ADDRESS else self._ipv4()) + self._gre(inner)

    def _gre(self, inner: bytes) -> bytes:
        """The GRE header and the inner frame; with the fields that C and S announce, if the header is `whole`."""
        number = b"\x00\x00\x00\x07" if self.whole and self.flags & _SEQUENCE else b""
        first, rest = struct.pack("!HH", self.flags, self.protocol), struct.pack("!I", self.key) + number + inner
        if not self.whole or not self.flags & _CHECKSUM:
            return first + rest
        return first + struct.pack("!HH", checksum(first + bytes(4) + rest) ^ self.gre_checksum_error, 0) + rest

    def _ipv6(self) -> bytes:
        extension, protocol = b"", self.ip_protocol
        if self.fragment & _FRAGMENT:
            offset = (self.fragment & 0x1FFF) << 3 | bool(self.fragment & 0x2000)
            extension, protocol = struct.pack("!BxHI", protocol, offset, self.identification), 44
        if self.options:
            extension, protocol = struct.pack("!BB6x", protocol, 0) + extension, 60
        length = self.length - 20 + len(extension) - len(self.options)
        first = (6 << 28) ^ (self.checksum_error << 16) | self.tos << 20 | self.identification
        head = struct.pack("!IHBB", first & 0xFFFFFFFF, length & 0xFFFF, protocol, self.ttl)
        return head + self.source + self.destination + extension

    def _ipv4(self) -> bytes:
        first = (0x40 | self.words & 0xF, self.tos, self.length & 0xFFFF, self.identification, self.fragment)
        ip = struct.pack("!BBHHHBBH", *first, self.ttl, self.ip_protocol, 0) + self.source + self.destination
        right = checksum(ip + self.options)
        ip = ip[:10] + struct.pack("!H", right ^ self.checksum_error) + ip[12:]
        return ip + self.options


Wrong = Callable[[Outer, random.Random], None]


def _one_flag(outer: Outer, rng: random.Random) -> None:
    outer.flags ^= 1 << rng.randrange(16)


def _flags(outer: Outer, rng: random.Random) -> None:
    outer.flags, outer.protocol = rng.getrandbits(16), rng.choice((0x6558, 0x6558, 0x0800, 0x880B, rng.getrandbits(16)))


def _gre_options(outer: Outer, rng: random.Random) -> None:
    outer.whole, outer.flags = True, outer.flags | rng.choice((_CHECKSUM, _SEQUENCE, _CHECKSUM | _SEQUENCE))
    outer.length += 4 * (bool(outer.flags & _CHECKSUM) + bool(outer.flags & _SEQUENCE))
    outer.gre_checksum_error = rng.choice((0, 0, rng.getrandbits(16)))


def _protocol_type(outer: Outer, rng: random.Random) -> None:
    outer.protocol = rng.choice((0x0800, 0x880B, 0x88BE, rng.getrandbits(16)))


def _fragment(outer: Outer, rng: random.Random) -> None:
    outer.fragment = rng.choice((0x2000, 0x6000, 0x0001, 0x1FFF, 0x8000, 0x0000))


def _length(outer: Outer, rng: random.Random) -> None:
    outer.length = rng.choice((0, 19, 20, 27, 28, 41, 42, outer.length - 1, outer.length + 1, outer.length + 1000))


def _checksum(outer: Outer, rng: random.Random) -> None:
    outer.checksum_error = rng.getrandbits(16)


def _source(outer: Outer, rng: random.Random) -> None:
    stranger = bytearray(outer.source)
    stranger[rng.randrange(len(stranger))] ^= 1 << rng.randrange(8)
    outer.source = rng.choice((outer.destination, bytes(stranger), rng.randbytes(len(stranger))))


def _destination(outer: Outer, rng: random.Random) -> None:
    outer.destination = rng.choice((outer.source, rng.randbytes(len(outer.source)), b"\xff" * len(outer.source)))


def _options(outer: Outer, rng: random.Random) -> None:
    outer.words, outer.options = rng.choice(((6, b"\x01\x01\x01\x00"), (15, bytes(40)), (6, b""), (4, b""), (0, b"")))
    outer.length += len(outer.options)


def _tags(outer: Outer, rng: random.Random) -> None:
    tags = rng.choices(_TAGS, k=rng.choice((1, 1, 2)))
    outer.tags = b"".join(struct.pack("!HH", tag, rng.choice((0, 7, rng.getrandbits(16)))) for tag in tags)


def _trailer(outer: Outer, rng: random.Random) -> None:
    outer.trailer = rng.randbytes(rng.choice((1, 4, 18)))


def _not_gre(outer: Outer, rng: random.Random) -> None:
    outer.ip_protocol = rng.choice((0, 1, 4, 6, 17, 41))


_WRONGS: tuple[Wrong, ...] = (
    _one_flag, _one_flag, _one_flag, _flags, _gre_options, _gre_options, _protocol_type, _fragment, _length, _length,
    _checksum, _source, _destination, _options, _trailer, _tags, _not_gre,
)  # fmt: skip
