"""The shipped scenarios: what they hold, and the variants that experiments make of them."""

import hashlib
import json
import re
import runpy
from ipaddress import IPv4Interface, ip_address
from pathlib import Path

import pytest

import topologies
from nvgre_node.choices import Carries, FlowIds, Implementation, Neighbours, TooBig
from nvgre_node.deviations import IMITATIONS
from nvgre_node.fabric import Fabric, Multipath
from nvgre_node.policy import LookupRecord
from topologies import ScenarioError, load, shipped

FOLDER = Path(topologies.__file__).parent


def record(vsid: int, ca: str, mac: str, pa: str, vm: str) -> LookupRecord:
    return LookupRecord(vsid, ip_address(ca), mac, IPv4Interface(pa).ip, vm, deliver_vsid=vsid)


def links(fabric: Fabric) -> set[frozenset[str]]:
    return {frozenset(f"{end.node} {' '.join(map(str, end.addresses))}" for end in link.ends) for link in fabric.links}


def test_these_scenarios_are_shipped() -> None:
    assert shipped() == [
        *("contoso_fabrikam", "cross_premise", "hnv", "internet_gateway", "leaf_spine", "ovs_like_peer", "scale_1000"),
        *("sonic_map", "three_tier", "two_hosts", "vlan_gateway"),
    ]


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_scenario_loads_by_name_and_by_path(name: str) -> None:
    scenario = load(name)

    assert scenario == load(FOLDER / f"{name}.yaml")
    assert scenario.name == name == scenario.path.stem
    assert scenario.sha256 == hashlib.sha256(scenario.path.read_bytes()).hexdigest()
    assert (scenario.fabric.mtu, scenario.tenant_mtu) == (1542, 1500)
    wrong = [nve for nve in scenario.policy.nves if nve.deviations]
    right = [nve for nve in scenario.policy.nves if nve not in wrong]
    assert {(nve.flow_ids, nve.too_big) for nve in right} == {(FlowIds.FLOW, TooBig.TELL)}
    assert [nve.host for nve in wrong] == (["host2"] if name == "ovs_like_peer" else [])


def test_the_peer_of_ovs_like_peer_does_what_open_vswitch_does() -> None:
    _, peer = load("ovs_like_peer").policy.nves
    imitation = IMITATIONS[Implementation.OVS]

    assert (peer.deviations, peer.too_big) == (imitation.deviations, imitation.choices["too_big"])


def test_hnv_has_two_routing_domains_of_one_customer_with_the_same_addresses() -> None:
    policy = load("hnv").policy
    rd, sales = ([own for own in policy.subnets if own.tenant == f"contoso_{name}"] for name in ("rd", "sales"))

    assert {prefix for own in sales for prefix in own.prefixes} < {prefix for own in rd for prefix in own.prefixes}
    assert policy.vm("rd_web1").cas == policy.vm("sales_web1").cas
    assert {(nve.carries, nve.neighbours) for nve in policy.nves} == {(Carries.IP, Neighbours.PROXY)}


def test_hnv_has_the_routes_of_the_documented_example() -> None:
    found = [
        (str(r.prefix), str(r.next_hop or "on-link")) for r in load("hnv").policy.routes if r.domain == "contoso_rd"
    ]

    assert set(found) == {
        ("10.0.1.0/24", "on-link"),
        ("10.0.2.0/24", "on-link"),
        ("10.1.2.0/24", "on-link"),
        ("0.0.0.0/0", "10.0.2.250"),
    }
    assert [vm.name for vm in load("hnv").policy.vms if vm.subnet == "rd_gateway"] == ["rd_gw"]


def test_hnv_has_a_provider_address_per_virtual_subnet_and_host() -> None:
    policy = load("hnv").policy
    pas = {(vm.host, policy.pa_of(vm)): vm.subnet for vm in policy.vms}

    assert len(pas) == len({(vm.host, vm.subnet) for vm in policy.vms})
    assert all(pas[vm.host, policy.pa_of(vm)] == vm.subnet for vm in policy.vms)


