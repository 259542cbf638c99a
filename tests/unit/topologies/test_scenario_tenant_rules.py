"""What joins the parts of the overlay must agree: names, VSIDs, prefixes, addresses, MTUs, faults."""

# ruff: noqa: E501 - a message stands here in full, as a reader sees it

from pathlib import Path

import pytest

from .scenario_cases import FLAT, LEAKY, Case, edited, lines, wrong_with

TENANT_RULES: list[Case] = [
    Case(
        "a VSID of two subnets",
        {"vsid: 6000": "vsid: 5000"},
        [
            "16:24: tenants.blue.subnets.blue_net.vsid: VSID 5000 is that of red_net too (each virtual subnet has its own)"
        ],
    ),
    Case(
        "a subnet name in two tenants",
        {"blue_net": "red_net"},
        ["16:7: tenants.blue.subnets.red_net: a subnet red_net is there already (of tenant red)"],
    ),
    Case(
        "a VM name in two tenants",
        {"blue1": "red1"},
        ["18:7: tenants.blue.vms.red1: a VM red1 is there already (of tenant red)"],
    ),
    Case(
        "a VM named like a host",
        {"blue1:": "host1:"},
        ["18:7: tenants.blue.vms.host1: a host is called host1 too (each node has its own name)"],
    ),
    Case(
        "a second prefix of IPv4",
        {"[10.0.0.0/24]": "[10.0.0.0/24, 10.0.1.0/24]"},
        [
            "16:54: tenants.blue.subnets.blue_net.prefixes[1]: 10.0.1.0/24 is a second IPv4 prefix (a subnet has one per IP version)"
        ],
    ),
    Case(
        "a subnet that there is not",
        {"red1: {subnet: red_net": "red1: {subnet: rednet"},
        [
            "12:22: tenants.red.vms.red1.subnet: tenant red has no subnet rednet (did you mean red_net? there are: red_net)"
        ],
    ),
    Case(
        "a subnet of another tenant",
        {"red1: {subnet: red_net": "red1: {subnet: blue_net"},
        ["12:22: tenants.red.vms.red1.subnet: tenant red has no subnet blue_net (tenant blue has one)"],
    ),
    Case(
        "a host that there is not",
        {"red1: {subnet: red_net, host: host1": "red1: {subnet: red_net, host: hots1"},
        ["12:37: tenants.red.vms.red1.host: no host is called hots1 (did you mean host1? there are: host1, host2)"],
    ),
    Case(
        "a CA outside its prefix",
        {"ca: 10.0.0.1,": "ca: 10.0.1.1,"},
        ["18:50: tenants.blue.vms.blue1.ca: 10.0.1.1 is outside every prefix of blue_net (which has 10.0.0.0/24)"],
    ),
    Case(
        "a CA of a version without prefix",
        {"ca: 10.0.0.1,": "ca: fd00:10::1,"},
        ["18:50: tenants.blue.vms.blue1.ca: fd00:10::1 is outside every prefix of blue_net (which has 10.0.0.0/24)"],
    ),
    Case(
        "a CA that is the network address",
        {"ca: 10.0.0.1,": "ca: 10.0.0.0,"},
        ["18:50: tenants.blue.vms.blue1.ca: 10.0.0.0 is the network address of 10.0.0.0/24 (no interface can have it)"],
    ),
    Case(
        "a CA that is the broadcast address",
        {"ca: 10.0.0.1,": "ca: 10.0.0.255,"},
        [
            "18:50: tenants.blue.vms.blue1.ca: 10.0.0.255 is the broadcast address of 10.0.0.0/24 (no interface can have it)"
        ],
    ),
    Case(
        "a CA that is the anycast address of routers",
        {"fd00:10::1]": "'fd00:10::']"},
        [
            "12:59: tenants.red.vms.red1.ca[1]: fd00:10:: is the network address of fd00:10::/64 (no interface can have it)"
        ],
    ),
    Case(
        "a CA of two VMs",
        {"ca: 10.0.0.2,": "ca: 10.0.0.1,"},
        ["19:50: tenants.blue.vms.blue2.ca: 10.0.0.1 is a CA of blue1 too (both are in blue_net)"],
    ),
    Case(
        "a CA twice, and so the MAC made from it",
        {"ca: [10.0.0.2,": "ca: [10.0.0.1,"},
        ["13:49: tenants.red.vms.red2.ca[0]: 10.0.0.1 is a CA of red1 too (both are in red_net)"],
    ),
    Case(
        "a MAC address of two VMs",
        {"mac: 02:00:00:00:0b:02": "mac: 02:00:00:00:0b:01"},
        ["19:65: tenants.blue.vms.blue2.mac: 02:00:00:00:0b:01 is the MAC address of blue1 too (both are in blue_net)"],
    ),
    Case(
        "two CAs that make one MAC address",
        {
            "ca: [10.0.0.1, fd00:10::1]": "ca: ['fd00:10::1:0:1']",
            "ca: [10.0.0.2, fd00:10::2]": "ca: ['fd00:10::2:0:1']",
        },
        [
            "13:7: tenants.red.vms.red2: 02:00:00:00:00:01 is the MAC address of red1 too (it was made from the CA: give this VM a mac)"
        ],
    ),
    Case(
        "a group that is not administratively scoped",
        {"[10.0.0.0/24]}": "[10.0.0.0/24], group: 238.1.1.1}"},
        [
            "16:62: tenants.blue.subnets.blue_net.group: 238.1.1.1 is not administratively scoped (use 239.0.0.0 to 239.255.255.255, RFC 2365)"
        ],
    ),
    Case(
        "a group that is none",
        {"[10.0.0.0/24]}": "[10.0.0.0/24], group: 10.1.1.1}"},
        ["16:62: tenants.blue.subnets.blue_net.group: '10.1.1.1' is not a multicast address (such as 239.1.1.1)"],
    ),
    Case(
        "a group of IPv6 over PAs of IPv4",
        {"[10.0.0.0/24]}": "[10.0.0.0/24], group: 'ff05::1'}"},
        [
            "16:62: tenants.blue.subnets.blue_net.group: ff05::1 cannot be reached from host1, which has no IPv6 PA (blue_net has a VM there: give the host one, or the subnet another group)"
        ],
    ),
    Case(
        "a group of IPv6 that is not administratively scoped",
        {"[10.0.0.0/24]}": "[10.0.0.0/24], group: 'ff02::1'}"},
        [
            "16:62: tenants.blue.subnets.blue_net.group: ff02::1 is not administratively scoped (such as ff15::1: scope 4, 5 or 8, RFC 4291)"
        ],
    ),
    Case(
        "an inner group that is none, and one with a wrong group",
        {"[10.0.0.0/24]}": "[10.0.0.0/24], groups: {fives: 239.1.1.1, 239.5.5.5: 224.0.0.5}}"},
        [
            "16:64: tenants.blue.subnets.blue_net.groups.fives: 'fives' is not an IP address (such as 239.1.1.1)",
            "16:93: tenants.blue.subnets.blue_net.groups.'239.5.5.5': 224.0.0.5 is not administratively scoped (use 239.0.0.0 to 239.255.255.255, RFC 2365)",
        ],
    ),
    Case(
        "two inner groups with one MAC address and two groups",
        {"[10.0.0.0/24]}": "[10.0.0.0/24], groups: {239.5.5.5: 239.1.1.1, 239.133.5.5: 239.1.1.2}}"},
        [
            "16:99: tenants.blue.subnets.blue_net.groups.'239.133.5.5': 239.133.5.5 and 239.5.5.5 have one MAC address, 01:00:5e:05:05:05, and two groups of the underlay (an NVE cannot tell them apart: say 239.1.1.1 here)"
        ],
    ),
    Case(
        "an underlay that is one byte too small",
        {"hosts:": "mtu: {underlay: 1541, tenant: 1500}\nhosts:"},
        [
            "3:17: mtu.underlay: an underlay MTU of 1541 is too small for a tenant MTU of 1500 (NVGRE adds 42: at least 1542, or say undersized: true)"
        ],
    ),
    Case(
        "tenants' packets too large for any underlay",
        {"hosts:": "mtu: {tenant: 65500}\nhosts:"},
        [
            "3:15: mtu.tenant: a tenant MTU of 65500 is too large for any underlay (with the 42 that NVGRE adds it must not pass 65535)"
        ],
    ),
    Case(
        "hosts of one tenant that share no IP version",
        {"192.168.0.1/24": "fd00::1/64"},
        [
            "6:9: links[0]: host1 (fd00::1/64) and host2 (192.168.0.2/24) are not in one prefix (change a PA, or put a router between them)",
            "13:37: tenants.red.vms.red2.host: host2 has PAs of IPv4, and host1, where red has VMs too, of IPv6 (give both hosts PAs of the same IP versions)",
            "19:39: tenants.blue.vms.blue2.host: host2 has PAs of IPv4, and host1, where blue has VMs too, of IPv6 (give both hosts PAs of the same IP versions)",
        ],
    ),
    Case(
        "hosts of one tenant of which one has IPv6 too",
        {"192.168.0.1/24": "[192.168.0.1/24, fd00::1/64]"},
        [
            "6:9: links[0]: host1 (192.168.0.1/24, fd00::1/64) and host2 (192.168.0.2/24) are not in one prefix (change a PA, or put a router between them)",
            "13:37: tenants.red.vms.red2.host: host2 has PAs of IPv4, and host1, where red has VMs too, of IPv4 and IPv6 (give both hosts PAs of the same IP versions)",
            "19:39: tenants.blue.vms.blue2.host: host2 has PAs of IPv4, and host1, where blue has VMs too, of IPv4 and IPv6 (give both hosts PAs of the same IP versions)",
        ],
    ),
    Case(
        "a VM pinned to another host's PA",
        {"ca: 10.0.0.1,": "pa: 192.168.0.2, ca: 10.0.0.1,"},
        ["18:50: tenants.blue.vms.blue1.pa: 192.168.0.2 is no PA of host1 (it has 192.168.0.1)"],
    ),
    Case(
        "an underlay too small for IPv6 PAs",
        {"192.168.0.1/24": "fd00::1/64", "192.168.0.2/24": "fd00::2/64", "hosts:": "mtu: {underlay: 1542}\nhosts:"},
        [
            "3:17: mtu.underlay: an underlay MTU of 1542 is too small for a tenant MTU of 1500 (NVGRE adds 62: at least 1562, or say undersized: true)"
        ],
    ),
    Case(
        "an underlay that is too small on purpose, but also for the least packets of IPv6",
        {"hosts:": "mtu: {underlay: 1321, undersized: true}\nhosts:"},
        [
            "3:17: mtu.underlay: an underlay MTU of 1321 is too small for the IPv6 prefix of red_net (packets of 1280 bytes must get through: at least 1322, RFC 7676 section 3.2)"
        ],
    ),
    Case(
        "a tenant MTU too small for IPv6",
        {"hosts:": "mtu: {tenant: 1279}\nhosts:"},
        [
            "3:15: mtu.tenant: a tenant MTU of 1279 is too small for the IPv6 prefix of red_net (at least 1280, RFC 8200 section 5)"
        ],
    ),
    Case(
        "two VLAN ids of one subnet",
        {
            "red1: {subnet: red_net, host: host1, ca: [10.0.0.1, fd00:10::1]}": "red1: {host: host1, trunk: {10: {subnet: red_net, ca: 10.0.0.1}, 20: {subnet: red_net, ca: 10.0.0.3}}}"
        },
        [
            "12:85: tenants.red.vms.red1.trunk[20].subnet: red_net is that of its VLAN 10 too (one VLAN id per virtual subnet)"
        ],
    ),
    Case(
        "a subnet tagged and untagged",
        {
            "red1: {subnet: red_net, host: host1, ca: [10.0.0.1, fd00:10::1]}": "red1: {host: host1, subnet: red_net, ca: 10.0.0.1, trunk: {10: {subnet: red_net, ca: 10.0.0.3}}}"
        },
        [
            "12:79: tenants.red.vms.red1.trunk[10].subnet: red_net is that of its untagged frames too (one VLAN id per virtual subnet)"
        ],
    ),
    Case(
        "a VLAN in a subnet of another tenant",
        {
            "red1: {subnet: red_net, host: host1, ca: [10.0.0.1, fd00:10::1]}": "red1: {host: host1, trunk: {10: {subnet: blue_net, ca: 10.0.0.1}}}"
        },
        ["12:48: tenants.red.vms.red1.trunk[10].subnet: tenant red has no subnet blue_net (tenant blue has one)"],
    ),
    Case(
        "a CA of a VLAN outside its prefix",
        {
            "red1: {subnet: red_net, host: host1, ca: [10.0.0.1, fd00:10::1]}": "red1: {host: host1, trunk: {10: {subnet: red_net, ca: 10.9.0.1}}}"
        },
        [
            "12:61: tenants.red.vms.red1.trunk[10].ca: 10.9.0.1 is outside every prefix of red_net (which has 10.0.0.0/24, fd00:10::/64)"
        ],
    ),
    Case(
        "a subnet of untagged frames without a CA",
        {
            "red1: {subnet: red_net, host: host1, ca: [10.0.0.1, fd00:10::1]}": "red1: {host: host1, subnet: red_net, trunk: {10: {subnet: red_net, ca: 10.0.0.3}}}"
        },
        [
            "12:65: tenants.red.vms.red1.trunk[10].subnet: red_net is that of its untagged frames too (one VLAN id per virtual subnet)",
        ],
    ),
    Case(
        "a trunk port on a host that there is not",
        {
            "red1: {subnet: red_net, host: host1, ca: [10.0.0.1, fd00:10::1]}": "red1: {host: host9, trunk: {10: {subnet: red_net, ca: 10.0.0.3}}}"
        },
        ["12:20: tenants.red.vms.red1.host: no host is called host9 (did you mean host2? there are: host1, host2)"],
    ),
]


