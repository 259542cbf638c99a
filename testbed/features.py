"""What this machine can do: each feature that something here needs, who needs it, and how to get it."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable
from dataclasses import dataclass

from nvgre_node.dataplane import DATAPLANES, implementation
from nvgre_node.needs import Need, program
from nvgre_node.privileges import missing_for_a_network


@dataclass(frozen=True)
class Feature:
    """A need, and who has it: data planes, experiments, ..."""

    need: Need
    needed_by: tuple[str, ...]


def _is_root() -> bool:
    return os.geteuid() == 0 and not missing_for_a_network()


ROOT = Feature(Need("root", _is_root, "use sudo; in a container, start that with --privileged"), ("every network",))
_OWN = (
    ROOT,
    Feature(program("mnexec", "mininet"), ("every network",)),
    Feature(program("ip", "iproute2"), ("every network",)),
    Feature(program("iperf3", "iperf3"), ("throughput", "interop")),
    Feature(program("ethtool", "ethtool"), ("throughput",)),
    Feature(program("nft", "nftables"), ("ecmp", "conformance", "multipath: key", "gateways")),
    Feature(program("wg", "wireguard-tools"), ("site_to_site",)),
    Feature(program("wireguard-go", "wireguard-go"), ("site_to_site",)),
    Feature(program("ping", "iputils-ping"), ("ping()",)),
    Feature(program("tshark", "tshark"), ("one test",)),
)


def features() -> tuple[Feature, ...]:
    """Everything that is needed, each once; data planes say themselves what they need."""
    planes = (Feature(need, (name,)) for name in DATAPLANES for need in implementation(name).needs)
    found: dict[str, Feature] = {}
    for feature in (*_OWN, *planes):
        known = found.get(feature.need.name)
        found[feature.need.name] = Feature(known.need, known.needed_by + feature.needed_by) if known else feature
    return tuple(found.values())


def missing_for(users: Iterable[str], beside: Container[str] = ()) -> str:
    """What these data planes or experiments lack on this machine, with the remedies; empty if nothing.

    What is `beside` that is not looked at.
    """
    concerned = {"every network", *users}
    needed = [feature for feature in features() if concerned & set(feature.needed_by)]
    return "; ".join(
        _said(feature) for feature in needed if feature.need.name not in beside and not feature.need.present()
    )


def missing_for_a_target() -> str:
    """What speaking to an NVE lacks that is there already; empty if nothing: no network is built for it."""
    return "" if ROOT.need.present() else _said(Feature(ROOT.need, ("packet sockets",)))


def _said(feature: Feature) -> str:
    return f"{feature.need.name} (needed by {', '.join(feature.needed_by)}): {feature.need.remedy}"
