"""The `gretap` data plane: what plain Linux gives, as an administrator would type it by hand.

A virtual subnet is a bridge. Its ports are the VMs' and one `gretap` device for each way to another NVE, with the key
`VSID << 8`: Linux compares all 32 bits of a key, so that FlowIDs are zero both ways. Static FDB entries are the lookup
records. `ip -d link` and `bridge fdb` in the host's namespace show all of it.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from typing import Any

from pyroute2 import IPRoute

from nvgre_node import namespace, needs
from nvgre_node.choices import COPY, TooBig
from nvgre_node.dataplane.base import NO_SUBNET, PaCounters, SubnetCounters
from nvgre_node.dataplane.capability import Capability
from nvgre_node.dataplane.linux_bridge import BRIDGED, IGNORE_ENCAP_LIMIT, KEY_PRESENT, BridgedDataPlane, Way
from nvgre_node.errors import BadInputError
from nvgre_node.policy import Address
from nvgre_node.wire import ETHERNET_BYTES, OVERHEAD, NvgreHeader

_LARGEST = 65535 - OVERHEAD[6]


class GretapDataPlane(BridgedDataPlane):
    """The NVE of one provider host as bridges and gretap devices, which go with its namespace."""

    name = "gretap"
    summary = "the kernel's gretap devices and bridges: what plain Linux gives, and lacks"
    needs = (needs.made_by_kernel("gretap"), needs.made_by_kernel("ip6gretap"))
    capabilities = BRIDGED | {Capability.FRAGMENTS_OUTER, Capability.COUNTS_PAS}

    def _ways(self) -> set[Way]:
        """One for each PA of this NVE, since a device has both ends."""
        return {
            Way(vsid, remote, local)
            for vsid in self._policy.vsids
            for remote in self._policy.senders[vsid]
            for local in self._policy.nve.pas_of(remote.version)
        }

    def _way_to(self, vsid: int, remote: Address) -> Way:
        ports = [port for port in self._policy.ports if port.vsid == vsid]
        sources = {self._policy.fixed_source_pa(port, remote.version) for port in ports}
        if len(sources) > 1:
            what = f"{self._policy.nve.host}: VMs of VSID {vsid} have different PAs"
            raise BadInputError(f"{what}; a bridge has one device to each PA, whoever sends ({self.name})")
        return Way(vsid, remote, sources.pop() or self._policy.nve.pas_of(remote.version)[0])

    def _port(self, ip: IPRoute, way: Way, name: str) -> int:
        nve, fragments = self._policy.nve, self._policy.nve.too_big is TooBig.FRAGMENT_OUTER
        mtu = _LARGEST if fragments else self._mtu(way.remote.version)
        dscp = 0 if nve.dscp == COPY else nve.dscp
        ip.link("add", ifname=name, mtu=mtu, **_tunnel(way, nve.ttl, dscp << 2, forbid_fragments=not fragments))
        return int(ip.link_lookup(ifname=name)[0])

    def counters(self) -> dict[int, SubnetCounters]:
        """What its devices count, by VSID: frames as they are handed over, which with GSO are many on the wire each.

        Of what it sends Linux counts IP packets, and leaves their Ethernet headers out.
        """
        sums: dict[int, Counter[str]] = {vsid: Counter() for vsid in (NO_SUBNET, *self._bridges)}
        for way, counted in self._by_way():
            sums[way.vsid].update(counted)
        return {vsid: SubnetCounters(**dict[str, Any](counted)) for vsid, counted in sums.items()}

    def pa_counters(self) -> dict[Address, PaCounters]:
        """What its devices count, by remote PA; drops are not told apart."""
        sums: dict[Address, Counter[str]] = {}
        for way, counted in self._by_way():
            sums.setdefault(way.remote, Counter()).update(counted)
        return {pa: PaCounters(**counted, dropped=None) for pa, counted in sums.items()}

    def _by_way(self) -> Iterator[tuple[Way, dict[str, int]]]:
        with namespace.netlink() as ip:
            links = {link["index"]: link.get("stats64") or {} for link in ip.get_links()}
        for way, index in self._ports.items():
            stats = links.get(index, {})
            sent, received = stats.get("tx_packets", 0), stats.get("rx_packets", 0)
            yield (
                way,
                {
                    "encapsulated": sent,
                    "encapsulated_bytes": stats.get("tx_bytes", 0) + sent * ETHERNET_BYTES,
                    "decapsulated": received,
                    "decapsulated_bytes": stats.get("rx_bytes", 0),
                },
            )


def _tunnel(way: Way, ttl: int, traffic_class: int, *, forbid_fragments: bool) -> dict[str, Any]:
    """The netlink attributes of a device: as `ip link add type gretap local ... remote ... key ... ttl ... tos ...`."""
    key = NvgreHeader(way.vsid).key
    ends: dict[str, Any] = {"local": str(way.local), "remote": str(way.remote), "ikey": key, "okey": key, "ttl": ttl}
    if way.remote.version == 4:
        flags = {"iflags": KEY_PRESENT, "oflags": KEY_PRESENT, "tos": traffic_class}
        flags |= {"pmtudisc": int(forbid_fragments), "ignore_df": int(not forbid_fragments)}
        return {"kind": "gretap", **{f"gre_{name}": value for name, value in (ends | flags).items()}}
    present = socket.htons(KEY_PRESENT)
    flags = {"iflags": present, "oflags": present, "flags": IGNORE_ENCAP_LIMIT, "flowinfo": traffic_class << 20}
    return {"kind": "ip6gretap", **{f"ip6gre_{name}": value for name, value in (ends | flags).items()}}
