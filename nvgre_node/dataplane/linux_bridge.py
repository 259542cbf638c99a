"""What data planes of plain Linux share: a bridge per virtual subnet, with a port for each way, and static entries."""

from __future__ import annotations

import errno
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl.ndmsg import NTF_MASTER, NUD_NOARP

from nvgre_node import namespace
from nvgre_node.choices import UnknownUnicast
from nvgre_node.dataplane import devices
from nvgre_node.dataplane.base import Home, PaCounters, PortCounters, Punted, Sighted, SubnetCounters
from nvgre_node.dataplane.capability import Capability
from nvgre_node.errors import BadInputError, MissingError
from nvgre_node.needs import Need
from nvgre_node.policy import Address, LookupRecord, NvePolicy
from nvgre_node.wire import OVERHEAD

KEY_PRESENT = 0x2000
IGNORE_ENCAP_LIMIT = 0x1  # IP6_TNL_F_IGN_ENCAP_LIMIT: else Linux puts a destination options header before GRE
_STATE, _FORWARDING = ("IFLA_LINKINFO", "IFLA_INFO_SLAVE_DATA", "IFLA_BRPORT_STATE"), 3  # BR_STATE_FORWARDING
_FDB = {"flags": NTF_MASTER, "state": NUD_NOARP}  # static; what is permanent is the bridge's own

BRIDGED = frozenset(
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
        Capability.L2ONLY,
        Capability.GATEWAYS,
        Capability.INSTALLS,
        Capability.COUNTS_PORTS,
    }
)
"""What bridges and gretap devices can do, however they are joined."""


@dataclass(frozen=True)
class Way:
    """To a PA of another NVE, for one virtual subnet, from one PA of this NVE or from any: a port of a bridge."""

    vsid: int
    remote: Address
    local: Address | None = None


