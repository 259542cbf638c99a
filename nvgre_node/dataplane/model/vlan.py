"""802.1Q between a VM and its port (I5): which virtual subnet a tag selects, what becomes of its priority. Pure.

NVGRE carries no tags (I4), so the port takes all of them off. On an access port they say nothing but their priority. On
a trunk port the outermost one selects the virtual subnet, one VLAN id each; frames without a tag, and those with VLAN
id 0 (which have a priority only), are in the subnet of the port itself, if it has one. What is delivered to a trunk
port gets the tag of its virtual subnet, with priority 0: the packet had none.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace

from nvgre_node.choices import Deviation
from nvgre_node.dataplane.base import Drop
from nvgre_node.dataplane.model.headers import ethertype, kept_tags, strip_tags
from nvgre_node.dataplane.model.state import Counted, CountedAtEnd, Result
from nvgre_node.policy import Nve, Port
from nvgre_node.wire import ETHERNET_BYTES

C_TAG, S_TAG = 0x8100, 0x88A8


def outermost_tag(frame: bytes) -> int | None:
    """The control information of the outermost tag, of those that can be taken off; None without one."""
    if ethertype(frame) not in {C_TAG, S_TAG} or len(frame) < ETHERNET_BYTES + 4:
        return None
    return int.from_bytes(frame[14:16], "big")


def selected(ports: Sequence[Port], frame: bytes) -> Port | Drop:
    """Which of the ports at an interface a frame is for: the only one, or that of its VLAN id; or why none is."""
    if len(ports) == 1 and ports[0].vid is None:
        return ports[0]
    vid = (outermost_tag(frame) or 0) & 0xFFF
    found = next((port for port in ports if (port.vid or 0) == vid), None)
    return found or (Drop.UNKNOWN_VLAN if vid else Drop.UNTAGGED)


def taken_in(nve: Nve, frame: bytes) -> bytes | None:
    """A VM's frame as it goes on: without its tags (I4, I5), or with them by deviation; None where it cannot."""
    return kept_tags(frame) if Deviation.KEEPS_TAGS in nve.deviations else strip_tags(frame)


def delivered(port: Port, frame: bytes) -> tuple[str, bytes]:
    """A frame for a port: the interface, and the frame with the tag that its VM knows the virtual subnet by."""
    tag = b"" if port.vid is None else struct.pack("!HH", C_TAG, port.vid)
    return port.interface, frame[:12] + tag + frame[12:]


def handed(port: Port, frame: bytes, counted: Mapping[Counted, int]) -> Result:
    """A frame goes to a port, and this is counted."""
    received: dict[CountedAtEnd, int] = {(port.name, "received"): 1, (port.name, "received_bytes"): len(frame)}
    return Result(out=(delivered(port, frame),), counted=counted, at_ends=received)


def with_dscp_of(nve: Nve, frame: bytes) -> Nve:
    """The NVE as it treats this frame: the priority of the outermost tag chooses the outer DSCP, where policy says."""
    tag = outermost_tag(frame)
    chosen = None if tag is None else nve.pcp_to_dscp.get(tag >> 13)
    return nve if chosen is None else replace(nve, dscp=chosen)
