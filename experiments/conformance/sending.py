"""What an NVE sends: the packets that VMs' frames become, read on the uplinks of both hosts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Dot1AD, Dot1Q
from scapy.packet import Packet, Raw

from experiments.conformance.lab import DEAD, Lab, Shot, distinct, mark
from experiments.conformance.peer import Peer
from experiments.conformance.rows import Finding
from experiments.probes import TEST_ETHERTYPE, Kind, probe
from nvgre_node.outer import Outer, outer_of
from nvgre_node.wire import ETHERNET_BYTES, GRE_PROTOCOL, IPV4_BYTES, OVERHEAD, TAG_ETHERTYPES, VSID_FIRST, VSID_LAST

_FLOWS, _REPEATS = 4096, 16
_DEEP = 9  # more tags than anybody stacks
_PORTS_AT = ETHERNET_BYTES + IPV4_BYTES
_ANY_CA = "192.0.2.1"  # RFC 5737: nobody's, so that nobody answers


def every_kind(lab: Lab) -> dict[str, bytes]:
    """A frame of every kind that sender and receiver can speak, and one with a tag."""
    a, b = lab.sender, lab.receiver
    kinds = [kind for kind in Kind if kind.version is None or (a.ca(kind.version) and b.ca(kind.version))]
    frames = {str(kind): probe(kind, a, b, bytes(mark())) for kind in kinds}
    return frames | {"tagged": bytes(lab.ethernet(type=0x8100) / Dot1Q(vlan=10, type=TEST_ETHERTYPE) / mark())}


# Outer headers and GRE header, of every kind of frame


def headers(lab: Lab) -> Iterator[Finding]:
    """O1 to O3, G1 to G5, I4, F1, F5: what each header says, in every packet that leaves."""
    frames = every_kind(lab)
    shots = lab.say(*frames.values())
    silent = [kind for kind, shot in zip(frames, shots, strict=True) if not shot.out[lab.sender.host]]
    packets = [packet for shot in shots for packet in shot.out[lab.sender.host]]
    sent = f"frames of {lab.sender.name}: {', '.join(frames)}"
    yield Finding("O1", "every kind of frame leaves", sent, "all", f"not {', '.join(silent)}" if silent else "all")
    uplink = lab.uplinks[lab.sender.host]
    yield from outer_macs(uplink.mac, uplink.far_mac, sent, packets)
    yield from gre_headers(lab, sent, packets)


def outer_macs(mac: str, next_hop: str, sent: str, packets: Sequence[bytes]) -> Iterator[Finding]:
    """O2, O3: the outer MAC addresses are those of the NVE and of its next hop."""
    for row, what, expected, at in (("O2", "source MAC", mac, 6), ("O3", "destination MAC", next_hop, 0)):
        yield Finding(row, what, sent, expected, distinct(packet[at : at + 6].hex(":") for packet in packets))


def gre_headers(peer: Peer, sent: str, packets: Sequence[bytes]) -> Iterator[Finding]:
    """O1, G1 to G5, I4, F1, F5: what each header says, in all of these packets."""
    for row, what, expected, read in _header_rows(peer):
        yield Finding(row, what, sent, expected, distinct(read(packet) for packet in packets))


def _header_rows(peer: Peer) -> Iterator[tuple[str, str, str, Callable[[bytes], str]]]:
    """Row, what is read, what it must be in all packets, and how it is read from one."""

    def word(at: int, mask: int = 0xFFFF) -> Callable[[bytes], str]:
        return reading(lambda outer: f"0x{int.from_bytes(outer.gre[at : at + 2], 'big') & mask:04x}")

    yield "O1", "IP protocol", str(GRE_PROTOCOL), reading(lambda outer: str(outer.protocol))
    yield "G1", "C and S", "0x0000", word(0, 0x9000)
    yield "G2", "K", "0x2000", word(0, 0x2000)
    yield "G3", "flags and version", "0x2000", word(0)
    yield "G4", "protocol type", "0x6558", word(2)
    yield "G5", "upper 24 bits of the key", f"0x{peer.vsid:06x}", reading(lambda outer: f"0x{outer.key >> 8:06x}")
    yield "I4", "inner tag", "none", reading(_inner_tag)
    yield "F1", "fragments", "none", reading(lambda outer: "a fragment" if outer.is_fragment else "none")
    if peer.outer_version == 4:
        yield "F5", "DF", "0x4000", reading(lambda outer: f"0x{int.from_bytes(outer.header[6:8], 'big') & 0x4000:04x}")


def reading(read: Callable[[Outer], str]) -> Callable[[bytes], str]:
    """What is read from the outer headers of a packet."""

    def of(packet: bytes) -> str:
        outer = outer_of(packet)
        return read(outer) if outer else "no IP packet"

    return of


def _inner_tag(outer: Outer) -> str:
    ethertype = int.from_bytes(outer.inner[12:14], "big")
    return f"0x{ethertype:04x}" if ethertype in TAG_ETHERTYPES else "none"


# FlowID


def flow(lab: Lab) -> Packet:
    """A UDP packet of one flow, from nobody's address, so that nobody answers; without a checksum, so it can vary."""
    return lab.ethernet(type=0x0800) / IP(src=_ANY_CA, dst="192.0.2.2") / UDP(sport=1, dport=2, chksum=0)


