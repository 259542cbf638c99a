"""A packet's way by what NVEs work from, step by step, beside the way that the policy says. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest

from nvgre_node.choices import RecordType
from nvgre_node.consistency import place
from nvgre_node.dataplane.decoded import NveTables, PinnedRecord, PinnedRoute, expected
from nvgre_node.policy import Address, Policy, Port, Vm

NOTHING = "(not reached)"


@dataclass(frozen=True)
class LiveStep:
    """One question on a packet's way, and both answers; `difference` says in a sentence how they differ, or nothing."""

    asked: str
    policy: str
    running: str
    difference: str


@dataclass(frozen=True)
class _Said:
    asked: str
    answer: str
    told: str
    """What the NVE does, as the beginning of a sentence."""


def compared(policy: Policy, found: Mapping[str, NveTables], sender: Vm, target: Address) -> list[LiveStep]:
    """Each step of the way from a VM to a CA, by the policy and by what the NVEs in `found` have, by provider host."""
    wanted = {host: expected(policy.for_host(host)) for host in found}
    both = (list(_walk(policy, tables, sender, target)) for tables in (wanted, found))
    return [_compared(*pair) for pair in zip_longest(*both)]


def _compared(wanted: _Said | None, has: _Said | None) -> LiveStep:
    if has is None:
        return LiveStep(wanted.asked, wanted.answer, NOTHING, "") if wanted else LiveStep("", "", "", "")
    if wanted is None:
        return LiveStep(has.asked, NOTHING, has.answer, "")
    if wanted.asked != has.asked:  # the ways have parted, which an earlier step says
        return LiveStep(has.asked, f"{wanted.asked}: {wanted.answer}", has.answer, "")
    same = wanted.answer == has.answer
    difference = "" if same else f"{has.told}, and the policy says {wanted.answer}"
    return LiveStep(has.asked, wanted.answer, has.answer, difference)


def _walk(policy: Policy, found: Mapping[str, NveTables], sender: Vm, target: Address) -> Iterator[_Said]:
    """The way by these tables: port, route, record, VSID, and what the NVE that it leads to makes of it."""
    host, tables = sender.host, found[sender.host]
    own = _port(policy, sender)
    port = own.interface if own.vid is None else f"{own.interface}.{own.vid}"
    vsid = tables.ports.get(port)
    yield _Said(f"port {port} on {host}", _vsid(vsid), f"{host} has port {port} in {_vsid(vsid)}")
    if vsid is None:
        return
    if target.is_multicast:
        copies = ", ".join(sorted(str(pa) for served, pa in tables.replicas if served == vsid)) or "nobody else"
        yield _Said(f"copies in VSID {vsid}", copies, f"{host} sends copies in VSID {vsid} to {copies}")
        return
    hop = target
    if policy.gateways_of(sender) and not _is_on_link(policy, sender, target):
        route = _route(policy, tables, sender, target)
        way = f"{route.next_hop or 'on-link'} in VSID {route.vsid}" if route else "none"
        yield _Said(f"route to {target} on {host}", way, f"{host} has as route to {target}: {way}")
        if route is None:
            return
        vsid, hop = route.vsid, route.next_hop or target
    yield from _sent(policy, found, sender, vsid, hop)


def _sent(policy: Policy, found: Mapping[str, NveTables], sender: Vm, vsid: int, hop: Address) -> Iterator[_Said]:
    """From the lookup record of a CA on."""
    host = sender.host
    record = found[host].records.get((vsid, str(hop))) or _gateway(policy, found[host], sender, hop)
    asked = f"record of {hop} in VSID {vsid} on {host}"
    if record is None:
        yield _Said(asked, "none", f"{host} has no record of {hop} in VSID {vsid}")
        return
    yield _Said(asked, place(record), f"{host} sends {hop} to {place(record)}")
    yield _Said("to MAC address", record.mac, f"{host} has {hop} at MAC address {record.mac}")
    delivered = f"VSID {record.deliver_vsid}"
    yield _Said("with", delivered, f"{host} sends {hop} with {delivered}")
    if record.pa is not None and record.type != "router":
        yield from _arriving(policy, found, sender, record.pa, record)


def _arriving(
    policy: Policy, found: Mapping[str, NveTables], sender: Vm, pa: Address, record: PinnedRecord
) -> Iterator[_Said]:
    """What the NVE at a PA makes of it, if its tables are known."""
    there = next((nve.host for nve in policy.nves if pa in nve.pas_of(pa.version)), None)
    yield _Said(f"who has {pa}", there or "nobody", f"{pa} is {there or 'nobody'}'s")
    if there not in found or there is None:
        return
    source = policy.for_host(sender.host).fixed_source_pa(_port(policy, sender), pa.version)
    if source is None:
        return
    takes = (record.deliver_vsid, source) in found[there].senders
    sends = f"what {source} sends into VSID {record.deliver_vsid}"
    yield _Said(
        f"{there}, {sends}", "taken" if takes else "dropped", f"{there} {'takes' if takes else 'drops'} {sends}"
    )
    local = [own for own in found[there].records.values() if (own.vsid, own.mac) == (record.deliver_vsid, record.mac)]
    where = place(local[0]) if local else "nobody"
    yield _Said(f"{there}, {record.mac} in VSID {record.deliver_vsid}", where, f"{there} has {record.mac} at {where}")


def _port(policy: Policy, vm: Vm) -> Port:
    return next(port for port in policy.for_host(vm.host).ports if port.name == vm.name)


def _vsid(vsid: int | None) -> str:
    return "no virtual subnet" if vsid is None else f"VSID {vsid}"


def _is_on_link(policy: Policy, sender: Vm, ca: Address) -> bool:
    return any(ca in prefix for prefix in policy.subnet(sender.subnet).prefixes)


def _route(policy: Policy, tables: NveTables, sender: Vm, ca: Address) -> PinnedRoute | None:
    """The route of the longest prefix in the sender's routing domain."""
    tenant = policy.tenant_of(sender)
    domain = min(subnet.vsid for subnet in policy.subnets if subnet.tenant == tenant)
    found = [route for (own, prefix), route in tables.routes.items() if own == domain and ca in prefix]
    return max(found, key=lambda route: route.prefix.prefixlen, default=None)


def _gateway(policy: Policy, tables: NveTables, sender: Vm, ca: Address) -> PinnedRecord | None:
    """The record of the gateway in the sender's subnet, for a CA that is outside of it."""
    vsid, kind = policy.vsid_of(sender), str(RecordType.GATEWAY_WILDCARD)
    if _is_on_link(policy, sender, ca):
        return None
    return next((own for own in tables.records.values() if (own.vsid, own.type) == (vsid, kind)), None)
