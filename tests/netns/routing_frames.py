"""The network `routed.yaml`, and the frames that its VMs send to the router."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from nvgre_node.routing import ROUTER_MAC
from topologies import load

from .frames import OUTER_BYTES

ROUTED = load(Path(__file__).parent / "routed.yaml")
RED_NET, RED_BACK, RED_FAR, BLUE_NET, GREEN_NET = 5000, 5001, 5002, 6000, 7000
RED1, RED3, RED4, RED_FAR1, RED_GW = (
    f"02:00:0a:00:{subnet:02x}:{host:02x}" for subnet, host in ((0, 11), (1, 13), (1, 14), (2, 15), (1, 250))
)
BLUE4 = "02:00:00:00:0b:04"
ALL_NODES, ALL_NODES_MAC = "ff02::1", "33:33:00:00:00:01"


def v4(dst: str, **fields: Any) -> Packet:
    """From red1, or from blue1, which has the same address."""
    return IP(**({"src": "10.0.0.11", "dst": dst} | fields))


def v6(dst: str, **fields: Any) -> Packet:
    """From red1, or from blue1, which has the same address."""
    return IPv6(**({"src": "fd00:10::11", "dst": dst} | fields))


def to_router(packet: Packet) -> bytes:
    """A frame of red1, or of blue1, to the router."""
    return bytes(Ether(src=RED1, dst=ROUTER_MAC) / packet)


def inner(frame: bytes) -> Packet:
    """What an NVGRE packet carries."""
    return Ether(frame[OUTER_BYTES:])


def onward(packet: Packet, mac: str) -> bytes:
    """The frame as the router sends it on, with Scapy's checksum."""
    routed = packet.copy()
    if IPv6 in routed:
        routed.hlim -= 1
    else:
        routed.ttl -= 1
        del routed.chksum
    return bytes(Ether(src=ROUTER_MAC, dst=mac) / routed)
