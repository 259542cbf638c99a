"""The `ebpf` data plane: policy records become BPF maps, and tc programs on ports and uplinks work from them."""

from __future__ import annotations

import socket
import time
from ipaddress import IPv6Address
from pathlib import Path

from nvgre_node import namespace
from nvgre_node.choices import (
    UnknownUnicast,
)
from nvgre_node.dataplane import acl_map
from nvgre_node.dataplane.base import (
    NO_SUBNET,
    PaCounters,
    PortCounters,
    Punted,
    Sighted,
    SubnetCounters,
)
from nvgre_node.dataplane.build import object_file
from nvgre_node.dataplane.capability import EVERYTHING
from nvgre_node.dataplane.ends import Ends
from nvgre_node.dataplane.layouts import (
    AGE,
    END_NO_PA,
    EVERY_MAC,
    GROUP_UPLINK,
    LOCAL_REPLICA,
    MAX_REPLICAS,
    NANOSECONDS,
    NEIGHBOUR,
    NOWHERE,
    PEER,
    PEER_KEY,
    PORT_KEY,
    RECORD,
    RECORD_KEY,
    RECORD_ROUTER,
    RECORD_TYPES,
    REMOTE,
    REPLICA_KEY,
    ROUTE,
    ROUTE_KEY,
    ROUTER,
    SOURCE_KEY,
    SPARE_RECORDS,
    U32,
    mapped,
    neighbour_key,
    nve_constants,
    port_value,
    record_key,
    record_numbers,
    sum_counters,
    sum_pa,
    sum_port,
)
from nvgre_node.dataplane.libbpf import Object
from nvgre_node.dataplane.punt import PuntReader
from nvgre_node.dataplane.slow_path import SlowPath
from nvgre_node.multicast import Memberships
from nvgre_node.packet import path_mtu_listeners
from nvgre_node.policy import Address, LookupRecord, NvePolicy, Port
from nvgre_node.routing import ROUTER_MAC
from nvgre_node.vendor import VSID_VENDOR
from nvgre_node.wire import octets


