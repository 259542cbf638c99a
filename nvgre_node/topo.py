"""A network as Mininet's `Topo`: what Mininet needs to build it, derived from policy and fabric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mininet.topo import Topo

from nvgre_node.choices import RecordType
from nvgre_node.dataplane import implementation
from nvgre_node.fabric import Fabric
from nvgre_node.gateway import Gateway, PhysicalSegment, Site
from nvgre_node.link import VethLink
from nvgre_node.node import FabricRouter, ProviderHost, TenantVM
from nvgre_node.outside import OUTSIDE, attached_to, compartment, peer_of_site, routes_in
from nvgre_node.policy import Policy, Vm
from nvgre_node.server import Server


class NvgreTopo(Topo):
    """Provider hosts, routers and tenant VMs with their links. `tenant_mtu` is that of the VMs' links, in bytes."""

    def build(self, policy: Policy, fabric: Fabric, tenant_mtu: int = 1500, dataplane: str = "ebpf") -> None:
        """Adds every node and link; called by Topo with its constructor's arguments."""
        self.policy, self.fabric, self.tenant_mtu, self.dataplane = policy, fabric, tenant_mtu, dataplane
        self._add_fabric()
        self._add_machines()
        without = {nve.host for nve in policy.nves if not self._keeps_offloads(nve.host)}
        is_mixed = without != {nve.host for nve in policy.nves}  # then packets of others arrive larger than the MTU
        for link in fabric.links:
            addresses1, addresses2 = ([str(address) for address in end.addresses] for end in link.ends)
            ends = {"addresses1": addresses1, "addresses2": addresses2}
            whole = not (is_mixed and {link.a.node, link.b.node} & without)
            self.addLink(link.a.node, link.b.node, cls=VethLink, mtu=fabric.mtu, vlan=link.vlan, offloads=whole, **ends)
        for name, behind in policy.servers.items():
            self._attach(name, behind[0].host)
        for name, vms in policy.machines.items():
            self._attach(name, vms[0].behind.port if vms[0].behind else vms[0].host)
        for vm in policy.vms:
            if vm.leg:
                self._plug_in(vm.name, attached_to(policy, vm.leg))
        for network in policy.outside:
            if network.behind:
                self._plug_in(network.name, network.behind)

    def _add_fabric(self) -> None:
        """Routers, provider hosts with their NVEs, and the physical networks beyond."""
        policy, fabric = self.policy, self.fabric
        for router in fabric.routers:
            multicast = fabric.multicast_routes(router, policy.group_members)
            ways = {"routes": fabric.routes(router), "multicast": multicast}
            self._add_node(router, FabricRouter, **ways, multipath=fabric.spreads_by(router))
        for nve in policy.nves:
            own = {"policy": policy.for_host(nve.host), "routes": fabric.routes(nve.host)}
            self._add_node(nve.host, ProviderHost, **own, dataplane=self._dataplane_of(nve.host))
        for network in policy.outside:
            routes = routes_in(policy, network)
            more = {"network": network, "peer": peer_of_site(policy, network)} if network.behind else {}
            cls = Site if network.behind else PhysicalSegment
            self._add_node(network.name, cls, addresses=network.addresses, routes=routes, **more)

    def _add_machines(self) -> None:
        """VMs, and the servers without an NVE that some of them are on."""
        for name, vms in self.policy.machines.items():
            self._add_machine(name, vms)
        for name, behind in self.policy.servers.items():
            vlans = {vm.name: vm.behind.vid for vm in behind if vm.behind}
            self._add_node(name, Server, vlans=vlans, offloads=self._keeps_offloads(behind[0].host))

    def _dataplane_of(self, host: str) -> str:
        return self.policy.nve(host).dataplane or self.dataplane

    def _keeps_offloads(self, host: str) -> bool:
        return implementation(self._dataplane_of(host)).takes_offloads

    def _attach(self, name: str, to: str) -> None:
        """A link to where a machine has its port, which is called as the machine is."""
        ends: dict[str, Any] = {"intfName1": TenantVM.INTERFACE, "intfName2": name}
        if own := self.policy.machines.get(name):
            ends["addr1"] = own[0].mac  # from the start: the kernel speaks as soon as a link is up
        self.addLink(name, to, cls=VethLink, mtu=self.tenant_mtu, **ends)

    def _plug_in(self, name: str, network: str) -> None:
        """A leg in a physical network."""
        names = {"intfName1": OUTSIDE, "intfName2": name}
        self.addLink(name, network, cls=VethLink, mtu=self.tenant_mtu, **names)

    def _add_machine(self, name: str, vms: Sequence[Vm]) -> None:
        # What a gateway forwards has been in a tunnel before, and the kernel puts no GSO packet into a second one.
        forwards = any(vm.record is RecordType.GATEWAY_WILDCARD for vm in vms)
        own = {"vms": vms, "offloads": self._keeps_offloads(vms[0].host) and not forwards}
        if leg := vms[0].leg:
            self._add_node(name, Gateway, compartment=compartment(self.policy, vms[0], leg), **own)
            return
        gateways = self.policy.gateways_of(vms[0]) if vms[0].vid is None else ()
        self._add_node(name, TenantVM, gateways=gateways, **own)

    def _add_node(self, name: str, cls: type, **params: Any) -> None:
        self.addHost(name, cls=cls, ip=None, **params)
