"""The nodes of a network, as subclasses of Mininet's: provider hosts, fabric routers and tenant VMs."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from ipaddress import ip_address
from typing import Any

from mininet.log import warn
from mininet.node import Node
from pyroute2.netlink.exceptions import NetlinkError

from nvgre_node import dataplane, namespace, next_hops, probing
from nvgre_node.choices import COPY
from nvgre_node.dataplane import capability
from nvgre_node.dataplane.base import Home, PaCounters, PortCounters, Punted, Restorable, SubnetCounters
from nvgre_node.dataplane.capability import Capability
from nvgre_node.errors import BadInputError, MissingError
from nvgre_node.fabric import MulticastRoute, Multipath, Route
from nvgre_node.multicast import multicast_router
from nvgre_node.multipath import Spreading
from nvgre_node.namespace import netlink
from nvgre_node.outside import DEFAULT
from nvgre_node.policy import Address, LookupRecord, NvePolicy, Vm
from nvgre_node.run import DATAPLANES, Run, process_run

_IFA_F_NODAD = 0x02


@cache
def _check_mnexec() -> None:
    """Mininet would wait for ever for a shell that mnexec could not start."""
    try:
        done = subprocess.run(["mnexec", "-n", "true"], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise MissingError("mnexec is missing (Debian: apt-get install mininet)") from error
    if done.returncode:
        raise MissingError(f"mnexec cannot make a network namespace: {done.stderr.strip()}")


class NamespacedNode(Node):
    """A node with a network namespace of its own that belongs to a run, and is visible to `ip netns` under its id."""

    def __init__(self, name: str, run: Run | None = None, **params: Any) -> None:
        self.run = run or process_run()
        super().__init__(name, **params)

    def startShell(self, mnopts: str | None = None) -> None:  # noqa: N802 (Mininet's name)
        """Starts the node's shell and hands its namespace to the run."""
        _check_mnexec()
        try:
            super().startShell(mnopts)
            self.run.adopt(self.name, self.pid)
            self.set_link("lo", state="up")
        except BaseException:
            self.terminate()
            raise

    def terminate(self) -> None:
        """Ends every process of the node and gives up its namespace."""
        if self.shell:
            self.run.release(self.name)
        super().terminate()

    @contextmanager
    def inside(self) -> Iterator[None]:
        """The calling thread works in the node's network namespace until the block ends."""
        with namespace.entered(self.run.namespace(self.name)):
            yield

    def start_process(self, command: Sequence[str], **options: Any) -> subprocess.Popen[str]:
        """Starts a command in the node's namespace: a list of arguments, no shell. Text streams, piped by default."""
        process: subprocess.Popen[str] = self.popen(list(command), text=True, **options)
        return process

    def run_process(self, command: Sequence[str], timeout: float = 30.0) -> subprocess.CompletedProcess[str]:
        """Runs a command in the node's namespace to its end; the result has its status and its output.

        Raises:
            subprocess.TimeoutExpired: it took longer than `timeout` seconds, and was killed.
        """
        process = self.start_process(command)
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
        return subprocess.CompletedProcess(list(command), process.returncode, out, err)

    def interface_index(self, interface: str) -> int:
        """The kernel's index of one of the node's interfaces."""
        with self.inside(), netlink() as ip:
            return int(ip.link_lookup(ifname=interface)[0])

    def interface_mac(self, interface: str) -> str:
        """The MAC address of one of the node's interfaces, as the kernel has it."""
        with self.inside(), netlink() as ip:
            return str(ip.get_links(ip.link_lookup(ifname=interface)[0])[0].get("address"))

    def interface_with(self, address: Address) -> str:
        """The interface that has an address."""
        with self.inside(), netlink() as ip:
            index = next(int(own["index"]) for own in ip.get_addr() if own.get("address") == str(address))
            return str(ip.get_links(index)[0].get("ifname"))

    def set_link(self, interface: str, **attributes: Any) -> None:
        """Sets attributes of an interface, such as `mtu`, `address` or `state`."""
        with self.inside(), netlink() as ip:
            ip.link("set", index=ip.link_lookup(ifname=interface)[0], **attributes)

    def switch_offloads_off(self, interface: str) -> None:
        """Has what an interface sends cut to size, with checksums in place."""
        switched = [word for feature in ("tx", "sg", "tso", "gso") for word in (feature, "off")]
        self.run_process(["ethtool", "-K", interface, *switched])

    def delete_link(self, interface: str) -> None:
        """Deletes an interface."""
        with self.inside(), netlink() as ip:
            ip.link("del", index=ip.link_lookup(ifname=interface)[0])

    def set_address(self, interface: str, address: str) -> None:
        """Adds an address in the form `192.0.2.1/24`, usable at once; Mininet gets to know the first IPv4 one."""
        ip_address, _, prefix = address.partition("/")
        with self.inside(), netlink() as ip:
            index = ip.link_lookup(ifname=interface)[0]
            own = {"flags": _IFA_F_NODAD} if ":" in ip_address else {}
            ip.addr("add", index=index, address=ip_address, prefixlen=int(prefix), **own)
        known = self.nameToIntf.get(interface)
        if known and ":" not in ip_address and not known.ip:
            known.ip, known.prefixLen = ip_address, prefix

    def set_routes(self, routes: Iterable[Route], how: str = "add") -> None:
        """Adds static routes, or has them `replace` others; one with several next hops has them at equal cost."""
        with self.inside(), netlink() as ip:
            for route in routes:
                hops = [{"gateway": str(hop)} for hop in route.next_hops]
                ip.route(how, dst=str(route.prefix), **(hops[0] if len(hops) == 1 else {"multipath": hops}))


