"""A wrong value is named with its place, what is wrong with it, and what would do."""

# ruff: noqa: E501 - a message stands here in full, as a reader sees it

from pathlib import Path

import pytest

from nvgre_node.choices import Deviation
from nvgre_node.dataplane import DATAPLANES

from .scenario_cases import FLAT, Case, edited, lines, wrong_with

*_FIRST, _LAST = map(repr, map(str, Deviation))
DEVIATIONS = f"{', '.join(_FIRST)} or {_LAST}"

VALUES: list[Case] = [
    Case(
        "a VSID that is reserved",
        {"vsid: 5000": "vsid: 4095"},
        [
            "10:23: tenants.red.subnets.red_net.vsid: VSID 4095 is reserved: 0 to 4095 are kept for future use (RFC 7637 section 3.4) (use 4096 to 16777214)"
        ],
    ),
    Case(
        "the VSID of vendors",
        {"vsid: 5000": "vsid: 0xffffff"},
        [
            "10:23: tenants.red.subnets.red_net.vsid: VSID 16777215 is reserved for vendors' NVE-to-NVE communication (RFC 7637 section 3.4) (use 4096 to 16777214)"
        ],
    ),
    Case(
        "a VSID of more than 24 bits",
        {"vsid: 5000": "vsid: 16777216"},
        ["10:23: tenants.red.subnets.red_net.vsid: VSID 16777216 does not fit in 24 bits (use 4096 to 16777214)"],
    ),
    Case(
        "a VSID in quotes",
        {"vsid: 5000": "vsid: '5000'"},
        ["10:23: tenants.red.subnets.red_net.vsid: '5000' is not a whole number (use 4096 to 16777214)"],
    ),
    Case(
        "a VSID without value",
        {"vsid: 5000": "vsid: null"},
        ["10:23: tenants.red.subnets.red_net.vsid: has no value (use 4096 to 16777214)"],
    ),
    Case(
        "a PA without prefix length",
        {"192.168.0.1/24": "192.168.0.1"},
        ["4:15: hosts.host1.pa: '192.168.0.1' is not an IP address with prefix length (such as 192.168.1.10/24)"],
    ),
    Case(
        "a PA that is no address",
        {"192.168.0.1/24": "192.168.0.300/24"},
        ["4:15: hosts.host1.pa: '192.168.0.300/24' is not an IP address with prefix length (such as 192.168.1.10/24)"],
    ),
    Case(
        "a PA that only the link knows",
        {"192.168.0.1/24": "fe80::1/64"},
        ["4:15: hosts.host1.pa: fe80::1 is not a unicast address (such as 192.168.1.10/24)"],
    ),
    Case(
        "more PAs than an NVE may have",
        {"192.168.0.1/24": f"[{', '.join(f'192.168.0.{n}/24' for n in range(11, 20))}]"},
        ["4:15: hosts.host1.pa: has 9 entries, 8 are the most"],
    ),
    Case(
        "a VM pinned to what is no address",
        {"ca: 10.0.0.1,": "pa: host1, ca: 10.0.0.1,"},
        [
            "18:50: tenants.blue.vms.blue1.pa: 'host1' is not an IP address (one of the host's PAs, without prefix length)"
        ],
    ),
    Case(
        "a PA that is multicast",
        {"192.168.0.1/24": "224.0.0.1/24"},
        ["4:15: hosts.host1.pa: 224.0.0.1 is not a unicast address (such as 192.168.1.10/24)"],
    ),
    Case(
        "a PA that is the network address",
        {"192.168.0.1/24": "192.168.0.0/24"},
        ["4:15: hosts.host1.pa: 192.168.0.0 is the network address of 192.168.0.0/24 (no interface can have it)"],
    ),
    Case(
        "a PA that is the broadcast address",
        {"192.168.0.1/24": "192.168.0.255/24"},
        ["4:15: hosts.host1.pa: 192.168.0.255 is the broadcast address of 192.168.0.0/24 (no interface can have it)"],
    ),
    Case(
        "a CA that is no address",
        {"ca: 10.0.0.1,": "ca: 10.0.0,"},
        ["18:50: tenants.blue.vms.blue1.ca: '10.0.0' is not an IP address (such as 10.1.1.11 or fd00::11)"],
    ),
    Case(
        "a CA with prefix length",
        {"ca: 10.0.0.1,": "ca: 10.0.0.1/24,"},
        [
            "18:50: tenants.blue.vms.blue1.ca: '10.0.0.1/24' has a prefix length (write the address alone: its subnet has the prefix)"
        ],
    ),
    Case(
        "a CA that is multicast",
        {"fd00:10::2]": "ff02::1]"},
        [
            "13:59: tenants.red.vms.red2.ca[1]: 'ff02::1' is not a unicast address that a VM can have (such as 10.1.1.11)"
        ],
    ),
    Case("a VM without a CA", {"ca: 10.0.0.1,": "ca: [],"}, ["18:50: tenants.blue.vms.blue1.ca: is empty"]),
    Case(
        "a prefix with host bits",
        {"10.0.0.0/24]": "10.0.0.1/24]"},
        [
            "16:41: tenants.blue.subnets.blue_net.prefixes[0]: 10.0.0.1/24 has bits set after the prefix (did you mean 10.0.0.0/24?)"
        ],
    ),
    Case(
        "a prefix without length",
        {"10.0.0.0/24]": "10.0.0.0]"},
        [
            "16:41: tenants.blue.subnets.blue_net.prefixes[0]: '10.0.0.0' is not a prefix (such as 10.1.1.0/24 or fd00::/64)"
        ],
    ),
    Case(
        "a MAC address that is too short",
        {"0b:01": "0b"},
        ["18:65: tenants.blue.vms.blue1.mac: '02:00:00:00:0b' is not a MAC address (such as 02:00:0a:01:01:0b)"],
    ),
    Case(
        "a MAC address that is multicast",
        {"02:00:00:00:0b:01": "03:00:00:00:0b:01"},
        [
            "18:65: tenants.blue.vms.blue1.mac: 03:00:00:00:0b:01 is a multicast MAC address (the first byte must be even, such as 02:00:0a:01:01:0b)"
        ],
    ),
    Case(
        "a MAC address of zeros",
        {"02:00:00:00:0b:01": "00:00:00:00:00:00"},
        [
            "18:65: tenants.blue.vms.blue1.mac: 00:00:00:00:00:00 is no interface's MAC address (such as 02:00:0a:01:01:0b)"
        ],
    ),
    Case(
        "an underlay MTU above what IP can say",
        {"hosts:": "mtu: {underlay: 65536}\nhosts:"},
        ["3:17: mtu.underlay: an MTU of 65536 bytes is too large (use 576 to 65535)"],
    ),
    Case(
        "a tenant MTU below what IPv4 promises",
        {"hosts:": "mtu: {tenant: 575}\nhosts:"},
        ["3:15: mtu.tenant: an MTU of 575 bytes is too small (use 576 to 65535)"],
    ),
    Case(
        "a choice that there is not",
        {"hosts:\n": "nve: {flow_ids: random}\nhosts:\n"},
        ["3:17: nve.flow_ids: 'random' is not 'flow' or 'none'"],
    ),
    Case(
        "a source check that there is not",
        {"hosts:\n": "nve: {source_check: ip}\nhosts:\n"},
        ["3:21: nve.source_check: 'ip' is not 'none', 'mac' or 'ca'"],
    ),
    Case(
        "a TTL that no router would forward",
        {"hosts:\n": "nve: {ttl: 0}\nhosts:\n"},
        ["3:12: nve.ttl: a TTL of 0 is too small (use 1 to 255)"],
    ),
    Case(
        "an age below 0",
        {"hosts:\n": "nve: {learning: -1}\nhosts:\n"},
        ["3:17: nve.learning: an age of -1 is too small (use seconds, such as 300; 0: nothing is learnt)"],
    ),
    Case(
        "a TTL of more than a byte",
        {"hosts:\n": "nve: {ttl: 256}\nhosts:\n"},
        ["3:12: nve.ttl: a TTL of 256 is too large (use 1 to 255)"],
    ),
    Case(
        "a DSCP of more than six bits",
        {"hosts:\n": "nve: {dscp: 64}\nhosts:\n"},
        ["3:13: nve.dscp: a DSCP of 64 is too large (use 0 to 63, or copy)"],
    ),
    Case(
        "a DSCP by its name",
        {"hosts:\n": "nve: {dscp: EF}\nhosts:\n"},
        ["3:13: nve.dscp: 'EF' is not a whole number (use 0 to 63, or copy)"],
    ),
    Case(
        "an ECN that is a codepoint",
        {"hosts:\n": "nve: {ecn: ECT(0)}\nhosts:\n"},
        ["3:12: nve.ecn: 'ECT(0)' is not 'copy' or 'zero'"],
    ),
    Case(
        "a vendor that there is not",
        {"pa: 192.168.0.1/24": "pa: 192.168.0.1/24, vendor: mine"},
        ["4:39: hosts.host1.vendor: 'mine' is not 'ours' or 'other'"],
    ),
    Case(
        "a VLAN id that there is not",
        {"pa: 192.168.0.1/24": "pa: 192.168.0.1/24, vlan: 4095"},
        ["4:37: hosts.host1.vlan: a VLAN id of 4095 is too large (use 1 to 4094)"],
    ),
    Case(
        "a data plane that there is not",
        {"pa: 192.168.0.1/24": "pa: 192.168.0.1/24, dataplane: dpdk"},
        [f"4:42: hosts.host1.dataplane: there is no data plane dpdk (there are: {', '.join(DATAPLANES)})"],
    ),
    Case(
        "one end of a link in a VLAN",
        {"pa: 192.168.0.1/24": "pa: 192.168.0.1/24, vlan: 10"},
        ["6:9: links[0]: host1 is in VLAN 10, host2 in no VLAN (both ends of a link have the same vlan)"],
    ),
    Case(
        "a deviation that there is not, and an implementation that nobody imitates",
        {
            "hosts:\n": "nve: {deviations: [keeps_tags, keep_tags], imitate: vpp}\nhosts:\n",
            "pa: 192.168.0.1/24": "pa: 192.168.0.1/24, deviations: all",
        },
        [
            f"3:32: nve.deviations[1]: 'keep_tags' is not {DEVIATIONS}",
            "3:53: nve.imitate: 'vpp' is not 'ovs', 'gretap' or 'dash'",
            f"5:43: hosts.host1.deviations: 'all' is not {DEVIATIONS}",
        ],
    ),
    Case(
        "frames that are carried",
        {"hosts:\n": "nve: {carries: ipv4}\nhosts:\n"},
        ["3:16: nve.carries: 'ipv4' is not 'ethernet', 'ip' or 'ip_by_ca'"],
    ),
    Case(
        "a scenario name with a blank",
        {"name: net": "name: my net"},
        ["1:7: name: 'my net' is not a name (small letters, digits and underscores, a letter first)"],
    ),
    Case(
        "a title of two lines",
        {"title: Two": "title: |\n  One\n  Two"},
        ["2:8: title: has more than one line (the long text goes under about)"],
    ),
    Case(
        "a host name that is too long",
        {"host1": "hypervisor1"},
        [
            "4:3: hosts.hypervisor1: 'hypervisor1' has 11 characters, 10 are the most (its interfaces are called NAME-eth0, and Linux takes 15)"
        ],
    ),
    Case(
        "a host name with a capital",
        {"host1": "Host1"},
        ["4:3: hosts.Host1: 'Host1' is not a name (small letters, digits and underscores, a letter first)"],
    ),
    Case(
        "a VM name that is too long",
        {"blue1:": "blue_web_server1:"},
        [
            "18:7: tenants.blue.vms.blue_web_server1: 'blue_web_server1' has 16 characters, 15 are the most (it becomes an interface name)"
        ],
    ),
    Case(
        "a VM name that Linux keeps",
        {"blue1:": "lo:"},
        ["18:7: tenants.blue.vms.lo: 'lo' is an interface name that Linux keeps for itself (choose another name)"],
    ),
    Case(
        "a link of three",
        {"[[host1, host2]]": "[[host1, host2, host1]]"},
        ["6:9: links[0]: ['host1', 'host2', 'host1'] is not a pair of hosts (such as [host1, host2])"],
    ),
    Case(
        "a link to itself",
        {"[[host1, host2]]": "[[host1, host1]]"},
        ["6:9: links[0]: joins 'host1' to itself (name two hosts)"],
    ),
    Case(
        "a VLAN id that is none",
        {
            "red1: {subnet: red_net, host: host1, ca: [10.0.0.1, fd00:10::1]}": "red1: {host: host1, trunk: {0: {subnet: red_net, ca: 10.0.0.1}}}"
        },
        ["12:35: tenants.red.vms.red1.trunk[0]: a VLAN id of 0 is too small (use 1 to 4094)"],
    ),
    Case(
        "a VLAN id that is reserved",
        {
            "red1: {subnet: red_net, host: host1, ca: [10.0.0.1, fd00:10::1]}": "red1: {host: host1, trunk: {4095: {subnet: red_net, ca: 10.0.0.1}}}"
        },
        ["12:35: tenants.red.vms.red1.trunk[4095]: a VLAN id of 4095 is too large (use 1 to 4094)"],
    ),
    Case(
        "a VLAN id by a name",
        {
            "red1: {subnet: red_net, host: host1, ca: [10.0.0.1, fd00:10::1]}": "red1: {host: host1, trunk: {blue: {subnet: red_net, ca: 10.0.0.1}}}"
        },
        ["12:35: tenants.red.vms.red1.trunk.blue: 'blue' is not a whole number (use 1 to 4094)"],
    ),
    Case(
        "a VLAN without a CA",
        {
            "red1: {subnet: red_net, host: host1, ca: [10.0.0.1, fd00:10::1]}": "red1: {host: host1, trunk: {10: {subnet: red_net}}}"
        },
        ["12:39: tenants.red.vms.red1.trunk[10].ca: is missing (such as ca: 10.1.1.11)"],
    ),
    Case(
        "a trunk port without VLANs",
        {"red1: {subnet: red_net, host: host1, ca: [10.0.0.1, fd00:10::1]}": "red1: {host: host1, trunk: {}}"},
        ["12:34: tenants.red.vms.red1.trunk: is empty"],
    ),
    Case(
        "a priority of more than three bits",
        {"hosts:\n": "nve: {pcp_to_dscp: {8: 46}}\nhosts:\n"},
        ["3:21: nve.pcp_to_dscp[8]: a PCP of 8 is too large (use 0 to 7)"],
    ),
    Case(
        "a priority that becomes no DSCP",
        {"hosts:\n": "nve: {pcp_to_dscp: {5: 64}}\nhosts:\n"},
        ["3:24: nve.pcp_to_dscp[5]: a DSCP of 64 is too large (use 0 to 63)"],
    ),
]


