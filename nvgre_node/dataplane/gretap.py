"""The `gretap` data plane: what plain Linux gives, as an administrator would type it by hand.

A virtual subnet is a bridge. Its ports are the VMs' and one `gretap` device for each way to another NVE, with the key
`VSID << 8`: Linux compares all 32 bits of a key, so that FlowIDs are zero both ways. Static FDB entries are the lookup
records; broadcasts are flooded to one device per NVE (N-way unicast), and devices are isolated from each other (split
horizon). `ip -d link` and `bridge fdb` in the host's namespace show all of it.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.rtnl.ndmsg import NTF_MASTER, NUD_NOARP

from nvgre_node import namespace
from nvgre_node.choices import COPY, TooBig, UnknownUnicast
from nvgre_node.dataplane.base import NO_SUBNET, Punted, Sighted, SubnetCounters
from nvgre_node.dataplane.capability import Capability
from nvgre_node.errors import BadInputError
from nvgre_node.policy import Address, LookupRecord, NvePolicy
from nvgre_node.wire import ETHERNET_BYTES, OVERHEAD, NvgreHeader

_KEY_PRESENT = 0x2000
_IGNORE_ENCAP_LIMIT = 0x1  # IP6_TNL_F_IGN_ENCAP_LIMIT: else Linux puts a destination options header before GRE
_FDB = {"flags": NTF_MASTER, "state": NUD_NOARP}  # static; what is permanent is the bridge's own
_LARGEST = 65535 - OVERHEAD[6]


@dataclass(frozen=True)
class Way:
    """From one PA of this NVE to one of another, for one virtual subnet: a device."""

    vsid: int
    local: Address
    remote: Address


class GretapDataPlane:
    """The NVE of one provider host as bridges and gretap devices, which go with its namespace."""

    name = "gretap"
    capabilities = frozenset(
        {
            Capability.NO_FLOW_IDS,
            Capability.OUTER_TTL,
            Capability.OUTER_DSCP,
            Capability.HIDES_DSCP,
            Capability.OUTER_IPV6,
            Capability.SEVERAL_PAS,
            Capability.TRIMS,
            Capability.CHECKS_SOURCE_PA,
            Capability.RESTORES_ECN,
            Capability.REASSEMBLES,
            Capability.DROPS_UNKNOWN,
            Capability.FLOODS_UNKNOWN,
            Capability.DROPS_TOO_BIG,
            Capability.FRAGMENTS_OUTER,
            Capability.L2ONLY,
            Capability.GATEWAYS,
            Capability.INSTALLS,
        }
    )

    def __init__(self) -> None:
        self._devices: dict[Way, int] = {}
        self._bridges: dict[int, int] = {}

    def attach(self, policy: NvePolicy, uplinks: tuple[str, ...]) -> None:
        """Makes a bridge per virtual subnet, and its devices."""
        self._policy = policy
        with namespace.netlink() as ip:
            (uplink,) = ip.get_links(ip.link_lookup(ifname=uplinks[0])[0])
            self._underlay_mtu = int(uplink.get("mtu"))
            for vsid in policy.vsids:
                self._bridge(ip, vsid)
            for way in sorted(self._ways(), key=str):
                self._device(ip, way)
            self._write(ip, policy.records)

    def _ways(self) -> Iterator[Way]:
        """Every way by which packets may come; one of them leads to each PA."""
        for vsid in self._policy.vsids:
            for remote in self._policy.senders[vsid]:
                yield from (Way(vsid, local, remote) for local in self._policy.nve.pas_of(remote.version))

    def _way_to(self, vsid: int, remote: Address) -> Way:
        """The way that a virtual subnet's packets take: an FDB entry knows the destination, and not who sends."""
        ports = [port for port in self._policy.ports if port.vsid == vsid]
        sources = {self._policy.fixed_source_pa(port, remote.version) for port in ports}
        if len(sources) > 1:
            what = f"{self._policy.nve.host}: VMs of VSID {vsid} have different PAs"
            raise BadInputError(f"{what}; a bridge has one device to each PA, whoever sends (gretap)")
        return Way(vsid, sources.pop() or self._policy.nve.pas_of(remote.version)[0], remote)

    def _bridge(self, ip: IPRoute, vsid: int) -> None:
        name, flooded = f"br.{vsid}", self._policy.nve.unknown is UnknownUnicast.FLOOD
        ip.link("add", ifname=name, kind="bridge", br_mcast_snooping=0, br_stp_state=0)
        self._bridges[vsid] = bridge = int(ip.link_lookup(ifname=name)[0])
        # The bridge is also an interface of the host, whose own stack must not speak to tenants (T1, C3).
        namespace.set_sysctl(f"ipv6/conf/{name}/disable_ipv6", 1)
        namespace.set_sysctl(f"ipv4/conf/{name}/arp_ignore", 8)
        namespace.set_sysctl(f"ipv4/conf/{name}/rp_filter", 1)
        for port in (port for port in self._policy.ports if port.vsid == vsid):
            _enslave(ip, int(ip.link_lookup(ifname=port.interface)[0]), bridge, unicast_flood=flooded)
        ip.link("set", index=bridge, state="up")

    def _device(self, ip: IPRoute, way: Way) -> None:
        """Makes a device; broadcasts go out of those that lead to each other NVE."""
        nve, name = self._policy.nve, f"gre.{way.vsid}.{len(self._devices)}"
        fragments = nve.too_big is TooBig.FRAGMENT_OUTER
        mtu = _LARGEST if fragments else self._underlay_mtu - OVERHEAD[way.remote.version]
        dscp = 0 if nve.dscp == COPY else nve.dscp
        ip.link("add", ifname=name, mtu=mtu, **_tunnel(way, nve.ttl, dscp << 2, forbid_fragments=not fragments))
        self._devices[way] = index = int(ip.link_lookup(ifname=name)[0])
        replica = way.remote in self._policy.replicas[way.vsid] and way == self._way_to(way.vsid, way.remote)
        unknown = replica and nve.unknown is UnknownUnicast.FLOOD
        flags = {"isolated": 1, "mcast_flood": replica, "bcast_flood": replica}
        _enslave(ip, index, self._bridges[way.vsid], unicast_flood=unknown, **flags)

    def _write(self, ip: IPRoute, records: Iterable[LookupRecord]) -> None:
        """Lookup records as static FDB entries (T8)."""
        for record in (record for record in records if record.vsid in self._bridges):
            if self._policy.is_local(record):
                index = int(ip.link_lookup(ifname=self._policy.port_of(record).interface)[0])
            else:
                way = self._way_to(record.vsid, record.pa)
                if way not in self._devices:
                    self._device(ip, way)
                index = self._devices[way]
            ip.fdb("replace", ifindex=index, lladdr=record.mac, **_FDB)

    def install(self, *records: LookupRecord) -> None:
        """Puts lookup records into force."""
        self._policy = self._policy.with_records(*records)
        with namespace.netlink() as ip:
            for way in sorted(set(self._ways()) - self._devices.keys(), key=str):
                self._device(ip, way)
            self._write(ip, records)

    def counters(self) -> dict[int, SubnetCounters]:
        """What its devices count, by VSID: frames as they are handed over, which with GSO are many on the wire each.

        Of what it sends Linux counts IP packets, and leaves their Ethernet headers out.
        """
        found = {vsid: SubnetCounters() for vsid in (NO_SUBNET, *self._bridges)}
        with namespace.netlink() as ip:
            links = {link["index"]: link.get("stats64") or {} for link in ip.get_links()}
        for way, index in self._devices.items():
            stats, so_far = links.get(index, {}), found[way.vsid]
            sent, received = stats.get("tx_packets", 0), stats.get("rx_packets", 0)
            found[way.vsid] = SubnetCounters(
                encapsulated=so_far.encapsulated + sent,
                encapsulated_bytes=so_far.encapsulated_bytes + stats.get("tx_bytes", 0) + sent * ETHERNET_BYTES,
                decapsulated=so_far.decapsulated + received,
                decapsulated_bytes=so_far.decapsulated_bytes + stats.get("rx_bytes", 0),
            )
        return found

    def punted(self) -> list[Punted]:
        """Nothing: a bridge hands nothing to user space."""
        return []

    def learnt(self) -> list[Sighted]:
        """Nothing: its records are all there is."""
        return []

    def close(self) -> None:
        """Nothing: all that it made is in the host's namespace, and goes with it."""


