"""What an NVE accepts: packets from the underlay, sound and broken, and who hears what is in them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from scapy.layers.inet import fragment
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, fragment6
from scapy.layers.l2 import GRE, Dot1AD, Dot1Q, Ether
from scapy.packet import Packet, Raw

from experiments.conformance.peer import DEAD, NOBODY, QUIET_MS, Peer, mark
from experiments.conformance.rows import Finding
from experiments.probes import BROADCAST
from nvgre_node.choices import Fragments
from nvgre_node.outer import outer_of
from nvgre_node.wire import FRAGMENT_HEADER, GRE_PROTOCOL, VSID_FIRST, VSID_LAST

UNLISTED_PA = {4: "198.51.100.1", 6: "2001:db8::9"}  # RFC 5737, RFC 3849: nobody's
NO_VSID = 0xABCDE  # of no virtual subnet
WITH_OPTIONAL_FIELDS = ("C, with a checksum", "S, with a sequence number")
_REASSEMBLY_MS = 300.0  # user space takes part in it


def header(lab: Peer, flags: int, protocol: int = 0x6558) -> Raw:
    """A GRE header of eight bytes with these flags, and the key where NVGRE has it: sound to who ignores flags."""
    return Raw(struct.pack("!HHI", flags, protocol, lab.vsid << 8))


def spelled(packet: Packet) -> str:
    """What was injected, in words, as its bytes say."""
    outer = outer_of(bytes(packet))
    if outer is None:
        return bytes(packet).hex(" ", 2)
    pas = f"{outer.source} -> {outer.destination}"
    return f"{pas}, GRE {outer.gre.hex(' ', 2)}, inner {outer.inner[:18].hex(' ', 2)} ..."


def inner_of(packet: Packet) -> bytes:
    """The inner frame of a whole NVGRE packet that was made here."""
    outer = outer_of(bytes(packet))
    return outer.inner if outer else b""


def accepted(lab: Peer, row: str, what: str, packet: Packet) -> Finding:
    """The receiver's NVE delivers this packet, and the inner frame is the one that was sent."""
    (shot,) = lab.inject(packet)
    return Finding(row, what, spelled(packet), lab.to_receiver, shot.recovered(inner_of(packet)), shot.reason)


def refused(lab: Peer, row: str, what: str, packet: Packet) -> Finding:
    """No VM hears what is in this packet, though a sound packet behind it is delivered."""
    (shot,) = lab.inject(packet)
    return Finding(row, what, spelled(packet), NOBODY, shot.delivered, shot.reason)


# GRE header


def every_flow_id(lab: Peer) -> Iterator[Finding]:
    """G10: the FlowID decides nothing."""
    shots = lab.inject(*(lab.nvgre(flow=flow) for flow in range(256)))
    delivered = sum(shot.delivered == lab.to_receiver for shot in shots)
    yield Finding("G10", "every FlowID", "FlowIDs 0 to 255", f"256 {lab.to_receiver}", f"{delivered} {lab.to_receiver}")


def header_bits(lab: Peer) -> Iterator[Finding]:
    """G12 to G15: reserved bits that are refused, reserved bits that are ignored, version, and protocol type."""

    def packet(flags: int, protocol: int = 0x6558) -> Packet:
        return lab.outer() / header(lab, flags, protocol) / lab.ethernet() / lab.payload()

    for bit in (1, 4, 5):
        yield refused(lab, "G12", f"bit {bit} set", packet(0x2000 | 0x8000 >> bit))
    for bit in range(6, 13):
        yield accepted(lab, "G13", f"bit {bit} set", packet(0x2000 | 0x8000 >> bit))
    for version in (1, 7):
        yield refused(lab, "G14", f"version {version}", packet(0x2000 | version))
    for protocol in (0x0800, 0x880B):
        yield refused(lab, "G15", f"protocol type 0x{protocol:04x}", packet(0x2000, protocol))


def checksum_sequence_no_key(lab: Peer) -> Iterator[Finding]:
    """G11: whole headers with the optional field, and bare bits."""
    key = lab.vsid << 8
    whole = {
        "C, with a checksum": GRE(chksum_present=1, key_present=1, key=key, proto=0x6558),
        "S, with a sequence number": GRE(seqnum_present=1, key_present=1, key=key, sequence_number=1, proto=0x6558),
        "no K, no key": GRE(proto=0x6558),
        "C, bare": header(lab, 0xA000),
        "S, bare": header(lab, 0x3000),
        "no K, bare": header(lab, 0x0000),
    }
    for what, gre in whole.items():
        processed = lab.accepts_optional_fields and what in WITH_OPTIONAL_FIELDS
        yield (accepted if processed else refused)(lab, "G11", what, lab.outer() / gre / lab.ethernet() / lab.payload())


# VSID and sender


def virtual_subnets(lab: Peer) -> Iterator[Finding]:
    """T6, V1, V2, V5: a VSID that this NVE does not serve reaches nobody, whatever range it is from."""
    served = {subnet.vsid for subnet in lab.policy.subnets}
    tries = [("T6", NO_VSID), ("V1", 0), ("V1", 1), ("V1", 0xFFF), ("V2", 0xFFFFFF)]
    tries += [("V5", VSID_FIRST), ("V5", VSID_LAST)]
    for row, vsid in tries:
        if vsid not in served:
            unserved = ", unknown here" if row in {"T6", "V5"} else ""
            yield refused(lab, row, f"VSID 0x{vsid:06x}{unserved}", lab.nvgre(vsid=vsid))


