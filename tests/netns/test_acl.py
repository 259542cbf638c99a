"""Access control lists: per port and per virtual subnet, in either direction, the first rule that matches decides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6ND_NS, ICMPv6ND_RS, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment
from scapy.packet import Packet, Raw

from nvgre_node.acl import ALL_PORTS, MAX_RULES, Action, Direction, Rule
from nvgre_node.choices import COPY, Carries, Deviation, Ecn, Neighbours, SourceCheck, TooBig, UnknownUnicast
from nvgre_node.dataplane import acl_map
from nvgre_node.dataplane.base import Drop
from nvgre_node.dataplane.planes import ebpf
from nvgre_node.net import NvgreNet
from nvgre_node.policy import Network
from nvgre_node.wire import octets
from topologies import Scenario, load

from . import routing_frames
from .bench import Bench, running
from .forgeries import arp
from .frames import (
    EVERYBODY,
    EXPERIMENTAL,
    RED,
    RED1,
    RED2,
    RED3,
    REDIRECT,
    from_red1,
    is_runnable,
    to_red1,
    v4,
    v6,
)
from .mutation import Mutant, without
from .oracle import agrees, agrees_on_flood
from .tap import Tap, token, vms

IN, OUT = Direction.IN, Direction.OUT
ALLOW, DENY = Action.ALLOW, Action.DENY
TCP_6, UDP_17, ICMP_1, ICMPV6_58 = 6, 17, 1, 58


def with_acl(scenario: Scenario, **acls: list[Rule]) -> Scenario:
    """The same network, in which VMs and virtual subnets, by name, have these rules."""
    policy = scenario.policy
    own = tuple(replace(vm, acl=tuple(acls.get(vm.name, vm.acl))) for vm in policy.vms)
    shared = tuple(replace(subnet, acl=tuple(acls.get(subnet.name, subnet.acl))) for subnet in policy.subnets)
    return replace(scenario, policy=replace(policy, vms=own, subnets=shared))


NEVER = Rule(DENY, OUT, protocol=255)
SWITCHED_ON = with_acl(load("two_hosts"), red1=[NEVER])


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with running(SWITCHED_ON) as bench:
        yield bench


def obey(bench: Bench, port: str, *rules: Rule) -> None:
    """From now on, these are the rules of a port of host1, for the data plane and for the specification."""
    policy = bench.host.policy
    ports = tuple(replace(own, acl=rules) if own.interface == port else own for own in policy.ports)
    bench.host.policy = replace(policy, ports=ports)
    assert isinstance(bench.host.dataplane, ebpf.EbpfDataPlane)
    for direction in Direction:
        key = acl_map.key(bench.host.interface_index(port), None, direction)
        one_way = [rule for rule in rules if rule.direction is direction]
        bench.host.dataplane.loaded.maps["acls"][key] = acl_map.packed(one_way)


WEB = Rule(ALLOW, OUT, TCP_6, destination_ports=(443, 443))
NOTHING_OUT = Rule(DENY, OUT)
SSH = Rule(DENY, OUT, TCP_6, destination_ports=(22, 22))

https, ssh = v4() / TCP(sport=40000, dport=443), v4() / TCP(sport=40000, dport=22)
https6, ssh6 = v6() / TCP(sport=40000, dport=443), v6() / TCP(sport=40000, dport=22)
later = v4(frag=64, proto=6) / Raw(bytes(24))
later6 = v6() / IPv6ExtHdrFragment(nh=6, offset=64) / Raw(bytes(24))
later_unknown6 = v6() / IPv6ExtHdrFragment(nh=60, offset=64) / Raw(bytes(24))
first = v4(flags="MF") / TCP(sport=40000, dport=443)
too_short = v4(proto=6) / Raw(b"\x9c\x40")
hidden = v6() / IPv6ExtHdrDestOpt() / IPv6ExtHdrDestOpt() / TCP(sport=40000, dport=22)
unread = v6()
for _ in range(7):
    unread /= IPv6ExtHdrDestOpt()
unread /= TCP(sport=40000, dport=443)

CASES: dict[str, tuple[list[Rule], Packet, bool]] = {
    "no rule matches": ([SSH], https, True),
    "a port that is denied": ([SSH], ssh, False),
    "a port that is denied, of IPv6": ([SSH], ssh6, False),
    "a port that is denied, behind extension headers": ([SSH], hidden, False),
    "a port that is allowed, and nothing else": ([WEB, NOTHING_OUT], https, True),
    "nothing else": ([WEB, NOTHING_OUT], ssh, False),
    "nothing else, of IPv6": ([WEB, NOTHING_OUT], ssh6, False),
    "the first that matches decides": ([NOTHING_OUT, WEB], https, False),
    "a list for the other direction": ([Rule(DENY, IN)], https, True),
    "another protocol": ([Rule(DENY, OUT, UDP_17)], https, True),
    "this protocol": ([Rule(DENY, OUT, TCP_6)], https, False),
    "a source port": ([Rule(DENY, OUT, TCP_6, source_ports=(40000, 40000))], https, False),
    "another source port": ([Rule(DENY, OUT, TCP_6, source_ports=(443, 443))], https, True),
    "both ends of a range": ([Rule(DENY, OUT, TCP_6, destination_ports=(440, 443))], https, False),
    "below a range": ([Rule(DENY, OUT, TCP_6, destination_ports=(444, 450))], https, True),
    "above a range": ([Rule(DENY, OUT, TCP_6, destination_ports=(440, 442))], https, True),
    "a destination": ([Rule(DENY, OUT, destination=ip_network("10.0.0.2/32"))], https, False),
    "another destination": ([Rule(DENY, OUT, destination=ip_network("10.0.0.0/31"))], https, True),
    "a source": ([Rule(DENY, OUT, source=ip_network("10.0.0.0/31"))], https, False),
    "another source": ([Rule(DENY, OUT, source=ip_network("10.0.0.2/31"))], https, True),
    "an IPv6 destination": ([Rule(DENY, OUT, destination=ip_network("fd00:10::/64"))], https6, False),
    "another IPv6 destination": ([Rule(DENY, OUT, destination=ip_network("fd00:10::3/128"))], https6, True),
    "an IPv6 source, in its last word": ([Rule(DENY, OUT, source=ip_network("fd00:10::1/128"))], https6, False),
    "every address of the other version": ([Rule(DENY, OUT, source=ip_network("::/0"))], https, True),
    "every address of this version": ([Rule(DENY, OUT, source=ip_network("::/0"))], https6, False),
    "IPv6 where IPv4 is denied": ([Rule(DENY, OUT, source=ip_network("0.0.0.0/0"))], https6, True),
    "a first fragment has ports": ([WEB, NOTHING_OUT], first, True),
    "a later fragment is not allowed by its ports": ([WEB, NOTHING_OUT], later, False),
    "a later fragment may be of what is denied": ([SSH], later, False),
    "a later fragment of another protocol": ([Rule(DENY, OUT, UDP_17, destination_ports=(53, 53))], later, True),
    "a later fragment is allowed without ports": ([Rule(ALLOW, OUT, TCP_6), NOTHING_OUT], later, True),
    "a later fragment of IPv6 is not allowed by its ports": ([WEB, NOTHING_OUT], later6, False),
    "a later fragment of IPv6 may be of what is denied": ([SSH], later6, False),
    "a later fragment of nobody knows what": ([SSH], later_unknown6, False),
    "a later fragment of nobody knows what, allowed": ([Rule(ALLOW, OUT, TCP_6), NOTHING_OUT], later_unknown6, False),
    "ports that are cut off, denied": ([SSH], too_short, False),
    "ports that are cut off, not allowed": ([WEB, NOTHING_OUT], too_short, False),
    "more extension headers than are read, denied": ([SSH], unread, False),
    "more extension headers than are read, not allowed": ([WEB, NOTHING_OUT], unread, False),
    "more extension headers than are read, by address": (
        [Rule(ALLOW, OUT, destination=ip_network("fd00:10::/64")), NOTHING_OUT], unread, True
    ),
    "ICMP": ([Rule(DENY, OUT, ICMP_1)], v4() / ICMP(), False),
    "ICMPv6": ([Rule(DENY, OUT, ICMPV6_58)], v6() / ICMPv6EchoRequest(), False),
    "ARP, whatever the rules": ([NOTHING_OUT], arp(), True),
    "a neighbour solicitation, whatever the rules": ([NOTHING_OUT], v6(hlim=255) / ICMPv6ND_NS(), True),
    "a neighbour solicitation from afar": ([NOTHING_OUT], v6(hlim=254) / ICMPv6ND_NS(), False),
    "a router solicitation": ([NOTHING_OUT], v6(hlim=255) / ICMPv6ND_RS(), False),
    "IPv4 that only looks like one": ([NOTHING_OUT], v4(proto=58, ttl=255) / Raw(b"\x87" + bytes(31)), False),
    "the last rule of as many as there may be": ([NEVER] * (MAX_RULES - 1) + [NOTHING_OUT], https, False),
}  # fmt: skip
"""Rules of red1's port, a packet that red1 sends to red2, and whether it passes."""


