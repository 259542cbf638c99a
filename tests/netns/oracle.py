"""The executable specification as the judge of a data plane: gives a frame to both, and compares everything."""

from __future__ import annotations

import time
from collections.abc import Callable

from experiments.watch import Place, Sighting, Watch, packet_socket
from nvgre_node.dataplane import model
from nvgre_node.groups import group_mac
from nvgre_node.wire import GRE_PROTOCOL, octets

from .bench import Bench
from .frames import DROP, PASS, REDIRECT


def state_of(bench: Bench, mtu: int | None = None) -> model.State:
    """What host1 knows, as the specification takes it; by default the underlay carries packets of 1500 bytes."""
    policy, mac = bench.host.policy, octets(bench.mac)
    next_hops = dict.fromkeys(policy.remote_pas, octets(bench.peer_mac))
    next_hops |= {group: group_mac(group) for group in policy.joined}
    largest = mtu or 1500 + bench.overhead
    paths = {to: model.Path(bench.uplink, mac, next_hop, largest) for to, next_hop in next_hops.items()}
    now = time.monotonic()
    learnt = {(s.vsid, octets(s.mac)): model.Learnt(s.pa, now - s.age) for s in bench.host.dataplane.learnt()}
    return model.State(policy, frozenset({mac}), paths, learnt, now)


def agrees(bench: Bench, interface: str, frame: bytes) -> model.Result:
    """Compares action, bytes and counters for a frame that goes to one place at most; returns what was specified."""
    wanted = model.handle(state_of(bench), interface, frame)
    got = bench.from_uplink(frame) if interface == bench.uplink else bench.from_port(interface, frame)
    action = PASS if wanted.left_alone else REDIRECT if wanted.out else DROP
    assert (got.action, got.moved, got.moved_at_ends) == (action, dict(wanted.counted), dict(wanted.at_ends))
    if wanted.out:
        assert got.frame.hex(" ") == wanted.out[0][1].hex(" ")
    return wanted


def agrees_on_flood(bench: Bench, interface: str, frame: bytes, inner: bytes) -> None:
    """Compares who hears what, and the counters, for a frame to a group: `inner` as the VMs are to hear it.

    A test run does not send what is redirected: what goes to a group of the underlay is the frame that it returns.
    """
    wanted = model.handle(state_of(bench), interface, frame)
    grouped = any(name == bench.uplink and sent[0] & 1 for name, sent in wanted.out)
    listeners = [Place(bench.net[name], "eth0") for name in ("red1", "red3", "blue1")]
    with Watch([*listeners, Place(bench.host, bench.uplink, incoming_only=False)]) as watch:
        got = bench.from_uplink(frame) if interface == bench.uplink else bench.from_port(interface, frame)
        seen = watch.until(lambda so_far: len(so_far) >= len(wanted.out) - grouped) + watch.heard(1)
    nodes = {bench.uplink: bench.host.name}
    out = sorted((nodes.get(name, name), sent) for name, sent in wanted.out)
    action = REDIRECT if grouped else DROP
    assert (got.action, got.moved, got.moved_at_ends) == (action, dict(wanted.counted), dict(wanted.at_ends))
    heard = [(sighting.node, sighting.frame) for sighting in seen if inner in sighting.frame]
    assert sorted([*heard, (bench.host.name, got.frame)] if grouped else heard) == out


def agrees_on_the_wire(
    bench: Bench, vm: str, frame: bytes, mtu: int, but: Callable[[bytes], bytes] = bytes
) -> list[bytes]:
    """Compares what leaves host1 or comes back to a VM that sends a frame, in order, and the counters; returns it.

    For what takes more than one run of a program. `mtu` is that of the underlay; `but` blanks what may differ.
    """
    wanted = model.handle(state_of(bench, mtu), vm, frame)
    places = [Place(bench.net[vm], "eth0"), Place(bench.host, bench.uplink, incoming_only=False)]
    before, at_ends = bench.tally(), bench.ends_tally()
    with Watch(places) as watch, packet_socket(places[0]) as sock:
        sock.send(frame)
        everything = watch.until(lambda so_far: len(_of_nve(bench, so_far)) >= len(wanted.out)) + watch.heard(5)
    seen = _of_nve(bench, everything)
    nodes = {bench.uplink: bench.host.name}
    expected = [(nodes.get(name, name), but(out).hex(" ")) for name, out in wanted.out]
    assert [(sighting.node, but(sighting.frame).hex(" ")) for sighting in seen] == expected
    assert bench.moved_since(before) == dict(wanted.counted)
    assert bench.moved_at_ends_since(at_ends) == dict(wanted.at_ends)
    return [sighting.frame for sighting in seen]


def _of_nve(bench: Bench, seen: list[Sighting]) -> list[Sighting]:
    """What the NVE of host1 sent, to the underlay or to a VM; not what its host says of its own accord."""
    protocol_at = {b"\x08\x00": 23, b"\x86\xdd": 20}

    def is_nvgre(frame: bytes) -> bool:
        at = protocol_at.get(frame[12:14], 0)
        is_fragment = at == 20 and frame[at] == 44
        return frame[6:12] == octets(bench.mac) and frame[54 if is_fragment else at] == GRE_PROTOCOL

    return [sighting for sighting in seen if sighting.node != bench.host.name or is_nvgre(sighting.frame)]
