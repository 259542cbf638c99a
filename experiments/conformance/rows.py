"""The rows: every requirement on an NVE, in our own words, and whether this version of the test bed checks it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType

from experiments.results import Check, Sample, Verdict

OPTIONAL = frozenset({"SHOULD", "RECOMMENDED", "MAY"})
"""Levels of rows that a conforming NVE may leave undone: they are reported, and never fail a run."""

LEVELS = OPTIONAL | {"MUST", "MUST NOT", "desc", "inferred", "inherited", "silent"}
"""`desc`: the RFC describes it; `inferred`: we conclude it; `silent`: the RFC leaves it open, and we chose."""


class Status(StrEnum):
    """Whether a row is checked on the wire."""

    CHECKED = "checked"
    NOT_APPLICABLE = "not applicable"
    REPORTED = "reported"
    """It was tried and something was seen, but what should have been seen depends on what nobody has said."""
    LACKS = "lacks"
    """The data plane declares that it lacks what this takes, and it does."""
    NOT_HERE = "not here"
    """This machine cannot build the network that it takes: nothing was tried."""


@dataclass(frozen=True)
class Row:
    """One requirement. `reason` says why it is not checked."""

    id: str
    clause: str
    level: str
    statement: str
    status: Status = Status.CHECKED
    reason: str = ""


@dataclass(frozen=True)
class Finding:
    """One thing that was tried for a row. `reason` is what the NVEs counted meanwhile; it is no part of the verdict.

    `judged` is false for what is only reported, since it rests on a choice of an NVE that nobody has told us. `lacks`
    is what the data plane declares that it lacks, if this shows it; `missing`, what the machine lacks to try it at all.
    """

    row: str
    what: str
    sent: str
    expected: str
    observed: str
    reason: str = ""
    judged: bool = True
    lacks: str = ""
    missing: str = ""

    @property
    def verdict(self) -> Verdict | Status:
        """Pass exactly if what was seen is what was expected."""
        if self.missing:
            return Status.NOT_HERE
        if not self.judged:
            return Status.REPORTED
        if self.expected == self.observed:
            return Verdict.PASS
        return Status.LACKS if self.lacks else Verdict.FAIL


# What a row needs that is not there.
_AGGREGATES = "a link aggregate picks its members as ECMP picks its paths, but links here are point to point, one each"
_SCOPE = "the RFC puts it out of scope"


def _rfc(section: str) -> str:
    return f"RFC 7637 {section}"


def _row(id: str, section: str, level: str, statement: str) -> Row:  # noqa: A002 (what it is)
    return Row(id, section if section.startswith("RFC") else _rfc(section), level, statement)


def _never(id: str, section: str, level: str, statement: str, reason: str) -> Row:  # noqa: A002
    clause = section if section.startswith("RFC") else _rfc(section)
    return Row(id, clause, level, statement, Status.NOT_APPLICABLE, reason)


ROWS = (
    # Terms and model
    _row("T1", "1.1", "desc", "a VM sees customer addresses and no provider address"),
    _row("T2", "1.1", "desc", "the mapping policy alone joins CA and PA"),
    _row("T3", "3.1", "desc", "any server or network device can hold the NVE, such as a top-of-rack switch"),
    _row("T4", "3", "desc", "a VSID identifies one virtual subnet, one broadcast domain"),
    _row("T5", "3", "desc", "routes between virtual subnets of one tenant"),
    _row("T6", "3.1", "desc", "the NVE scopes policy on the VSID: unknown, it reaches nobody; known, its lists hold"),
    _row("T7", "3.1", "desc", "the NVE can take part in routing"),
    _row("T8", "3.1", "desc", "the NVE knows where a destination is, or learns it: a known one costs one packet"),
    # Outer headers
    _row("O1", "3.2", "desc", "frames travel in IP protocol 47 with an 8-byte GRE header"),
    _row("O2", "3.2", "desc", "the outer source MAC is that of the NVE"),
    _row("O3", "3.2", "desc", "the outer destination MAC is that of the next hop"),
    _row("O4", "3.2", "desc", "the outer frame may have an 802.1Q tag"),
    _row("O5", "3.2", "desc", "the outer IP is version 4 or 6"),
    _row("O6", "3.2", "desc", "an NVE has one or more PAs; policy chooses"),
    _row("O7", "4.5", "desc", "CA and PA need not be of one IP version"),
    _row(
        "O8", "3.2; RFC 6040, RFC 9601", "silent", "outer TTL, DSCP, ECN and ID follow a stated policy, on either side"
    ),
    # GRE header
    _row("G1", "3.2", "MUST", "C and S are zero"),
    _row("G2", "3.2", "MUST", "K is one"),
    _row("G3", "RFC 2784 2.3", "MUST", "reserved bits and version are zero"),
    _row("G4", "3.2", "desc", "the protocol type is 0x6558"),
    _row("G5", "3.2", "desc", "the upper 24 bits of the key are the VSID"),
    _row("G6", "3.2", "desc", "the lower 8 bits are the FlowID, the same throughout a flow"),
    _row("G7", "3.2", "MUST NOT", "devices on the way leave the FlowID alone"),
    _row("G8", "3.2", "SHOULD", "the FlowID has as much entropy as possible"),
    _row("G9", "3.2", "MUST", "a FlowID that is not generated is zero"),
    _row("G10", "3.2", "inferred", "a receiver takes every FlowID"),
    _row("G11", "3.2", "silent", "a receiver drops C, S, and packets without a key (our choice)"),
    _row("G12", "RFC 2784 2.3", "MUST", "a receiver discards packets with bit 1, 4 or 5 set"),
    _row("G13", "RFC 2784 2.3", "MUST", "a receiver ignores bits 6 to 12"),
    _row("G14", "RFC 2784 2.3.1", "inherited", "only version 0 is GRE"),
    _row("G15", "RFC 2784 2.4", "SHOULD", "a receiver discards unknown protocol types"),
    _row("G16", "RFC 2890 1.1", "SHOULD", "discards are counted by reason"),
    # Inner frame
    _row("I1", "3.2", "desc", "the inner frame is any Ethernet frame"),
    _row("I2", "3.2", "desc", "the inner frame check sequence stays behind"),
    _row("I3", "3.3", "desc", "the inner IP is version 4 or 6"),
    _row("I4", "3.3", "MUST NOT", "the inner frame has no 802.1Q tag"),
    _row("I5", "3.3", "MUST", "the sender removes 802.1Q tags; VLAN ids of a trunk port are virtual subnets"),
    _row("I6", "3.3", "MUST", "the receiver drops an inner frame with an 802.1Q tag"),
    _row("I7", "3.3", "inferred", "0x88a8 is a tag as well, on either side"),
    # Reserved VSIDs
    _row("V1", "3.4", "desc", "VSIDs 0 to 0xFFF are reserved"),
    _row("V2", "3.4", "desc", "VSID 0xFFFFFF is the vendors'; it reaches no tenant"),
    _row("V3", "3.4", "SHOULD", "a sender verifies the vendor before it uses 0xFFFFFF"),
    _row("V4", "3.4", "SHOULD", "that verification meets the implementation's needs (ours: it is configured)"),
    _row("V5", "3.4", "inferred", "VSIDs 0x1000 to 0xFFFFFE are for tenants"),
    # ECMP and LAG
    _row("E1", "4.1", "RECOMMENDED", "ECMP hashes the key, or the inner header"),
    _row("E2", "4.1", "desc", "the key adds entropy for switches"),
    _row("E3", "4.1", "desc", "several PAs add entropy meanwhile"),
    _never("E4", "4.1", "inferred", "the same holds for link aggregation", _AGGREGATES),
    # Broadcast, multicast, unicast
    _row("B1", "4.2", "desc", "a VSID can have administratively scoped groups"),
    _row("B2", "4.2", "desc", "broadcast and multicast go to the group, which members join"),
    _row("B3", "4.2", "desc", "an inner group can have a group of its own"),
    _row("B4", "4.2", "desc", "VSIDs can share a group"),
    _row("B5", "4.2", "desc", "N-way unicast: one copy per NVE, and none from wire to wire"),
    _row("B6", "4.2", "silent", "unknown unicast is dropped, flooded, or handed to user space (our choice)"),
    _row("U1", "4.3", "desc", "outer addresses are the PAs of this NVE and of the destination's"),
    _row("U2", "4.3", "desc", "the underlay needs IP connectivity in both directions, no more"),
    _row("U3", "4.3", "desc", "the receiver recovers the original frame"),
    _row("U4", "4.3", "desc", "an endpoint can have several PAs"),
    # Policy, routing, gateways
    _never("P1", "4.5", "desc", "how addresses are acquired", _SCOPE),
    _row("P2", "4.8", "SHOULD", "policy distribution meets the scale that is needed (ours: 1000 records at once)"),
    _row("X1", "4.6", "desc", "tenants join their sites through a gateway"),
    _row("X2", "4.6", "desc", "what is outside goes to the PA of the tenant's gateway"),
    _row("X3", "4.6", "desc", "the gateway validates, and tunnels on"),
    _never("X4", "4.6", "desc", "part of a virtual subnet elsewhere", _SCOPE),
    _row("X5", "4.7", "desc", "an Internet gateway translates addresses; answers find their tenant"),
    _row("X6", "3", "desc", "routed frames carry the destination's VSID, and stay with their tenant"),
    # Fragmentation and MTU
    _row("F1", "4.4", "MUST NOT", "a sender does not fragment NVGRE packets"),
    _row("F2", "4.4", "MAY", "a receiver discards fragments (our choice)"),
    _row("F3", "4.4", "RECOMMENDED", "the underlay carries the largest tenant packet"),
    _row("F4", "4.4", "desc", "path MTU discovery or configuration sees to that"),
    _row("F5", "4.4", "inferred", "DF is set, so that nobody fragments on the way"),
    # Devices, scale, security
    _row("D1", "4.9", "desc", "devices on the way can account traffic per VSID"),
    _never("D2", "4.9", "desc", "offloads become aware of NVGRE", "the experiment throughput switches them"),
    _never("D3", "4.9", "SHOULD", "an NVE translates IPsec offload requests", "there is no such hardware"),
    _never("D4", "4.9", "desc", "lossless Ethernet may not fit", "the underlay has none"),
    _row("D5", "4.9", "desc", "an NVE mediates between virtual subnets and VLANs or routed networks"),
    _row("S1", "4.10", "desc", "the underlay sees the MACs of NVEs, not of VMs"),
    _row("S2", "4.10", "desc", "the NVE answers ARP from its records"),
    _row("S3", "4.10", "desc", "virtual subnets span physical ones; VMs move"),
    _row("S4", "4.10", "desc", "broadcast is avoided, or becomes multicast"),
    _row("C1", "5", "desc", "spoofing is contained: an unlisted PA, or a forged CA or MAC, reaches nobody"),
    _never("C2", "5", "desc", "the control plane is secured", "policy never travels over a network"),
    _row("C3", "5", "desc", "tenants cannot reach the provider's addresses"),
    _never("C4", "5", "desc", "GRE has no checksum: the path must detect errors", "a duty of the path, not of NVEs"),
)
"""Sections 1.1 to 1.9 of the reference, in its order."""

CHOICES: Mapping[str, str] = {
    "O8": "TTL 64, ID 0; DSCP 0, the inner one left alone (RFC 2983, pipe); ECN copied out and combined in (RFC 6040)",
    "I5": "tags of access ports say nothing; those delivered to trunk ports have PCP 0; policy may map PCPs to DSCPs",
    "G11": "strict: a packet with C or S set, or without a key, is dropped, each for a reason of its own",
    "B6": "dropped, unless the scenario says flood or punt; from the wire it is flooded to VMs, or dropped",
    "F2": "dropped, unless the scenario says reassemble",
}
"""What we do where the RFC leaves it open; every row of level `silent` has one."""

_WEIGHT = (
    *(Status.NOT_APPLICABLE, Status.NOT_HERE, Status.REPORTED),
    *(Verdict.SKIP, Verdict.PASS, Status.LACKS, Verdict.FAIL),
)
"""Verdicts of findings by how much they say of a row."""

BY_ID: Mapping[str, Row] = {row.id: row for row in ROWS}


def check(finding: Finding) -> Check:
    """A finding as the run's results know it."""
    row = BY_ID[finding.row]
    return Check(f"{row.id} {finding.what}", f"{row.clause} {row.level}", finding.expected, finding.observed)


