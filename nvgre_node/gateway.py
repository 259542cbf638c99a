"""The nodes of the border: gateways, which are a tenant's machines with a leg outside, and physical networks."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from typing import Any

from nvgre_node import namespace
from nvgre_node.errors import MissingError
from nvgre_node.fabric import Route
from nvgre_node.namespace import netlink
from nvgre_node.node import NamespacedNode, TenantVM
from nvgre_node.outside import OUTSIDE, Compartment, Peer, PhysicalNetwork, peer_of_gateway
from nvgre_node.policy import Address, Interface, Vm
from nvgre_node.ruleset import ruleset, site_ruleset
from nvgre_node.tunnel import open_tunnel


class Gateway(TenantVM):
    """One tenant's compartment of a gateway: its port of the NVE on one side, a physical network on the other."""

    def __init__(self, name: str, compartment: Compartment, **params: Any) -> None:
        self.compartment = compartment
        super().__init__(name, **params)

    def config(
        self, vms: Sequence[Vm], gateways: Sequence[Address] = (), offloads: bool = True, **_params: Any
    ) -> dict[str, Any]:
        """Gives both legs their addresses, and lets pass between them what is this tenant's (RFC 7637 section 4.6)."""
        super().config(vms, gateways, offloads)
        self._settle(OUTSIDE)
        for address in self.compartment.leg.addresses:
            self.set_address(OUTSIDE, str(address))
        self.set_routes(self.compartment.routes)
        load_filter(self, ruleset(self.compartment))
        if site := self.compartment.site:
            open_tunnel(self, OUTSIDE, peer_of_gateway(self.compartment.leg, site))
        with self.inside():
            namespace.set_sysctl("ipv4/ip_forward", 1)
            namespace.set_sysctl("ipv6/conf/all/forwarding", 1)
        return {}


def load_filter(node: NamespacedNode, commands: dict[str, Any]) -> None:
    """Loads a packet filter into a node; without it, nothing may be forwarded.

    Raises:
        MissingError: there is no nft, or the kernel has not what the filter needs.
    """
    if not shutil.which("nft"):
        raise MissingError("nft is missing (Debian: apt-get install nftables)")
    nft = node.start_process(["nft", "-j", "-f", "-"], stdin=subprocess.PIPE)
    _, said = nft.communicate(json.dumps(commands))
    if nft.returncode:
        raise MissingError(f"this kernel has not what the filter of {node.name} needs: {said.strip()}")


class PhysicalSegment(NamespacedNode):
    """A physical network: a bridge that joins its links, and a host on it. That host does not forward."""

    @property
    def segment(self) -> str:
        """The interface of its host. No link has this name, since the names of machines have no hyphens."""
        return f"{self.name}-eth0"

    def config(self, addresses: Sequence[Interface], routes: Sequence[Route] = (), **_params: Any) -> dict[str, Any]:
        """Joins the links that lead here, and gives the host its addresses and its routes to tenants."""
        with self.inside(), netlink() as ip:
            ip.link("add", ifname=self.segment, kind="bridge")
            (bridge,) = ip.link_lookup(ifname=self.segment)
            for name in self.legs:
                ip.link("set", index=ip.link_lookup(ifname=name)[0], master=bridge)
                namespace.set_sysctl(f"ipv6/conf/{name}/disable_ipv6", 1)
            ip.link("set", index=bridge, state="up")
        for address in addresses:
            self.set_address(self.segment, str(address))
        self.set_routes(routes)
        return {}

    @property
    def legs(self) -> list[str]:
        """The interfaces at which gateways are, each called as its gateway; those of tenants' sites too."""
        return [name for name in self.nameToIntf if name not in {"lo", OUTSIDE}]


class Site(PhysicalSegment):
    """A tenant's own site: a physical network whose host is the gateway of it too, with a tunnel to the tenant's."""

    def __init__(self, name: str, network: PhysicalNetwork, peer: Peer | None, **params: Any) -> None:
        self.network, self.peer = network, peer
        super().__init__(name, **params)

    def config(self, addresses: Sequence[Interface], routes: Sequence[Route] = (), **_params: Any) -> dict[str, Any]:
        """Has a leg in the network that it is behind, and over it the tunnel, if a gateway leads here."""
        super().config(addresses, routes)
        for address in self.network.at:
            self.set_address(OUTSIDE, str(address))
        load_filter(self, site_ruleset(self.network))
        if self.peer:
            open_tunnel(self, OUTSIDE, self.peer)
        return {}
