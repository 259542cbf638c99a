"""A policy of Hyper-V Network Virtualization as PowerShell, and back: the same, or a comment says what lacks."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from nvgre_node.choices import RecordType
from nvgre_node.policy import Policy
from topologies import Scenario, load, shipped
from topologies.emit import yaml_text
from topologies.powershell import beyond_hnv, imported, script
from topologies.powershell.profile import HNV

from .made_scenarios import Data, scenarios
from .scenario_cases import everything

EXPRESSIBLE = ["contoso_fabrikam", "scale_1000", "two_hosts"]
"""The shipped scenarios of which HNV lacks nothing, once their NVEs do as its own."""


def read_back(scenario: Scenario, folder: Path) -> Scenario:
    """What a scenario becomes as a script that is read."""
    file = folder / "back.yaml"
    file.write_text(imported(script(scenario), "policy.ps1").text())
    return load(file)


def without_acls(policy: Policy) -> Policy:
    subnets = tuple(replace(subnet, acl=()) for subnet in policy.subnets)
    return replace(policy, subnets=subnets, vms=tuple(replace(vm, acl=()) for vm in policy.vms))


@pytest.mark.parametrize("name", shipped())
def test_a_policy_that_hnv_can_express_reads_back_as_the_same(name: str, tmp_path: Path) -> None:
    scenario = load(name).with_nve(**HNV)
    back = read_back(scenario, tmp_path)

    assert (beyond_hnv(scenario) == []) is (name in EXPRESSIBLE)
    if name in EXPRESSIBLE:
        assert (back.policy, back.fabric) == (scenario.policy, scenario.fabric)
    assert back.policy.records == scenario.policy.records
    assert back.policy.routes == scenario.policy.routes
    assert [nve.pas for nve in back.policy.nves] == [nve.pas for nve in scenario.policy.nves]


def test_of_the_scenario_hnv_only_the_access_control_list_is_lost(tmp_path: Path) -> None:
    scenario = load("hnv")
    lost = ["access control lists of rd_sql: see Add-VMNetworkAdapterExtendedAcl"]
    bare = replace(scenario, policy=without_acls(scenario.policy))
    back = read_back(scenario, tmp_path)

    assert (beyond_hnv(scenario), beyond_hnv(bare)) == (lost, [])
    assert f"# - {lost[0]}" in script(scenario).splitlines()
    assert back.policy != scenario.policy
    assert (back.policy, back.fabric) == (bare.policy, bare.fabric)


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=scenarios(of_hnv=True))
def test_so_does_any_policy_of_hnv(data: Data, tmp_path: Path) -> None:
    (tmp_path / "net.yaml").write_text(yaml_text(data))
    scenario = load(tmp_path / "net.yaml")
    lacking = beyond_hnv(scenario)
    back = read_back(scenario, tmp_path)

    # A PA that a VM is pinned to and would have anyway is the only thing here that HNV cannot tell apart.
    assert all(what.endswith("which it would have anyway") for what in lacking)
    pinned_for_nothing = {what.split()[0] for what in lacking}
    vms = tuple(replace(vm, pa=None) if vm.name in pinned_for_nothing else vm for vm in scenario.policy.vms)
    assert back.policy == replace(scenario.policy, vms=vms)
    assert back.fabric == scenario.fabric


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=scenarios())
def test_any_scenario_has_a_script_that_reads_back_with_its_records_or_a_comment(data: Data, tmp_path: Path) -> None:
    (tmp_path / "net.yaml").write_text(yaml_text(data))
    scenario = load(tmp_path / "net.yaml")
    right = replace(scenario.policy, overrides=())
    back = read_back(scenario, tmp_path)

    assert _told(back.policy) == _told(right)
    if back.policy != scenario.policy or back.fabric != scenario.fabric:
        assert beyond_hnv(scenario)


def _told(policy: Policy) -> set[tuple[object, ...]]:
    """What records say, but for the names of their VMs, which on trunk ports are several."""
    return {(r.vsid, r.ca, r.mac, r.pa, r.type) for r in policy.records}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("-ProviderAddress 192.168.2.20 -Rule", "-ProviderAddress 192.168.1.10 -Rule"),
        ("'02000A01010B'", "'02000A01010F'"),
        ("$vsid_contoso_net = 5001", "$vsid_contoso_net = 5003"),
        ("-CustomerAddress 10.1.1.11", "-CustomerAddress 10.1.1.13"),
        ("-PrefixLength 24", "-PrefixLength 25"),
        ("-Rule TranslationMethodEncap -VMName contoso_web", "-Rule TranslationMethodEncap -VMName web"),
        ("-UseExternalRouter $true", "-UseExternalRouter $false"),
    ],
)
def test_a_script_with_another_value_is_another_policy(old: str, new: str, tmp_path: Path) -> None:
    scenario = load("contoso_fabrikam").with_nve(**HNV)
    text = script(scenario)
    assert old in text
    changed = text.replace(old, new)
    if "PrefixLength" in old:
        changed = changed.replace("192.168.1.0/24", "192.168.1.0/25").replace("192.168.2.0/24", "192.168.2.0/25")
    (tmp_path / "back.yaml").write_text(imported(changed, "policy.ps1").text())

    assert load(tmp_path / "back.yaml").policy != scenario.policy


def test_all_that_hnv_cannot_express_is_said(tmp_path: Path) -> None:
    scenario = everything(tmp_path)
    said = beyond_hnv(scenario)

    assert said == [
        "nve: {probe: true, dscp: copy, pcp_to_dscp: {5: 46}, carries: ethernet}, and HNV is "
        "{probe: false, dscp: 0, pcp_to_dscp: {}, carries: ip}",
        "MTUs: 1500 bytes of tenants, 1600 of the underlay",
        "host3 is of another make",
        "host3 has the data plane ebpf",
        "host4 deviates: clears_df, delivers_tags, hides_ce, ignores_ect1, keeps_tags, refuses_reserved_bits, "
        "takes_checksums, takes_sequence_numbers",
        "multipath: what routers choose paths by",
        "no router for fabrikam: UseExternalRouter is for all tenants of a host, or for none",
        "disk is behind rack1, which has no NVE, under VLAN id 10",
        "both has a trunk port, and is in red_net under VLAN id 10",
        "both has a trunk port, and is in blue_net under VLAN id 20",
        "access control lists of sql1, web_net: see Add-VMNetworkAdapterExtendedAcl",
        "gw1 leads to internet (nat): its record alone is here",
        "gw2 leads to internet (site_to_site): its record alone is here",
        "faults: the records of red1 are the right ones here",
        "expect: what is expected of the network",
    ]
    assert [line for line in script(scenario).splitlines() if line.startswith("# - ")] == [f"# - {w}" for w in said]


def test_commands_are_as_microsoft_documents_them() -> None:
    lines = script(load("hnv")).splitlines()

    for line in (
        "$rdid_contoso_rd = '{51158bcb-b7d1-528d-88a9-73c50e99b9d2}'",
        "New-NetVirtualizationProviderAddress -ProviderAddress 192.168.1.11 -PrefixLength 24 "
        "-InterfaceIndex $ifindex_host1 -CimSession host1",
        "New-NetVirtualizationProviderRoute -DestinationPrefix 192.168.2.0/24 -NextHop 192.168.1.1 "
        "-InterfaceIndex $ifindex_host1 -CimSession host1",
        "New-NetVirtualizationCustomerRoute -RoutingDomainID $rdid_contoso_rd -VirtualSubnetID $vsid_rd_web "
        "-DestinationPrefix 10.0.1.0/24 -NextHop 0.0.0.0 -CimSession $hosts",
        "New-NetVirtualizationCustomerRoute -RoutingDomainID $rdid_contoso_rd -VirtualSubnetID $vsid_rd_gateway "
        "-DestinationPrefix 0.0.0.0/0 -NextHop 10.0.2.250 -CimSession $hosts",
        "New-NetVirtualizationLookupRecord -CustomerAddress 10.0.1.11 -VirtualSubnetID $vsid_rd_web "
        "-MACAddress '02000A00010B' -ProviderAddress 192.168.1.11 -Rule TranslationMethodEncap -VMName rd_web1 "
        "-CimSession $hosts",
        "New-NetVirtualizationLookupRecord -CustomerAddress 0.0.0.0 -VirtualSubnetID $vsid_rd_gateway "
        "-MACAddress '02000A0002FA' -ProviderAddress 192.168.2.12 -Rule TranslationMethodEncap -VMName rd_gw "
        "-Type GatewayWildcard -CimSession $hosts",
        "New-NetVirtualizationLookupRecord -CustomerAddress 0.0.0.0 -VirtualSubnetID $vsid_rd_sql "
        "-MACAddress '02000A010214' -ProviderAddress 192.168.1.13 -Rule TranslationMethodEncap -VMName rd_cluster "
        "-Type L2Only -Context 'CA 10.1.2.20' -CimSession $hosts",
    ):
        assert line in lines
    assert "UseExternalRouter" not in "\n".join(lines)


def test_a_host_gets_the_records_that_it_needs_and_no_others_p2() -> None:
    lines = script(load("leaf_spine")).splitlines()
    of_blue = {
        line.rpartition("-CimSession ")[2] for line in lines if "$vsid_blue_net" in line and "-CimSession" in line
    }

    policy = load("leaf_spine").policy
    assert of_blue == {", ".join(nve.host for nve in policy.nves if 6000 in policy.for_host(nve.host).vsids)}


def test_faults_are_left_out_and_said() -> None:
    scenario = load("two_hosts")
    policy = scenario.policy.pointing_to(scenario.policy.vm("red1"), scenario.policy.vm("blue1"))
    leaky = replace(scenario, policy=policy)

    assert "# - faults: the records of red1 are the right ones here" in script(leaky).splitlines()
    assert [line for line in script(leaky).splitlines() if line[:2] != "# "] == [
        line for line in script(scenario).splitlines() if line[:2] != "# "
    ]


def test_what_the_record_of_an_l2only_vm_does_not_know_is_in_its_context(tmp_path: Path) -> None:
    text = script(load("hnv"))
    (tmp_path / "back.yaml").write_text(imported(text.replace(" -Context 'CA 10.1.2.20'", ""), "x.ps1").text())
    back = load(tmp_path / "back.yaml")

    assert back.policy.vm("rd_cluster").record is RecordType.L2ONLY
    assert [str(ca.ip) for ca in back.policy.vm("rd_cluster").cas] == ["10.1.2.254"]
    assert "rd_cluster: its record knows no CA, and its Context names none; 10.1.2.254 is assumed" in (
        (tmp_path / "back.yaml").read_text()
    )


def test_no_text_gets_out_of_its_comment(tmp_path: Path) -> None:
    scenario = replace(load("hnv"), title="a\rRemove-Item x\u2028Remove-Item y")
    assert [line for line in script(scenario).splitlines() if line.startswith("Remove")] == []

    text = script(load("hnv")).replace(" -Context 'CA 10.1.2.20'", "").replace("rd_cluster", '"a`n{`a: b"')
    (tmp_path / "back.yaml").write_text(imported(text, "x.ps1").text())
    assert load(tmp_path / "back.yaml").policy.vm("a_b").record is RecordType.L2ONLY
