"""The rules that join the parts of a scenario: names, tenants, MTUs and faults. Pure; `fabric_checks` has the underlay.

Each rule takes the facts of a file and yields all that breaks it. A value that is wrong by itself (None in the facts)
is passed over, as are names where none could be read of what they name: the schema has already spoken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from nvgre_node.acl import MAX_RULES
from nvgre_node.groups import group_mac
from nvgre_node.policy import Address
from topologies import expect_checks, fabric_checks, gateway_checks, routing_checks, server_checks, values
from topologies.facts import Facts, Subnet, Vm
from topologies.problems import Finding, Path, did_you_mean, listed
from topologies.repeats import repeats

IPV6_MTU_LEAST = 1280
"""Bytes that every link with IPv6 must carry (RFC 8200 section 5)."""

Rule = Callable[[Facts], Iterator[Finding]]


def check(facts: Facts) -> list[Finding]:
    """Everything that breaks a rule, rule by rule."""
    tenants = (*RULES, *routing_checks.RULES, *gateway_checks.RULES, *server_checks.RULES)
    rules = (*tenants, *fabric_checks.RULES, *expect_checks.RULES)
    return [finding for rule in rules for finding in rule(facts)]


def there_is_a_vm(facts: Facts) -> Iterator[Finding]:
    """A network without a VM has nobody to talk."""
    if facts.tenants and not facts.vms and facts.vms_are_known:
        yield Finding(("tenants",), "no tenant has a VM", "such as vms: 2, or vms: {red1: {host: host1, ca: ...}}")


def names_are_unique(facts: Facts) -> Iterator[Finding]:
    """A name means one subnet, and one VM, host or router."""
    for name, first, again in repeats((subnet.name, subnet) for subnet in facts.subnets):
        yield Finding(again.path, f"a subnet {name} is there already", f"of tenant {first.tenant}", at_key=True)
    for name, first_vm, again_vm in repeats((vm.node, vm) for vm in facts.machines):
        yield Finding(again_vm.home, f"a VM {name} is there already", f"of tenant {first_vm.tenant}", at_key=True)
    for vm in facts.machines:
        if vm.node in facts.nodes:
            kind = "host" if vm.node in facts.hosts else "router"
            yield Finding(vm.home, f"a {kind} is called {vm.node} too", "each node has its own name", at_key=True)
    for name in facts.routers:
        if name in facts.hosts:
            yield Finding(("routers", name), f"a host is called {name} too", "each node has its own name", at_key=True)


def vsids_are_unique(facts: Facts) -> Iterator[Finding]:
    """A VSID identifies one virtual subnet (T4)."""
    for vsid, first, again in repeats((subnet.vsid, subnet) for subnet in facts.subnets):
        hint = "each virtual subnet has its own"
        yield Finding((*again.path, "vsid"), f"VSID {vsid} is that of {first.name} too", hint)


def one_prefix_per_family(facts: Facts) -> Iterator[Finding]:
    """A subnet has at most one IPv4 and one IPv6 prefix."""
    for subnet in facts.subnets:
        versions = ((prefix and prefix.version, index) for index, prefix in enumerate(subnet.prefixes))
        for version, _, index in repeats(versions):
            what = f"{subnet.prefixes[index]} is a second IPv{version} prefix"
            yield Finding((*subnet.path, "prefixes", index), what, "a subnet has one per IP version")


def inner_groups_can_be_told_apart(facts: Facts) -> Iterator[Finding]:
    """An NVE tells groups of tenants by their MAC address, and each has one group of the underlay (B3)."""
    for subnet in facts.subnets:
        keyed = ((group_mac(inner), (inner, key, group)) for inner, key, group in subnet.inner_groups)
        for mac, (first, _, its), (inner, key, group) in repeats(keyed):
            if its and group and its != group:
                what = f"{inner} and {first} have one MAC address, {mac.hex(':')}, and two groups of the underlay"
                yield Finding((*subnet.path, "groups", key), what, f"an NVE cannot tell them apart: say {its} here")


def groups_are_within_reach(facts: Facts) -> Iterator[Finding]:
    """Every host that serves a subnet has a PA of the IP version of the subnet's groups: it sends to them from it."""
    for subnet in facts.subnets:
        groups: list[tuple[Path, Address | None]] = [((*subnet.path, "group"), subnet.group)]
        groups += [((*subnet.path, "groups", key), group) for _, key, group in subnet.inner_groups]
        hosts = {vm.host: None for vm in facts.vms if facts.subnet_of(vm) is subnet and vm.host in facts.hosts}
        for path, group in groups:
            without = [host for host in hosts if group and not _has_pa(facts, str(host), group.version)]
            if group and without:
                hint = f"{subnet.name} has a VM there: give the host one, or the subnet another group"
                yield Finding(
                    path, f"{group} cannot be reached from {without[0]}, which has no IPv{group.version} PA", hint
                )


