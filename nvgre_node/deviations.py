"""Which implementation deviates how, as far as a wire can show it: what `imitate` in a scenario stands for. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nvgre_node.choices import Deviation, Ecn, FlowIds, Implementation, TooBig


@dataclass(frozen=True)
class Imitation:
    """What an implementation does: against the rules, and, as fields of `Nve`, where the rules leave a choice."""

    deviations: frozenset[Deviation]
    choices: Mapping[str, Any] = field(default_factory=dict)


IMITATIONS: Mapping[Implementation, Imitation] = {
    # Open vSwitch 3.1.0, a `gre` port of its userspace datapath with `in_key=flow`, `tos=inherit`; measured.
    Implementation.OVS: Imitation(
        frozenset(
            {
                Deviation.KEEPS_TAGS,
                Deviation.DELIVERS_TAGS,
                Deviation.TAKES_CHECKSUMS,
                Deviation.TAKES_SEQUENCE_NUMBERS,
                Deviation.REFUSES_RESERVED_BITS,
                Deviation.HIDES_CE,
                Deviation.IGNORES_ECT1,
            }
        ),
        {"too_big": TooBig.DROP},
    ),
    # `ip link add type gretap key ...` in a bridge, Linux 6.1; measured, as the data plane `gretap`.
    Implementation.GRETAP: Imitation(
        frozenset(
            {
                Deviation.KEEPS_TAGS,
                Deviation.DELIVERS_TAGS,
                Deviation.TAKES_SEQUENCE_NUMBERS,
                Deviation.EXACT_KEYS,
                Deviation.HIDES_CE,
                Deviation.TAKES_RESERVED_BITS,
                Deviation.WIDENS_VERSION,
                Deviation.VARIES_ID,
            }
        ),
        {"flow_ids": FlowIds.NONE},
    ),
    # Azure's DASH, dash-pipeline/bmv2/dash_nvgre.p4: a sender that copies nothing; as it reads.
    Implementation.DASH: Imitation(
        frozenset({Deviation.CLEARS_DF, Deviation.REPEATS_ID}),
        {"flow_ids": FlowIds.NONE, "dscp": 0, "ecn": Ecn.ZERO, "ttl": 64},
    ),
}
