"""Multicast groups of the underlay: what goes there instead of to each NVE, who joins, and who gets nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address

from scapy.layers.igmp import IGMPv3_MQ, IGMPv3_MR
from scapy.layers.inet import IP
from scapy.layers.l2 import Ether

from experiments.base import distant_pair
from experiments.conformance.lab import DEAD, NOBODY, Lab, distinct, mark
from experiments.conformance.rows import Finding
from experiments.probes import BROADCAST
from nvgre_node.groups import SubnetGroups, group_mac
from topologies import Scenario

GROUP, FIVES_GROUP, OTHERS_GROUP = (IPv4Address(f"239.1.1.{n}") for n in (1, 2, 3))
FIVES = IPv4Address("239.5.5.5")
_MULTICAST = "01:00:5e:00:00:fb"
_ALL_SYSTEMS = IPv4Address("224.0.0.1")


def sharing(scenario: Scenario) -> Scenario:
    """A variant with one group for all subnets, and one more for an inner group of the first pair's."""
    groups = {subnet.name: SubnetGroups(GROUP) for subnet in scenario.policy.subnets}
    own = distant_pair(scenario.policy)[0].subnet
    return _gathered(scenario).with_groups({**groups, own: SubnetGroups(GROUP, ((FIVES, FIVES_GROUP),))})


def apart(scenario: Scenario) -> Scenario:
    """A variant in which the first pair's subnet has another group than all others."""
    groups = {subnet.name: SubnetGroups(OTHERS_GROUP) for subnet in scenario.policy.subnets}
    return _gathered(scenario).with_groups({**groups, distant_pair(scenario.policy)[0].subnet: SubnetGroups(GROUP)})


def _gathered(scenario: Scenario) -> Scenario:
    """The VMs of all other subnets are on the first pair's first host: its second has that one subnet alone."""
    policy, (first, _) = scenario.policy, distant_pair(scenario.policy)
    vms = (vm if vm.subnet == first.subnet else replace(vm, host=first.host, behind=None) for vm in policy.vms)
    return replace(scenario, policy=replace(policy, vms=tuple(vms)))


# What leaves


def groups(lab: Lab) -> Iterator[Finding]:
    """B1, B2, B3, S4: what is for many leaves once, for the group that its subnet or its inner group has."""
    tries = {"a broadcast": BROADCAST, "a multicast": _MULTICAST, "an inner group's": group_mac(FIVES).hex(":")}
    for what, destination in tries.items():
        (shot,) = lab.say(lab.ethernet(dst=destination) / mark())
        sent, out = f"frame of {lab.sender.name} to {destination}", shot.out[lab.sender.host]
        to = distinct(f"{Ether(packet)[IP].dst} at {Ether(packet).dst}" for packet in out)
        group = FIVES_GROUP if destination == tries["an inner group's"] else GROUP
        yield Finding("B3" if group == FIVES_GROUP else "B1", what, sent, f"{group} at {group_mac(group).hex(':')}", to)
        observed = f"{len(out)} packet, {shot.delivered}"
        yield Finding("B2", what, sent, f"1 packet, {_hearers(lab)}", observed, shot.reason)
        unicast = sum(not packet[0] & 1 for packet in out)
        yield Finding("S4", what, sent, "0 unicast copies", f"{unicast} unicast copies" if out else DEAD)


def _hearers(lab: Lab) -> str:
    """All that are to hear what the sender says to many."""
    others = sorted(vm.name for vm in lab.policy.vms if vm.subnet == lab.sender.subnet and vm != lab.sender)
    return f"delivered to {', '.join(others)}"


# Who gets it


def membership(lab: Lab) -> Iterator[Finding]:
    """B2: an NVE tells the routers (IGMP) that it is a member of its subnets' groups."""
    uplink = lab.uplinks[lab.receiver.host]
    query = Ether(src=uplink.far_mac, dst=group_mac(_ALL_SYSTEMS).hex(":"), type=0x0800) / IP(
        src=lab.pa(lab.sender), dst=str(_ALL_SYSTEMS), ttl=1
    )
    reports = lab.answers(query / IGMPv3_MQ(mrcode=1), lambda frame: IGMPv3_MR in Ether(frame))
    records = [record for frame in reports for record in Ether(frame)[IGMPv3_MR].records]
    (shot,) = lab.say(lab.ethernet(dst=BROADCAST) / mark())  # a member whose NVE is dead is none
    said = distinct(str(record.maddr) for record in records) if shot.alive else DEAD
    yield Finding("B2", "IGMP query", "a general query", f"{GROUP}, {FIVES_GROUP}", said)


def strangers(lab: Lab) -> Iterator[Finding]:
    """B4: an NVE in the group that does not serve the VSID drops what another subnet sends to it."""
    yield from _another_subnet(lab, "B4", "another subnet's broadcast, in the same group", 1)


def not_members(lab: Lab) -> Iterator[Finding]:
    """B2: a host behind a router that is not a member of a group gets nothing of it."""
    if lab.uplinks[lab.receiver.host].far.node.name not in lab.uplinks:  # else they share a link, and nobody can choose
        yield from _another_subnet(lab, "B2", "a broadcast, at a host that is not a member", 0)


def _another_subnet(lab: Lab, row: str, what: str, arriving: int) -> Iterator[Finding]:
    """What the receiver's host, and its VMs, get of a broadcast of another subnet on the sender's host."""
    vm = next((vm for vm in lab.policy.vms if vm.subnet != lab.sender.subnet), None)
    if vm is None:
        return
    (shot,) = lab.say(lab.ethernet(src=vm.mac, dst=BROADCAST) / mark(), vm=vm)
    own = sorted(other.name for other in lab.policy.vms if other.subnet == vm.subnet and other != vm)
    heard = f"delivered to {', '.join(own)}" if own else NOBODY
    observed = f"{len(shot.out[vm.host])} sent, {len(shot.into[lab.receiver.host])} arrived, {shot.delivered}"
    yield Finding(row, what, f"a broadcast of {vm.name}", f"1 sent, {arriving} arrived, {heard}", observed, shot.reason)


SHARING: tuple[Callable[[Lab], Iterator[Finding]], ...] = (groups, membership, strangers)
APART: tuple[Callable[[Lab], Iterator[Finding]], ...] = (not_members,)