@pytest.mark.parametrize(("rules", "packet", "passes"), CASES.values(), ids=CASES)
def test_the_rules_decide(bench: Bench, rules: list[Rule], packet: Packet, passes: bool) -> None:
    obey(bench, "red1", *rules)

    sent = bench.from_port("red1", from_red1(packet))

    assert (sent.action == REDIRECT, sent.drops) == (passes, [] if passes else [Drop.ACL_OUT])
    agrees(bench, "red1", from_red1(packet))


def test_other_ethertypes_pass(bench: Bench) -> None:
    obey(bench, "red1", NOTHING_OUT)

    assert bench.from_port("red1", from_red1(Raw(bytes(46)), type=EXPERIMENTAL)).action == REDIRECT


Prefixes = st.SearchStrategy[Network | None]
prefixes4: Prefixes = st.sampled_from([None, *map(ip_network, ("10.0.0.0/30", "10.0.0.1/32", "0.0.0.0/0"))])
prefixes6: Prefixes = st.sampled_from([None, *map(ip_network, ("fd00:10::/64", "fd00:10::1/128", "::/0"))])
port_ranges = st.sampled_from([ALL_PORTS, ALL_PORTS, (443, 443), (0, 442), (444, 65535)])


def one_family(prefixes: Prefixes) -> st.SearchStrategy[Rule]:
    return st.builds(
        Rule, st.sampled_from(Action), st.sampled_from(Direction), st.sampled_from([None, 6, 6, 17, 58, 44, 0]),
        source=prefixes, source_ports=port_ranges, destination=prefixes, destination_ports=port_ranges,
    )  # fmt: skip


