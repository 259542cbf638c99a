"""A server without an NVE: its machines have plain Ethernet, and its uplink leads to where the NVE is (T3, D5).

That is a top-of-rack switch or an appliance, in the form of a provider host whose port is a trunk port (I5).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from nvgre_node.dataplane.build import object_file
from nvgre_node.dataplane.libbpf import Object
from nvgre_node.node import NamespacedNode, TenantVM

_INDEX = struct.Struct("=I")


class Server(NamespacedNode):
    """A switch of machines, whose ports are called as they are: each is a VLAN on the uplink, `eth0`."""

    UPLINK = TenantVM.INTERFACE

    def config(self, vlans: Mapping[str, int], offloads: bool = True, **_params: Any) -> dict[str, Any]:
        """Joins each machine's interface, by its name, to a VLAN of the uplink."""
        if not offloads:
            for interface in (self.UPLINK, *vlans):
                self.switch_offloads_off(interface)
        uplink = self.interface_index(self.UPLINK)
        joined = Object(object_file("server"), constants={".rodata.server": _INDEX.pack(uplink)})
        try:
            with self.inside():
                for interface, vid in vlans.items():
                    index = self.interface_index(interface)
                    joined.maps["vids"][_INDEX.pack(index)] = _INDEX.pack(vid)
                    joined.maps["interfaces"][_INDEX.pack(vid)] = _INDEX.pack(index)
                    joined.attach("from_machine", index)
                joined.attach("from_server_uplink", uplink)
        finally:
            joined.close()  # what is attached lives as long as the interfaces
        return {}
