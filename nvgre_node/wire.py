"""The wire format of NVGRE (RFC 7637 section 3.2) in plain Python: header codec, FlowID, overheads. Pure."""

from __future__ import annotations

import struct
from dataclasses import dataclass

GRE_PROTOCOL = 47
ETHERTYPE_TEB = 0x6558  # G4
ETHERTYPE_IPV4, ETHERTYPE_ARP, ETHERTYPE_IPV6 = 0x0800, 0x0806, 0x86DD
TAG_ETHERTYPES = frozenset({0x8100, 0x88A8, 0x9100})  # I4, I7
FLAGS = 0x2000  # K set, all else clear: G1 to G3

VSID_FIRST, VSID_LAST = 0x001000, 0xFFFFFE  # V1, V2, V5
HEADER_BYTES = 8
ETHERNET_BYTES, TAG_BYTES = 14, 4
IPV4_BYTES, IPV6_BYTES = 20, 40
FRAGMENT_HEADER = 44  # the next header value of IPv6's (RFC 8200 section 4.5)

OVERHEAD_IPV4 = IPV4_BYTES + HEADER_BYTES + ETHERNET_BYTES
OVERHEAD_IPV6 = IPV6_BYTES + HEADER_BYTES + ETHERNET_BYTES
OVERHEAD = {4: OVERHEAD_IPV4, 6: OVERHEAD_IPV6}
"""Bytes that NVGRE adds to an inner IP packet, by the IP version of the PAs: 42 and 62."""

_GRE = struct.Struct("!HHI")
_PORT_PROTOCOLS = frozenset({6, 17, 132})  # TCP, UDP, SCTP


class WireError(ValueError):
    """These bytes are not an NVGRE header; the message names the row of the reference that they break."""


def check_vsid(vsid: int) -> int:
    """Returns a VSID that a tenant may have, else raises WireError (V1, V2, V5)."""
    if not 0 <= vsid <= 0xFFFFFF:
        raise WireError(f"VSID {vsid} does not fit in 24 bits")
    if vsid < VSID_FIRST:
        raise WireError(
            f"VSID {vsid} is reserved: 0 to {VSID_FIRST - 1} are kept for future use (RFC 7637 section 3.4)"
        )
    if vsid > VSID_LAST:
        raise WireError(f"VSID {vsid} is reserved for vendors' NVE-to-NVE communication (RFC 7637 section 3.4)")
    return vsid


def octets(mac: str) -> bytes:
    """The six bytes of an Ethernet address in the form `02:00:0a:00:00:01`."""
    return bytes.fromhex(mac.replace(":", ""))


@dataclass(frozen=True)
class NvgreHeader:
    """The eight bytes between the outer IP header and the inner Ethernet header."""

    vsid: int
    flow_id: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.vsid <= 0xFFFFFF or not 0 <= self.flow_id <= 0xFF:
            raise WireError(f"VSID {self.vsid} has 24 bits and FlowID {self.flow_id} has 8")

    @property
    def key(self) -> int:
        """The 32-bit GRE key: VSID in the upper 24 bits, FlowID in the lower 8 (G5, G6)."""
        return self.vsid << 8 | self.flow_id

    def pack(self) -> bytes:
        """The header in network order: `20 00 65 58 VV VV VV FF`."""
        return _GRE.pack(FLAGS, ETHERTYPE_TEB, self.key)

    @classmethod
    def unpack(cls, data: bytes) -> NvgreHeader:
        """Reads the first eight bytes as a receiver must: strict where RFC 7637 is, deaf to bits 6 to 12 (G13).

        Raises:
            WireError: too short, or a header that G1, G2, G4, G12 or G14 refuses.
        """
        if len(data) < HEADER_BYTES:
            raise WireError(f"{len(data)} bytes are too few for a header of {HEADER_BYTES}")
        flags, protocol, key = _GRE.unpack_from(data)
        for fault, mask in {
            "G14: version": 0x0007,
            "G12: reserved bit": 0x4C00,
            "G1: C": 0x8000,
            "G1: S": 0x1000,
        }.items():
            if flags & mask:
                raise WireError(f"{fault} set in flags 0x{flags:04x}")
        if not flags & FLAGS:
            raise WireError(f"G2: no key in flags 0x{flags:04x}")
        if protocol != ETHERTYPE_TEB:
            raise WireError(f"G4: protocol type 0x{protocol:04x} is not 0x6558")
        return cls(key >> 8, key & 0xFF)


def _mix(value: int, word: int) -> int:
    value = (value ^ word) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
    return value ^ value >> 32


def flow_id(frame: bytes) -> int:
    """The FlowID of an untagged inner frame: 8 bits hashed from its MACs, addresses, protocol and ports (G6, G8).

    Fragments hash without ports, so that all of a datagram take one path. IPv6 adds the flow label. Other EtherTypes
    hash their Ethernet header. This is `flow_id` of `dataplane/bpf/flow.h`; a test holds the two together.
    """

    def words(offset: int, count: int) -> list[int]:
        return [int.from_bytes(frame[i : i + 4], "little") for i in range(offset, offset + 4 * count, 4)]

    def pair(high: int, low: int) -> int:
        return high << 32 | low

    def mix_ports(value: int, protocol: int, offset: int) -> int:
        if protocol in _PORT_PROTOCOLS and offset + 4 <= len(frame):
            return _mix(value, words(offset, 1)[0])
        return value

    if len(frame) < ETHERNET_BYTES:
        return 0
    mac = words(0, 3)
    ethertype = int.from_bytes(frame[12:14], "big")
    value = _mix(_mix(0, pair(mac[0], mac[1])), pair(mac[2], int.from_bytes(frame[12:14], "little")))
    if ethertype == ETHERTYPE_IPV4 and len(frame) >= 34:
        protocol = frame[23]
        value = _mix(_mix(value, pair(*words(26, 2))), protocol)
        if not int.from_bytes(frame[20:22], "big") & 0x3FFF:
            value = mix_ports(value, protocol, ETHERNET_BYTES + (frame[14] & 0xF) * 4)
    elif ethertype == ETHERTYPE_IPV6 and len(frame) >= 54:
        addresses = words(22, 8)
        for i in range(0, 8, 2):
            value = _mix(value, pair(*addresses[i : i + 2]))
        label = int.from_bytes(bytes([0, frame[15] & 0x0F]) + frame[16:18], "little")
        value = mix_ports(_mix(value, pair(label, frame[20])), frame[20], 54)
    return value >> 24 & 0xFF
