"""Next hops that the kernel resolves before anything is sent, and keeps resolved. To be called in a node's namespace.

A packet that finds its next hop unresolved waits for it, in a short queue, and for a second where the first question
is lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from socket import AF_INET, AF_INET6

from pyroute2.netlink.exceptions import NetlinkError

from nvgre_node.namespace import NUD_VALID, netlink
from nvgre_node.policy import Address

_NTF_USE = 0x01
_NTF_EXT_MANAGED = 0x01


def towards(destinations: Iterable[Address]) -> dict[str, int]:
    """The neighbours through which destinations are reached, each with its interface index, by the routes."""
    found = {}
    with netlink() as ip:
        for destination in destinations:
            route = ip.route("get", dst=str(destination))[0]
            found[route.get("gateway") or str(destination)] = int(route.get("oif"))
    return found


def keep(hops: Mapping[str, int]) -> None:
    """Has the kernel resolve neighbours now, and keep them resolved (Linux 5.16; before, it asks but once)."""
    with netlink() as ip:
        for hop, ifindex in hops.items():
            wanted = {"dst": hop, "ifindex": ifindex, "state": 0}
            try:
                ip.neigh("replace", flags_ext=_NTF_EXT_MANAGED, **wanted)
            except NetlinkError:
                ip.neigh("replace", flags=_NTF_USE, **wanted)


def are_resolved(hops: Iterable[str]) -> bool:
    """Whether each neighbour is resolved: from then on nothing is dropped for want of one."""
    with netlink() as ip:
        found = [n for family in (AF_INET, AF_INET6) for n in ip.get_neighbours(family=family)]
        return set(hops) <= {n.get("dst") for n in found if n["state"] & NUD_VALID}
