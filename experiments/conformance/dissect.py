"""A packet in one line, for people: outer addresses, the GRE header in hex, VSID and FlowID, the inner frame. Pure."""

from __future__ import annotations

from scapy.layers.l2 import Ether

from nvgre_node.outer import Outer, outer_of
from nvgre_node.wire import ETHERNET_BYTES, HEADER_BYTES

_LAYOUT, _KEY_ALONE = 0xB0, 0x20  # C, K and S, which say what follows the first four bytes


def outer(frame: bytes) -> Outer | None:
    """The outer headers of a frame of the underlay, behind outer tags; None if it carries no GRE."""
    found = outer_of(frame)
    return found if found and found.is_gre else None


def line(frame: bytes) -> str:
    """`MACs | IP 192.0.2.1 > 192.0.2.2 DF | GRE 20 00 65 58 00 13 89 5e, VSID 5001, FlowID 0x5e | Ether / ARP ...`."""
    packet = outer(frame)
    if packet is None:
        return _ethernet(frame)
    macs = f"{frame[6:12].hex(':')} > {frame[:6].hex(':')}"
    tunnel = f"{macs} | {_network(packet)} | GRE {packet.gre.hex(' ')}"
    if len(packet.gre) < HEADER_BYTES or packet.gre[0] & _LAYOUT != _KEY_ALONE:  # then the key is elsewhere, or nowhere
        return tunnel
    return f"{tunnel}, VSID {packet.key >> 8}, FlowID 0x{packet.key & 0xFF:02x} | {_ethernet(packet.inner)}"


def _ethernet(frame: bytes) -> str:
    """A frame as Scapy sums it up, if it is long enough to be one."""
    return str(Ether(frame).summary()) if len(frame) >= ETHERNET_BYTES else f"{len(frame)} bytes"


def _network(packet: Outer) -> str:
    """Outer addresses, and of IPv4 what it says of fragments."""
    ends = f"{packet.source} > {packet.destination}"
    if packet.version == 6:
        return f"IPv6 {ends}"
    word = int.from_bytes(packet.header[6:8], "big")
    flags = (" DF" if word & 0x4000 else "") + (" MF" if word & 0x2000 else "")
    offset = f" offset {(word & 0x1FFF) * 8}" if word & 0x1FFF else ""
    return f"IP {ends}{flags}{offset}"
