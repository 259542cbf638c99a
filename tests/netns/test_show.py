"""`show` reads, from another process, what the NVEs of a network count, and what records and routes they have."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from click.testing import CliRunner

from nvgre_node.choices import RecordType
from nvgre_node.dataplane.base import NO_SUBNET, SubnetCounters
from nvgre_node.net import NvgreNet
from nvgre_node.policy import UNKNOWN_CA
from nvgre_node.routing import ROUTER_MAC
from nvgre_node.waiting import wait_until
from testbed.cli import cli
from testbed.verbs import show
from topologies import load

ROUTED = str(Path(__file__).parent / "routed.yaml")


def outside(net: NvgreNet) -> dict[str, dict[int, SubnetCounters]]:
    """The counters of a network, as another process reads them."""
    found: dict[str, dict[int, SubnetCounters]] = {}
    for row in show.counters().by_vsid:
        if row.run == net.own.id:
            found.setdefault(row.host, {})[row.vsid] = row.counters
    return found


def test_the_counters_from_outside_are_those_from_inside() -> None:
    with NvgreNet(load("two_hosts")) as net:
        assert net["red1"].ping("10.0.0.2")
        assert wait_until(lambda: outside(net) == net.counters(), "no VM to say anything between two looks")
        inside = net.counters()
        printed = CliRunner().invoke(cli, ["show", "counters", "--json"])

    assert set(inside["host1"]) == {NO_SUBNET, 5000, 6000}
    assert inside["host1"][5000].encapsulated > 0
    assert printed.exit_code == 0
    for rows in (json.loads(printed.output)[by] for by in ("by_vsid", "by_port", "by_pa")):
        assert {row["host"] for row in rows if row["run"] == net.own.id} == {"host1", "host2"}


def test_a_network_that_has_ended_is_not_shown() -> None:
    with NvgreNet(load("two_hosts")) as net:
        pass
    found = show.counters()
    runs = {row.run for row in found.by_vsid} | {row.run for row in found.by_port} | {row.run for row in found.by_pa}
    assert net.own.id not in runs


def shown(what: str, *scenario: str) -> list[dict[str, object]]:
    printed = CliRunner().invoke(cli, ["show", what, *scenario, "--json"])
    assert printed.exit_code == 0, printed.output
    found: list[dict[str, object]] = json.loads(printed.output)
    return found


def test_records_and_routes_of_a_running_network_are_those_of_its_scenario() -> None:
    scenario = load(ROUTED)
    vms = tuple(replace(vm, record=RecordType.L2ONLY) if vm.name == "red2" else vm for vm in scenario.policy.vms)
    policy = replace(scenario.policy, vms=vms)
    with NvgreNet(replace(scenario, policy=policy)) as net:
        records, routes = shown("records"), shown("routes")
        table = CliRunner().invoke(cli, ["show", "records"]).output

    told = policy.for_host("host1")
    own = [row for row in records if (row["run"], row["host"]) == (net.own.id, "host1")]
    wanted = {
        (r.vsid, None if r.ca == UNKNOWN_CA else str(r.ca), r.mac, None if told.is_local(r) else str(r.pa), str(r.type))
        for r in told.records
    }
    wanted |= {(r.vsid, str(ca), ROUTER_MAC, None, "router") for r in told.routers for ca in r.addresses}
    assert {(r["vsid"], r["ca"], r["mac"], r["pa"], r["type"]) for r in own} == wanted
    assert "unknown" in table
    assert "this host" in table

    found = [row for row in routes if (row["run"], row["host"]) == (net.own.id, "host1")]
    assert {(r["prefix"], r["vsid"], r["next_hop"]) for r in found} == {
        (str(r.prefix), r.vsid, r.next_hop and str(r.next_hop)) for r in told.routes
    }
    assert len({row["domain"] for row in found}) == 2


def test_records_and_routes_of_a_scenario_need_no_network() -> None:
    records, routes = shown("records", ROUTED), shown("routes", ROUTED)

    assert {"vsid": 5001, "ca": "10.0.1.250", "mac": "02:00:0a:00:01:fa", "pa": "192.168.0.2", "vm": "red_gw",
            "type": "gateway_wildcard"} in records  # fmt: skip
    assert {"tenant": "red", "prefix": "0.0.0.0/0", "vsid": 5001, "next_hop": "10.0.1.250", "metric": 10} in routes
    assert CliRunner().invoke(cli, ["show", "routes", "two_hosts"]).output == "there are no routes\n"
    assert CliRunner().invoke(cli, ["show", "counters", "two_hosts"]).exit_code != 0
