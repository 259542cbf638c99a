"""The policy of a scenario as PowerShell: the cmdlets that build it on the Hyper-V hosts that need it. Pure.

What HNV has no words for stands in comments at the top. RFC 7637 section 4.5 calls these records the policy.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

from nvgre_node.choices import RecordType, Vendor
from nvgre_node.groups import group_mac
from nvgre_node.outside import attached_to
from nvgre_node.policy import Nve, Policy, VirtualSubnet, Vm
from nvgre_node.wire import OVERHEAD
from topologies.emit import comment, one_line
from topologies.powershell.profile import BROADCAST, HNV, KNOWN_TO_THE_VM, RDID_PREFIX, TYPES, VSID_PREFIX, rdid
from topologies.problems import listed
from topologies.scenario import Scenario
from topologies.schema import MtuPart, NvePart
from topologies.written import CHOICES, faults, plain

_BARE = re.compile(r"[A-Za-z][A-Za-z0-9_-]*|[0-9]+(\.[0-9]+){3}(/[0-9]+)?|[1-9][0-9]{0,8}|0", re.ASCII)
_ON_LINK = {4: str(IPv4Address(0)), 6: str(IPv6Address(0))}

_HEAD = """
The policy of this network for Hyper-V Network Virtualization (HNV), with the cmdlets of the module NetWNV. Run it where
every provider host is reached by its name. A VM's port gets its virtual subnet on its own host, with
Set-VMNetworkAdapter -VMName NAME -VirtualSubnetId VSID."""


def script(scenario: Scenario) -> str:
    """The commands, host by host and then tenant by tenant, with a comment above each group of them."""
    policy = replace(scenario.policy, overrides=())
    head = [f"{scenario.name}: {' '.join(scenario.title.split())}", *_HEAD.splitlines()]
    if missing := beyond_hnv(scenario):
        head += ["", "HNV has no words for this, so that it is not below:", *(f"- {what}" for what in missing)]
    lines = comment(head).splitlines()
    lines += ["", *_variables(policy)]
    for nve in policy.nves:
        lines += ["", f"# {nve.host}", *_host(scenario, nve)]
    if not policy.routing:
        lines += ["", "# Customers' subnets are joined by routers of their own, if at all."]
        lines.append(_command("Set-NetVirtualizationGlobal", "$hosts", UseExternalRouter="$true"))
    for tenant in dict.fromkeys(subnet.tenant for subnet in policy.subnets):
        lines += ["", f"# {tenant}", *_tenant(policy, tenant)]
    return "\n".join([*lines, ""])


def _variables(policy: Policy) -> Iterator[str]:
    yield "$uplink = 'Ethernet' # what the adapter to the underlay is called on every host: put its name in"
    yield f"$hosts = {', '.join(repr(nve.host) for nve in policy.nves)}"
    for tenant in dict.fromkeys(subnet.tenant for subnet in policy.subnets):
        yield f"${RDID_PREFIX}{tenant} = '{rdid(tenant)}'"
    for subnet in policy.subnets:
        yield f"${VSID_PREFIX}{subnet.name} = {subnet.vsid}"


def _host(scenario: Scenario, nve: Nve) -> Iterator[str]:
    index = f"$ifindex_{nve.host}"
    yield f"{index} = (Get-NetAdapter -CimSession {nve.host} -Name $uplink).ifIndex"
    for pa in nve.pas:
        own: dict[str, object] = {"ProviderAddress": pa.ip, "PrefixLength": pa.network.prefixlen}
        own |= {"InterfaceIndex": index} | ({"VlanID": nve.vlan} if nve.vlan else {})
        yield _command("New-NetVirtualizationProviderAddress", nve.host, **own)
    for route in scenario.fabric.routes(nve.host):
        way = {"DestinationPrefix": route.prefix, "NextHop": route.next_hop, "InterfaceIndex": index}
        yield _command("New-NetVirtualizationProviderRoute", nve.host, **way)


def _tenant(policy: Policy, tenant: str) -> Iterator[str]:
    subnets = [subnet for subnet in policy.subnets if subnet.tenant == tenant]
    for subnet in subnets:
        for prefix in subnet.prefixes:
            yield _route(policy, subnet, str(prefix), _ON_LINK[prefix.version], 0)
    domain = policy.domain(tenant)
    for route in domain.routes if domain else ():
        home = next(s for s in subnets if any(route.next_hop in prefix for prefix in s.prefixes))
        yield _route(policy, home, str(route.prefix), str(route.next_hop), route.metric)
    for subnet in subnets:
        yield from _groups(policy, subnet)
    for vm in policy.vms:
        if policy.tenant_of(vm) == tenant:
            yield from _records(policy, vm)


def _route(policy: Policy, subnet: VirtualSubnet, prefix: str, next_hop: str, metric: int) -> str:
    way: dict[str, object] = {
        "RoutingDomainID": f"${RDID_PREFIX}{subnet.tenant}",
        "VirtualSubnetID": f"${VSID_PREFIX}{subnet.name}",
        "DestinationPrefix": prefix,
        "NextHop": next_hop,
    }
    way |= {"Metric": metric} if metric else {}
    return _command("New-NetVirtualizationCustomerRoute", _served(policy, subnet), **way)


def _groups(policy: Policy, subnet: VirtualSubnet) -> Iterator[str]:
    """Records that send broadcasts and multicasts of a virtual subnet to groups of the underlay (B2, B3)."""
    if subnet.groups.default:
        yield _record(policy, subnet, BROADCAST, "ffffffffffff", str(subnet.groups.default))
    for inner, outer in subnet.groups.inner:
        yield _record(policy, subnet, str(inner), group_mac(inner).hex(), str(outer))


def _records(policy: Policy, vm: Vm) -> Iterator[str]:
    """The lookup records of a VM. A gateway has one more per IP version, for whatever is behind it."""
    subnet, pa, name = policy.subnet(vm.subnet), str(policy.pa_of(vm)), {"VMName": vm.node}
    if vm.record is RecordType.L2ONLY:
        context = KNOWN_TO_THE_VM + ", ".join(str(ca.ip) for ca in vm.cas)
        own = {**name, "Type": TYPES[vm.record], "Context": context}
        yield _record(policy, subnet, _ON_LINK[4], vm.mac, pa, **own)
        return
    for ca in vm.cas:
        type_ = {"Type": TYPES[vm.record]} if vm.record is RecordType.DYNAMIC else {}
        yield _record(policy, subnet, str(ca.ip), vm.mac, pa, **name, **type_)
    if vm.record is RecordType.GATEWAY_WILDCARD:
        for version in dict.fromkeys(ca.version for ca in vm.cas):
            yield _record(policy, subnet, _ON_LINK[version], vm.mac, pa, **name, Type=TYPES[vm.record])


def _record(policy: Policy, subnet: VirtualSubnet, ca: str, mac: str, pa: str, **more: str) -> str:
    own = {"CustomerAddress": ca, "VirtualSubnetID": f"${VSID_PREFIX}{subnet.name}"}
    own |= {"MACAddress": mac.replace(":", "").upper(), "ProviderAddress": pa, "Rule": "TranslationMethodEncap"}
    return _command("New-NetVirtualizationLookupRecord", _served(policy, subnet), **own, **more)


def _served(policy: Policy, subnet: VirtualSubnet) -> str:
    """The hosts that need to know of a virtual subnet (P2): those with a VM in it, or in what it is routed with."""
    routed = policy.domain(subnet.tenant) is not None
    own = [vm for vm in policy.vms if (policy.tenant_of(vm) == subnet.tenant if routed else vm.subnet == subnet.name)]
    hosts = [nve.host for nve in policy.nves if any(vm.host == nve.host for vm in own)]
    return "$hosts" if len(hosts) in (0, len(policy.nves)) else ", ".join(map(_quoted, hosts))


def _command(cmdlet: str, session: str, **parameters: object) -> str:
    written = (f"-{name} {_quoted(str(value))}" for name, value in parameters.items())
    return " ".join((cmdlet, *written, f"-CimSession {session}"))


def _quoted(text: str) -> str:
    """A word as it stands, if PowerShell takes it as that: a MAC address of digits would be a number."""
    if text.startswith("$") or _BARE.fullmatch(text):
        return text
    return "'" + text.replace("'", "''") + "'"


def beyond_hnv(scenario: Scenario) -> list[str]:
    """What of a scenario the cmdlets cannot say, a line each. Without any, the script reads back as the same policy."""
    policy = scenario.policy
    rules = (_choices, _mtus, _hosts, _fabric, _routers, _ports, _pins, _acls, _gateways)
    found = [what for rule in rules for what in rule(scenario)]
    if policy.overrides:
        wrong = {fault["record_of"] for fault in faults(policy)}
        found.append(f"faults: the records of {listed(wrong)} are the right ones here")
    if scenario.expect:
        found.append("expect: what is expected of the network")
    return found


def _choices(scenario: Scenario) -> Iterator[str]:
    """One line for all NVEs: where one imitates another, it has a line of its own."""
    usual = {name: HNV.get(name, NvePart.model_fields[name].default) for name in CHOICES}
    lines: dict[str, list[str]] = {}
    for nve in scenario.policy.nves:
        other = [name for name in CHOICES if getattr(nve, name) != usual[name]]
        said = one_line({name: plain(getattr(nve, name)) for name in other})
        does = one_line({name: plain(usual[name]) for name in other})
        lines.setdefault(f"{said}, and HNV is {does}" if other else "", []).append(nve.host)
    for line, hosts in ((line, hosts) for line, hosts in lines.items() if line):
        yield f"{'nve' if len(hosts) == len(scenario.policy.nves) else 'NVE of ' + listed(hosts)}: {line}"


def _mtus(scenario: Scenario) -> Iterator[str]:
    needed = scenario.tenant_mtu + max(OVERHEAD[pa.version] for nve in scenario.policy.nves for pa in nve.pas)
    if (scenario.tenant_mtu, scenario.fabric.mtu) != (MtuPart().tenant, needed):
        yield f"MTUs: {scenario.tenant_mtu} bytes of tenants, {scenario.fabric.mtu} of the underlay"


def _hosts(scenario: Scenario) -> Iterator[str]:
    for nve in scenario.policy.nves:
        if nve.vendor is not Vendor.OURS:
            yield f"{nve.host} is of another make"
        if nve.dataplane:
            yield f"{nve.host} has the data plane {nve.dataplane}"
        if nve.deviations:
            yield f"{nve.host} deviates: {listed(set(map(str, nve.deviations)))}"


def _fabric(scenario: Scenario) -> Iterator[str]:
    """Of the underlay, a host knows its next hops: one router, or a link between two, is all that can be told."""
    fabric, hosts = scenario.fabric, [nve.host for nve in scenario.policy.nves]
    lone = len(fabric.routers) == 1 and all(fabric.routes(host) for host in hosts)
    if not lone and (fabric.routers or len(hosts) != 2):
        yield f"routers: {listed(fabric.routers)}: a host knows its next hops alone"
    if any(str(mode) != "outer" for mode in fabric.multipath.values()):
        yield "multipath: what routers choose paths by"


def _routers(scenario: Scenario) -> Iterator[str]:
    policy = scenario.policy
    without = {subnet.tenant for subnet in policy.subnets if policy.domain(subnet.tenant) is None}
    if policy.routing and without:
        yield f"no router for {listed(without)}: UseExternalRouter is for all tenants of a host, or for none"


def _ports(scenario: Scenario) -> Iterator[str]:
    for vm in scenario.policy.vms:
        if vm.vid is not None:
            yield f"{vm.node} has a trunk port, and is in {vm.subnet} under VLAN id {vm.vid}"
        if vm.behind:
            yield f"{vm.name} is behind {vm.behind.port}, which has no NVE, under VLAN id {vm.behind.vid}"


def _pins(scenario: Scenario) -> Iterator[str]:
    """A record has a PA either way: that it is pinned shows only where it would be another."""
    policy = scenario.policy
    loose = replace(policy, vms=tuple(replace(vm, pa=None) for vm in policy.vms))
    for vm, free in zip(policy.vms, loose.vms, strict=True):
        if vm.pa is not None and vm.pa == loose.pa_of(free):
            yield f"{vm.name} is pinned to {vm.pa}, which it would have anyway"


def _acls(scenario: Scenario) -> Iterator[str]:
    own = {subnet.name for subnet in scenario.policy.subnets if subnet.acl}
    own |= {vm.name for vm in scenario.policy.vms if vm.acl}
    if own:
        yield f"access control lists of {listed(own)}: see Add-VMNetworkAdapterExtendedAcl"


def _gateways(scenario: Scenario) -> Iterator[str]:
    policy = scenario.policy
    for vm in policy.vms:
        if vm.leg:
            yield f"{vm.name} leads to {attached_to(policy, vm.leg)} ({vm.leg.mode}): its record alone is here"
    led_to = {name for vm in policy.vms if vm.leg for name in (vm.leg.to, attached_to(policy, vm.leg))}
    if idle := {network.name for network in policy.outside} - led_to:
        yield f"physical networks: {listed(idle)}"
