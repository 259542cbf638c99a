"""What data planes can do and policies ask for, so that each can say honestly what it lacks. Pure.

A policy asks for what its choices name. Choices that are left at their default bind no data plane to what RFC 7637 only
recommends, such as FlowIDs: one that lacks it runs all the same, and `conformance` says so.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from enum import StrEnum

from nvgre_node.choices import (
    COPY,
    TTL_DEFAULT,
    Carries,
    Ecn,
    FlowIds,
    Fragments,
    Neighbours,
    PaChoice,
    RecordType,
    SourceCheck,
    TooBig,
    UnknownUnicast,
)
from nvgre_node.errors import BadInputError
from nvgre_node.policy import NvePolicy


class Capability(StrEnum):
    """Something that a data plane can do; the value is how a message calls it."""

    # What leaves
    FLOW_IDS = "FlowIDs from inner flows (G8)"
    NO_FLOW_IDS = "FlowIDs that are all zero (G9)"
    STRIPS_TAGS = "removal of VLAN tags (I5)"
    OUTER_TTL = "TTL of its own choice (O8)"
    OUTER_DSCP = "DSCP of its own choice (O8)"
    HIDES_DSCP = "inner DSCP inside alone (O8)"
    COPIES_DSCP = "inner DSCP outside (O8)"
    COPIES_ECN = "inner ECN outside (O8)"
    ZERO_ID = "IPv4 identification of zero (O8)"
    ZERO_ECN = "ECN of zero (O8)"
    DSCP_OF_PRIORITY = "DSCP for each priority (I5)"
    # What arrives
    EVERY_FLOW_ID = "packets with any FlowID (G10)"
    STRICT_FLAGS = "refusal of C and S (G11)"
    DROPS_RESERVED_BITS = "refusal of reserved bits that must be zero (G12)"
    IGNORES_RESERVED_BITS = "packets with reserved bits set (G13)"
    DROPS_TAGS = "refusal of inner VLAN tags (I6)"
    TRIMS = "removal of what follows the outer packet (I2)"
    CHECKS_SOURCE_PA = "refusal of unlisted PAs (C1)"
    RESTORES_ECN = "ECN inside as RFC 6040 combines it (O8)"
    SILENT = "silence towards those whose packets it refuses (O1)"
    DROPS_FRAGMENTS = "refusal of outer fragments (F2)"
    REASSEMBLES = "reassembly of outer fragments (F2)"
    # Where it goes
    OUTER_IPV6 = "PAs of IPv6 (O5)"
    SEVERAL_PAS = "several PAs per NVE (O6)"
    PA_PER_FLOW = "PA for each flow (E3)"
    GROUPS = "multicast groups of the underlay (B1)"
    DROPS_UNKNOWN = "refusal of unknown unicast (B6)"
    FLOODS_UNKNOWN = "flooding of unknown unicast (B6)"
    PUNTS_UNKNOWN = "unknown unicast in user space (B6)"
    LEARNS = "learning (T8)"
    PROXIES = "answers to ARP and Neighbour Discovery (S2)"
    ROUTES = "distributed router (X6)"
    TRUNKS = "trunk ports (I5)"
    L2ONLY = "lookup records without a CA"
    GATEWAYS = "gateways, behind which any CA may be"
    CROSSES = "lookup records that lead into another virtual subnet"
    INSTALLS = "lookup records that change while it runs (T2)"
    UPDATES = "ports and peers that change while it runs (P2)"
    CARRIES_IP = "refusal of what is neither IP nor ARP"
    FORWARDS_BY_CA = "forwarding by CAs inside a virtual subnet"
    # What does not fit
    TELLS_TOO_BIG = "ICMP answers to what does not fit (F4)"
    DROPS_TOO_BIG = "silence about what does not fit"
    FRAGMENTS_INNER = "inner fragmentation (RFC 7588)"
    FRAGMENTS_OUTER = "outer fragmentation (F1 forbids it)"
    CLAMPS_MSS = "MSS clamping"
    LEARNS_PATH_MTU = "path MTU for each remote PA (F4)"
    # What is let through
    CHECKS_SOURCES = "check of VMs' addresses (C1)"
    ACLS = "access control lists (T6)"
    PROBES = "liveness probes (V2)"
    COUNTS_DROPS = "counters by drop reason (G16)"
    COUNTS_PORTS = "counters by VM port"
    COUNTS_PAS = "counters by remote PA"
    DEVIATES = "deviations from RFC 7637"


EVERYTHING = frozenset(Capability)
"""What a data plane has that does all there is."""

_TOO_BIG = {
    TooBig.DROP: Capability.DROPS_TOO_BIG,
    TooBig.FRAGMENT: Capability.FRAGMENTS_INNER,
    TooBig.FRAGMENT_OUTER: Capability.FRAGMENTS_OUTER,
}
_UNKNOWN = {UnknownUnicast.FLOOD: Capability.FLOODS_UNKNOWN, UnknownUnicast.PUNT: Capability.PUNTS_UNKNOWN}
_RECORDS = {RecordType.L2ONLY: Capability.L2ONLY, RecordType.GATEWAY_WILDCARD: Capability.GATEWAYS}


def asked_for(policy: NvePolicy) -> frozenset[Capability]:
    """What a policy asks of a data plane beyond the defaults."""
    return frozenset((*_of_choices(policy), *_of_network(policy)))


def _of_choices(policy: NvePolicy) -> Iterator[Capability]:
    nve = policy.nve
    asked = {
        Capability.NO_FLOW_IDS: nve.flow_ids is FlowIds.NONE,
        Capability.REASSEMBLES: nve.fragments is Fragments.REASSEMBLE,
        Capability.PA_PER_FLOW: nve.pa_choice is PaChoice.FLOW and len(nve.pas) > 1,
        Capability.PROXIES: nve.neighbours is Neighbours.PROXY,
        Capability.CLAMPS_MSS: nve.clamp_mss,
        Capability.CHECKS_SOURCES: nve.source_check is not SourceCheck.NONE,
        Capability.PROBES: nve.probe,
        Capability.OUTER_TTL: nve.ttl != TTL_DEFAULT,
        Capability.OUTER_DSCP: nve.dscp not in {0, COPY},
        Capability.COPIES_DSCP: nve.dscp == COPY,
        Capability.ZERO_ECN: nve.ecn is Ecn.ZERO,
        Capability.DSCP_OF_PRIORITY: bool(nve.pcp_to_dscp),
        Capability.LEARNS: bool(nve.learning),
        Capability.CARRIES_IP: nve.carries is not Carries.ETHERNET,
        Capability.FORWARDS_BY_CA: nve.carries is Carries.IP_BY_CA,
        Capability.DEVIATES: bool(nve.deviations),
    }
    yield from (capability for capability, wanted in asked.items() if wanted)
    yield from filter(None, (_TOO_BIG.get(nve.too_big), _UNKNOWN.get(nve.unknown)))


def _of_network(policy: NvePolicy) -> Iterator[Capability]:
    pas = {*(pa.ip for pa in policy.nve.pas), *policy.remote_pas}
    asked = {
        Capability.OUTER_IPV6: any(pa.version == 6 for pa in pas),
        Capability.SEVERAL_PAS: len(policy.nve.pas) > 1,
        Capability.GROUPS: bool(policy.joined),
        Capability.ROUTES: bool(policy.routers),
        Capability.TRUNKS: any(port.vid is not None for port in policy.ports),
        Capability.ACLS: any(port.acl for port in policy.ports),
        Capability.CROSSES: any(record.vsid != record.deliver_vsid for record in policy.records),
    }
    yield from (capability for capability, wanted in asked.items() if wanted)
    yield from {_RECORDS[record.type] for record in policy.records if record.type in _RECORDS}


def check(policy: NvePolicy, name: str, capabilities: Collection[Capability]) -> None:
    """Refuses a policy that asks for what a data plane of this name lacks.

    Raises:
        BadInputError: everything that it lacks, in one line.
    """
    if lacking := sorted(asked_for(policy) - frozenset(capabilities)):
        raise BadInputError(f"{policy.nve.host}: the data plane {name} has no {'; no '.join(lacking)}")
