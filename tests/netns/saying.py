"""The sentences of faults, filled in."""

from __future__ import annotations

from collections.abc import Mapping

from nvgre_node.faults import SENTENCES, Fault


def said(fault: Fault, about: Mapping[str, object]) -> str:
    """What is said of a fault, without the mend."""
    return SENTENCES[fault][0].format(**about)
