"""The executable specification as the judge of a data plane: gives a frame to both, and compares everything."""

from __future__ import annotations

from experiments.watch import Place, Watch
from nvgre_node.dataplane import model
from nvgre_node.wire import octets

from .bench import Bench
from .frames import DROP, PASS, REDIRECT


def state_of(bench: Bench) -> model.State:
    """What host1 knows, as the specification takes it."""
    path = model.Path(bench.uplink, octets(bench.mac), octets(bench.peer_mac), 1500 + bench.overhead)
    policy = bench.host.policy
    return model.State(policy, frozenset({octets(bench.mac)}), dict.fromkeys(policy.remote_pas, path))


def agrees(bench: Bench, interface: str, frame: bytes) -> model.Result:
    """Compares action, bytes and counters for a frame that goes to one place at most; returns what was specified."""
    wanted = model.handle(state_of(bench), interface, frame)
    got = bench.from_uplink(frame) if interface == bench.uplink else bench.from_port(interface, frame)
    action = PASS if wanted.left_alone else REDIRECT if wanted.out else DROP
    assert (got.action, got.moved) == (action, dict(wanted.counted))
    if wanted.out:
        assert got.frame.hex(" ") == wanted.out[0][1].hex(" ")
    return wanted


def agrees_on_flood(bench: Bench, interface: str, frame: bytes, inner: bytes) -> None:
    """Compares who hears what, and the counters, for a frame to a group: `inner` as the VMs are to hear it."""
    wanted = model.handle(state_of(bench), interface, frame)
    listeners = [Place(bench.net[name], "eth0") for name in ("red1", "red3", "blue1")]
    with Watch([*listeners, Place(bench.host, bench.uplink, incoming_only=False)]) as watch:
        got = bench.from_uplink(frame) if interface == bench.uplink else bench.from_port(interface, frame)
        seen = watch.until(lambda so_far: len(so_far) >= len(wanted.out)) + watch.heard(1)
    nodes = {bench.uplink: bench.host.name}
    out = sorted((nodes.get(name, name), sent) for name, sent in wanted.out)
    assert (got.action, got.moved) == (DROP, dict(wanted.counted))
    assert sorted((sighting.node, sighting.frame) for sighting in seen if inner in sighting.frame) == out
