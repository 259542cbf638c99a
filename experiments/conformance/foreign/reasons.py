"""Why rows are not tried on an NVE that we did not start, and meet at one interface. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from topologies.target import OptionsPart

_GROUPS = {
    "it takes a tenant system behind the NVE that says what we tell it to": "T1 I1 I5 U2 B6 C3 S1",
    "it takes several NVEs of the target's network, or several PAs of one": "T2 T3 O6 U4 E3 B1 B2 B3 B4 S2 S3 S4",
    "it takes the target's records, which are not ours to change": "T8 P1 P2 C2",
    "it takes routing between virtual subnets of the target's tenant": "T5 T7 X2 X6",
    "it takes a gateway of the target's network": "X1 X3 X4 X5 D5",
    "it concerns devices of the underlay, or the path": "G7 E1 E2 E4 D1 D3 D4 C4 O4 F4",
    "it does not show on the wire": "G16 D2",
    "the vendors' own packets are the vendors' own": "V3 V4",
    "the outer addresses are what the target file says": "O5",
    "CA and PA are of one IP version here": "O7",
    "the target file names no second virtual subnet (`other_vsid`)": "T4",
    "the target is behind a router (`via`), whose MAC addresses are seen": "O2 O3",
    "the outer header is IPv6, which has no such bit": "F5",
    "every FlowID that was seen was generated": "G9",
    "the target generates no FlowIDs": "G8",
}
UNTRIED: Mapping[str, str] = {row: reason for reason, rows in _GROUPS.items() for row in rows.split()}
"""By row."""


def choices(options: OptionsPart) -> dict[str, str]:
    """What the target does where there is a choice, by row, as its file says or does not say."""
    by_row = {
        "O8": ("ttl", "dscp", "ecn"),
        "G8": ("flow_ids",),
        "G11": ("optional_fields",),
        "F2": ("fragments",),
        "C1": ("checks_source",),
    }
    stated = {key: value for key, value in options if value not in (None, False)}
    return {row: ", ".join(f"{key} {stated.get(key, 'not stated')}" for key in keys) for row, keys in by_row.items()}
