"""What the kernel counts at interfaces that are VMs' ports: for data planes without counters of their own there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from nvgre_node import namespace
from nvgre_node.dataplane.base import PortCounters

Statistics = Mapping[str, tuple[int, ...]]
"""By interface: packets and bytes that came in there, and packets and bytes that went out."""


def statistics(interfaces: Iterable[str]) -> Statistics:
    """The statistics of interfaces of the current network namespace, since there are these interfaces."""
    wanted, names = set(interfaces), ("rx_packets", "rx_bytes", "tx_packets", "tx_bytes")
    with namespace.netlink() as ip:
        links = {str(link.get("ifname")): link.get("stats64") or {} for link in ip.get_links()}
    return {name: tuple(int(links[name].get(what, 0)) for what in names) for name in links.keys() & wanted}


def port_counters(before: Statistics) -> dict[str, PortCounters]:
    """What passed interfaces since then: frames as they are handed over, tags included; drops are not told apart."""
    counted = {}
    for name, now in statistics(before).items():
        sent, sent_bytes, received, received_bytes = (n - then for n, then in zip(now, before[name], strict=True))
        counted[name] = PortCounters(sent, sent_bytes, received, received_bytes, None)
    return counted
