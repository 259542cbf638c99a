"""`show counters` reads, from another process, what the NVEs of a running network count."""

from __future__ import annotations

import json

from click.testing import CliRunner

from nvgre_node.dataplane.base import NO_SUBNET
from nvgre_node.net import NvgreNet
from testbed.cli import cli
from testbed.verbs import show
from topologies import load


def test_the_counters_from_outside_are_those_from_inside() -> None:
    with NvgreNet(load("two_hosts")) as net:
        assert net["red1"].ping("10.0.0.2")
        inside = net.counters()
        rows = [row for row in show.rows() if row.run == net.own.id]
        printed = CliRunner().invoke(cli, ["show", "counters", "--json"])

    outside: dict[str, dict[int, object]] = {}
    for row in rows:
        outside.setdefault(row.host, {})[row.vsid] = row.counters
    assert set(inside["host1"]) == {NO_SUBNET, 5000, 6000}
    assert inside["host1"][5000].encapsulated > 0
    assert outside == inside
    assert printed.exit_code == 0
    assert {"host1", "host2"} <= {row["host"] for row in json.loads(printed.output) if row["run"] == net.own.id}


def test_a_network_that_has_ended_is_not_shown() -> None:
    with NvgreNet(load("two_hosts")) as net:
        pass
    assert not [row for row in show.rows() if row.run == net.own.id]
