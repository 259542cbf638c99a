"""A running network: Mininet's `Net`, built on entering a `with` block and gone when it ends."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Protocol, Self, cast

from mininet.log import setLogLevel
from mininet.net import Mininet

from nvgre_node import namespace
from nvgre_node.dataplane.base import Drop, PaCounters, PortCounters, SubnetCounters
from nvgre_node.errors import BadInputError, MissingError
from nvgre_node.groups import ascending
from nvgre_node.link import VethLink
from nvgre_node.migration import Migration, Mover
from nvgre_node.node import FabricRouter, NamespacedNode, ProviderHost, TenantVM
from nvgre_node.policy import Address, Vm
from nvgre_node.privileges import missing_for_a_network
from nvgre_node.run import Run
from nvgre_node.topo import NvgreTopo
from nvgre_node.waiting import uninterrupted, wait_until


class HasTopo(Protocol):
    """Something that a network can be built from, such as a scenario."""

    def topo(self, **options: Any) -> NvgreTopo:
        """Its topology; `options` are those of NvgreTopo."""


class NvgreNet(Mininet):
    """A network of provider hosts, tenant VMs and their fabric, in namespaces that belong to one run.

    with NvgreNet(load("contoso_fabrikam")) as net:
        net["contoso_web"].ping("10.1.1.11")
    """

    def __init__(self, source: HasTopo | NvgreTopo, dataplane: str = "ebpf", **options: Any) -> None:
        Mininet.inited = True  # Mininet's own set-up changes limits of the whole machine; nothing here needs them
        setLogLevel("warning")
        topo = source if isinstance(source, NvgreTopo) else source.topo(dataplane=dataplane)
        self._own: Run | None = None
        self._stopped = False
        self._mover: Mover | None = None
        super().__init__(topo, link=VethLink, controller=None, build=False, **options)

    def addHost(self, name: str, cls: type[NamespacedNode] | None = None, **params: Any) -> NamespacedNode:  # noqa: N802
        """Adds a node that belongs to this network's run."""
        node: NamespacedNode = super().addHost(name, cls=cls, run=self.own, **params)
        return node

    @property
    def own(self) -> Run:
        """The run that owns the network, from its start on."""
        if self._own is None:
            raise RuntimeError("this network has not been started")
        return self._own

    def start(self) -> None:
        """Builds the network, as a run of its own. A `with` block does this, and waits until it is ready.

        Raises:
            MissingError: not root, or root without what this needs.
        """
        if reason := missing_for_a_network():
            raise MissingError(reason)
        with uninterrupted():
            self._own = Run.create()
        super().start()

    def __enter__(self) -> Self:
        try:
            self.start()
            underlay = *self.provider_hosts, *self.fabric_routers
            wait_until(lambda: all(node.is_ready() for node in underlay), "the next hops to be resolved")
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Stops every node and removes everything that the network owns, in whatever state. Safe to call twice."""
        with uninterrupted():
            if self._own is None or self._stopped:
                return
            self._stopped = True
            namespace.go_home()
            self.links.clear()  # they go with the namespaces, all at once; one by one, the kernel waits for each
            try:
                super().stop()
            finally:
                self._own.close()

    @property
    def provider_hosts(self) -> list[ProviderHost]:
        """The provider hosts, in the order of their names."""
        return [node for node in self.hosts if isinstance(node, ProviderHost)]

    @property
    def fabric_routers(self) -> list[FabricRouter]:
        """The routers of the underlay, in the order of their names."""
        return [node for node in self.hosts if isinstance(node, FabricRouter)]

    @property
    def vms(self) -> list[TenantVM]:
        """The tenant VMs, in the order of their names."""
        return [node for node in self.hosts if isinstance(node, TenantVM)]

    @property
    def mover(self) -> Mover:
        """Changes the policy of the running network, and where its VMs are."""
        if self._mover is None:
            hosts = {host.name: host for host in self.provider_hosts}
            self._mover = Mover(self.topo.policy, self.topo.tenant_mtu, hosts)
        return self._mover

    def migrate(self, vm: str, host: str) -> Migration:
        """Moves a VM to another provider host while it runs, as `Mover.migrate`.

        Raises:
            UnknownNameError: there is no such VM or host.
            BadInputError: it is there already, or cannot move.
        """
        self.mover.policy.moved(vm, host)
        return self.mover.migrate(self[vm], host)

    def add_vm(self, vm: Vm) -> TenantVM:
        """Adds a VM to the running network, with a link to its host, and has every NVE know it.

        Raises:
            UnknownNameError: there is no such virtual subnet or host.
            BadInputError: its name or an address is somebody's already, or a data plane cannot change; nothing has.
        """
        policy, host = self.mover.policy.with_vm(vm), self[vm.host]
        if vm.vid is not None or vm.leg or vm.behind:
            raise BadInputError(f"{vm.name}: only VMs with a port of their own can come while a network runs")
        with ExitStack() as undo:
            own = {"vms": (vm,), "gateways": policy.gateways_of(vm), "offloads": host.takes_offloads}
            node = self.addHost(vm.name, cls=TenantVM, ip=None, **own)
            undo.callback(self._drop_machine, node)
            ends = {"intfName1": TenantVM.INTERFACE, "intfName2": vm.name, "addr1": vm.mac}
            self.addLink(node, host, cls=VethLink, mtu=self.topo.tenant_mtu, **ends)
            node.configDefault(**node.params)
            self.mover.follow(policy)
            undo.pop_all()
        return cast(TenantVM, node)

    def remove_vm(self, name: str) -> None:
        """Has every NVE forget a VM, and ends it.

        Raises:
            UnknownNameError: there is no such VM.
            BadInputError: a data plane cannot change while it runs; nothing has changed.
        """
        self.mover.follow(self.mover.policy.without_vm(name))
        self.mover.forget(name)
        self._drop_machine(self[name])

    def _drop_machine(self, node: NamespacedNode) -> None:
        for link in [link for link in self.links if node in (link.intf1.node, link.intf2.node)]:
            self.delLink(link)
        node.terminate()
        self.hosts.remove(node)
        del self.nameToNode[node.name]

    def restore(self) -> None:
        """Has routes, next hops and NVEs be as the policy in force has them, whatever somebody else has done to them.

        Links, addresses and firewalls stay as they are.
        """
        fabric = self.topo.fabric
        for router in self.fabric_routers:
            router.restore(fabric.routes(router.name))
        for host in self.provider_hosts:
            host.restore(self.mover.policy.for_host(host.name), fabric.routes(host.name))

    def counters(self) -> dict[str, dict[int, SubnetCounters]]:
        """Each NVE's counters since it came up: by provider host, then by VSID."""
        return {host.name: host.counters() for host in self.provider_hosts}

    def port_counters(self) -> dict[str, dict[str, PortCounters]]:
        """The same by provider host, then by VM port."""
        return {host.name: host.port_counters() for host in self.provider_hosts}

    def pa_counters(self) -> dict[str, dict[Address, PaCounters]]:
        """The same by provider host, then by remote PA."""
        return {host.name: host.pa_counters() for host in self.provider_hosts}

    def alive(self, timeout: float = 1.0) -> dict[str, dict[Address, float | None]]:
        """By provider host and verified peer: seconds until that NVE answered a probe, or None if it has not (V3)."""
        return {
            host.name: {pa: host.probe(pa, timeout) for pa in ascending(host.policy.verified)}
            for host in self.provider_hosts
        }

    def dropped(self) -> Counter[Drop]:
        """What all NVEs together have dropped since they came up, by reason."""
        total: Counter[Drop] = Counter()
        for subnets in self.counters().values():
            for counters in subnets.values():
                total.update(counters.dropped)
        return total
