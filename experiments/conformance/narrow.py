"""A path that is narrower than the VMs think: what the NVE learns of it, and the two ways to get fragments (4.4)."""

from __future__ import annotations

from collections.abc import Iterator

from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import ICMPv6PacketTooBig, IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from experiments.conformance.lab import DEAD, Lab, mark
from experiments.conformance.rows import Finding
from nvgre_node.wire import ETHERNET_BYTES, GRE_PROTOCOL, IPV4_BYTES, OVERHEAD

_ANY_CA = "192.0.2.1"  # RFC 5737: nobody's
_LEARNT = 1400
_FORGED = 68  # RFC 791's least MTU
_BELIEVED = {4: 552, 6: _LEARNT}  # of it: net.ipv4.route.min_pmtu, and nothing at all (RFC 8201 section 4)
_FRAGMENTATION_NEEDED = b"\x03\x04"
_PATIENCE = 40  # packets, each of which is listened to for more than 20 ms


def path_mtu(lab: Lab) -> Iterator[Finding]:
    """F4: what a router says of the path reaches the VM; what no router can mean has a floor."""
    overhead = OVERHEAD[lab.outer_version]
    limit, floor = _LEARNT - overhead, _BELIEVED[lab.outer_version] - overhead
    tries = (
        (_LEARNT, limit + 1, f"told {limit}"),
        (_FORGED, floor, "got through"),
        (_FORGED, floor + 1, f"told {floor}"),
    )
    for mtu, size, expected in tries:
        lab.inject(_too_big(lab, mtu))
        what = f"ICMP says {mtu}, then a packet of {size} bytes"
        for _ in range(_PATIENCE):  # an NVE in user space asks the kernel only now and then
            if (observed := _told(lab, size)) == expected:
                break
        yield Finding("F4", what, "UDP with DF", expected, observed)


def _too_big(lab: Lab, mtu: int) -> Packet:
    """What a router on the way says to the receiver's NVE about a packet for the sender's."""
    there, back = lab.pa(lab.sender), lab.pa(lab.receiver)
    quoted = Raw(bytes(8)) / mark()
    uplink = lab.uplinks[lab.receiver.host]
    ethernet = Ether(src=uplink.far_mac, dst=uplink.mac)
    if lab.outer_version == 6:
        about = IPv6(src=back, dst=there, nh=GRE_PROTOCOL, plen=1500)
        return ethernet / IPv6(src=there, dst=back) / ICMPv6PacketTooBig(mtu=mtu) / about / quoted
    about = IP(src=back, dst=there, proto=GRE_PROTOCOL, flags="DF", len=1500)
    return ethernet / IP(src=there, dst=back) / ICMP(type=3, code=4, nexthopmtu=mtu) / about / quoted


def _told(lab: Lab, size: int) -> str:
    """What becomes of a packet with DF from the receiver to the sender: which size it is told, or that it arrived."""
    header = lab.ethernet(src=lab.receiver.mac, dst=lab.sender.mac, type=0x0800)
    packet = header / IP(src=_ANY_CA, dst="192.0.2.2", flags="DF") / UDP(chksum=0) / mark()
    before = len(lab.everything)
    (shot,) = lab.say(packet / Raw(bytes(size + ETHERNET_BYTES - len(packet))), vm=lab.receiver)
    if shot.heard:
        return "got through"
    own = [s.frame for s in lab.everything[before:] if s.node == lab.receiver.name]
    errors = [frame for frame in own if frame[23] == 1 and frame[34:36] == _FRAGMENTATION_NEEDED]
    told = {Ether(frame)[ICMP].nexthopmtu for frame in errors}
    return f"told {', '.join(map(str, told))}" if told else "silence" if shot.alive else DEAD


def inner_fragments(lab: Lab) -> Iterator[Finding]:
    """F1: what may be cut is cut inside, so that no NVGRE packet is a fragment (RFC 7588)."""
    size = lab.net.topo.fabric.mtu
    header = lab.ethernet(type=0x0800) / IP(src=_ANY_CA, dst="192.0.2.2", id=1) / UDP(chksum=0)
    known = mark().load * (size // len(mark().load))
    frame = bytes(header / Raw(known[: size + ETHERNET_BYTES - len(header)]))
    (shot,) = lab.say(frame)
    outer = [outer for host in shot.out for outer in shot.carriers(host)]
    fragments = sum(packet.is_fragment for packet in outer)
    payload = frame[ETHERNET_BYTES + IPV4_BYTES :]
    recovered = "whole" if _joined([inner for _, inner in shot.heard]) == payload else "not whole"
    observed = f"{recovered}, in {len(outer)} packets, {fragments} of them fragments"
    expected = "whole, in 2 packets, 0 of them fragments"
    yield Finding("F1", "inner fragments", f"UDP without DF, {size} bytes", expected, observed, shot.reason)


def _joined(frames: list[bytes]) -> bytes:
    """The payload of an IPv4 packet by its fragments, or nothing where they do not make a whole."""
    pieces = sorted((Ether(frame)[IP] for frame in frames), key=lambda piece: int(piece.frag))
    payload = b""
    for piece in pieces:
        if piece.frag * 8 != len(payload) or ("MF" in piece.flags) == (piece is pieces[-1]):
            return b""
        payload += bytes(piece)[IPV4_BYTES:]
    return payload
