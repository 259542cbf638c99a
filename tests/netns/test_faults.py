"""`doctor RUN`: each fault, put into a running network by hand, is found and told in its sentence; without, none is."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, ip_address

import pytest

from nvgre_node import namespace, run
from nvgre_node.control import Control, ask
from nvgre_node.dataplane.layouts import (
    NOWHERE,
    PEER,
    PEER_KEY,
    PORT,
    RECORD,
    RECORD_KEY,
    REPLICA_KEY,
    mapped,
    neighbour_key,
)
from nvgre_node.dataplane.libbpf import Map
from nvgre_node.faults import Fault
from nvgre_node.net import NvgreNet
from nvgre_node.wire import octets
from testbed.running import commands, examine
from tests.netns.saying import said
from topologies import load

SCENARIO = "contoso_fabrikam"
VSID, OTHERS = 5001, 6001
MAC, CA, CA6 = "02:00:0a:01:01:0c", "10.1.1.12", "fd00:10:1:1::12"
HERE, THERE, NOBODYS = "192.168.1.10", "192.168.2.20", "192.168.2.99"
BOTH = f"{CA} and {CA6}"


@pytest.fixture(scope="module")
def net() -> Iterator[NvgreNet]:
    """One network for all faults, which listens as one of `up` does."""
    scenario = load(SCENARIO)
    with NvgreNet(scenario) as running, Control(running.own.directory, commands(running, scenario)):
        yield running


def told(net: NvgreNet) -> dict[str, Fault]:
    """What is wrong with the network, as sentences without the mend."""
    return {finding.what: finding.fault for finding in examine(net.own.id).found}


Inject = Callable[[NvgreNet, ExitStack], None]


def nve_map(net: NvgreNet, host: str, name: str) -> Map:
    found: Map = net[host].dataplane.loaded.maps[name]
    return found


def restored(net: NvgreNet, undo: ExitStack) -> None:
    """At last, have the network put back what was in its power."""
    undo.callback(ask, net.own.id, "restore")


def link_down(net: NvgreNet, undo: ExitStack) -> None:
    restored(net, undo)
    undo.callback(net["host1"].set_link, "host1-eth0", state="up")
    net["host1"].set_link("host1-eth0", state="down")


def router_down(net: NvgreNet, undo: ExitStack) -> None:
    restored(net, undo)
    for interface in ("r1-eth0", "r1-eth1"):
        undo.callback(net["r1"].set_link, interface, state="up")
        net["r1"].set_link(interface, state="down")


def router_forwards_no_more(net: NvgreNet, undo: ExitStack) -> None:
    def forward(value: int) -> None:
        with net["r1"].inside():
            namespace.set_sysctl("ipv4/ip_forward", value)

    undo.callback(forward, 1)
    forward(0)


def mtu_lowered(net: NvgreNet, undo: ExitStack) -> None:
    undo.callback(net["r1"].set_link, "r1-eth1", mtu=1542)
    net["r1"].set_link("r1-eth1", mtu=1500)


def pa_withdrawn(net: NvgreNet, undo: ExitStack) -> None:
    restored(net, undo)
    undo.callback(net["host2"].set_address, "host2-eth0", f"{THERE}/24")
    net["host2"].run_process(["ip", "addr", "del", f"{THERE}/24", "dev", "host2-eth0"])


def route_gone(net: NvgreNet, undo: ExitStack) -> None:
    restored(net, undo)
    net["host1"].run_process(["ip", "route", "del", "192.168.2.0/24"])


def next_hop_mute(net: NvgreNet, undo: ExitStack) -> None:
    """The router answers no more who it is, and the host has forgotten."""

    def ignore(value: int) -> None:
        with net["r1"].inside():
            namespace.set_sysctl("ipv4/conf/r1-eth0/arp_ignore", value)

    restored(net, undo)
    undo.callback(ignore, 0)
    ignore(8)
    net["host1"].run_process(["ip", "neigh", "del", "192.168.1.1", "dev", "host1-eth0"])


def nft(rule: str) -> Inject:
    """A rule in the router's way."""

    def inject(net: NvgreNet, undo: ExitStack) -> None:
        undo.callback(net["r1"].run_process, ["nft", "delete", "table", "ip", "fault"])
        chain = "{ type filter hook forward priority 0; }"
        for command in ("add table ip fault", f"add chain ip fault way {chain}", f"add rule ip fault way {rule} drop"):
            assert net["r1"].run_process(["nft", command]).returncode == 0

    return inject


