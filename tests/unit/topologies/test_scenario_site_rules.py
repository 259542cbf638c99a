"""What a scenario says of tenants' sites must hold together: what they are behind, and whose gateway leads there."""

# ruff: noqa: E501 - a message stands here in full, as a reader sees it

from pathlib import Path

import pytest

from topologies import load

from .scenario_cases import Case, edited, lines, wrong_with

HOME = """\
name: net
title: Two tenants with a site each
hosts: {host1: {pa: 192.168.0.1/24}, gw: {pa: 192.168.0.2/24}}
links: [[host1, gw]]
outside:
  internet: {address: 203.0.113.1/24}
  hq1: {address: 10.9.0.5/24, behind: internet, at: 203.0.113.66/24}
  hq2: {address: 10.9.0.5/24, behind: internet, at: 203.0.113.77/24}
tenants:
  red:
    router: true
    routes: [{to: 0.0.0.0/0, via: 10.0.1.2}]
    subnets:
      red_out: {vsid: 5001, prefixes: [10.0.1.0/24]}
    vms:
      red_gw: {subnet: red_out, host: gw, ca: 10.0.1.2, gateway: {to: hq1, address: 203.0.113.11/24, mode: site_to_site}}
  blue:
    router: true
    routes: [{to: 0.0.0.0/0, via: 10.0.1.2}]
    subnets:
      blue_out: {vsid: 6001, prefixes: [10.0.1.0/24]}
    vms:
      blue_gw: {subnet: blue_out, host: gw, ca: 10.0.1.2, gateway: {to: hq2, address: 203.0.113.12/24, mode: site_to_site}}
"""

_HQ2 = "hq2: {address: 10.9.0.5/24, behind: internet, at: 203.0.113.77/24}"
RULES: list[Case] = [
    Case(
        "a site behind nothing",
        {_HQ2: "hq2: {address: 10.9.0.5/24, behind: intranet, at: 203.0.113.77/24}"},
        ["8:39: outside.hq2.behind: no physical network is called intranet (did you mean internet? there are: internet)"],
    ),
    Case(
        "a site behind a site",
        {_HQ2: "hq2: {address: 10.9.0.5/24, behind: hq1, at: 10.9.0.7/24}"},
        [
            "8:39: outside.hq2.behind: hq1 is a site itself (name the network between the sites)",
        ],
    ),
    Case(
        "a site behind itself",
        {_HQ2: "hq2: {address: 10.9.0.5/24, behind: hq2, at: 10.9.0.7/24}"},
        [
            "8:39: outside.hq2.behind: is behind itself (name the network between the sites)",
        ],
    ),
    Case(
        "a site that is nowhere",
        {_HQ2: "hq2: {address: 10.9.0.5/24, behind: internet}"},
        ["8:8: outside.hq2.at: is missing (such as at: 203.0.113.66/24)"],
    ),
    Case(
        "a site that is behind nobody knows what",
        {_HQ2: "hq2: {address: 10.9.0.5/24, at: 203.0.113.77/24}"},
        ["8:8: outside.hq2.behind: is missing (such as behind: NAME, one of outside)"],
    ),
    Case(
        "an address of another network",
        {"at: 203.0.113.77/24": "at: 198.51.100.77/24"},
        ["8:53: outside.hq2.at: 198.51.100.77/24 is not in the prefix of internet (which has 203.0.113.0/24)"],
    ),
    Case(
        "the address of another site",
        {"at: 203.0.113.77/24": "at: 203.0.113.66/24"},
        ["8:53: outside.hq2.at: 203.0.113.66 is the address of hq1 too (each has its own)"],
    ),
    Case(
        "the address of a gateway",
        {"at: 203.0.113.77/24": "at: 203.0.113.11/24"},
        ["16:85: tenants.red.vms.red_gw.gateway.address: 203.0.113.11 is the address of hq2 too (each has its own)"],
    ),
    Case(
        "a gateway's address that is not of the network between",
        {"203.0.113.12/24": "10.9.0.12/24"},
        ["23:87: tenants.blue.vms.blue_gw.gateway.address: 10.9.0.12/24 is not in the prefix of internet (which has 203.0.113.0/24)"],
    ),
    Case(
        "a site without a tunnel",
        {"203.0.113.12/24, mode: site_to_site": "203.0.113.12/24, mode: nat"},
        ["23:110: tenants.blue.vms.blue_gw.gateway.mode: hq2 is a site (say mode: site_to_site)"],
    ),
    Case(
        "a tunnel to no site",
        {"gateway: {to: hq2": "gateway: {to: internet"},
        ["23:115: tenants.blue.vms.blue_gw.gateway.mode: internet is not a site (say behind and at there, or another mode)"],
    ),
    Case(
        "one site of two tenants",
        {"gateway: {to: hq2": "gateway: {to: hq1"},
        ["23:73: tenants.blue.vms.blue_gw.gateway.to: hq1 is the site of red_gw too (a site is one tenant's, and has one gateway)"],
    ),
    Case(
        "a site with the tenant's own prefix",
        {_HQ2: "hq2: {address: 10.0.1.5/24, behind: internet, at: 203.0.113.77/24}"},
        ["23:73: tenants.blue.vms.blue_gw.gateway.to: 10.0.1.0/24 overlaps 10.0.1.0/24 of blue_out (inside and outside must be told apart)"],
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", RULES, ids=lambda case: case.name)
def test_sites_that_do_not_hold_together_are_named(case: Case, tmp_path: Path) -> None:
    assert wrong_with(edited(HOME, case.edits), tmp_path) == lines(case)


def test_sites_may_have_equal_addresses(tmp_path: Path) -> None:
    (tmp_path / "net.yaml").write_text(HOME)
    outside = load(tmp_path / "net.yaml").policy.outside

    assert [(network.name, network.behind, [str(own) for own in network.at]) for network in outside] == [
        ("internet", "", []),
        ("hq1", "internet", ["203.0.113.66/24"]),
        ("hq2", "internet", ["203.0.113.77/24"]),
    ]
