"""Isolation: who must hear a probe, what counts as having heard it, and which observations make which verdict."""

import random
from collections.abc import Iterable
from dataclasses import replace

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from experiments.base import Context
from experiments.isolation import Audience, Probe, expected, observed, outcome, probes
from experiments.probes import Kind
from experiments.results import Outcome, Verdict
from experiments.watch import Sighting
from nvgre_node.choices import Carries, Neighbours, RecordType
from nvgre_node.policy import Policy, Vm
from nvgre_node.wire import NvgreHeader
from topologies import load

Result = tuple[Probe, Audience, str]
FLOODED = (Kind.ARP, Kind.BROADCAST, Kind.MULTICAST)
UNICAST = (Kind.ICMP, Kind.ICMPV6, Kind.TCP, Kind.UDP, Kind.RAW)
TOKEN = bytes(range(16))

# Per sender: what a flooded probe reaches, then what a unicast probe to each VM reaches. `*` marks who hears it over
# the wire; the VSID is the sender's.
HEARING = {
    "two_hosts": {
        "red1": ("red2* red3", {"red2": "red2*", "red3": "red3", "blue1": "", "blue2": ""}),
        "red2": ("red1* red3*", {"red1": "red1*", "red3": "red3*", "blue1": "", "blue2": ""}),
        "red3": ("red1 red2*", {"red1": "red1", "red2": "red2*", "blue1": "", "blue2": ""}),
        "blue1": ("blue2*", {"red1": "", "red2": "", "red3": "", "blue2": "blue2*"}),
        "blue2": ("blue1*", {"red1": "", "red2": "", "red3": "", "blue1": "blue1*"}),
    },
    # Both tenants have the same MAC addresses: what is sent to the other tenant's server reaches one's own.
    "contoso_fabrikam": {
        "contoso_sql": (
            "contoso_web*",
            {"contoso_web": "contoso_web*", "fabrikam_sql": "", "fabrikam_web": "contoso_web*"},
        ),
        "contoso_web": (
            "contoso_sql*",
            {"contoso_sql": "contoso_sql*", "fabrikam_sql": "contoso_sql*", "fabrikam_web": ""},
        ),
        "fabrikam_sql": (
            "fabrikam_web*",
            {"contoso_sql": "", "contoso_web": "fabrikam_web*", "fabrikam_web": "fabrikam_web*"},
        ),
        "fabrikam_web": (
            "fabrikam_sql*",
            {"contoso_sql": "fabrikam_sql*", "contoso_web": "", "fabrikam_sql": "fabrikam_sql*"},
        ),
    },
}
VSIDS = {"red": 5000, "blue": 6000, "contoso": 5001, "fabrikam": 6001}
ROWS = [
    pytest.param(scenario, source, destination, flooded, unicast, id=f"{source} to {destination}")
    for scenario, senders in HEARING.items()
    for source, (flooded, row) in senders.items()
    for destination, unicast in row.items()
]


def lot() -> random.Random:
    """The same lot each time."""
    return random.Random(7637)  # noqa: S311 (tokens, not secrets)


def golden(source: str, heard: str) -> Audience:
    """What a cell of HEARING says in full; both networks have two hosts, whose uplinks see a frame or do not."""
    vsid = next(vsid for tenant, vsid in VSIDS.items() if source.startswith(tenant))
    uplinks = (f"host1 VSID {vsid}", f"host2 VSID {vsid}") if "*" in heard else ()
    return Audience(tuple(heard.replace("*", "").split()), uplinks)


@pytest.mark.parametrize(("scenario", "source", "destination", "flooded", "unicast"), ROWS)
def test_who_must_hear_a_probe(scenario: str, source: str, destination: str, flooded: str, unicast: str) -> None:
    policy = load(scenario).policy
    for kinds, heard in ((FLOODED, flooded), (UNICAST, unicast)):
        for kind in kinds:
            sent = Probe(kind, policy.vm(source), policy.vm(destination), TOKEN)
            assert expected(policy, sent) == golden(source, heard), kind


def test_a_wrong_record_changes_nothing_in_who_must_hear() -> None:
    good = load("contoso_fabrikam").policy
    leaky = good.pointing_to(good.vm("contoso_sql"), good.vm("fabrikam_sql"))
    assert leaky.records != good.records
    for sent in probes(good, lot()):
        assert expected(leaky, sent) == expected(good, sent)


NOBODY = Audience()


