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
from nvgre_node.outside import OUTSIDE, Compartment
from nvgre_node.policy import Address, Interface, Network, Vm
from nvgre_node.ruleset import ruleset
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
        self._filter()
        if site := self.compartment.site:
            endpoint = next(own.ip for own in site.at if self.compartment.leg.address(own.version))
            open_tunnel(self, OUTSIDE, site.name, endpoint, site.prefixes)
        with self.inside():
            namespace.set_sysctl("ipv4/ip_forward", 1)
            namespace.set_sysctl("ipv6/conf/all/forwarding", 1)
        return {}

    def _filter(self) -> None:
        """Loads the packet filter; without one, nothing may be forwarded."""
        if not shutil.which("nft"):
            raise MissingError("nft is missing (Debian: apt-get install nftables)")
        nft = self.start_process(["nft", "-j", "-f", "-"], stdin=subprocess.PIPE)
        _, said = nft.communicate(json.dumps(ruleset(self.compartment)))
        if nft.returncode:
            raise MissingError(f"this kernel has not what the filter of {self.name} needs: {said.strip()}")


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

    def config(
        self,
        addresses: Sequence[Interface],
        routes: Sequence[Route] = (),
        at: Sequence[Interface] = (),
        peer: str = "",
        endpoint: Address | None = None,
        beyond: Sequence[Network] = (),
        **_params: Any,
    ) -> dict[str, Any]:
        """Has the tunnel to `peer` for what is `beyond` it, which is the rest of the tenant's network."""
        super().config(addresses, routes)
        for address in at:
            self.set_address(OUTSIDE, str(address))
        if endpoint:
            open_tunnel(self, OUTSIDE, peer, endpoint, beyond)
        return {}
