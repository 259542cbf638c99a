"""From the port where a VM's link ends to another host: how a VM can change its host without touching its own NIC.

A network interface cannot be plugged into another host at once: a change of its namespace takes longer than all of a
live migration should. So the port stays, and a cable leads from it to a port of the same name on the other host.
"""

from __future__ import annotations

import struct
from contextlib import suppress

from pyroute2.netlink.exceptions import NetlinkError

from nvgre_node.dataplane.build import object_file
from nvgre_node.dataplane.libbpf import Object
from nvgre_node.namespace import netlink, set_sysctl
from nvgre_node.node import ProviderHost

_INDEX = struct.Struct("=I")


class Cable:
    """Joins a port of `origin` to a new one, of the same name, on `target`; to be plugged in, and removed."""

    def __init__(self, port: str, origin: ProviderHost, target: ProviderHost, mtu: int) -> None:
        self.port, self.origin, self.target = port, origin, target
        self._port = origin.interface_index(port)
        self._name = f"cable-{self._port}-{target.pid}"[:15]
        self._programs = Object(object_file("cable"))
        try:
            self._lay(mtu)
        except BaseException:
            self.remove()
            raise

    def _lay(self, mtu: int) -> None:
        """At first only from `target` to the VM: it still speaks by its old host."""
        peer = {"ifname": self.port, "net_ns_pid": self.target.pid}
        with self.origin.inside(), netlink() as ip:
            ip.link("add", ifname=self._name, kind="veth", peer=peer)
            set_sysctl(f"ipv6/conf/{self._name}/disable_ipv6", 1)
            (end,) = ip.link_lookup(ifname=self._name)
        if not self.target.takes_offloads:
            self.origin.switch_offloads_off(self._name)
        self.target.set_link(self.port, mtu=mtu, state="up")
        self.origin.set_link(self._name, mtu=mtu, state="up")
        for one, other in ((self._port, end), (end, self._port)):
            self._programs.maps["ends"][_INDEX.pack(one)] = _INDEX.pack(other)
        with self.origin.inside():
            self._programs.attach("pass_on", end)

    def plug_in(self) -> None:
        """From now on what the VM sends goes to `target`, and no longer to whoever had it."""
        with self.origin.inside():
            self._programs.attach("pass_on", self._port)

    def remove(self) -> None:
        """Takes it away, both ends at once. Safe to call twice."""
        self._programs.close()
        with suppress(NetlinkError, IndexError, OSError):
            self.origin.delete_link(self._name)
