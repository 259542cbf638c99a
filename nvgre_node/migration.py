"""Policy that changes while a network runs, and the live migration of VMs (T2, P2).

A VM moves as Hyper-V Network Virtualization has it: its CAs, MAC address and VSID stay. The target's NVE gets its
policy first; then the VM is there, the old host's NVE forgets it, and every other NVE learns where it is; at last the
VM announces itself. What still arrives at the old host is dropped there and counted (NOT_LOCAL, or UNKNOWN_VSID if its
virtual subnet has no VM left there): nothing is delivered twice, and nothing by a host that the VM has left.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass

from nvgre_node.announce import announcements
from nvgre_node.cable import Cable
from nvgre_node.errors import BadInputError
from nvgre_node.node import ProviderHost, TenantVM
from nvgre_node.packet import packet_socket
from nvgre_node.policy import Policy


@dataclass(frozen=True)
class Migration:
    """What happened when, in seconds of `time.time`: the VM changed its host, and the last NVE knew."""

    vm: str
    source: str
    target: str
    switched: float
    known: float

    def __str__(self) -> str:
        known = f"every NVE knew {self.milliseconds:.1f} ms later"
        return f"{self.vm} is on {self.target}, and no longer on {self.source}; {known}"

    @property
    def milliseconds(self) -> float:
        """How long it took until every NVE knew."""
        return 1000 * (self.known - self.switched)


class Mover:
    """Changes the policy of a running network, and where its VMs are. `hosts` are the provider hosts by name."""

    def __init__(self, policy: Policy, tenant_mtu: int, hosts: dict[str, ProviderHost]) -> None:
        self.policy = policy
        self._mtu, self._hosts = tenant_mtu, hosts
        self._origins = {name: vms[0].host for name, vms in policy.machines.items()}
        self._cables: dict[str, Cable] = {}

    def migrate(self, vm: TenantVM, host: str) -> Migration:
        """Moves a VM to another provider host.

        Raises:
            UnknownNameError: there is no such host.
            BadInputError: it is there already, or cannot move: nothing has changed.
        """
        policy = self.policy.moved(vm.name, host)
        old = self._checked(vm.name, host, policy)
        origin = self._hosts[self._origins[vm.name]]
        with ExitStack() as undo:
            cable = None
            if host != origin.name:
                cable = Cable(vm.name, origin, self._hosts[host], self._mtu)
                undo.callback(cable.remove)
            undo.callback(self._work_from, self.policy)
            if former := self._cables.get(vm.name):
                undo.callback(former.plug_in)
            for name, node in self._hosts.items():
                node.prepare(policy.for_host(name))
            self._hosts[host].update()
            switched = time.time()
            self._hosts[old].update()
            if cable:
                cable.plug_in()
            for name in self._hosts.keys() - {old, host}:
                self._hosts[name].update()
            known = time.time()
            undo.pop_all()
        if former:
            self._cables.pop(vm.name).remove()
        if cable:
            self._cables[vm.name] = cable
        self.policy = policy
        _announce(vm)
        return Migration(vm.name, old, host, switched, known)

    def follow(self, policy: Policy) -> None:
        """Has every NVE work from another policy of the same hosts: each gets the difference to what it has.

        Raises:
            BadInputError: one cannot; then all work from the old one.
        """
        self._check_changeable(policy)
        with ExitStack() as undo:
            undo.callback(self._work_from, self.policy)
            self._work_from(policy)
            undo.pop_all()
        self._origins = {name: vms[0].host for name, vms in policy.machines.items()} | self._origins
        self.policy = policy

    def forget(self, vm: str) -> None:
        """Takes away what a VM that is gone has left."""
        self._origins.pop(vm, None)
        if cable := self._cables.pop(vm, None):
            cable.remove()

    def _work_from(self, policy: Policy) -> None:
        """Has every NVE work from a policy."""
        for name, node in self._hosts.items():
            node.prepare(policy.for_host(name))
            node.update()

    def _checked(self, vm: str, host: str, policy: Policy) -> str:
        """The host that a VM is on, if it can leave it for another."""
        old = self.policy.machines[vm][0].host
        if old == host:
            raise BadInputError(f"{vm} is on {host} already")
        self._check_changeable(policy)
        return old

    def _check_changeable(self, policy: Policy) -> None:
        if self.policy.group_members != policy.group_members:
            what = "a virtual subnet has groups in the underlay, whose routers do not change while they run"
            raise BadInputError(f"policy cannot change so: {what}")
        if deaf := sorted({node.dataplane.name for node in self._hosts.values() if not node.changes_policy}):
            raise BadInputError(f"policy cannot change: it does not while {', '.join(deaf)} runs")


def _announce(vm: TenantVM) -> None:
    """A VM on a trunk port tags what it says, and leaves that to itself."""
    own = [part for part in vm.parts if part.vid is None]
    with vm.inside(), packet_socket(TenantVM.INTERFACE) as sock:
        for part in own:
            for frame in announcements(part.mac, (ca.ip for ca in part.cas)):
                sock.send(frame)
