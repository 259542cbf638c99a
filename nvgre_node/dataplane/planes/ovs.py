"""The `ovs` data plane: Open vSwitch with OpenFlow. Nobody here wrote its packet path: it is the independent peer.

Each provider host has an Open vSwitch of its own, in its network namespace. Policy records become flows
(`openvswitch/flows.py`), and the packet counts of flows are the counters. Where the kernel has the datapath, the kernel
forwards; elsewhere Open vSwitch itself does, in user space.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress

from nvgre_node import namespace, needs
from nvgre_node.choices import COPY
from nvgre_node.dataplane import devices
from nvgre_node.dataplane.base import NO_SUBNET, Drop, Home, PaCounters, PortCounters, Punted, Sighted, SubnetCounters
from nvgre_node.dataplane.capability import Capability
from nvgre_node.dataplane.openvswitch import answering, bridges, flows, openflow, sending, underlay
from nvgre_node.dataplane.openvswitch.bridges import Bridge, Interface
from nvgre_node.dataplane.openvswitch.daemons import Daemons, ToolError
from nvgre_node.dataplane.openvswitch.datapath import NETDEV, SYSTEM, chosen
from nvgre_node.dataplane.openvswitch.jsonrpc import RpcError
from nvgre_node.dataplane.openvswitch.pipeline import (
    ADVERTISER,
    FIRST_PORT,
    TUNNEL_PORTS,
    UNTAGGED,
    View,
    counted,
    exits,
)
from nvgre_node.dataplane.openvswitch.ways import Ways, join, lend_addresses, prepare
from nvgre_node.errors import BadInputError
from nvgre_node.multicast import Memberships
from nvgre_node.packet import path_mtu_listeners
from nvgre_node.policy import Address, LookupRecord, NvePolicy
from nvgre_node.vendor import VSID_VENDOR
from nvgre_node.wire import TAG_BYTES

BRIDGE, UPLINK_BRIDGE, ADVERTISING_BRIDGE = "ovs-vms", "ovs-uplink", "ovs-answers"
TO_ADVERTISER, FROM_ADVERTISER = "ovs-ask0", "ovs-ask1"
"""Interface names that no node or VM can have: theirs hold no hyphen before `-eth`."""

_TUNNELS = {4: "gre", 6: "ip6gre"}

ALWAYS = frozenset(
    {
        Capability.FLOW_IDS,
        Capability.NO_FLOW_IDS,
        Capability.STRIPS_TAGS,
        Capability.OUTER_TTL,
        Capability.OUTER_DSCP,
        Capability.EVERY_FLOW_ID,
        Capability.DROPS_TAGS,
        Capability.CHECKS_SOURCE_PA,
        Capability.RESTORES_ECN,
        Capability.OUTER_IPV6,
        Capability.SEVERAL_PAS,
        Capability.PA_PER_FLOW,
        Capability.DROPS_UNKNOWN,
        Capability.FLOODS_UNKNOWN,
        Capability.PROXIES,
        Capability.ROUTES,
        Capability.TRUNKS,
        Capability.L2ONLY,
        Capability.GATEWAYS,
        Capability.CROSSES,
        Capability.INSTALLS,
        Capability.DROPS_TOO_BIG,
        Capability.CHECKS_SOURCES,
        Capability.ACLS,
        Capability.COUNTS_PORTS,
        Capability.CARRIES_IP,
    }
)
"""What Open vSwitch can do here whoever forwards."""

NATIVE = frozenset(
    {
        Capability.SILENT,
        Capability.ZERO_ID,
        Capability.HIDES_DSCP,
        Capability.DROPS_RESERVED_BITS,
        Capability.COPIES_ECN,
        Capability.ZERO_ECN,
        Capability.DROPS_FRAGMENTS,
        Capability.GROUPS,
    }
)
"""What it can do only where it makes outer headers itself, so that flows see them."""

BY_KERNEL = frozenset({Capability.REASSEMBLES, Capability.TRIMS})
"""What comes with the kernel's own tunnels."""


