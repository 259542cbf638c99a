"""Policy that changes while a network runs: rows T2, S3 and P2, and G16, the counters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from experiments.conformance import counting, mapping, variants
from experiments.conformance.rows import verdicts
from experiments.results import Verdict
from nvgre_node.dataplane.planes import ebpf
from nvgre_node.dataplane.planes.ebpf import EbpfDataPlane
from nvgre_node.policy import LookupRecord
from topologies import Scenario

from .mutation import Mutant
from .trying import Rows, context, failed, tried

CASES: dict[str, tuple[Rows, Callable[[Scenario], Scenario], set[str]]] = {
    "a record changes": (mapping.remapped, variants.a_pa_per_subnet, {"T2"}),
    "a thousand records more": (mapping.at_scale, variants.a_pa_per_subnet, {"P2"}),
    "a virtual subnet spans": (mapping.spans, mapping.with_a_twin, {"S3"}),
    "a VM moves": (mapping.moved, mapping.with_a_twin, {"S3"}),
    "drops are counted": (counting.counted, lambda scenario: scenario, {"G16"}),
}


@pytest.mark.parametrize("dataplane", ["ebpf", "model"])
@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_it_holds(case: tuple[Rows, Callable[[Scenario], Scenario], set[str]], dataplane: str) -> None:
    what, variant, tried_rows = case
    found = verdicts(tried(what, variant, context(dataplane=dataplane)).samples)
    assert {row for row, verdict in found.items() if verdict == Verdict.PASS} == tried_rows


# What is wrong cannot pass.


def test_an_nve_that_installs_nothing_is_found_t2_p2_s3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EbpfDataPlane, "install", lambda *_: None)
    assert failed(tried(mapping.remapped, variants.a_pa_per_subnet)) == ["T2"]
    assert failed(tried(mapping.at_scale, variants.a_pa_per_subnet)) == ["P2"]
    assert failed(tried(mapping.moved, mapping.with_a_twin)) == ["S3"]


def test_one_record_of_a_thousand_that_is_missing_is_found_p2(monkeypatch: pytest.MonkeyPatch) -> None:
    rightly = EbpfDataPlane.install

    def nearly(plane: EbpfDataPlane, *records: LookupRecord) -> None:
        rightly(plane, *records[:-1])

    monkeypatch.setattr(EbpfDataPlane, "install", nearly)
    assert failed(tried(mapping.at_scale, variants.a_pa_per_subnet)) == ["P2"]


def test_an_old_host_that_still_delivers_is_found_s3(monkeypatch: pytest.MonkeyPatch) -> None:
    rightly = EbpfDataPlane.install

    def at_the_new_host_alone(plane: EbpfDataPlane, *records: LookupRecord) -> None:
        rightly(plane, *(record for record in records if plane._policy.is_local(record)))

    monkeypatch.setattr(EbpfDataPlane, "install", at_the_new_host_alone)
    assert failed(tried(mapping.moved, mapping.with_a_twin)) == ["S3"]


@pytest.mark.parametrize(
    "mutant",
    [
        Mutant("decapsulate.h", "return DROP_SEQUENCE_BIT;", "return DROP_CHECKSUM_BIT;"),
        Mutant("counters.h", "subnet->dropped[reason] += packets;", "subnet->dropped[reason] += 2 * packets;"),
        Mutant("counters.h", "subnet->dropped[reason] += packets;", "subnet->dropped[reason] += 0;"),
    ],
    ids=["under another reason", "twice", "not at all"],
)
def test_a_drop_that_is_not_counted_rightly_is_found_g16(
    mutant: Mutant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = mutant.compiled(tmp_path)
    monkeypatch.setattr(ebpf, "object_file", lambda: programs)
    assert failed(tried(counting.counted, lambda scenario: scenario)) == ["G16"]
