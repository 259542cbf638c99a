"""What a data plane declares that it lacks, and which findings follow from that: those do not fail it. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace

from experiments.conformance.rows import Finding
from nvgre_node.dataplane.capability import Capability, asked_for
from nvgre_node.policy import Policy

EXPLAINS: Mapping[Capability, tuple[tuple[str, str], ...]] = {
    Capability.FLOW_IDS: (("G8", ""), ("E1", "")),
    Capability.EVERY_FLOW_ID: (("G10", ""), ("E2", "")),
    Capability.STRICT_FLAGS: (("G11", ""), ("G16", "checksum bit"), ("G16", "sequence bit")),
    Capability.DROPS_RESERVED_BITS: (("G12", ""), ("G16", "reserved bits")),
    Capability.IGNORES_RESERVED_BITS: (("G13", ""),),
    Capability.STRIPS_TAGS: (("I4", ""), ("I5", ""), ("I7", "sent"), ("D1", "")),
    Capability.DROPS_TAGS: (("I6", ""), ("I7", "received"), ("G16", "inner tag")),
    Capability.TRIMS: (("I2", "18 bytes behind the packet"),),
    Capability.DROPS_FRAGMENTS: (("F2", ""),),
    Capability.COUNTS_DROPS: (("G16", ""),),
    Capability.ZERO_ID: (("O8", "ID"),),
    Capability.HIDES_DSCP: (("O8", "pipe model"),),
    Capability.COPIES_ECN: (("O8", "ECN copy"),),
    Capability.RESTORES_ECN: (("O8", "IPv4,"), ("O8", "IPv6,")),
    Capability.TELLS_TOO_BIG: (("F4", "ICMP says"),),
    Capability.LEARNS_PATH_MTU: (("F4", "ICMP says"),),
    Capability.SILENT: (("O1", "answers to NVGRE"),),
    Capability.CHECKS_SOURCE_PA: (("C1", "source PA"), ("C1", "the receiver's own PA"), ("G16", "source pa")),
}
"""Of each capability: the rows that show its lack, with the beginning of what is tried. All others are asked for by
networks, which are refused where they are lacking.

What Linux counts as sent has no Ethernet header, and so too few bytes where tags stay on (D1).
"""

_RANGE = re.compile(r"([A-Z])(\d+) to \1(\d+)")
_ROW = re.compile(r"[A-Z]\d+")


def explained(finding: Finding, capabilities: Collection[Capability]) -> Finding:
    """The same finding; what it shows is declared if it shows what a data plane with these capabilities lacks."""
    lacks = [
        str(capability)
        for capability, shown in EXPLAINS.items()
        if capability not in capabilities
        and any(finding.row == row and finding.what.startswith(what) for row, what in shown)
    ]
    return replace(finding, lacks="; ".join(lacks)) if lacks else finding


def refused(policy: Policy, capabilities: Collection[Capability]) -> list[str]:
    """What a network asks of its data plane that it lacks, in words: then it cannot be had."""
    asked = frozenset[Capability]().union(*(asked_for(policy.for_host(nve.host)) for nve in policy.nves))
    return sorted(map(str, asked - frozenset(capabilities)))


def untried(tried: Callable[..., object], network: str, lacks: list[str]) -> Iterator[Finding]:
    """For each row that would have been tried on a network: that it was not, and why."""
    for row in rows_of(tried):
        reason = f"no {', no '.join(lacks)}"
        yield Finding(row, network, "nothing", "a network to try it on", "none", lacks=reason)


def not_here(tried: Callable[..., object], network: str, missing: str) -> Iterator[Finding]:
    """For each row that would have been tried on a network: that this machine cannot build it, and why."""
    for row in rows_of(tried):
        yield Finding(row, network, "nothing", "a network to try it on", "none", missing=missing)


def rows_of(tried: Callable[..., object]) -> list[str]:
    """The rows that a function tries, as the first words of its docstring say: `G1 to G5, I4: ...`."""
    said = (tried.__doc__ or "").partition(":")[0]
    spelled = _RANGE.sub(lambda m: ", ".join(f"{m[1]}{n}" for n in range(int(m[2]), int(m[3]) + 1)), said)
    return _ROW.findall(spelled)