def _enslave(ip: IPRoute, index: int, bridge: int, *, unicast_flood: bool, **flags: int) -> None:
    """Makes an interface a port of a bridge that learns nothing from it."""
    ip.link("set", index=index, master=bridge)
    own = {name: int(value) for name, value in {**flags, "unicast_flood": unicast_flood, "learning": False}.items()}
    ip.brport("set", index=index, **own)
    ip.link("set", index=index, state="up")


def _tunnel(way: Way, ttl: int, traffic_class: int, *, forbid_fragments: bool) -> dict[str, Any]:
    """The netlink attributes of a device: as `ip link add type gretap local ... remote ... key ... ttl ... tos ...`."""
    key = NvgreHeader(way.vsid).key
    ends: dict[str, Any] = {"local": str(way.local), "remote": str(way.remote), "ikey": key, "okey": key, "ttl": ttl}
    if way.remote.version == 4:
        flags = {"iflags": _KEY_PRESENT, "oflags": _KEY_PRESENT, "tos": traffic_class}
        flags |= {"pmtudisc": int(forbid_fragments), "ignore_df": int(not forbid_fragments)}
        return {"kind": "gretap", **{f"gre_{name}": value for name, value in (ends | flags).items()}}
    present = socket.htons(_KEY_PRESENT)
    flags = {"iflags": present, "oflags": present, "flags": _IGNORE_ENCAP_LIMIT, "flowinfo": traffic_class << 20}
    return {"kind": "ip6gretap", **{f"ip6gre_{name}": value for name, value in (ends | flags).items()}}
