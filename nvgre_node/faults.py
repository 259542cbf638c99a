"""What can be wrong with a running network, and the sentence that says so: what, where, and the mend. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Fault(StrEnum):
    """A kind of fault; docs/faults.md shows how each comes about."""

    MISSING_RECORD = "missing record"
    STALE_RECORD = "stale record"
    UNKNOWN_RECORD = "unknown record"
    DUPLICATE_RECORD = "duplicate record"
    CROSS_TENANT_RECORD = "cross-tenant record"
    WRONG_VSID = "wrong VSID"
    OTHER_RECORD = "other record"
    MISSING_PORT = "missing port"
    PORT_VSID = "port in the wrong VSID"
    UNKNOWN_PORT = "unknown port"
    MISSING_SENDER = "missing peer"
    UNKNOWN_SENDER = "unknown peer"
    MISSING_REPLICA = "missing replica"
    UNKNOWN_REPLICA = "unknown replica"
    CUSTOMER_ROUTE = "customer route"
    DETACHED = "program detached"
    NO_NODE = "node gone"
    NO_MAPS = "maps gone"
    ROUTER_DOWN = "router down"
    NO_FORWARDING = "no forwarding"
    LINK_DOWN = "link down"
    SMALL_MTU = "MTU too small"
    NO_PA = "address withdrawn"
    NO_ROUTE = "no route"
    NO_NEXT_HOP = "next hop unresolved"
    NVGRE_BLOCKED = "NVGRE blocked"
    NOTHING_ARRIVES = "nothing arrives"
    BLACK_HOLE = "MTU black hole"


_REWRITE = "./nvgre doctor {run} --mend writes the policy anew"
_AGAIN = "leave the Mininet shell and start the network again"
_IN = "ip netns exec {run}-{node}"

SENTENCES = {
    Fault.MISSING_RECORD: ("{host} has no record of {ca} in VSID {vsid}, and the policy says {wanted}", _REWRITE),
    Fault.STALE_RECORD: ("{host} sends {ca} in VSID {vsid} to {has}, and the policy says {wanted}", _REWRITE),
    Fault.UNKNOWN_RECORD: (
        "{host} has a record of {ca} in VSID {vsid}, at {has}, of which the policy knows nothing",
        _REWRITE,
    ),
    Fault.DUPLICATE_RECORD: ("{hosts} each have {mac} in VSID {vsid} at a port of their own", _REWRITE),
    Fault.CROSS_TENANT_RECORD: (
        "{host} lets {ca} in VSID {vsid} of {tenant} lead into VSID {deliver} of {other}: a leak",
        f"{_REWRITE}, unless the scenario has it in its `faults:`",
    ),
    Fault.WRONG_VSID: (
        "{host} sends {ca} in VSID {vsid} with VSID {deliver}, and the policy says VSID {wanted}",
        _REWRITE,
    ),
    Fault.OTHER_RECORD: (
        "{host} has {ca} in VSID {vsid} as {has}, and the policy says {wanted}",
        _REWRITE,
    ),
    Fault.MISSING_PORT: ("{host} has no port {port}, and the policy says that it is in VSID {wanted}", _REWRITE),
    Fault.PORT_VSID: ("{host} has port {port} in VSID {has}, and the policy says VSID {wanted}", _REWRITE),
    Fault.UNKNOWN_PORT: ("{host} has a port {port} in VSID {has}, of which the policy knows nothing", _REWRITE),
    Fault.MISSING_SENDER: ("{host} drops what {pa} sends into VSID {vsid}: it is not among its peers", _REWRITE),
    Fault.UNKNOWN_SENDER: ("{host} lets {pa} send into VSID {vsid}, and the policy does not", _REWRITE),
    Fault.MISSING_REPLICA: ("{host} sends no broadcast of VSID {vsid} to {pa}, and the policy does", _REWRITE),
    Fault.UNKNOWN_REPLICA: ("{host} sends broadcasts of VSID {vsid} to {pa}, and the policy does not", _REWRITE),
    Fault.CUSTOMER_ROUTE: ("{host} routes {prefix} of {tenant} {has}, and the policy says {wanted}", _REWRITE),
    Fault.DETACHED: (
        "the program {program} is not attached to {interface} of {host}: the NVE does not see what comes in there",
        "./nvgre doctor {run} --mend attaches it",
    ),
    Fault.NO_NODE: ("{node} has no network namespace any more", _AGAIN),
    Fault.NO_MAPS: (
        "the maps of the NVE of {host} cannot be read",
        _AGAIN,
    ),
    Fault.ROUTER_DOWN: (
        "{node} is down: none of its links is up",
        f"{_IN} ip link set {{interface}} up, and so on for its other interfaces, and ./nvgre doctor {{run}} --mend",
    ),
    Fault.NO_FORWARDING: ("{node} does not forward IPv{version}", f"{_IN} sysctl -w {{sysctl}}=1"),
    Fault.LINK_DOWN: (
        "the link from {node} ({interface}) to {peer} is down",
        f"{_IN} ip link set {{interface}} up, and ./nvgre doctor {{run}} --mend",
    ),
    Fault.SMALL_MTU: (
        "the link from {node} ({interface}) to {peer} takes {mtu} bytes, and tenants' {tenant} need {needed}",
        f"{_IN} ip link set {{interface}} mtu {{needed}}",
    ),
    Fault.NO_PA: (
        "{node} does not have its address {address} on {interface}",
        f"{_IN} ip addr add {{address}} dev {{interface}}",
    ),
    Fault.NO_ROUTE: ("{node} has no route to {pa} of {host}", f"{_IN} ip route add {{prefix}} via {{hop}}"),
    Fault.NO_NEXT_HOP: (
        "{node} cannot resolve {hop}, its next hop to {pa} of {host}",
        f"see whether {{hop}} answers: {_IN} arping or ndisc6",
    ),
    Fault.NVGRE_BLOCKED: (
        "NVGRE (IP protocol 47) from {host} to {pa} of {peer} comes as far as {seen}, and other protocols arrive",
        "look for a firewall there: ip netns exec {run}-{seen} nft list ruleset",
    ),
    Fault.NOTHING_ARRIVES: (
        "nothing from {host} arrives at {pa} of {peer}: it comes as far as {seen}",
        "look at routes and firewalls there: ip netns exec {run}-{seen} ip route get {pa}",
    ),
    Fault.BLACK_HOLE: (
        "packets of {needed} bytes from {host} do not arrive at {pa} of {peer}, and small ones do: an MTU black hole",
        "they come as far as {seen}, so look there: ip netns exec {run}-{seen} ip link",
    ),
}
"""What is wrong and where, and the mend, of each kind; in braces what is filled in."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong. `nodes` are those it is about; `about` fills in its sentence."""

    fault: Fault
    nodes: frozenset[str]
    about: dict[str, Any] = field(hash=False)

    @property
    def what(self) -> str:
        """What is wrong, and where."""
        return SENTENCES[self.fault][0].format(**self.about)

    def mend(self, run: str) -> str:
        """What to do about it in a network of this id."""
        return SENTENCES[self.fault][1].format(run=run, **self.about)

    def sentence(self, run: str) -> str:
        """Both, in one sentence."""
        return f"{self.what}; the mend: {self.mend(run)}"