def _has_pa(facts: Facts, host: str, version: int) -> bool:
    return any(pa is None or pa.version == version for pa in facts.hosts[host])


def vms_are_in_a_subnet(facts: Facts) -> Iterator[Finding]:
    """A VM has a subnet of its own, or a trunk port; where its tenant has one only, it need not say so."""
    for vm in facts.vms:
        on_a_trunk = vm.vid is not None or ("trunk" in vm.says and "ca" not in vm.says)
        if not on_a_trunk and "subnet" not in vm.says and (own := facts.subnet_names(vm.tenant)):
            yield Finding((*vm.path, "subnet"), "is missing", f"{vm.tenant} has several: {listed(own)}")


def one_vlan_per_subnet(facts: Facts) -> Iterator[Finding]:
    """On a trunk port, each virtual subnet is there once: one VLAN id each, or untagged (I5)."""
    ports = (((vm.tenant, vm.node, vm.subnet) if vm.subnet else None, vm) for vm in facts.vms)
    for (_, _, subnet), first, again in repeats(ports):
        if again.node == first.node and again.vid is not None:
            what = "its untagged frames" if first.vid is None else f"its VLAN {first.vid}"
            yield Finding((*again.path, "subnet"), f"{subnet} is that of {what} too", "one VLAN id per virtual subnet")


def vms_name_what_exists(facts: Facts) -> Iterator[Finding]:
    """A VM's subnet is one of its tenant's, and its host exists."""
    for vm in facts.vms:
        own = facts.subnet_names(vm.tenant)
        if own and vm.subnet is not None and vm.subnet not in own:
            owner = facts.subnet_by_name.get(vm.subnet)
            hint = f"tenant {owner.tenant} has one" if owner else did_you_mean(vm.subnet, own)
            yield Finding((*vm.path, "subnet"), f"tenant {vm.tenant} has no subnet {vm.subnet}", hint)
    for vm in facts.machines:
        if facts.hosts and vm.host is not None and vm.host not in facts.hosts:
            hint = did_you_mean(vm.host, facts.hosts)
            yield Finding((*vm.home, "host"), f"no host is called {vm.host}", hint)


def cas_are_in_their_prefix(facts: Facts) -> Iterator[Finding]:
    """A CA is a host's address in a prefix of its subnet (T1)."""
    for vm in facts.vms:
        subnet = facts.subnet_of(vm)
        for index, ca in enumerate(vm.cas):
            if subnet and ca and (wrong := _ca_is_wrong(ca, subnet)):
                yield Finding((*vm.path, "ca", index), str(wrong), wrong.hint)


def _ca_is_wrong(ca: Address, subnet: Subnet) -> values.BadValueError | None:
    prefixes = [prefix for prefix in subnet.prefixes if prefix is not None]
    if len(prefixes) < len(subnet.prefixes):
        return None
    own = next((prefix for prefix in prefixes if ca in prefix), None)
    if own is None:
        has = ", ".join(str(prefix) for prefix in prefixes)
        return values.BadValueError(f"{ca} is outside every prefix of {subnet.name}", f"which has {has}")
    try:
        values.refuse_network_address(ca, own)
    except values.BadValueError as error:
        return error
    return None