def detached(interface: str) -> Inject:
    def inject(net: NvgreNet, undo: ExitStack) -> None:
        restored(net, undo)
        net["host1"].run_process(["tc", "qdisc", "del", "dev", interface, "clsact"])

    return inject


def record_says(host: str, pa: str = THERE, deliver: int = VSID) -> Inject:
    """A map's record says something else: none is asked for a PA of ours."""

    def inject(net: NvgreNet, undo: ExitStack) -> None:
        restored(net, undo)
        ifindex, _, number, vid, end, _ = RECORD.unpack(record(net, host) or b"")
        packed = NOWHERE if ifindex else mapped(ip_address(pa))
        records = nve_map(net, host, "records")
        records[RECORD_KEY.pack(VSID, octets(MAC))] = RECORD.pack(ifindex, deliver, number, vid, end, packed)

    return inject


def record(net: NvgreNet, host: str) -> bytes | None:
    return nve_map(net, host, "records").get(RECORD_KEY.pack(VSID, octets(MAC)))


def record_installed(net: NvgreNet, undo: ExitStack) -> None:
    """A controller was wrong about where a VM is."""
    restored(net, undo)
    own = next(found for found in net["host1"].policy.records if str(found.ca) == CA and found.vsid == VSID)
    net["host1"].install(replace(own, pa=IPv4Address(NOBODYS)))


def record_gone(net: NvgreNet, undo: ExitStack) -> None:
    restored(net, undo)
    del nve_map(net, "host1", "records")[RECORD_KEY.pack(VSID, octets(MAC))]


def record_unheard_of(net: NvgreNet, undo: ExitStack) -> None:
    restored(net, undo)
    neighbours = nve_map(net, "host1", "neighbours")
    value = neighbours.get(neighbour_key(VSID, ip_address(CA))) or b""
    neighbours[neighbour_key(VSID, ip_address("10.1.1.99"))] = value


def record_twice(net: NvgreNet, undo: ExitStack) -> None:
    """host1 has the VM at a port of its own as well: a migration that was broken off."""
    restored(net, undo)
    _, deliver, number, vid, end, _ = RECORD.unpack(record(net, "host1") or b"")
    port = net["host1"].interface_index("contoso_sql")
    records = nve_map(net, "host1", "records")
    records[RECORD_KEY.pack(VSID, octets(MAC))] = RECORD.pack(port, deliver, number, vid, end, NOWHERE)


def port_elsewhere(net: NvgreNet, undo: ExitStack) -> None:
    restored(net, undo)
    ports = nve_map(net, "host1", "ports")
    key, value = next((key, value) for key in ports if PORT.unpack(value := ports.get(key) or b"")[0] == VSID)
    ports[key] = PORT.pack(OTHERS, *PORT.unpack(value)[1:])


def port_gone(net: NvgreNet, undo: ExitStack) -> None:
    restored(net, undo)
    ports = nve_map(net, "host1", "ports")
    del ports[next(key for key in ports if PORT.unpack(ports.get(key) or b"")[0] == VSID)]


def sender_gone(net: NvgreNet, undo: ExitStack) -> None:
    restored(net, undo)
    del nve_map(net, "host2", "peers")[PEER_KEY.pack(VSID, mapped(ip_address(HERE)))]