class BridgedDataPlane(ABC):
    """The NVE of one provider host as bridges, which go with its namespace.

    Broadcasts are flooded to one port per NVE (N-way unicast), and these ports are isolated from each other (split
    horizon).
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    needs: ClassVar[tuple[Need, ...]]
    capabilities: ClassVar[frozenset[Capability]]
    takes_offloads = True
    datapath = None

    def __init__(self, _home: Home) -> None:
        self._ports: dict[Way, int] = {}
        self._bridges: dict[int, int] = {}

    def attach(self, policy: NvePolicy, uplinks: tuple[str, ...]) -> None:
        """Makes a bridge per virtual subnet, and its ports.

        Raises:
            MissingError: this kernel has no such devices.
        """
        self._policy = policy
        self._before = devices.statistics(policy.interfaces)
        try:
            self._make(policy, uplinks)
        except NetlinkError as error:
            if error.code != errno.EOPNOTSUPP:
                raise
            what = "this kernel has no gretap devices (CONFIG_NET_IPGRE, CONFIG_IPV6_GRE), dummies or bridges"
            raise MissingError(f"{what}; a guest has them: ./nvgre vm run -- ...") from error

    def _make(self, policy: NvePolicy, uplinks: tuple[str, ...]) -> None:
        with namespace.netlink() as ip:
            (uplink,) = ip.get_links(ip.link_lookup(ifname=uplinks[0])[0])
            self._underlay_mtu = int(uplink.get("mtu"))
            self._prepare(ip)
            for vsid in policy.vsids:
                self._bridge(ip, vsid)
            for way in sorted(self._ways(), key=str):
                self._join(ip, way)
            self._write(ip, policy.records)

    def _prepare(self, ip: IPRoute) -> None:  # noqa: B027 (not every data plane has anything to do)
        """Makes what all ways share."""

    @abstractmethod
    def _ways(self) -> set[Way]:
        """Every way by which packets may come; one of them leads to each PA."""

    @abstractmethod
    def _way_to(self, vsid: int, remote: Address) -> Way:
        """The way that a virtual subnet's packets take: an FDB entry knows the destination, and not who sends."""

    @abstractmethod
    def _port(self, ip: IPRoute, way: Way, name: str) -> int:
        """Makes the port of a way, and returns its interface index."""

    @abstractmethod
    def counters(self) -> dict[int, SubnetCounters]:
        """Counters since attach, by VSID."""

    def is_ready(self) -> bool:
        """Whether every port of its bridges forwards: that takes the kernel a while after a link has come up."""
        with namespace.netlink() as ip:
            ports = [link for link in ip.get_links() if link.get("master") in self._bridges.values()]
        return all(port.get_nested(*_STATE) == _FORWARDING for port in ports)

    def port_counters(self) -> dict[str, PortCounters]:
        """What the interfaces that are ports count, by port; drops are not told apart."""
        return devices.port_counters(self._before)

    def pa_counters(self) -> dict[Address, PaCounters]:
        """Nothing, unless its devices are told apart by PA."""
        return {}

    def _bridge(self, ip: IPRoute, vsid: int) -> None:
        name, flooded = f"br.{vsid}", self._policy.nve.unknown is UnknownUnicast.FLOOD
        ip.link("add", ifname=name, kind="bridge", br_mcast_snooping=0, br_stp_state=0)
        self._bridges[vsid] = bridge = int(ip.link_lookup(ifname=name)[0])
        # The bridge is also an interface of the host, whose own stack must not speak to tenants (T1, C3).
        keep_quiet(name)
        for port in (port for port in self._policy.ports if port.vsid == vsid):
            _enslave(ip, int(ip.link_lookup(ifname=port.interface)[0]), bridge, unicast_flood=flooded)
        ip.link("set", index=bridge, state="up")

    def _join(self, ip: IPRoute, way: Way) -> None:
        """Makes the port of a way; broadcasts go out of those that lead to each other NVE."""
        self._ports[way] = index = self._port(ip, way, f"gre.{way.vsid}.{len(self._ports)}")
        replica = way.remote in self._policy.replicas[way.vsid] and way == self._way_to(way.vsid, way.remote)
        unknown = replica and self._policy.nve.unknown is UnknownUnicast.FLOOD
        flags = {"isolated": 1, "mcast_flood": replica, "bcast_flood": replica}
        _enslave(ip, index, self._bridges[way.vsid], unicast_flood=unknown, **flags)

    def _mtu(self, version: int) -> int:
        """The longest inner IP packet that goes through the underlay whole."""
        return self._underlay_mtu - OVERHEAD[version]

    def _write(self, ip: IPRoute, records: Iterable[LookupRecord]) -> None:
        """Lookup records as static FDB entries (T8)."""
        for record in (record for record in records if record.vsid in self._bridges):
            if self._policy.is_local(record):
                index = int(ip.link_lookup(ifname=self._policy.port_of(record).interface)[0])
            else:
                way = self._way_to(record.vsid, record.pa)
                if way not in self._ports:
                    self._join(ip, way)
                index = self._ports[way]
            ip.fdb("replace", ifindex=index, lladdr=record.mac, **_FDB)

    def install(self, *records: LookupRecord) -> None:
        """Puts lookup records into force."""
        self._policy = self._policy.with_records(*records)
        with namespace.netlink() as ip:
            for way in sorted(self._ways() - self._ports.keys(), key=str):
                self._join(ip, way)
            self._write(ip, records)

    def update(self, policy: NvePolicy) -> None:
        """Not while it runs."""
        raise BadInputError(f"{policy.nve.host}: {self.name} has no {Capability.UPDATES}")

    def punted(self) -> list[Punted]:
        """Nothing: a bridge hands nothing to user space."""
        return []

    def learnt(self) -> list[Sighted]:
        """Nothing: its records are all there is."""
        return []

    def close(self) -> None:  # noqa: B027 (not every data plane has anything to do)
        """Nothing: all that it made is in the host's namespace, and goes with it."""


def keep_quiet(name: str) -> None:
    """Keeps the host's own stack from speaking, or being spoken to, through an interface."""
    namespace.set_sysctl(f"ipv6/conf/{name}/disable_ipv6", 1)
    namespace.set_sysctl(f"ipv4/conf/{name}/arp_ignore", 8)
    namespace.set_sysctl(f"ipv4/conf/{name}/rp_filter", 1)


def _enslave(ip: IPRoute, index: int, bridge: int, *, unicast_flood: bool, **flags: int) -> None:
    """Makes an interface a port of a bridge that learns nothing from it."""
    ip.link("set", index=index, master=bridge)
    own = {name: int(value) for name, value in {**flags, "unicast_flood": unicast_flood, "learning": False}.items()}
    ip.brport("set", index=index, **own)
    ip.link("set", index=index, state="up")