def senders(lab: Peer) -> Iterator[Finding]:
    """C1: only members of a virtual subnet may send into it."""
    unlisted = UNLISTED_PA[lab.outer_version]
    yield refused(lab, "C1", f"source PA {unlisted}", lab.nvgre(src=unlisted))
    yield refused(lab, "C1", "the receiver's own PA", lab.nvgre(src=lab.pa(lab.receiver)))


# Inner frame


def inner_tags(lab: Peer) -> Iterator[Finding]:
    """I6, I7: a tag in the inner frame is a reason to drop, priority tags and service tags included."""
    tags = {
        ("I6", "0x8100, VID 10"): lab.ethernet(type=0x8100) / Dot1Q(vlan=10, type=lab.ethertype),
        ("I6", "0x8100, VID 0"): lab.ethernet(type=0x8100) / Dot1Q(vlan=0, prio=5, type=lab.ethertype),
        ("I6", "0x8100 twice"): lab.ethernet(type=0x8100) / Dot1Q(vlan=10) / Dot1Q(vlan=20, type=lab.ethertype),
        ("I7", "received, 0x88a8, VID 10"): lab.ethernet(type=0x88A8) / Dot1AD(vlan=10, type=lab.ethertype),
    }
    for (row, what), inner in tags.items():
        yield refused(lab, row, what, lab.nvgre(inner / lab.payload()))


def padding(lab: Peer) -> Iterator[Finding]:
    """I2: what follows the outer IP packet is the underlay's, and no part of the inner frame."""
    packet = lab.nvgre()
    (shot,) = lab.inject(bytes(packet) + bytes(18))
    yield Finding(
        "I2", "18 bytes behind the packet", spelled(packet), lab.to_receiver, shot.recovered(inner_of(packet))
    )


def back_to_the_wire(lab: Peer) -> Iterator[Finding]:
    """B5: what came from the wire never goes back to it, be it for everybody or for a VM that is elsewhere."""
    for what, destination in {"broadcast": BROADCAST, "unicast for a VM that is elsewhere": lab.sender.mac}.items():
        packet = lab.nvgre(lab.ethernet(dst=destination) / lab.payload())
        (shot,) = lab.inject(packet)
        again = len(shot.out[lab.receiver.host])
        observed = f"{again} packets" if shot.alive else DEAD
        yield Finding("B5", f"{what}, from wire to wire", spelled(packet), "0 packets", observed, shot.reason)


# Outer fragments


def outer_fragments(lab: Peer) -> Iterator[Finding]:
    """F2: fragments of an NVGRE packet, all of them and the first alone; what becomes of them is the NVE's choice."""
    frame = lab.ethernet() / lab.payload(20)  # so that each part has its mark
    parts = _fragments(lab, frame)
    reassembles = lab.policy.nve(lab.receiver.host).fragments is Fragments.REASSEMBLE
    shot = lab.inject(*parts, quiet_ms=_REASSEMBLY_MS if reassembles else QUIET_MS)[0]
    sent = f"{len(parts)} fragments of one packet"
    what, expected = "every fragment of a packet", lab.to_receiver if reassembles else NOBODY
    what += ", reassembled" if reassembles else ""
    yield Finding("F2", what, sent, expected, shot.recovered(bytes(frame)), shot.reason)
    yield refused(lab, "F2", "a first fragment that holds a whole frame", _first_fragment(lab))


def _fragments(lab: Peer, inner: Packet) -> list[Packet]:
    if lab.outer_version == 4:
        return list(fragment(lab.nvgre(inner, flags=0), fragsize=160))
    ethernet, packet = lab.outer(nh=FRAGMENT_HEADER), lab.nvgre(inner)[GRE]
    parts = fragment6(ethernet[IPv6] / IPv6ExtHdrFragment(nh=GRE_PROTOCOL) / packet, 240)
    return [Ether(src=ethernet.src, dst=ethernet.dst) / part for part in parts]


def _first_fragment(lab: Peer) -> Packet:
    if lab.outer_version == 4:
        return lab.nvgre(flags="MF")
    whole = lab.nvgre()[GRE]
    padding = Raw(bytes(-len(whole) % 8))  # RFC 8200 section 4.5 wants whole eights, and refuses others for that
    return lab.outer(nh=FRAGMENT_HEADER) / IPv6ExtHdrFragment(nh=GRE_PROTOCOL, m=1) / whole / padding


def inner_versions(lab: Peer) -> Iterator[Finding]:
    """I3: IPv6 inside IPv4, byte for byte."""
    inner = lab.ethernet(type=0x86DD) / IPv6(src="fd00::1", dst="fd00::2", nh=59) / mark()
    yield accepted(lab, "I3", "IPv6, received", lab.nvgre(inner))


RECEIVING: tuple[Callable[[Peer], Iterator[Finding]], ...] = (
    every_flow_id,
    checksum_sequence_no_key,
    header_bits,
    virtual_subnets,
    senders,
    inner_tags,
    inner_versions,
    padding,
    back_to_the_wire,
    outer_fragments,
)
