"""Who hears whom: every ordered pair of VMs, every kind of traffic, every port and uplink watched (T4, T6, B5, U3)."""

from __future__ import annotations

import random
import re
import socket
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Self

from experiments.base import Context
from experiments.probes import Kind, probe, tagged, untagged
from experiments.results import Check, Measurement, Outcome, Sample
from experiments.watch import Sighting, Watch, packet_socket, uplinks, vm_ports
from nvgre_node.choices import Carries, Neighbours, RecordType, UnknownUnicast
from nvgre_node.net import NvgreNet
from nvgre_node.outer import outer_of
from nvgre_node.policy import Policy, Vm
from nvgre_node.wire import NvgreHeader, WireError

NAME = "isolation"
_TOKEN = re.compile(rb"nvgre-bed:.{8}", re.DOTALL)
_SHORTLY = 0.1
"""Seconds to wait where nothing is to be seen; what leaks later is seen when all has become quiet."""
_TOKEN_MARK, _TOKEN_LOT_BYTES = b"nvgre-bed:", 8


@dataclass(frozen=True)
class Probe:
    """One frame from one VM to the addresses of another, known by its token."""

    kind: Kind
    source: Vm
    destination: Vm
    token: bytes

    @property
    def frame(self) -> bytes:
        """The frame as the VM sends it."""
        return probe(self.kind, self.source, self.destination, self.token)


@dataclass(frozen=True)
class Audience:
    """Who heard a probe: VMs, and uplinks of provider hosts with the VSID that they saw on the wire."""

    vms: tuple[str, ...] = ()
    uplinks: tuple[str, ...] = ()

    @property
    def hearers(self) -> frozenset[str]:
        """The VMs by name alone, however often and in whatever form they heard it."""
        return frozenset(vm.split()[0] for vm in self.vms)

    def __str__(self) -> str:
        wire = f", on the wire: {', '.join(self.uplinks)}" if self.uplinks else ""
        return (f"heard by {', '.join(self.vms)}" if self.vms else "heard by nobody") + wire


def probes(policy: Policy, rng: random.Random) -> list[Probe]:
    """Every ordered pair of VMs times every kind that both can speak, each with a token of its own."""
    return [
        Probe(kind, source, destination, _TOKEN_MARK + rng.randbytes(_TOKEN_LOT_BYTES))
        for source in policy.vms
        for destination in policy.vms
        for kind in Kind
        if source != destination
        and (kind.version is None or (source.ca(kind.version) and destination.ca(kind.version)))
    ]


def expected(policy: Policy, sent: Probe) -> Audience:
    """Who must hear a probe, by the tenants' subnets alone: what the lookup records say is what is being tested."""
    subnet = policy.subnet(sent.source.subnet)
    neighbours = [vm for vm in policy.vms if vm.subnet == subnet.name and vm != sent.source]
    nve = policy.nve(sent.source.host)
    known = {vm.mac for vm in (sent.source, *neighbours)}
    floods = nve.unknown is UnknownUnicast.FLOOD and sent.destination.mac not in known  # B6
    for_all = sent.kind.is_flooded or floods
    hearers = [vm for vm in neighbours if for_all or vm.mac == sent.destination.mac]
    if (sent.kind is Kind.RAW and nve.carries is not Carries.ETHERNET) or _stays_at_its_nve(policy, sent):
        hearers = []
    members = {vm.host for vm in hearers} - {sent.source.host}
    hosts = sorted({sent.source.host, *members}) if members else []
    copies = Counter(dict.fromkeys(members, 1) | ({sent.source.host: len(members)} if members else {}))
    return Audience(
        tuple(sorted(vm.name for vm in hearers)),
        tuple(_times(f"{host} VSID {subnet.vsid}", copies[host]) for host in hosts),
    )