class EbpfDataPlane:
    """The NVE of one provider host as tc-BPF programs. Its maps are pinned under `directory`."""

    name = "ebpf"
    capabilities = EVERYTHING

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._object: Object | None = None
        self._listeners: list[socket.socket] = []
        self._memberships: Memberships | None = None
        self._punts: PuntReader | None = None
        self._slow_path: SlowPath | None = None
        self._slots: dict[int, int] = {}
        self._index: dict[str, int] = {}
        self._numbers: dict[bytes, int] = {}

    @property
    def loaded(self) -> Object:
        """The loaded programs and maps."""
        if self._object is None:
            raise RuntimeError("this data plane is not attached")
        return self._object

    def attach(self, policy: NvePolicy, uplinks: tuple[str, ...]) -> None:
        """Loads, fills the maps, pins them, and only then lets the programs see packets."""
        self._slots = {NO_SUBNET: 0} | {vsid: slot for slot, vsid in enumerate(policy.vsids, start=1)}
        self._numbers = record_numbers(policy)
        self._ends = Ends(policy)
        slow_path = SlowPath.create() if SlowPath.is_wanted(policy.nve) else None
        with namespace.netlink() as ip:
            links = {link.get("ifname"): link for link in ip.get_links()}
        index = {name: link["index"] for name, link in links.items()}
        constants = {".rodata.nve": nve_constants(policy, slow_path.entry if slow_path else 0)}
        if policy.joined:
            uplink = links[uplinks[0]]
            constants[".rodata.uplink"] = GROUP_UPLINK.pack(uplink["index"], octets(uplink.get("address")))
            self._memberships = Memberships(uplink["index"])
        if policy.nve.unknown is UnknownUnicast.PUNT:
            constants[".rodata.punt"] = U32.pack(1)
        constants[".rodata.learning"] = AGE.pack(policy.nve.learning * NANOSECONDS)
        numbered = {"record_keys": len(self._numbers) + 1 + SPARE_RECORDS, "port_keys": len(policy.ports) + 1}
        sizes = {"counters": len(self._slots), "ends": self._ends.size, "end_pas": self._ends.size, **numbered}
        self._object = Object(object_file(), max_entries=sizes, constants=constants)
        self._policy, self._index = policy, {interface: index[interface] for interface in policy.interfaces}
        self._write(policy, self._index)
        self._object.pin(self._directory)
        if policy.nve.unknown is UnknownUnicast.PUNT:
            names = {number: name for name, number in self._index.items()}
            self._punts = PuntReader(self._object.maps["punts"], names)
        self._listeners = path_mtu_listeners()
        for interface in policy.interfaces:
            self._object.attach("from_port", index[interface])
            for family in ("ipv4", "ipv6"):  # bpf_fib_lookup asks for it
                namespace.set_sysctl(f"{family}/conf/{interface}/forwarding", 1)
        for name in uplinks:
            self._object.attach("from_uplink", index[name])
        if slow_path:
            self._object.attach("from_slow_path", slow_path.exit)
            self._slow_path = slow_path
            slow_path.serve(policy.nve)
        if self._memberships:
            self._memberships.keep(policy.joined)

    def _write(self, policy: NvePolicy, index: dict[str, int]) -> None:
        maps = self.loaded.maps
        for number, port in enumerate(policy.ports, start=1):
            self._write_port(policy, port, number, index[port.interface])
        for record in policy.records:
            self._write_record(policy, record, index)
        for vsid in policy.vsids:
            self._write_subnet(policy, vsid, index)
        for pa in policy.verified:
            maps["peers"][PEER_KEY.pack(VSID_VENDOR, mapped(pa))] = PEER.pack(self._slots[NO_SUBNET], self._end_of(pa))
        for group in policy.joined:
            maps["joined"][mapped(group)] = b"\x01"
        for vsid, groups in policy.groups.items():
            carried = groups.by_mac | ({EVERY_MAC: groups.default} if groups.default else {})
            for mac, group in carried.items():
                maps["groups"][RECORD_KEY.pack(vsid, mac)] = self._remote(group)
        self._write_routing(policy)

    def _write_routing(self, policy: NvePolicy) -> None:
        """Routing domains are numbered in the order of their interfaces."""
        maps, numbers = self.loaded.maps, list(dict.fromkeys(router.domain for router in policy.routers))
        for router in policy.routers:
            own4, own6 = (address.packed if (address := router.address(version)) else b"" for version in (4, 6))
            maps["routers"][U32.pack(router.vsid)] = ROUTER.pack(numbers.index(router.domain), own4, own6)
            for address in router.addresses:
                has = NEIGHBOUR.pack(octets(ROUTER_MAC), RECORD_ROUTER)
                maps["neighbours"][neighbour_key(router.vsid, address)] = has
        for route in policy.routes:
            address, length = route.prefix.network_address, route.prefix.prefixlen
            key = ROUTE_KEY.pack(64 + length, numbers.index(route.domain), address.version, address.packed)
            next_hop = route.next_hop.packed if route.next_hop else b""
            maps["routes"][key] = ROUTE.pack(route.vsid, route.next_hop is None, next_hop)

    def _write_port(self, policy: NvePolicy, port: Port, number: int, ifindex: int) -> None:
        maps, key = self.loaded.maps, PORT_KEY.pack(ifindex, port.vid or 0)
        maps["ports"][key] = port_value(policy, port, number, self._slots[port.vsid])
        maps["port_keys"][U32.pack(number)] = key
        for source in port.sources:
            maps["sources"][SOURCE_KEY.pack(number, source.version, source.packed)] = b"\1"
        for acl_key, rules in acl_map.entries(port, ifindex):
            maps["acls"][acl_key] = rules

    def _write_record(self, policy: NvePolicy, record: LookupRecord, index: dict[str, int]) -> None:
        maps, key = self.loaded.maps, record_key(record)
        maps["records"][key] = self._record(policy, record, index)
        maps["record_keys"][U32.pack(self._numbers[key])] = key
        type_ = RECORD_TYPES.index(record.type)
        maps["neighbours"][neighbour_key(record.vsid, record.ca)] = NEIGHBOUR.pack(octets(record.mac), type_)

    def _record(self, policy: NvePolicy, record: LookupRecord, index: dict[str, int]) -> bytes:
        number = self._numbers[record_key(record)]
        if policy.is_local(record):
            port = policy.port_of(record)
            place = index[port.interface], record.deliver_vsid, number, port.vid or 0
            return RECORD.pack(*place, self._ends.ports[port.name], NOWHERE)
        return RECORD.pack(0, record.deliver_vsid, number, 0, self._end_of(record.pa), mapped(record.pa))

    def _remote(self, pa: Address) -> bytes:
        """A `struct remote`."""
        return REMOTE.pack(mapped(pa), self._end_of(pa))

    def _end_of(self, pa: Address) -> int:
        """The number of a PA, by which it is counted; who reads the counters finds the PA by it."""
        number = self._ends.of_pa(pa)
        if number != END_NO_PA:
            self.loaded.maps["end_pas"][U32.pack(number)] = mapped(pa)
        return number

    def _write_subnet(self, policy: NvePolicy, vsid: int, index: dict[str, int]) -> None:
        maps, slot = self.loaded.maps, U32.pack(self._slots[vsid])
        maps["subnets"][U32.pack(vsid)] = slot
        ends = self._ends.ports
        own = [port for port in policy.ports if port.vsid == vsid]
        local = [(index[port.interface], port.vid or 0, ends[port.name]) for port in own]
        remote = policy.replicas[vsid]
        if max(len(local), len(remote)) > MAX_REPLICAS:
            raise ValueError(f"VSID {vsid} has more than {MAX_REPLICAS} ports on one host, or NVEs")
        for position, place in enumerate(local):
            maps["local_replicas"][REPLICA_KEY.pack(vsid, position)] = LOCAL_REPLICA.pack(*place)
        for position, pa in enumerate(remote):
            maps["remote_replicas"][REPLICA_KEY.pack(vsid, position)] = self._remote(pa)
        self._write_senders(policy, vsid)

    def _write_senders(self, policy: NvePolicy, vsid: int) -> None:
        for pa in policy.senders[vsid]:
            peer = PEER.pack(self._slots[vsid], self._end_of(pa))
            self.loaded.maps["peers"][PEER_KEY.pack(vsid, mapped(pa))] = peer

    def punted(self) -> list[Punted]:
        """The frames that were handed to user space since the last call."""
        return self._punts.read() if self._punts else []

    def learnt(self) -> list[Sighted]:
        """What the NVE has learnt from packets, and not forgotten."""
        return [found for key in self.loaded.maps["learnt"] if (found := self._sighted(key))]

    def _sighted(self, key: bytes) -> Sighted | None:
        value = self.loaded.maps["learnt"].get(key)
        if value is None:  # it was forgotten meanwhile
            return None
        (seen,), (vsid, mac) = AGE.unpack_from(value), RECORD_KEY.unpack(key)
        pa = IPv6Address(RECORD.unpack_from(value, AGE.size)[-1])
        age = (time.monotonic_ns() - seen) / NANOSECONDS
        return Sighted(vsid, mac.hex(":"), pa.ipv4_mapped or pa, age) if age < self._policy.nve.learning else None

    def install(self, *records: LookupRecord) -> None:
        """Puts lookup records into force; 1024 may be new."""
        self._policy = self._policy.with_records(*records)
        for vsid in {vsid for record in records for vsid in record.vsids} & set(self._policy.vsids):
            self._write_senders(self._policy, vsid)
        for record in records:
            self._numbers.setdefault(record_key(record), len(self._numbers) + 1)
            self._write_record(self._policy, record, self._index)

    def counters(self) -> dict[int, SubnetCounters]:
        """Counters since attach, by VSID; NO_SUBNET holds what could be given to none."""
        return {
            vsid: sum_counters(self.loaded.maps["counters"].get(U32.pack(slot)) or b"")
            for vsid, slot in self._slots.items()
        }

    def port_counters(self) -> dict[str, PortCounters]:
        """Counters since attach, by port; NO_PORT holds what was for none."""
        return {name: sum_port(self._of_end(number)) for name, number in self._ends.ports.items()}

    def pa_counters(self) -> dict[Address, PaCounters]:
        """Counters since attach, by remote PA; NO_PA holds what came from none that may send."""
        return {pa: sum_pa(self._of_end(number)) for pa, number in self._ends.pas.items()}

    def _of_end(self, number: int) -> bytes:
        return self.loaded.maps["ends"].get(U32.pack(number)) or b""

    def close(self) -> None:
        """Leaves its groups and frees programs and maps; the pins go with the run's BPF file system."""
        if self._memberships is not None:
            self._memberships.close()
            self._memberships = None
        if self._punts is not None:
            self._punts.close()
            self._punts = None
        if self._object is not None:
            self._object.close()
            self._object = None
        if self._slow_path is not None:
            self._slow_path.close()
            self._slow_path = None
        while self._listeners:
            self._listeners.pop().close()