rules_drawn = one_family(prefixes4) | one_family(prefixes6)
packets_drawn = st.one_of(
    st.sampled_from([packet for _, packet, _ in CASES.values()]),
    st.builds(
        lambda network, transport, ports: network / transport(sport=ports[0], dport=ports[1]) / Raw(b"hello"),
        st.sampled_from([v4(), v6(), v4(src="10.0.0.9"), v6(dst="fd00:11::2"), v4(flags="MF"), v4(frag=7)]),
        st.sampled_from([TCP, UDP]),
        st.tuples(st.integers(440, 446), st.integers(440, 446)),
    ),
)


@given(rules=st.lists(rules_drawn, max_size=5), packet=packets_drawn, cut=st.integers(0, 30))
def test_any_rules_decide_as_specified(bench: Bench, rules: list[Rule], packet: Packet, cut: int) -> None:
    whole = from_red1(packet)
    frame = whole[: len(whole) - cut]
    if not is_runnable(frame):
        return
    for port in ("red1", "red3"):
        obey(bench, port, *rules)
    for destination in (RED2, RED3):
        agrees(bench, "red1", octets(destination) + frame[6:])
    agrees(bench, bench.uplink, bench.nvgre(octets(RED1) + octets(RED2) + frame[12:], RED))
    obey(bench, "red3")


# The other direction


def test_what_comes_in_from_the_wire(bench: Bench) -> None:
    obey(bench, "red1", Rule(DENY, IN, TCP_6, destination_ports=(22, 22)))

    for packet, passes in ((ssh, False), (https, True)):
        arrived = bench.from_uplink(bench.nvgre(to_red1(packet), RED))
        assert (arrived.action == REDIRECT, arrived.drops) == (passes, [] if passes else [Drop.ACL_IN])
        agrees(bench, bench.uplink, bench.nvgre(to_red1(packet), RED))


def test_what_comes_in_from_a_vm_of_the_same_host(bench: Bench) -> None:
    obey(bench, "red1")
    obey(bench, "red3", Rule(DENY, IN, TCP_6, destination_ports=(22, 22)))

    assert bench.from_port("red1", from_red1(ssh, dst=RED3)).drops == [Drop.ACL_IN]
    assert agrees(bench, "red1", from_red1(ssh, dst=RED3)).out == ()
    assert agrees(bench, "red1", from_red1(https, dst=RED3)).out
    obey(bench, "red3")


