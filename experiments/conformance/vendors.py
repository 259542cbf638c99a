"""What NVEs say to each other with the vendors' VSID, and to whom they say nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from scapy.packet import Raw

from experiments.conformance.lab import DEAD, NOBODY, Lab, Shot, mark
from experiments.conformance.receiving import UNLISTED_PA
from experiments.conformance.rows import Finding
from nvgre_node.errors import BadInputError
from nvgre_node.vendor import HEADER, VSID_VENDOR, Kind, Probe

_REQUEST = Probe(Kind.REQUEST, 7637, 1)
_LIVES = "it lives"


def verified(lab: Lab) -> Iterator[Finding]:
    """V2, V4: NVEs whose vendor is verified find each other alive; what they say reaches no tenant."""
    for vm, peer in ((lab.sender, lab.receiver), (lab.receiver, lab.sender)):
        what, sent = f"{vm.host} asks {peer.host}", f"a probe from {lab.pa(vm)} to {lab.pa(peer)}"
        yield Finding("V4", what, sent, _LIVES, _asked(lab, vm.host, peer.host))
    (shot,) = lab.inject(lab.nvgre(Raw(_REQUEST.pack()) / mark(), vsid=VSID_VENDOR))
    yield Finding("V2", "a probe, delivered", "a request of the sender's NVE", NOBODY, shot.delivered, shot.reason)
    yield Finding("V2", "a probe, answered", "a request of the sender's NVE", "1 reply", _replies(lab, shot))
    (shot,) = lab.inject(lab.nvgre(vsid=VSID_VENDOR))
    yield Finding("V2", "no probe, of a verified peer", "a tenant's frame", NOBODY, shot.delivered, shot.reason)
    stranger = UNLISTED_PA[lab.outer_version]
    (shot,) = lab.inject(lab.nvgre(Raw(_REQUEST.pack()) / mark(), vsid=VSID_VENDOR, src=stranger))
    yield Finding("V3", f"a request from {stranger}", "a probe", "0 reply", _replies(lab, shot), shot.reason)


def of_another_make(lab: Lab) -> Iterator[Finding]:
    """V3: an NVE of another make is sent nothing with the vendors' VSID, and not answered either."""
    before = len(lab.everything)
    asked = _asked(lab, lab.sender.host, lab.receiver.host)
    (alive,) = lab.say(lab.ethernet() / mark())  # what was sent before it has been seen by now
    seen = [sighting.frame for sighting in lab.everything[before:] if sighting.node in lab.uplinks]
    sent = sum(HEADER.pack() in frame for frame in seen)
    observed = f"{asked}, {sent} packets" if alive.delivered == lab.to_receiver else DEAD
    yield Finding("V3", f"{lab.sender.host} asks {lab.receiver.host}", "a probe", "refused, 0 packets", observed)
    (shot,) = lab.inject(lab.nvgre(Raw(_REQUEST.pack()) / mark(), vsid=VSID_VENDOR))
    yield Finding("V3", "a request to it", "a probe", "0 reply", _replies(lab, shot), shot.reason)


def _asked(lab: Lab, host: str, peer: str) -> str:
    """Whether an NVE finds another alive, in words."""
    pa = lab.policy.nve(peer).pas[0].ip
    try:
        return "no answer" if lab.net[host].probe(pa) is None else _LIVES
    except BadInputError:
        return "refused"


def _replies(lab: Lab, shot: Shot) -> str:
    """How many replies left the receiver's host; that it sent none counts only where the way was open."""
    reply = Probe(Kind.REPLY, _REQUEST.identifier, _REQUEST.sequence).pack()
    replies = sum(reply in packet for packet in shot.out[lab.receiver.host])
    return f"{replies} reply" if shot.alive else DEAD


VERIFIED: tuple[Callable[[Lab], Iterator[Finding]], ...] = (verified,)
OTHERS: tuple[Callable[[Lab], Iterator[Finding]], ...] = (of_another_make,)
