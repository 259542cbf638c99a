"""Underlays with VLANs: the outer frame may have a tag, and NVEs are none the wiser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet

from experiments.conformance.lab import DEAD, NOBODY, Lab, distinct, mark
from experiments.conformance.receiving import spelled
from experiments.conformance.rows import Finding
from nvgre_node.outer import outer_of
from topologies import Scenario

_FIRST_VID = 100


def in_vlans(scenario: Scenario) -> Scenario:
    """Each provider host's uplink is in a VLAN of the underlay, each link in another (O4)."""
    hosts = {nve.host for nve in scenario.policy.nves}
    vid_of: dict[str, int] = {}
    links = []
    for vid, link in enumerate(scenario.fabric.links, start=_FIRST_VID):
        ends = hosts & {end.node for end in link.ends}
        vid_of |= dict.fromkeys(ends, vid)
        links.append(replace(link, vlan=vid if ends else None))
    nves = tuple(replace(nve, vlan=vid_of[nve.host]) for nve in scenario.policy.nves)
    policy = replace(scenario.policy, nves=nves)
    return replace(scenario, policy=policy, fabric=replace(scenario.fabric, links=tuple(links)))


def tagged(lab: Lab) -> Iterator[Finding]:
    """O4: the outer frame has the tag of the uplink's VLAN, the inner one none, and the GRE header is as ever."""
    host = lab.sender.host
    (shot,) = lab.say(lab.ethernet() / mark())
    expected = f"{_tag(lab.policy.nve(host).vlan)}, GRE 2000 6558, as it was sent, {lab.to_receiver}"
    observed = distinct(f"{_outer_tag(packet)}, {_gre(packet, shot.sent)}" for packet in shot.out[host])
    yield Finding("O4", "sent", f"a frame of {lab.sender.name}", expected, f"{observed}, {shot.delivered}")
    own = lab.policy.nve(lab.receiver.host).vlan or 0
    for vid, expected in ((own, lab.to_receiver), (own + 1, NOBODY), (0, NOBODY)):
        packet = _in_vlan(lab.nvgre(), vid)
        (shot,) = lab.inject(packet)
        way = f"received with {_tag(vid)}"
        yield Finding("O4", way, f"{_tag(vid)}, {spelled(packet)}", expected, shot.delivered if shot.alive else DEAD)


def _tag(vid: int | None) -> str:
    return f"VID {vid}"


def _in_vlan(packet: Packet, vid: int) -> Packet:
    """The same packet behind a tag."""
    ethernet = Ether(src=packet[Ether].src, dst=packet[Ether].dst)
    return ethernet / Dot1Q(vlan=vid) / packet[Ether].payload


def _outer_tag(packet: bytes) -> str:
    ethernet = Ether(packet)
    return _tag(ethernet[Dot1Q].vlan) if ethernet.type == 0x8100 else "no tag"


def _gre(packet: bytes, sent: bytes) -> str:
    outer = outer_of(packet)
    if outer is None or not outer.is_gre:
        return "no GRE"
    return f"GRE {outer.gre[:4].hex(' ', 2)}, {'as it was sent' if outer.inner == sent else 'changed'}"


TAGS: tuple[Callable[[Lab], Iterator[Finding]], ...] = (tagged,)
