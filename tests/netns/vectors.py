"""Frames of which data plane and specification once did not make the same: each is tried again in every run.

A frame that `-m agreement` finds becomes one here, under the name of what was wrong. `{mac}` and `{peer}` stand for the
MAC addresses of host1's uplink and of its peer, which every network makes anew.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from nvgre_node.wire import octets

from .bench import Bench

_LONG = "00" * 4100  # more than a packet socket puts into the linear part of a packet
_GRE = "2000655800138800"
_INNER = "02000a00000102000a000002"


@dataclass(frozen=True)
class Vector:
    """A frame in hex for an interface of host1 (`uplink`, or a VM's name), and choices of its NVE."""

    interface: str
    frame: str
    underlay_mtu: int = 1542
    choices: dict[str, Any] = field(default_factory=dict)

    def frame_for(self, bench: Bench) -> tuple[str, bytes]:
        """The interface and the frame, as they are on a bench."""
        interface = bench.uplink if self.interface == "uplink" else self.interface
        macs = {"mac": octets(bench.mac).hex(), "peer": octets(bench.peer_mac).hex()}
        return interface, bytes.fromhex(self.frame.format(**macs))


VECTORS = {
    "a VM's frame that ends within its second tag has a tag that cannot be taken off": Vector(
        "red1", "02000a00000302000a00000181005a2a8100609e91"
    ),
    "an outer tag names a VLAN that this link is not in, and does not end up at a VM": Vector(
        "uplink",
        f"{{mac}}{{peer}}8100000a08004500003f00004000402fb93cc0a80002c0a80001"
        f"{_GRE}{_INNER}88b56f757465722074616720616e64206e6f206d6f7265",
    ),
    "headers outside the linear part of a long packet are read all the same": Vector(
        "uplink",
        f"{{mac}}{{peer}}08004500102e00004000402fa94dc0a80002c0a80001{_GRE}{_INNER}88b5{_LONG}",
        underlay_mtu=9000,
    ),
    "a length that ends within the headers is a truncation, however long the frame": Vector(
        "uplink",
        f"{{mac}}{{peer}}08004500001400004000402fb967c0a80002c0a80001{_GRE}{_INNER}0800"
        f"450022c400010000401171260a0000010a0000020035003522b0c5fe{_LONG}",
        underlay_mtu=9000,
    ),
    "an IPv4 frame from the wire that is shorter than an IPv4 header": Vector(
        "uplink",
        f"{{mac}}{{peer}}08004500002f00004000402fb94cc0a80002c0a80001{_GRE}{_INNER}08004500000001",
    ),
    "an IPv6 frame from a VM that is shorter than an IPv4 header": Vector(
        "red1", "02000a00000202000a00000186dd6000000001"
    ),
}
