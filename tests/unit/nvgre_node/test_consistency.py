"""What NVEs have against the policy: nothing is said of what agrees, and every kind of difference is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, ip_address

import pytest

from nvgre_node.consistency import differences
from nvgre_node.dataplane.decoded import NveTables, PinnedRecord, PinnedRoute, expected
from nvgre_node.faults import SENTENCES, Fault
from nvgre_node.live import NOTHING, compared
from nvgre_node.policy import Address, Network, Policy
from topologies import load, shipped

POLICY = load("two_hosts").policy
ROUTED = load("three_tier").policy
RED2 = (5000, "10.0.0.2")
NOBODYS = IPv4Address("192.168.0.9")

Tables = dict[str, NveTables]


def sound(policy: Policy) -> Tables:
    """What every NVE has that was told the policy."""
    return {nve.host: expected(policy.for_host(nve.host)) for nve in policy.nves}


def with_record(key: tuple[int, str], **changed: object) -> Tables:
    """The same, but host1 has something else in a record."""
    found = sound(POLICY)
    records = dict(found["host1"].records)
    records[key] = replace(records.get(key, records[RED2]), **changed)  # type: ignore[arg-type]
    return found | {"host1": replace(found["host1"], records=records)}


def without_record(key: tuple[int, str]) -> Tables:
    found = sound(POLICY)
    records = {own: record for own, record in found["host1"].records.items() if own != key}
    return found | {"host1": replace(found["host1"], records=records)}


def with_ports(change: Callable[[dict[str, int]], object]) -> Tables:
    found = sound(POLICY)
    ports = dict(found["host1"].ports)
    change(ports)
    return found | {"host1": replace(found["host1"], ports=ports)}


@pytest.mark.parametrize("name", [name for name in shipped() if name != "scale_1000"])
def test_nothing_is_said_of_nves_that_have_what_the_policy_says(name: str) -> None:
    policy = load(name).policy
    assert differences(policy, sound(policy)) == []


@pytest.mark.parametrize(
    ("found", "fault", "what"),
    [
        (
            with_record(RED2, pa=NOBODYS),
            Fault.STALE_RECORD,
            "host1 sends 10.0.0.2 in VSID 5000 to 192.168.0.9, and the policy says 192.168.0.2",
        ),
        (
            without_record(RED2),
            Fault.MISSING_RECORD,
            "host1 has no record of 10.0.0.2 in VSID 5000, and the policy says 192.168.0.2",
        ),
        (
            with_record((5000, "10.0.0.9"), ca=ip_address("10.0.0.9")),
            Fault.UNKNOWN_RECORD,
            "host1 has a record of 10.0.0.9 in VSID 5000, at 192.168.0.2, of which the policy knows nothing",
        ),
        (
            with_record(RED2, deliver_vsid=6000),
            Fault.CROSS_TENANT_RECORD,
            "host1 lets 10.0.0.2 in VSID 5000 of red lead into VSID 6000 of blue: a leak",
        ),
        (
            with_record(RED2, deliver_vsid=5001),
            Fault.WRONG_VSID,
            "host1 sends 10.0.0.2 in VSID 5000 with VSID 5001, and the policy says VSID 5000",
        ),
        (
            with_record(RED2, type="dynamic"),
            Fault.OTHER_RECORD,
            "host1 has 10.0.0.2 in VSID 5000 as dynamic, MAC 02:00:0a:00:00:02, "
            "and the policy says static, MAC 02:00:0a:00:00:02",
        ),
        (
            with_ports(lambda ports: ports.pop("red1")),
            Fault.MISSING_PORT,
            "host1 has no port red1, and the policy says that it is in VSID 5000",
        ),
        (
            with_ports(lambda ports: ports.update(red1=6000)),
            Fault.PORT_VSID,
            "host1 has port red1 in VSID 6000, and the policy says VSID 5000",
        ),
        (
            with_ports(lambda ports: ports.update(red9=5000)),
            Fault.UNKNOWN_PORT,
            "host1 has a port red9 in VSID 5000, of which the policy knows nothing",
        ),
    ],
)
def test_a_difference_is_one_sentence(found: Tables, fault: Fault, what: str) -> None:
    assert [(one.fault, one.what) for one in differences(POLICY, found)] == [(fault, what)]


def test_a_vm_with_ports_on_two_hosts_is_told_as_one_that_is_twice() -> None:
    faults = {one.fault: one.what for one in differences(POLICY, with_record(RED2, pa=None))}
    assert (
        faults[Fault.DUPLICATE_RECORD]
        == "host1 and host2 each have 02:00:0a:00:00:02 in VSID 5000 at a port of their own"
    )


def test_a_leak_that_the_policy_asks_for_is_one() -> None:
    leak = POLICY.pointing_to(POLICY.vm("red2"), POLICY.vm("blue2"))
    assert {one.fault for one in differences(leak, sound(leak))} == {Fault.CROSS_TENANT_RECORD}


def test_who_may_send_and_who_gets_broadcasts_is_compared_both_ways() -> None:
    found = sound(POLICY)
    other = frozenset({(5000, NOBODYS)})
    host1 = replace(found["host1"], senders=other, replicas=other)
    told = [
        (one.fault, one.about["vsid"], str(one.about["pa"])) for one in differences(POLICY, found | {"host1": host1})
    ]
    assert told == [
        (Fault.MISSING_SENDER, 5000, "192.168.0.2"),
        (Fault.MISSING_SENDER, 6000, "192.168.0.2"),
        (Fault.UNKNOWN_SENDER, 5000, "192.168.0.9"),
        (Fault.MISSING_REPLICA, 5000, "192.168.0.2"),
        (Fault.MISSING_REPLICA, 6000, "192.168.0.2"),
        (Fault.UNKNOWN_REPLICA, 5000, "192.168.0.9"),
    ]


def test_routes_are_compared_by_tenant() -> None:
    found = sound(ROUTED)
    host = next(host for host, has in found.items() if has.routes)
    (key, route), *_ = sorted(found[host].routes.items(), key=str)
    for routes, has in (
        ({own: way for own, way in found[host].routes.items() if own != key}, "nowhere"),
        (dict(found[host].routes) | {key: replace(route, next_hop=NOBODYS)}, f"via {NOBODYS} in VSID {route.vsid}"),
    ):
        (one,) = differences(ROUTED, found | {host: replace(found[host], routes=routes)})
        assert (one.fault, one.about["has"]) == (Fault.CUSTOMER_ROUTE, has)
    extra: dict[tuple[int, Network], PinnedRoute] = {(key[0], IPv4Network("198.51.100.0/24")): route}
    (one,) = differences(ROUTED, found | {host: replace(found[host], routes=dict(found[host].routes) | extra)})
    assert one.about["wanted"] == "nowhere"


def test_every_fault_has_a_sentence_and_a_mend() -> None:
    assert set(SENTENCES) == set(Fault)


# A packet's way


def way(found: Tables, destination: str = "10.0.0.2", policy: Policy = POLICY, vm: str = "red1") -> list[str]:
    target: Address = ip_address(destination)
    return [step.difference for step in compared(policy, found, policy.vm(vm), target) if step.difference]


@pytest.mark.parametrize("name", [name for name in shipped() if name != "scale_1000"])
def test_a_sound_network_takes_the_ways_of_its_policy(name: str) -> None:
    policy = load(name).policy
    found = sound(policy)
    targets = {ca.ip for vm in policy.vms for ca in vm.cas} | {ip_address("198.51.100.1"), ip_address("224.0.0.251")}
    for vm in policy.vms:
        for target in targets:
            steps = compared(policy, found, vm, target)
            assert steps
            assert not [step for step in steps if step.difference or NOTHING in (step.policy, step.running)]


def test_where_a_way_parts_a_sentence_says_so_once() -> None:
    assert way(with_record(RED2, pa=NOBODYS)) == [
        "host1 sends 10.0.0.2 to 192.168.0.9, and the policy says 192.168.0.2"
    ]
    assert way(without_record(RED2)) == [
        "host1 has no record of 10.0.0.2 in VSID 5000, and the policy says 192.168.0.2"
    ]
    assert way(with_ports(lambda ports: ports.pop("red1"))) == [
        "host1 has port red1 in no virtual subnet, and the policy says VSID 5000"
    ]
    assert way(with_record(RED2, pa=NOBODYS), "10.0.0.3") == []


def test_the_nve_that_a_packet_comes_to_is_asked_as_well() -> None:
    found = sound(POLICY)
    deaf = found | {"host2": replace(found["host2"], senders=frozenset())}
    assert way(deaf) == ["host2 drops what 192.168.0.1 sends into VSID 5000, and the policy says taken"]
    records: dict[tuple[int, str], PinnedRecord] = {}
    assert way(found | {"host2": replace(found["host2"], records=records)}) == [
        "host2 has 02:00:0a:00:00:02 at nobody, and the policy says a port of its own"
    ]


def test_a_routed_way_is_compared_by_its_route() -> None:
    found = sound(ROUTED)
    vm = next(vm for vm in ROUTED.vms if ROUTED.gateways_of(vm))
    far = next(o for o in ROUTED.vms if o.subnet != vm.subnet and ROUTED.tenant_of(o) == ROUTED.tenant_of(vm))
    assert way(found, str(far.ca()), ROUTED, vm.name) == []
    lost = found | {vm.host: replace(found[vm.host], routes={})}
    (difference,) = way(lost, str(far.ca()), ROUTED, vm.name)
    assert difference.startswith(f"{vm.host} has as route to {far.ca()}: none, and the policy says on-link in VSID ")
