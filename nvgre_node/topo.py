"""A network as Mininet's `Topo`: what Mininet needs to build it, derived from policy and fabric."""

from __future__ import annotations

from typing import Any

from mininet.topo import Topo

from nvgre_node.choices import RecordType
from nvgre_node.dataplane import takes_offloads
from nvgre_node.fabric import Fabric
from nvgre_node.link import VethLink
from nvgre_node.node import FabricRouter, ProviderHost, TenantVM
from nvgre_node.policy import Policy


class NvgreTopo(Topo):
    """Provider hosts, routers and tenant VMs with their links. `tenant_mtu` is that of the VMs' links, in bytes."""

    def build(self, policy: Policy, fabric: Fabric, tenant_mtu: int = 1500, dataplane: str = "ebpf") -> None:
        """Adds every node and link; called by Topo with its constructor's arguments."""
        self.policy, self.fabric, self.tenant_mtu, self.dataplane = policy, fabric, tenant_mtu, dataplane
        for router in fabric.routers:
            multicast = fabric.multicast_routes(router, policy.group_members)
            ways = {"routes": fabric.routes(router), "multicast": multicast}
            self._add_node(router, FabricRouter, **ways, multipath=fabric.spreads_by(router))
        for nve in policy.nves:
            own = {"policy": policy.for_host(nve.host), "routes": fabric.routes(nve.host)}
            own["dataplane"] = nve.dataplane or dataplane
            self._add_node(nve.host, ProviderHost, **own)
        without = {nve.host for nve in policy.nves if not takes_offloads(nve.dataplane or dataplane)}
        is_mixed = without != {nve.host for nve in policy.nves}  # then packets of others arrive larger than the MTU
        for name, vms in policy.machines.items():
            gateways = policy.gateways_of(vms[0]) if vms[0].vid is None else ()
            # What a gateway forwards has been in a tunnel before, and the kernel puts no GSO packet into a second one.
            forwards = any(vm.record is RecordType.GATEWAY_WILDCARD for vm in vms)
            below = policy.nve(vms[0].host).dataplane or dataplane
            own = {"vms": vms, "gateways": gateways, "offloads": takes_offloads(below) and not forwards}
            self._add_node(name, TenantVM, **own)
        for link in fabric.links:
            addresses1, addresses2 = ([str(address) for address in end.addresses] for end in link.ends)
            ends = {"addresses1": addresses1, "addresses2": addresses2}
            whole = not (is_mixed and {link.a.node, link.b.node} & without)
            self.addLink(link.a.node, link.b.node, cls=VethLink, mtu=fabric.mtu, vlan=link.vlan, offloads=whole, **ends)
        for name, vms in policy.machines.items():
            names = {"intfName1": TenantVM.INTERFACE, "intfName2": name}
            self.addLink(name, vms[0].host, cls=VethLink, mtu=tenant_mtu, **names)

    def _add_node(self, name: str, cls: type, **params: Any) -> None:
        self.addHost(name, cls=cls, ip=None, **params)
