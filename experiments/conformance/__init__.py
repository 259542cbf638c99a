"""Does the NVE do what RFC 7637 says: every row of the requirements, tried on a running network, clause by clause."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import chain

from experiments.base import Context, capabilities, distant_pair
from experiments.conformance import (
    addressing,
    counting,
    foreign,
    gateways,
    grouping,
    guarding,
    lacking,
    learning,
    mapping,
    monitoring,
    narrow,
    outer_tags,
    racks,
    reaching,
    receiving,
    routing,
    rows,
    sending,
    spreading,
    traffic_class,
    trunking,
    unknown,
    variants,
    vendors,
)
from experiments.conformance.foreign import reasons
from experiments.conformance.journal import Journal
from experiments.conformance.lab import Lab
from experiments.conformance.rows import Finding
from experiments.conformance.wishes import Rows, Variant, Wish, as_far_as_it_can, named
from experiments.results import Measurement, Outcome, Sample, Verdict
from nvgre_node.choices import Carries
from nvgre_node.errors import BadInputError, MissingError
from nvgre_node.net import NvgreNet

NAME = "conformance"

OTHERWISE: tuple[tuple[Variant, Rows], ...] = (
    (
        variants.at_the_limits,
        (
            Wish(variants.without_flow_ids, sending.without_flow_ids),
            Wish(variants.of_another_ttl, traffic_class.otherwise),
            Wish(variants.uniform, traffic_class.otherwise),
            Wish(variants.without_ecn, traffic_class.otherwise),
            sending.sizes,
            sending.at_both_ends,
        ),
    ),
    (grouping.sharing, grouping.SHARING),
    (grouping.apart, grouping.APART),
    *((mode, (unknown.unknown,)) for mode in unknown.MODES),
    (learning.learning, (learning.learnt,)),
    (outer_tags.in_vlans, outer_tags.TAGS),
    (variants.over_ipv6, (addressing.families, *traffic_class.ROWS)),
    (
        variants.as_it_is,
        (
            Wish(variants.a_pa_per_subnet, addressing.one_pa_each),
            Wish(variants.a_pa_per_subnet, mapping.remapped),
            mapping.at_scale,
        ),
    ),
    (mapping.with_a_twin, mapping.MOVING),
    (variants.a_pa_per_flow, (addressing.a_pa_per_flow,)),
    (
        variants.as_it_is,
        (Wish(variants.checking, guarding.forgeries), Wish(variants.listing, guarding.access_lists)),
    ),
    (trunking.trunks, (*trunking.TRUNKING, Wish(trunking.with_priorities, trunking.priorities))),
    (routing.joined, (*routing.ROUTING, Wish(routing.proxied, routing.questions))),
    (gateways.translating, gateways.TRANSLATING),
    (gateways.forwarding, gateways.FORWARDING),
    (gateways.cross_premise, gateways.TUNNELLING),
    (racks.racked, racks.RACKED),
    (
        variants.narrow,
        (
            Wish(variants.cutting_inside, narrow.inner_fragments),
            Wish(variants.reassembling, receiving.outer_fragments),
            narrow.path_mtu,
        ),
    ),
    (spreading.by_inner, (spreading.flows,)),
    (spreading.by_key, (spreading.keyed_flows, spreading.flow_ids)),
    (variants.probing, vendors.VERIFIED),
    (variants.of_two_makes, vendors.OTHERS),
)
"""Variants of the scenario, and the rows that are tried on each."""
OVER_IPV4 = (grouping.sharing, grouping.apart)
"""Variants whose groups are IPv4's: where PAs are not, they are left out, and their rows are said not to apply."""
_NO_EVIDENCE: Sample = {"packet": "", "capture": ""}


