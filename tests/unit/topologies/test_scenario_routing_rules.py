"""What a scenario says of routing between virtual subnets must hold together: the router's addresses, and its routes."""

# ruff: noqa: E501 - a message stands here in full, as a reader sees it

from pathlib import Path

import pytest

from nvgre_node.routing import ROUTER_MAC
from topologies import load

from .scenario_cases import Case, edited, lines, wrong_with

JOINED = """\
name: net
title: Two virtual subnets with a router
hosts: {host1: {pa: 192.168.0.1/24}, host2: {pa: 192.168.0.2/24}}
links: [[host1, host2]]
tenants:
  red:
    router: true
    routes: [{to: 0.0.0.0/0, via: 10.0.1.3, metric: 10}]
    subnets:
      red_net: {vsid: 5000, prefixes: [10.0.0.0/24, fd00:10::/64]}
      red_back: {vsid: 5001, prefixes: [10.0.1.0/24]}
    vms:
      red2: {subnet: red_net, host: host1, ca: [10.0.0.2, fd00:10::2]}
      red3: {subnet: red_back, host: host1, ca: 10.0.1.3}
  blue:
    subnets:
      blue_net: {vsid: 6000, prefixes: [10.0.0.0/24]}
    vms:
      blue1: {subnet: blue_net, host: host1, ca: 10.0.0.1}
"""

RULES: list[Case] = [
    Case(
        "a VM at the router's address",
        {"ca: [10.0.0.2, ": "ca: [10.0.0.1, "},
        ["13:49: tenants.red.vms.red2.ca[0]: 10.0.0.1 is the router's address in red_net (the first of a prefix: use another)"],
    ),
    Case(
        "a VM at the router's address, IPv6",
        {"fd00:10::2]": "fd00:10::1]"},
        ["13:59: tenants.red.vms.red2.ca[1]: fd00:10::1 is the router's address in red_net (the first of a prefix: use another)"],
    ),
    Case(
        "a VM with the router's MAC address",
        {"ca: 10.0.1.3}": f"ca: 10.0.1.3, mac: {ROUTER_MAC.upper()}}}"},
        ["14:64: tenants.red.vms.red3.mac: 02:4e:56:47:52:45 is the router's MAC address (use another)"],
    ),
    Case(
        "subnets that overlap",
        {"prefixes: [10.0.1.0/24]": "prefixes: [10.0.0.0/23]"},
        ["11:41: tenants.red.subnets.red_back.prefixes[0]: 10.0.0.0/23 overlaps 10.0.0.0/24 of red_net (a router cannot tell them apart in red)"],
    ),
    Case(
        "routes without a router",
        {"    router: true\n": ""},
        ["7:5: tenants.red.routes: tenant red has no router (say router: true)"],
    ),
    Case(
        "a next hop that nobody has",
        {"via: 10.0.1.3,": "via: 10.0.1.9,"},
        ["8:35: tenants.red.routes[0].via: no VM of tenant red has the CA 10.0.1.9 (there are: 10.0.0.2, 10.0.1.3, fd00:10::2)"],
    ),
    Case(
        "a next hop of another tenant",
        {"via: 10.0.1.3,": "via: 10.0.0.1,"},
        ["8:35: tenants.red.routes[0].via: no VM of tenant red has the CA 10.0.0.1 (blue1 is another tenant's)"],
    ),
    Case(
        "a next hop of another IP version",
        {"via: 10.0.1.3,": "via: 'fd00:10::2',"},
        ["8:35: tenants.red.routes[0].via: fd00:10::2 is no next hop for 0.0.0.0/0 (both must be of one IP version)"],
    ),
    Case(
        "a next hop that no record knows",
        {"ca: 10.0.1.3}": "ca: 10.0.1.3, record: l2only}"},
        ["8:35: tenants.red.routes[0].via: no record knows the CA 10.0.1.3 (red3 has an l2only record)"],
    ),
    Case(
        "two routes that nothing tells apart",
        {"metric: 10}]": "metric: 10}, {to: 0.0.0.0/0, via: 10.0.0.2, metric: 10}]"},
        ["8:58: tenants.red.routes[1]: routes[0] leads to 0.0.0.0/0 with metric 10 too (the lowest metric wins: give them different ones)"],
    ),
    Case(
        "a metric that is none",
        {"metric: 10": "metric: -1"},
        ["8:53: tenants.red.routes[0].metric: a metric of -1 is too small (use 0 to 65535)"],
    ),
    Case(
        "a route to nowhere",
        {"{to: 0.0.0.0/0, via": "{via"},
        ["8:14: tenants.red.routes[0].to: is missing (such as to: 0.0.0.0/0)"],
    ),
    Case(
        "a record of no type",
        {"ca: 10.0.1.3}": "ca: 10.0.1.3, record: wild}"},
        ["14:67: tenants.red.vms.red3.record: 'wild' is not 'static', 'dynamic', 'l2only' or 'gateway_wildcard'"],
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", RULES, ids=lambda case: case.name)
def test_routing_that_does_not_hold_together_is_named(case: Case, tmp_path: Path) -> None:
    assert wrong_with(edited(JOINED, case.edits), tmp_path) == lines(case)


ALLOWED = {
    "as it is": {},
    "two routes to one prefix": {"metric: 10}]": "metric: 10}, {to: 0.0.0.0/0, via: 10.0.0.2, metric: 20}]"},
    "no routes": {"    routes: [{to: 0.0.0.0/0, via: 10.0.1.3, metric: 10}]\n": ""},
    "the router's MAC address where there is no router": {"ca: 10.0.0.1}": f"ca: 10.0.0.1, mac: {ROUTER_MAC}}}"},
}


@pytest.mark.parametrize("edits", ALLOWED.values(), ids=ALLOWED)
def test_this_is_allowed(edits: dict[str, str], tmp_path: Path) -> None:
    assert wrong_with(edited(JOINED, edits), tmp_path) == []


def test_vms_of_a_routed_tenant_have_the_router_as_gateway(tmp_path: Path) -> None:
    (tmp_path / "net.yaml").write_text(JOINED)
    policy = load(tmp_path / "net.yaml").policy

    gateways = {vm.name: [str(address) for address in policy.gateways_of(vm)] for vm in policy.vms}
    assert gateways == {"red2": ["10.0.0.1", "fd00:10::1"], "red3": ["10.0.1.1"], "blue1": []}
