"""The links of a network: Mininet's veth links, made by netlink inside the nodes' namespaces and never outside them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from mininet.link import Intf, Link
from pyroute2.netlink.exceptions import NetlinkError

from nvgre_node import underlay_vlan
from nvgre_node.namespace import netlink
from nvgre_node.node import NamespacedNode


class VethEnd(Intf):
    """One end of a VethLink, which sets it up by itself."""

    def isUp(self, setUp: bool = False) -> bool:  # noqa: N802 (Mininet's names)
        """Whether the interface is up. Mininet would set it up here, with a process that does nothing else."""
        return True if setUp else bool(super().isUp())


class VethLink(Link):
    """A veth pair between two nodes, up, with an MTU (bytes of IP packet) and optional addresses on each end.

    With `vlan` everything on it has the 802.1Q tag of that id (O4). Without `offloads` all packets on it are as they
    would be on a cable: cut to size, and with their checksums in place.
    """

    def __init__(
        self,
        node1: NamespacedNode,
        node2: NamespacedNode,
        mtu: int = 1500,
        addresses1: Sequence[str] = (),
        addresses2: Sequence[str] = (),
        vlan: int | None = None,
        offloads: bool = True,
        **params: Any,
    ) -> None:
        super().__init__(node1, node2, **({"intf": VethEnd} | params))
        self.mtu = mtu
        if vlan is not None:
            self._tag(vlan)
        for intf, addresses in ((self.intf1, addresses1), (self.intf2, addresses2)):
            intf.node.set_link(intf.name, mtu=mtu, state="up")
            if not offloads:
                intf.node.switch_offloads_off(intf.name)
            for address in addresses:
                intf.node.set_address(intf.name, address)

    def _tag(self, vlan: int) -> None:
        with underlay_vlan.tagging(vlan) as programs:
            for intf in (self.intf1, self.intf2):
                index = intf.node.interface_index(intf.name)
                with intf.node.inside():
                    underlay_vlan.attach(programs, index)

    @classmethod
    def makeIntfPair(  # noqa: N802 (Mininet's name)
        cls,
        intfname1: str,
        intfname2: str,
        addr1: str | None = None,
        addr2: str | None = None,
        node1: NamespacedNode | None = None,
        node2: NamespacedNode | None = None,
        deleteIntfs: bool = False,  # noqa: ARG003, N803 (Mininet's name)
    ) -> None:
        """Makes both ends where they belong, in one request: no interface ever appears in the root namespace."""
        if node1 is None or node2 is None:
            raise ValueError("a VethLink joins two nodes that have namespaces")
        peer: dict[str, Any] = {"ifname": intfname2, "net_ns_pid": node2.pid}
        if addr2:
            peer["address"] = addr2
        own = {"address": addr1} if addr1 else {}
        with node1.inside(), netlink() as ip:
            ip.link("add", ifname=intfname1, kind="veth", peer=peer, **own)

    def delete(self) -> None:
        """Deletes the pair; both ends go at once. A pair that went with its namespace is no error."""
        with suppress(NetlinkError, IndexError, OSError):
            self.intf1.node.delete_link(self.intf1.name)
        for intf in (self.intf1, self.intf2):
            intf.node.delIntf(intf)
