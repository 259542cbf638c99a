"""What a scenario says of servers without an NVE must hold together: where the NVE is, and whose a VLAN id is."""

# ruff: noqa: E501 - a message stands here in full, as a reader sees it

from pathlib import Path

import pytest

from topologies import load

from .scenario_cases import Case, edited, lines, wrong_with

RACKED = """\
name: net
title: A server behind a switch
hosts: {host1: {pa: 192.168.0.1/24}, tor: {pa: 192.168.0.2/24}}
links: [[host1, tor]]
servers: {rack1: {host: tor}}
tenants:
  red:
    subnets:
      red_net: {vsid: 5000, prefixes: [10.0.0.0/24]}
    vms:
      red1: {subnet: red_net, host: host1, ca: 10.0.0.1}
      red2: {subnet: red_net, host: rack1, vlan: 10, ca: 10.0.0.2}
      red3: {subnet: red_net, host: rack1, vlan: 20, ca: 10.0.0.3}
"""

RULES: list[Case] = [
    Case(
        "a server of no host",
        {"{host: tor}": "{host: tour}"},
        ["5:25: servers.rack1.host: no host is called tour (did you mean tor? there are: host1, tor)"],
    ),
    Case(
        "a server of a server",
        {"{host: tor}}": "{host: tor}, rack2: {host: rack1}}"},
        ["5:45: servers.rack2.host: no host is called rack1 (there are: host1, tor)"],
    ),
    Case(
        "a server called as a host is",
        {"rack1": "host1"},
        [
            "5:11: servers.host1: a host is called host1 too (each node has its own name)",
            "12:44: tenants.red.vms.red2.vlan: host1 is a host, and its port needs none (name a server, or see trunk)",
            "13:44: tenants.red.vms.red3.vlan: host1 is a host, and its port needs none (name a server, or see trunk)",
        ],
    ),
    Case(
        "a server called as a VM is",
        {"servers: {rack1: {host: tor}}": "servers: {rack1: {host: tor}, red1: {host: tor}}"},
        ["5:31: servers.red1: a VM is called red1 too (each node has its own name)"],
    ),
    Case(
        "a VM without a VLAN",
        {"rack1, vlan: 10": "rack1"},
        ["12:13: tenants.red.vms.red2.vlan: is missing (such as vlan: 10, which rack1 has for no other VM)"],
    ),
    Case(
        "a VLAN that is another VM's",
        {"vlan: 20": "vlan: 10"},
        ["13:50: tenants.red.vms.red3.vlan: 10 is the VLAN id of red2 too (both are on rack1)"],
    ),
    Case(
        "a VLAN on a host",
        {"host: host1,": "host: host1, vlan: 10,"},
        ["11:44: tenants.red.vms.red1.vlan: host1 is a host, and its port needs none (name a server, or see trunk)"],
    ),
    Case(
        "a VLAN that is none",
        {"vlan: 20": "vlan: 4095"},
        ["13:50: tenants.red.vms.red3.vlan: a VLAN id of 4095 is too large (use 1 to 4094)"],
    ),
    Case(
        "a trunk port on a server",
        {"subnet: red_net, host: rack1, vlan: 20, ca: 10.0.0.3": "host: rack1, trunk: {5: {subnet: red_net, ca: 10.0.0.3}}"},
        ["13:27: tenants.red.vms.red3.trunk: a VM on a server has no trunk port: rack1 tags its frames (say vlan: 10)"],
    ),
    Case(
        "a VM on nothing",
        {"host: rack1, vlan: 20": "host: rack9, vlan: 20"},
        ["13:37: tenants.red.vms.red3.host: no host is called rack9 (there are: host1, tor)"],
    ),
    Case(
        "every mistake in one pass",
        {"{host: tor}": "{host: tour}", "vlan: 20": "vlan: 10", "host: host1,": "host: host1, vlan: 10,"},
        [
            "5:25: servers.rack1.host: no host is called tour (did you mean tor? there are: host1, tor)",
            "11:44: tenants.red.vms.red1.vlan: host1 is a host, and its port needs none (name a server, or see trunk)",
            "13:50: tenants.red.vms.red3.vlan: 10 is the VLAN id of red2 too (both are on rack1)",
        ],
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", RULES, ids=lambda case: case.name)
def test_servers_that_do_not_hold_together_are_named(case: Case, tmp_path: Path) -> None:
    assert wrong_with(edited(RACKED, case.edits), tmp_path) == lines(case)


def test_each_vm_of_a_server_has_a_port_of_its_own_on_one_interface(tmp_path: Path) -> None:
    (tmp_path / "net.yaml").write_text(RACKED)
    policy = load(tmp_path / "net.yaml").policy

    ports = [(port.name, port.interface, port.vid) for port in policy.for_host("tor").ports]
    assert ports == [("red2", "rack1", 10), ("red3", "rack1", 20)]
    assert [(record.vm, str(record.pa)) for record in policy.records] == [
        ("red1", "192.168.0.1"),
        ("red2", "192.168.0.2"),
        ("red3", "192.168.0.2"),
    ]
