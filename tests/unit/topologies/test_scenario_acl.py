"""Access control lists in a scenario file: what they become, and what is said of rules that make no sense."""

# ruff: noqa: E501 - a message stands here in full, as a reader sees it

from ipaddress import ip_network
from pathlib import Path

import pytest

from nvgre_node.acl import ALL_PORTS, Action, Direction, Rule
from topologies import load

from .scenario_cases import FLAT, Case, edited, lines, wrong_with

ALLOW, DENY, IN, OUT = Action.ALLOW, Action.DENY, Direction.IN, Direction.OUT


def of_red1(acl: str) -> dict[str, str]:
    return {"red1: {subnet: red_net,": f"red1: {{subnet: red_net, acl: [{acl}],"}


def of_red_net(acl: str) -> dict[str, str]:
    return {"red_net: {vsid: 5000,": f"red_net: {{acl: [{acl}], vsid: 5000,"}


RULES = {
    "{deny: in}": Rule(DENY, IN),
    "{allow: out, protocol: any}": Rule(ALLOW, OUT),
    "{deny: in, protocol: icmpv6}": Rule(DENY, IN, 58),
    "{deny: in, protocol: 47}": Rule(DENY, IN, 47),
    "{allow: in, protocol: tcp, destination_port: 443, source: 10.0.1.0/24}": Rule(
        ALLOW, IN, 6, ip_network("10.0.1.0/24"), ALL_PORTS, None, (443, 443)
    ),
    "{allow: out, protocol: udp, source_port: 1024-65535, destination: 'fd00::1'}": Rule(
        ALLOW, OUT, 17, None, (1024, 65535), ip_network("fd00::1/128"), ALL_PORTS
    ),
}


@pytest.mark.parametrize(("text", "rule"), RULES.items(), ids=RULES)
def test_a_rule_means_this(text: str, rule: Rule, tmp_path: Path) -> None:
    (tmp_path / "net.yaml").write_text(edited(FLAT, of_red1(text) | of_red_net(text)))
    policy = load(tmp_path / "net.yaml").policy

    assert policy.vm("red1").acl == policy.subnet("red_net").acl == (rule,)
    assert policy.vm("red2").acl == policy.subnet("blue_net").acl == ()


WRONG: list[Case] = [
    Case(
        "a rule that does nothing",
        of_red1("{protocol: tcp}"),
        [
            "12:37: tenants.red.vms.red1.acl[0]: does not say what it does (either allow or deny, and there in or out)",
        ],
    ),
    Case(
        "a rule that does two things, of a subnet",
        of_red_net("{allow: in, deny: out}"),
        [
            "10:23: tenants.red.subnets.red_net.acl[0]: does not say what it does (either allow or deny, and there in or out)"
        ],
    ),
    Case(
        "a direction that there is not",
        of_red1("{deny: both}"),
        ["12:44: tenants.red.vms.red1.acl[0].deny: 'both' is not 'in' or 'out'"],
    ),
    Case(
        "a protocol that there is not",
        of_red1("{deny: in, protocol: tpc}"),
        [
            "12:58: tenants.red.vms.red1.acl[0].protocol: 'tpc' is not an IP protocol (icmp, tcp, udp, icmpv6, sctp, any, or a number from 0 to 255)"
        ],
    ),
    Case(
        "a protocol above what IP can say",
        of_red1("{deny: in, protocol: 256}"),
        [
            "12:58: tenants.red.vms.red1.acl[0].protocol: 256 is not an IP protocol (icmp, tcp, udp, icmpv6, sctp, any, or a number from 0 to 255)"
        ],
    ),
    Case(
        "ports of a protocol that has none",
        of_red1("{deny: in, protocol: icmp, destination_port: 7}"),
        [
            "12:37: tenants.red.vms.red1.acl[0]: asks for ports of a protocol without (protocol: tcp, udp or sctp)",
        ],
    ),
    Case(
        "ports of any protocol",
        of_red1("{deny: in, source_port: 7}"),
        ["12:37: tenants.red.vms.red1.acl[0]: asks for ports of a protocol without (protocol: tcp, udp or sctp)"],
    ),
    Case(
        "a port that there is not",
        of_red1("{deny: in, protocol: tcp, destination_port: 65536}"),
        [
            "12:81: tenants.red.vms.red1.acl[0].destination_port: 65536 is neither a port nor a range of ports (such as 443 or 1024-65535)"
        ],
    ),
    Case(
        "a range that ends before it begins",
        of_red1("{deny: in, protocol: tcp, destination_port: 80-79}"),
        [
            "12:81: tenants.red.vms.red1.acl[0].destination_port: '80-79' is neither a port nor a range of ports (such as 443 or 1024-65535)"
        ],
    ),
    Case(
        "addresses of two IP versions",
        of_red1("{deny: in, source: 10.0.0.1, destination: 'fd00::/8'}"),
        ["12:37: tenants.red.vms.red1.acl[0]: from 10.0.0.1/32 to fd00::/8 goes no packet (both of one IP version)"],
    ),
    Case(
        "an address that is none",
        of_red1("{deny: in, source: 10.0.0}"),
        ["12:56: tenants.red.vms.red1.acl[0].source: '10.0.0' is not an IP address (such as 10.1.1.11 or fd00::11)"],
    ),
    Case("a rule that is no mapping", of_red1("deny"), ["12:37: tenants.red.vms.red1.acl[0]: 'deny' is not a mapping"]),
    Case(
        "a key that a rule has not",
        of_red1("{deny: in, port: 443}"),
        [
            "12:48: tenants.red.vms.red1.acl[0].port: is not a key of this language (there are: allow, deny, destination, destination_port, protocol, source, source_port)"
        ],
    ),
    Case(
        "too many rules of a VM",
        of_red1(", ".join(["{deny: in}"] * 65)),
        ["12:36: tenants.red.vms.red1.acl: 65 rules are too many for a port (64 are the most)"],
    ),
    Case(
        "too many rules of a subnet",
        of_red_net(", ".join(["{deny: in}"] * 65)) | of_red1("{deny: in}"),
        ["10:22: tenants.red.subnets.red_net.acl: 65 rules are too many for a port (64 are the most)"],
    ),
    Case(
        "too many rules together",
        of_red_net(", ".join(["{deny: in}"] * 64)) | of_red1("{deny: in}"),
        [
            "12:36: tenants.red.vms.red1.acl: 65 rules are too many for a port (64 are the most, and 64 are those of red_net)"
        ],
    ),
]


@pytest.mark.parametrize("case", WRONG, ids=lambda case: case.name)
def test_a_rule_that_makes_no_sense_is_named(case: Case, tmp_path: Path) -> None:
    assert wrong_with(edited(FLAT, case.edits), tmp_path) == lines(case)


def test_as_many_rules_as_there_may_be_are_allowed(tmp_path: Path) -> None:
    full = of_red_net(", ".join(["{deny: in}"] * 63)) | of_red1("{allow: in}")

    assert wrong_with(edited(FLAT, full), tmp_path) == []
