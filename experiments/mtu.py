"""What fits, what is told, what is lost: sizes across the limit, and the black hole with its remedies (F1 to F5)."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Self

from scapy.layers.inet import ICMP
from scapy.layers.inet6 import ICMPv6PacketTooBig
from scapy.layers.l2 import Ether

from experiments.base import Context, capabilities, distant_pair, shared_versions
from experiments.conformance.lacking import refused
from experiments.probes import Kind, sized
from experiments.results import Check, Measurement, Outcome, Sample
from experiments.transfer import Transfer, transfer
from experiments.watch import Place, Sighting, Watch, packet_socket
from nvgre_node.choices import Fragments, TooBig
from nvgre_node.dataplane.capability import Capability
from nvgre_node.namespace import set_sysctl
from nvgre_node.net import NvgreNet
from nvgre_node.node import TenantVM
from nvgre_node.outer import outer_of
from nvgre_node.policy import Vm
from nvgre_node.wire import ETHERNET_BYTES, OVERHEAD
from topologies import Scenario

NAME = "mtu"
_USUAL, _JUMBO = 1500, 9000

_AROUND = (-400, -100, -42, -20, -8, -2, -1, 0, 1, 2, 8, 20, 41, 42)
_PAYLOAD_BYTES = 256 * 1024


@dataclass(frozen=True)
class Lane:
    """One way of sending: IP version, protocol, and whether DF is set (None: IPv6 has no DF)."""

    version: int
    protocol: Kind
    df: bool | None

    def __str__(self) -> str:
        df = {True: " DF", False: " no DF", None: ""}[self.df]
        return f"IPv{self.version} {self.protocol}{df}"


@dataclass(frozen=True)
class Shot:
    """What became of one packet. Sizes are bytes of IP packet; `overhead` is what the outer packet has more of."""

    underlay: int
    lane: Lane
    size: int
    delivered: bool
    told_mtu: int | None
    overhead: int | None
    fragments: int

    @property
    def outcome(self) -> str:
        """Delivered, told or lost; `delivered, yet told` contradicts itself."""
        if self.delivered:
            return "delivered" if self.told_mtu is None else "delivered, yet told"
        return "lost" if self.told_mtu is None else "told"


def lanes(versions: Iterable[int]) -> list[Lane]:
    """Every lane of these IP versions."""
    four = [Lane(4, protocol, df) for protocol in (Kind.ICMP, Kind.TCP) for df in (True, False)]
    six = [Lane(6, protocol, None) for protocol in (Kind.ICMPV6, Kind.TCP)]
    return [lane for lane in (*four, *six) if lane.version in versions]


def told_mtu(sent: bytes, seen: Iterable[Sighting], sender: str) -> int | None:
    """The MTU in the ICMP error that answers a frame at its sender's port, or None (RFC 1191, RFC 8201)."""
    quoted = sent[ETHERNET_BYTES : ETHERNET_BYTES + 28]
    for sighting in seen:
        if sighting.node != sender or quoted not in sighting.frame:
            continue
        packet = Ether(sighting.frame)
        if ICMP in packet and (packet[ICMP].type, packet[ICMP].code) == (3, 4):
            return int(packet[ICMP].nexthopmtu)
        if ICMPv6PacketTooBig in packet:
            return int(packet[ICMPv6PacketTooBig].mtu)
    return None


class Range:
    """A shooting range between two VMs of a running network: sends a packet, watches ports and uplinks."""

    def __init__(self, net: NvgreNet, source: Vm, destination: Vm) -> None:
        self.source, self.destination = source, destination
        self._stack = ExitStack()
        ports = [Place(net[vm.name], TenantVM.INTERFACE) for vm in (source, destination)]
        uplinks = [
            Place(net[host], uplink, incoming_only=False)
            for host in (source.host, destination.host)
            for uplink in net[host].uplinks
        ]
        self._watch = self._stack.enter_context(Watch([*ports, *uplinks]))
        self._socket: socket.socket = self._stack.enter_context(packet_socket(ports[0]))

    def __enter__(self) -> Self:
        self._watch.until_quiet()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def shoot(self, underlay: int, lane: Lane, size: int, tag: int) -> Shot:
        """Sends one packet of `size` bytes and says what became of it."""
        frame = sized(lane.protocol, lane.version, self.source, self.destination, size, df=bool(lane.df), tag=tag)
        self._socket.send(frame)

        def settled(seen: list[Sighting]) -> bool:
            return self._delivered(frame, seen) or told_mtu(frame, seen, self.source.name) is not None

        seen = self._watch.until(settled, seconds=0.5)
        read = ((sighting, outer_of(sighting.frame)) for sighting in seen)
        outer = [(at, packet) for at, packet in read if packet and (packet.is_gre or packet.is_fragment)]
        carriers = [packet for at, packet in outer if at.node == self.destination.host and at.frame.endswith(frame)]
        return Shot(
            underlay,
            lane,
            size,
            self._delivered(frame, seen),
            told_mtu(frame, seen, self.source.name),
            carriers[0].length - size if carriers else None,
            sum(packet.is_fragment for _, packet in outer),
        )

    def _delivered(self, frame: bytes, seen: Iterable[Sighting]) -> bool:
        return any(sighting.node == self.destination.name and sighting.frame == frame for sighting in seen)


