"""A gretap device and a bridge as one types them, at the other end of our data planes: `interop` on a stock kernel."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from experiments.base import Workbench
from experiments.interop.ends import ThirdParty
from experiments.interop.matrix import State, cells
from experiments.interop.network import reduced
from experiments.interop.parties import PARTIES, Site, by_hand
from experiments.interop.rows import Row, Tried
from experiments.interop.stations import Station
from experiments.interop.trying import Tour, try_pairs
from topologies import load


def tried(left: str, version: int = 4) -> list[Row]:
    """What comes of a data plane with gretap by hand; a router is between them."""
    pair = left, str(ThirdParty.BY_HAND)
    return list(try_pairs(reduced(load("contoso_fabrikam")), [pair], Tour((version,), 0), None, lambda _: None))


@pytest.mark.parametrize(("left", "version"), [("ebpf", 6), ("ovs", 4)])
def test_gretap_by_hand_understands_ours_with_flow_id_0_and_not_with_others(left: str, version: int) -> None:
    rows = tried(left, version)
    assert [(row.left, row.outer, row.tried, row.observed) for row in rows if not row.holds] == []
    assert {cell.state for cell in cells(rows).values()} == {State.ZERO}
    pings = {(row.flow_ids, row.observed) for row in rows if row.tried == Tried.PING}
    assert pings == {("zero", "answered"), ("set", "no answer")}


def test_with_another_key_nothing_comes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def mistyped(site: Site, bench: Workbench | None) -> Iterator[Station]:
        with by_hand(replace(site, vsid=site.vsid + 1), bench) as station:
            yield station

    monkeypatch.setitem(PARTIES, ThirdParty.BY_HAND, mistyped)
    rows = tried("model")
    assert {row.observed for row in rows if row.tried == Tried.PING} == {"no answer"}
    assert any(not row.holds for row in rows)