class FabricRouter(NamespacedNode):
    """A router of the underlay: forwards between its links, and knows nothing of what the packets carry (G7)."""

    def config(
        self,
        routes: Sequence[Route] = (),
        multicast: Sequence[MulticastRoute] = (),
        multipath: Multipath = Multipath.OUTER,
        **_params: Any,
    ) -> dict[str, Any]:
        """Sets provider routes, those of multicast groups too, and switches forwarding on."""
        self.set_routes(routes)
        self._spreading = Spreading(self.name, routes)
        self.spread_by(multipath)
        with self.inside():
            namespace.set_sysctl("ipv4/ip_forward", 1)
            namespace.set_sysctl("ipv6/conf/all/forwarding", 1)
            self._multicast = multicast_router(self._addresses(), multicast)
            self._next_hops = next_hops.towards(hop for route in routes for hop in route.next_hops)
            next_hops.keep(self._next_hops)
        return {}

    def restore(self, routes: Iterable[Route]) -> None:
        """Puts back the routes and next hops that went with a link."""
        self.set_routes(routes, "replace")
        with self.inside():
            next_hops.keep(self._next_hops)

    def is_ready(self) -> bool:
        """Whether every next hop is resolved: from then on the first packet takes as long as any other."""
        with self.inside():
            return next_hops.are_resolved(self._next_hops)

    def spread_by(self, mode: Multipath) -> None:
        """Has it choose among equal-cost paths by this, from now on (E1).

        Raises:
            MissingError: the machine lacks what that takes.
        """
        with self.inside():
            self._spreading.choose(mode)

    @staticmethod
    def _addresses() -> dict[Address, int]:
        """The interface index of each address of the current namespace but the loopback's."""
        with netlink() as ip:
            found = {ip_address(own.get("address")): int(own["index"]) for own in ip.get_addr()}
        return {address: index for address, index in found.items() if not address.is_loopback}

    def terminate(self) -> None:
        """Ends the forwarding of groups, then the node."""
        for sock in getattr(self, "_multicast", ()):
            sock.close()
        super().terminate()