def cas_are_unique(facts: Facts) -> Iterator[Finding]:
    """In one virtual subnet a CA belongs to one VM. Other subnets may use it again (T4)."""
    owners = (
        ((vm.tenant, vm.subnet, ca) if ca else None, (vm, index)) for vm in facts.vms for index, ca in enumerate(vm.cas)
    )
    for (_, subnet, ca), (first, _), (vm, index) in repeats(owners):
        yield Finding((*vm.path, "ca", index), f"{ca} is a CA of {first.name} too", f"both are in {subnet}")


def macs_are_unique(facts: Facts) -> Iterator[Finding]:
    """In one virtual subnet a MAC address belongs to one VM. Other subnets may use it again (T4)."""
    for (_, subnet, mac), first, vm in repeats((_mac_key(vm), vm) for vm in facts.vms):
        if vm.home == first.home:
            continue  # one VM, twice in one subnet: that is the mistake, and is reported
        if vm.has_own_mac:
            yield Finding((*vm.home, "mac"), f"{mac} is the MAC address of {first.name} too", f"both are in {subnet}")
        elif not set(first.cas) & set(vm.cas):  # else the CA is the mistake, and is reported
            hint = "it was made from the CA: give this VM a mac"
            yield Finding(vm.path, f"{mac} is the MAC address of {first.name} too", hint, at_key=True)


def _mac_key(vm: Vm) -> tuple[str, str | None, str] | None:
    cas = [ca for ca in vm.cas if ca]
    mac = vm.mac if vm.has_own_mac or not cas else values.made_mac(cas)
    return (vm.tenant, vm.subnet, mac) if mac else None


def pas_are_their_hosts(facts: Facts) -> Iterator[Finding]:
    """A VM is pinned to a PA that its host has (O6)."""
    for vm in facts.vms:
        pas = facts.hosts.get(vm.host or "", ())
        if vm.pa and pas and None not in pas and vm.pa not in {pa.ip for pa in pas if pa}:
            hint = f"it has {', '.join(str(pa.ip) for pa in pas if pa)}"
            yield Finding((*vm.path, "pa"), f"{vm.pa} is no PA of {vm.host}", hint)


def tenants_hosts_share_ip_versions(facts: Facts) -> Iterator[Finding]:
    """The hosts of one tenant's VMs have PAs of the same IP versions: else one could not send to another (O5)."""
    first: dict[str, tuple[str, set[int]]] = {}
    told: set[tuple[str, str]] = set()
    for vm in facts.vms:
        pas = facts.hosts.get(vm.host or "", ())
        if vm.host is None or not pas or None in pas or (vm.tenant, vm.host) in told:
            continue
        told.add((vm.tenant, vm.host))
        own: set[int] = {pa.version for pa in pas if pa}
        other, versions = first.setdefault(vm.tenant, (vm.host, own))
        if own != versions:
            has = [" and ".join(f"IPv{version}" for version in sorted(each)) for each in (own, versions)]
            what = f"{vm.host} has PAs of {has[0]}, and {other}, where {vm.tenant} has VMs too, of {has[1]}"
            yield Finding((*vm.path, "host"), what, "give both hosts PAs of the same IP versions")


def acls_fit(facts: Facts) -> Iterator[Finding]:
    """A port has at most MAX_RULES rules: its VM's and its virtual subnet's."""
    for subnet in facts.subnets:
        if subnet.rules > MAX_RULES:
            what = f"{subnet.rules} rules are too many for a port"
            yield Finding((*subnet.path, "acl"), what, f"{MAX_RULES} are the most")
    for vm in facts.vms:
        own = facts.subnet_of(vm)
        shared = own.rules if own else 0
        if vm.rules and vm.rules + shared > MAX_RULES >= shared:
            hint = f"{MAX_RULES} are the most" + (f", and {shared} are those of {vm.subnet}" if shared else "")
            yield Finding((*vm.path, "acl"), f"{vm.rules + shared} rules are too many for a port", hint)


