"""The ways to the other NVEs as the kernel has them: routes, next hops and path MTUs, kept in force in Open vSwitch.

In user space Open vSwitch makes outer headers itself, and looks routes and neighbours up in tables of its own. The
kernel of the provider host stays the one that knows: it has the provider addresses, resolves the next hops, and learns
path MTUs. What it says is copied here whenever it changes.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from pyroute2.netlink.exceptions import NetlinkError

from nvgre_node import namespace
from nvgre_node.dataplane.openvswitch.jsonrpc import Rpc, RpcError
from nvgre_node.dataplane.openvswitch.pipeline import AT_ECT_1
from nvgre_node.dataplane.serve import Server
from nvgre_node.groups import group_mac
from nvgre_node.namespace import NUD_VALID
from nvgre_node.policy import Address

_FAMILIES = (socket.AF_INET, socket.AF_INET6)
_GROUPS = 0x1 | 0x4 | 0x40 | 0x400  # RTMGRP_LINK, _NEIGH, _IPV4_ROUTE, _IPV6_ROUTE
_IFA_F_NODAD, _IFA_F_NOPREFIXROUTE = 0x02, 0x200
_AGING_SECONDS = 3600  # the longest there is; every change of a neighbour begins it anew
_BUFFER = 1 << 16


@dataclass(frozen=True)
class Way:
    """The way to a PA: interface, next hop (the PA itself, if it is on the link), its MAC address if known, and MTU."""

    interface: str
    next_hop: Address
    mac: str | None
    mtu: int


class Ways:
    """The ways to some PAs, as seen from the current network namespace; `bridges` are those of the uplinks, by uplink.

    `changed` is called, with the path MTUs, whenever one of these is another than before.
    """

    def __init__(self, bridges: Mapping[str, str], groups: Sequence[Address], uplink: str) -> None:
        self._stack = ExitStack()
        self._bridges, self._groups, self._uplink = bridges, groups, uplink
        self._ip = self._stack.enter_context(namespace.netlink())
        self._known: dict[Address, Way] = {}
        self._control: Callable[[], Rpc] | None = None
        self._wanted: frozenset[Address] = frozenset()

    @property
    def mtus(self) -> dict[Address, int]:
        """The path MTU of each PA, and group, that can be reached."""
        return {pa: way.mtu for pa, way in self._known.items()}

    def follow(self, wanted: frozenset[Address], control: Callable[[], Rpc] | None) -> None:
        """These are the PAs that matter; `control` is how Open vSwitch is told, where it has to know."""
        self._wanted, self._control = wanted, control
        self.look()

    def watch(self, changed: Callable[[], None]) -> None:
        """Has a thread call `changed` whenever the kernel says that something is another than before."""
        bell = self._stack.enter_context(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE))
        bell.bind((0, _GROUPS))
        bell.setblocking(False)

        def rung(sock: socket.socket) -> None:
            with suppress(BlockingIOError):  # everything there is, at once; too much of it is no error either
                while _take(sock):
                    pass
            changed()

        self._stack.enter_context(closing(Server({bell: rung})))

    def look(self) -> bool:
        """Reads what the kernel knows and tells Open vSwitch. Whether a path MTU has changed."""
        before = self.mtus
        links = {link["index"]: link for link in self._ip.get_links()}
        macs = {(found["ifindex"], found.get("dst")): found.get("lladdr") for found in self._neighbours()}
        ways = {pa: way for pa in self._wanted if (way := self._way(pa, links, macs))}
        ways |= {group: self._way_to_group(group, links) for group in self._groups}
        if self._control is not None:
            with self._control() as control:
                self._tell(control, ways)
        self._known = ways
        return self.mtus != before

    def _neighbours(self) -> list[Any]:
        found = [one for family in _FAMILIES for one in self._ip.get_neighbours(family=family)]
        return [one for one in found if one["state"] & NUD_VALID]

    def _way(self, pa: Address, links: Mapping[int, Any], macs: Mapping[tuple[int, str], str]) -> Way | None:
        try:
            route = self._ip.route("get", dst=str(pa))[0]
        except NetlinkError:  # there is no route (any more)
            return None
        index, metrics = int(route.get("oif")), route.get("metrics")
        next_hop = route.get("gateway") or str(pa)
        mtu = (metrics.get("mtu") if metrics else None) or links[index].get("mtu")
        return Way(links[index].get("ifname"), ip_address(next_hop), macs.get((index, next_hop)), int(mtu))

    def _way_to_group(self, group: Address, links: Mapping[int, Any]) -> Way:
        link = next(link for link in links.values() if link.get("ifname") == self._uplink)
        return Way(self._uplink, group, group_mac(group).hex(":"), int(link.get("mtu")))

    def _tell(self, control: Rpc, ways: Mapping[Address, Way]) -> None:
        for pa in self._known.keys() | ways.keys():
            before, now = self._known.get(pa), ways.get(pa)
            if before and (now is None or (now.interface, now.next_hop) != (before.interface, before.next_hop)):
                with suppress(RpcError):  # it went with its interface
                    control.call("ovs/route/del", f"{pa}/{pa.max_prefixlen}")
                before = None
            if now is None or now.interface not in self._bridges:
                continue
            bridge = self._bridges[now.interface]
            if before is None:
                gateway = [] if now.next_hop == pa else [str(now.next_hop)]
                control.call("ovs/route/add", f"{pa}/{pa.max_prefixlen}", bridge, *gateway)
            if now.mac:
                control.call("tnl/neigh/set", bridge, str(now.next_hop), now.mac)

    def close(self) -> None:
        """Stops watching."""
        self._stack.close()


def _take(sock: socket.socket) -> bytes:
    try:
        return sock.recv(_BUFFER)
    except BlockingIOError:
        raise
    except OSError:  # messages were lost; the look that follows reads everything
        return b"lost"


def lend_addresses(uplink: str, bridge: str) -> None:
    """Gives a bridge's own interface the uplink's addresses, without routes: tunnels end at none but these.

    The interface stays silent: it resolves nothing, and answers nobody, since no frame but NVGRE gets to it. Open
    vSwitch takes a route only to what is on one link with an address there, so those of its own are with everything.
    """
    for name, value in {"addr_gen_mode": 1, "accept_ra": 0, "accept_dad": 0, "router_solicitations": 0}.items():
        namespace.set_sysctl(f"ipv6/conf/{bridge}/{name}", value)
    with namespace.netlink() as ip:
        (own,), (theirs,) = ip.link_lookup(ifname=bridge), ip.link_lookup(ifname=uplink)
        ip.link("set", index=own, state="up")
        found = [one.get("address") for family in _FAMILIES for one in ip.get_addr(family=family, index=theirs)]
        lent = [address for address in map(ip_address, found) if not address.is_link_local]
        for address in (*lent, *AT_ECT_1.values()):
            flags = _IFA_F_NOPREFIXROUTE | (_IFA_F_NODAD if address.version == 6 else 0)
            length = 0 if address in AT_ECT_1.values() else address.max_prefixlen
            ip.addr("add", index=own, address=str(address), prefixlen=length, flags=flags)


def prepare(control: Rpc) -> None:
    """Has Open vSwitch keep neighbours for as long as it can."""
    control.call("tnl/neigh/aging", str(_AGING_SECONDS))


def join(one: str, other: str) -> None:
    """Makes two interfaces with a link between them, of which the kernel itself says nothing and hears nothing.

    They go with their namespace.
    """
    with namespace.netlink() as ip:
        ip.link("add", ifname=one, kind="veth", peer={"ifname": other})
        for name in (one, other):
            namespace.set_sysctl(f"ipv6/conf/{name}/disable_ipv6", 1)
            ip.link("set", index=ip.link_lookup(ifname=name)[0], state="up")