def keys(shots: Iterable[Shot], host: str) -> list[int]:
    """The GRE keys of the packets that left a host."""
    return [outer.key for shot in shots for outer in shot.carriers(host)]


def flow_ids(lab: Lab) -> Iterator[Finding]:
    """G6, G7, G8: one FlowID per flow, every FlowID over many flows, and the same key at the other end."""
    host = lab.sender.host
    one = lab.say(*(flow(lab) / mark() for _ in range(_REPEATS)))
    ids = len({key & 0xFF for key in keys(one, host)})
    yield Finding("G6", "one flow", f"{_REPEATS} UDP packets of one flow", "1 FlowID", f"{ids} FlowID")
    template = bytes(flow(lab))
    ports = (lab.rng.randbytes(4) for _ in range(_FLOWS))
    shots = lab.say(*(template[:_PORTS_AT] + own + template[_PORTS_AT + 4 :] + bytes(mark()) for own in ports))
    ids = len({key & 0xFF for key in keys(shots, host)})
    sent = f"{_FLOWS} UDP flows with ports drawn by lot"
    yield Finding("G8", "many flows", sent, "256 FlowIDs", f"{ids} FlowIDs")
    yield Finding("G7", "keys at both uplinks", sent, f"{_FLOWS} unchanged", _unchanged(lab, shots))


def _unchanged(lab: Lab, shots: Iterable[Shot]) -> str:
    """How many packets arrived with the key with which they left, and how many did not."""
    pairs = [([o.key for o in shot.carriers(lab.sender.host)], shot.into[lab.receiver.host]) for shot in shots]
    same = sum(len(out) == 1 and out == [o.key for p in into if (o := outer_of(p))] for out, into in pairs)
    return f"{same} unchanged"


# Inner frame


def inner_frames(lab: Lab) -> Iterator[Finding]:
    """I1, I2, I3, U3: any Ethernet frame arrives as it was, and nothing but it is in the packet."""
    frames = every_kind(lab)
    del frames["tagged"]
    shots = dict(zip(frames, lab.say(*frames.values()), strict=True))
    changed = [kind for kind, shot in shots.items() if lab.receiver.name not in dict(shot.heard)]
    changed += [kind for kind, shot in shots.items() if "changed" in shot.recovered(frames[kind])]
    sent = f"frames of {lab.sender.name}: {', '.join(frames)}"
    yield Finding("U3", "every kind of frame", sent, "recovered", ", ".join(changed) or "recovered")
    yield Finding("I1", f"EtherType 0x{TEST_ETHERTYPE:04x}", sent, lab.to_receiver, shots[Kind.RAW].delivered)
    for kind in (Kind.UDP, Kind.ICMPV6):
        if kind in shots:
            version = f"IPv{kind.version}, sent"
            yield Finding("I3", version, f"{kind} of {lab.sender.name}", lab.to_receiver, shots[kind].delivered)
    more = distinct(
        str(outer.length - len(frames[kind]))
        for kind, shot in shots.items()
        for outer in shot.carriers(lab.sender.host)
    )
    headers = OVERHEAD[lab.outer_version] - ETHERNET_BYTES
    yield Finding("I2", "outer IP packet less inner frame", sent, f"{headers} bytes", f"{more} bytes")


def tags(lab: Lab) -> Iterator[Finding]:
    """I5, I7: the sender takes tags off before it encapsulates, priority tags and service tags included."""
    tagged = {
        ("I5", "VID 10"): lab.ethernet(type=0x8100) / Dot1Q(vlan=10, type=TEST_ETHERTYPE),
        ("I5", "VID 0"): lab.ethernet(type=0x8100) / Dot1Q(vlan=0, prio=5, type=TEST_ETHERTYPE),
        ("I5", "QinQ"): lab.ethernet(type=0x88A8) / Dot1AD(vlan=20, type=0x8100) / Dot1Q(vlan=10, type=TEST_ETHERTYPE),
        ("I7", "sent, 0x88a8, VID 10"): lab.ethernet(type=0x88A8) / Dot1AD(vlan=10, type=TEST_ETHERTYPE),
    }
    for (row, what), packet in tagged.items():
        payload = mark()
        (shot,) = lab.say(packet / payload)
        inner = bytes(lab.ethernet() / payload)
        carried = distinct(
            _inner_tag(o) + ("" if o.inner == inner else ", changed") for o in shot.carriers(lab.sender.host)
        )
        sent = f"frame of {lab.sender.name}, {bytes(packet)[12:].hex(' ', 2)}"
        yield Finding(row, f"{what}, on the wire", sent, "none", carried)
        yield Finding(row, f"{what}, delivered", sent, lab.to_receiver, shot.recovered(inner))


