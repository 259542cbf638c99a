"""A packet in one line, for people: outer addresses, the GRE header in hex, VSID and FlowID, the inner frame. Pure."""

from __future__ import annotations

from ipaddress import ip_address

from scapy.layers.l2 import Ether

from nvgre_node.wire import ETHERNET_BYTES, GRE_PROTOCOL, HEADER_BYTES, IPV4_BYTES, TAG_ETHERTYPES

_IPV6_BYTES = 40
_LAYOUT, _KEY_ALONE = 0xB0, 0x20  # C, K and S, which say what follows the first four bytes


def outer(frame: bytes) -> tuple[int, int] | None:
    """Where outer IP and GRE start in a frame of the underlay, behind outer tags; None if it carries no GRE."""
    at = ETHERNET_BYTES
    while int.from_bytes(frame[at - 2 : at], "big") in TAG_ETHERTYPES:
        at += 4
    match int.from_bytes(frame[at - 2 : at], "big"), frame[at:]:
        case 0x0800, ip if len(ip) >= IPV4_BYTES and ip[9] == GRE_PROTOCOL:
            return at, at + (ip[0] & 0xF) * 4
        case 0x86DD, ip if len(ip) >= _IPV6_BYTES and ip[6] == GRE_PROTOCOL:
            return at, at + _IPV6_BYTES
    return None


def line(frame: bytes) -> str:
    """`MACs | IP 192.0.2.1 > 192.0.2.2 DF | GRE 20 00 65 58 00 13 89 5e, VSID 5001, FlowID 0x5e | Ether / ARP ...`."""
    found = outer(frame)
    if found is None:
        return _ethernet(frame)
    ip, gre = found
    header, inner = frame[gre : gre + HEADER_BYTES], frame[gre + HEADER_BYTES :]
    macs = f"{frame[6:12].hex(':')} > {frame[:6].hex(':')}"
    tunnel = f"{macs} | {_network(frame[ip:gre])} | GRE {header.hex(' ')}"
    if len(header) < HEADER_BYTES or header[0] & _LAYOUT != _KEY_ALONE:  # then the key is elsewhere, or nowhere
        return tunnel
    key = int.from_bytes(header[4:], "big")
    return f"{tunnel}, VSID {key >> 8}, FlowID 0x{key & 0xFF:02x} | {_ethernet(inner)}"


def _ethernet(frame: bytes) -> str:
    """A frame as Scapy sums it up, if it is long enough to be one."""
    return str(Ether(frame).summary()) if len(frame) >= ETHERNET_BYTES else f"{len(frame)} bytes"


def _network(header: bytes) -> str:
    """Outer addresses, and of IPv4 what it says of fragments."""
    if header[0] >> 4 == 6:
        return f"IPv6 {ip_address(header[8:24])} > {ip_address(header[24:40])}"
    word = int.from_bytes(header[6:8], "big")
    flags = (" DF" if word & 0x4000 else "") + (" MF" if word & 0x2000 else "")
    offset = f" offset {(word & 0x1FFF) * 8}" if word & 0x1FFF else ""
    return f"IP {ip_address(header[12:16])} > {ip_address(header[16:20])}{flags}{offset}"
