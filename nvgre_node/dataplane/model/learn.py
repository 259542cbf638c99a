"""Data-plane learning: behind which PA a source MAC address was seen last that no record knows (T8). Pure."""

from __future__ import annotations

from dataclasses import replace

from nvgre_node.dataplane.model.headers import is_group
from nvgre_node.dataplane.model.state import Learnt, Result, State
from nvgre_node.policy import UNKNOWN_CA, Address, LookupRecord

NOBODY = ""
"""The VM of a record that was learnt: nobody knows its name."""

MAX_LEARNT = 4096
"""How much one NVE learns; of more, the oldest is forgotten."""


def whereabouts(state: State, vsid: int, mac: bytes) -> LookupRecord | None:
    """The lookup record of a MAC address, else one made of what was learnt, unless that was too long ago."""
    record, found = state.record(vsid, mac), state.learnt.get((vsid, mac))
    if record is not None or found is None or state.now - found.seen >= state.policy.nve.learning:
        return record
    return LookupRecord(vsid, UNKNOWN_CA, mac.hex(":"), found.pa, NOBODY, vsid)


def taught(state: State, vsid: int, frame: bytes, sender: Address) -> tuple[int, bytes, Address] | None:
    """What a frame teaches that came from a PA and passed every check: nothing, if a record knows its source."""
    mac = frame[6:12]
    if not state.policy.nve.learning or is_group(mac) or not any(mac) or state.record(vsid, mac):
        return None
    return vsid, mac, sender


def after(state: State, result: Result) -> State:
    """The state once a frame has been handled: with what it taught. The latest place of a MAC address is its place."""
    if result.taught is None:
        return state
    vsid, mac, pa = result.taught
    others = {key: found for key, found in state.learnt.items() if key != (vsid, mac)}
    kept = dict(list(others.items())[-(MAX_LEARNT - 1) :])
    return replace(state, learnt={**kept, (vsid, mac): Learnt(pa, state.now)})
