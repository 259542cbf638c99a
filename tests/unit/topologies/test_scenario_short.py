"""What a scenario need not say: counts and defaults, and the rules by which they are filled in."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from topologies import Scenario, load

SHORTEST = "hosts: 2\ntenants:\n  red: {vms: 3}\n  blue: {vms: 2}\n"


def loaded(folder: Path, text: str, *sets: str) -> Scenario:
    (folder / "net.yaml").write_text(text)
    return load(folder / "net.yaml", sets)


def cas(scenario: Scenario) -> dict[str, str]:
    return {vm.name: " ".join(str(ca) for ca in vm.cas) for vm in scenario.policy.vms}


def pas(scenario: Scenario) -> dict[str, str]:
    return {nve.host: " ".join(map(str, nve.pas)) for nve in scenario.policy.nves}


def ends(scenario: Scenario) -> list[tuple[str, str]]:
    return [(str(link.a.node), str(link.b.node)) for link in scenario.fabric.links]


def test_four_lines_are_a_network_of_two_tenants_with_the_same_addresses(tmp_path: Path) -> None:
    net = loaded(tmp_path, SHORTEST)

    assert (net.name, net.title) == ("net", "2 provider hosts, 2 tenants")
    assert pas(net) == {"host1": "192.168.1.10/24", "host2": "192.168.2.10/24"}
    assert ends(net) == [("r1", "host1"), ("r1", "host2")]
    assert [str(address) for address in net.fabric.addresses("r1")] == ["192.168.1.1/24", "192.168.2.1/24"]
    assert [(own.name, own.vsid) for own in net.policy.subnets] == [("red_net", 5001), ("blue_net", 5002)]
    assert cas(net) == {
        "red1": "10.0.1.11/24",
        "red2": "10.0.1.12/24",
        "red3": "10.0.1.13/24",
        "blue1": "10.0.1.11/24",
        "blue2": "10.0.1.12/24",
    }
    assert [vm.host for vm in net.policy.vms] == ["host1", "host2", "host1", "host2", "host1"]
    assert net.policy.vm("red2").mac == "02:00:0a:00:01:0c"


def test_what_is_written_is_kept_and_nobody_else_gets_it(tmp_path: Path) -> None:
    text = """\
hosts: {near: {pa: 192.168.2.10/24}, far: {}}
tenants:
  red:
    subnets: {db: {vsid: 5001}, web: {prefixes: 10.0.1.0/24}, log: {}}
    vms:
      a: {subnet: web}
      b: {subnet: web, ca: 10.0.1.11, host: near}
      c: {subnet: log}
"""
    net = loaded(tmp_path, text)

    assert pas(net) == {"near": "192.168.2.10/24", "far": "192.168.3.10/24"}  # .2 is taken
    assert {own.name: (own.vsid, str(own.prefixes[0])) for own in net.policy.subnets} == {
        "db": (5001, "10.0.2.0/24"),
        "web": (5002, "10.0.1.0/24"),
        "log": (5003, "10.0.3.0/24"),
    }
    assert cas(net) == {"a": "10.0.1.12/24", "b": "10.0.1.11/24", "c": "10.0.3.11/24"}
    assert [vm.host for vm in net.policy.vms] == ["near", "near", "far"]


@pytest.mark.parametrize(
    ("hosts", "joined"),
    [
        ("{a: {pa: 10.0.0.1/24}, b: {pa: 10.0.0.2/24}}", [("a", "b")]),
        ("{a: {pa: 10.0.0.1/24}, b: {pa: 10.0.1.2/24}}", [("r1", "a"), ("r1", "b")]),
        ("{a: {pa: 10.0.0.1/24}}", [("r1", "a")]),
        ("{a: {}, r1: {}}", [("r2", "a"), ("r2", "r1")]),
        ("3", [("r1", "host1"), ("r1", "host2"), ("r1", "host3")]),
    ],
    ids=["in one prefix", "in two", "alone", "called as the router would be", "three"],
)
def test_hosts_without_links_and_routers_are_joined(hosts: str, joined: list[tuple[str, str]], tmp_path: Path) -> None:
    assert ends(loaded(tmp_path, f"hosts: {hosts}\ntenants: {{red: {{vms: 2}}}}\n")) == joined


@pytest.mark.parametrize(
    ("fabric", "expected"),
    [
        ("links: [[a, b]]", {"a": "192.168.1.10/24", "b": "192.168.1.11/24"}),
        (
            "routers: {r: {a: 172.16.0.1/30, b: [10.9.0.1/24, 'fd00::1/64']}}",
            {"a": "172.16.0.2/30", "b": "10.9.0.10/24 fd00::a/64"},
        ),
    ],
    ids=["a link", "a router"],
)
def test_hosts_take_addresses_where_they_are_joined(fabric: str, expected: dict[str, str], tmp_path: Path) -> None:
    text = f"hosts: {{a: {{}}, b: {{}}}}\n{fabric}\ntenants: {{red: {{vms: 1}}}}\n"
    assert pas(loaded(tmp_path, text)) == expected


def test_a_vm_gets_a_ca_of_each_ip_version_of_its_subnet(tmp_path: Path) -> None:
    subnets = "{net: {prefixes: [10.5.0.0/29, 'fd00:5::/64']}}"
    net = loaded(tmp_path, f"hosts: 2\ntenants: {{red: {{router: true, subnets: {subnets}, vms: 2}}}}\n")

    assert cas(net) == {"red1": "10.5.0.2/29 fd00:5::b/64", "red2": "10.5.0.3/29 fd00:5::c/64"}


def test_counted_entries_are_numbered_and_what_is_written_of_one_is_laid_over(tmp_path: Path) -> None:
    text = """\
