"""What a scenario says of gateways must hold together: the networks they lead to, their addresses, and who gets there."""

# ruff: noqa: E501 - a message stands here in full, as a reader sees it

from pathlib import Path

import pytest

from nvgre_node.choices import GatewayMode, RecordType
from topologies import load

from .scenario_cases import Case, edited, lines, wrong_with

BORDER = """\
name: net
title: Two tenants with a gateway each
hosts: {host1: {pa: 192.168.0.1/24}, gw: {pa: 192.168.0.2/24}}
links: [[host1, gw]]
outside:
  internet: {address: [203.0.113.1/24, '2001:db8::1/64']}
  lan: {address: 198.51.100.1/24}
tenants:
  red:
    router: true
    routes: [{to: 0.0.0.0/0, via: 10.0.1.2}]
    subnets:
      red_net: {vsid: 5000, prefixes: [10.0.0.0/24]}
      red_out: {vsid: 5001, prefixes: [10.0.1.0/24]}
    vms:
      red1: {subnet: red_net, host: host1, ca: 10.0.0.11}
      red_gw:
        subnet: red_out
        host: gw
        ca: 10.0.1.2
        gateway: {to: internet, address: 203.0.113.11/24, mode: nat, forward: [{port: 8080, to: 10.0.0.11:80}]}
  blue:
    router: true
    routes: [{to: 0.0.0.0/0, via: 10.0.1.2}]
    subnets:
      blue_net: {vsid: 6000, prefixes: [10.0.0.0/24]}
      blue_out: {vsid: 6001, prefixes: [10.0.1.0/24]}
    vms:
      blue1: {subnet: blue_net, host: host1, ca: 10.0.0.11}
      blue_gw: {subnet: blue_out, host: gw, ca: 10.0.1.2, gateway: {to: internet, address: 203.0.113.12/24, mode: nat}}
"""

