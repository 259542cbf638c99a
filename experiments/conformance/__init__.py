"""Does the NVE do what RFC 7637 says: every row of the requirements, tried on a running network, clause by clause."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain

from experiments.base import Context, distant_pair, distant_pairs
from experiments.conformance import grouping, guarding, reaching, receiving, rows, sending, traffic_class
from experiments.conformance.journal import Journal
from experiments.conformance.lab import Lab
from experiments.conformance.rows import Finding
from experiments.results import Measurement, Outcome, Sample, Verdict
from nvgre_node.net import NvgreNet
from nvgre_node.policy import FlowIds, SourceCheck
from nvgre_node.wire import VSID_FIRST, VSID_LAST
from topologies import Scenario

NAME = "conformance"
_NO_EVIDENCE: Sample = {"packet": "", "capture": ""}


def run(context: Context) -> Outcome:
    """Tries every row on the scenario, and on a variant of it those that need other settings.

    Raises:
        BadInputError: the scenario has no two VMs of one virtual subnet on different provider hosts.
    """
    distant_pair(context.scenario.policy)
    journal = Journal()
    parts = (_as_it_is, _otherwise, grouping.in_groups, _guarded)
    tried = chain.from_iterable(part(context, journal) for part in parts)
    return outcome(context, list(journal.follow(tried)), journal)


def outcome(context: Context, findings: Sequence[Finding], journal: Journal | None = None) -> Outcome:
    """The verdict of everything that was tried, with a capture per row. Optional rows have samples, and no checks."""
    captures = {} if journal is None else journal.captures()
    packets = {} if journal is None else journal.packets()
    paths = {row: f"captures/{context.dataplane}/{row}.pcapng" for row in captures}
    evidence: dict[str, Sample] = {row: {"packet": packets[row], "capture": path} for row, path in paths.items()}
    samples = tuple(sample | evidence.get(str(sample["row"]), _NO_EVIDENCE) for sample in rows.samples(findings))
    counted = Counter(rows.verdicts(samples).values())
    words = (Verdict.PASS, Verdict.FAIL, rows.Status.NOT_YET, rows.Status.NOT_APPLICABLE)
    measurements = tuple(Measurement(str(word), "rows", (float(counted[word]),)) for word in words)
    checks = rows.checks(findings)
    files = {paths[row]: content for row, content in captures.items()}
    return Outcome(NAME, context.dataplane, context.scenario.name, measurements, checks, samples, files=files)


def _as_it_is(context: Context, journal: Journal) -> Iterator[Finding]:
    """The rows that the scenario can show as it is."""
    policy = context.scenario.policy
    todo = (*reaching.REACHING, *sending.SENDING, *receiving.RECEIVING, *traffic_class.ROWS)
    with NvgreNet(context.scenario, context.dataplane) as net, Lab(net, policy, context.seed, journal) as lab:
        for number, row in enumerate(todo):
            context.progress(number, len(todo) + 1, (row.__doc__ or "").split(":")[0])
            yield from row(lab)
        yield from sending.largest(lab, context.scenario.tenant_mtu)
        yield from reaching.at_the_end(lab)
    context.progress(len(todo), len(todo) + 1, "G9, V5, F1, F5")


def _otherwise(context: Context, journal: Journal) -> Iterator[Finding]:
    """The rows that need NVEs that choose otherwise, VSIDs at both ends of the range, and packets that are too big."""
    variant = at_both_ends(context.scenario).with_nve(flow_ids=FlowIds.NONE, **traffic_class.OTHERWISE)
    variant = variant.with_mtu(tenant=variant.fabric.mtu)
    with NvgreNet(variant, context.dataplane) as net, Lab(net, variant.policy, context.seed, journal) as lab:
        yield from sending.without_flow_ids(lab)
        yield from traffic_class.otherwise(lab)
        yield from sending.sizes(lab, variant.fabric.mtu)
        for pair in distant_pairs(variant.policy):
            lab.turn_to(*pair)
            if lab.vsid in {VSID_FIRST, VSID_LAST}:
                yield from sending.carried(lab)


def _guarded(context: Context, journal: Journal) -> Iterator[Finding]:
    """The rows that need NVEs which check what they may also trust."""
    variant = guarded(context.scenario)
    with NvgreNet(variant, context.dataplane) as net, Lab(net, variant.policy, context.seed, journal) as lab:
        for row in guarding.GUARDING:
            yield from row(lab)
    context.progress(1, 1, "done")


def guarded(scenario: Scenario) -> Scenario:
    """The same network, in which every NVE checks where its VMs' frames come from."""
    return scenario.with_nve(source_check=SourceCheck.CA)


def at_both_ends(scenario: Scenario) -> Scenario:
    """The same network, in which two virtual subnets have the lowest and the highest VSID that a tenant may have."""
    policy = scenario.policy
    other = {subnet.vsid: subnet.vsid for subnet in policy.subnets}
    for (vm, _), end in zip(distant_pairs(policy), (VSID_FIRST, VSID_LAST), strict=False):
        taken = next((own for own, new in other.items() if new == end), None)
        own = policy.vsid_of(vm)
        if taken is not None:  # the two change places
            other[taken] = other[own]
        other[own] = end
    subnets = tuple(replace(subnet, vsid=other[subnet.vsid]) for subnet in policy.subnets)
    overrides = tuple(
        replace(record, vsid=other[record.vsid], deliver_vsid=other[record.deliver_vsid]) for record in policy.overrides
    )
    return replace(scenario, policy=replace(policy, subnets=subnets, overrides=overrides))