@pytest.mark.parametrize("case", VALUES, ids=lambda case: case.name)
def test_a_value_that_cannot_be_is_named(case: Case, tmp_path: Path) -> None:
    assert wrong_with(edited(FLAT, case.edits), tmp_path) == lines(case)


SHAPES: list[Case] = [
    Case(
        "a key that is misspelt",
        {"links:": "link:"},
        [
            "6:1: link: is not a key of this language (did you mean links? there are: about, expect, faults, hosts, include, links, mtu, multipath, name, nve, outside, routers, servers, tenants, title)",
        ],
    ),
    Case(
        "a key that is misspelt further down",
        {"mac: 02:00:00:00:0b:01": "mack: 02:00:00:00:0b:01"},
        [
            "18:60: tenants.blue.vms.blue1.mack: is not a key of this language (did you mean mac? there are: acl, ca, count, gateway, host, mac, pa, record, subnet, trunk, vlan)"
        ],
    ),
    Case(
        "a key that is missing",
        {"tenants:": "outside: {internet: {}}\ntenants:"},
        ["7:21: outside.internet.address: is missing (such as address: 203.0.113.1/24)"],
    ),
    Case(
        "several that are missing",
        {"links:": "faults: [{}]\nlinks:"},
        [
            "6:10: faults[0].subnet: is missing (such as subnet: NAME, in which the record is wrong)",
            "6:10: faults[0].record_of: is missing (such as record_of: NAME of the VM whose record is wrong)",
            "6:10: faults[0].points_to: is missing (such as points_to: NAME of the VM that gets its packets)",
        ],
    ),
    Case(
        "a mapping that is something else",
        {"{pa: 192.168.0.1/24}": "192.168.0.1/24"},
        ["4:10: hosts.host1: '192.168.0.1/24' is not a mapping"],
    ),
    Case("a list that is something else", {"[[host1, host2]]": "host1"}, ["6:8: links: 'host1' is not a list"]),
    Case(
        "a mapping without value",
        {
            "    vms:\n      blue1: {subnet: blue_net, host: host1, ca: 10.0.0.1, mac: 02:00:00:00:0b:01}\n      blue2: {subnet: blue_net, host: host2, ca: 10.0.0.2, mac: 02:00:00:00:0b:02}\n": "    vms:\n"
        },
        ["18:1: tenants.blue.vms: has no value"],
    ),
    Case(
        "no hosts",
        {"hosts:\n  host1: {pa: 192.168.0.1/24}\n  host2: {pa: 192.168.0.2/24}\nlinks: [[host1, host2]]\n": ""},
        ["1:1: hosts: is missing (such as hosts: {host1: {pa: 192.168.0.1/24}})"],
    ),
    Case(
        "hosts without any",
        {"hosts:\n  host1: {pa: 192.168.0.1/24}\n  host2: {pa: 192.168.0.2/24}\n": "hosts: {}\n"},
        ["3:8: hosts: is empty"],
    ),
]


@pytest.mark.parametrize("case", SHAPES, ids=lambda case: case.name)
def test_a_part_of_the_wrong_shape_is_named(case: Case, tmp_path: Path) -> None:
    assert wrong_with(edited(FLAT, case.edits), tmp_path) == lines(case)
