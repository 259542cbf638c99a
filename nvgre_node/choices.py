"""What an NVE may be told to do where RFC 7637 leaves a choice, one enumeration each. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Literal

COPY: Final = "copy"
"""The word for a DSCP that is the inner header's."""

Dscp = int | Literal["copy"]
"""The outer DSCP (RFC 2983 section 3): a value of its own, 0 to 63 (pipe model), or `copy`, the inner one (uniform)."""

TTL_DEFAULT = 64
"""The TTL or hop limit of what starts at an NVE, as of what starts at any host (RFC 1700)."""

MAX_PAS = 8
"""How many PAs an NVE may have."""


class FlowIds(StrEnum):
    """What an NVE writes into FlowID: entropy of the inner flow (G8), or always zero (G9)."""

    FLOW = "flow"
    NONE = "none"


class TooBig(StrEnum):
    """What an NVE does with a packet that does not fit (RFC 7588 section 3): an ICMP answer, silence, or fragments.

    FRAGMENT cuts inner IPv4 packets without DF, so that each fragment travels whole, and tells about all others; what
    is flooded is dropped where it does not fit, in silence. FRAGMENT_OUTER is what RFC 7637 forbids (F1), to see
    why: the NVGRE packet itself is fragmented, by this host or, since it has no DF, by a router of the underlay (F5).
    """

    TELL = "tell"
    DROP = "drop"
    FRAGMENT = "fragment"
    FRAGMENT_OUTER = "fragment_outer"


class Fragments(StrEnum):
    """What an NVE does with outer fragments that arrive: drop them, or have the host's kernel reassemble them (F2)."""

    DROP = "drop"
    REASSEMBLE = "reassemble"


class UnknownUnicast(StrEnum):
    """What an NVE does with a unicast frame of a VM that no lookup record knows (B6).

    It drops it, treats it as a broadcast, or hands it to user space (`ProviderHost.punted`), where a controller may
    install the record that is missing. What comes from the wire is delivered or dropped, and never handed over.
    """

    DROP = "drop"
    FLOOD = "flood"
    PUNT = "punt"


class SourceCheck(StrEnum):
    """What a VM's frames must prove of their origin (C1): nothing, its MAC address, or also its CAs."""

    NONE = "none"
    MAC = "mac"
    CA = "ca"


class PaChoice(StrEnum):
    """Which PA of an NVE with several serves a VM: the first, or one per virtual subnet, per VM or per flow (O6, E3).

    Per flow, the sending NVE varies its source PA; packets to it still go to its first.
    """

    FIRST = "first"
    SUBNET = "subnet"
    VM = "vm"
    FLOW = "flow"


class Neighbours(StrEnum):
    """What an NVE does with ARP requests and Neighbour Solicitations: floods them, or answers by its records (S2)."""

    FLOOD = "flood"
    PROXY = "proxy"


class RecordType(StrEnum):
    """What a lookup record knows of its VM, as Hyper-V Network Virtualization has it."""

    STATIC = "static"
    """CA and MAC."""
    DYNAMIC = "dynamic"
    """The same; the VM has its CA by DHCP."""
    L2ONLY = "l2only"
    """The MAC alone: who asks for a CA that no record knows is carried to such VMs, as to all in their subnet."""
    GATEWAY_WILDCARD = "gateway_wildcard"
    """CA and MAC of a gateway: any other CA may be behind it."""


class GatewayMode(StrEnum):
    """What a gateway does with what passes between a tenant and a physical network (RFC 7637 sections 4.6 and 4.7)."""

    NAT = "nat"
    """Translates the tenant's addresses to its own (X5)."""
    FORWARD = "forward"
    """Routes packets as they are."""
    SITE_TO_SITE = "site_to_site"
    """Tunnels them to the tenant's own site (X1, X3)."""


class Transport(StrEnum):
    """A protocol with ports."""

    TCP = "tcp"
    UDP = "udp"


class Ecn(StrEnum):
    """What an NVE writes into the outer ECN field (RFC 6040 section 4.1): normal mode, or compatibility mode.

    RFC 9601 section 4 wants `zero` unless every egress propagates ECN and the ingress reads the inner IP header. Our
    NVEs always do both, so that `copy` is the default; `zero` is for a network with NVEs of another make.
    """

    COPY = "copy"
    ZERO = "zero"


class Vendor(StrEnum):
    """Whether an NVE is of this make: only then does it get packets with the vendors' VSID (V3)."""

    OURS = "ours"
    OTHER = "other"


class Carries(StrEnum):
    """What an NVE carries of its VMs: any Ethernet frame (I1), or IP and ARP alone, by MAC addresses or by CAs.

    `ip_by_ca` is as Windows Server 2012 R2 does it: inside a virtual subnet, too, an IP packet goes to whom the lookup
    record of its destination CA names, whatever MAC address the VM had in mind.
    """

    ETHERNET = "ethernet"
    IP = "ip"
    IP_BY_CA = "ip_by_ca"


class Deviation(StrEnum):
    """What known implementations do against the rules, each of them wrong: for learners, and to be found.

    The order is that of `enum deviation` in `dataplane/bpf/policy.h`. Which implementation does what is in
    `nvgre_node.deviations`; docs/deviations.md says which row each breaks.
    """

    KEEPS_TAGS = "keeps_tags"
    """802.1Q tags of VMs' frames stay on, up to four of them, and nothing behind a tag is looked at (I4, I5)."""
    DELIVERS_TAGS = "delivers_tags"
    """Inner frames with a tag are delivered as they are (I6, I7)."""
    TAKES_CHECKSUMS = "takes_checksums"
    """C is allowed, and the checksum must be right (G11)."""
    TAKES_SEQUENCE_NUMBERS = "takes_sequence_numbers"
    """S is allowed, and the sequence number is skipped (G11)."""
    REFUSES_RESERVED_BITS = "refuses_reserved_bits"
    """Bits 6 to 12 must be zero, instead of being ignored (G13)."""
    EXACT_KEYS = "exact_keys"
    """All 32 bits of the key identify a virtual subnet, so that no FlowID but 0 gets through (G10)."""
    HIDES_CE = "hides_ce"
    """An inner CE becomes an outer ECT(0), as RFC 3168 had it (O8)."""
    IGNORES_ECT1 = "ignores_ect1"
    """An outer ECT(1) does not reach an inner ECT(0), as in RFC 3168 (O8)."""
    CLEARS_DF = "clears_df"
    """Outer IPv4 headers allow fragments (F5)."""
    REPEATS_ID = "repeats_id"
    """The ID of every outer IPv4 header is 1, be there fragments or not (O8)."""
    TAKES_RESERVED_BITS = "takes_reserved_bits"
    """Bits 4 and 5 are ignored, instead of having the packet refused (G12)."""
    WIDENS_VERSION = "widens_version"
    """The version has seven bits, so that bits 9 to 12 must be zero, instead of being ignored (G13)."""
    VARIES_ID = "varies_id"
    """Outer IPv4 headers have an ID of their own each, though nothing may fragment them: here, the length (O8)."""


class Implementation(StrEnum):
    """Whose deviations an NVE may imitate (`nvgre_node.deviations`)."""

    OVS = "ovs"
    GRETAP = "gretap"
    DASH = "dash"