def sweep(context: Context, underlay: int) -> Iterator[Shot]:
    """Shoots every lane across the limit of one underlay MTU; the VMs' links are wide enough to try."""
    scenario = context.scenario.with_mtu(underlay=underlay, tenant=underlay)
    source, destination = distant_pair(scenario.policy)
    overhead = overhead_of(scenario)
    with NvgreNet(scenario, context.dataplane) as net, Range(net, source, destination) as shooting:
        tag = 0
        for lane in lanes(shared_versions(source, destination)):
            for offset in _AROUND:
                tag += 1
                yield shooting.shoot(underlay, lane, underlay - overhead + offset, tag)


@dataclass(frozen=True)
class Remedy:
    """One way to deal with tunnels that are narrower than the tenants think, and whether a transfer then completes.

    `df` says whether the VMs send their packets with DF.
    """

    name: str
    underlay: int
    tenant: int
    too_big: TooBig
    completes: bool
    clamp_mss: bool = False
    fragments: Fragments = Fragments.DROP
    df: bool = True

    def apply(self, scenario: Scenario) -> Scenario:
        """The scenario with this remedy."""
        chosen = {"too_big": self.too_big, "clamp_mss": self.clamp_mss, "fragments": self.fragments}
        return scenario.with_mtu(underlay=self.underlay, tenant=self.tenant).with_nve(**chosen)


def underlays(overhead: int) -> tuple[int, ...]:
    """MTUs of the underlay, in bytes: the usual one, the one that carries a 1500-byte packet, and jumbo frames."""
    return _USUAL, _USUAL + overhead, _JUMBO


def remedies(overhead: int) -> tuple[Remedy, ...]:
    """The black hole, and what helps against it where NVGRE adds `overhead` bytes; last, what RFC 7637 forbids (F1)."""
    low, high = _USUAL - overhead, _USUAL + overhead
    outer = Remedy("forbidden outer fragments, dropped", _USUAL, _USUAL, TooBig.FRAGMENT_OUTER, completes=False)
    whole = replace(
        outer, name="forbidden outer fragments, reassembled", fragments=Fragments.REASSEMBLE, completes=True
    )
    return (
        Remedy("nobody is told (the black hole)", _USUAL, _USUAL, TooBig.DROP, completes=False),
        Remedy("the NVE tells the sender (ICMP)", _USUAL, _USUAL, TooBig.TELL, completes=True),
        Remedy("the NVE lowers TCP's MSS", _USUAL, _USUAL, TooBig.DROP, completes=True, clamp_mss=True),
        Remedy("the NVE cuts what has no DF (RFC 7588)", _USUAL, _USUAL, TooBig.FRAGMENT, completes=True, df=False),
        Remedy(f"the tenants' MTU is lowered to {low}", _USUAL, low, TooBig.DROP, completes=True),
        Remedy(f"the underlay's MTU is raised to {high}", high, _USUAL, TooBig.DROP, completes=True),
        outer,
        whole,
    )


def overhead_of(scenario: Scenario) -> int:
    """What NVGRE adds between the two VMs that are tried: 42 bytes, or 62 over IPv6."""
    _, destination = distant_pair(scenario.policy)
    return OVERHEAD[scenario.policy.pa_of(destination).version]


def try_remedy(context: Context, remedy: Remedy) -> Transfer:
    """A TCP transfer between two distant VMs under one remedy."""
    scenario = remedy.apply(context.scenario)
    source, destination = distant_pair(scenario.policy)
    version = shared_versions(source, destination)[0]
    with NvgreNet(scenario, context.dataplane) as net:
        for vm in (source, destination):
            with net[vm.name].inside():
                set_sysctl("ipv4/ip_no_pmtu_disc", 0 if remedy.df else 1)
        return transfer(net[source.name], net[destination.name], str(destination.ca(version)), _PAYLOAD_BYTES)


def run(context: Context) -> Outcome:
    """Sweeps sizes on each underlay, then tries each remedy."""
    overhead = overhead_of(context.scenario)
    widths, cures = underlays(overhead), remedies(overhead)
    steps = len(widths) + len(cures)
    shots: list[Shot] = []
    transfers: list[tuple[Remedy, Transfer]] = []
    for number, underlay in enumerate(widths):
        context.progress(number, steps, f"underlay MTU {underlay}: packets across the limit")
        shots += sweep(context, underlay)
    own = capabilities(context)
    lacking = {remedy: lacks for remedy in cures if (lacks := lacks_for(remedy, context.scenario, own))}
    for number, remedy in enumerate(cures, start=len(widths)):
        context.progress(number, steps, f"TCP when {remedy.name}")
        if remedy not in lacking:
            transfers.append((remedy, try_remedy(context, remedy)))
    context.progress(steps, steps, "done")
    tells = Capability.TELLS_TOO_BIG in own
    checks = (*sweep_checks(shots, overhead, tells=tells), *remedy_checks(transfers))
    samples = (
        *map(_sweep_sample, shots),
        *(_transfer_sample(*pair) for pair in transfers),
        *(_lacking_sample(remedy, lacks) for remedy, lacks in lacking.items()),
    )
    return Outcome(NAME, context.dataplane, context.scenario.name, tuple(_measurements(shots)), checks, samples)