def hopeless_tags(lab: Lab) -> Iterator[Finding]:
    """I4: tags that a sender may fail to remove never reach the wire: then it must not send at all."""
    deep = lab.ethernet(type=0x8100)
    for _ in range(_DEEP - 1):
        deep /= Dot1Q(vlan=10)
    tagged = {
        "0x9100, an older service tag": lab.ethernet(type=0x9100) / Dot1Q(vlan=10, type=TEST_ETHERTYPE),
        f"{_DEEP} tags": deep / Dot1Q(vlan=10, type=TEST_ETHERTYPE),
    }
    for what, packet in tagged.items():
        (shot,) = lab.say(packet / mark())
        carried = distinct({_inner_tag(o) for o in shot.carriers(lab.sender.host)} | {"none"} if shot.alive else {DEAD})
        sent = f"frame of {lab.sender.name}, {bytes(packet)[12:].hex(' ', 2)}"
        yield Finding("I4", what, sent, "none", carried, shot.reason)


# Networks of another make


def without_flow_ids(lab: Lab) -> Iterator[Finding]:
    """G9: NVEs that are told to generate none."""
    found = distinct(f"0x{key & 0xFF:02x}" for key in keys(lab.say(*every_kind(lab).values()), lab.sender.host))
    yield Finding("G9", "FlowIDs switched off", "a frame of every kind", "0x00", found)


def sizes(lab: Lab) -> Iterator[Finding]:
    """F1, F5: across the limit of an underlay that is narrower than the VMs think, nothing is ever fragmented."""
    underlay = lab.net.topo.fabric.mtu
    limit, fragments = underlay - OVERHEAD[lab.outer_version], 0
    delivered: list[str] = []
    for size in (limit - 1, limit, limit + 1, underlay):
        header = lab.ethernet(type=0x0800) / IP(src=_ANY_CA, dst="192.0.2.2", flags="DF") / UDP(chksum=0) / mark()
        (shot,) = lab.say(header / Raw(bytes(size + ETHERNET_BYTES - len(header))))
        fragments += sum(outer.is_fragment for host in shot.out for outer in shot.carriers(host))
        delivered += [str(size)] if shot.delivered == lab.to_receiver else []
    sent = f"packets of {limit - 1}, {limit}, {limit + 1} and {underlay} bytes, underlay MTU {underlay}"
    fitting = f"delivered: {limit - 1}, {limit}"
    yield Finding(
        "F1", "packets across the limit", sent, "0 fragments", f"{fragments} fragments" if delivered else DEAD
    )
    yield Finding("F5", "packets across the limit", sent, fitting, f"delivered: {', '.join(delivered)}")


def largest(lab: Lab, tenant: int) -> Iterator[Finding]:
    """F3: the largest packet that a VM may send goes through whole."""
    header = lab.ethernet(type=0x0800) / IP(src=_ANY_CA, dst="192.0.2.2", flags="DF") / UDP(chksum=0) / mark()
    frame = bytes(header / Raw(bytes(tenant + ETHERNET_BYTES - len(header))))
    (shot,) = lab.say(frame)
    yield Finding(
        "F3", f"a packet of {tenant} bytes", "UDP with DF", lab.to_receiver, shot.recovered(frame), shot.reason
    )


def at_both_ends(lab: Lab) -> Iterator[Finding]:
    """V5: virtual subnets with the lowest and the highest VSID of a tenant work."""
    for pair in lab.pairs:
        lab.turn_to(*pair)
        if lab.vsid in {VSID_FIRST, VSID_LAST}:
            yield _carried(lab)


def _carried(lab: Lab) -> Finding:
    (shot,) = lab.say(lab.ethernet() / mark())
    vsids = distinct(f"0x{key >> 8:06x}" for key in keys([shot], lab.sender.host))
    expected = f"{lab.to_receiver} as VSID 0x{lab.vsid:06x}"
    sent = f"a unicast frame of {lab.sender.name}"
    return Finding("V5", f"VSID 0x{lab.vsid:06x} of a tenant", sent, expected, f"{shot.delivered} as VSID {vsids}")


SENDING: tuple[Callable[[Lab], Iterator[Finding]], ...] = (
    headers,
    inner_frames,
    tags,
    hopeless_tags,
    flow_ids,
)