def test_copies_of_a_broadcast_go_where_they_may(bench: Bench) -> None:
    """Also to ports behind one that may not have its own."""
    frame = from_red1(v4(dst="255.255.255.255") / UDP(dport=9), Raw(b"everybody"), dst=EVERYBODY)
    from_wire = from_red1(v4(dst="255.255.255.255") / UDP(dport=9), Raw(b"from the wire"), dst=EVERYBODY)
    obey(bench, "red1", Rule(DENY, IN, UDP_17))
    obey(bench, "red3")
    agrees_on_flood(bench, "red1", frame, frame)
    agrees_on_flood(bench, bench.uplink, bench.nvgre(from_wire, RED), from_wire)
    obey(bench, "red3", Rule(DENY, IN, UDP_17))
    agrees_on_flood(bench, "red1", frame, frame)
    agrees_on_flood(bench, bench.uplink, bench.nvgre(from_wire, RED), from_wire)
    obey(bench, "red1", Rule(DENY, OUT, UDP_17))
    agrees_on_flood(bench, "red1", frame, frame)
    obey(bench, "red3")


def test_lists_hold_for_what_the_router_carries_between_virtual_subnets() -> None:
    rules = {"red1": [Rule(DENY, OUT, TCP_6)], "red3": [Rule(DENY, IN, UDP_17)]}
    with running(with_acl(routing_frames.ROUTED, **rules)) as bench:
        here, there = routing_frames.v4("10.0.1.13"), routing_frames.v4("10.0.1.14")
        for packet, drops in ((here / ICMP(), []), (here / UDP(), [Drop.ACL_IN]), (there / UDP(), [])):
            assert bench.from_port("red1", routing_frames.to_router(packet)).drops == drops
            agrees(bench, "red1", routing_frames.to_router(packet))
        for packet in (here / TCP(), there / TCP()):
            assert bench.from_port("red1", routing_frames.to_router(packet)).drops == [Drop.ACL_OUT]
            agrees(bench, "red1", routing_frames.to_router(packet))


# What VMs notice of it


GUARDED = with_acl(
    load("two_hosts"),
    red1=[Rule(ALLOW, IN, ICMP_1, source=ip_network("10.0.0.3/32"))],
    red_net=[Rule(DENY, IN, ICMP_1), Rule(DENY, OUT, UDP_17)],
)
"""red1 may be pinged by red3 only; nobody else of red by anybody; and nobody there says anything by UDP."""


@pytest.mark.parametrize("dataplane", ["ebpf", "model"])
def test_vms_and_their_subnet_have_rules(dataplane: str) -> None:
    reply = Rule(ALLOW, IN, ICMP_1, source=ip_network("10.0.0.1/32"))
    scenario = with_acl(GUARDED, red3=[reply])  # stateless: the answer needs a rule too
    with NvgreNet(scenario, dataplane) as net, Tap(net) as tap:
        assert net["red3"].ping("10.0.0.1")
        assert not net["red2"].ping("10.0.0.1", timeout=1)
        assert not net["red1"].ping("10.0.0.2", timeout=1)
        assert net["red1"].ping("fd00:10::2")
        assert net["blue1"].ping("10.0.0.2")
        mark = token()
        assert tap.say("red1", from_red1(v4(dst="255.255.255.255"), UDP(), Raw(mark), dst=EVERYBODY), mark) == {}
        heard = tap.say("red1", from_red1(v4(dst="10.0.0.255"), ICMP(), Raw(mark), dst=EVERYBODY), mark)
        dropped = net.dropped()

    assert vms(heard) == {"red3": 1}  # by its own rule; red2 has none
    assert {Drop.ACL_IN, Drop.ACL_OUT} <= set(dropped)


def test_a_fragmented_answer_arrives_where_rules_ask_for_no_ports() -> None:
    rules = [Rule(ALLOW, IN, ICMP_1), Rule(DENY, IN)]
    with NvgreNet(with_acl(load("two_hosts"), red1=rules, red2=rules)) as net:
        ping = net["red1"].run_process(["ping", "-c1", "-W2", "-s", "4000", "10.0.0.2"])
        assert ping.returncode == 0


def test_a_list_from_a_file_is_obeyed(tmp_path: Path) -> None:
    text = load("two_hosts").path.read_text()
    vm = "red1: {subnet: red_net, host: host1, "
    assert vm in text
    rules = "acl: [{allow: in, protocol: icmp, source: 10.0.0.2}, {deny: in}], "
    (tmp_path / "guarded.yaml").write_text(text.replace(vm, vm + rules))
    with NvgreNet(load(tmp_path / "guarded.yaml")) as net:
        assert net["red1"].ping("10.0.0.2") is True
        assert net["red1"].ping("10.0.0.3", timeout=1) is False


# The checks bite