class OvsDataPlane:
    """The NVE of one provider host as an Open vSwitch of its own, whose files are in a folder of its own."""

    name = "ovs"
    summary = "Open vSwitch with OpenFlow, one per host: the independent peer; in the kernel or in user space"
    needs = (needs.program("ovs-vswitchd", "openvswitch-switch"), needs.program("ethtool", "ethtool"))
    datapath = chosen()
    takes_offloads = datapath == SYSTEM
    capabilities = ALWAYS | (NATIVE if datapath == NETDEV else BY_KERNEL)
    _native = datapath == NETDEV

    def __init__(self, home: Home) -> None:
        self._daemons = Daemons(home.folder)
        self._stack = ExitStack()
        self._lock = threading.Lock()
        self._mtus: dict[Address, int] = {}

    def attach(self, policy: NvePolicy, uplinks: tuple[str, ...]) -> None:
        """Starts Open vSwitch, makes bridges with ports and tunnels, and has flows say what becomes of frames."""
        self._policy = policy
        self._before = devices.statistics(policy.interfaces)
        self._stack.callback(self._daemons.close)
        self._daemons.start()
        for listener in path_mtu_listeners():
            self._stack.enter_context(listener)
        own = {uplink: f"{UPLINK_BRIDGE}{number or ''}" for number, uplink in enumerate(uplinks)}
        self._underlays = own if self._native else {}
        self._make_bridges(self._underlays)
        self._ways = self._stack.enter_context(closing(Ways(own, policy.joined, uplinks[0])))
        self._ways.follow(policy.remote_pas, self._daemons.control if self._native else None)
        self._write()
        self._ways.watch(self._look_around)
        if policy.joined:
            with namespace.netlink() as ip:
                (index,) = ip.link_lookup(ifname=uplinks[0])
            self._stack.enter_context(closing(Memberships(index))).keep(policy.joined)

    def _make_bridges(self, underlays: dict[str, str]) -> None:
        """The bridge of the VMs, and one for each uplink where Open vSwitch makes outer headers itself."""
        ports = [Interface(name, FIRST_PORT + number) for number, name in enumerate(self._policy.interfaces)]
        apart = self._view.advertises_apart
        if apart:
            join(TO_ADVERTISER, FROM_ADVERTISER)
            ports.append(Interface(TO_ADVERTISER, ADVERTISER))
        made = [Bridge(BRIDGE, [*ports, *self._tunnels()])]
        with namespace.netlink() as ip:
            macs = {link.get("ifname"): link.get("address") for link in ip.get_links()}
        for uplink, bridge in underlays.items():
            made.append(Bridge(bridge, [Interface(uplink, underlay.UPLINK)], macs[uplink]))
        with self._daemons.connect() as database:
            bridges.create(database, self.datapath, made)
            if apart:
                bridges.create(database, NETDEV, [Bridge(ADVERTISING_BRIDGE, [Interface(FROM_ADVERTISER, 1)])])
        if self._native:
            with self._daemons.control() as control:
                prepare(control)
            self._daemons.widen()
            groups = ["ovs-ofctl", "-O", "OpenFlow15", "add-groups", self._address(BRIDGE), "-"]
            self._daemons.run(*groups, given=list(sending.groups()))
        for uplink, bridge in underlays.items():
            lend_addresses(uplink, bridge)
            self._replace(bridge, list(underlay.flows(self._policy, macs[uplink])))

    def _tunnels(self) -> Iterator[Interface]:
        """Flows say the key and both addresses of each packet; ECN is copied whatever `tos` says (O8)."""
        nve = self._policy.nve
        options = {"remote_ip": "flow", "local_ip": "flow", "out_key": "flow", "packet_type": "legacy_l2"}
        options["tos"] = str(0 if nve.dscp == COPY else nve.dscp << 2)
        for version, kind in _TUNNELS.items():
            every = {"in_key": "flow", "ttl": str(nve.ttl)}
            yield Interface(f"ovs-gre{version}", TUNNEL_PORTS[version], kind, options | every)
        for one in exits(nve) if self._native else ():
            none = {"in_key": str(VSID_VENDOR << 8 | one.ttl), "ttl": str(one.ttl)}
            yield Interface(f"ovs-exit{one.of_port}", one.of_port, _TUNNELS[one.version], options | none)

    @property
    def _view(self) -> View:
        return View(self._policy, self._mtus, self._native)

    def _write(self) -> None:
        self._mtus = self._ways.mtus
        if self._view.advertises_apart:
            self._replace(ADVERTISING_BRIDGE, list(answering.advertisements(self._view)))
        self._replace(BRIDGE, list(flows.flows(self._view)))

    def _replace(self, bridge: str, wanted: list[str]) -> None:
        """These flows in place of those there are, in one step; what stays the same keeps its counts."""
        command = ["ovs-ofctl", "-O", "OpenFlow14", "--bundle", "replace-flows", self._address(bridge), "-"]
        self._daemons.run(*command, given=wanted)

    def _address(self, bridge: str) -> str:
        """A bridge as ovs-ofctl calls it."""
        return f"unix:{self._daemons.socket(bridge)}"

    def _look_around(self) -> None:
        """The kernel has said something: a new way, or a path MTU that flows have to mind."""
        with self._lock, suppress(OSError, RpcError, ToolError):  # an interface is gone, or Open vSwitch
            if self._ways.look():
                self._write()

    def install(self, *records: LookupRecord) -> None:
        """Puts lookup records into force."""
        with self._lock:
            self._policy = self._policy.with_records(*records)
            self._ways.follow(self._policy.remote_pas, self._daemons.control if self._native else None)
            self._write()

    def counters(self) -> dict[int, SubnetCounters]:
        """Counters since attach, by VSID; NO_SUBNET holds what could be given to none that flows could see."""
        with self._daemons.control() as control:
            control.call("revalidator/purge")  # so that what the datapath has counted is with the flows
        found = openflow.counts(self._daemons.socket(BRIDGE))
        for bridge in self._underlays.values():
            found += openflow.counts(self._daemons.socket(bridge))
        return {vsid: counters_of(vsid, found) for vsid in (NO_SUBNET, *self._policy.vsids)}

    def update(self, policy: NvePolicy) -> None:
        """Not while it runs."""
        raise BadInputError(f"{policy.nve.host}: {self.name} has no {Capability.UPDATES}")

    def is_ready(self) -> bool:
        """From the moment on at which it is attached."""
        return True

    def port_counters(self) -> dict[str, PortCounters]:
        """What the kernel counts at the interfaces that are ports, trunk ports as a whole; drops are not told apart."""
        return devices.port_counters(self._before)

    def pa_counters(self) -> dict[Address, PaCounters]:
        """Nothing: its flows count by virtual subnet, whatever the PA."""
        return {}

    def punted(self) -> list[Punted]:
        """Nothing: unknown unicast is dropped or flooded."""
        return []

    def learnt(self) -> list[Sighted]:
        """Nothing: records alone decide."""
        return []

    def close(self) -> None:
        """Ends Open vSwitch; its bridges and flows go with it, and its files."""
        self._stack.close()


def counters_of(vsid: int, found: Counter[tuple[int, str]]) -> SubnetCounters:
    """The counters of one virtual subnet, from what flows have counted by their cookies."""
    own: Counter[str] = Counter()
    dropped: Counter[Drop] = Counter()
    for (cookie, unit), count in found.items():
        what = counted(cookie)
        if what is None or what[0] != vsid or not count:
            continue
        if isinstance(what[1], Drop):
            dropped[what[1]] += count if unit == "packets" else 0
            continue
        tags = next((number for number, kind in UNTAGGED.items() if kind is what[1]), 0)
        name = "encapsulated" if tags else what[1].name.lower()
        if unit == "packets":
            own[name] += count
            own["encapsulated_bytes"] -= tags * TAG_BYTES * count
        elif name in {"encapsulated", "decapsulated"}:
            own[f"{name}_bytes"] += count
    return SubnetCounters(dropped=dict(dropped), **own)
