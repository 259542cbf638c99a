"""Which packets spread over paths of equal cost: what routers hash, against what differs between packets (E1 to E3)."""

from __future__ import annotations

import random
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from itertools import chain, count, islice
from typing import Any, Self

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import GRE, Ether
from scapy.packet import Raw

from experiments.base import Context, shared_versions
from experiments.conformance.lab import Uplink
from experiments.forks import ONE_PATH, SPREADS, Fork, fork, verdict
from experiments.results import Check, Measurement, Outcome, Sample
from experiments.watch import Place, Sighting, Watch, packet_socket
from nvgre_node.choices import FlowIds, PaChoice
from nvgre_node.errors import BadInputError
from nvgre_node.fabric import Multipath
from nvgre_node.net import NvgreNet
from nvgre_node.node import TenantVM
from nvgre_node.outer import outer_of
from nvgre_node.policy import Address, Network, Vm
from nvgre_node.wire import GRE_PROTOCOL, VSID_FIRST
from topologies import Scenario

NAME = "ecmp"
FLOWS = 128
"""Flows per cell. Each is sent twice, since a flow must not leave its path."""

# RFC 2544 and RFC 5180: for tests of network devices, and nobody's
_TEST_NETS: dict[int, Network] = {4: IPv4Network("198.18.0.0/15"), 6: IPv6Network("2001:2::/48")}
_INNER_SOURCE, _INNER_DESTINATION = IPv4Address("198.18.0.1"), IPv4Address("198.19.0.1")
_INNER_MACS = "02:00:00:76:37:01", "02:00:00:76:37:02"
_FIRST_PORT, _PORT = 0xC000, 7637
_TOKEN = re.compile(rb"ecmp.{4}", re.DOTALL)
_TOKEN_BYTES = 8
_NUMBERS = count(1)
_AT_ONCE = 32  # packets between two looks at the sockets, whose buffers are finite


class Varied(StrEnum):
    """What differs from packet to packet, all else being equal."""

    NOTHING = "nothing: one flow"
    FLOW_ID = "FlowID"
    VSID = "VSID"
    INNER_IP = "inner IP"
    INNER_PORT = "inner port"
    SOURCE_PA = "source PA"
    VM_FLOWS = "a VM's flows"
    """Ports, in frames of a VM: its NVE makes FlowIDs of them."""

    @property
    def row(self) -> str:
        """The requirement behind it."""
        return {Varied.FLOW_ID: "E2", Varied.SOURCE_PA: "E3"}.get(self, "E1")


SPREADING = {
    Multipath.OUTER: {Varied.SOURCE_PA},
    Multipath.INNER_ADDRESSES: {Varied.INNER_IP},
    Multipath.INNER: {Varied.INNER_IP, Varied.INNER_PORT, Varied.VM_FLOWS},
    Multipath.KEY: {Varied.FLOW_ID, Varied.VSID, Varied.SOURCE_PA, Varied.VM_FLOWS},
}
"""What spreads packets over paths, by what routers hash. All else stays on one path."""


@dataclass(frozen=True)
class Ends:
    """What the packets between two NVEs have: MAC addresses of the first link, PAs, and what can be a source PA."""

    mac: str
    next_hop_mac: str
    sources: tuple[Address, ...]
    destination: Address


@dataclass(frozen=True)
class Cell:
    """What became of the packets of one kind, sent over outer IP of one version to routers of one mode."""

    version: int
    mode: Multipath
    varied: Varied
    paths: tuple[str, ...]
    taken: tuple[tuple[str, ...], ...]
    flows: tuple[int, ...]

    @property
    def expected(self) -> str:
        """What must become of them."""
        return SPREADS if self.varied in SPREADING[self.mode] else ONE_PATH

    @property
    def observed(self) -> str:
        """What did."""
        return verdict(self.taken, self.paths, self.flows)

    def packets(self, path: str) -> int:
        """How many packets went there."""
        return sum(way.count(path) for way in self.taken)


