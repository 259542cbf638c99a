"""The `gretap_external` data plane: gretap devices without a key, and a program that gives each packet its own.

`ip link add type gretap external` makes one device for all virtual subnets and all NVEs. `bpf/gretap.bpf.c` writes key
and addresses of what leaves, so that FlowIDs are those of flows, and reads those of what arrives, where the VSID alone
counts. The rest is as in `gretap`: bridges, static FDB entries, and a port for each way to another NVE, which here is a
dummy device that only the program knows to lead anywhere.
"""

from __future__ import annotations

import struct
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink import nla
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from nvgre_node import needs
from nvgre_node.choices import COPY, FlowIds, PaChoice
from nvgre_node.dataplane.base import NO_SUBNET, Home, SubnetCounters
from nvgre_node.dataplane.build import object_file
from nvgre_node.dataplane.capability import Capability
from nvgre_node.dataplane.layouts import U32, mapped
from nvgre_node.dataplane.libbpf import Hook, Object
from nvgre_node.dataplane.linux_bridge import BRIDGED, IGNORE_ENCAP_LIMIT, BridgedDataPlane, Way, keep_quiet
from nvgre_node.errors import BadInputError
from nvgre_node.policy import Address

DEVICES = {4: "gretap", 6: "ip6gretap"}
"""The kind of the device that all packets of an outer IP version pass; it is called `KIND.nvgre`."""

# The layouts of bpf/gretap.bpf.c.
_WAY = struct.Struct("=I16s")
_SOURCES = struct.Struct("=I32s")
_COUNTS = struct.Struct("=QQQQ")
_GRETAP = struct.Struct("=IIBBBx")
_SPARE_WAYS = 1024  # that may be installed later


class _Ip6gre(nla):  # not a subclass of pyroute2's: it would share the table that was made of the other's attributes
    """What pyroute2 knows of ip6gretap, and what has come since."""

    prefix = "IFLA_"
    nla_map = (*ifinfmsg.ifinfo.ip6gre_data.nla_map, ("IFLA_IP6GRE_COLLECT_METADATA", "flag"))


ifinfmsg.ifinfo.data_map["ip6gretap"] = _Ip6gre


class GretapExternalDataPlane(BridgedDataPlane):
    """The NVE of one provider host as bridges, one gretap device per outer IP version, and a tc program."""

    name = "gretap_external"
    summary = "gretap devices without keys and a tc-BPF program that gives each packet its own: with FlowIDs"
    needs = (
        *(needs.made_by_kernel(kind) for kind in DEVICES.values()),
        needs.library("bpf", 1, "libbpf 1.x", "libbpf1"),
        needs.program("clang", "clang"),
    )
    capabilities = BRIDGED | {
        Capability.FLOW_IDS,
        Capability.EVERY_FLOW_ID,
        Capability.STRIPS_TAGS,
        Capability.DROPS_TAGS,
        Capability.PA_PER_FLOW,
    }

    def __init__(self, home: Home) -> None:
        super().__init__(home)
        self._object: Object | None = None

    @property
    def _loaded(self) -> Object:
        if self._object is None:
            raise RuntimeError("this data plane is not attached")
        return self._object

    def _prepare(self, ip: IPRoute) -> None:
        """Makes the devices, loads the program, and has it know the VMs' ports."""
        policy, nve = self._policy, self._policy.nve
        if len(nve.pas_of(6)) > 1:
            raise BadInputError(
                f"{nve.host}: {self.name} leaves the choice among PAs of IPv6 to the kernel: give it one"
            )
        devices = {version: self._device(ip, version) for version in DEVICES if nve.pas_of(version)}
        choices = nve.flow_ids is FlowIds.FLOW, nve.ttl, 0 if nve.dscp == COPY else nve.dscp << 2
        constants = _GRETAP.pack(devices.get(4, 0), devices.get(6, 0), *choices)
        most = len(self._ways()) + _SPARE_WAYS
        sizes = {"ports": most, "ways": most, "sources": len(policy.ports) + 1, "counts": len(policy.vsids) + 1}
        self._object = Object(object_file("gretap"), sizes, {".rodata.gretap": constants})
        for vsid in policy.vsids:
            self._object.maps["counts"][U32.pack(vsid)] = bytes(_COUNTS.size)
        for port in policy.ports:
            chosen = [port.pa] if port.pa.version == 4 else []
            pas = nve.pas_of(4) if nve.pa_choice is PaChoice.FLOW else chosen or nve.pas_of(4)[:1]
            (index,) = ip.link_lookup(ifname=port.interface)
            self._object.maps["sources"][U32.pack(index)] = _SOURCES.pack(len(pas), b"".join(pa.packed for pa in pas))
        for index in devices.values():
            self._object.attach("from_wire", index)

    def _device(self, ip: IPRoute, version: int) -> int:
        kind = DEVICES[version]
        name, prefix = f"{kind}.nvgre", "gre" if version == 4 else "ip6gre"
        own: dict[str, Any] = {f"{prefix}_collect_metadata": True}
        if version == 6:
            own[f"{prefix}_flags"] = IGNORE_ENCAP_LIMIT
        ip.link("add", ifname=name, kind=kind, mtu=self._mtu(version), **own)
        keep_quiet(name)
        (index,) = ip.link_lookup(ifname=name)
        ip.link("set", index=index, state="up")
        return int(index)

    def _ways(self) -> set[Way]:
        return {Way(vsid, remote) for vsid in self._policy.vsids for remote in self._policy.senders[vsid]}

    def _way_to(self, vsid: int, remote: Address) -> Way:
        return Way(vsid, remote)

    def _port(self, ip: IPRoute, way: Way, name: str) -> int:
        ip.link("add", ifname=name, kind="dummy", mtu=self._mtu(way.remote.version))
        (index,) = ip.link_lookup(ifname=name)
        key, maps = _WAY.pack(way.vsid, mapped(way.remote)), self._loaded.maps
        maps["ports"][key], maps["ways"][U32.pack(index)] = U32.pack(index), key
        self._loaded.attach("to_way", index, Hook.EGRESS)
        return int(index)

    def counters(self) -> dict[int, SubnetCounters]:
        """What the program counts, by VSID: packets on the wire, and bytes of inner frames."""
        found = {NO_SUBNET: SubnetCounters()}
        for vsid in self._bridges:
            counts = self._loaded.maps["counts"].get(U32.pack(vsid))
            found[vsid] = SubnetCounters(*_COUNTS.unpack(counts or bytes(_COUNTS.size)))
        return found

    def close(self) -> None:
        """Frees the program; what it is attached to goes with the host's namespace."""
        if self._object is not None:
            self._object.close()
            self._object = None