RULES: list[Case] = [
    Case(
        "a gateway to nowhere",
        {"gateway: {to: internet, address: 203.0.113.12": "gateway: {to: intranet, address: 203.0.113.12"},
        ["30:73: tenants.blue.vms.blue_gw.gateway.to: no physical network is called intranet (did you mean internet? there are: internet, lan)"],
    ),
    Case(
        "no network outside",
        {BORDER[BORDER.index("outside:"):BORDER.index("tenants:")]: ""},
        [
            "18:23: tenants.red.vms.red_gw.gateway.to: no physical network is called internet (say outside: {NAME: {address: ...}})",
            "27:73: tenants.blue.vms.blue_gw.gateway.to: no physical network is called internet (say outside: {NAME: {address: ...}})",
        ],
    ),
    Case(
        "an address that is not of the network",
        {"203.0.113.12/24": "198.51.100.12/24"},
        ["30:92: tenants.blue.vms.blue_gw.gateway.address: 198.51.100.12/24 is not in the prefix of internet (which has 203.0.113.0/24, 2001:db8::/64)"],
    ),
    Case(
        "an address of another length",
        {"203.0.113.12/24": "203.0.113.12/25"},
        ["30:92: tenants.blue.vms.blue_gw.gateway.address: 203.0.113.12/25 is not in the prefix of internet (which has 203.0.113.0/24, 2001:db8::/64)"],
    ),
    Case(
        "the address of another gateway",
        {"203.0.113.12/24": "203.0.113.11/24"},
        ["30:92: tenants.blue.vms.blue_gw.gateway.address: 203.0.113.11 is the address of red_gw too (each has its own)"],
    ),
    Case(
        "the address of the host outside",
        {"203.0.113.12/24": "203.0.113.1/24"},
        ["30:92: tenants.blue.vms.blue_gw.gateway.address: 203.0.113.1 is the address of the host of internet too (each has its own)"],
    ),
    Case(
        "two addresses of one IP version",
        {"203.0.113.12/24": "[203.0.113.12/24, 203.0.113.13/24]"},
        ["30:110: tenants.blue.vms.blue_gw.gateway.address[1]: 203.0.113.13/24 is a second IPv4 address (one per IP version)"],
    ),
    Case(
        "two addresses of one IP version, outside",
        {"198.51.100.1/24": "[198.51.100.1/24, 198.51.100.2/24]"},
        ["7:36: outside.lan.address[1]: 198.51.100.2/24 is a second IPv4 address (one per IP version)"],
    ),
    Case(
        "an address that no interface can have",
        {"203.0.113.12/24": "203.0.113.255/24"},
        ["30:92: tenants.blue.vms.blue_gw.gateway.address: 203.0.113.255 is the broadcast address of 203.0.113.0/24 (no interface can have it)"],
    ),
    Case(
        "a network called as a host is",
        {"lan:": "host1:"},
        ["7:3: outside.host1: a host is called host1 too (each node has its own name)"],
    ),
    Case(
        "a network called as a VM is",
        {"lan:": "red1:"},
        ["7:3: outside.red1: a VM is called red1 too (each node has its own name)"],
    ),
    Case(
        "a tenant without a router",
        {"  blue:\n    router: true\n    routes: [{to: 0.0.0.0/0, via: 10.0.1.2}]\n": "  blue:\n"},
        ["28:59: tenants.blue.vms.blue_gw.gateway: tenant blue has no router that could lead to it (say router: true, and routes)"],
    ),
    Case(
        "a tenant without a route to it",
        {"  blue:\n    router: true\n    routes: [{to: 0.0.0.0/0, via: 10.0.1.2}]\n": "  blue:\n    router: true\n"},
        ["29:59: tenants.blue.vms.blue_gw.gateway: no route of blue leads to it (say routes: [{to: 0.0.0.0/0, via: 10.0.1.2}])"],
    ),
    Case(
        "a record that is not a gateway's",
        {"ca: 10.0.1.2, gateway": "ca: 10.0.1.2, record: static, gateway"},
        ["30:67: tenants.blue.vms.blue_gw.record: the record of a gateway is not static (leave it out: it is gateway_wildcard)"],
    ),
    Case(
        "a trunk port",
        {"ca: 10.0.1.2, gateway": "ca: 10.0.1.2, trunk: {10: {subnet: blue_net, ca: 10.0.0.12}}, gateway"},
        ["30:107: tenants.blue.vms.blue_gw.gateway: a gateway has no trunk port (one gateway per virtual subnet)"],
    ),
    Case(
        "a prefix that is outside too",
        {"blue_net: {vsid: 6000, prefixes: [10.0.0.0/24]}": "blue_net: {vsid: 6000, prefixes: [203.0.0.0/16]}", "blue1: {subnet: blue_net, host: host1, ca: 10.0.0.11}": "blue1: {subnet: blue_net, host: host1, ca: 203.0.0.11}"},
        ["30:73: tenants.blue.vms.blue_gw.gateway.to: 203.0.113.0/24 overlaps 203.0.0.0/16 of blue_net (inside and outside must be told apart)"],
    ),
    Case(
        "two tenants that nothing tells apart",
        {"mode: nat, forward: [{port: 8080, to: 10.0.0.11:80}]": "mode: forward", "mode: nat}": "mode: forward}"},
        ["30:115: tenants.blue.vms.blue_gw.gateway.mode: 10.0.0.0/24 is behind red_gw too, which leads to internet untranslated (use nat, or another physical network)"],
    ),
    Case(
        "ports without translation",
        {"mode: nat, forward": "mode: forward, forward"},
        ["21:74: tenants.red.vms.red_gw.gateway.forward: nothing is translated in mode forward (ports are forwarded in mode nat)"],
    ),
    Case(
        "a port of nobody",
        {"to: 10.0.0.11:80": "to: 10.0.0.12:80"},
        ["21:97: tenants.red.vms.red_gw.gateway.forward[0].to: no VM of tenant red has the CA 10.0.0.12 (there are: 10.0.0.11, 10.0.1.2)"],
    ),
    Case(
        "one port twice",
        {"to: 10.0.0.11:80}": "to: 10.0.0.11:80}, {port: 8080, to: 10.0.0.11:81}"},
        ["21:119: tenants.red.vms.red_gw.gateway.forward[1].port: tcp port 8080 is that of forward[0] too (a port leads to one VM)"],
    ),
    Case(
        "a port of an IP version that is not outside",
        {"prefixes: [10.0.0.0/24]}\n      red_out": "prefixes: [10.0.0.0/24, 'fd00:10::/64']}\n      red_out", "ca: 10.0.0.11}\n      red_gw": "ca: [10.0.0.11, 'fd00:10::11']}\n      red_gw", "to: 10.0.0.11:80": "to: '[fd00:10::11]:80'"},
        ["21:97: tenants.red.vms.red_gw.gateway.forward[0].to: red_gw has not IPv6 on either side (give it a CA and an address outside)"],
    ),
    Case(
        "no port",
        {"to: 10.0.0.11:80": "to: 10.0.0.11"},
        ["21:97: tenants.red.vms.red_gw.gateway.forward[0].to: '10.0.0.11' is not a CA with a port (such as 10.1.1.11:80 or '[fd00::11]:80')"],
    ),
    Case(
        "a port that is too large",
        {"port: 8080": "port: 80800"},
        ["21:87: tenants.red.vms.red_gw.gateway.forward[0].port: a port of 80800 is too large (use 1 to 65535)"],
    ),
    Case(
        "no mode",
        {"address: 203.0.113.12/24, mode: nat": "address: 203.0.113.12/24"},
        ["30:68: tenants.blue.vms.blue_gw.gateway.mode: is missing (such as mode: nat)"],
    ),
    Case(
        "another mode",
        {"address: 203.0.113.12/24, mode: nat": "address: 203.0.113.12/24, mode: bridge"},
        ["30:115: tenants.blue.vms.blue_gw.gateway.mode: 'bridge' is not 'nat', 'forward' or 'site_to_site'"],
    ),
    Case(
        "every mistake in one pass",
        {"address: 203.0.113.12/24": "address: 203.0.113.11/25", "to: 10.0.0.11:80": "to: 10.0.0.12:80", "lan:": "gw:"},
        [
            "7:3: outside.gw: a host is called gw too (each node has its own name)",
            "21:97: tenants.red.vms.red_gw.gateway.forward[0].to: no VM of tenant red has the CA 10.0.0.12 (there are: 10.0.0.11, 10.0.1.2)",
            "30:92: tenants.blue.vms.blue_gw.gateway.address: 203.0.113.11/25 is not in the prefix of internet (which has 203.0.113.0/24, 2001:db8::/64)",
            "30:92: tenants.blue.vms.blue_gw.gateway.address: 203.0.113.11 is the address of red_gw too (each has its own)",
        ],
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", RULES, ids=lambda case: case.name)
def test_gateways_that_do_not_hold_together_are_named(case: Case, tmp_path: Path) -> None:
    assert wrong_with(edited(BORDER, case.edits), tmp_path) == lines(case)


ALLOWED = {
    "as it is": {},
    "both IP versions": {"203.0.113.12/24": "[203.0.113.12/24, '2001:db8::12/64']"},
    "one tenant in each physical network, untranslated": {
        "mode: nat, forward: [{port: 8080, to: 10.0.0.11:80}]": "mode: forward",
        "internet, address: 203.0.113.12/24, mode: nat": "lan, address: 198.51.100.12/24, mode: forward",
    },
    "one port of each transport": {"to: 10.0.0.11:80}": "to: 10.0.0.11:80}, {port: 8080, to: 10.0.0.11:80, transport: udp}"},
    "the record said": {"ca: 10.0.1.2, gateway": "ca: 10.0.1.2, record: gateway_wildcard, gateway"},
}  # fmt: skip


@pytest.mark.parametrize("edits", ALLOWED.values(), ids=ALLOWED)
def test_this_is_allowed(edits: dict[str, str], tmp_path: Path) -> None:
    assert wrong_with(edited(BORDER, edits), tmp_path) == []


def test_a_gateways_record_says_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "net.yaml").write_text(BORDER)
    policy = load(tmp_path / "net.yaml").policy

    assert {vm.name for vm in policy.vms if vm.record is RecordType.GATEWAY_WILDCARD} == {"red_gw", "blue_gw"}
    assert {vm.name: vm.leg.mode for vm in policy.vms if vm.leg} == dict.fromkeys(
        ("red_gw", "blue_gw"), GatewayMode.NAT
    )
