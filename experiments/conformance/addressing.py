"""Provider addresses: of either IP version, and several of them; what that changes, and what it does not."""

from __future__ import annotations

from collections.abc import Iterator

from experiments.conformance.lab import Lab, distinct, mark
from experiments.conformance.rows import Finding
from experiments.conformance.sending import every_kind, flow
from experiments.probes import Kind
from nvgre_node.outer import outer_of

_FLOWS = 256


def families(lab: Lab) -> Iterator[Finding]:
    """O5, O7: a CA of either IP version over PAs of this one."""
    version = lab.outer_version
    frames = every_kind(lab)
    shots = dict(zip(frames, lab.say(*frames.values()), strict=True))
    packets = [packet for shot in shots.values() for packet in shot.out[lab.sender.host]]
    wire = distinct(f"IPv{outer.version}, protocol {outer.protocol}" for p in packets if (outer := outer_of(p)))
    sent = f"frames of {lab.sender.name}: {', '.join(frames)}"
    yield Finding("O5", f"PAs of IPv{version}", sent, f"IPv{version}, protocol 47", wire)
    for kind in (Kind.UDP, Kind.ICMPV6):
        if kind in shots:
            what = f"CAs of IPv{kind.version} over PAs of IPv{version}"
            yield Finding("O7", what, f"{kind} of {lab.sender.name}", lab.to_receiver, shots[kind].delivered)


def one_pa_each(lab: Lab) -> Iterator[Finding]:
    """O6, U4: which PA serves whom is policy; each virtual subnet has one of its own here."""
    used: set[str] = set()
    for pair in lab.pairs:
        lab.turn_to(*pair)
        (shot,) = lab.say(lab.ethernet() / mark())
        seen = [o for p in shot.out[lab.sender.host] if (o := outer_of(p))]
        used |= {str(pa) for o in seen for pa in (o.source, o.destination)}
        outer = distinct(f"{o.source} -> {o.destination}" for o in seen)
        what, sent = f"the PAs of {lab.sender.subnet}", f"a unicast frame of {lab.sender.name}"
        yield Finding("O6", what, sent, f"{lab.pa(lab.sender)} -> {lab.pa(lab.receiver)}", outer)
        yield Finding("U4", what, sent, lab.to_receiver, shot.delivered)
    wanted = {lab.pa(vm) for pair in lab.pairs for vm in pair}
    if len(lab.pairs) > 1:
        sent = f"{len(lab.pairs)} virtual subnets"
        yield Finding("O6", "PAs in use", sent, f"{len(wanted)} PAs", f"{len(used)} PAs")


def a_pa_per_flow(lab: Lab) -> Iterator[Finding]:
    """E3: flows spread over the source PAs, so that devices that hash outer addresses alone can spread them."""
    template = bytes(flow(lab))
    shots = lab.say(*(template[:-8] + lab.rng.randbytes(4) + template[-4:] + bytes(mark()) for _ in range(_FLOWS)))
    sources = [o.source for shot in shots for p in shot.out[lab.sender.host] if (o := outer_of(p))]
    own = lab.policy.nve(lab.sender.host).pas_of(lab.outer_version)
    sent = f"{_FLOWS} UDP flows with ports drawn by lot"
    yield Finding("E3", "source PAs", sent, ", ".join(map(str, own)), ", ".join(map(str, sorted(set(sources)))))
    arrived = sum(shot.delivered == lab.to_receiver for shot in shots)
    yield Finding("E3", "deliveries", sent, f"{_FLOWS} {lab.to_receiver}", f"{arrived} {lab.to_receiver}")
    one = lab.say(*(flow(lab) / mark() for _ in range(16)))
    same = {o.source for shot in one for p in shot.out[lab.sender.host] if (o := outer_of(p))}
    yield Finding("E3", "one flow", "16 UDP packets of one flow", "1 source PA", f"{len(same)} source PA")
