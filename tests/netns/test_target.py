"""`./nvgre run conformance --target`: our own NVEs pass as if they were somebody else's, and what is wrong is found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from experiments import conformance
from experiments.base import Context
from experiments.conformance import rows
from experiments.results import Outcome, Verdict
from nvgre_node.net import NvgreNet
from topologies import Scenario, load
from topologies.target import load_target

OPTIONS = "flow_ids: flow, ttl: 64, dscp: 0, ecn: copy, fragments: drop, optional_fields: drop, checks_source: true"


@contextmanager
def standing(dataplane: str = "ebpf", scenario: Scenario | None = None) -> Iterator[NvgreNet]:
    """A network in which host2 has no NVE any more: we take its place, towards host1."""
    with NvgreNet(scenario or load("two_hosts"), dataplane) as net:
        net["host2"].dataplane.close()
        yield net


def written(folder: Path, net: NvgreNet, **changes: str) -> Path:
    """The target file for host1 as host2 sees it."""
    said = {
        "interface": "host2-eth0",
        "namespace": f"{net.own.id}-host2",
        "mtu": "1542",
        "nve": "{pa: 192.168.0.1}",
        "us": "{pa: 192.168.0.2}",
        "vsid": "5000",
        "other_vsid": "6000",
        "inside": "{ca: 10.0.0.1, priority_tags: true}",
        "outside": "{ca: 10.0.0.2, mac: 02:00:0a:00:00:02}",
        "options": f"{{{OPTIONS}}}",
    } | changes
    path = folder / "mine.yaml"
    path.write_text("".join(f"{key}: {value}\n" for key, value in said.items() if value))
    return path


def tried(path: Path) -> Outcome:
    target = load_target(path)
    return conformance.run(Context(target.scenario, "foreign", lambda *_: None, target=target))


def of(outcome: Outcome, verdict: str) -> list[str]:
    return [row for row, found in rows.verdicts(outcome.samples).items() if found == verdict]


@pytest.mark.parametrize("dataplane", ["ebpf", "model"])
def test_our_own_nve_passes_every_row_that_is_judged(dataplane: str, tmp_path: Path) -> None:
    with standing(dataplane) as net:
        found = tried(written(tmp_path, net))
    assert (found.verdict, found.reason, of(found, "fail")) == (Verdict.PASS, "", [])
