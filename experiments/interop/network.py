"""The network of a pair: of a scenario the two hosts between which a virtual subnet reaches, with other ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Self

from experiments.base import Workbench, distant_pairs
from experiments.conformance.lab import Uplink
from experiments.interop.ends import End, FlowIds, Pair
from experiments.interop.parties import PARTIES, Site
from experiments.interop.stations import Interface, Station
from nvgre_node import choices
from nvgre_node.choices import RecordType
from nvgre_node.errors import BadInputError
from nvgre_node.groups import NO_GROUPS
from nvgre_node.net import NvgreNet
from nvgre_node.node import TenantVM
from nvgre_node.policy import Address, Nve, Policy, Vm
from nvgre_node.wire import OVERHEAD
from topologies import Scenario

MTU = 1500
"""Of the underlay and of the VMs' links, in bytes: so that a VM can send what does not fit."""

_NOBODY = "model"
"""What is there, and closed, before a third party comes: it leaves nothing behind, and has offloads switched off."""


@dataclass(frozen=True)
class Setting:
    """How a pair meets: over which outer IP version, and whether FlowIDs are set."""

    version: int
    flow_ids: FlowIds

    def __str__(self) -> str:
        return f"IPv{self.version}, FlowIDs {self.flow_ids}"


@dataclass(frozen=True)
class Side:
    """One end in a running network: its host's uplink, its PA, and the tenant behind it."""

    end: End
    uplink: Uplink
    pa: Address
    vm: Vm
    station: Station


@dataclass(frozen=True)
class Meeting:
    """A pair in a running network. `limit` is the largest inner packet that fits (F3), in bytes."""

    pair: Pair
    setting: Setting
    left: Side
    right: Side
    vsid: int
    limit: int

    @property
    def directions(self) -> Iterator[tuple[Side, Side]]:
        """Who sends, and who receives."""
        yield self.left, self.right
        yield self.right, self.left

    def turned(self) -> Self:
        """The same, seen from the other end."""
        return replace(self, left=self.right, right=self.left)


def reduced(scenario: Scenario) -> Scenario:
    """Of a scenario two provider hosts with one VM each, in one virtual subnet, and the fabric, without any choice.

    A third party knows of none of the choices that a scenario may make.

    Raises:
        BadInputError: it has no two VMs with a CA of IPv4 in one virtual subnet on different hosts.
    """
    found = [(a, b) for a, b in distant_pairs(scenario.policy) if a.ca(4) and b.ca(4)]
    if not found:
        raise BadInputError(
            f"{scenario.name} has no two VMs with IPv4 in one virtual subnet on different provider hosts"
        )
    plain = [replace(vm, pa=None, record=RecordType.STATIC, acl=(), leg=None, behind=None) for vm in found[0]]
    hosts = {vm.host for vm in plain}
    pas = {vm.host: scenario.policy.pa_of(vm) for vm in found[0]}
    others = {nve.host for nve in scenario.policy.nves} - hosts
    subnet = next(own for own in scenario.policy.subnets if own.name == plain[0].subnet)
    policy = Policy(
        nves=tuple(
            Nve(nve.host, tuple(pa for pa in nve.pas if pa.ip == pas[nve.host]), vlan=nve.vlan)
            for nve in scenario.policy.nves
            if nve.host in hosts
        ),
        subnets=(replace(subnet, groups=NO_GROUPS, acl=()),),
        vms=tuple(plain),
    )
    links = tuple(link for link in scenario.fabric.links if not {link.a.node, link.b.node} & others)
    return replace(scenario, policy=policy, fabric=replace(scenario.fabric, links=links))


def scenario_of(scenario: Scenario, pair: Pair, setting: Setting) -> Scenario:
    """The network in which a pair meets; a third party's host has a data plane that will give way."""
    own = scenario.over_ipv6() if setting.version == 6 else scenario
    left, right = own.policy.vms
    planes = {left.host: pair.left.name, right.host: pair.right.name if pair.right.is_ours else _NOBODY}
    chosen = choices.FlowIds.NONE if setting.flow_ids is FlowIds.ZERO else choices.FlowIds.FLOW
    nves = tuple(replace(nve, dataplane=planes[nve.host], flow_ids=chosen) for nve in own.policy.nves)
    return replace(own, policy=replace(own.policy, nves=nves)).with_mtu(underlay=MTU, tenant=MTU)


@contextmanager
def meeting(scenario: Scenario, pair: Pair, setting: Setting, bench: Workbench | None) -> Iterator[Meeting]:
    """A pair in a running network; `scenario` is a reduced one.

    Raises:
        BadInputError: a data plane lacks what this takes.
        PartyError: a third party could not be started.
    """
    of_pair = scenario_of(scenario, pair, setting)
    a, b = of_pair.policy.vms
    pas = {vm.name: of_pair.policy.pa_of(vm) for vm in (a, b)}
    vsid = of_pair.policy.subnets[0].vsid
    limit = MTU - OVERHEAD[setting.version]
    with NvgreNet(of_pair) as net, Interface(net[a.name], TenantVM.INTERFACE) as near:
        uplinks = {vm.name: Uplink.of(net[vm.host]) for vm in (a, b)}
        left = Side(pair.left, uplinks[a.name], pas[a.name], a, near)
        if pair.right.is_ours:
            with Interface(net[b.name], TenantVM.INTERFACE) as far:
                yield Meeting(pair, setting, left, Side(pair.right, uplinks[b.name], pas[b.name], b, far), vsid, limit)
            return
        net[b.host].dataplane.close()
        site = Site(net[b.host], net[b.name], b, vsid, pas[b.name], pas[a.name], limit, setting.flow_ids)
        with PARTIES[pair.right.name](site, bench) as far:
            yield Meeting(pair, setting, left, Side(pair.right, uplinks[b.name], pas[b.name], b, far), vsid, limit)
