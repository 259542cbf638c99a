"""Files that include others, and settings of the command line: what counts before what."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from topologies import Scenario, load

BASE = """\
name: base
title: Base
nve: {ttl: 9, too_big: drop}
hosts: 2
tenants:
  red: {vms: 2}
"""


def loaded(folder: Path, texts: dict[str, str], *sets: str) -> Scenario:
    for name, text in texts.items():
        (folder / name).write_text(text)
    return load(folder / "net.yaml", sets)


def test_a_file_is_laid_over_what_it_includes(tmp_path: Path) -> None:
    net = loaded(
        tmp_path,
        {
            "base.yaml": BASE,
            "blue.yaml": "title: Blue\ntenants: {blue: {vms: 2}}\nnve: {dscp: 1}\n",
            "net.yaml": "include: [base.yaml, blue.yaml]\nnve: {ttl: 5}\nhosts: {host2: {vlan: 7}}\nname: net\n",
        },
    )

    nves = net.policy.nves
    assert (net.name, net.title) == ("net", "Blue")  # the later of two counts before the earlier
    assert [(nve.host, nve.ttl, nve.dscp, nve.too_big, nve.vlan) for nve in nves] == [
        ("host1", 5, 1, "drop", None),
        ("host2", 5, 1, "drop", 7),
    ]
    assert [vm.name for vm in net.policy.vms] == ["red1", "red2", "blue1", "blue2"]


def test_paths_are_those_from_the_file_that_includes_and_shipped_names_work(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts/tenants.yaml").write_text("include: hosts.yaml\ntenants: {red: {vms: 2}}\n")
    (tmp_path / "parts/hosts.yaml").write_text("hosts: 3\n")

    assert len(loaded(tmp_path, {"net.yaml": "include: parts/tenants.yaml\n"}).policy.nves) == 3
    other = loaded(tmp_path, {"net.yaml": "include: two_hosts\nnve: {ttl: 5}\n"})
    assert {vm.name for vm in other.policy.vms} == {vm.name for vm in load("two_hosts").policy.vms}


def test_one_file_may_be_included_by_two_others(tmp_path: Path) -> None:
    texts = {
        "base.yaml": BASE,
        "a.yaml": "include: base.yaml\nnve: {ttl: 1}\n",
        "b.yaml": "include: base.yaml\nnve: {ecn: zero}\n",
        "net.yaml": "include: [a.yaml, b.yaml]\n",
    }
    (nve, _) = loaded(tmp_path, texts).policy.nves
    assert (nve.ttl, nve.ecn) == (9, "zero")  # b.yaml brings base.yaml's own TTL


def test_what_runs_of_several_files_is_kept_as_one(tmp_path: Path) -> None:
    net = loaded(tmp_path, {"base.yaml": BASE, "net.yaml": "include: base.yaml\nname: net\n"}, "nve.ttl=3")
    again = loaded(tmp_path, {"net.yaml": net.text})

    assert (again.policy, again.fabric) == (net.policy, net.fabric)
    assert net.sha256 == sha256(net.text.encode()).hexdigest() == again.sha256


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("nve.ttl=5", {"ttl": 5}),
        ("nve.dscp=copy", {"dscp": "copy"}),
        ("nve={ecn: zero}", {"ttl": 64, "ecn": "zero"}),
        ("nve.pcp_to_dscp[5]=46", {"pcp_to_dscp": {5: 46}}),
        ("nve.pcp_to_dscp.5=46", {"pcp_to_dscp": {5: 46}}),
    ],
)
def test_a_setting_takes_the_place_of_what_the_file_says(
    setting: str, expected: dict[str, object], tmp_path: Path
) -> None:
    (nve, _) = loaded(tmp_path, {"net.yaml": BASE}, setting).policy.nves
    assert {key: getattr(nve, key) for key in expected} == expected


def test_settings_reach_what_a_number_stands_for_and_count_in_their_order(tmp_path: Path) -> None:
    net = loaded(
        tmp_path, {"net.yaml": BASE}, "hosts=3", "hosts.host2.vlan=5", "hosts.host2.vlan=6", "tenants.red.vms=1"
    )

    assert [(nve.host, nve.vlan) for nve in net.policy.nves] == [("host1", None), ("host2", 6), ("host3", None)]
    assert len(net.policy.vms) == 1


ROUTES = BASE.replace(
    "vms: 2", "router: true, routes: [{to: 0.0.0.0/0, via: 10.0.1.11}, {to: 10.7.0.0/16, via: 10.0.1.12}], vms: 2"
)


@pytest.mark.parametrize("entry", ["1", "10.7.0.0/16", "10.0.1.12"])
def test_entries_of_a_list_are_named_by_index_or_by_what_is_in_them(entry: str, tmp_path: Path) -> None:
    (domain,) = loaded(tmp_path, {"net.yaml": ROUTES}, f"tenants.red.routes[{entry}].metric=7").policy.routing
    assert [route.metric for route in domain.routes] == [0, 7]


def test_an_entry_is_added_to_a_list_also_to_one_that_is_not_there(tmp_path: Path) -> None:
    more = "tenants.red.routes[+]={to: 10.8.0.0/16, via: 10.0.1.12}"
    (domain,) = loaded(tmp_path, {"net.yaml": ROUTES}, more).policy.routing
    assert [str(route.prefix) for route in domain.routes] == ["0.0.0.0/0", "10.7.0.0/16", "10.8.0.0/16"]
    wrong = "faults[+]={subnet: red_net, record_of: red1, points_to: red2}"
    assert len(loaded(tmp_path, {"net.yaml": BASE}, wrong).policy.overrides) == 1


def test_an_alias_is_not_changed_with_its_original(tmp_path: Path) -> None:
    text = "hosts: {host1: &h {vlan: 5}, host2: *h}\ntenants: {red: {vms: 2}}\n"
    net = loaded(tmp_path, {"net.yaml": text}, "hosts.host1.vlan=6")
    assert [nve.vlan for nve in net.policy.nves] == [6, 5]
