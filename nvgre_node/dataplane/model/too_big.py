"""What does not fit: never fragmented (F1), and its sender is told which packet would fit. Pure."""

from __future__ import annotations

from nvgre_node.choices import TooBig
from nvgre_node.dataplane.base import Drop
from nvgre_node.dataplane.model.icmp import Error, error_about
from nvgre_node.dataplane.model.state import Result, State
from nvgre_node.dataplane.model.vlan import handed
from nvgre_node.policy import Port


def too_big(state: State, port: Port, frame: bytes, mtu: int) -> Result:
    """Drops a frame that does not fit, and tells its sender which packet would (RFC 1191, RFC 8201, RFC 7588).

    `mtu` is the size in bytes of the largest inner IP packet that fits.
    """
    counted = {(port.vsid, Drop.TOO_BIG.name): 1}
    # "Fragmentation needed" and "packet too big": with or without DF, since the NVE must not fragment for anybody.
    error = Error(icmp=(3, 4), icmpv6=(2, 0), mtu=mtu)
    answer = error_about(state, port, frame, error) if state.policy.nve.too_big is not TooBig.DROP else None
    if answer is None:
        return Result(counted=counted)
    return handed(port, answer, counted | {(port.vsid, "told_too_big"): 1})
