"""The flows of the bridge of an uplink, where Open vSwitch makes outer headers itself: in user space. Pure.

The uplink is a port of that bridge, and the provider host's kernel goes on using it: Open vSwitch hears what the kernel
hears, takes NVGRE packets for its own PAs, and leaves everything else alone.
"""

from __future__ import annotations

from collections.abc import Iterator

from nvgre_node.choices import Ecn
from nvgre_node.dataplane.base import NO_SUBNET, Drop
from nvgre_node.dataplane.openvswitch.pipeline import AT_ECT_1, congested_ttl, cookie
from nvgre_node.policy import Address, NvePolicy

UPLINK = 1
"""The OpenFlow port of the uplink."""

_FIELD = {4: ("ip", "nw_dst"), 6: ("ipv6", "ipv6_dst")}


def flows(policy: NvePolicy, mac: str) -> Iterator[str]:
    """What comes from the uplink, which has this MAC address, and is for a tunnel; and what leaves a tunnel."""
    for pa in (interface.ip for interface in policy.nve.pas):
        yield from _arriving(policy, pa, "LOCAL")
    for group in policy.joined:  # a tunnel ends at a PA, so it gets a packet to a group as one to its own (B2)
        if own := next(iter(policy.nve.pas_of(group.version)), None):
            field = _FIELD[group.version][1].replace("nw", "ip")
            yield from _arriving(policy, group, f"set_field:{mac}->eth_dst,set_field:{own}->{field},LOCAL")
    for ip, _ in _FIELD.values():
        leaving = f"in_port=LOCAL,{ip},nw_proto=47"
        if policy.nve.ecn is Ecn.ZERO:  # Open vSwitch copies it whatever it is told
            yield f"cookie=0,priority=20,{leaving},actions=set_field:0->ip_ecn,output:{UPLINK}"
        else:
            congested = f"set_field:{policy.nve.ttl}->nw_ttl,set_field:3->ip_ecn"
            told = f"nw_ttl={congested_ttl(policy.nve)}"
            yield f"cookie=0,priority=20,{leaving},{told},actions={congested},output:{UPLINK}"
            yield f"cookie=0,priority=10,{leaving},actions=output:{UPLINK}"


def _arriving(policy: NvePolicy, destination: Address, actions: str) -> Iterator[str]:
    """GRE to an address; the tag of an uplink in a VLAN of the underlay is still on it (O4)."""
    ip, field = _FIELD[destination.version]
    tag, untag = "vlan_tci=0/0x1000", ""
    if policy.nve.vlan is not None:
        tag, untag = f"dl_vlan={policy.nve.vlan}", "pop_vlan,"
    match = f"in_port={UPLINK},{tag},{ip},nw_proto=47,{field}={destination}"
    yield f"cookie=0,priority=20,{match},ip_frag=no,actions={untag}{actions}"
    end = f"set_field:{AT_ECT_1[destination.version]}->{field.replace('nw', 'ip')},LOCAL"
    ect_1 = untag + actions.removesuffix("LOCAL") + end
    yield f"cookie=0,priority=30,{match},ip_frag=no,nw_ecn=1,actions={ect_1}"
    yield f"cookie=0x{cookie(Drop.OUTER_FRAGMENT, NO_SUBNET):x},priority=20,{match},ip_frag=yes,actions=drop"  # F2
