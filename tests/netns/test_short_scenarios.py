"""Networks that say little of themselves: tiers behind access control lists, SONiC's maps, and many counted tenants."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence

import pytest

from experiments import isolation
from experiments.base import Context
from experiments.results import Verdict
from experiments.watch import Sighting, Watch
from nvgre_node.net import NvgreNet
from topologies import load

SMALL = ("hosts=3", "tenants.t.count=3", "tenants.t.vms=2")
LEAKS = {
    "three_tier": ((), "{subnet: c_web, record_of: c_web2, points_to: f_web1}"),
    "sonic_map": ((), "{subnet: red_net, record_of: red3, points_to: blue2}"),
    "scale_1000": (SMALL, "{subnet: t1_net, record_of: t1_2, points_to: t3_2}"),
}
"""Which settings a network runs with here, and a wrong record in it."""


def isolated(name: str, sets: Sequence[str]) -> Verdict:
    return isolation.run(Context(load(name, sets), "ebpf", lambda *_: None, quick=True)).verdict


@pytest.mark.parametrize("name", LEAKS)
def test_tenants_are_isolated(name: str) -> None:
    assert isolated(name, LEAKS[name][0]) is Verdict.PASS


@pytest.mark.parametrize("name", LEAKS)
def test_a_wrong_record_is_found_there(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    patient = Watch.until

    def until(watch: Watch, done: Callable[[list[Sighting]], bool], seconds: float = 1.0) -> list[Sighting]:
        return patient(watch, done, min(seconds, 0.1))

    monkeypatch.setattr(Watch, "until", until)
    sets, fault = LEAKS[name]
    assert isolated(name, (*sets, f"faults[+]={fault}")) is Verdict.FAIL


def connects(net: NvgreNet, client: str, server: str, port: int, seconds: float) -> bool:
    """Whether a connection to a VM's first CA comes about."""
    address = str(net[server].vm.ca())
    with net[server].inside():
        listening = socket.create_server((address, port))
    with net[client].inside():
        asking = socket.socket()
    with listening, asking:
        asking.settimeout(seconds)
        try:
            asking.connect((address, port))
        except TimeoutError:
            return False
        return True


def test_tiers_ask_their_neighbours_and_nobody_else() -> None:
    with NvgreNet(load("three_tier")) as net:
        for tenant in "cf":
            assert connects(net, f"{tenant}_web1", f"{tenant}_app", 8080, 10)
            assert connects(net, f"{tenant}_app", f"{tenant}_db", 5432, 10)
            assert connects(net, f"{tenant}_web1", f"{tenant}_web2", 443, 10)
            assert not connects(net, f"{tenant}_web1", f"{tenant}_db", 5432, 0.5)
            assert not connects(net, f"{tenant}_db", f"{tenant}_app", 8080, 0.5)
            assert not connects(net, f"{tenant}_web1", f"{tenant}_app", 22, 0.5)
            assert net[f"{tenant}_web1"].ping(str(net[f"{tenant}_db"].vm.ca()))


def test_without_its_list_the_database_is_open_to_the_web() -> None:
    opened = [f"tenants.contoso.subnets.c_{tier}.acl=[]" for tier in ("web", "db")]
    with NvgreNet(load("three_tier", opened)) as net:
        assert connects(net, "c_web1", "c_db", 5432, 10)
