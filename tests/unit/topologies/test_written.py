"""What `show SCENARIO` prints: a file that loads as the same network, and the same for programs."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nvgre_node.choices import TooBig
from testbed.networks import Format, printed
from topologies import Scenario, load, shipped
from topologies.derived import derived
from topologies.emit import yaml_text
from topologies.graphs import graph
from topologies.schema import NvePart
from topologies.written import NotWritableError, written

from .made_scenarios import Data, scenarios
from .scenario_cases import everything

ROUTED = Path(__file__).parents[2] / "netns/routed.yaml"


def loaded(text: str, folder: Path) -> Scenario:
    file = folder / "net.yaml"
    file.write_text(text)
    return load(file)


def same(a: Scenario, b: Scenario) -> bool:
    return (a.policy, a.fabric, a.tenant_mtu, a.expect) == (b.policy, b.fabric, b.tenant_mtu, b.expect)


@pytest.mark.parametrize("name", [*shipped(), str(ROUTED)])
def test_a_scenario_that_is_printed_loads_as_the_same(name: str, tmp_path: Path) -> None:
    scenario = load(name)
    again = loaded(printed(scenario, Format.YAML), tmp_path)

    assert same(again, scenario)
    assert (again.name, again.title, again.about) == (scenario.name, scenario.title, scenario.about)


def test_so_does_the_one_with_every_word_of_the_language(tmp_path: Path) -> None:
    scenario = everything(tmp_path)

    assert same(loaded(printed(scenario, Format.YAML), tmp_path), scenario)


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=scenarios())
def test_so_does_any(data: Data, tmp_path: Path) -> None:
    scenario = loaded(yaml_text(data), tmp_path)

    assert same(loaded(printed(scenario, Format.YAML), tmp_path), scenario)


def test_a_network_with_another_policy_is_not_the_same(tmp_path: Path) -> None:
    scenario = load("contoso_fabrikam")
    text = printed(scenario, Format.YAML)

    for old, new in {
        "vsid: 5001": "vsid: 5002",
        "mac: 02:00:0a:01:01:0b": "mac: 02:00:0a:01:01:0d",
        "ttl: 64": "ttl: 9",
    }.items():
        assert text.count(old) >= 1
        assert not same(loaded(text.replace(old, new, 1), tmp_path), scenario)


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(title=st.text(min_size=1, max_size=200), about=st.text(max_size=300) | st.just("a\n  b \n\n# c: d\n- e"))
def test_so_does_any_text_in_it(title: str, about: str, tmp_path: Path) -> None:
    scenario = replace(load("two_hosts"), title=" ".join(title.split()) or "x", about=about.strip())
    again = loaded(printed(scenario, Format.YAML), tmp_path)

    assert (again.title, again.about) == (scenario.title, scenario.about)
    assert same(again, scenario)


def test_every_default_is_written_out() -> None:
    data = written(load("two_hosts"))

    assert data["mtu"] == {"underlay": 1542, "tenant": 1500, "undersized": False}
    assert set(data["nve"]) == set(NvePart.model_fields) - {"deviations", "imitate"}
    assert data["tenants"]["red"]["vms"]["red1"] == {
        "subnet": "red_net",
        "ca": ["10.0.0.1", "fd00:10::1"],
        "host": "host1",
        "mac": "02:00:0a:00:00:01",
        "record": "static",
    }


def test_what_one_host_imitates_is_written_at_that_host() -> None:
    data = written(load("ovs_like_peer"))

    assert data["hosts"]["host2"]["imitate"] == "ovs"
    assert "keeps_tags" in data["hosts"]["host2"]["deviations"]
    assert "too_big" not in data["nve"]


def test_what_no_file_can_say_is_refused_and_not_left_out() -> None:
    scenario = load("two_hosts")
    first, *others = scenario.policy.nves
    policy = replace(scenario.policy, nves=(replace(first, too_big=TooBig.FRAGMENT), *others))

    with pytest.raises(NotWritableError, match="host1 alone choose otherwise in: too_big"):
        written(replace(scenario, policy=policy))


def test_what_follows_is_below_the_file_as_comments() -> None:
    lines = printed(load("hnv"), Format.YAML).splitlines()

    for line in (
        "#   - {vsid: 5003, mac: 02:00:0a:01:02:14, pa: 192.168.1.13, vm: rd_cluster, type: l2only}",
        "#   - {tenant: contoso_rd, prefix: 0.0.0.0/0, vsid: 5002, next_hop: 10.0.2.250, metric: 0}",
        "#   - {host: host2, pa: 192.168.2.15/24}",
        "#   - {host: host1, prefix: 192.168.2.0/24, next_hop: 192.168.1.1}",
    ):
        assert line in lines


def test_json_has_the_same_data() -> None:
    scenario = load("contoso_fabrikam")
    told = json.loads(printed(scenario, Format.JSON))

    assert told["scenario"] == written(scenario)
    assert {key: value for key, value in told.items() if key != "scenario"} == derived(scenario)
    assert len(told["lookup_records"]) == len(scenario.policy.records) == 8
    assert len(told["provider_routes"]) == 2


@pytest.mark.parametrize("name", shipped())
def test_the_picture_has_every_node_and_every_edge_joins_two_of_them(name: str) -> None:
    scenario = load(name)
    made = graph(scenario)
    nodes = [node.name for own in (*made.groups.values(), made.nodes) for node in own]

    machines = {*scenario.policy.machines, *scenario.policy.servers}
    others = {*(nve.host for nve in scenario.policy.nves), *(own.name for own in scenario.policy.outside)}
    assert sorted(nodes) == sorted(machines | others | set(scenario.fabric.routers))
    assert {end for edge in made.edges for end in (edge.a, edge.b)} <= set(nodes)
    for text in (printed(scenario, Format.DOT), printed(scenario, Format.MERMAID)):
        assert all(re.search(rf"\b(n_)?{node}\b", text) for node in nodes)
        assert text.count("{") == text.count("}")
        assert text.count('"') % 2 == 0


def test_a_title_cannot_break_a_picture() -> None:
    scenario = replace(load("two_hosts"), title='Drawn "by" lot: <b>#1</b>')

    assert 'label="Drawn \\"by\\" lot: <b>#1</b>"' in printed(scenario, Format.DOT)
    assert printed(scenario, Format.MERMAID).splitlines()[0] == "flowchart TB"


def test_tunnels_are_dashed_and_name_their_virtual_subnets() -> None:
    dashed = {(edge.a, edge.b, edge.label) for edge in graph(load("leaf_spine")).edges if edge.dashed}

    assert ("host1", "host3", "VSID 5000, 6000") in dashed
    assert ("host1", "host2", "VSID 6000") in dashed
    assert not [edge for edge in dashed if {"host2", "host4"} == set(edge[:2])]


def test_svg_is_the_picture_of_the_report() -> None:
    text = printed(load("two_hosts"), Format.SVG)

    assert text.startswith("<?xml")
    assert text.rstrip().endswith("</svg>")
    assert text == printed(load("two_hosts"), Format.SVG)
