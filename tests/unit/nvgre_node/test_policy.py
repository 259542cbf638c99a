"""Policy: the records that a placement implies, what one NVE is told of them, and which one decides."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.utils6 import in6_mactoifaceid

from nvgre_node.choices import RecordType
from nvgre_node.explain import Step, explain
from nvgre_node.policy import (
    UNKNOWN_CA,
    LookupRecord,
    Nve,
    Policy,
    Port,
    UnknownNameError,
    VirtualSubnet,
    Vm,
    link_local,
)

PREFIXES = (IPv4Network("10.0.0.0/24"), IPv6Network("fd00:10::/64"))
HOST1, HOST2, HOST3 = (IPv4Address(f"192.168.0.{n}") for n in (1, 2, 3))


def vm(name: str, subnet: str, host: str, last: int, mac: str) -> Vm:
    cas = (IPv4Interface(f"10.0.0.{last}/24"), IPv6Interface(f"fd00:10::{last}/64"))
    return Vm(name, subnet, host, mac, cas)


POLICY = Policy(
    nves=tuple(Nve(f"host{n}", (IPv4Interface(f"192.168.0.{n}/24"),)) for n in (1, 2, 3)),
    subnets=(
        VirtualSubnet("red_net", "red", 5000, PREFIXES),
        VirtualSubnet("red_back", "red", 5001, PREFIXES),
        VirtualSubnet("blue_net", "blue", 6000, PREFIXES),
    ),
    vms=(
        vm("red1", "red_net", "host1", 1, "02:00:00:00:0a:01"),
        vm("red2", "red_net", "host2", 2, "02:00:00:00:0a:02"),
        vm("red3", "red_net", "host1", 3, "02:00:00:00:0a:03"),
        vm("back1", "red_back", "host2", 4, "02:00:00:00:0a:04"),
        vm("blue1", "blue_net", "host1", 1, "02:00:00:00:0b:01"),
        vm("blue2", "blue_net", "host2", 2, "02:00:00:00:0b:02"),
        vm("blue3", "blue_net", "host3", 5, "02:00:00:00:0b:05"),
    ),
)


def record(vsid: int, ca: str, mac: str, pa: IPv4Address, vm: str, deliver: int | None = None) -> LookupRecord:
    return LookupRecord(vsid, ip_address(ca), mac, pa, vm, deliver or vsid)


LEAK = POLICY.pointing_to(POLICY.vm("red2"), POLICY.vm("blue2"))

# Records


def test_each_customer_address_has_one_record_t2() -> None:
    assert len(POLICY.records) == 2 * len(POLICY.vms)
    assert [r for r in POLICY.records if r.vm == "red2"] == [
        record(5000, "10.0.0.2", "02:00:00:00:0a:02", HOST2, "red2"),
        record(5000, "fd00:10::2", "02:00:00:00:0a:02", HOST2, "red2"),
    ]


def test_only_the_placement_says_which_provider_address_t2() -> None:
    moved = replace(POLICY, vms=tuple(replace(v, host="host3") if v.name == "red2" else v for v in POLICY.vms))
    before = [r for r in POLICY.records if r.vm == "red2"]

    assert [r for r in moved.records if r.vm == "red2"] == [replace(r, pa=HOST3) for r in before]


def test_equal_customer_addresses_of_two_tenants_have_records_of_their_own_t4() -> None:
    same = [r for r in POLICY.records if r.ca == ip_address("10.0.0.2")]

    assert {(r.vsid, r.vm) for r in same} == {(5000, "red2"), (6000, "blue2")}


def test_an_override_takes_the_place_of_what_the_placement_implies() -> None:
    stale = record(5000, "10.0.0.2", "02:00:00:00:0a:02", HOST3, "red2")
    policy = replace(POLICY, overrides=(stale,))

    assert [r for r in policy.records if r.vm == "red2"] == [stale]


def test_pointing_to_redirects_the_records_of_one_vm_and_no_other() -> None:
    assert [r for r in LEAK.records if r.vsid == 5000 and r.mac == "02:00:00:00:0a:02"] == [
        record(5000, "10.0.0.2", "02:00:00:00:0a:02", HOST2, "blue2", deliver=6000),
        record(5000, "fd00:10::2", "02:00:00:00:0a:02", HOST2, "blue2", deliver=6000),
    ]
    assert {r for r in LEAK.records if r not in POLICY.records} == set(LEAK.overrides)
    assert len(LEAK.records) == len(POLICY.records)


def test_pointing_to_leaves_the_policy_it_starts_from_alone() -> None:
    assert POLICY.overrides == ()


def known_as(type_: RecordType, name: str = "red2") -> Policy:
    """The policy, in which it knows a VM by a record of this type."""
    return replace(POLICY, vms=tuple(replace(v, record=type_) if v.name == name else v for v in POLICY.vms))


@pytest.mark.parametrize("type_", [RecordType.STATIC, RecordType.DYNAMIC, RecordType.GATEWAY_WILDCARD])
def test_these_records_know_ca_and_mac(type_: RecordType) -> None:
    found = [r for r in known_as(type_).records if r.vm == "red2"]

    assert [(str(r.ca), r.mac, r.type) for r in found] == [
        ("10.0.0.2", "02:00:00:00:0a:02", type_),
        ("fd00:10::2", "02:00:00:00:0a:02", type_),
    ]


def test_an_l2only_record_knows_the_mac_alone() -> None:
    found = [r for r in known_as(RecordType.L2ONLY).records if r.vm == "red2"]

    assert [(r.ca, r.mac, r.pa) for r in found] == [(UNKNOWN_CA, "02:00:00:00:0a:02", HOST2)]


def test_a_fault_keeps_what_the_record_knows() -> None:
    policy = known_as(RecordType.L2ONLY)
    leak = policy.pointing_to(policy.vm("red2"), policy.vm("blue2"))

    assert [(r.ca, r.type, r.vm) for r in leak.overrides] == [(UNKNOWN_CA, RecordType.L2ONLY, "blue2")]


# What one NVE is told


def test_a_host_is_told_of_its_own_ports_only_p2() -> None:
    assert [(port.interface, port.vsid) for port in POLICY.for_host("host1").ports] == [
        ("red1", 5000),
        ("red3", 5000),
        ("blue1", 6000),
    ]
    assert POLICY.for_host("host3").ports == (
        Port("blue3", 6000, HOST3, "02:00:00:00:0b:05", (ip_address("10.0.0.5"), ip_address("fd00:10::5"))),
    )


def test_a_vm_may_send_from_its_customer_addresses_and_the_link_local_one_of_its_mac_c1() -> None:
    (port,) = POLICY.for_host("host3").ports

    assert [str(source) for source in port.sources] == ["10.0.0.5", "fd00:10::5", "fe80::ff:fe00:b05"]


@given(octets=st.binary(min_size=6, max_size=6))
def test_a_link_local_address_is_made_as_scapy_makes_it(octets: bytes) -> None:
    mac = octets.hex(":")

    assert link_local(mac) == ip_address("fe80::" + in6_mactoifaceid(mac))


def test_a_host_is_told_only_of_subnets_that_have_a_port_there_p2() -> None:
    assert POLICY.for_host("host1").vsids == (5000, 6000)
    assert {r.vsid for r in POLICY.for_host("host1").records} == {5000, 6000}
    assert {r.vm for r in POLICY.for_host("host3").records} == {"blue1", "blue2", "blue3"}


@pytest.mark.parametrize(
    ("host", "members"),
    [
        ("host1", {5000: (HOST2,), 6000: (HOST2, HOST3)}),
        ("host2", {5000: (HOST1,), 5001: (), 6000: (HOST1, HOST3)}),
        ("host3", {6000: (HOST1, HOST2)}),
    ],
)
def test_members_are_the_other_nves_of_a_subnet_b5_c1(host: str, members: dict[int, tuple[IPv4Address, ...]]) -> None:
    cut = POLICY.for_host(host)

    assert cut.replicas == members
    assert cut.senders == {vsid: frozenset(pas) for vsid, pas in members.items()}


def test_a_record_is_local_where_its_vm_is() -> None:
    cut = POLICY.for_host("host1")

    assert {r.vm for r in cut.records if cut.is_local(r)} == {"red1", "red3", "blue1"}


def test_a_host_without_vms_is_told_nothing_p2() -> None:
    empty = replace(POLICY, vms=tuple(v for v in POLICY.vms if v.host != "host3")).for_host("host3")

    assert (empty.ports, empty.records, dict(empty.replicas), empty.vsids) == ((), (), {}, ())


# Explain


def test_explain_a_vm_on_the_same_host_never_reaches_the_wire() -> None:
    assert explain(POLICY, "red1", "10.0.0.3") == (
        Step("port red1 on host1", "VSID 5000 (0x001388)", "subnet red_net"),
        Step("record (VSID 5000, CA 10.0.0.3)", "red3, MAC 02:00:00:00:0a:03, PA 192.168.0.1", "U1, T8"),
        Step("delivery", "port red3 on host1, never on the wire", "same provider host"),
    )


OTHER_TENANT = "T4: in another virtual subnet, blue2 has this CA"


def test_explain_a_vm_on_another_host_shows_the_outer_header() -> None:
    assert explain(POLICY, "red1", "10.0.0.2") == (
        Step("port red1 on host1", "VSID 5000 (0x001388)", "subnet red_net"),
        Step("record (VSID 5000, CA 10.0.0.2)", "red2, MAC 02:00:00:00:0a:02, PA 192.168.0.2", OTHER_TENANT),
        Step("outer IPv4 192.168.0.1 -> 192.168.0.2, protocol 47", "GRE 20 00 65 58 00 13 88 + FlowID", "O1, G5"),
    )


def test_explain_takes_ipv6_addresses_too() -> None:
    assert "red2" in explain(POLICY, "red1", "fd00:10::2")[1].result


def test_explain_takes_a_vms_name_for_its_address() -> None:
    assert explain(POLICY, "red1", "red2") == explain(POLICY, "red1", "10.0.0.2")


def test_explain_equal_addresses_lead_each_tenant_to_its_own_t4() -> None:
    assert "red2" in explain(POLICY, "red1", "10.0.0.2")[1].result
    assert "blue2" in explain(POLICY, "blue1", "10.0.0.2")[1].result


def test_explain_an_unknown_address_is_dropped_b6() -> None:
    *_, last = explain(POLICY, "red1", "10.0.0.99")

    assert last == Step("record (VSID 5000, CA 10.0.0.99)", "none: dropped as unknown unicast", "B6")


def test_explain_an_address_that_a_vm_without_known_ca_may_have() -> None:
    *_, last = explain(known_as(RecordType.L2ONLY), "red1", "10.0.0.2")

    assert last.result == "none: everybody in the subnet is asked"
    assert last.because == "l2only: red2 may have it"


def test_explain_an_address_outside_the_subnet_is_behind_its_gateway_x2() -> None:
    policy = known_as(RecordType.GATEWAY_WILDCARD)
    _, found, arrival = explain(policy, "red1", "192.0.2.1")

    assert found.result == "red2, MAC 02:00:00:00:0a:02, PA 192.168.0.2"
    assert found.because == "gateway_wildcard: any CA may be behind it"
    assert arrival.result == "GRE 20 00 65 58 00 13 88 + FlowID"
    assert explain(policy, "red1", "10.0.0.99")[-1].result == "none: dropped as unknown unicast"


def test_explain_an_address_that_only_another_tenant_has_t4() -> None:
    *_, last = explain(POLICY, "red1", "10.0.0.5")

    assert last.result == "none: dropped as unknown unicast"
    assert last.because == "T4: in another virtual subnet, blue3 has this CA"


def test_explain_names_a_leak_between_tenants() -> None:
    *_, crossing, arrival = explain(LEAK, "red1", "10.0.0.2")

    assert crossing == Step("virtual subnet of blue2", "VSID 6000 (blue_net)", "LEAK: red reaches blue")
    assert arrival.result == "GRE 20 00 65 58 00 17 70 + FlowID"


def test_explain_crossing_inside_a_tenant_is_no_leak_x6() -> None:
    crossed = POLICY.pointing_to(POLICY.vm("red2"), POLICY.vm("back1"))

    assert explain(crossed, "red1", "10.0.0.2")[2].because == "X6: inside the tenant"


# Names


@pytest.mark.parametrize(
    ("look_up", "message"),
    [
        (POLICY.subnet, "no virtual subnet is called 'nobody'; there are: blue_net, red_back, red_net"),
        (POLICY.nve, "no provider host is called 'nobody'; there are: host1, host2, host3"),
        (POLICY.for_host, "no provider host is called 'nobody'; there are: host1, host2, host3"),
        (POLICY.vm, "no VM is called 'nobody'; there are: back1, blue1, blue2, blue3, red1, red2, red3"),
    ],
    ids=["subnet", "nve", "for_host", "vm"],
)
def test_an_unknown_name_is_answered_with_those_there_are(look_up: object, message: str) -> None:
    assert callable(look_up)
    with pytest.raises(UnknownNameError) as error:
        look_up("nobody")
    assert str(error.value) == message


def test_a_name_is_unknown_where_there_are_none() -> None:
    with pytest.raises(UnknownNameError) as error:
        Policy((), (), ()).vm("red1")
    assert str(error.value) == "no VM is called 'red1'; there are: none"


@pytest.mark.parametrize(("source", "destination"), [("nobody", "10.0.0.2"), ("red1", "nobody"), ("red1", "10.0.0")])
def test_explain_does_not_know_an_unknown_name(source: str, destination: str) -> None:
    with pytest.raises(UnknownNameError, match="no VM is called"):
        explain(POLICY, source, destination)


def test_explain_two_vms_need_an_ip_version_in_common() -> None:
    only6 = Vm("six", "red_net", "host2", "02:00:00:00:0a:06", (IPv6Interface("fd00:10::6/64"),))
    only4 = Vm("four", "red_net", "host1", "02:00:00:00:0a:07", (IPv4Interface("10.0.0.7/24"),))
    policy = replace(POLICY, vms=(*POLICY.vms, only6, only4))

    with pytest.raises(UnknownNameError, match="six and four share no IP version"):
        explain(policy, "four", "six")


def test_a_vm_has_an_address_per_ip_version_or_none() -> None:
    only4 = replace(POLICY.vm("red1"), cas=(IPv4Interface("10.0.0.1/24"),))

    assert (only4.ca(4), only4.ca(6)) == (IPv4Address("10.0.0.1"), None)
