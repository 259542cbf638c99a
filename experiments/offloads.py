"""Offloads of interfaces: switched together, and read back as the kernel has them. Needs root and a running network."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from experiments.watch import Place
from nvgre_node.net import NvgreNet

FEATURES = {
    "tx": "tx-checksumming",
    "sg": "scatter-gather",
    "tso": "tcp-segmentation-offload",
    "gso": "generic-segmentation-offload",
    "gro": "generic-receive-offload",
}
"""What is switched, by ethtool's short name: the offloads that make packets larger than the MTU, and what they need."""


def interfaces(net: NvgreNet) -> list[Place]:
    """Every interface of every node of a network, `lo` aside."""
    return [Place(node, name) for node in net.hosts for name in node.nameToIntf if name != "lo"]


def switch(places: Iterable[Place], state: str) -> None:
    """Switches all offloads of some interfaces `on` or `off`."""
    settings = [word for feature in FEATURES for word in (feature, state)]
    for place in places:
        done = place.node.run_process(["ethtool", "-K", place.interface, *settings])
        if done.returncode:
            raise RuntimeError(f"ethtool on {place.interface} of {place.node.name}: {done.stderr.strip()}")


def state(places: Iterable[Place]) -> dict[str, str]:
    """What the kernel says of each feature over all interfaces: `on`, `off` or `mixed`, by short name."""
    read = [_read(place) for place in places]
    return {
        short: {frozenset({True}): "on", frozenset({False}): "off"}.get(
            frozenset(features[long]["active"] for features in read), "mixed"
        )
        for short, long in FEATURES.items()
    }


def _read(place: Place) -> dict[str, Any]:
    done = place.node.run_process(["ethtool", "--json", "-k", place.interface])
    features: dict[str, Any] = json.loads(done.stdout)[0]
    return features