def lacks_for(remedy: Remedy, scenario: Scenario, own: frozenset[Capability]) -> list[str]:
    """What a data plane with these capabilities lacks for a remedy, in words."""
    tells = remedy.too_big is not TooBig.TELL or Capability.TELLS_TOO_BIG in own
    return [*refused(remedy.apply(scenario).policy, own), *([] if tells else [str(Capability.TELLS_TOO_BIG)])]


def largest(shots: Iterable[Shot]) -> int | None:
    """The largest size that was delivered, or None."""
    return max((shot.size for shot in shots if shot.delivered), default=None)


def sweep_checks(shots: list[Shot], overhead: int, *, tells: bool = True) -> tuple[Check, ...]:
    """Per underlay and lane: the limit, nothing lost on either side of it, the overhead, and no fragment ever.

    Of a data plane that declares that it tells nobody, what is larger must be lost.
    """
    checks = []
    for underlay, lane in dict.fromkeys((shot.underlay, shot.lane) for shot in shots):
        own = [shot for shot in shots if (shot.underlay, shot.lane) == (underlay, lane)]
        name, limit = f"underlay {underlay}, {lane}", underlay - overhead
        above = [shot for shot in own if shot.size > limit]
        told = sorted({str(shot.told_mtu) if shot.outcome == "told" else shot.outcome for shot in above})
        below = sorted({shot.outcome for shot in own if shot.size <= limit})
        overheads = sorted({shot.overhead for shot in own if shot.overhead is not None})
        checks += [
            Check(f"{name}: largest packet", "F3", str(limit), str(largest(own))),
            Check(f"{name}: packets up to it", "U3", "delivered", ", ".join(below)),
            Check(f"{name}: larger packets are told", "RFC 2003 5.1", str(limit), ", ".join(told))
            if tells
            else Check(f"{name}: larger packets are lost", "F1", "lost", ", ".join(told)),
            Check(f"{name}: overhead in bytes", "O1", str(overhead), ", ".join(map(str, overheads))),
            Check(f"{name}: fragments on the wire", "F1", "0", str(sum(shot.fragments for shot in own))),
        ]
    return tuple(checks)


def remedy_checks(transfers: Iterable[tuple[Remedy, Transfer]]) -> tuple[Check, ...]:
    """Whether each transfer ended as its remedy promises; the black hole must swallow everything but the handshake."""
    words = {True: "completes", False: "stalls with nothing received"}
    checks = []
    for remedy, done in transfers:
        observed = words[done.completed]
        if not done.completed and (done.received or not done.connected):
            observed = f"stalls with {done.received} bytes received, connected: {done.connected}"
        checks.append(Check(f"TCP when {remedy.name}", "F4, RFC 7588 2.2", words[remedy.completes], observed))
    return tuple(checks)


def _measurements(shots: list[Shot]) -> Iterator[Measurement]:
    overheads = tuple(float(shot.overhead) for shot in shots if shot.overhead is not None)
    if overheads:
        yield Measurement("overhead", "bytes", overheads)
    for underlay in dict.fromkeys(shot.underlay for shot in shots):
        if (size := largest(shot for shot in shots if shot.underlay == underlay)) is not None:
            yield Measurement(f"largest packet, underlay {underlay}", "bytes", (float(size),))


def _sweep_sample(shot: Shot) -> Sample:
    return {
        "kind": "sweep",
        "underlay_mtu": shot.underlay,
        "tenant_mtu": shot.underlay,
        "family": f"IPv{shot.lane.version}",
        "protocol": "TCP" if shot.lane.protocol is Kind.TCP else "ICMP",
        "df": shot.lane.df,
        "size": shot.size,
        "outcome": shot.outcome.split(",")[0],
        "told_mtu": shot.told_mtu,
        "overhead": shot.overhead,
        "fragments": shot.fragments,
    }


def _lacking_sample(remedy: Remedy, lacks: list[str]) -> Sample:
    widths = {"underlay_mtu": remedy.underlay, "tenant_mtu": remedy.tenant}
    return {"kind": "lacking", **widths, "remedy": remedy.name, "note": f"not tried: no {'; no '.join(lacks)}"}


def _transfer_sample(remedy: Remedy, done: Transfer) -> Sample:
    return {
        "kind": "transfer",
        "underlay_mtu": remedy.underlay,
        "tenant_mtu": remedy.tenant,
        "remedy": remedy.name,
        "sent": _PAYLOAD_BYTES,
        "received": done.received,
        "completed": done.completed,
        "retransmissions": done.retransmissions,
        "note": "",
    }
