"""Paths of equal cost between two provider hosts: what spreads over them, and that no flow leaves its path (E1, E2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network, ip_interface

from experiments.base import distant_pair
from experiments.conformance.lab import DEAD, Lab, Shot, mark
from experiments.conformance.rows import Finding
from experiments.conformance.sending import flow
from experiments.forks import SPREADS, verdict
from nvgre_node.choices import FlowIds, PaChoice
from nvgre_node.fabric import Attachment, Fabric, FabricLink, Multipath
from nvgre_node.policy import Address, Interface, Network, Nve
from topologies import Scenario

_FLOWS = 128
_NETWORKS: dict[int, Network] = {
    4: IPv4Network("198.18.0.0/15"),
    6: IPv6Network("2001:2::/48"),
}  # RFC 2544, RFC 5180: for tests
_LENGTHS = {4: 24, 6: 64}
_LEAVES, _SPINES = ("Leaf1", "Leaf2"), ("Spine1", "Spine2")  # no scenario has names with capitals


def by_key(scenario: Scenario) -> Scenario:
    """Two paths between provider hosts, and routers that hash outer addresses and the GRE key (E1)."""
    return on_two_paths(scenario).with_multipath(Multipath.KEY)


def by_inner(scenario: Scenario) -> Scenario:
    """Two paths between provider hosts, and routers that hash inner addresses and ports (E1)."""
    return on_two_paths(scenario).with_multipath(Multipath.INNER)


def on_two_paths(scenario: Scenario) -> Scenario:
    """The same network on another fabric: the sender's host on one leaf, all others on another, two spines between.

    Every host gets new PAs, as many as it has, in a prefix of its own per IP version. Flows choose FlowIDs alone.
    """
    scenario = scenario.with_nve(flow_ids=FlowIds.FLOW, pa_choice=PaChoice.FIRST)
    sender, _ = distant_pair(scenario.policy)
    versions = sorted({pa.version for nve in scenario.policy.nves for pa in nve.pas})
    links, moved, nves = list[FabricLink](), dict[Address, Address](), list[Nve]()
    for number, nve in enumerate(scenario.policy.nves):
        own = tuple(_address(pa.version, number, 10 + place) for place, pa in enumerate(nve.pas))
        moved |= {pa.ip: new.ip for pa, new in zip(nve.pas, own, strict=True)}
        nves.append(replace(nve, pas=own))
        leaf = _LEAVES[nve.host != sender.host]
        ends = tuple(_address(version, number, 1) for version in versions if nve.pas_of(version))
        links.append(FabricLink(Attachment(leaf, ends), Attachment(nve.host, own), nve.vlan))
    between = ((leaf, spine) for leaf in _LEAVES for spine in _SPINES)
    for number, pair in enumerate(between, start=len(nves)):
        a, b = (_end(node, versions, number, place) for place, node in enumerate(pair, start=1))
        links.append(FabricLink(a, b))
    policy = replace(
        scenario.policy,
        nves=tuple(nves),
        vms=tuple(replace(vm, pa=moved[vm.pa] if vm.pa else None) for vm in scenario.policy.vms),
        overrides=tuple(replace(record, pa=moved[record.pa]) for record in scenario.policy.overrides),
    )
    return replace(scenario, policy=policy, fabric=Fabric((*_LEAVES, *_SPINES), tuple(links), scenario.fabric.mtu))


def _end(node: str, versions: Sequence[int], number: int, place: int) -> Attachment:
    return Attachment(node, tuple(_address(version, number, place) for version in versions))


def _address(version: int, number: int, place: int) -> Interface:
    """An address in the prefix of a link, told by its number."""
    length = _LENGTHS[version]
    first = int(_NETWORKS[version].network_address) + (number << (_NETWORKS[version].max_prefixlen - length))
    return ip_interface((first + place, length))


def flows(lab: Lab) -> Iterator[Finding]:
    """E1: flows of a VM spread over all paths, and each keeps to its own."""
    yield from _flows(lab, "flows", lambda _: [*range(_FLOWS)] * 2)


def keyed_flows(lab: Lab) -> Iterator[Finding]:
    """E1: the same where routers hash the key, to which flows with one FlowID are one."""

    def keys(shots: Sequence[Shot]) -> list[int]:
        return [outer[0].key if (outer := shot.carriers(lab.sender.host)) else -1 for shot in shots]

    yield from _flows(lab, "keys of flows", keys)


def _flows(lab: Lab, what: str, alike: Callable[[Sequence[Shot]], Sequence[int]]) -> Iterator[Finding]:
    template = bytes(flow(lab))
    ports = lab.rng.sample(range(1 << 32), _FLOWS)
    frames = [template[:-8] + port.to_bytes(4, "big") + template[-4:] for port in ports]
    shots = lab.say(*(frame + bytes(mark()) for frame in frames * 2))
    sent = f"{_FLOWS} UDP flows of {lab.sender.name} with ports drawn by lot, two packets each"
    yield _spread("E1", what, sent, lab, shots, alike(shots))
    kept = sum(shots[n].passed == shots[n + _FLOWS].passed and len(shots[n].passed) == 1 for n in range(_FLOWS))
    yield Finding("E1", "flows that keep their path", sent, f"{_FLOWS}", f"{kept}")
    arrived = sum(shot.delivered == lab.to_receiver for shot in shots)
    yield Finding("E1", "deliveries", sent, f"{len(shots)} {lab.to_receiver}", f"{arrived} {lab.to_receiver}")


def flow_ids(lab: Lab) -> Iterator[Finding]:
    """E2: packets that differ in their FlowID alone spread over all paths, each FlowID on one."""
    ids = [*range(_FLOWS)] * 2
    shots = lab.send_out(*(lab.leaving(flow=flow_id) for flow_id in ids))
    sent = f"NVGRE packets of {lab.sender.host} with {_FLOWS} FlowIDs, all else alike, two of each"
    yield _spread("E2", "FlowIDs", sent, lab, shots, ids)


def _spread(row: str, what: str, sent: str, lab: Lab, shots: Sequence[Shot], flows: Sequence[int]) -> Finding:
    """Whether flows spread over the paths that there are, and something gets through behind them."""
    over = f" over {' and '.join(lab.paths)}"
    seen = verdict([shot.passed for shot in shots], lab.paths, flows) + over
    alive = all(shot.alive for shot in shots)
    return Finding(row, f"{what}, spread", sent, SPREADS + over, seen if alive else DEAD)
