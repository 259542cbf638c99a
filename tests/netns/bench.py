"""A test bench: the NVE of a running host1, one frame at a time, with what its counters made of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import GRE, Ether
from scapy.packet import Packet, Raw

from experiments.watch import Place, Watch
from nvgre_node.dataplane import model
from nvgre_node.dataplane.base import Drop, PaCounters, PortCounters
from nvgre_node.dataplane.planes.ebpf import EbpfDataPlane
from nvgre_node.groups import SubnetGroups, group_mac
from nvgre_node.namespace import set_sysctl
from nvgre_node.net import NvgreNet
from nvgre_node.policy import Address
from nvgre_node.wire import OVERHEAD
from topologies import Scenario, load

INNER_GROUP, INNER_GROUP6 = IPv4Address("239.5.5.5"), IPv6Address("ff15::5:5")
"""Groups of red_net's tenant that have one of their own in the underlay."""

OUTER_GROUPS: Mapping[int, Sequence[Address]] = {
    4: tuple(IPv4Address(f"239.{n}.1.1") for n in (1, 129, 3)),
    6: tuple(IPv6Address(f"ff15::{n}:1") for n in (1, 8001, 3)),
}
"""Groups of the underlay by IP version: of red_net, of its inner groups, and one that nobody has joined."""

Tally = dict[tuple[int | model.End, str], int]


@dataclass(frozen=True)
class Outcome:
    """What became of a frame: the tc action, its bytes afterwards, and the counters that moved, by VSID and name.

    `moved_at_ends` are those that moved by port or PA, and name.
    """

    action: int
    frame: bytes
    moved: Tally
    moved_at_ends: Tally

    @property
    def drops(self) -> list[Drop]:
        """The drops that were counted, each as often as it was."""
        return [
            reason for reason in Drop for (_, name), n in self.moved.items() if name == reason.name for _ in range(n)
        ]


class Bench:
    """host1 of a running two_hosts network."""

    def __init__(self, net: NvgreNet) -> None:
        self.net = net
        self.host, self.peer = net["host1"], net["host2"]
        (self.uplink,), (peer_uplink,) = self.host.uplinks, self.peer.uplinks
        self.mac, self.peer_mac = self.host.interface_mac(self.uplink), self.peer.interface_mac(peer_uplink)
        names = (*(port.interface for port in self.host.policy.ports), self.uplink)
        self.pa, self.peer_pa = (node.policy.nve.pas[0].ip for node in (self.host, self.peer))
        self.overhead = OVERHEAD[self.pa.version]
        self.groups = OUTER_GROUPS[self.pa.version]
        self.index = {name: self.host.interface_index(name) for name in names}

    def from_port(self, vm: str, frame: bytes) -> Outcome:
        """A VM of host1 sends a frame."""
        return self._run("from_port", frame, vm)

    def from_uplink(self, frame: bytes) -> Outcome:
        """A frame arrives from the underlay."""
        return self._run("from_uplink", frame, self.uplink)

    def _run(self, program: str, frame: bytes, interface: str) -> Outcome:
        assert isinstance(self.host.dataplane, EbpfDataPlane)
        before, at_ends = self.tally(), self.ends_tally()
        with self.host.inside():
            verdict = self.host.dataplane.loaded.test_run(program, frame, self.index[interface])
        return Outcome(verdict.action, verdict.frame, self.moved_since(before), self.moved_at_ends_since(at_ends))

    def moved_since(self, before: Tally) -> Tally:
        """The counters that have moved since an earlier tally."""
        return {key: n - before.get(key, 0) for key, n in self.tally().items() if n != before.get(key, 0)}

    def tally(self) -> Tally:
        """All counters, by VSID and name."""
        tally: Tally = {}
        for vsid, counters in self.host.dataplane.counters().items():
            counted = asdict(counters)
            dropped = counted.pop("dropped")
            tally |= {(vsid, name): n for name, n in counted.items()}
            tally |= {(vsid, reason.name): n for reason, n in dropped.items()}
        return tally

    def moved_at_ends_since(self, before: Tally) -> Tally:
        """The same of counters by port and PA."""
        return {key: n - before.get(key, 0) for key, n in self.ends_tally().items() if n != before.get(key, 0)}

    def ends_tally(self) -> Tally:
        """All counters by port or PA, and name."""
        tally: Tally = {}
        dataplane = self.host.dataplane
        with self.host.inside():
            ends: dict[model.End, PortCounters | PaCounters] = {**dataplane.port_counters(), **dataplane.pa_counters()}
        for end, counters in ends.items():
            counted = asdict(counters)
            dropped = counted.pop("dropped")
            tally |= {(end, name): n for name, n in counted.items()}
            tally |= {(end, reason.name): n for reason, n in dropped.items()}
        return tally

    # What arrives from the underlay

    def ethernet(self, **fields: Any) -> Packet:
        """The outer Ethernet header of what host2 sends to host1."""
        return Ether(**({"src": self.peer_mac, "dst": self.mac} | fields))

    def outer(self, traffic_class: int = 0, **fields: Any) -> Packet:
        """The outer headers of what host2 sends to host1, up to IP; `fields` are those of the IP version of its PA."""
        pas = {"src": str(self.peer_pa), "dst": str(self.pa)}
        if self.pa.version == 6:
            return self.ethernet() / IPv6(**(pas | {"nh": 47, "tc": traffic_class} | fields))
        return self.ethernet() / IP(**(pas | {"flags": "DF", "id": 0, "proto": 47, "tos": traffic_class} | fields))

    def to_group(self, inner: bytes, vsid: int, group: Address | None = None, pa: str = "", **ethernet: Any) -> bytes:
        """An inner frame as host2 sends it to a group, red_net's unless told otherwise."""
        to = group or self.groups[0]
        packet = self.nvgre(inner, vsid, src=pa or str(self.peer_pa), dst=str(to))
        ethernet = {"dst": group_mac(to).hex(":"), "type": int.from_bytes(packet[12:14], "big")} | ethernet
        return bytes(self.ethernet(**ethernet)) + packet[14:]

    def nvgre(self, inner: bytes, vsid: int, flow: int = 0, **outer: Any) -> bytes:
        """An inner frame as host2 sends it to host1."""
        return bytes(self.outer(**outer) / GRE(key_present=1, proto=0x6558, key=vsid << 8 | flow) / Raw(inner))


def grouped(scenario: Scenario) -> Scenario:
    """A variant of two_hosts, in which red_net has groups in the underlay, and blue_net shares one of them (B4)."""
    red, inner, _ = OUTER_GROUPS[scenario.policy.nves[0].pas[0].version]
    own = ((INNER_GROUP, inner), (INNER_GROUP6, inner))
    return scenario.with_groups({"red_net": SubnetGroups(red, own), "blue_net": SubnetGroups(red)})


@contextmanager
def running(scenario: Scenario | None = None) -> Iterator[Bench]:
    """A bench on a running network, two_hosts or a variant of it, whose VMs say nothing of their own accord."""
    with NvgreNet(scenario or load("two_hosts")) as net:
        for vm in net.vms:
            with vm.inside():
                set_sysctl("ipv6/conf/eth0/disable_ipv6", 1)
        with Watch(Place(vm, "eth0", incoming_only=False) for vm in net.vms) as watch:
            watch.until_quiet()
        yield Bench(net)
