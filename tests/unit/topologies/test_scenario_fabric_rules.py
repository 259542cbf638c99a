"""What joins the parts of the underlay must agree: links, router addresses, paths."""

# ruff: noqa: E501 - a message stands here in full, as a reader sees it

from pathlib import Path

import pytest

from .scenario_cases import ROUTED, Case, edited, lines, wrong_with

FABRIC_RULES: list[Case] = [
    Case(
        "no VM",
        {"    vms:\n      red1: {subnet: red_net, host: host1, ca: 10.0.0.1}\n": ""},
        ["11:3: tenants: no tenant has a VM (such as vms: 2, or vms: {red1: {host: host1, ca: ...}})"],
    ),
    Case(
        "a router named like a host",
        {"r2: {host3": "host1: {host3", "r2: 192.168.9.1": "host1: 192.168.9.1"},
        ["8:54: the key 'host1' is there twice (first in line 8)"],
    ),
    Case(
        "a neighbour that there is not",
        {"{host1: 192": "{host9: 192"},
        [
            "8:8: routers.r1.host9: no host or router is called host9 (did you mean host3? there are: host1, host2, host3, r1, r2)"
        ],
    ),
    Case(
        "a router that joins itself",
        {"r2: 192.168.9.1/24": "r2: 192.168.9.1/24, r1: 192.168.8.1/24"},
        ["8:74: routers.r1.r1: joins r1 to itself (name a neighbour)"],
    ),
    Case(
        "a router that does not list its neighbour",
        {", r1: 192.168.9.2/24": ""},
        ["8:54: routers.r1.r2: r2 has no address on its link to r1 (say routers: {r2: {r1: ADDRESS}} too)"],
    ),
    Case(
        "a router outside its host's prefix",
        {"host1: 192.168.1.1/24": "host1: 192.168.4.1/24"},
        [
            "8:15: routers.r1.host1: 192.168.4.1/24 is not in the prefix of host1, 192.168.1.0/24 (host1 has 192.168.1.10/24)"
        ],
    ),
    Case(
        "a router with another prefix length",
        {"host1: 192.168.1.1/24": "host1: 192.168.1.1/25"},
        [
            "8:15: routers.r1.host1: 192.168.1.1/25 is not in the prefix of host1, 192.168.1.0/24 (host1 has 192.168.1.10/24)"
        ],
    ),
    Case(
        "two routers that share no prefix",
        {"r1: 192.168.9.2/24": "r1: 192.168.8.2/24"},
        ["9:35: routers.r2.r1: 192.168.8.2/24 is not in the prefix of r1, 192.168.9.0/24 (r1 has 192.168.9.1/24)"],
    ),
    Case(
        "a router with its host's address",
        {"host1: 192.168.1.1/24": "host1: 192.168.1.10/24"},
        ["8:15: routers.r1.host1: 192.168.1.10 is an address of host1 too (each has its own)"],
    ),
    Case(
        "two hosts with one PA",
        {
            "host2: {pa: 192.168.2.10/24}": "host2: {pa: 192.168.1.10/24}",
            "host2: 192.168.2.1/24": "host2: 192.168.1.2/24",
        },
        [
            "5:15: hosts.host2.pa: 192.168.1.10 is an address of host1 too (each has its own)",
            "8:38: routers.r1.host2: 192.168.1.0/24 overlaps 192.168.1.0/24 of the link r1 - host1 (each link has a prefix of its own)",
        ],
    ),
    Case(
        "two links with one prefix",
        {
            "host2: {pa: 192.168.2.10/24}": "host2: {pa: 192.168.1.20/24}",
            "host2: 192.168.2.1/24": "host2: 192.168.1.2/24",
        },
        [
            "8:38: routers.r1.host2: 192.168.1.0/24 overlaps 192.168.1.0/24 of the link r1 - host1 (each link has a prefix of its own)"
        ],
    ),
    Case(
        "a host without link",
        {"  r2: {host3: 192.168.3.1/24, r1": "  r2: {r1"},
        [
            "6:3: hosts.host3: host3 has no link (join it to another host under links, or give a router an address on its link)"
        ],
    ),
    Case(
        "a host with two links",
        {"r1: 192.168.9.2/24": "r1: 192.168.9.2/24, host1: 192.168.1.2/24"},
        [
            "9:51: routers.r2.host1: host1 has a link already (one uplink per host for now)",
            "9:58: routers.r2.host1: 192.168.1.0/24 overlaps 192.168.1.0/24 of the link r1 - host1 (each link has a prefix of its own)",
        ],
    ),
    Case(
        "a link besides the router",
        {"routers:": "links: [[host1, host2]]\nrouters:"},
        [
            "7:9: links[0]: host1 (192.168.1.10/24) and host2 (192.168.2.10/24) are not in one prefix (change a PA, or put a router between them)",
            "9:8: routers.r1.host1: host1 has a link already (one uplink per host for now)",
            "9:15: routers.r1.host1: 192.168.1.0/24 overlaps 192.168.1.0/24 of the link host1 - host2 (each link has a prefix of its own)",
            "9:31: routers.r1.host2: host2 has a link already (one uplink per host for now)",
        ],
    ),
    Case(
        "a link to a router",
        {"routers:": "links: [[host1, r1]]\nrouters:"},
        [
            "7:17: links[0][1]: r1 is a router, and links joins hosts (say routers: {r1: {NEIGHBOUR: ADDRESS}} instead)",
            "9:8: routers.r1.host1: host1 has a link already (one uplink per host for now)",
        ],
    ),
    Case(
        "a link to what there is not",
        {"routers:": "links: [[host1, host4]]\nrouters:"},
        [
            "7:17: links[0][1]: no host is called host4 (did you mean host3? there are: host1, host2, host3)",
            "9:8: routers.r1.host1: host1 has a link already (one uplink per host for now)",
        ],
    ),
    Case(
        "two parts without a path between them",
        {", r2: 192.168.9.1/24": "", ", r1: 192.168.9.2/24": ""},
        ["6:3: hosts.host3: no path leads from host1 to host3 (join their links by a router)"],
    ),
    Case(
        "a router address that is none",
        {"192.168.3.1/24": "192.168.3.1"},
        ["9:15: routers.r2.host3: '192.168.3.1' is not an IP address with prefix length (such as 192.168.1.10/24)"],
    ),
    Case(
        "paths chosen by what there is not",
        {"tenants:": "multipath: {r3: key, host1: inner, default: ports, r1: inner}\ntenants:"},
        [
            "10:13: multipath.r3: no router is called r3 (there are: default, r1, r2)",
            "10:22: multipath.host1: host1 is a host, which has one uplink (only routers choose among paths)",
            "10:45: multipath.default: 'ports' is not 'outer', 'inner_addresses', 'inner' or 'key'",
        ],
    ),
    Case(
        "paths chosen by a word that there is not",
        {"tenants:": "multipath: ports\ntenants:"},
        [
            "10:12: multipath: 'ports' is not 'outer', 'inner_addresses', 'inner' or 'key' (or one of them by router, such as {default: outer, leaf1: key})"
        ],
    ),
    Case(
        "paths chosen by nothing",
        {"tenants:": "multipath:\ntenants:"},
        ["11:1: multipath: has no value (such as key, or one of them by router, such as {default: outer, leaf1: key})"],
    ),
    Case(
        "a router with so many links that its name is too long",
        {
            "  r2: {host3": "  r234567890: {host3",
            "r2: 192.168.9.1": "r234567890: 192.168.9.1",
            "r1: 192.168.9.2/24": "r1: 192.168.9.2/24, r20: 192.168.20.1/24, r21: 192.168.21.1/24, r22: 192.168.22.1/24, r23: 192.168.23.1/24, r24: 192.168.24.1/24, r25: 192.168.25.1/24, r26: 192.168.26.1/24, r27: 192.168.27.1/24, r28: 192.168.28.1/24",
            "tenants:": "  r20: {r234567890: 192.168.20.2/24}\n  r21: {r234567890: 192.168.21.2/24}\n  r22: {r234567890: 192.168.22.2/24}\n  r23: {r234567890: 192.168.23.2/24}\n  r24: {r234567890: 192.168.24.2/24}\n  r25: {r234567890: 192.168.25.2/24}\n  r26: {r234567890: 192.168.26.2/24}\n  r27: {r234567890: 192.168.27.2/24}\n  r28: {r234567890: 192.168.28.2/24}\ntenants:",
        },
        [
            "9:3: routers.r234567890: its last interface would be r234567890-eth10, which is longer than 15 characters (choose a shorter name)"
        ],
    ),
]


@pytest.mark.parametrize("case", FABRIC_RULES, ids=lambda case: case.name)
def test_an_underlay_that_cannot_work_is_named(case: Case, tmp_path: Path) -> None:
    assert wrong_with(edited(ROUTED, case.edits), tmp_path) == lines(case)
