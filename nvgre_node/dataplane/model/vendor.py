"""What an NVE does with the vendors' VSID (V2): answers probes of peers that are verified. Pure.

Nothing of it reaches a tenant. A reply is for the provider host, which asked.
"""

from __future__ import annotations

from nvgre_node.dataplane.base import NO_SUBNET, Drop
from nvgre_node.dataplane.model.encapsulate import wrapped
from nvgre_node.dataplane.model.headers import is_group
from nvgre_node.dataplane.model.state import Path, Result, State, dropped
from nvgre_node.dataplane.model.traffic_class import outer_traffic_class
from nvgre_node.policy import Address
from nvgre_node.vendor import HEADER, Kind, Probe, reply_to


def from_peer(state: State, interface: str, frame: bytes, ends: tuple[Address, Address], inner: bytes) -> Result:
    """An inner frame with the vendors' VSID of a verified peer; `ends` are its PA and ours. Replies go the same way."""
    probe = Probe.unpack(inner)
    if probe is None or is_group(frame[:6]):
        return dropped(NO_SUBNET, Drop.RESERVED_VSID)
    if probe.kind is Kind.REPLY:
        return Result(left_alone=True)
    peer, own = ends
    path, nve, answer = Path(interface, frame[:6], frame[6:12], 0), state.policy.nve, reply_to(inner)
    packet = wrapped(nve, (own, peer), path, HEADER, outer_traffic_class(nve, answer), answer)
    return Result(out=((interface, packet),), counted={(NO_SUBNET, "answered"): 1})