def _stays_at_its_nve(policy: Policy, sent: Probe) -> bool:
    """Whether a proxy for neighbours deals with an ARP request itself: it knows the answer, or that there is none (S2).

    Else it goes to everybody in the subnet, for a VM of which nobody knows the CA may have it.
    """
    if sent.kind is not Kind.ARP or policy.nve(sent.source.host).neighbours is not Neighbours.PROXY:
        return False
    own = [vm for vm in policy.vms if vm.subnet == sent.source.subnet]
    known = any(vm.ca() == sent.destination.ca() for vm in own if vm.record is not RecordType.L2ONLY)
    return known or all(vm.record is not RecordType.L2ONLY for vm in own)


def observed(sent: Probe, sightings: Iterable[Sighting], vms: set[str]) -> Audience:
    """Who did hear it. Replies that quote the token do not count: they come from another MAC address."""
    ports: Counter[str] = Counter()
    wire: Counter[str] = Counter()
    for sighting in (seen for seen in sightings if sent.token in seen.frame):
        if sighting.node not in vms:
            if form := _carriage(sent, sighting.frame):
                wire[f"{sighting.node} {form}"] += 1
        elif _is_from(sent, sighting.frame):
            frame, vid = untagged(sighting.frame)
            name = sighting.node if vid is None else f"{sighting.node}.{vid}"  # on a trunk port (I5)
            ports[name + ("" if frame == sent.frame else " (changed)")] += 1  # U3
    return Audience(tuple(_counted(ports)), tuple(_counted(wire)))


def _is_from(sent: Probe, frame: bytes) -> bool:
    return frame[6:12] == sent.frame[6:12]


def _carriage(sent: Probe, packet: bytes) -> str:
    """In which form a packet on the wire carries a probe: `VSID 5001`, what is wrong about it, or "" for a reply."""
    outer = outer_of(packet)
    try:
        header = NvgreHeader.unpack(outer.gre if outer and outer.is_gre else b"")
    except WireError:
        return "not in NVGRE"
    if not outer or not _is_from(sent, outer.inner):
        return ""
    return f"VSID {header.vsid}" + ("" if outer.inner == sent.frame else " (changed)")


def _counted(seen: Counter[str]) -> Iterator[str]:
    return (_times(what, count) for what, count in sorted(seen.items()))


def _times(what: str, count: int) -> str:
    return what if count == 1 else f"{what} ({count} times)"


class Session:
    """A running network under observation: sends probes and says what became of each."""

    def __init__(self, net: NvgreNet, policy: Policy) -> None:
        self._net, self._policy = net, policy
        self._vms = {vm.name for vm in net.vms}
        self._stack = ExitStack()
        ports = vm_ports(net)
        self._watch = self._stack.enter_context(Watch([*ports, *uplinks(net)]))
        self._seen: list[Sighting] = []
        self._senders: dict[str, socket.socket] = {
            place.node.name: self._stack.enter_context(packet_socket(place)) for place in ports
        }

    def __enter__(self) -> Self:
        self._watch.until_quiet()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def send(self, sent: Probe) -> str:
        """Sends a probe and waits for what becomes of it; returns why others did not hear it: the drop reasons."""
        before, wanted = self._net.dropped(), expected(self._policy, sent)
        try:
            self._senders[sent.source.node].send(tagged(sent.frame, sent.source.vid))
        except OSError as error:  # a port that is down: nobody will hear it, and that is what is to be seen
            return f"not sent: {error.strerror}"

        def settled(seen: list[Sighting]) -> bool:
            now = observed(sent, seen, self._vms)
            return now == wanted if wanted.vms else bool(now.vms) or self._net.dropped() != before

        self._seen += self._watch.until(
            settled, _SHORTLY if sent.kind.is_flooded and self._is_alone(sent.source) else 1
        )
        return ", ".join(reason.label for reason in self._net.dropped() - before)

    def _is_alone(self, vm: Vm) -> bool:
        """Whether nobody else is in a VM's virtual subnet: what it floods goes nowhere, and nobody drops it either."""
        return not any(other.subnet == vm.subnet and other != vm for other in self._policy.vms)

    def audiences(self, sent: Iterable[Probe]) -> list[Audience]:
        """Who heard each probe, over all that was seen until the network fell quiet: a late leak is a leak."""
        self._seen += self._watch.until_quiet()
        by_token: dict[bytes, list[Sighting]] = {}
        for sighting in self._seen:
            for token in set(_TOKEN.findall(sighting.frame)):
                by_token.setdefault(token, []).append(sighting)
        return [observed(one, by_token.get(one.token, []), self._vms) for one in sent]