class TenantVM(NamespacedNode):
    """A tenant's machine: knows its customer addresses and nothing else (T1)."""

    INTERFACE = "eth0"

    def config(
        self, vms: Sequence[Vm], gateways: Sequence[Address] = (), offloads: bool = True, **_params: Any
    ) -> dict[str, Any]:
        """Gives `eth0` the VM's MAC and customer addresses, usable at once, and default routes by way of `gateways`.

        Switches its offloads off if told so. What the VM is under VLAN ids of a trunk port gets a VLAN device each,
        where the kernel has such.
        """
        self.vm, self.parts = vms[0], tuple(vms)
        vm = self.vm
        if not offloads:
            self.switch_offloads_off(self.INTERFACE)
        self._settle(self.INTERFACE)
        self.set_link(self.INTERFACE, state="down")
        self.set_link(self.INTERFACE, address=vm.mac, state="up")
        self.nameToIntf[self.INTERFACE].mac = vm.mac
        for own in vms:
            for address in own.cas if own.vid is None else ():
                self.set_address(self.INTERFACE, str(address))
        self._add_vlans([own for own in vms if own.vid is not None])
        self.set_routes([Route(DEFAULT[gateway.version], gateway) for gateway in gateways])
        return {}

    def _settle(self, interface: str) -> None:
        """Has an interface use IPv6 addresses at once, and no others than it is given."""
        with self.inside():
            for name, value in {"accept_ra": 0, "accept_dad": 0, "dad_transmits": 0, "router_solicitations": 0}.items():
                namespace.set_sysctl(f"ipv6/conf/{interface}/{name}", value)

    def _add_vlans(self, vlans: Sequence[Vm]) -> None:
        """Adds `eth0.VID` with its customer addresses for each VLAN; a kernel without 802.1Q goes without, and says so.

        The VM then has no address there, and only what tags its own frames, such as a packet socket, uses the VLAN.
        """
        for vlan in vlans:
            device = f"{self.INTERFACE}.{vlan.vid}"
            with self.inside(), netlink() as ip:
                (eth0,) = ip.link_lookup(ifname=self.INTERFACE)
                try:
                    ip.link("add", ifname=device, kind="vlan", link=eth0, vlan_id=vlan.vid)
                except NetlinkError as error:
                    if error.code != errno.EOPNOTSUPP:
                        raise
                    warn(f"{self.name}: this kernel has no VLAN devices (8021q): no {device}, only raw tagged frames\n")
                    return
                self._settle(device)
                (index,) = ip.link_lookup(ifname=device)
                ip.link("set", index=index, state="up")
                for address in vlan.cas:
                    ip.addr("add", index=index, address=str(address.ip), prefixlen=address.network.prefixlen)

    def ping(self, destination: str, count: int = 1, timeout: int = 2) -> bool:
        """Whether each of `count` echo requests to a customer address is answered within `timeout` seconds."""
        command = ["ping", "-n", "-c", str(count), "-i", "0.2", "-W", str(timeout), destination]
        return self.run_process(command, timeout=timeout + count + 5).returncode == 0