@pytest.mark.parametrize("case", TENANT_RULES, ids=lambda case: case.name)
def test_tenants_that_do_not_agree_are_named(case: Case, tmp_path: Path) -> None:
    assert wrong_with(edited(FLAT, case.edits), tmp_path) == lines(case)


@pytest.mark.parametrize(
    "groups",
    [
        "group: 239.1.1.1",
        "groups: {239.5.5.5: 239.1.1.1, 'ff02::5': 239.1.1.1}",
        "group: 239.1.1.1, groups: {239.5.5.5: 239.1.1.2, 239.133.5.5: 239.1.1.2}",
    ],
)
def test_groups_that_are_good(groups: str, tmp_path: Path) -> None:
    edits = {"[10.0.0.0/24]}": f"[10.0.0.0/24], {groups}}}", "fd00:10::/64]}": "fd00:10::/64], group: 239.1.1.1}"}
    assert wrong_with(edited(FLAT, edits), tmp_path) == []


FAULT_RULES: list[Case] = [
    Case(
        "a fault in a subnet that there is not",
        {"{subnet: red_net, record_of": "{subnet: rednet, record_of"},
        ["20:19: faults[0].subnet: no subnet is called rednet (did you mean red_net? there are: blue_net, red_net)"],
    ),
    Case(
        "a fault of a VM that there is not",
        {"record_of: red1": "record_of: red9"},
        ["20:39: faults[0].record_of: no VM is called red9 (did you mean red2? there are: blue1, blue2, red1, red2)"],
    ),
    Case(
        "a fault that points to nobody",
        {"points_to: blue1": "points_to: bleu1"},
        ["20:56: faults[0].points_to: no VM is called bleu1 (did you mean blue1? there are: blue1, blue2, red1, red2)"],
    ),
    Case(
        "a fault in a subnet that its VM is not in",
        {"{subnet: red_net, record_of": "{subnet: blue_net, record_of"},
        ["20:19: faults[0].subnet: blue_net has no record of red1 (red1 is in red_net)"],
    ),
    Case(
        "a fault that is none",
        {"points_to: blue1": "points_to: red1"},
        ["20:56: faults[0].points_to: red1 is where the record points anyway (name another VM)"],
    ),
    Case(
        "a fault of one record twice",
        {"points_to: blue1}]": "points_to: blue1}, {subnet: red_net, record_of: red1, points_to: blue2}]"},
        ["20:93: faults[1].record_of: the record of red1 is wrong already (by faults[0])"],
    ),
]


@pytest.mark.parametrize("case", FAULT_RULES, ids=lambda case: case.name)
def test_a_fault_must_be_one(case: Case, tmp_path: Path) -> None:
    assert wrong_with(edited(LEAKY, case.edits), tmp_path) == lines(case)
