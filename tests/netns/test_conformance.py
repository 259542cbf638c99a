"""The experiment `conformance`: our data plane passes, the page says so, and a data plane with a fault is found out."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from experiments import conformance
from experiments.conformance import (
    addressing,
    grouping,
    guarding,
    learning,
    monitoring,
    narrow,
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
from experiments.conformance.journal import Journal
from experiments.conformance.lab import Lab
from experiments.conformance.page import page
from experiments.conformance.rows import Finding, Status
from experiments.results import Outcome, Verdict
from experiments.watch import Sighting, Watch
from nvgre_node.choices import TooBig
from nvgre_node.dataplane.libbpf import Object
from nvgre_node.dataplane.planes import ebpf
from nvgre_node.errors import BadInputError
from nvgre_node.fabric import Fabric, MulticastRoute, Multipath
from nvgre_node.groups import Address
from nvgre_node.multicast import Memberships
from nvgre_node.node import FabricRouter
from topologies import Scenario, load

from .mutation import Mutant, without
from .trying import Rows, context, failed, tried

PAGE = Path(__file__).parents[2] / "docs/conformance.md"
RENEW = "renew it: .venv/bin/python -m experiments.conformance.page > docs/conformance.md"
Members = Mapping[Address, Mapping[str, Collection[Address]]]


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    return conformance.run(context())


# What is right passes.


def test_every_row_that_is_tried_holds(outcome: Outcome) -> None:
    assert (outcome.verdict, outcome.reason, failed(outcome)) == (Verdict.PASS, "", [])


def test_every_row_that_claims_to_be_checked_was(outcome: Outcome) -> None:
    verdicts = rows.verdicts(outcome.samples)
    assert [row.id for row in rows.ROWS if row.status is Status.CHECKED and verdicts[row.id] != Verdict.PASS] == []


def test_every_row_that_was_tried_has_a_capture(outcome: Outcome) -> None:
    tried = {sample["row"]: sample for sample in outcome.samples if sample["what"]}
    assert [row for row, sample in tried.items() if not outcome.files.get(str(sample["capture"]))] == []
    assert [row for row, sample in tried.items() if not sample["packet"]] == []


@pytest.mark.skipif(not shutil.which("tshark"), reason="tshark is missing: apt-get install tshark")
def test_wireshark_reads_in_a_capture_what_went_in_what_was_seen_and_why(outcome: Outcome, tmp_path: Path) -> None:
    path = tmp_path / "G12.pcapng"
    path.write_bytes(outcome.files["captures/ebpf/G12.pcapng"])
    fields = ("frame.interface_name", "gre.flags_and_version", "frame.comment")
    options = [part for field in fields for part in ("-e", field)]
    command = ["tshark", "-r", str(path), "-T", "fields", "-E", "separator=|", *options]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    packets = [line.split("|") for line in lines]
    refused = [(place, comment) for place, flags, comment in packets if flags and int(flags, 0) != 0x2000]
    assert {place for place, _ in refused} == {"sent:underlay-to-host2", "host2:host2-eth0"}
    assert "expected delivered to nobody; seen delivered to nobody; pass" in refused[0][1]
    assert all(comment.startswith("G12 bit ") for _, _, comment in packets)
    heard = [comment for place, _, comment in packets if place == "contoso_web:eth0"]
    assert heard == [f"G12 bit {bit} set: carries the sound frame" for bit in (1, 4, 5)]


def test_the_page_says_what_the_experiment_found(outcome: Outcome) -> None:
    assert PAGE.read_text() == page(outcome.samples), RENEW


def test_it_holds_without_a_router_between_the_hosts() -> None:
    found = conformance.run(context("two_hosts"))
    assert (found.verdict, found.reason, failed(found)) == (Verdict.PASS, "", [])


def test_without_two_vms_of_a_subnet_on_different_hosts_there_is_nothing_to_try(tmp_path: Path) -> None:
    lonely = tmp_path / "lonely.yaml"
    lonely.write_text(load("contoso_fabrikam").path.read_text().replace("host: host2", "host: host1"))
    with pytest.raises(BadInputError, match="different provider hosts"):
        conformance.run(context(lonely))


# What is wrong cannot pass.


@dataclass(frozen=True)
class Fault:
    """A mutant of the data plane, what to try on it, and exactly the rows that must fail."""

    mutant: Mutant
    tried: Rows
    rows: tuple[str, ...]
    variant: Callable[[Scenario], Scenario] = field(default=lambda scenario: scenario)


def with_priorities(scenario: Scenario) -> Scenario:
    return trunking.with_priorities(trunking.trunks(scenario))


def cutting_inside(scenario: Scenario) -> Scenario:
    return variants.cutting_inside(variants.narrow(scenario))


FAULTS = {
    "the NVE counts what it does not send": Fault(
        Mutant("encapsulate.h", "subnet->encapsulated += packets_in(skb);", "subnet->encapsulated += 2;"),
        monitoring.monitored,
        ("D1",),
    ),
    "every VSID is Contoso's": Fault(
        Mutant("decapsulate.h", "find_record(vsid, inner.h_dest)", "find_record(5001, inner.h_dest)"),
        reaching.same_addresses,
        ("T4",),
    ),
    "the protocol type is ignored": Fault(
        Mutant("decapsulate.h", "if (gre->protocol != bpf_htons(ETH_P_TEB))", "if (0)"), receiving.header_bits, ("G15",)
    ),
    "fragments are taken for packets": Fault(
        Mutant("decapsulate.h", "if (outer->ip.frag_off & bpf_htons(IP_FRAGMENT))", "if (0)"),
        receiving.outer_fragments,
        ("F2",),
    ),
    "VMs may send 0x9100": Fault(
        Mutant("vlan.h", "vlan_present || is_tag(skb->protocol);", "vlan_present;"), sending.hopeless_tags, ("I4",)
    ),
    "one tag is taken off": Fault(Mutant("vlan.h", "MAX_TAGS 4", "MAX_TAGS 1"), sending.tags, ("I5",)),
    "tags are let in": Fault(
        Mutant("decapsulate.h", "if (is_tag(head.eth.h_proto))", "if (0)"), receiving.inner_tags, ("I6", "I7")
    ),
    "any PA may send": Fault(
        Mutant("decapsulate.h", "return DROP_SOURCE_PA;", "return DROP_REASONS;"), receiving.senders, ("C1",)
    ),
    "VMs may forge MAC addresses": Fault(
        Mutant("source_check.h", "return DROP_SOURCE_MAC;", "return DROP_REASONS;"),
        guarding.forgeries,
        ("C1",),
        variants.checking,
    ),
    "VMs may forge CAs": Fault(
        Mutant("source_check.h", "return DROP_SOURCE_CA;", "return DROP_REASONS;"),
        guarding.forgeries,
        ("C1",),
        variants.checking,
    ),
    "the router leaves the TTL alone": Fault(
        Mutant("route.h", "ip->ttl--;", ""), routing.between_subnets, ("T7",), routing.joined
    ),
    "routed frames keep their VSID": Fault(
        Mutant("encapsulate.h", ".vsid = record->vsid,", ".vsid = record->vsid == 0x10002 ? 0x10001 : record->vsid,"),
        routing.between_subnets,
        ("T5", "T7", "X6"),
        routing.joined,
    ),
    "tenants share their routes": Fault(
        Mutant("route.h", ".domain = router->domain}", ".domain = 0}"),
        routing.between_tenants,
        ("X6",),
        routing.joined,
    ),
    "the default route leads to the destination itself": Fault(
        Mutant("route.h", "found->is_on_link ? to.ca : found->next_hop", "to.ca"),
        routing.to_the_gateway,
        ("X2",),
        routing.joined,
    ),
    "questions are not answered but flooded": Fault(
        Mutant("nvgre.bpf.c", "(is_group && (nve.proxy_neighbours || nve.routes)) || router", "router"),
        routing.questions,
        ("S2", "S4"),
        routing.joined,
    ),
    "lists of what VMs send are ignored": Fault(
        Mutant("nvgre.bpf.c", "if (denied(skb, skb->ingress_ifindex, port->vid, DIRECTION_OUT))", "if (0)"),
        guarding.access_lists,
        ("T6",),
        variants.listing,
    ),
    "lists of what VMs get are ignored": Fault(
        Mutant("decapsulate.h", "if (ifindex && denied(skb, ifindex, vid, DIRECTION_IN))", "if (0)"),
        guarding.access_lists,
        ("T6",),
        variants.listing,
    ),
    "what is no probe is a tenant's frame": Fault(
        Mutant("decapsulate.h", "if (nve.probe && vsid == VSID_VENDOR)", "if (0)"),
        vendors.verified,
        ("V2", "V4"),
        variants.probing,
    ),
    "strangers are answered": Fault(
        Mutant("decapsulate.h", "return DROP_RESERVED_VSID;", "return DROP_REASONS;"),
        vendors.verified,
        ("V3",),
        variants.probing,
    ),
    "reserved bits are ignored": Fault(
        Mutant("wire.h", "GRE_RESERVED 0x0c00", "GRE_RESERVED 0x0000"), receiving.header_bits, ("G12",)
    ),
    "bits 6 to 12 are refused": Fault(
        Mutant("wire.h", "GRE_RESERVED 0x0c00", "GRE_RESERVED 0x0ff8"), receiving.header_bits, ("G13",)
    ),
    "the version is ignored": Fault(
        Mutant("wire.h", "GRE_VERSION 0x0007", "GRE_VERSION 0x0000"), receiving.header_bits, ("G14",)
    ),
    "the C bit is ignored": Fault(
        Mutant("decapsulate.h", "if (flags & GRE_CHECKSUM)", "if (0)"), receiving.checksum_sequence_no_key, ("G11",)
    ),
    "the FlowID is part of the key": Fault(
        Mutant(
            "decapsulate.h",
            "bpf_ntohl(head.gre.key) >> 8;",
            "bpf_ntohl(head.gre.key) & 0xff ? 0 : bpf_ntohl(head.gre.key) >> 8;",
        ),
        receiving.every_flow_id,
        ("G10",),
    ),
    "a second PA is not used": Fault(
        Mutant(
            "encapsulate.h", "? nve.pas4[flow % nve.pas4_count % MAX_PAS] : port->pa4", "? nve.pas4[0] : nve.pas4[0]"
        ),
        addressing.a_pa_per_flow,
        ("E3",),
        variants.a_pa_per_flow,
    ),
    "the first PA serves every virtual subnet": Fault(
        Mutant("encapsulate.h", "MAX_PAS] : port->pa4", "MAX_PAS] : nve.pas4[0]"),
        addressing.one_pa_each,
        ("O6",),
        variants.a_pa_per_subnet,
    ),
    "over IPv6 it is protocol 4": Fault(
        Mutant("encapsulate.h", ".nexthdr = IPPROTO_GRE", ".nexthdr = 4"),
        addressing.families,
        ("O5", "O7"),
        variants.over_ipv6,
    ),
    "S is sent": Fault(
        Mutant("encapsulate.h", "bpf_htons(GRE_KEY)", "bpf_htons(0x3000)"), sending.headers, ("G1", "G3")
    ),
    "DF is not sent": Fault(Mutant("encapsulate.h", "bpf_htons(IP_DF)", "0"), sending.headers, ("F5",)),
    "the VSID sits in the wrong bits": Fault(
        Mutant("encapsulate.h", "to->vsid << 8 | (nve", "(nve"), sending.headers, ("G5",)
    ),
    "one flow has many FlowIDs": Fault(
        Mutant("encapsulate.h", "| (nve.flowid_from_flow ? to->flow : 0))", "| (bpf_get_prandom_u32() & 0xff))"),
        sending.flow_ids,
        ("G6",),
    ),
    "the TTL is another": Fault(Mutant("encapsulate.h", ".ttl = nve.ttl", ".ttl = 63"), traffic_class.sent, ("O8",)),
    "the inner ECN stays inside": Fault(
        Mutant("traffic_class.h", "nve.copy_ecn ? inner & ECN_MASK : 0", "0"), traffic_class.sent, ("O8",)
    ),
    "congestion stays outside": Fault(
        Mutant("traffic_class.h", "return ECN_CE;", "return inner;"), traffic_class.received, ("O8",)
    ),
    "CE on Not-ECT is let in": Fault(
        Mutant("traffic_class.h", "return -1;", "return 0;"), traffic_class.received, ("O8",)
    ),
    "every VLAN is VID 10": Fault(
        Mutant("vlan.h", "key.vid = skb->vlan_tci & VLAN_VID;", "key.vid = 10;"),
        trunking.selection,
        ("I5",),
        trunking.trunks,
    ),
    "VLANs lose their tags": Fault(
        Mutant("vlan.h", "nve.trunks && vid ? bpf_skb_vlan_push", "0 ? bpf_skb_vlan_push"),
        trunking.selection,
        ("I5",),
        trunking.trunks,
    ),
    "priorities are lost": Fault(
        Mutant("vlan.h", "kept & PRIORITY_KNOWN ?", "0 ?"), trunking.priorities, ("I5",), with_priorities
    ),
    "inner fragments look like whole packets": Fault(
        Mutant("fragment.h", "ip.frag_off |= bpf_htons(IP_MF);", ""), narrow.inner_fragments, ("F1",), cutting_inside
    ),
    "what was reassembled stays out": Fault(
        Mutant("nvgre.bpf.c", "if (nve.reassemble && !mark && !pull_headers(skb))", "if (0)"),
        receiving.outer_fragments,
        ("F2",),
        variants.reassembling,
    ),
    "nobody hears of narrow paths": Fault(
        without("encapsulate.h", "found == BPF_FIB_LKUP_RET_FRAG_NEEDED"), narrow.path_mtu, ("F4",), variants.narrow
    ),
    "FlowIDs have 4 bits": Fault(
        Mutant("encapsulate.h", "| (nve.flowid_from_flow ? to->flow : 0))", "| (to->flow & 0xf0))"),
        sending.flow_ids,
        ("G8",),
    ),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=list(FAULTS))
def test_a_fault_fails_its_rows_and_no_others(fault: Fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = fault.mutant.compiled(tmp_path)
    monkeypatch.setattr(ebpf, "object_file", lambda: programs)
    assert sorted(failed(tried(fault.tried, fault.variant))) == sorted(fault.rows)


def test_outer_fragmentation_fails_the_rows_that_forbid_it() -> None:
    def forbidden(scenario: Scenario) -> Scenario:
        return scenario.with_nve(too_big=TooBig.FRAGMENT_OUTER).with_mtu(tenant=scenario.fabric.mtu)

    def sent(lab: Lab) -> Iterator[Finding]:
        yield from sending.headers(lab)
        yield from sending.sizes(lab)

    assert sorted(failed(tried(sent, forbidden))) == ["F1", "F5"]


GROUP_FAULTS = {
    "a copy for each NVE": (Mutant("replicate.h", "return group ?", "return 0 ?"), ["B1", "B2", "B3", "B4", "S4"]),
    "inner groups have none of their own": (without("groups.h", "own"), ["B3"]),
    "every VSID is Contoso's": (
        Mutant("decapsulate.h", "__u32 vsid = bpf_ntohl(head.gre.key) >> 8;", "__u32 vsid = 5001;"),
        ["B4"],
    ),
}


@pytest.mark.parametrize(("mutant", "found"), GROUP_FAULTS.values(), ids=list(GROUP_FAULTS))
def test_a_fault_in_groups_is_found(
    mutant: Mutant, found: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = mutant.compiled(tmp_path)
    monkeypatch.setattr(ebpf, "object_file", lambda: programs)
    assert in_groups() == found


def test_an_nve_that_does_not_join_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Memberships, "keep", lambda *_: None)
    assert in_groups() == ["B2"]


def test_a_router_that_floods_groups_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    rightly = Fabric.multicast_routes

    def to_everybody(fabric: Fabric, router: str, members: Members) -> tuple[MulticastRoute, ...]:
        everybody = {host: pa for hosts in members.values() for host, pa in hosts.items()}
        return rightly(fabric, router, dict.fromkeys(members, everybody))

    monkeypatch.setattr(Fabric, "multicast_routes", to_everybody)
    assert in_groups() == ["B2"]


ON_TWO_PATHS: dict[Multipath, tuple[Callable[[Scenario], Scenario], tuple[Rows, ...]]] = {
    Multipath.INNER: (spreading.by_inner, (spreading.flows,)),
    Multipath.KEY: (spreading.by_key, (spreading.keyed_flows, spreading.flow_ids)),
}


def on_two_paths(mode: Multipath) -> list[str]:
    """The rows that fail where routers choose among two paths, and should do so by this."""
    asked = context()
    return failed(conformance.outcome(asked, list(conformance.on_variants(asked, Journal(), [ON_TWO_PATHS[mode]]))))


@pytest.mark.parametrize(
    ("mode", "instead", "found"),
    [
        (Multipath.INNER, Multipath.OUTER, ["E1"]),
        (Multipath.INNER, Multipath.INNER_ADDRESSES, ["E1"]),
        (Multipath.KEY, Multipath.OUTER, ["E1", "E2"]),
        (Multipath.KEY, Multipath.INNER_ADDRESSES, ["E1", "E2"]),
    ],
)
def test_routers_that_hash_something_else_are_found(
    mode: Multipath, instead: Multipath, found: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    obey = FabricRouter.spread_by
    monkeypatch.setattr(FabricRouter, "spread_by", lambda router, _: obey(router, instead))
    assert on_two_paths(mode) == found


def test_nves_that_make_no_flow_ids_have_nothing_to_spread_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To routers that hash the key, all that a virtual subnet says to an NVE is one flow then."""
    mutant = Mutant("encapsulate.h", "| (nve.flowid_from_flow ? to->flow : 0))", "| 0)")
    programs = mutant.compiled(tmp_path)
    monkeypatch.setattr(ebpf, "object_file", lambda: programs)
    assert on_two_paths(Multipath.KEY) == ["E1"]