def run(context: Context) -> Outcome:
    """Tries every row on the scenario, and on a variant of it those that need other settings; or all on a target.

    Raises:
        BadInputError: the scenario has no two VMs of one virtual subnet on different provider hosts, or its NVEs do
            not carry the frames that rows are tried with, or nothing answers where the target should be.
    """
    if context.target:
        journal = Journal()
        return outcome(context, list(journal.follow(foreign.findings(context, context.target, journal))), journal)
    distant_pair(context.scenario.policy)
    if any(nve.carries is not Carries.ETHERNET for nve in context.scenario.policy.nves):
        raise BadInputError("conformance tries rows with frames that are not IP: leave `carries: ip` out for it")
    journal = Journal()
    tried = chain(_as_it_is(context, journal), on_variants(context, journal, OTHERWISE))
    own = capabilities(context)
    return outcome(context, [lacking.explained(found, own) for found in journal.follow(tried)], journal)


def outcome(context: Context, findings: Sequence[Finding], journal: Journal | None = None) -> Outcome:
    """The verdict of everything that was tried, with a capture per row. Optional rows have samples, and no checks."""
    captures = {} if journal is None else journal.captures()
    packets = {} if journal is None else journal.packets()
    paths = {row: f"captures/{context.dataplane}/{row}.pcapng" for row in captures}
    evidence: dict[str, Sample] = {row: {"packet": packets[row], "capture": path} for row, path in paths.items()}
    of_target = (reasons.UNTRIED, reasons.choices(context.target.options)) if context.target else ()
    found = rows.samples(findings, *of_target)
    samples = tuple(sample | evidence.get(str(sample["row"]), _NO_EVIDENCE) for sample in found)
    counted = Counter(rows.verdicts(samples).values())
    words = (
        Verdict.PASS,
        Verdict.FAIL,
        *(word for word in (rows.Status.LACKS, rows.Status.NOT_HERE) if counted[word]),
        *((rows.Status.REPORTED,) if context.target else ()),
        rows.Status.NOT_APPLICABLE,
    )
    measurements = tuple(Measurement(str(word), "rows", (float(counted[word]),)) for word in words)
    checks = rows.checks(findings)
    files = {paths[row]: content for row, content in captures.items()}
    return Outcome(NAME, context.dataplane, context.scenario.name, measurements, checks, samples, files=files)


def _as_it_is(context: Context, journal: Journal) -> Iterator[Finding]:
    """The rows that the scenario can show as it is."""
    policy = context.scenario.policy
    todo = (*reaching.REACHING, *sending.SENDING, *receiving.RECEIVING, *traffic_class.ROWS, *monitoring.MONITORING)
    todo += counting.COUNTING
    with NvgreNet(context.scenario, context.dataplane) as net, Lab(net, policy, context.seed, journal) as lab:
        for number, row in enumerate(todo):
            context.progress(number, len(todo) + 1, (row.__doc__ or "").split(":")[0])
            yield from row(lab)
        yield from sending.largest(lab, context.scenario.tenant_mtu)
        yield from reaching.at_the_end(lab)
    context.progress(len(todo), len(todo) + 1, "G9, V5, F1, F5")


def on_variants(context: Context, journal: Journal, todo: Sequence[tuple[Variant, Rows]]) -> Iterator[Finding]:
    """The rows that need another network."""
    for number, (variant, tried) in enumerate(todo):
        if variant in OVER_IPV4 and any(pa.version == 6 for nve in context.scenario.policy.nves for pa in nve.pas):
            continue
        context.progress(number, len(todo), named(variant))
        granted = as_far_as_it_can(context.scenario, variant, tried, capabilities(context))
        if granted.lost:
            journal.recall([])
            yield from granted.lost
        if not granted.rows:
            continue
        with ExitStack() as stack:
            try:
                net = stack.enter_context(NvgreNet(granted.scenario, context.dataplane))
            except MissingError as error:
                journal.recall([])
                for row in granted.rows:
                    yield from lacking.not_here(row, named(variant), str(error))
                continue
            lab = stack.enter_context(Lab(net, granted.scenario.policy, context.seed, journal))
            for row in granted.rows:
                yield from row(lab)
    context.progress(1, 1, "done")