def sender_unheard_of(net: NvgreNet, undo: ExitStack) -> None:
    restored(net, undo)
    nve_map(net, "host2", "peers")[PEER_KEY.pack(VSID, mapped(ip_address(NOBODYS)))] = PEER.pack(1, 1)


def replica_gone(net: NvgreNet, undo: ExitStack) -> None:
    restored(net, undo)
    del nve_map(net, "host1", "remote_replicas")[REPLICA_KEY.pack(VSID, 0)]


def replica_unheard_of(net: NvgreNet, undo: ExitStack) -> None:
    restored(net, undo)
    replicas = nve_map(net, "host1", "remote_replicas")
    replicas[REPLICA_KEY.pack(VSID, 1)] = mapped(ip_address(NOBODYS)) + bytes(4)


def maps_gone(net: NvgreNet, undo: ExitStack) -> None:
    pin = run.ROOT / net.own.id / "bpf" / "host1" / "records"
    hidden = pin.with_name("hidden")
    undo.callback(hidden.rename, pin)
    pin.rename(hidden)


@dataclass(frozen=True)
class Case:
    """A fault, and all that is said of it."""

    inject: Inject
    found: tuple[tuple[Fault, Mapping[str, object]], ...]


def case(inject: Inject, fault: Fault, *more: tuple[Fault, Mapping[str, object]], **about: object) -> Case:
    return Case(inject, ((fault, about), *more))


R1 = {"node": "r1"}
HOST1 = {"host": "host1", "vsid": VSID}
LEADS = {"ca": BOTH} | HOST1
LOST = {"seen": "r1"}
TO_2, TO_1 = {"host": "host1", "pa": THERE, "peer": "host2"}, {"host": "host2", "pa": HERE, "peer": "host1"}
BLACK = LOST | {"needed": 1542}
UNKNOWN_SENDER = (Fault.UNKNOWN_SENDER, HOST1 | {"pa": NOBODYS})

