"""The slow path of the `ebpf` data plane: a pair of interfaces through which frames pass that must first be made whole.

What enters the first leaves the second without offloads: cut to the size that GSO put off, and with its checksum in
place. Both live in the provider host's network namespace, where no VM can put anything on them, and go with it.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

from nvgre_node import namespace

ENTRY, EXIT = "slowpath-in", "slowpath-out"
"""Interface names that no node or VM can have: theirs hold no hyphen before `-eth`."""

_MTU_MOST = 65535
_OFFLOADS = ("tx", "sg", "tso", "gso")


@dataclass(frozen=True)
class SlowPath:
    """Interface indices of the pair: what is sent to `entry` comes in at `exit`."""

    entry: int
    exit: int

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
