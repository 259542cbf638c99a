"""Looks at the nodes of a running network from another process: interfaces, addresses, ways, programs. Needs root."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from socket import AF_INET, AF_INET6
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from nvgre_node.namespace import NUD_VALID, entered, netlink
from nvgre_node.policy import Address
from nvgre_node.underlay import Needs, Seen, SeenLink

_CLSACT_INGRESS = 0xFFFFFFF2
_IFF_UP, _IFF_LOWER_UP = 0x1, 0x10000


def look(needs: Needs, where: Callable[[str], Path]) -> dict[str, Seen]:
    """What is seen of each provider host and router that there is; `where` has their namespaces."""
    found = {}
    for node in (*needs.fabric.routers, *(nve.host for nve in needs.policy.nves)):
        with suppress(FileNotFoundError), entered(where(node)), netlink() as ip:
            found[node] = _seen(ip, needs.destinations(node))
    return found


def names(namespace: Path) -> dict[int, str]:
    """The interfaces of a namespace by index."""
    with entered(namespace), netlink() as ip:
        return {int(link["index"]): str(link.get("ifname")) for link in ip.get_links()}


def _seen(ip: IPRoute, destinations: Iterable[Address]) -> Seen:
    links = {str(link.get("ifname")): _link(ip, link) for link in ip.get_links()}
    addresses = frozenset(f"{own.get('address')}/{own['prefixlen']}" for own in ip.get_addr())
    neighbours = [entry for family in (AF_INET, AF_INET6) for entry in ip.get_neighbours(family=family)]
    resolved = frozenset(ip_address(entry.get("dst")) for entry in neighbours if entry["state"] & NUD_VALID)
    forwards = {4: _is_set("ipv4/ip_forward"), 6: _is_set("ipv6/conf/all/forwarding")}
    return Seen(links, addresses, {pa: _hop(ip, pa) for pa in destinations}, resolved, forwards)


def _is_set(sysctl: str) -> bool:
    return Path("/proc/sys/net", sysctl).read_text().strip() == "1"


def _link(ip: IPRoute, link: Any) -> SeenLink:
    flags = link["flags"]
    return SeenLink(
        bool(flags & _IFF_UP), bool(flags & _IFF_LOWER_UP), int(link.get("mtu")), _programs(ip, link["index"])
    )


def _programs(ip: IPRoute, index: int) -> tuple[str, ...]:
    """The names of the BPF programs at a link's clsact ingress; the kernel adds to them what it will."""
    filters = ip.get_filters(index=index, parent=_CLSACT_INGRESS)
    options = [found.get("options") for found in filters if found.get("kind") == "bpf"]
    named = [str(name) for one in options if one is not None and (name := one.get_attr("TCA_BPF_NAME"))]
    return tuple(name.partition(":")[0] for name in named)


def _hop(ip: IPRoute, pa: Address) -> Address | None:
    """The next hop to a PA: itself where it is on the link, or None without a route."""
    try:
        route = ip.route("get", dst=str(pa))[0]
    except NetlinkError:
        return None
    return ip_address(gateway) if (gateway := route.get("gateway")) else pa