def test_who_must_hear_a_frame_that_is_not_ip_where_nves_carry_ip_alone() -> None:
    policy = load("two_hosts").with_nve(carries=Carries.IP).policy
    for kind, heard in (
        (Kind.RAW, NOBODY),
        (Kind.UDP, golden("red1", "red2*")),
        (Kind.ARP, golden("red1", "red2* red3")),
    ):
        assert expected(policy, Probe(kind, policy.vm("red1"), policy.vm("red2"), TOKEN)) == heard, kind


@pytest.mark.parametrize(
    ("unknown", "asked", "heard"),
    [
        ("", "red2", ""),  # the NVE answers itself
        ("", "blue1", ""),  # nobody answers: red1's own address
        ("red3", "red2", ""),
        ("red2", "red2", "red2* red3"),  # nobody knows the address, so that everybody is asked
    ],
)
def test_who_must_hear_an_arp_request_where_nves_are_proxies(unknown: str, asked: str, heard: str) -> None:
    policy = load("two_hosts").with_nve(neighbours=Neighbours.PROXY).policy
    vms = tuple(replace(vm, record=RecordType.L2ONLY) if vm.name == unknown else vm for vm in policy.vms)
    policy = replace(policy, vms=vms)
    sent = Probe(Kind.ARP, policy.vm("red1"), policy.vm(asked), TOKEN)
    assert expected(policy, sent) == (golden("red1", heard) if heard else NOBODY)
    everybody = Probe(Kind.BROADCAST, policy.vm("red1"), policy.vm(asked), TOKEN)
    assert expected(policy, everybody) == golden("red1", "red2* red3")


def test_a_flooded_probe_leaves_the_sender_once_per_remote_host() -> None:
    good = load("two_hosts").policy
    third = replace(good.nve("host2"), host="host3")
    policy = replace(
        good, nves=(*good.nves, third), vms=(*good.vms, replace(good.vm("red2"), name="red4", host="host3"))
    )
    sent = Probe(Kind.BROADCAST, policy.vm("red1"), policy.vm("red2"), TOKEN)
    assert expected(policy, sent).uplinks == ("host1 VSID 5000 (2 times)", "host2 VSID 5000", "host3 VSID 5000")


@pytest.mark.parametrize(("scenario", "pairs"), [("two_hosts", 20), ("contoso_fabrikam", 12)])
def test_every_ordered_pair_is_probed_with_every_kind_and_a_token_of_its_own(scenario: str, pairs: int) -> None:
    policy = load(scenario).policy
    todo = probes(policy, lot())
    assert len({sent.token for sent in todo}) == len(todo) == pairs * len(Kind)
    assert len({(sent.source.name, sent.destination.name, sent.kind) for sent in todo}) == len(todo)
    assert all(sent.token in sent.frame for sent in todo)
    assert [sent.token for sent in probes(policy, lot())] == [sent.token for sent in todo]


def test_a_vm_without_ipv6_is_probed_with_what_it_speaks() -> None:
    good = load("two_hosts").policy
    policy = replace(good, vms=tuple(replace(vm, cas=vm.cas[:1]) for vm in good.vms))
    assert {sent.kind for sent in probes(policy, lot())} == set(Kind) - {Kind.ICMPV6}


# What counts as having heard a probe.

POLICY = load("two_hosts").policy
VMS = {vm.name for vm in POLICY.vms}
RED1, RED2 = POLICY.vm("red1"), POLICY.vm("red2")
PROBE = Probe(Kind.ICMP, RED1, RED2, TOKEN)


def on_the_wire(frame: bytes, vsid: int, flow_id: int = 7) -> bytes:
    """A frame in NVGRE, as an uplink sees it."""
    outer = Ether(dst="02:00:00:00:00:02", src="02:00:00:00:00:01") / IP(src="192.168.0.1", dst="192.168.0.2", proto=47)
    return bytes(outer / Raw(NvgreHeader(vsid, flow_id).pack() + frame))


def reply_to(sent: Probe) -> bytes:
    """The echo reply, which quotes the whole payload of the request."""
    request = Ether(sent.frame)
    packet = IP(src=request[IP].dst, dst=request[IP].src) / ICMP(type=0) / request[Raw]
    return bytes(Ether(src=request.dst, dst=request.src) / packet)


def stirred(frame: bytes, at: int) -> bytes:
    """A frame with one byte changed."""
    return frame[:at] + bytes([frame[at] ^ 1]) + frame[at + 1 :]