def test_contoso_and_fabrikam_differ_in_nothing_but_the_vsid() -> None:
    sql, web = "02:00:0a:01:01:0b", "02:00:0a:01:01:0c"

    assert set(load("contoso_fabrikam").policy.records) == {
        record(5001, "10.1.1.11", sql, "192.168.1.10/24", "contoso_sql"),
        record(5001, "10.1.1.12", web, "192.168.2.20/24", "contoso_web"),
        record(5001, "fd00:10:1:1::11", sql, "192.168.1.10/24", "contoso_sql"),
        record(5001, "fd00:10:1:1::12", web, "192.168.2.20/24", "contoso_web"),
        record(6001, "10.1.1.11", sql, "192.168.1.10/24", "fabrikam_sql"),
        record(6001, "10.1.1.12", web, "192.168.2.20/24", "fabrikam_web"),
        record(6001, "fd00:10:1:1::11", sql, "192.168.1.10/24", "fabrikam_sql"),
        record(6001, "fd00:10:1:1::12", web, "192.168.2.20/24", "fabrikam_web"),
    }


def test_contoso_and_fabrikam_have_a_router_between_their_hosts() -> None:
    fabric = load("contoso_fabrikam").fabric

    assert fabric.routers == ("r1",)
    assert links(fabric) == {
        frozenset({"r1 192.168.1.1/24", "host1 192.168.1.10/24"}),
        frozenset({"r1 192.168.2.1/24", "host2 192.168.2.20/24"}),
    }
    assert [(str(route.prefix), str(route.next_hop)) for route in fabric.routes("host1")] == [
        ("192.168.2.0/24", "192.168.1.1")
    ]


def test_two_hosts_are_joined_directly() -> None:
    fabric = load("two_hosts").fabric

    assert fabric.routers == ()
    assert links(fabric) == {frozenset({"host1 192.168.0.1/24", "host2 192.168.0.2/24"})}


def test_two_spines_are_between_the_leaves_and_none_behind_a_leaf_e1() -> None:
    scenario = load("leaf_spine")
    pas = {nve.host: nve.pas[0].ip for nve in scenario.policy.nves}

    forks = {(a, b): scenario.fabric.fork(a, pas[b]) for a in pas for b in pas if a != b}

    across = {frozenset(pair) for pair, fork in forks.items() if fork}
    assert across == {frozenset({a, b}) for a in ("host1", "host2") for b in ("host3", "host4")}
    for (a, _), found in forks.items():
        if found:
            router, hops = found
            assert router == ("leaf1" if a in {"host1", "host2"} else "leaf2")
            assert [scenario.fabric.owner(hop) for hop in hops] == ["spine1", "spine2"]
    assert set(scenario.fabric.multipath.values()) == {Multipath.KEY}


def test_red_and_blue_overlap_in_addresses_and_not_in_macs() -> None:
    policy = load("two_hosts").policy

    assert {record for record in policy.records if record.ca.version == 4} == {
        record(5000, "10.0.0.1", "02:00:0a:00:00:01", "192.168.0.1/24", "red1"),
        record(5000, "10.0.0.2", "02:00:0a:00:00:02", "192.168.0.2/24", "red2"),
        record(5000, "10.0.0.3", "02:00:0a:00:00:03", "192.168.0.1/24", "red3"),
        record(6000, "10.0.0.1", "02:00:00:00:0b:01", "192.168.0.1/24", "blue1"),
        record(6000, "10.0.0.2", "02:00:00:00:0b:02", "192.168.0.2/24", "blue2"),
    }
    assert [str(ca) for ca in policy.vm("red1").cas] == ["10.0.0.1/24", "fd00:10::1/64"]


def test_the_fault_that_the_contoso_file_describes_points_its_record_to_fabrikam(tmp_path: Path) -> None:
    leaky = tmp_path / "leaky.yaml"
    shipped_text = (FOLDER / "contoso_fabrikam.yaml").read_text()
    leaky.write_text(shipped_text.replace("# faults:", "faults:").replace("#   - {", "  - {"))

    wrong = [record for record in load(leaky).policy.records if record.vsid != record.deliver_vsid]

    assert {(r.vsid, r.mac, r.vm, r.deliver_vsid) for r in wrong} == {
        (5001, "02:00:0a:01:01:0b", "fabrikam_sql", 6001),
    }
    assert load(leaky).policy == (
        (policy := load("contoso_fabrikam").policy).pointing_to(policy.vm("contoso_sql"), policy.vm("fabrikam_sql"))
    )