def run(context: Context) -> Outcome:
    """Sends every probe and compares, cell by cell, who heard it with who should have."""
    policy = context.scenario.policy
    todo = probes(policy, random.Random(context.seed))  # noqa: S311 (tokens, not secrets)
    drops = []
    with NvgreNet(context.scenario, context.dataplane) as net, Session(net, policy) as session:
        for number, sent in enumerate(todo):
            context.progress(number, len(todo), f"{sent.source.name} -> {sent.destination.name}: {sent.kind}")
            drops.append(session.send(sent))
        audiences = session.audiences(todo)
    context.progress(len(todo), len(todo), "done")
    reasons = [
        dropped or (f"to {', '.join(audience.vms)}" if audience.vms else "")
        for dropped, audience in zip(drops, audiences, strict=True)
    ]
    return outcome(context, list(zip(todo, audiences, reasons, strict=True)))


def outcome(context: Context, results: list[tuple[Probe, Audience, str]]) -> Outcome:
    """The verdict of a list of (probe, who heard it, why others did not)."""
    policy = context.scenario.policy
    checks, samples = [], []
    for sent, audience, why in results:
        wanted = expected(policy, sent)
        name = f"{sent.source.name} -> {sent.destination.name} {sent.kind}"
        checks.append(Check(name, "T4, T6, U3", str(wanted), str(audience)))
        samples.append(_sample(policy, sent, wanted, audience, why))
    allowed = sum(len(expected(policy, sent).vms) for sent, _, _ in results)
    heard = sum(len(set(expected(policy, sent).vms) & audience.hearers) for sent, audience, _ in results)
    leaked = sum(len(audience.hearers - set(expected(policy, sent).vms)) for sent, audience, _ in results)
    measurements = (
        Measurement("allowed deliveries", "frames", (float(allowed),)),
        Measurement("allowed deliveries seen", "frames", (float(heard),)),
        Measurement("forbidden deliveries seen", "frames", (float(leaked),)),
    )
    verdicts = (*pair_checks(samples), *checks)
    return Outcome(NAME, context.dataplane, context.scenario.name, measurements, verdicts, tuple(samples))


def pair_checks(samples: Iterable[Sample]) -> list[Check]:
    """Per ordered pair of VMs, what the second should and did hear of the first; pairs of different tenants first."""
    pairs: dict[tuple[bool, str], list[Sample]] = {}
    for sample in samples:
        name = f"{sample['source']} -> {sample['destination']}"
        pairs.setdefault((sample["source_tenant"] == sample["destination_tenant"], name), []).append(sample)

    def heard(own: list[Sample], column: str) -> str:
        return "hears " + (", ".join(str(sample["kind"]) for sample in own if sample[column] == "heard") or "nothing")

    return [
        Check(name, "T4, T6", heard(own, "expected"), heard(own, "observed"))
        for (_, name), own in sorted(pairs.items(), key=lambda item: item[0])
    ]


def _sample(policy: Policy, sent: Probe, wanted: Audience, audience: Audience, why: str) -> Sample:
    target = sent.destination.name
    return {
        "source": sent.source.name,
        "source_tenant": policy.tenant_of(sent.source),
        "destination": target,
        "destination_tenant": policy.tenant_of(sent.destination),
        "kind": str(sent.kind),
        "expected": "heard" if target in wanted.vms else "silent",
        "observed": "heard" if target in audience.hearers else "silent",
        "reason": why,
        "should_hear": ", ".join(wanted.vms),
        "heard": ", ".join(audience.vms),
        "wire": ", ".join(audience.uplinks),
    }