def packet(ends: Ends, varied: Varied, number: int) -> bytes:
    """An NVGRE packet as it leaves a provider host, with room for a token at its end; inside is UDP over IPv4."""
    at = dict.fromkeys(Varied, 0) | {varied: number}
    addresses = {"src": str(ends.sources[at[Varied.SOURCE_PA]]), "dst": str(ends.destination)}
    v6 = ends.destination.version == 6
    outer: Any = IPv6(nh=GRE_PROTOCOL, **addresses) if v6 else IP(proto=GRE_PROTOCOL, id=0, flags="DF", **addresses)
    key = (VSID_FIRST + at[Varied.VSID]) << 8 | at[Varied.FLOW_ID]
    inner = Ether(src=_INNER_MACS[0], dst=_INNER_MACS[1])
    inner /= IP(src=str(_INNER_SOURCE + at[Varied.INNER_IP]), dst=str(_INNER_DESTINATION))
    inner /= UDP(sport=_FIRST_PORT + at[Varied.INNER_PORT], dport=_PORT, chksum=0) / Raw(bytes(_TOKEN_BYTES))
    ethernet = Ether(src=ends.mac, dst=ends.next_hop_mac)
    return bytes(ethernet / outer / GRE(key_present=1, proto=0x6558, key=key) / inner)


def flows_of(source: Vm, destination: Vm, rng: random.Random) -> list[bytes]:
    """Frames of a VM, each of a flow of its own: UDP with ports drawn by lot, and room for a token at the end."""
    version = shared_versions(source, destination)[0]
    ip: Any = IPv6 if version == 6 else IP
    head = Ether(src=source.mac, dst=destination.mac) / ip(
        src=str(source.ca(version)), dst=str(destination.ca(version))
    )
    ports = rng.sample(range(1024, 65536), FLOWS)
    # Its checksum is not that of the token: the destination drops it, and does not answer.
    return [bytes(head / UDP(sport=port, dport=_PORT, chksum=1) / Raw(bytes(_TOKEN_BYTES))) for port in ports]


def sources(scenario: Scenario, vm: Vm) -> tuple[Address, ...]:
    """Source PAs of a VM's packets: its own, and addresses that nobody has, of its prefix if they last."""
    own = scenario.policy.pa_of(vm)
    prefix = next(pa.network for pa in scenario.policy.nve(vm.host).pas if pa.ip == own)
    taken = {at.ip for link in scenario.fabric.links for end in link.ends for at in end.addresses}
    everybody: Iterator[Address] = chain(_hosts(prefix), _hosts(_TEST_NETS[own.version]))
    free = (address for address in everybody if address not in taken)
    return own, *islice(free, FLOWS - 1)


def _hosts(prefix: Network) -> Iterator[Address]:
    yield from prefix.hosts()


class Crossing:
    """Two provider hosts of a running network between which ways of equal cost lead, and ears where these begin."""

    def __init__(self, net: NvgreNet, scenario: Scenario, source: Vm, destination: Vm, seed: int) -> None:
        self._stack = ExitStack()
        self._host, self._vm = net[source.host], net[source.name]
        end = scenario.policy.pa_of(destination)
        found = fork(net, scenario.fabric, source.host, end)
        if found is None:
            raise RuntimeError(f"no ways part between {source.host} and {end}")
        self.fork: Fork = found
        uplink = Uplink.of(self._host)
        ends = Ends(uplink.mac, uplink.far_mac, sources(scenario, source), end)
        self._frames: dict[Varied, list[bytes]] = {
            varied: [packet(ends, varied, number) for number in range(FLOWS)]
            for varied in Varied
            if varied is not Varied.VM_FLOWS
        }
        self._frames[Varied.VM_FLOWS] = flows_of(source, destination, random.Random(seed))  # noqa: S311 (ports)

    def __enter__(self) -> Self:
        self._watch = self._stack.enter_context(Watch(self.fork.paths))
        self._nve = self._stack.enter_context(packet_socket(Place(self._host, *self._host.uplinks)))
        self._port = self._stack.enter_context(packet_socket(Place(self._vm, TenantVM.INTERFACE)))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def send(self, version: int, mode: Multipath, varied: Varied) -> Cell:
        """Sends every packet of a kind, and again, and says where each went."""
        frames = self._frames[varied] * 2
        seen = self._sightings(self._port if varied is Varied.VM_FLOWS else self._nve, frames)
        flows = [0 if varied is Varied.NOTHING else number % FLOWS for number in range(len(frames))]
        if varied is Varied.VM_FLOWS and mode is Multipath.KEY:  # flows with one key are one to the router
            flows = [_key(own[0].frame) if own else -1 for own in seen]
        taken = tuple(tuple(sighting.node for sighting in own) for own in seen)
        return Cell(version, mode, varied, self.fork.names, taken, tuple(flows))

    def _sightings(self, mouth: socket.socket, frames: Sequence[bytes]) -> list[list[Sighting]]:
        """Sends frames, each with a token, and returns what was seen of each."""
        found: dict[bytes, list[Sighting]] = {b"ecmp" + next(_NUMBERS).to_bytes(4, "big"): [] for _ in frames}

        def note(seen: Sequence[Sighting]) -> None:
            for sighting in seen:
                for token in _TOKEN.findall(sighting.frame):
                    found.get(token, []).append(sighting)

        for number, (frame, token) in enumerate(zip(frames, found, strict=True)):
            if number % _AT_ONCE == _AT_ONCE - 1:
                note(self._watch.heard(0))
            mouth.send(frame[:-_TOKEN_BYTES] + token)
        missing = sum(not own for own in found.values())
        note(self._watch.until(lambda late: sum(bool(_TOKEN.search(s.frame)) for s in late) >= missing))
        note(self._watch.until_quiet(20))
        return list(found.values())