def test_a_variant_changes_what_it_names_and_nothing_else() -> None:
    scenario = load("two_hosts")

    assert scenario.with_mtu() == scenario == scenario.with_nve()
    assert scenario.with_mtu(underlay=1400).fabric.mtu == 1400
    assert scenario.with_mtu(underlay=1400).tenant_mtu == 1500
    assert scenario.with_mtu(tenant=9000).fabric == scenario.fabric
    assert {nve.flow_ids for nve in scenario.with_nve(flow_ids=FlowIds.NONE).policy.nves} == {FlowIds.NONE}
    assert {nve.too_big for nve in scenario.with_nve(flow_ids=FlowIds.NONE).policy.nves} == {TooBig.TELL}
    assert {nve.too_big for nve in scenario.with_nve(too_big=TooBig.DROP).policy.nves} == {TooBig.DROP}


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_scenario_is_a_topology_of_mininets_own_command(name: str) -> None:
    pytest.importorskip("mininet", reason="Mininet is not installed")
    topos = runpy.run_path(str(FOLDER / f"{name}.py"))["topos"]
    policy, fabric = load(name).policy, load(name).fabric

    topo = topos[name]()

    machines = {*(vm.name for vm in policy.vms), *policy.servers, *(network.name for network in policy.outside)}
    assert set(topo.nodes()) == {*fabric.routers, *(nve.host for nve in policy.nves), *machines}


def test_the_tenants_of_the_gateways_differ_inside_in_nothing_but_the_vsid() -> None:
    for name in ("internet_gateway", "cross_premise"):
        policy = load(name).policy
        cas: dict[str, dict[str, object]] = {tenant: {} for tenant in ("contoso", "fabrikam")}
        for vm in policy.vms:
            cas[policy.tenant_of(vm)][vm.name.removeprefix(policy.tenant_of(vm))] = vm.mac, vm.cas
        assert cas["contoso"] == cas["fabrikam"]
        legs = [vm.leg for vm in policy.vms if vm.leg]
        assert len({leg.addresses for leg in legs}) == 2


def test_an_unknown_name_is_answered_with_the_shipped_ones() -> None:
    with pytest.raises(ScenarioError) as caught:
        load("two_host")

    assert str(caught.value) == (
        "two_host: no such scenario "
        f"(did you mean two_hosts? there are: {', '.join(shipped())}; the path of a file works too)"
    )


def test_sonics_tables_in_the_comment_say_what_the_scenario_says() -> None:
    policy, text = load("sonic_map").policy, (FOLDER / "sonic_map.yaml").read_text()
    comment = "\n".join(line.removeprefix("#") for line in text.splitlines() if line.startswith("#   "))
    tables = [json.loads(f"{{{part}}}") for part in re.split(r"\n(?=\s*\"NVGRE_TUNNEL\":)", comment)]

    assert [table["NVGRE_TUNNEL"]["tunnel"]["src_ip"] for table in tables] == [
        str(nve.pas[0].ip) for nve in policy.nves
    ]
    for nve, table in zip(policy.nves, tables, strict=True):
        said = {(int(own["vlan_id"]), int(own["vsid"])) for own in table["NVGRE_TUNNEL_MAP"].values()}
        own = [vm for vm in policy.vms if vm.host == nve.host and vm.behind]
        assert said == {(vm.behind.vid, policy.vsid_of(vm)) for vm in own if vm.behind}
        assert len(own) >= 2


def test_the_tenants_of_three_tier_differ_in_nothing_but_names_and_vsids() -> None:
    policy = load("three_tier").policy
    tiers: dict[str, list[object]] = {"contoso": [], "fabrikam": []}
    for own in policy.subnets:
        vms = [(vm.cas, vm.mac) for vm in policy.vms if vm.subnet == own.name]
        tiers[own.tenant].append((own.prefixes, own.acl, vms))
    contoso, fabrikam = tiers.values()
    assert contoso == fabrikam
    assert len(contoso) == 3
