"""What Hyper-V Network Virtualization always does, and the words that printing and reading share. Pure."""

from __future__ import annotations

from typing import Any
from uuid import NAMESPACE_URL, uuid5

from nvgre_node.choices import Carries, Neighbours, PaChoice, RecordType, SourceCheck

HNV: dict[str, Any] = {
    "carries": Carries.IP,
    "neighbours": Neighbours.PROXY,
    "pa_choice": PaChoice.SUBNET,
    "source_check": SourceCheck.CA,
}
"""Where HNV has no choice, what the fields of an NVE are then; in all others it does as the defaults have it."""

TYPES = {
    RecordType.STATIC: "Static",
    RecordType.DYNAMIC: "Dynamic",
    RecordType.L2ONLY: "L2Only",
    RecordType.GATEWAY_WILDCARD: "GatewayWildcard",
}
"""The types of lookup records, as the cmdlet calls them."""

RDID_PREFIX, VSID_PREFIX = "rdid_", "vsid_"
"""What the names of variables start with: the rest is that of a tenant, or of a virtual subnet."""

KNOWN_TO_THE_VM = "CA "
"""How the Context of an L2Only record starts, which says what the VM has and the record does not."""

BROADCAST = "255.255.255.255"
"""The CA of the record that sends a virtual subnet's broadcasts to a multicast group."""


def rdid(tenant: str) -> str:
    """The RoutingDomainID of a tenant: the same GUID for the same name, wherever it is printed."""
    return "{" + str(uuid5(NAMESPACE_URL, f"nvgre:tenant:{tenant}")) + "}"


ASSUMED_LENGTH = {4: 24, 6: 64}
"""The prefix lengths of addresses, by IP version, where a script does not say them."""
