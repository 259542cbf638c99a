"""What the scenario language allows beyond what the shipped files use."""

from dataclasses import replace
from pathlib import Path

import pytest

from nvgre_node.choices import (
    COPY,
    Deviation,
    Ecn,
    FlowIds,
    Implementation,
    Neighbours,
    RecordType,
    SourceCheck,
    TooBig,
)
from nvgre_node.deviations import IMITATIONS
from topologies import Scenario, load

from .scenario_cases import FLAT, ROUTED, edited, wrong_with

ALLOWED = {
    "a CA alone or in a list": {"ca: 10.0.0.1,": "ca: [10.0.0.1],"},
    "a prefix alone or in a list": {"prefixes: [10.0.0.0/24]": "prefixes: 10.0.0.0/24"},
    "a VSID in hexadecimal": {"vsid: 5000": "vsid: 0x1388"},
    "the lowest and the highest VSID (V5)": {"vsid: 5000": "vsid: 4096", "vsid: 6000": "vsid: 16777214"},
    "both addresses of a prefix of two": {"192.168.0.1/24": "192.168.0.0/31", "192.168.0.2/24": "192.168.0.1/31"},
    "one MAC address in two subnets": {"mac: 02:00:00:00:0b:01": "mac: 02:00:0a:00:00:01"},
    "an underlay that just fits": {"hosts:\n": "mtu: {underlay: 9042, tenant: 9000}\nhosts:\n"},
    "an underlay too small, on purpose": {"hosts:\n": "mtu: {underlay: 1500, undersized: true}\nhosts:\n"},
    "an underlay too small, but not for IPv6": {"hosts:\n": "mtu: {underlay: 1322, undersized: true}\nhosts:\n"},
    "names of 10 and of 15 characters": {"host1": "hypervisor", "blue1": "blue_web_server"},
    "a tenant without VMs": {
        "tenants:\n": "tenants:\n  green: {subnets: {green_net: {vsid: 7000, prefixes: fd01::/64}}}\n"
    },
    "an alias": {"host1: {pa": "host1: &h {pa", "title: ": "about: &about Text\ntitle: "},
    "a key merged in": {"red1: {": "red1: &red {", "red2: {subnet: red_net, ": "red2: {<<: *red, "},
}


@pytest.mark.parametrize("edits", ALLOWED.values(), ids=ALLOWED.keys())
def test_this_is_allowed(edits: dict[str, str], tmp_path: Path) -> None:
    assert wrong_with(edited(FLAT, edits), tmp_path) == []


def loaded(text: str, folder: Path) -> Scenario:
    (folder / "net.yaml").write_text(text)
    return load(folder / "net.yaml")


def test_a_vm_without_mac_gets_one_from_its_first_ipv4_ca(tmp_path: Path) -> None:
    text = edited(FLAT, {"ca: [10.0.0.1, fd00:10::1]": "ca: [fd00:10::1, 10.0.0.1]"})

    assert loaded(text, tmp_path).policy.vm("red1").mac == "02:00:0a:00:00:01"


def test_a_vm_with_ipv6_only_gets_its_mac_from_the_last_four_bytes(tmp_path: Path) -> None:
    text = edited(FLAT, {"ca: [10.0.0.1, fd00:10::1]": "ca: fd00:10::1234:5678"})

    assert loaded(text, tmp_path).policy.vm("red1").mac == "02:00:12:34:56:78"


def test_a_mac_is_kept_in_small_letters(tmp_path: Path) -> None:
    text = edited(FLAT, {"02:00:00:00:0b:01": "02:00:00:00:0B:01"})

    assert loaded(text, tmp_path).policy.vm("blue1").mac == "02:00:00:00:0b:01"


def test_mtu_and_nve_apply_to_the_whole_network(tmp_path: Path) -> None:
    choices = "flow_ids: none, too_big: drop, clamp_mss: true, source_check: ca"
    settings = f"mtu: {{underlay: 9042, tenant: 9000}}\nnve: {{{choices}}}\nhosts:\n"
    scenario = loaded(edited(FLAT, {"hosts:\n": settings}), tmp_path)

    assert (scenario.fabric.mtu, scenario.tenant_mtu) == (9042, 9000)
    chosen = {(nve.flow_ids, nve.too_big, nve.clamp_mss, nve.source_check) for nve in scenario.policy.nves}
    assert chosen == {(FlowIds.NONE, TooBig.DROP, True, SourceCheck.CA)}


def test_neighbours_and_what_records_know_are_said_in_the_file(tmp_path: Path) -> None:
    edits = {
        "hosts:\n": "nve: {neighbours: proxy}\nhosts:\n",
        "red2: {": "red2: {record: l2only, ",
        "blue2: {": "blue2: {record: gateway_wildcard, ",
    }
    policy = loaded(edited(FLAT, edits), tmp_path).policy

    assert {nve.neighbours for nve in policy.nves} == {Neighbours.PROXY}
    assert [vm.record for vm in policy.vms] == [
        RecordType.STATIC,
        RecordType.L2ONLY,
        RecordType.STATIC,
        RecordType.GATEWAY_WILDCARD,
    ]


