"""Reading the IP packet in an inner frame: its addresses, and what its upper layer is and where that starts. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from nvgre_node.choices import Carries
from nvgre_node.dataplane.model.headers import OFFSET, ethertype
from nvgre_node.policy import Nve
from nvgre_node.wire import (
    ETHERNET_BYTES,
    ETHERTYPE_ARP,
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    FRAGMENT_HEADER,
    IPV4_BYTES,
    IPV6_BYTES,
)

MAX_EXTENSIONS = 6
EXTENSIONS = frozenset({0, 43, 60})  # hop-by-hop options, routing, destination options: (length + 1) * 8 bytes
_OFFSET6 = 0xFFF8


@dataclass(frozen=True)
class InnerPacket:
    """An IP packet. What cannot be read of it is None.

    `protocol` is that of the upper layer, behind IPv6's extension headers; `at` is where it starts in the frame, and
    None in a later fragment (`later`), which has no part of its header.
    """

    source: bytes
    destination: bytes
    protocol: int | None
    at: int | None
    later: bool = False


def is_carried(nve: Nve, frame: bytes) -> bool:
    """Whether an NVE carries an untagged frame: any (I1), or IP and ARP alone."""
    return nve.carries is Carries.ETHERNET or ethertype(frame) in {ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_ARP}


def read(frame: bytes) -> InnerPacket | None:
    """The IP packet in an untagged frame, or None where there is none, or not even its fixed header."""
    if ethertype(frame) == ETHERTYPE_IPV4 and len(frame) >= ETHERNET_BYTES + IPV4_BYTES:
        return _read4(frame)
    if ethertype(frame) == ETHERTYPE_IPV6 and len(frame) >= ETHERNET_BYTES + IPV6_BYTES:
        return _read6(frame)
    return None


def _read4(frame: bytes) -> InnerPacket:
    later = bool(int.from_bytes(frame[20:22], "big") & OFFSET)
    at = None if later else ETHERNET_BYTES + (frame[14] & 0xF) * 4
    return InnerPacket(frame[26:30], frame[30:34], frame[23], at, later)


def _read6(frame: bytes) -> InnerPacket:
    source, destination = frame[22:38], frame[38:54]
    protocol, at = frame[20], ETHERNET_BYTES + IPV6_BYTES
    for _ in range(MAX_EXTENSIONS):
        if protocol not in EXTENSIONS | {FRAGMENT_HEADER}:
            break
        if at + 8 > len(frame):
            return InnerPacket(source, destination, None, None)
        following, length = frame[at], 8 if protocol == FRAGMENT_HEADER else (frame[at + 1] + 1) * 8
        if protocol == FRAGMENT_HEADER and int.from_bytes(frame[at + 2 : at + 4], "big") & _OFFSET6:
            known = following not in EXTENSIONS  # else the upper layer is further on, in another fragment
            return InnerPacket(source, destination, following if known else None, None, later=True)
        protocol, at = following, at + length
    if protocol in EXTENSIONS | {FRAGMENT_HEADER}:
        return InnerPacket(source, destination, None, None)
    return InnerPacket(source, destination, protocol, at)
