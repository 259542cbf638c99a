"""Many frames, drawn by lot: `ebpf` and the specification make the same of each, in many networks.

`./nvgre test -m agreement --frames 1000000 --seed 7` is the long form. A frame that differs is printed with the seed
and its number; it becomes a vector in `vectors.py`, which is tried from then on.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from itertools import chain, islice, repeat
from pathlib import Path

import pytest

from nvgre_node.dataplane.planes import ebpf
from nvgre_node.policy import Nve
from topologies import Scenario, load

from .bench import running
from .comparison import Comparison, Difference
from .lots import Lots, Underlay, network
from .mutation import Mutant, without
from .vectors import VECTORS, Vector

pytestmark = pytest.mark.agreement

_PER_NETWORK = 25_000
_SHOWN = 5


def compare(scenario: Scenario, rng: random.Random, frames: int, known: Iterable[Vector] = ()) -> Iterator[Difference]:
    """What differs, of known frames for host1 of a network and of so many that are drawn."""
    with running(scenario) as bench:
        underlay = Underlay(bench.peer_mac, bench.peer_pa, bench.mac, bench.pa)
        lots = Lots(rng, scenario, bench.host.name, bench.uplink, underlay)
        with Comparison(bench, scenario.fabric.mtu) as comparison:
            drawn = (lots.draw() for _ in repeat(None, frames))
            yield from comparison.differences(chain((vector.frame_for(bench) for vector in known), drawn))


def shares(frames: int) -> list[int]:
    """How many frames each network gets: at least four networks."""
    networks = max(4, frames // _PER_NETWORK)
    return [frames // networks + (n < frames % networks) for n in range(networks)]


def _told(seed: int, number: int, nve: Nve, differences: list[Difference]) -> str:
    first = f"--seed {seed}, network {number} ({nve}): data plane and specification differ\n"
    return first + "\n".join(map(str, differences))


def test_data_plane_and_specification_agree_on_frames_drawn_by_lot(pytestconfig: pytest.Config) -> None:
    frames, seed = pytestconfig.getoption("frames"), pytestconfig.getoption("seed")
    print(f"--frames {frames} --seed {seed}")
    for number, share in enumerate(shares(frames)):
        rng = random.Random(f"{seed}/{number}")  # noqa: S311 (to be drawn again, not to be secret)
        scenario = network(rng)
        found = list(islice(compare(scenario, rng, share), _SHOWN))
        assert not found, _told(seed, number, scenario.policy.nves[0], found)


@pytest.mark.parametrize("vector", VECTORS.values(), ids=VECTORS)
def test_what_once_differed_agrees_now(vector: Vector) -> None:
    scenario = load("two_hosts").with_mtu(vector.underlay_mtu, vector.underlay_mtu - 42).with_nve(**vector.choices)
    with running(scenario) as bench, Comparison(bench, vector.underlay_mtu) as comparison:
        assert list(comparison.differences(iter([vector.frame_for(bench)]))) == []
        assert comparison.tried == 1


MUTANTS = {
    "outer tags": without("decapsulate.h", "skb->vlan_present"),
    "headers that are not in the linear part": Mutant(
        "nvgre.bpf.c", "return pull_headers(skb) ? TC_ACT_OK : decapsulate(skb);", "return decapsulate(skb);"
    ),
    "lengths within the headers": without(
        "decapsulate.h", "arrival.end < (__u32)outer_length(arrival.is_v6) + ETH_HLEN"
    ),
    "inner tags (I6)": without("decapsulate.h", "is_tag(head.eth.h_proto)"),
    "one bit of the FlowID": Mutant("flow.h", "return hash >> 24;", "return hash >> 24 & 0xfe;"),
}
"""What only few of many frames show."""


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS)
def test_a_data_plane_with_a_fault_is_found_out(
    mutant: Mutant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = mutant.compiled(tmp_path)
    monkeypatch.setattr(ebpf, "object_file", lambda: programs)
    scenario = load("two_hosts").with_mtu(9000, 8958)
    assert next(compare(scenario, random.Random(7637), 20_000, VECTORS.values()), None)  # noqa: S311