SIGHTINGS = {
    "nothing": ([], Audience()),
    "the frame at one VM": ([Sighting("red2", PROBE.frame)], Audience(("red2",))),
    "the frame at several VMs": (
        [Sighting("red3", PROBE.frame), Sighting("blue1", PROBE.frame)],
        Audience(("blue1", "red3")),
    ),
    "the frame twice": ([Sighting("red2", PROBE.frame)] * 2, Audience(("red2 (2 times)",))),
    "a byte changed on the way": (
        [Sighting("red2", stirred(PROBE.frame, 22))],
        Audience(("red2 (changed)",)),
    ),
    "a byte too many": ([Sighting("red2", PROBE.frame + b"\0")], Audience(("red2 (changed)",))),
    "a destination MAC rewritten": ([Sighting("red2", stirred(PROBE.frame, 5))], Audience(("red2 (changed)",))),
    "the reply of the one who heard": ([Sighting("red1", reply_to(PROBE))], Audience()),
    "the reply, overheard by others": ([Sighting("blue1", reply_to(PROBE))], Audience()),
    "another probe": (
        [Sighting("red2", replace(PROBE, token=bytes(16)).frame)],
        Audience(),
    ),
    "in NVGRE on the uplinks": (
        [Sighting("host2", on_the_wire(PROBE.frame, 5000)), Sighting("host1", on_the_wire(PROBE.frame, 5000))],
        Audience(uplinks=("host1 VSID 5000", "host2 VSID 5000")),
    ),
    "in another VSID": (
        [Sighting("host1", on_the_wire(PROBE.frame, 0xABCDEF, 0xFF))],
        Audience(uplinks=(f"host1 VSID {0xABCDEF}",)),
    ),
    "twice on the wire": (
        [Sighting("host1", on_the_wire(PROBE.frame, 5000))] * 2,
        Audience(uplinks=("host1 VSID 5000 (2 times)",)),
    ),
    "in two VSIDs": (
        [Sighting("host1", on_the_wire(PROBE.frame, vsid)) for vsid in (6000, 5000)],
        Audience(uplinks=("host1 VSID 5000", "host1 VSID 6000")),
    ),
    "the reply on the wire": ([Sighting("host2", on_the_wire(reply_to(PROBE), 5000))], Audience()),
}


@pytest.mark.parametrize(("sightings", "audience"), SIGHTINGS.values(), ids=SIGHTINGS)
def test_what_counts_as_heard(sightings: list[Sighting], audience: Audience) -> None:
    assert observed(PROBE, sightings, VMS) == audience


VXLAN = bytes(Ether() / IP(proto=17) / UDP(dport=4789) / Raw(bytes(8)))


@pytest.mark.parametrize("around", [b"", VXLAN], ids=["bare", "in VXLAN"])
def test_a_frame_that_is_on_the_wire_in_any_other_way_than_in_nvgre_is_seen_too(around: bytes) -> None:
    assert observed(PROBE, [Sighting("host1", around + PROBE.frame)], VMS) != Audience()


def test_a_changed_frame_on_the_wire_is_no_delivery_in_order() -> None:
    wanted = golden("red1", "red2*")
    changed = [Sighting(host, on_the_wire(stirred(PROBE.frame, 22), 5000)) for host in ("host1", "host2")]
    assert observed(PROBE, [Sighting("red2", PROBE.frame), *changed], VMS) != wanted


# The verdict.


def results_of(policy: Policy) -> list[Result]:
    """What an NVE that does everything right lets one observe."""
    return [(sent, expected(policy, sent), "") for sent in probes(policy, lot())]


def verdict_on(scenario: str, results: Iterable[Result]) -> Outcome:
    return outcome(Context(load(scenario), "ebpf", lambda *_: None), list(results))


def with_audience(results: list[Result], cell: tuple[str, str, Kind], audience: Audience) -> list[Result]:
    """The results with one of them replaced."""
    found = [(sent.source.name, sent.destination.name, sent.kind) == cell for sent, _, _ in results]
    assert sum(found) == 1
    return [(sent, audience if hit else heard, why) for (sent, heard, why), hit in zip(results, found, strict=True)]


@pytest.mark.parametrize("scenario", HEARING)
def test_all_as_expected_passes(scenario: str) -> None:
    found = verdict_on(scenario, results_of(load(scenario).policy))
    assert found.verdict is Verdict.PASS
    assert found.reason == ""
    assert (found.experiment, found.dataplane, found.scenario) == ("isolation", "ebpf", scenario)
    figures = {measurement.name: measurement.values for measurement in found.measurements}
    assert figures["allowed deliveries"] == figures["allowed deliveries seen"] > (0.0,)
    assert figures["forbidden deliveries seen"] == (0.0,)


@pytest.mark.parametrize("scenario", HEARING)
def test_an_empty_network_in_which_nobody_hears_anything_fails(scenario: str) -> None:
    silent = [(sent, Audience(), why) for sent, _, why in results_of(load(scenario).policy)]
    found = verdict_on(scenario, silent)
    assert found.verdict is Verdict.FAIL
    assert {m.name: m.values for m in found.measurements}["allowed deliveries seen"] == (0.0,)