def mtus_fit(facts: Facts) -> Iterator[Finding]:
    """The underlay carries a full tenant packet (F3), and tenants' MTU and tunnels what IP asks for."""
    underlay, tenant = facts.mtus.underlay, facts.mtus.tenant
    if tenant is None:
        return
    if underlay is None and tenant + facts.overhead > values.MTU_MOST:
        hint = f"with the {facts.overhead} that NVGRE adds it must not pass {values.MTU_MOST}"
        yield Finding(("mtu", "tenant"), f"a tenant MTU of {tenant} is too large for any underlay", hint)
    if underlay is not None and underlay < tenant + facts.overhead and not facts.mtus.undersized:
        what = f"an underlay MTU of {underlay} is too small for a tenant MTU of {tenant}"
        hint = f"NVGRE adds {facts.overhead}: at least {tenant + facts.overhead}, or say undersized: true"
        yield Finding(("mtu", "underlay"), what, hint)
    dual = next((s for s in facts.subnets if any(p and p.version == 6 for p in s.prefixes)), None)
    if dual and tenant < IPV6_MTU_LEAST:
        what = f"a tenant MTU of {tenant} is too small for the IPv6 prefix of {dual.name}"
        yield Finding(("mtu", "tenant"), what, f"at least {IPV6_MTU_LEAST}, RFC 8200 section 5")
    least = IPV6_MTU_LEAST + facts.overhead
    if dual and facts.mtus.undersized and underlay is not None and underlay < least:
        what = f"an underlay MTU of {underlay} is too small for the IPv6 prefix of {dual.name}"
        hint = f"packets of {IPV6_MTU_LEAST} bytes must get through: at least {least}, RFC 7676 section 3.2"
        yield Finding(("mtu", "underlay"), what, hint)


def faults_name_what_exists(facts: Facts) -> Iterator[Finding]:
    """A fault names an existing subnet, a VM in it, and another VM."""
    for fault in facts.faults:
        if facts.subnets and fault.subnet is not None and fault.subnet not in facts.subnet_by_name:
            hint = did_you_mean(fault.subnet, facts.subnet_by_name)
            yield Finding((*fault.path, "subnet"), f"no subnet is called {fault.subnet}", hint)
        for key, name in (("record_of", fault.record_of), ("points_to", fault.points_to)):
            if facts.vms and name is not None and name not in facts.vm_by_name:
                hint = did_you_mean(name, facts.vm_by_name)
                yield Finding((*fault.path, key), f"no VM is called {name}", hint)


def faults_make_sense(facts: Facts) -> Iterator[Finding]:
    """A fault's record exists in its subnet, is wrong afterwards, and is made wrong once."""
    for fault in facts.faults:
        vm = facts.vm_by_name.get(fault.record_of or "")
        if vm and vm.subnet in facts.subnet_by_name and fault.subnet in set(facts.subnet_by_name) - {vm.subnet}:
            what = f"{fault.subnet} has no record of {vm.name}"
            yield Finding((*fault.path, "subnet"), what, f"{vm.name} is in {vm.subnet}")
        if vm and fault.record_of == fault.points_to:
            yield Finding((*fault.path, "points_to"), f"{vm.name} is where the record points anyway", "name another VM")
    for name, first, again in repeats((fault.record_of, fault) for fault in facts.faults):
        what = f"the record of {name} is wrong already"
        yield Finding((*again.path, "record_of"), what, f"by faults[{first.index}]")


RULES: tuple[Rule, ...] = (
    there_is_a_vm,
    names_are_unique,
    vsids_are_unique,
    one_prefix_per_family,
    inner_groups_can_be_told_apart,
    groups_are_within_reach,
    vms_are_in_a_subnet,
    one_vlan_per_subnet,
    vms_name_what_exists,
    cas_are_in_their_prefix,
    cas_are_unique,
    macs_are_unique,
    pas_are_their_hosts,
    tenants_hosts_share_ip_versions,
    acls_fit,
    mtus_fit,
    faults_name_what_exists,
    faults_make_sense,
)
