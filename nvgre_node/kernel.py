"""What kernels offer beyond what all networks need, found out by making one of each: `python -m nvgre_node.kernel`.

That makes them in the network namespace that it runs in, and prints, as JSON, why each could not be made, or "".
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink import NLM_F_REQUEST, genlmsg
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.generic import GenericNetlinkSocket

from nvgre_node.errors import MissingError

IN_GUESTS = frozenset(
    {"gretap", "ip6gretap", "Open vSwitch's kernel datapath", "netem", "VRF", "VLAN devices (8021q)", "VXLAN"}
)
"""What guests of every engine have; tests/vm holds them to it."""


class _Datapath(genlmsg):
    """Open vSwitch's `struct ovs_header` and the attributes of a datapath."""

    prefix = "OVS_DP_ATTR_"
    fields = (*genlmsg.fields, ("dp_ifindex", "i"))
    nla_map = (("OVS_DP_ATTR_UNSPEC", "none"), ("OVS_DP_ATTR_NAME", "asciiz"), ("OVS_DP_ATTR_UPCALL_PID", "uint32"))


@dataclass(frozen=True)
class Probe:
    """Something that a kernel may offer: for what it is used, besides data planes that say so, and how one is made."""

    used_for: str
    make: Callable[[IPRoute, int], Any]
    """By netlink, in a namespace of its own that has a veth interface with this index."""


def _tunnel(kind: str, local: str, remote: str) -> Callable[[IPRoute, int], Any]:
    key = {"gre_ikey": 5000 << 8, "gre_okey": 5000 << 8, "gre_iflags": 0x2000, "gre_oflags": 0x2000}
    return lambda ip, _: ip.link("add", ifname=kind, kind=kind, gre_local=local, gre_remote=remote, **key)


def _datapath(_ip: IPRoute, _index: int) -> None:
    with GenericNetlinkSocket() as socket:
        socket.bind("ovs_datapath", _Datapath)
        message = _Datapath()
        message["cmd"], message["version"] = 1, 2  # OVS_DP_CMD_NEW, OVS_DATAPATH_VERSION
        message["attrs"] = [("OVS_DP_ATTR_NAME", "probe"), ("OVS_DP_ATTR_UPCALL_PID", 0)]
        socket.nlm_request(message, msg_type=socket.prid, msg_flags=NLM_F_REQUEST | 4)


PROBES = {
    "gretap": Probe("", _tunnel("gretap", "192.0.2.1", "192.0.2.2")),
    "ip6gretap": Probe("", _tunnel("ip6gretap", "2001:db8::1", "2001:db8::2")),
    "Open vSwitch's kernel datapath": Probe("ovs, to be fast", _datapath),
    "netem": Probe("loss and delay in the underlay", lambda ip, index: ip.tc("add", "netem", index, delay=1000)),
    "VRF": Probe("gateways", lambda ip, _: ip.link("add", ifname="vrf", kind="vrf", vrf_table=10)),
    "VLAN devices (8021q)": Probe(
        "VMs on trunk ports", lambda ip, index: ip.link("add", ifname="vlan", kind="vlan", link=index, vlan_id=10)
    ),
    "VXLAN": Probe("throughput", lambda ip, _: ip.link("add", ifname="vxlan", kind="vxlan", vxlan_id=1)),
}


def attempt(probe: Probe) -> str:
    """Why this kernel cannot make one, or "" if it can; makes it in the current namespace."""
    with IPRoute() as ip:
        try:
            probe.make(ip, ip.link_lookup(ifname="one")[0])
        except NetlinkError as error:
            return os.strerror(error.code)
    return ""


@cache
def lacks() -> dict[str, str]:
    """Why this machine's kernel cannot make each of them, or "" if it can; they are gone at once.

    Raises:
        MissingError: there can be no new network namespace to make them in.
    """
    command = ["unshare", "--net", "--", sys.executable, "-m", __name__]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MissingError(f"kernel features cannot be tried out: {done.stderr.strip()}")
    found: dict[str, str] = json.loads(done.stdout)
    return found


def main() -> None:
    """Tries everything in the current namespace, and prints what came of it."""
    with IPRoute() as ip:
        ip.link("add", ifname="one", kind="veth", peer={"ifname": "other"})
    print(json.dumps({name: attempt(probe) for name, probe in PROBES.items()}))


if __name__ == "__main__":
    main()
