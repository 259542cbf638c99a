"""Whether what NVEs work from is what the policy says: every difference, as a finding. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from nvgre_node.dataplane.decoded import NveTables, PinnedRecord, PinnedRoute, expected
from nvgre_node.faults import Fault, Finding
from nvgre_node.policy import Address, Policy


def differences(policy: Policy, found: Mapping[str, NveTables]) -> list[Finding]:
    """What NVEs have otherwise than a policy has it. `found` is by provider host; of others nothing is said."""
    alone = [finding for host, has in found.items() for finding in of_nve(policy, host, has)]
    return [*alone, *_duplicates(found)]


def of_nve(policy: Policy, host: str, has: NveTables) -> Iterator[Finding]:
    """What one NVE has otherwise than a policy has it."""
    wanted = expected(policy.for_host(host))
    yield from _ports(host, wanted, has)
    tenants = {subnet.vsid: subnet.tenant for subnet in policy.subnets}
    keys = sorted(wanted.records.keys() | has.records.keys())
    yield from _merged(f for key in keys for f in _record(tenants, host, wanted.records.get(key), has.records.get(key)))
    for missing, unknown, old, new in (
        (Fault.MISSING_SENDER, Fault.UNKNOWN_SENDER, wanted.senders, has.senders),
        (Fault.MISSING_REPLICA, Fault.UNKNOWN_REPLICA, wanted.replicas, has.replicas),
    ):
        yield from (_of(missing, host, vsid=vsid, pa=pa) for vsid, pa in _ascending(old - new))
        yield from (_of(unknown, host, vsid=vsid, pa=pa) for vsid, pa in _ascending(new - old))
    yield from _routes(tenants, host, wanted, has)


def _of(fault: Fault, host: str, **about: Any) -> Finding:
    return Finding(fault, frozenset({host}), {"host": host} | about)


def _ascending(found: frozenset[tuple[int, Address]]) -> list[tuple[int, Address]]:
    return sorted(found, key=lambda pair: (pair[0], pair[1].version, int(pair[1])))


def _ports(host: str, wanted: NveTables, has: NveTables) -> Iterator[Finding]:
    for port, vsid in wanted.ports.items():
        if port not in has.ports:
            yield _of(Fault.MISSING_PORT, host, port=port, wanted=vsid)
        elif (other := has.ports[port]) != vsid:
            yield _of(Fault.PORT_VSID, host, port=port, wanted=vsid, has=other)
    for port in has.ports.keys() - wanted.ports.keys():
        yield _of(Fault.UNKNOWN_PORT, host, port=port, has=has.ports[port])


def _record(
    tenants: Mapping[int, str], host: str, wanted: PinnedRecord | None, has: PinnedRecord | None
) -> Iterator[Finding]:
    """A record's faults, the gravest alone; a leak is one even where the policy asks for it."""
    own = has or wanted
    if own is None:
        return
    vsid, ca = own.vsid, own.ca or own.mac
    if has is None:
        yield _of(Fault.MISSING_RECORD, host, ca=ca, vsid=vsid, wanted=place(own))
        return
    tenant, other = tenants.get(vsid, "nobody"), tenants.get(has.deliver_vsid)
    if other is not None and tenant != other:
        about = {"tenant": tenant, "deliver": has.deliver_vsid, "other": other}
        yield _of(Fault.CROSS_TENANT_RECORD, host, ca=ca, vsid=vsid, **about)
    elif wanted is None:
        yield _of(Fault.UNKNOWN_RECORD, host, ca=ca, vsid=vsid, has=place(has))
    elif has.deliver_vsid != wanted.deliver_vsid:
        about = {"deliver": has.deliver_vsid, "wanted": wanted.deliver_vsid}
        yield _of(Fault.WRONG_VSID, host, ca=ca, vsid=vsid, **about)
    elif has.pa != wanted.pa:
        yield _of(Fault.STALE_RECORD, host, ca=ca, vsid=vsid, has=place(has), wanted=place(wanted))
    elif has != wanted:
        said, meant = (f"{record.type}, MAC {record.mac}" for record in (has, wanted))
        yield _of(Fault.OTHER_RECORD, host, ca=ca, vsid=vsid, has=said, wanted=meant)


def _merged(findings: Iterable[Finding]) -> Iterator[Finding]:
    """The findings that differ in nothing but the CA, each as one: a VM has several."""
    groups: dict[str, list[Finding]] = {}
    for finding in findings:
        groups.setdefault(str((finding.fault, finding.about | {"ca": None})), []).append(finding)
    for same in groups.values():
        cas = " and ".join(str(finding.about["ca"]) for finding in same)
        yield Finding(same[0].fault, same[0].nodes, same[0].about | {"ca": cas})


def place(record: PinnedRecord) -> str:
    """Where a record sends, in words."""
    return "a port of its own" if record.pa is None else str(record.pa)


def _duplicates(found: Mapping[str, NveTables]) -> Iterator[Finding]:
    """A VM that several NVEs have at a port of their own."""
    local: dict[tuple[int, str], list[str]] = {}
    for host, has in found.items():
        own = {(r.deliver_vsid, r.mac) for r in has.records.values() if r.pa is None and r.type != "router"}
        for key in own:
            local.setdefault(key, []).append(host)
    for (vsid, mac), hosts in sorted(local.items()):
        if len(hosts) > 1:
            about = {"hosts": " and ".join(hosts), "mac": mac, "vsid": vsid}
            yield Finding(Fault.DUPLICATE_RECORD, frozenset(hosts), about)


def _routes(tenants: Mapping[int, str], host: str, wanted: NveTables, has: NveTables) -> Iterator[Finding]:
    for key in sorted(wanted.routes.keys() | has.routes.keys(), key=str):
        said, meant = (_way(found.routes.get(key)) for found in (has, wanted))
        if said != meant:
            about = {"prefix": key[1], "tenant": tenants.get(key[0], f"VSID {key[0]}"), "has": said, "wanted": meant}
            yield _of(Fault.CUSTOMER_ROUTE, host, **about)


def _way(route: PinnedRoute | None) -> str:
    if route is None:
        return "nowhere"
    return f"{f'via {route.next_hop}' if route.next_hop else 'on-link'} in VSID {route.vsid}"