def test_no_probes_at_all_fail() -> None:
    found = verdict_on("two_hosts", [])
    assert found.verdict is Verdict.FAIL
    assert "nothing was observed" in found.reason


RAW = ("red1", "red2", Kind.RAW)
WRONG_ONCE = {
    "one leak to another tenant": (("red1", "blue2", Kind.UDP), Audience(("blue2",)), "red1 -> blue2"),
    "a flooded probe that also reaches another tenant": (
        ("red1", "red2", Kind.ARP),
        replace(golden("red1", "red2* red3"), vms=("blue1", "red2", "red3")),
        "red1 -> red2 ARP",
    ),
    "one delivery that is missing": (RAW, Audience(), "red1 -> red2"),
    "one delivery of which the wire knows nothing": (RAW, Audience(("red2",)), "red1 -> red2"),
    "heard twice": (RAW, replace(golden("red1", "red2*"), vms=("red2 (2 times)",)), "red1 -> red2"),
    "heard again late": (RAW, replace(golden("red1", "red2*"), vms=("red2", "red2")), "red1 -> red2"),
    "changed on the way": (RAW, replace(golden("red1", "red2*"), vms=("red2 (changed)",)), "red1 -> red2"),
    "sent twice": (
        RAW,
        Audience(("red2",), ("host1 VSID 5000 (2 times)", "host2 VSID 5000 (2 times)")),
        "red1 -> red2",
    ),
    "in the wrong VSID": (RAW, Audience(("red2",), ("host1 VSID 6000", "host2 VSID 6000")), "red1 -> red2"),
    "local traffic on the wire": (
        ("red1", "red3", Kind.TCP),
        Audience(("red3",), ("host1 VSID 5000", "host2 VSID 5000")),
        "red1 -> red3",
    ),
    "nobody heard it, but the wire carried it": (
        ("red1", "blue2", Kind.UDP),
        Audience((), ("host1 VSID 5000",)),
        "red1 -> blue2",
    ),
}


@pytest.mark.parametrize(("cell", "audience", "named"), WRONG_ONCE.values(), ids=WRONG_ONCE)
def test_one_wrong_observation_among_many_fails_and_is_named(
    cell: tuple[str, str, Kind], audience: Audience, named: str
) -> None:
    found = verdict_on("two_hosts", with_audience(results_of(POLICY), cell, audience))
    assert found.verdict is Verdict.FAIL
    assert named in found.reason
    assert "{} -> {} {}".format(*cell) in {check.id for check in found.failed}


def test_a_leak_is_named_before_everything_else_that_fails() -> None:
    cell = ("fabrikam_web", "contoso_sql", Kind.RAW)
    leak = golden("fabrikam_web", "fabrikam_sql*")
    silent = [(sent, Audience(), "") for sent, _, _ in results_of(load("contoso_fabrikam").policy)]
    found = verdict_on("contoso_fabrikam", with_audience(silent, cell, replace(leak, vms=("contoso_sql",))))
    assert "fabrikam_web -> contoso_sql" in found.reason


def test_a_second_copy_for_the_right_vm_is_no_forbidden_delivery() -> None:
    twice = replace(golden("red1", "red2*"), vms=("red2 (2 times)",))
    found = verdict_on("two_hosts", with_audience(results_of(POLICY), RAW, twice))
    assert {m.name: m.values for m in found.measurements}["forbidden deliveries seen"] == (0.0,)


def test_the_sample_of_a_cell_says_what_its_own_listener_heard() -> None:
    swapped = with_audience(results_of(POLICY), RAW, Audience(("red3",), ("host1 VSID 5000",)))
    found = verdict_on("two_hosts", swapped)
    sample = next(s for s in found.samples if (s["source"], s["destination"], s["kind"]) == ("red1", "red2", "raw"))
    assert (sample["expected"], sample["observed"]) == ("heard", "silent")
    assert (sample["should_hear"], sample["heard"], sample["wire"]) == ("red2", "red3", "host1 VSID 5000")
    assert len(found.samples) == len(swapped)


def test_tenants_are_those_of_the_subnets() -> None:
    found = verdict_on("two_hosts", results_of(POLICY))
    assert {(sample["source"], sample["source_tenant"]) for sample in found.samples} == {
        (vm.name, _tenant(vm)) for vm in POLICY.vms
    }


def _tenant(vm: Vm) -> str:
    return vm.name.rstrip("0123456789")
