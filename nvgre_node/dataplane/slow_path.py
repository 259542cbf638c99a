"""The slow path of the `ebpf` data plane: a pair of interfaces through which frames pass that must first be made whole.

What enters the first leaves the second without offloads: cut to the size that GSO put off, and with its checksum in
place. Both live in the provider host's network namespace, where no VM can put anything on them, and go with it. What
the host's kernel has reassembled is put on the first in user space; and what is for it to fragment arrives there.
"""

from __future__ import annotations

import socket
import subprocess
from contextlib import ExitStack, closing

from nvgre_node import namespace
from nvgre_node.choices import Fragments, TooBig
from nvgre_node.dataplane.serve import Handler, Server
from nvgre_node.packet import packet_socket, receive
from nvgre_node.policy import Nve
from nvgre_node.reassembly import FragmentingSender, reassembly_socket, receive_reassembled
from nvgre_node.wire import octets

ENTRY, EXIT = "slowpath-in", "slowpath-out"
"""Interface names that no node or VM can have: theirs hold no hyphen before `-eth`."""

_MTU_MOST = 65535
_FAMILIES = (socket.AF_INET, socket.AF_INET6)
_OFFLOADS = ("tx", "sg", "tso", "gso")


class SlowPath:
    """The pair, by interface indices: what is sent to `entry` comes in at `exit`."""

    def __init__(self, entry: int, exit_: int) -> None:
        self.entry, self.exit = entry, exit_
        self._stack = ExitStack()

    @staticmethod
    def is_wanted(nve: Nve) -> bool:
        """Whether anything that an NVE does is done on the slow path."""
        return nve.too_big in {TooBig.FRAGMENT, TooBig.FRAGMENT_OUTER} or nve.fragments is Fragments.REASSEMBLE

    @classmethod
    def create(cls) -> SlowPath:
        """Makes the pair in the current network namespace, up, without offloads, and silent."""
        with namespace.netlink() as ip:
            ip.link("add", ifname=ENTRY, kind="veth", peer={"ifname": EXIT})
            entry, exit_ = (int(ip.link_lookup(ifname=name)[0]) for name in (ENTRY, EXIT))
            switched = [word for feature in _OFFLOADS for word in (feature, "off")]
            subprocess.run(["ethtool", "-K", ENTRY, *switched], check=True, capture_output=True)
            for name in (ENTRY, EXIT):
                namespace.set_sysctl(f"ipv6/conf/{name}/disable_ipv6", 1)
            for family in ("ipv4", "ipv6"):  # bpf_fib_lookup asks for it
                namespace.set_sysctl(f"{family}/conf/{EXIT}/forwarding", 1)
            for index in (exit_, entry):
                ip.link("set", index=index, mtu=_MTU_MOST, state="up")
        return cls(entry, exit_)

    def serve(self, nve: Nve) -> None:
        """Starts what an NVE does in user space, in a thread: packets come back reassembled (F2), or go fragmented."""
        handlers: dict[socket.socket, Handler] = {}
        self._mouth = self._stack.enter_context(packet_socket(ENTRY))
        with namespace.netlink() as ip:
            self._mac = octets(ip.get_links(self.exit)[0].get("address"))
        if nve.fragments is Fragments.REASSEMBLE:
            sockets = [self._stack.enter_context(reassembly_socket(family)) for family in _FAMILIES]
            handlers |= dict.fromkeys(sockets, self._bring_back)
        if nve.too_big is TooBig.FRAGMENT_OUTER:
            sender = self._stack.enter_context(closing(FragmentingSender()))
            handlers[self._mouth] = lambda sock: sender.send(receive(sock))
        if handlers:
            self._stack.enter_context(closing(Server(handlers)))

    def _bring_back(self, sock: socket.socket) -> None:
        frame = receive_reassembled(sock, self._mac)
        if frame is not None:
            self._mouth.send(frame)

    def close(self) -> None:
        """Stops what runs in user space; the interfaces go with their namespace."""
        self._stack.close()