def checks(findings: Iterable[Finding]) -> tuple[Check, ...]:
    """The checks of all rows that bind an NVE; of optional rows, and of what is declared, there are samples only."""
    judged = (finding for finding in findings if finding.verdict in set(Verdict))
    return tuple(check(finding) for finding in judged if BY_ID[finding.row].level not in OPTIONAL)


def samples(
    findings: Iterable[Finding], untried: Mapping[str, str] = MappingProxyType({}), choices: Mapping[str, str] = CHOICES
) -> tuple[Sample, ...]:
    """Row by row: everything that was tried, or why nothing was.

    `untried` are reasons by row that go before the rows' own; `choices` are what the NVE does where it has a choice.
    """
    tried = list(findings)
    own = (
        replace(row, status=Status.NOT_APPLICABLE, reason=untried.get(row.id, row.reason)) if untried else row
        for row in ROWS
    )
    return tuple(
        sample | {"choice": choices.get(row.id, "")}
        for row in own
        for sample in _samples(row, [f for f in tried if f.row == row.id])
    )


def _samples(row: Row, tried: list[Finding]) -> Iterator[Sample]:
    for finding in tried:
        what = {"what": finding.what, "sent": finding.sent, "expected": finding.expected, "observed": finding.observed}
        reason = f"declared: {finding.lacks}" if finding.verdict == Status.LACKS else finding.missing or finding.reason
        yield {**_head(row), **what, "verdict": str(finding.verdict), "reason": reason}
    if not tried:
        checked = row.status is Status.CHECKED
        verdict = Status.NOT_APPLICABLE if checked else row.status
        reason = "this scenario has nothing to try it with" if checked else row.reason
        nothing = {"what": "", "sent": "", "expected": "", "observed": ""}
        yield {**_head(row), **nothing, "verdict": str(verdict), "reason": reason}


def _head(row: Row) -> Sample:
    own = {"row": row.id, "clause": row.clause, "level": row.level, "statement": row.statement}
    return {**own, "choice": ""}


def verdicts(samples: Iterable[Sample]) -> dict[str, str]:
    """One verdict per row, in the order of the samples: fail if anything that was tried for it failed.

    What is only reported decides nothing, unless there is nothing else.
    """
    found: dict[str, str] = {}
    for sample in samples:
        row, verdict = str(sample["row"]), str(sample["verdict"])
        found[row] = max(found.get(row, verdict), verdict, key=_WEIGHT.index)
    return found
