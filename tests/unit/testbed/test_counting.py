"""What `show counters` says, from counters made by hand: everything as JSON, and in words what is not counted."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from nvgre_node.dataplane.base import NO_PA, NO_PORT, NO_SUBNET, Drop, PaCounters, PortCounters, SubnetCounters
from testbed.counting import Counters, Elsewhere, PaRow, PortRow, Row, as_json, print_tables

PA = IPv4Address("192.168.0.2")
FOUND = Counters(
    [Row("r", "h", 5000, SubnetCounters(punted=7, outer_fragments=8, dropped={Drop.TOO_BIG: 3}))],
    [PortRow("r", "h", "vm1", 5000, PortCounters(11, 12, 13, 14, {Drop.TOO_BIG: 3}))],
    [PaRow("r", "h", PA, PaCounters(21, 22, 23, 24))],
)


def test_json_has_all_of_it() -> None:
    found = as_json(FOUND)
    (subnet,), (port,), (pa,) = (found[by] for by in ("by_vsid", "by_port", "by_pa"))
    assert (subnet["vsid"], subnet["punted"], subnet["outer_fragments"], subnet["dropped"]) == (
        5000,
        7,
        8,
        {"TOO_BIG": 3},
    )
    assert port == {
        "run": "r",
        "host": "h",
        "port": "vm1",
        "vsid": 5000,
        "dropped": {"TOO_BIG": 3},
        "sent": 11,
        "sent_bytes": 12,
        "received": 13,
        "received_bytes": 14,
    }
    assert pa == {
        "run": "r",
        "host": "h",
        "pa": "192.168.0.2",
        "dropped": {},
        "encapsulated": 21,
        "encapsulated_bytes": 22,
        "decapsulated": 23,
        "decapsulated_bytes": 24,
    }


def test_what_belongs_to_nobody_is_null() -> None:
    port, pa = PortRow("r", "h", NO_PORT, None, PortCounters()), PaRow("r", "h", NO_PA, PaCounters())
    found = as_json(Counters(by_port=[port], by_pa=[pa]))
    assert [row["port"] for row in found["by_port"]] == [row["pa"] for row in found["by_pa"]] == [None]


def test_tables_have_every_counter(capsys: pytest.CaptureFixture[str]) -> None:
    print_tables(FOUND)
    said = capsys.readouterr().out
    for words in ("punted", "outer fragments", "by port", "by remote PA", "192.168.0.2", "too big 3"):
        assert words in said
    assert {str(n) for n in (7, 8, *range(11, 15), *range(21, 25))} <= set(said.split())


def test_nobodys_counters_are_shown_where_there_are_any(capsys: pytest.CaptureFixture[str]) -> None:
    drops = {Drop.SOURCE_PA: 5}
    for counted in (PaCounters(), PaCounters(dropped=drops)):
        row = Row("r", "h", NO_SUBNET, SubnetCounters())
        print_tables(
            Counters([row], [PortRow("r", "h", NO_PORT, None, PortCounters())], [PaRow("r", "h", NO_PA, counted)])
        )
        said = capsys.readouterr().out
        assert said.count("none") == 1 + bool(counted.dropped)
        assert ("source pa 5" in said) == bool(counted.dropped)


def test_what_is_not_counted_is_not_shown_as_zero(capsys: pytest.CaptureFixture[str]) -> None:
    ports = [PortRow("r", "h", "vm1", 5000, PortCounters(1, 2, 3, 4, None))]
    assert as_json(Counters(by_port=ports))["by_port"][0]["dropped"] is None
    print_tables(Counters([Row("r", "h", 5000, SubnetCounters())], ports))
    assert "not counted" in capsys.readouterr().out


def test_an_nve_that_nobody_can_read_is_named_and_what_it_lacks(capsys: pytest.CaptureFixture[str]) -> None:
    print_tables(Counters(elsewhere=[Elsewhere("r", "h", "ovs", ["counters by remote PA"])]))
    said = capsys.readouterr().out
    assert said == "r h: only its own process can read what ovs counts; it has no counters by remote PA\n"
    print_tables(Counters())
    assert capsys.readouterr().out == "no NVE of the ebpf data plane runs now\n"