MUTANTS = {
    "rules of what a VM sends": without(
        "nvgre.bpf.c", "denied(skb, skb->ingress_ifindex, port->vid, DIRECTION_OUT)"
    ),
    "rules of what a neighbour gets": Mutant(
        "nvgre.bpf.c", "if (denied(skb, record->ifindex, record->vid, DIRECTION_IN))", "if (0)"
    ),
    "rules of what comes from the wire": without("decapsulate.h", "ifindex && denied(skb, ifindex, vid, DIRECTION_IN)"),
    "rules of copies": without("replicate.h", "denied(skb, to->ifindex, to->vid, DIRECTION_IN)"),
    "the IP version": Mutant("acl.h", "rule->version && rule->version != packet->version ? OTHER : 0", "0"),
    "the source": Mutant("acl.h", "bits |= address_bits(&rule->source,", "address_bits(&rule->source,"),
    "the destination": Mutant("acl.h", "bits |= address_bits(&rule->destination,", "address_bits(&rule->destination,"),
    "the last word of an address": Mutant("acl.h", " |\n\t\t\t((wanted[2]", ";//((wanted[2]"),
    "the protocol": Mutant("acl.h", "return wanted != protocol ? OTHER : 0;", "return 0;"),
    "a protocol that cannot be read": Mutant("acl.h", "if (protocol == UNKNOWN_PROTOCOL)\n\t\treturn UNREAD;", ""),
    "source ports": Mutant("acl.h", "bits |= port_bits(rule->source_ports", "port_bits(rule->source_ports"),
    "destination ports": Mutant(
        "acl.h", "bits |= port_bits(rule->destination_ports", "port_bits(rule->destination_ports"
    ),
    "below a range": Mutant("acl.h", "port < range[0] ||", ""),
    "above a range": Mutant("acl.h", "|| port > range[1]", ""),
    "ports that cannot be read": Mutant("acl.h", "if (!readable)\n\t\treturn UNREAD;", ""),
    "what cannot be read is denied": Mutant("acl.h", "(bits == UNREAD && acl->rules[i].deny)", "0"),
    "what cannot be read is not allowed": Mutant("acl.h", "(bits == UNREAD && acl->rules[i].deny)", "bits == UNREAD"),
    "address resolution goes on": without("acl.h", "is_address_resolution(skb, &packet.inner)"),
    "address resolution comes from the link": Mutant("acl.h", "hop_limit == ND_HOP_LIMIT &&", ""),
    "address resolution and no more": Mutant("acl.h", "(message == NEIGHBOUR_SOLICITATION ||", "(1 ||"),
    "every rule is tried": Mutant("acl.h", "i < MAX_RULES", "i < MAX_RULES - 1"),
}  # fmt: skip


def every_check(bench: Bench) -> None:
    """Compares the data plane with the specification on every case, and in every place where there are rules."""
    for rules, packet, _ in CASES.values():
        obey(bench, "red1", *rules)
        agrees(bench, "red1", from_red1(packet))
    for test in (
        test_what_comes_in_from_the_wire,
        test_what_comes_in_from_a_vm_of_the_same_host,
        test_copies_of_a_broadcast_go_where_they_may,
    ):
        test(bench)


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS)
def test_disabling_this_check_is_noticed(mutant: Mutant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = mutant.compiled(tmp_path)
    monkeypatch.setattr(ebpf, "object_file", lambda: path)

    with running(SWITCHED_ON) as bench, pytest.raises(AssertionError):
        every_check(bench)


def test_the_data_plane_passes_unchanged(bench: Bench) -> None:
    every_check(bench)


def test_a_host_without_rules_has_no_code_for_them() -> None:
    with running() as bench:
        obey(bench, "red1", NOTHING_OUT)  # too late: the programs are loaded
        assert bench.from_port("red1", from_red1(https)).action == REDIRECT


def test_the_programs_load_with_everything_else_switched_on_too() -> None:
    choices: dict[str, Any] = {
        "source_check": SourceCheck.CA,
        "unknown": UnknownUnicast.FLOOD,
        "neighbours": Neighbours.PROXY,
        "too_big": TooBig.FRAGMENT,
        "clamp_mss": True,
        "dscp": COPY,
        "ecn": Ecn.COPY,
        "pcp_to_dscp": {5: 46},
        "carries": Carries.IP,
        "deviations": frozenset(Deviation),
    }
    for scenario in (SWITCHED_ON, with_acl(routing_frames.ROUTED, red1=[NEVER])):
        with running(scenario.with_nve(**choices)) as bench:
            assert bench.from_port("red1", from_red1(https)).moved


def test_a_65th_rule_is_refused() -> None:
    with pytest.raises(ValueError, match="65 rules"):
        acl_map.packed([NOTHING_OUT] * (MAX_RULES + 1))
