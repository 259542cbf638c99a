"""Trunk ports: one VM's VLAN ids are virtual subnets of their own, and the priorities of its tags may go on (I5)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import IPv4Interface

from scapy.layers.l2 import Dot1AD, Dot1Q
from scapy.packet import Packet

from experiments.base import distant_pair
from experiments.conformance.lab import DEAD, NOBODY, Lab, Shot, distinct, mark
from experiments.conformance.rows import Finding
from experiments.probes import TEST_ETHERTYPE
from nvgre_node.policy import VirtualSubnet, Vm
from nvgre_node.wire import VSID_FIRST
from topologies import Scenario

_VIDS = ((10, 30), (20, 40))  # of each further subnet: at the sender, and at the receiver
_UNKNOWN_VID, _PCP, _DSCP = 99, 5, 46
_CAS = tuple((IPv4Interface(f"{net}.1/24"), IPv4Interface(f"{net}.2/24")) for net in ("192.0.2", "198.51.100"))


def trunks(scenario: Scenario) -> Scenario:
    """Two VMs on trunk ports, with two virtual subnets beside their own."""
    policy = scenario.policy
    taken = {subnet.vsid for subnet in policy.subnets}
    free = [vsid for vsid in range(VSID_FIRST, VSID_FIRST + len(taken) + len(_VIDS)) if vsid not in taken]
    pair = distant_pair(policy)
    names = [f"trunk_{number}" for number in range(len(_VIDS))]
    subnets = tuple(
        VirtualSubnet(name, policy.tenant_of(pair[0]), vsid, (cas[0].network,))
        for name, vsid, cas in zip(names, free, _CAS, strict=False)
    )
    vlans = tuple(
        replace(vm, name=f"{vm.name}.{vid}", subnet=name, cas=(ca,), vid=vid, behind=None)
        for name, vids, cas in zip(names, _VIDS, _CAS, strict=True)
        for vm, vid, ca in zip(pair, vids, cas, strict=True)
    )
    plain = (replace(vm, behind=None) if vm in pair else vm for vm in policy.vms)  # a trunk port is the VM's own
    more = replace(policy, subnets=(*policy.subnets, *subnets), vms=(*plain, *vlans))
    return replace(scenario, policy=more)


def with_priorities(scenario: Scenario) -> Scenario:
    """NVEs that map a priority to a DSCP."""
    return scenario.with_nve(pcp_to_dscp={_PCP: _DSCP})


def _vlans(lab: Lab) -> list[tuple[Vm, Vm]]:
    """Per further subnet, what the sender and what the receiver is in it."""
    own = {vm.vid: vm for vm in lab.policy.vms if vm.node in {lab.sender.node, lab.receiver.node} and vm.vid}
    return [(own[sent], own[received]) for sent, received in _VIDS]


def _tagged(lab: Lab, *tags: Packet) -> Packet:
    """A frame of the sender for the receiver with tags, the outermost first; without its mark."""
    frame = lab.ethernet(type=0x88A8 if tags and isinstance(tags[0], Dot1AD) else 0x8100)
    for number, tag in enumerate(tags, start=1):
        tag.type = 0x8100 if number < len(tags) else TEST_ETHERTYPE
        frame /= tag
    return frame if tags else lab.ethernet()


def _went(lab: Lab, shot: Shot, inner: bytes) -> str:
    """In which virtual subnet a frame left, and whether it did so without tags."""
    of = lab.sender.host
    return distinct(f"VSID 0x{o.key >> 8:06x}{'' if o.inner == inner else ', changed'}" for o in shot.carriers(of))


def selection(lab: Lab) -> Iterator[Finding]:
    """I5: each VLAN id of a trunk port is one virtual subnet, and untagged frames are in that of the port."""
    (ten, _), (twenty, _) = _vlans(lab)
    tries = {
        "VID 10 of a trunk port": ((Dot1Q(vlan=10),), ten, Dot1Q(vlan=30)),
        "VID 20 of a trunk port": ((Dot1Q(vlan=20),), twenty, Dot1Q(vlan=40)),
        "VID 20 around VID 10": ((Dot1AD(vlan=20), Dot1Q(vlan=10)), twenty, Dot1Q(vlan=40)),
        "VID 0 of a trunk port": ((Dot1Q(vlan=0),), lab.sender, None),
        "no tag on a trunk port": ((), lab.sender, None),
    }
    for what, (tags, vlan, tag) in tries.items():
        payload = mark()
        sent = _tagged(lab, *tags)
        (shot,) = lab.say(sent / payload)
        said = f"frame of {lab.sender.name}, {bytes(sent)[12:].hex(' ', 2)}"
        vsid = f"VSID 0x{lab.policy.vsid_of(vlan):06x}"
        yield Finding("I5", f"{what}, on the wire", said, vsid, _went(lab, shot, bytes(lab.ethernet() / payload)))
        delivered = bytes(_tagged(lab, *([tag] if tag else [])) / payload)
        yield Finding("I5", f"{what}, delivered", said, lab.to_receiver, shot.recovered(delivered))


def unknown(lab: Lab) -> Iterator[Finding]:
    """I5: a VLAN id that is no virtual subnet reaches nobody, whatever is behind it."""
    for what, tags in {
        "an unknown VID": (Dot1Q(vlan=_UNKNOWN_VID),),
        "an unknown VID around VID 10": (Dot1AD(vlan=_UNKNOWN_VID), Dot1Q(vlan=10)),
    }.items():
        sent = _tagged(lab, *tags)
        (shot,) = lab.say(sent / mark())
        said = f"frame of {lab.sender.name}, {bytes(sent)[12:].hex(' ', 2)}"
        copies = f"{len(shot.out[lab.sender.host])} packets, {shot.delivered}" if shot.alive else DEAD
        yield Finding("I5", what, said, f"0 packets, {NOBODY}", copies, shot.reason)


def priorities(lab: Lab) -> Iterator[Finding]:
    """I5: the priority of the outermost tag chooses the outer DSCP, where policy says so; else it is lost."""
    for what, tags, dscp in (
        (f"PCP {_PCP}, mapped", (Dot1Q(vlan=10, prio=_PCP),), _DSCP),
        ("PCP 3, not mapped", (Dot1Q(vlan=10, prio=3),), 0),
        (f"PCP {_PCP} of a priority tag", (Dot1Q(vlan=0, prio=_PCP),), _DSCP),
        (f"PCP {_PCP} behind another tag", (Dot1AD(vlan=10, prio=3), Dot1Q(vlan=10, prio=_PCP)), 0),
    ):
        sent = _tagged(lab, *tags)
        (shot,) = lab.say(sent / mark())
        seen = distinct(f"DSCP {outer.traffic_class >> 2}" for outer in shot.carriers(lab.sender.host))
        said = f"frame of {lab.sender.name}, {bytes(sent)[12:].hex(' ', 2)}"
        yield Finding("I5", what, said, f"DSCP {dscp}", seen)


TRUNKING: tuple[Callable[[Lab], Iterator[Finding]], ...] = (selection, unknown)
