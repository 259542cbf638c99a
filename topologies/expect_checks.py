"""The rules of what is expected: it speaks of what is there, and of two who differ. Pure.

Whether an expectation fits the policy is not asked: whoever expects a leak may say so. As in `checks`, a value that is
wrong by itself (None in the facts) is passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from topologies.facts import Expected, Facts
from topologies.problems import Finding, Path, did_you_mean

Rule = Callable[[Facts], Iterator[Finding]]
Members = Mapping[str, frozenset[str]]


def names_are_known(facts: Facts) -> Iterator[Finding]:
    """A name is that of a VM, a virtual subnet or a tenant, and of one of them; nobody expects to reach itself."""
    kinds = _kinds(facts)
    beyond = kinds | {"a physical network": {name: frozenset({name}) for name in facts.outside}}
    everybody = {name: own for members in reversed(beyond.values()) for name, own in members.items()}
    if not facts.vms_are_known or not facts.vms:
        return
    for own in facts.expected:
        found = [*_unknown((*own.path, "from"), own.sources, kinds, facts)]
        found += _unknown((*own.path, "to"), own.destinations, beyond, facts)
        yield from found
        if not found and not _has_a_pair(own, everybody):
            yield Finding(own.path, "is about nobody but one VM", "from and to are of different VMs")


def steps_are_known(facts: Facts) -> Iterator[Finding]:
    """What is on the way is a router, or a provider host."""
    for own in facts.expected:
        for name in (name for step in own.via for name in step):
            if facts.nodes and name not in facts.nodes:
                what = f"no router and no host is called {name}"
                yield Finding((*own.path, "via"), what, did_you_mean(name, facts.nodes))


def _kinds(facts: Facts) -> dict[str, Members]:
    """The VMs that names stand for, by what has them.

    What a trunk port has under VLAN ids is left out, for which a kernel may lack devices.
    """
    vms = [vm for vm in facts.vms if vm.vid is None]
    tenants = {name: frozenset(vm.name for vm in vms if vm.tenant == name) for name in facts.tenants}
    subnets = {own.name: frozenset(vm.name for vm in vms if facts.subnet_of(vm) is own) for own in facts.subnets}
    return {
        "a VM": {vm.name: frozenset({vm.name}) for vm in vms},
        "a virtual subnet": subnets,
        "a tenant": tenants,
    }


def _unknown(path: Path, names: tuple[str | None, ...], kinds: dict[str, Members], facts: Facts) -> Iterator[Finding]:
    known = {name for members in kinds.values() for name in members}
    for name in filter(None, names):
        meant = {kind: members[name] for kind, members in kinds.items() if name in members}
        if name not in known:
            what = f"no VM, virtual subnet or tenant is called {name}"
            trunk = f"{name} is on a trunk port, with VLANs alone" if name in {vm.node for vm in facts.vms} else ""
            yield Finding(path, what, trunk or did_you_mean(name, known))
        elif len(set(meant.values())) > 1:
            yield Finding(path, f"{name} is {' and '.join(meant)}", "not the same: another name for one of them")
        elif not any(meant.values()):
            yield Finding(path, f"{name} has no VM that could be asked", "name a VM, or what has some")


def _has_a_pair(own: Expected, members: Members) -> bool:
    if None in (*own.sources, *own.destinations) or not own.sources or not own.destinations:
        return True
    froms, tos = ({vm for name in names for vm in members[name or ""]} for names in (own.sources, own.destinations))
    return len(froms | tos) > 1 and bool(froms) and bool(tos)


RULES: tuple[Rule, ...] = (names_are_known, steps_are_known)