class ProviderHost(NamespacedNode):
    """A physical server of the provider: uplinks to the fabric, ports for VMs, and the NVE that joins them (T3).

    Its NVE comes up when Mininet configures the node: by then its links exist, and the policy records it was given say
    which VSIDs and which remote PAs it needs.
    """

    def config(
        self, policy: NvePolicy, routes: Sequence[Route] = (), dataplane: str = "ebpf", **_params: Any
    ) -> dict[str, Any]:
        """Sets provider routes, prepares the VMs' ports, and attaches the data plane."""
        self.set_routes(routes)
        self.uplinks = tuple(name for name in self.nameToIntf if name not in policy.interfaces and name != "lo")
        self.prepare(policy)
        self._attach(dataplane)
        return {}

    def prepare(self, policy: NvePolicy) -> None:
        """Has the host do what a policy needs of it before the NVE can work from it; what is there stays as it is."""
        self.policy = policy
        with self.inside():
            for port in policy.interfaces:  # the provider's own stack must not speak to tenants (T1, C3)
                namespace.set_sysctl(f"ipv6/conf/{port}/disable_ipv6", 1)
                namespace.set_sysctl(f"ipv4/conf/{port}/arp_ignore", 8)
        self._keep_next_hops()

    def update(self) -> None:
        """Has the NVE work from the policy that the host was prepared for.

        Raises:
            BadInputError: its data plane cannot change that while it runs.
        """
        with self.inside():
            self.dataplane.update(self.policy)

    def restore(self, policy: NvePolicy, routes: Iterable[Route]) -> None:
        """Has routes, next hops and NVE be as this policy has them, whatever somebody else has done to them."""
        self.set_routes(routes, "replace")
        if self.changes_policy:
            self.prepare(policy)
            self.update()
        with self.inside():
            if isinstance(self.dataplane, Restorable):
                self.dataplane.restore()

    @property
    def changes_policy(self) -> bool:
        """Whether its NVE can work from another policy while it runs."""
        return Capability.UPDATES in self.dataplane.capabilities

    @property
    def takes_offloads(self) -> bool:
        """Whether its data plane works with packets larger than the MTU, and with checksums yet to be made."""
        return self.dataplane.takes_offloads

    def _attach(self, name: str) -> None:
        home = Home(lambda: self.run.bpf_directory() / self.name, self.run.directory / name / self.name)
        self.dataplane = dataplane.create(name, home)
        capability.check(self.policy, name, self.dataplane.capabilities)
        with self.inside():
            self.dataplane.attach(self.policy, self.uplinks)
        told = self.run.directory / DATAPLANES
        told.mkdir(exist_ok=True)
        (told / self.name).write_text(name)

    def terminate(self) -> None:
        """Closes the data plane, then the node."""
        if hasattr(self, "dataplane"):
            self.dataplane.close()
        super().terminate()

    def counters(self) -> dict[int, SubnetCounters]:
        """The counters of its NVE since it came up, by VSID."""
        with self.inside():
            return self.dataplane.counters()

    def port_counters(self) -> dict[str, PortCounters]:
        """The same by its ports."""
        with self.inside():
            return self.dataplane.port_counters()

    def pa_counters(self) -> dict[Address, PaCounters]:
        """The same by the PAs of other NVEs."""
        with self.inside():
            return self.dataplane.pa_counters()

    def punted(self) -> list[Punted]:
        """Its VMs' frames that no lookup record knew since the last call, where `unknown` is `punt` (B6)."""
        return self.dataplane.punted()

    def install(self, *records: LookupRecord) -> None:
        """Has its NVE know where VMs are, from now on (T2, P2)."""
        self.policy = self.policy.with_records(*records)
        self._keep_next_hops()
        with self.inside():
            self.dataplane.install(*records)

    def probe(self, peer: Address, timeout: float = 1.0) -> float | None:
        """Seconds until the NVE at a peer's PA answered a probe, or None where it has not within `timeout` (V3).

        Raises:
            BadInputError: it is none of the peers whose vendor is verified; nothing is sent.
        """
        if peer not in self.policy.verified:
            raise BadInputError(f"{self.name} does not know {peer} as an NVE of its own vendor (RFC 7637 section 3.4)")
        nve = self.policy.nve
        with self.inside():
            return probing.probe(peer, timeout, nve.ttl, 0 if nve.dscp == COPY else nve.dscp)

    def next_hops(self) -> dict[str, int]:
        """The neighbours through which the NVE's peers are reached, each with its interface index, by the routes."""
        with self.inside():
            return next_hops.towards(self.policy.remote_pas)

    def _keep_next_hops(self) -> None:
        hops = self.next_hops()
        with self.inside():
            next_hops.keep(hops)

    def is_ready(self) -> bool:
        """Whether its NVE passes on what comes, and every next hop is resolved: from then on nothing is lost."""
        hops = self.next_hops()
        with self.inside():
            return next_hops.are_resolved(hops) and self.dataplane.is_ready()
