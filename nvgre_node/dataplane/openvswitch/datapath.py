"""Which of Open vSwitch's datapaths forwards: the kernel's, or that of user space; and what is the case of each."""

from __future__ import annotations

import os
from functools import cache

from pyroute2 import GenericNetlinkSocket
from pyroute2.netlink import genlmsg
from pyroute2.netlink.exceptions import NetlinkError

from nvgre_node.errors import BadInputError

VARIABLE = "NVGRE_OVS_DATAPATH"
"""The environment variable that says which, where it is not to be the kernel's if there is one."""

SYSTEM, NETDEV = "system", "netdev"

REMEDIES = {
    SYSTEM: "this kernel has no datapath of Open vSwitch; one that has: ./nvgre vm run -- ...",
    NETDEV: "it needs /dev/net/tun, so a kernel with CONFIG_TUN",
}
"""What each takes, for those that have not got it."""


def chosen() -> str:
    """`system`, the kernel's, if there is one, else `netdev`, that of user space; or what the environment says.

    Raises:
        BadInputError: it says something else.
    """
    wanted = os.environ.get(VARIABLE)
    if wanted not in {None, SYSTEM, NETDEV}:
        raise BadInputError(f"{VARIABLE} is {wanted!r}; there are: {SYSTEM}, {NETDEV}")
    return wanted or (SYSTEM if _kernel_has_one() else NETDEV)


@cache
def _kernel_has_one() -> bool:
    """Whether the kernel has Open vSwitch's datapath; asking loads its module, if it is one that can be loaded."""
    try:
        with GenericNetlinkSocket() as sock:
            sock.bind("ovs_datapath", genlmsg)
    except NetlinkError:
        return False
    return True