hosts:
  rack: {count: 3, vendor: other}
  rack2: {dataplane: model, vendor: ours}
tenants:
  red2:
    vms:
      web: {count: 2, host: rack1}
      web2: {host: rack3}
      red2: {count: 1}
"""
    net = loaded(tmp_path, text)

    assert {nve.host: (nve.vendor, nve.dataplane) for nve in net.policy.nves} == {
        "rack1": ("other", None),
        "rack2": ("ours", "model"),
        "rack3": ("other", None),
    }
    assert {vm.name: vm.host for vm in net.policy.vms} == {"web1": "rack1", "web2": "rack3", "red2_1": "rack1"}


def test_counted_vms_take_their_tenants_subnets_in_turn(tmp_path: Path) -> None:
    net = loaded(tmp_path, "hosts: 2\ntenants: {red: {router: true, subnets: 3, vms: 6}}\n")

    assert [vm.subnet for vm in net.policy.vms] == ["red_net1", "red_net2", "red_net3"] * 2


def test_names_in_a_counted_tenant_begin_with_its_own(tmp_path: Path) -> None:
    text = """\
hosts: 2
tenants:
  red:
    count: 2
    router: true
    subnets: {red_web: {}, db: {}}
    vms:
      red: {subnet: red_web}
      sql: {subnet: db, count: 2}
      any: {trunk: {7: {subnet: db, ca: 10.0.2.99}}}
"""
    net = loaded(tmp_path, text)

    assert [(own.tenant, own.name) for own in net.policy.subnets] == [
        ("red1", "red1_web"),
        ("red1", "red1_db"),
        ("red2", "red2_web"),
        ("red2", "red2_db"),
    ]
    assert [(vm.name, vm.subnet) for vm in net.policy.vms if vm.subnet.startswith("red2")] == [
        ("red2", "red2_web"),
        ("red2_sql1", "red2_db"),
        ("red2_sql2", "red2_db"),
        ("red2_any.7", "red2_db"),
    ]


def test_a_thousand_vms_are_dealt_out_evenly_and_have_ten_addresses_only() -> None:
    net = load("scale_1000")

    assert len(net.policy.vms) == 1000
    assert set(Counter(vm.host for vm in net.policy.vms).values()) == {50}
    assert len({own.vsid for own in net.policy.subnets}) == 100
    assert len({vm.cas for vm in net.policy.vms}) == 10
    assert sum(len(net.policy.for_host(nve.host).ports) for nve in net.policy.nves) == 1000


def test_the_scenario_of_a_thousand_vms_is_small_with_settings() -> None:
    small = load("scale_1000", ["hosts=3", "tenants.t.count=4", "tenants.t.vms=3"])

    assert (len(small.policy.nves), len(small.policy.vms)) == (3, 12)
