"""What was seen of the underlay against what tenants need: causes are told, and what follows from them is not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address

import pytest

from nvgre_node.faults import Fault
from nvgre_node.underlay import Needs, Seen, SeenLink, Sent, findings, interfaces
from topologies import load, shipped


def needs_of(name: str) -> Needs:
    scenario = load(name)
    hosts = frozenset(nve.host for nve in scenario.policy.nves)
    return Needs(scenario.policy, scenario.fabric, scenario.tenant_mtu, hosts)


def sound(needs: Needs) -> dict[str, Seen]:
    """What is seen where nothing is wrong."""
    found = {}
    for node in (*needs.fabric.routers, *(nve.host for nve in needs.policy.nves)):
        is_router = node in needs.fabric.routers
        up = SeenLink(True, True, needs.fabric.mtu, () if is_router else ("from_uplink",))
        links = {name: up for _, own, _, name in interfaces(needs.fabric) if own.node == node}
        if not is_router:
            links |= {name: replace(up, programs=("from_port",)) for name in needs.policy.for_host(node).interfaces}
        ways = {}
        for pa in needs.destinations(node):
            hops = [route.next_hop for route in needs.fabric.routes(node) if pa in route.prefix]
            ways[pa] = hops[0] if hops else pa
        addresses = frozenset(map(str, needs.fabric.addresses(node)))
        found[node] = Seen(links, addresses, ways, frozenset(ways.values()), {4: is_router, 6: is_router})
    return found


def arrived(needs: Needs) -> list[Sent]:
    hosts = [nve.host for nve in needs.policy.nves]
    return [Sent(host, pa, True, True, True, needs.owner(pa)) for host in hosts for pa in needs.destinations(host)]


NEEDS = needs_of("leaf_spine")
HOSTS = [nve.host for nve in NEEDS.policy.nves]


def lost(needs: Needs, *hosts: str) -> list[Sent]:
    """Nothing from these hosts arrives."""
    return [replace(one, nvgre=False, full=False, other=False) if one.host in hosts else one for one in arrived(needs)]


def faults(seen: Mapping[str, Seen], sent: list[Sent]) -> list[Fault]:
    return [finding.fault for finding in findings(NEEDS, seen, sent)]


@pytest.mark.parametrize("name", [name for name in shipped() if name != "scale_1000"])
def test_nothing_is_said_of_a_sound_underlay(name: str) -> None:
    needs = needs_of(name)
    assert findings(needs, sound(needs), arrived(needs)) == []


def changed(node: str, interface: str, **link: object) -> dict[str, Seen]:
    found = sound(NEEDS)
    links = dict(found[node].links)
    links[interface] = replace(links[interface], **link)  # type: ignore[arg-type]
    return found | {node: replace(found[node], links=links)}


def test_what_follows_from_a_link_that_is_down_is_not_told() -> None:
    down = changed(HOSTS[0], f"{HOSTS[0]}-eth0", is_up=False, has_carrier=False)
    down[HOSTS[0]] = replace(down[HOSTS[0]], ways=dict.fromkeys(down[HOSTS[0]].ways), resolved=frozenset())
    assert faults(down, lost(NEEDS, HOSTS[0])) == [Fault.LINK_DOWN]


def test_what_does_not_follow_from_it_is_told() -> None:
    down = changed(HOSTS[0], f"{HOSTS[0]}-eth0", is_up=False, has_carrier=False)
    elsewhere = [one for one in lost(NEEDS, HOSTS[1]) if NEEDS.owner(one.pa) != HOSTS[0]]
    told = faults(down, elsewhere)
    assert told[0] is Fault.LINK_DOWN
    assert set(told[1:]) == {Fault.NOTHING_ARRIVES}


def test_a_node_that_is_gone_is_told_and_nothing_of_its_links() -> None:
    router = NEEDS.fabric.routers[0]
    gone = {node: seen for node, seen in sound(NEEDS).items() if node != router}
    (finding,) = findings(NEEDS, gone, arrived(NEEDS))
    assert (finding.fault, finding.what) == (Fault.NO_NODE, f"{router} has no network namespace any more")


@pytest.mark.parametrize(
    ("link", "fault"),
    [({"mtu": 1541}, Fault.SMALL_MTU), ({"programs": ()}, Fault.DETACHED), ({"is_up": False}, Fault.LINK_DOWN)],
)
def test_each_link_is_looked_at(link: dict[str, object], fault: Fault) -> None:
    assert faults(changed(HOSTS[0], f"{HOSTS[0]}-eth0", **link), arrived(NEEDS)) == [fault]


def test_programs_are_asked_for_where_the_nve_consists_of_them() -> None:
    bare = changed(HOSTS[0], f"{HOSTS[0]}-eth0", programs=())
    others = replace(NEEDS, programmed=NEEDS.programmed - {HOSTS[0]})
    assert findings(others, bare, arrived(NEEDS)) == []


@pytest.mark.parametrize(
    ("packets", "fault"),
    [
        ({"nvgre": False, "full": False}, Fault.NVGRE_BLOCKED),
        ({"nvgre": False, "full": False, "other": False}, Fault.NOTHING_ARRIVES),
        ({"full": False}, Fault.BLACK_HOLE),
    ],
)
def test_what_arrives_tells_what_is_in_the_way(packets: dict[str, bool], fault: Fault) -> None:
    first, *others = arrived(NEEDS)
    (finding,) = findings(NEEDS, sound(NEEDS), [replace(first, last="leaf1", **packets), *others])  # type: ignore[arg-type]
    assert finding.fault is fault
    assert "leaf1" in finding.sentence("nvgre-000000")


def test_without_a_route_or_a_next_hop_the_node_is_named() -> None:
    found = sound(NEEDS)
    node = HOSTS[0]
    unrouted = replace(found[node], ways=dict.fromkeys(found[node].ways))
    told = findings(NEEDS, found | {node: unrouted}, arrived(NEEDS))
    assert {one.fault for one in told} == {Fault.NO_ROUTE}
    unresolved = replace(found[node], resolved=frozenset())
    (one,) = findings(NEEDS, found | {node: unresolved}, arrived(NEEDS))
    assert (one.fault, one.about["node"]) == (Fault.NO_NEXT_HOP, node)


def test_the_way_to_an_address_has_every_node_that_it_may_pass() -> None:
    needs = needs_of("contoso_fabrikam")
    assert needs.on_the_way("host1", ip_address("192.168.2.20")) == {"host1", "r1", "host2"}
