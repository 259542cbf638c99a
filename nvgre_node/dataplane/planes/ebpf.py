"""The `ebpf` data plane: policy records become BPF maps, and tc programs on ports and uplinks work from them."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Mapping
from ipaddress import IPv6Address
from typing import Any

from nvgre_node import namespace, needs
from nvgre_node.choices import UnknownUnicast
from nvgre_node.dataplane.base import NO_PORT, Home, PaCounters, PortCounters, Punted, Sighted, SubnetCounters
from nvgre_node.dataplane.build import object_file
from nvgre_node.dataplane.capability import EVERYTHING
from nvgre_node.dataplane.layouts import (
    AGE,
    END_NO_PORT,
    GROUP_UPLINK,
    NANOSECONDS,
    RECORD,
    RECORD_KEY,
    U32,
    nve_constants,
    sum_counters,
    sum_pa,
    sum_port,
)
from nvgre_node.dataplane.libbpf import Object
from nvgre_node.dataplane.punt import PuntReader
from nvgre_node.dataplane.slow_path import SlowPath
from nvgre_node.dataplane.tables import ORDER, Numbering, Table, changes, tables
from nvgre_node.errors import BadInputError
from nvgre_node.multicast import Memberships
from nvgre_node.packet import path_mtu_listeners
from nvgre_node.policy import Address, LookupRecord, NvePolicy
from nvgre_node.wire import octets


class EbpfDataPlane:
    """The NVE of one provider host as tc-BPF programs. Its maps are pinned."""

    name = "ebpf"
    summary = "tc-BPF programs on ports and uplinks: everything in RFC 7637, at kernel speed"
    needs = (
        needs.linux(5, 15),
        needs.file_system("bpf", "BPF file system in the kernel", "CONFIG_BPF_SYSCALL"),
        needs.library("bpf", 1, "libbpf 1.x", "libbpf1"),
        needs.program("clang", "clang"),
    )
    capabilities = EVERYTHING
    takes_offloads = True
    datapath = None

    def __init__(self, home: Home) -> None:
        self._home = home
        self._object: Object | None = None
        self._listeners: list[socket.socket] = []
        self._memberships: Memberships | None = None
        self._punts: PuntReader | None = None
        self._slow_path: SlowPath | None = None
        self._index: dict[str, int] = {}
        self._tables: dict[str, Table] = {}
        self._uplinks: dict[str, Any] = {}
        self._constants: Mapping[str, bytes] = {}

    @property
    def loaded(self) -> Object:
        """The loaded programs and maps."""
        if self._object is None:
            raise RuntimeError("this data plane is not attached")
        return self._object

    def attach(self, policy: NvePolicy, uplinks: tuple[str, ...]) -> None:
        """Loads, fills the maps, pins them, and only then lets the programs see packets."""
        self._policy = policy
        self._slow_path = SlowPath.create() if SlowPath.is_wanted(policy.nve) else None
        links = _links()
        self._uplinks = {name: links[name] for name in uplinks}
        self._index = {name: links[name]["index"] for name in policy.interfaces}
        self._numbering = Numbering(policy)
        self._constants = self._constants_of(policy)
        sizes = self._numbering.sizes
        self._object = Object(object_file(), max_entries=sizes, constants=self._constants)
        self._write(policy)
        self._object.pin(self._home.pins())
        if policy.nve.unknown is UnknownUnicast.PUNT:
            self._punts = PuntReader(self._object.maps["punts"], self._port_at)
        self._listeners = path_mtu_listeners()
        self._watch_ports(policy.interfaces)
        self._watch_rest()
        if self._slow_path:
            self._slow_path.serve(policy.nve)
        self._join(policy)

    def update(self, policy: NvePolicy) -> None:
        """Has the maps say another policy; programs are replaced where it needs more of them than they were made for.

        Raises:
            BadInputError: there is no room for it, or it asks for what is settled when an NVE comes up.
        """
        if policy.nve != self._policy.nve:
            raise BadInputError(f"{policy.nve.host}: what an NVE does is settled when it comes up")
        self._numbering.cover(policy)
        before = self._index
        if before.keys() != set(policy.interfaces):
            links = _links()
            self._index = {name: links[name]["index"] for name in policy.interfaces}
        if (constants := self._constants_of(policy)) != self._constants:
            self._replace_programs(constants)
            before = {}
        self._policy = policy
        self._write(policy)
        self._watch_ports(name for name, index in self._index.items() if before.get(name) != index)
        self._join(policy)

    def restore(self) -> None:
        """Has maps and programs be as the policy in force has them, whatever somebody else has done to them."""
        self._index = {name: link["index"] for name, link in _links().items() if name in self._policy.interfaces}
        maps = self.loaded.maps
        self._tables = {name: {key: maps[name].get(key) or b"" for key in maps[name]} for name in ORDER}
        self._write(self._policy)
        self._watch_ports(self._policy.interfaces)
        self._watch_rest()

    def _join(self, policy: NvePolicy) -> None:
        if policy.joined and self._memberships is None:
            self._memberships = Memberships(next(iter(self._uplinks.values()))["index"])
        if self._memberships:
            self._memberships.keep(policy.joined)

    def _replace_programs(self, constants: Mapping[str, bytes]) -> None:
        """The maps stay, and with them counters and all that was learnt."""
        old, self._constants = self.loaded, constants
        self._object = Object(object_file(), constants=constants, maps=old.maps)
        self._watch_rest()
        old.close()

    def _constants_of(self, policy: NvePolicy) -> dict[str, bytes]:
        """What the verifier may take for granted, so that what is switched off costs nothing."""
        constants = {".rodata.nve": nve_constants(policy, self._slow_path.entry if self._slow_path else 0)}
        if policy.joined:
            uplink = next(iter(self._uplinks.values()))
            constants[".rodata.uplink"] = GROUP_UPLINK.pack(uplink["index"], octets(uplink.get("address")))
        if policy.nve.unknown is UnknownUnicast.PUNT:
            constants[".rodata.punt"] = U32.pack(1)
        return constants | {".rodata.learning": AGE.pack(policy.nve.learning * NANOSECONDS)}

    def _write(self, policy: NvePolicy) -> None:
        """Has the maps say what the policy says, by as few changes as that takes."""
        wanted = tables(policy, self._index, self._numbering)
        for name, key, value in changes(self._tables, wanted):
            if value is None:
                del self.loaded.maps[name][key]
            else:
                self.loaded.maps[name][key] = value
        self._tables = wanted

    def _watch_ports(self, interfaces: Iterable[str]) -> None:
        """Lets the programs see what VMs send."""
        for interface in interfaces:
            self.loaded.attach("from_port", self._index[interface])
            for family in ("ipv4", "ipv6"):  # bpf_fib_lookup asks for it
                namespace.set_sysctl(f"{family}/conf/{interface}/forwarding", 1)

    def _watch_rest(self) -> None:
        """Lets the programs see what comes in at uplinks and from the slow path."""
        for link in self._uplinks.values():
            self.loaded.attach("from_uplink", link["index"])
        if self._slow_path:
            self.loaded.attach("from_slow_path", self._slow_path.exit)

    def _port_at(self, ifindex: int) -> str:
        return next((name for name, index in self._index.items() if index == ifindex), "")

    def is_ready(self) -> bool:
        """From the moment on at which it is attached."""
        return True

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
        """Puts lookup records into force.

        Raises:
            BadInputError: there is no room for so many new ones.
        """
        self.update(self._policy.with_records(*records))

    def counters(self) -> dict[int, SubnetCounters]:
        """Counters since attach, by VSID; NO_SUBNET holds what could be given to none."""
        return {
            vsid: sum_counters(self.loaded.maps["counters"].get(U32.pack(slot)) or b"")
            for vsid, slot in self._numbering.slots.items()
        }

    def port_counters(self) -> dict[str, PortCounters]:
        """Counters since attach, by port; NO_PORT holds what was for none."""
        ends = {NO_PORT: END_NO_PORT} | {name: self._numbering.port_end(name) for name in self._numbering.ports}
        return {name: sum_port(self._of_end(end)) for name, end in ends.items()}

    def pa_counters(self) -> dict[Address, PaCounters]:
        """Counters since attach, by remote PA; NO_PA holds what came from none that may send."""
        return {pa: sum_pa(self._of_end(end)) for pa, end in self._numbering.pas.items()}

    def _of_end(self, end: int) -> bytes:
        return self.loaded.maps["ends"].get(U32.pack(end)) or b""

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


def _links() -> dict[str, Any]:
    """The interfaces of the current network namespace, by name."""
    with namespace.netlink() as ip:
        return {link.get("ifname"): link for link in ip.get_links()}