def _key(frame: bytes) -> int:
    outer = outer_of(frame)
    return -1 if outer is None else outer.key


def crossing(scenario: Scenario) -> tuple[Vm, Vm]:
    """Two VMs of one virtual subnet between whose hosts ways of equal cost lead.

    Raises:
        BadInputError: there are none.
    """
    policy, fabric = scenario.policy, scenario.fabric
    untagged = [vm for vm in policy.vms if vm.vid is None]
    for a in untagged:
        for b in untagged:
            apart = a.subnet == b.subnet and a.host != b.host
            if apart and shared_versions(a, b) and fabric.fork(a.host, policy.pa_of(b)):
                return a, b
    raise BadInputError(
        f"{scenario.name} has no equal-cost paths between two VMs of a virtual subnet (leaf_spine has: see its routers)"
    )


def variants(scenario: Scenario) -> dict[int, Scenario]:
    """The scenario as it is and over IPv6, by IP version of the underlay; flows choose FlowIDs, and no source PAs."""
    alike = scenario.with_nve(flow_ids=FlowIds.FLOW, pa_choice=PaChoice.FIRST)
    _, destination = crossing(scenario)
    return {alike.policy.pa_of(destination).version: alike, 6: alike.over_ipv6()}


def run(context: Context) -> Outcome:
    """Has all routers spread by each mode in turn, and varies one thing at a time. `quick`: over one IP version.

    Raises:
        BadInputError: the scenario has no paths of equal cost.
    """
    chosen = list(variants(context.scenario).items())[: 1 if context.quick else None]
    steps, cells = len(chosen) * len(Multipath), list[Cell]()
    for version, scenario in chosen:
        pair = crossing(scenario)
        with (
            NvgreNet(scenario, context.dataplane) as net,
            Crossing(net, scenario, *pair, seed=context.seed) as between,
        ):
            for mode in Multipath:
                context.progress(len(cells) // len(Varied), steps, f"IPv{version}, routers hash {mode}")
                for router in scenario.fabric.routers:
                    net[router].spread_by(mode)
                cells += [between.send(version, mode, varied) for varied in Varied]
    context.progress(steps, steps, "done")
    samples = tuple(sample for cell in cells for sample in _samples(cell))
    return Outcome(NAME, context.dataplane, context.scenario.name, tuple(measurements(cells)), checks(cells), samples)


def checks(cells: Sequence[Cell]) -> tuple[Check, ...]:
    """Of every cell: whether it spread or not, as the mode promises; and no flow left its path."""
    return tuple(
        Check(
            f"IPv{c.version}, routers hash {c.mode}: {c.varied}", f"RFC 7637 4.1 {c.varied.row}", c.expected, c.observed
        )
        for c in cells
    )


def measurements(cells: Sequence[Cell]) -> Iterator[Measurement]:
    """By mode: which share of a VM's packets the fullest path got; half of them is best where there are two."""
    for mode in dict.fromkeys(cell.mode for cell in cells):
        own = [cell for cell in cells if cell.mode is mode and cell.varied is Varied.VM_FLOWS]
        shares = [100 * max(map(cell.packets, cell.paths)) / len(cell.taken) for cell in own]
        yield Measurement(f"a VM's flows on the fullest path, {mode}", "% of packets", tuple(shares))


def _samples(cell: Cell) -> Iterator[Sample]:
    for number, path in enumerate(cell.paths, start=1):
        yield {
            "outer": f"IPv{cell.version}",
            "mode": str(cell.mode),
            "varied": str(cell.varied),
            "path": number,
            "router": path,
            "packets": cell.packets(path),
            "flows": len(set(cell.flows)),
            "sent": len(cell.taken),
            "expected": cell.expected,
            "observed": cell.observed,
        }
