"""What NVEs of this make say to each other with the vendors' VSID (RFC 7637 section 3.4): a liveness probe. Pure.

The RFC leaves the contents to the vendor. Ours: an inner Ethernet frame between two equal addresses, of the EtherType
for local experiments, with these 12 bytes behind it, and any data, which comes back as it was:

    0    4 bytes  `NVEp`
    4    1 byte   kind: 1 request, 2 reply
    5    1 byte   0, ignored
    6    2 bytes  identifier, of the one who asks
    8    4 bytes  sequence number

A reply is its request with the other kind. The FlowID is 0. Which peers are of this make is configured, not asked
(V3, V4): a mechanism that asks would have to use the VSID before it knows.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from nvgre_node.wire import ETHERNET_BYTES, NvgreHeader

VSID_VENDOR = 0xFFFFFF  # V2
ETHERTYPE_PROBE = 0x88B5  # IEEE 802 local experimental EtherType 1
MAGIC = b"NVEp"
ADDRESS = bytes.fromhex("024e56475245")  # locally administered, and NVGRE in ASCII
KIND_AT = ETHERNET_BYTES + len(MAGIC)
_PROBE = struct.Struct("!6s6sH4sBxHI")

PROBE_BYTES = _PROBE.size
"""Bytes of a probe's inner frame without data: 26."""

HEADER = NvgreHeader(VSID_VENDOR)


class Kind(IntEnum):
    """Who says it."""

    REQUEST = 1
    REPLY = 2


@dataclass(frozen=True)
class Probe:
    """A probe: a reply belongs to the request of the same identifier (16 bits) and sequence number (32 bits)."""

    kind: Kind
    identifier: int
    sequence: int

    def pack(self) -> bytes:
        """The inner frame."""
        return _PROBE.pack(ADDRESS, ADDRESS, ETHERTYPE_PROBE, MAGIC, self.kind, self.identifier, self.sequence)

    @classmethod
    def unpack(cls, inner: bytes) -> Probe | None:
        """The probe in an inner frame, or None where there is none."""
        if len(inner) < PROBE_BYTES:
            return None
        _, _, ethertype, magic, kind, identifier, sequence = _PROBE.unpack_from(inner)
        if (ethertype, magic) != (ETHERTYPE_PROBE, MAGIC) or kind not in set(Kind):
            return None
        return cls(Kind(kind), identifier, sequence)


def reply_to(request: bytes) -> bytes:
    """The inner frame that answers one with a request."""
    return request[:KIND_AT] + bytes([Kind.REPLY]) + request[KIND_AT + 1 :]
