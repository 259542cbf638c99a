"""Access control lists: what a rule matches, as ipaddress and Scapy see it, and how lists are put in words."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface, ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from nvgre_node.acl import ALL_PORTS, DENIES_EVERYTHING, Action, Direction, Rule, summary
from nvgre_node.dataplane.model.acl import denies
from nvgre_node.explain import explain
from nvgre_node.policy import Nve, Policy, VirtualSubnet, Vm

ALLOW, DENY, IN, OUT = Action.ALLOW, Action.DENY, Direction.IN, Direction.OUT

ports = st.integers(0, 65535)
ranges = st.one_of(st.just(ALL_PORTS), st.tuples(ports, ports).map(lambda pair: (min(pair), max(pair))))
addresses4 = st.integers(0, 2**32 - 1).map(lambda n: str(ip_address(n)))
addresses6 = st.integers(2**32, 2**128 - 1).map(lambda n: str(ip_address(n)))


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    family = draw(st.sampled_from([None, addresses4, addresses6]))
    lengths = st.integers(0, 32 if family is addresses4 else 128)

    def prefix() -> Any:
        if family is None or draw(st.booleans()):
            return None
        return ip_network(f"{draw(family)}/{draw(lengths)}", strict=False)

    protocol = draw(st.sampled_from([None, 6, 17]))
    with_ports = (draw(ranges), draw(ranges)) if protocol else (ALL_PORTS, ALL_PORTS)
    choice = draw(st.sampled_from(Action)), draw(st.sampled_from(Direction))
    return Rule(*choice, protocol, prefix(), with_ports[0], prefix(), with_ports[1])


packets = st.builds(
    lambda network, transport, sport, dport: network / transport(sport=sport, dport=dport),
    st.one_of(
        st.builds(lambda a, b: IP(src=a, dst=b), addresses4, addresses4),
        st.builds(lambda a, b: IPv6(src=a, dst=b), addresses6, addresses6),
    ),
    st.sampled_from([TCP, UDP]),
    ports,
    ports,
)


def read_otherwise(rule: Rule, packet: Packet) -> bool:
    """Whether a rule matches, in the words of ipaddress and Scapy."""
    transport = packet[TCP] if TCP in packet else packet[UDP]
    inside = [
        ip_address(getattr(packet, end)) in prefix
        for end, prefix in (("src", rule.source), ("dst", rule.destination))
        if prefix is not None
    ]
    number = {TCP: 6, UDP: 17}[type(transport)]
    return (
        all(inside)
        and rule.protocol in (None, number)
        and transport.sport in range(rule.source_ports[0], rule.source_ports[1] + 1)
        and transport.dport in range(rule.destination_ports[0], rule.destination_ports[1] + 1)
    )


@given(acl=st.lists(rules(), max_size=6), packet=packets, direction=st.sampled_from(Direction))
def test_the_first_rule_that_matches_decides(acl: list[Rule], packet: Packet, direction: Direction) -> None:
    one_way = [rule for rule in acl if rule.direction is direction]
    first = next((rule for rule in one_way if read_otherwise(rule, packet)), None)

    frame = bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / packet)

    assert denies(acl, direction, frame) is (first is not None and first.action is DENY)


@pytest.mark.parametrize(
    ("rule", "what"),
    [
        (Rule(DENY, IN), ""),
        (Rule(DENY, IN, 6), "tcp"),
        (Rule(DENY, IN, 47), "IP 47"),
        (Rule(DENY, IN, 6, destination_ports=(443, 443)), "tcp to port 443"),
        (Rule(DENY, IN, 17, source_ports=(67, 68), destination_ports=(67, 67)), "udp from ports 67 to 68 to port 67"),
    ],
    ids=lambda value: str(value),
)
def test_a_rule_says_what_it_asks_for(rule: Rule, what: str) -> None:
    assert rule.what == what


HTTPS = Rule(ALLOW, IN, 6, ip_network("10.0.0.0/24"), destination_ports=(443, 443))
OF_IPV6 = Rule(DENY, IN, destination=ip_network("fd00::/8"))
NOTHING = Rule(DENY, IN)
SUMMARIES: list[tuple[list[Rule], str, str]] = [
    ([HTTPS, NOTHING], "tcp to port 443: allowed; all else: denied", "a[0], a[1]"),
    ([HTTPS], "tcp to port 443: allowed; all else: allowed", "a[0]"),
    ([NOTHING, HTTPS], DENIES_EVERYTHING, "a[0]"),
    ([OF_IPV6], "everything: allowed", "no rule is about these addresses"),
    ([OF_IPV6, NOTHING], DENIES_EVERYTHING, "a[1]"),
    ([replace(NOTHING, source=ip_network("10.9.0.0/16"))], "everything: allowed", "no rule is about these addresses"),
]


@pytest.mark.parametrize(("acl", "said", "names"), SUMMARIES)
def test_a_list_says_what_becomes_of_packets_between_two_addresses(acl: list[Rule], said: str, names: str) -> None:
    named = [(f"a[{n}]", rule) for n, rule in enumerate(acl)]

    assert summary(named, IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2")) == (said, names)


# In a policy


def vm(name: str, host: str, last: int, *acl: Rule) -> Vm:
    cas = (IPv4Interface(f"10.0.0.{last}/24"), IPv6Interface(f"fd00:10::{last}/64"))
    return Vm(name, "net", host, f"02:00:00:00:00:0{last}", cas, acl=acl)


def policy(*shared: Rule, a: tuple[Rule, ...] = (), b: tuple[Rule, ...] = ()) -> Policy:
    nves = tuple(Nve(f"h{n}", (IPv4Interface(f"192.168.0.{n}/24"),)) for n in (1, 2))
    prefixes = (ip_network("10.0.0.0/24"), ip_network("fd00:10::/64"))
    return Policy(
        nves, (VirtualSubnet("net", "t", 5000, prefixes, acl=shared),), (vm("a", "h1", 1, *a), vm("b", "h2", 2, *b))
    )


def test_a_port_has_the_rules_of_its_vm_and_then_those_of_its_subnet() -> None:
    (port,) = policy(NOTHING, b=(HTTPS,)).for_host("h2").ports

    assert port.acl == (HTTPS, NOTHING)


def test_explain_names_the_rules_that_decide() -> None:
    *_, last = explain(policy(NOTHING, b=(HTTPS,)), "a", "b")

    assert (last.what, last.result) == ("access control list of b, in", "tcp to port 443: allowed; all else: denied")
    assert last.because == "b.acl[0], net.acl[0]"


def test_explain_ends_where_everything_is_denied() -> None:
    *_, last = explain(policy(replace(NOTHING, direction=OUT)), "a", "b")

    assert (last.what, last.result) == ("access control list of a, out", "everything: denied")
    assert last.because == "net.acl[0]"


def test_explain_says_nothing_of_lists_that_are_not_there() -> None:
    assert not [step for step in explain(policy(), "a", "b") if "access" in step.what]
