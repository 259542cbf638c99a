"""The rules of what is expected: it speaks of what is there, and of two who differ. Pure.

Whether an expectation fits the policy is not asked: whoever expects a leak may say so. As in `checks`, a value that is
wrong by itself (None in the facts) is passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from topologies.facts import Expected, Facts
from topologies.problems import Finding, Path, did_you_mean, listed

Rule = Callable[[Facts], Iterator[Finding]]
Members = Mapping[str, frozenset[str]]


def names_are_known(facts: Facts) -> Iterator[Finding]:
    """A name is that of a VM, a virtual subnet or a tenant, and of one of them; nobody expects to reach itself."""
    members = _members(facts)
    beyond = {**members, **{name: frozenset({name}) for name in facts.outside}}
    if not facts.vms_are_known or not facts.vms:
        return
    for own in facts.expected:
        found = [*_unknown((*own.path, "from"), own.sources, members, facts)]
        found += _unknown((*own.path, "to"), own.destinations, beyond, facts)
        yield from found
        if not found and not _has_a_pair(own, beyond):
            yield Finding(own.path, "is about nobody but one VM", "from and to are of different VMs")


def steps_are_known(facts: Facts) -> Iterator[Finding]:
    """What is on the way is a router, or a provider host."""
    for own in facts.expected:
        for name in (name for step in own.via for name in step):
            if facts.nodes and name not in facts.nodes:
                what = f"no router and no host is called {name}"
                yield Finding((*own.path, "via"), what, did_you_mean(name, facts.nodes))


def _members(facts: Facts) -> Members:
    """The VMs that a name stands for: not what a trunk port has under VLAN ids, for which a kernel may lack devices."""
    vms = [vm for vm in facts.vms if vm.vid is None]
    found = {name: {vm.name for vm in vms if vm.tenant == name} for name in facts.tenants}
    found |= {own.name: {vm.name for vm in vms if facts.subnet_of(vm) is own} for own in facts.subnets}
    found |= {vm.name: {vm.name} for vm in vms}
    return {name: frozenset(own) for name, own in found.items()}


def _unknown(path: Path, names: tuple[str | None, ...], members: Members, facts: Facts) -> Iterator[Finding]:
    for name in filter(None, names):
        kinds = {
            "a VM": {vm.name for vm in facts.vms if vm.vid is None},
            "a virtual subnet": {subnet.name for subnet in facts.subnets},
            "a tenant": set(facts.tenants),
            "a physical network": set(facts.outside) if path[-1] == "to" else set(),
        }
        are = [kind for kind, own in kinds.items() if name in own]
        if name not in members:
            what = f"no VM, virtual subnet or tenant is called {name}"
            trunk = f"{name} is on a trunk port, with VLANs alone" if name in {vm.node for vm in facts.vms} else ""
            yield Finding(path, what, trunk or did_you_mean(name, members))
        elif len(are) > 1:
            yield Finding(path, f"{name} is {' and '.join(are)}", "another name for one of them")
        elif not members[name]:
            yield Finding(path, f"{name} has no VM that could be asked", f"there are: {listed(members)}")


def _has_a_pair(own: Expected, members: Members) -> bool:
    if None in (*own.sources, *own.destinations):
        return True
    froms, tos = ({vm for name in names for vm in members[name or ""]} for names in (own.sources, own.destinations))
    return len(froms | tos) > 1 and bool(froms) and bool(tos)


RULES: tuple[Rule, ...] = (names_are_known, steps_are_known)
