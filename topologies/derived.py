"""What follows from a scenario: lookup records, customer routes, provider addresses and provider routes, as rows. Pure.

The nouns are those of Hyper-V Network Virtualization. `None` is said in words where a table is made: an unknown CA, an
on-link next hop.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nvgre_node.policy import UNKNOWN_CA, Policy
from topologies.scenario import Scenario
from topologies.written import plain

Row = dict[str, Any]


def lookup_records(policy: Policy) -> Iterator[Row]:
    """Every lookup record. Each NVE that serves a record's virtual subnet has it."""
    for r in policy.records:
        ca = None if r.ca == UNKNOWN_CA else r.ca
        yield {"vsid": r.vsid, "ca": ca, "mac": r.mac, "pa": r.pa, "vm": r.vm, "type": r.type}


def customer_routes(policy: Policy) -> Iterator[Row]:
    """The routes of every routing domain with a router, the ones that the virtual subnets imply among them."""
    for route in policy.routes:
        way = {"prefix": route.prefix, "vsid": route.vsid, "next_hop": route.next_hop, "metric": route.metric}
        yield {"tenant": route.domain, **way}


def provider_addresses(policy: Policy) -> Iterator[Row]:
    """The PAs of every provider host."""
    for nve in policy.nves:
        for pa in nve.pas:
            yield {"host": nve.host, "pa": pa, "vlan": nve.vlan}


def provider_routes(scenario: Scenario) -> Iterator[Row]:
    """The routes in PA space of every provider host."""
    for nve in scenario.policy.nves:
        for route in scenario.fabric.routes(nve.host):
            for next_hop in route.next_hops:
                yield {"host": nve.host, "prefix": route.prefix, "next_hop": next_hop}


def derived(scenario: Scenario) -> dict[str, list[Row]]:
    """All four, as plain data."""
    rows = {
        "lookup_records": lookup_records(scenario.policy),
        "customer_routes": customer_routes(scenario.policy),
        "provider_addresses": provider_addresses(scenario.policy),
        "provider_routes": provider_routes(scenario),
    }
    return {name: [plain(row) for row in found] for name, found in rows.items()}