def test_the_outer_header_is_chosen(tmp_path: Path) -> None:
    texts = ("nve: {ttl: 255, dscp: 46, ecn: zero}\nhosts:\n", "nve: {dscp: copy}\nhosts:\n", "hosts:\n")
    found = [loaded(edited(FLAT, {"hosts:\n": text}), tmp_path).policy.nves[0] for text in texts]

    assert [(nve.ttl, nve.dscp, nve.ecn) for nve in found] == [
        (255, 46, Ecn.ZERO),
        (64, COPY, Ecn.COPY),
        (64, 0, Ecn.COPY),
    ]


@pytest.mark.parametrize(
    ("text", "modes"),
    [
        ("", ("outer", "outer")),
        ("multipath: key\n", ("key", "key")),
        ("multipath: {r2: inner}\n", ("outer", "inner")),
        ("multipath: {default: inner_addresses, r1: outer}\n", ("outer", "inner_addresses")),
    ],
    ids=["nothing said", "one word", "by router", "by router, and for all others"],
)
def test_routers_choose_paths_as_the_file_says_e1(text: str, modes: tuple[str, str], tmp_path: Path) -> None:
    fabric = loaded(text + ROUTED, tmp_path).fabric

    assert (fabric.spreads_by("r1"), fabric.spreads_by("r2")) == modes


def test_a_link_between_routers_is_there_once(tmp_path: Path) -> None:
    fabric = loaded(ROUTED, tmp_path).fabric

    assert [(link.a.node, link.b.node) for link in fabric.links] == [
        ("r1", "host1"),
        ("r1", "host2"),
        ("r1", "r2"),
        ("r2", "host3"),
    ]
    assert [str(address) for address in fabric.addresses("r2")] == ["192.168.9.2/24", "192.168.3.1/24"]


def test_a_vm_on_a_trunk_port_is_one_for_each_vlan(tmp_path: Path) -> None:
    trunk = "{host: host1, subnet: red_net, ca: 10.0.0.1, trunk: {10: {subnet: red_dmz, ca: 10.0.1.1}}}"
    net = "red_net: {vsid: 5000, prefixes: [10.0.0.0/24, fd00:10::/64]}"
    dmz = net + "\n      red_dmz: {vsid: 5001, prefixes: 10.0.1.0/24}"
    text = edited(
        FLAT,
        {
            "{subnet: red_net, host: host1, ca: [10.0.0.1, fd00:10::1]}": trunk,
            net: dmz,
        },
    )
    policy = loaded(text, tmp_path).policy

    vms = {vm.name: (vm.node, vm.vid, policy.vsid_of(vm), vm.mac) for vm in policy.vms if vm.node == "red1"}
    mac = "02:00:0a:00:00:01"  # one interface, one address
    assert vms == {"red1": ("red1", None, 5000, mac), "red1.10": ("red1", 10, 5001, mac)}
    ports = policy.for_host("host1").ports_at("red1")
    assert [(port.name, port.interface, port.vid, port.vsid) for port in ports] == [
        ("red1", "red1", None, 5000),
        ("red1.10", "red1", 10, 5001),
    ]


def deviating(text: str, folder: Path) -> dict[str, set[Deviation]]:
    return {nve.host: set(nve.deviations) for nve in loaded(text, folder).policy.nves}


def test_nves_deviate_all_or_one_and_a_hosts_word_takes_the_place_of_the_others(tmp_path: Path) -> None:
    keeps, hides, clears = Deviation.KEEPS_TAGS, Deviation.HIDES_CE, Deviation.CLEARS_DF
    everybody = edited(FLAT, {"hosts:\n": "nve: {deviations: [keeps_tags, hides_ce]}\nhosts:\n"})

    assert deviating(FLAT, tmp_path) == {"host1": set(), "host2": set()}
    assert deviating(everybody, tmp_path) == {"host1": {keeps, hides}, "host2": {keeps, hides}}
    for said, meant in {"[clears_df]": {clears}, "clears_df": {clears}, "[]": set[Deviation]()}.items():
        text = edited(everybody, {"host2: {": f"host2: {{deviations: {said}, "})
        assert deviating(text, tmp_path) == {"host1": {keeps, hides}, "host2": meant}


@pytest.mark.parametrize("implementation", Implementation)
def test_an_imitation_stands_for_deviations_and_choices(implementation: Implementation, tmp_path: Path) -> None:
    as_it_is = loaded(FLAT, tmp_path).policy.nves
    text, imitation = edited(FLAT, {"host2: {": f"host2: {{imitate: {implementation}, "}), IMITATIONS[implementation]
    wrong = replace(as_it_is[1], deviations=imitation.deviations, **imitation.choices)

    assert loaded(text, tmp_path).policy.nves == (as_it_is[0], wrong)


def test_what_a_scenario_chooses_itself_counts_before_an_imitations_choice(tmp_path: Path) -> None:
    text = edited(FLAT, {"hosts:\n": "nve: {imitate: gretap, flow_ids: flow, deviations: [repeats_id]}\nhosts:\n"})
    wrong = IMITATIONS[Implementation.GRETAP].deviations | {Deviation.REPEATS_ID}

    assert {(nve.flow_ids, nve.deviations) for nve in loaded(text, tmp_path).policy.nves} == {(FlowIds.FLOW, wrong)}
