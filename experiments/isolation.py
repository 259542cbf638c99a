"""Who hears whom: every ordered pair of VMs, every kind of traffic, every port and uplink watched (T4, T6, B5, U3)."""

from __future__ import annotations

import random
import socket
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Self

from experiments.base import Context
from experiments.probes import Kind, probe
from experiments.results import Check, Measurement, Outcome, Sample
from experiments.watch import Place, Sighting, Watch, packet_socket
from nvgre_node.dataplane.base import Drop
from nvgre_node.net import NvgreNet
from nvgre_node.node import TenantVM
from nvgre_node.policy import Policy, Vm
from nvgre_node.wire import ETHERNET_BYTES, IPV4_BYTES, NvgreHeader

NAME = "isolation"
_TOKEN_BYTES = 16
_INNER = ETHERNET_BYTES + IPV4_BYTES


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

    def __str__(self) -> str:
        wire = f", on the wire: {', '.join(self.uplinks)}" if self.uplinks else ""
        return (f"heard by {', '.join(self.vms)}" if self.vms else "heard by nobody") + wire


def probes(policy: Policy, rng: random.Random) -> list[Probe]:
    """Every ordered pair of VMs times every kind that both can speak, each with a token of its own."""
    return [
        Probe(kind, source, destination, rng.randbytes(_TOKEN_BYTES))
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
    hearers = [vm for vm in neighbours if sent.kind.is_flooded or vm.mac == sent.destination.mac]
    members = {vm.host for vm in (neighbours if sent.kind.is_flooded else hearers)} - {sent.source.host}
    hosts = sorted({sent.source.host, *members}) if members else []
    copies = Counter(dict.fromkeys(members, 1) | ({sent.source.host: len(members)} if members else {}))
    return Audience(
        tuple(sorted(vm.name for vm in hearers)),
        tuple(_uplink(host, subnet.vsid, copies[host]) for host in hosts),
    )


def observed(sent: Probe, sightings: Iterable[Sighting], vms: set[str]) -> Audience:
    """Who did hear it. Replies that quote the token do not count: they come from another MAC address."""
    ports: Counter[str] = Counter()
    wire: Counter[tuple[str, int]] = Counter()
    for sighting in sightings:
        if sighting.node in vms:
            if sent.token in sighting.frame and sighting.frame[6:12] == sent.frame[6:12]:
                intact = sighting.frame == sent.frame  # U3
                ports[sighting.node + ("" if intact else " (changed)")] += 1
        elif sighting.frame[-len(sent.frame) :] == sent.frame and sighting.frame != sent.frame:
            header = NvgreHeader.unpack(sighting.frame[_INNER:])
            wire[sighting.node, header.vsid] += 1
    return Audience(
        tuple(name if count == 1 else f"{name} ({count} times)" for name, count in sorted(ports.items())),
        tuple(_uplink(host, vsid, count) for (host, vsid), count in sorted(wire.items())),
    )


def _uplink(host: str, vsid: int, copies: int) -> str:
    return f"{host} VSID {vsid}" + (f" ({copies} times)" if copies > 1 else "")


class Session:
    """A running network under observation: sends probes and says what became of each."""

    def __init__(self, net: NvgreNet, policy: Policy) -> None:
        self._net, self._policy = net, policy
        self._vms = {vm.name for vm in net.vms}
        self._stack = ExitStack()
        ports = [Place(vm, TenantVM.INTERFACE) for vm in net.vms]
        uplinks = [Place(host, uplink, incoming_only=False) for host in net.provider_hosts for uplink in host.uplinks]
        self._watch = self._stack.enter_context(Watch([*ports, *uplinks]))
        self._senders: dict[str, socket.socket] = {
            place.node.name: self._stack.enter_context(packet_socket(place)) for place in ports
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _drops(self) -> Counter[Drop]:
        total: Counter[Drop] = Counter()
        for subnets in self._net.counters().values():
            for counters in subnets.values():
                total.update(counters.dropped)
        return total

    def send(self, sent: Probe) -> tuple[Audience, str]:
        """Sends a probe; returns who heard it, and why others did not (a drop reason, or who got it instead)."""
        before, wanted = self._drops(), expected(self._policy, sent)
        self._senders[sent.source.name].send(sent.frame)

        def settled(seen: list[Sighting]) -> bool:
            now = observed(sent, seen, self._vms)
            return now == wanted if wanted.vms else bool(now.vms) or self._drops() != before

        seen = self._watch.until(settled)
        audience = observed(sent, seen + self._watch.heard(0), self._vms)
        dropped = ", ".join(reason.label for reason in self._drops() - before)
        return audience, dropped or (f"to {', '.join(audience.vms)}" if audience.vms else "")

    def late(self) -> list[Sighting]:
        """What was still under way: listens until the network is quiet."""
        return self._watch.until_quiet()

    def heard_late(self, sent: Probe, sightings: list[Sighting]) -> Audience:
        """Who heard a probe only after it had been counted: a leak that took its time is still a leak."""
        return observed(sent, sightings, self._vms)


def run(context: Context) -> Outcome:
    """Sends every probe and compares, cell by cell, who heard it with who should have."""
    policy = context.scenario.policy
    todo = probes(policy, random.Random(context.seed))  # noqa: S311 (tokens, not secrets)
    results: list[tuple[Probe, Audience, str]] = []
    with NvgreNet(context.scenario, context.dataplane) as net, Session(net, policy) as session:
        session.late()
        for number, sent in enumerate(todo):
            context.progress(number, len(todo), f"{sent.source.name} -> {sent.destination.name}: {sent.kind}")
            results.append((sent, *session.send(sent)))
        late = session.late()
        results = [(sent, _add(audience, session.heard_late(sent, late)), why) for sent, audience, why in results]
    context.progress(len(todo), len(todo), "done")
    return outcome(context, results)


def _add(first: Audience, later: Audience) -> Audience:
    return replace(first, vms=first.vms + later.vms, uplinks=first.uplinks + later.uplinks)


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
    heard = sum(len(set(expected(policy, sent).vms) & set(audience.vms)) for sent, audience, _ in results)
    leaked = sum(len(set(audience.vms) - set(expected(policy, sent).vms)) for sent, audience, _ in results)
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
        "observed": "heard" if any(name.split()[0] == target for name in audience.vms) else "silent",
        "reason": why,
        "should_hear": ", ".join(wanted.vms),
        "heard": ", ".join(audience.vms),
        "wire": ", ".join(audience.uplinks),
    }