MODES = {
    "what is unknown is always flooded": Mutant("nvgre.bpf.c", "!record && nve.flood_unknown", "!record"),
    "what is unknown is never flooded": Mutant("nvgre.bpf.c", "!record && nve.flood_unknown", "0"),
    "what is unknown is never punted": Mutant("punt.h", "!punting.enabled ||", "1 ||"),
    "from the wire it is always flooded": Mutant("decapsulate.h", "!record->ifindex : !nve.flood_unknown", "1 : 0"),
}


@pytest.mark.parametrize("mutant", MODES.values(), ids=list(MODES))
def test_a_fault_with_unknown_unicast_is_found(mutant: Mutant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = mutant.compiled(tmp_path)
    monkeypatch.setattr(ebpf, "object_file", lambda: programs)
    asked, todo = context(), [(mode, (unknown.unknown,)) for mode in unknown.MODES]
    assert failed(conformance.outcome(asked, list(conformance.on_variants(asked, Journal(), todo)))) == ["B6"]


@pytest.mark.parametrize(
    "mutant",
    [
        Mutant("learn.h", "return &found->record;", "return 0;"),
        Mutant("decapsulate.h", "learn(vsid, inner.h_source", "learn(6001, inner.h_source"),
        Mutant("learn.h", "struct record_key key = {.vsid = vsid};", "struct record_key key = {};"),
    ],
    ids=["what is learnt is not used", "it is learnt in another subnet", "it is learnt in all subnets"],
)
def test_a_fault_with_learning_is_found(mutant: Mutant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = mutant.compiled(tmp_path)
    monkeypatch.setattr(ebpf, "object_file", lambda: programs)
    asked, todo = context(), [(learning.learning, (learning.learnt,))]
    assert failed(conformance.outcome(asked, list(conformance.on_variants(asked, Journal(), todo)))) == ["T8"]


def in_groups() -> list[str]:
    """The rows that fail where virtual subnets have groups."""
    asked, todo = context(), ((grouping.sharing, grouping.SHARING), (grouping.apart, grouping.APART))
    return failed(conformance.outcome(asked, list(conformance.on_variants(asked, Journal(), todo))))


def test_a_wrong_lookup_record_fails_the_rows_about_who_hears_what(tmp_path: Path) -> None:
    leaky = tmp_path / "leaky.yaml"
    wrong = "faults: [{subnet: contoso_net, record_of: contoso_sql, points_to: fabrikam_sql}]\n"
    leaky.write_text(load("contoso_fabrikam").path.read_text() + wrong)
    found = conformance.run(context(leaky))
    assert found.verdict is Verdict.FAIL
    assert {"T4", "U2"} <= set(failed(found))


def test_on_a_dead_network_nothing_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence is no drop: what should not arrive counts only where what should does."""
    patient = Watch.until

    def impatient(watch: Watch, done: Callable[[list[Sighting]], bool], seconds: float = 0.05) -> list[Sighting]:
        return patient(watch, done, min(seconds, 0.05))

    monkeypatch.setattr(Watch, "until", impatient)
    monkeypatch.setattr(Object, "attach", lambda *_, **__: None)
    found = conformance.run(context())
    assert found.verdict is Verdict.FAIL
    assert [(sample["row"], sample["what"]) for sample in found.samples if sample["verdict"] == Verdict.PASS] == []
