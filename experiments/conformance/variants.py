"""Variants of a scenario, for the rows that need another network than the one that was asked for. Pure."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_interface
from itertools import count

from experiments.base import distant_pair, distant_pairs
from experiments.conformance import guarding, traffic_class
from nvgre_node.acl import PROTOCOLS, Action, Direction, Rule
from nvgre_node.choices import COPY, Ecn, FlowIds, Fragments, PaChoice, SourceCheck, TooBig, Vendor
from nvgre_node.fabric import Attachment
from nvgre_node.policy import Interface, Nve
from nvgre_node.wire import VSID_FIRST, VSID_LAST
from topologies import Scenario


def as_it_is(scenario: Scenario) -> Scenario:
    """The same network."""
    return scenario


def checking(scenario: Scenario) -> Scenario:
    """NVEs check where their VMs' frames come from."""
    return scenario.with_nve(source_check=SourceCheck.CA)


def listing(scenario: Scenario) -> Scenario:
    """Virtual subnets have access control lists."""
    rules = tuple(
        Rule(Action.DENY, direction, PROTOCOLS["udp"], destination_ports=(port, port))
        for direction, port in ((Direction.OUT, guarding.DENIED_OUT), (Direction.IN, guarding.DENIED_IN))
    )
    policy = scenario.policy
    subnets = tuple(replace(subnet, acl=(*rules, *subnet.acl)) for subnet in policy.subnets)
    return replace(scenario, policy=replace(policy, subnets=subnets))


def probing(scenario: Scenario) -> Scenario:
    """All NVEs are of one make, and probe each other (V3)."""
    return scenario.with_nve(probe=True)


def of_two_makes(scenario: Scenario) -> Scenario:
    """NVEs that probe, but for the second of two distant VMs' hosts: its NVE is of another make (V3)."""
    _, receiver = distant_pair(scenario.policy)
    policy = probing(scenario).policy
    nves = tuple(replace(nve, vendor=Vendor.OTHER) if nve.host == receiver.host else nve for nve in policy.nves)
    return replace(scenario, policy=replace(policy, nves=nves))


def over_ipv6(scenario: Scenario) -> Scenario:
    """The same network with IPv6 in the underlay."""
    return scenario.over_ipv6()


def at_the_limits(scenario: Scenario) -> Scenario:
    """VSIDs at both ends of their range, and VMs that send more than fits."""
    return narrow(at_both_ends(scenario))


def without_flow_ids(scenario: Scenario) -> Scenario:
    """NVEs that generate no FlowIDs."""
    return scenario.with_nve(flow_ids=FlowIds.NONE)


def of_another_ttl(scenario: Scenario) -> Scenario:
    """NVEs with another TTL."""
    return scenario.with_nve(ttl=traffic_class.OTHER_TTL)


def uniform(scenario: Scenario) -> Scenario:
    """NVEs that copy the inner DSCP outside, and back (RFC 2983, uniform)."""
    return scenario.with_nve(dscp=COPY)


def without_ecn(scenario: Scenario) -> Scenario:
    """NVEs in the compatibility mode of ECN (RFC 6040)."""
    return scenario.with_nve(ecn=Ecn.ZERO)


def narrow(scenario: Scenario) -> Scenario:
    """VMs that send more than fits."""
    return scenario.with_mtu(tenant=scenario.fabric.mtu)


def cutting_inside(scenario: Scenario) -> Scenario:
    """NVEs that cut inside what may be cut."""
    return scenario.with_nve(too_big=TooBig.FRAGMENT)


def reassembling(scenario: Scenario) -> Scenario:
    """NVEs that reassemble outer fragments."""
    return scenario.with_nve(fragments=Fragments.REASSEMBLE)


def at_both_ends(scenario: Scenario) -> Scenario:
    """The same network, in which two virtual subnets have the lowest and the highest VSID that a tenant may have."""
    policy = scenario.policy
    other = {subnet.vsid: subnet.vsid for subnet in policy.subnets}
    for (vm, _), end in zip(distant_pairs(policy), (VSID_FIRST, VSID_LAST), strict=False):
        taken = next((own for own, new in other.items() if new == end), None)
        own = policy.vsid_of(vm)
        if taken is not None:  # the two change places
            other[taken] = other[own]
        other[own] = end
    subnets = tuple(replace(subnet, vsid=other[subnet.vsid]) for subnet in policy.subnets)
    overrides = tuple(
        replace(record, vsid=other[record.vsid], deliver_vsid=other[record.deliver_vsid]) for record in policy.overrides
    )
    return replace(scenario, policy=replace(policy, subnets=subnets, overrides=overrides))


def a_pa_per_subnet(scenario: Scenario) -> Scenario:
    """Two PAs per NVE, and each virtual subnet has one of them (O6)."""
    return with_two_pas(scenario, PaChoice.SUBNET)


def a_pa_per_flow(scenario: Scenario) -> Scenario:
    """Two PAs per NVE, and flows spread over them (E3)."""
    return with_two_pas(scenario, PaChoice.FLOW)


def with_two_pas(scenario: Scenario, choice: PaChoice) -> Scenario:
    """The same network, in which each NVE has a second PA in the prefix of its first (O6)."""
    taken = {pa for link in scenario.fabric.links for end in link.ends for pa in end.addresses}
    second: dict[str, Interface] = {}
    for nve in scenario.policy.nves:
        first = nve.pas[0]
        free = (ip_interface(f"{first.ip + n}/{first.network.prefixlen}") for n in count(1))
        second[nve.host] = next(pa for pa in free if pa not in taken)
        taken.add(second[nve.host])

    def more(end: Attachment) -> Attachment:
        return replace(end, addresses=(*end.addresses, second[end.node])) if end.node in second else end

    def richer(nve: Nve) -> Nve:
        return replace(nve, pas=(nve.pas[0], second[nve.host]), pa_choice=choice)

    links = tuple(replace(link, a=more(link.a), b=more(link.b)) for link in scenario.fabric.links)
    policy = replace(scenario.policy, nves=tuple(map(richer, scenario.policy.nves)))
    return replace(scenario, policy=policy, fabric=replace(scenario.fabric, links=links))
