"""The rules of servers without an NVE: where that is, and which VLAN id each of their VMs has on the link to it. Pure.

As in `checks`, a value that is wrong by itself (None in the facts) is passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from topologies.facts import Facts
from topologies.problems import Finding, did_you_mean
from topologies.repeats import repeats

Rule = Callable[[Facts], Iterator[Finding]]


def servers_have_names_of_their_own(facts: Facts) -> Iterator[Finding]:
    """No host, router, VM or physical network is called as a server is."""
    vms = {vm.node for vm in facts.machines}
    kinds = (("host", facts.hosts), ("router", facts.routers), ("VM", vms), ("physical network", facts.outside))
    for name in facts.servers:
        for kind in (kind for kind, names in kinds if name in names):
            hint = "each node has its own name"
            yield Finding(("servers", name), f"a {kind} is called {name} too", hint, at_key=True)


def servers_have_a_host(facts: Facts) -> Iterator[Finding]:
    """The NVE of a server is that of a host which exists."""
    for name, host in facts.servers.items():
        if facts.hosts and host is not None and host not in facts.hosts:
            hint = did_you_mean(host, facts.hosts)
            yield Finding(("servers", name, "host"), f"no host is called {host}", hint)


def vms_of_servers_have_a_vlan(facts: Facts) -> Iterator[Finding]:
    """On a server each VM has a VLAN id of its own, and a plain port; on a host none has one."""
    for vm in facts.machines:
        if vm.server is not None and "vlan" not in vm.says and vm.vid is None:
            yield Finding((*vm.home, "vlan"), "is missing", f"such as vlan: 10, which {vm.server} has for no other VM")
        if vm.server is None and "vlan" in vm.says and vm.host in facts.hosts:
            what, hint = f"{vm.host} is a host, and its port needs none", "name a server, or see trunk"
            yield Finding((*vm.home, "vlan"), what, hint, at_key=True)
        if vm.server is not None and (vm.vid is not None or "trunk" in vm.says):
            what, hint = f"a VM on a server has no trunk port: {vm.server} tags its frames", "say vlan: 10"
            yield Finding((*vm.home, "trunk"), what, hint, at_key=True)


def vlans_of_servers_are_unique(facts: Facts) -> Iterator[Finding]:
    """On the link of a server, a VLAN id is one VM's."""
    keys = (((vm.server, vm.vlan) if vm.server and vm.vlan else None, vm) for vm in facts.machines)
    for (server, vlan), first, again in repeats(keys):
        yield Finding((*again.home, "vlan"), f"{vlan} is the VLAN id of {first.name} too", f"both are on {server}")


RULES: tuple[Rule, ...] = (
    servers_have_names_of_their_own,
    servers_have_a_host,
    vms_of_servers_have_a_vlan,
    vlans_of_servers_are_unique,
)