CASES = {
    "link down": case(link_down, Fault.LINK_DOWN, node="host1", interface="host1-eth0", peer="r1"),
    "router down": case(router_down, Fault.ROUTER_DOWN, **R1),
    "no forwarding": case(router_forwards_no_more, Fault.NO_FORWARDING, **R1, version=4),
    "MTU lowered": case(
        mtu_lowered, Fault.SMALL_MTU, **R1, interface="r1-eth1", peer="host2", mtu=1500, tenant=1500, needed=1542
    ),
    "PA withdrawn": case(pa_withdrawn, Fault.NO_PA, node="host2", address=f"{THERE}/24", interface="host2-eth0"),
    "route gone": case(route_gone, Fault.NO_ROUTE, node="host1", pa=THERE, host="host2"),
    "next hop mute": case(next_hop_mute, Fault.NO_NEXT_HOP, node="host1", hop="192.168.1.1", pa=THERE, host="host2"),
    "firewall": case(nft("ip protocol 47"), Fault.NVGRE_BLOCKED, (Fault.NVGRE_BLOCKED, TO_1 | LOST), **TO_2, **LOST),
    "firewall, one way": case(nft("ip daddr 192.168.1.10 ip protocol 47"), Fault.NVGRE_BLOCKED, **TO_1, **LOST),
    "firewall, everything": case(nft(f"ip daddr {THERE}"), Fault.NOTHING_ARRIVES, **TO_2, **LOST),
    "black hole": case(nft(f"ip daddr {THERE} meta length gt 1500"), Fault.BLACK_HOLE, **TO_2, **BLACK),
    "uplink detached": case(
        detached("host1-eth0"), Fault.DETACHED, host="host1", interface="host1-eth0", program="from_uplink"
    ),
    "port detached": case(
        detached("contoso_sql"), Fault.DETACHED, host="host1", interface="contoso_sql", program="from_port"
    ),
    "stale record": case(record_says("host1", NOBODYS), Fault.STALE_RECORD, **LEADS, has=NOBODYS, wanted=THERE),
    "stale record, installed": case(
        record_installed, Fault.STALE_RECORD, UNKNOWN_SENDER, **LEADS, has=NOBODYS, wanted=THERE
    ),
    "missing record": case(record_gone, Fault.MISSING_RECORD, **LEADS, wanted=THERE),
    "unknown record": case(record_unheard_of, Fault.UNKNOWN_RECORD, **HOST1, ca="10.1.1.99", has=THERE),
    "cross-tenant record": case(
        record_says("host1", deliver=OTHERS),
        Fault.CROSS_TENANT_RECORD,
        **LEADS,
        tenant="contoso",
        deliver=OTHERS,
        other="fabrikam",
    ),
    "wrong VSID": case(record_says("host1", deliver=7777), Fault.WRONG_VSID, **LEADS, deliver=7777, wanted=VSID),
    "duplicate record": case(
        record_twice,
        Fault.STALE_RECORD,
        (Fault.DUPLICATE_RECORD, {"hosts": "host1 and host2", "mac": MAC, "vsid": VSID}),
        **LEADS,
        has="a port of its own",
        wanted=THERE,
    ),
    "port in the wrong VSID": case(
        port_elsewhere, Fault.PORT_VSID, host="host1", port="contoso_sql", has=OTHERS, wanted=VSID
    ),
    "port gone": case(port_gone, Fault.MISSING_PORT, host="host1", port="contoso_sql", wanted=VSID),
    "peer gone": case(sender_gone, Fault.MISSING_SENDER, host="host2", vsid=VSID, pa=HERE),
    "peer unheard of": case(sender_unheard_of, Fault.UNKNOWN_SENDER, host="host2", vsid=VSID, pa=NOBODYS),
    "replica gone": case(replica_gone, Fault.MISSING_REPLICA, **HOST1, pa=THERE),
    "replica unheard of": case(replica_unheard_of, Fault.UNKNOWN_REPLICA, **HOST1, pa=NOBODYS),
    "maps gone": case(maps_gone, Fault.NO_MAPS, host="host1"),
}


YOURS = {Fault.NO_NEXT_HOP, Fault.NVGRE_BLOCKED, Fault.NOTHING_ARRIVES, Fault.BLACK_HOLE, Fault.NO_MAPS}
"""What no command mends: one is told where to look."""
ROUNDS = 3
"""A fault may have hidden what follows from it."""


@pytest.mark.parametrize("name", CASES)
def test_each_fault_is_told_and_nothing_once_it_is_mended(net: NvgreNet, name: str) -> None:
    one = CASES[name]
    with ExitStack() as undo:
        one.inject(net, undo)
        found = told(net)
    assert found == {said(fault, about): fault for fault, about in one.found}
    assert told(net) == {}


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].found[0][0] not in YOURS])
def test_the_mend_that_is_told_mends(net: NvgreNet, name: str) -> None:
    with ExitStack() as undo:
        CASES[name].inject(net, undo)
        for _ in range(ROUNDS):
            for finding in examine(net.own.id).found:
                mend(net, finding.mend(net.own.id))
        assert told(net) == {}
        undo.pop_all()  # nothing is left to undo


def mend(net: NvgreNet, said: str) -> None:
    """Does as a finding says."""
    first = said.split(", and")[0]
    if first.startswith("ip netns exec "):
        subprocess.run(shlex.split(first), check=True, capture_output=True)
    if "--mend" in said:
        ask(net.own.id, "restore")


def test_every_fault_is_put_into_a_network_or_into_what_was_seen_of_one() -> None:
    here = {fault for one in CASES.values() for fault, _ in one.found}
    assert here == set(Fault) - {Fault.NO_NODE, Fault.OTHER_RECORD, Fault.UNKNOWN_PORT, Fault.CUSTOMER_ROUTE}
