"""Policy to flows: what Open vSwitch is told, line by line for the smallest network, and by property beyond it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvgre_node.acl import Action, Direction, Rule
from nvgre_node.choices import Carries, FlowIds, Neighbours, SourceCheck, UnknownUnicast
from nvgre_node.dataplane.base import Drop
from nvgre_node.dataplane.openvswitch import answering, datapath, filtering, flows, underlay
from nvgre_node.dataplane.openvswitch.pipeline import ADVERTISER, UNTAGGED, Kind, Table, View, cookie, counted, exits
from nvgre_node.dataplane.planes import ovs
from nvgre_node.errors import BadInputError
from nvgre_node.policy import Nve, NvePolicy
from topologies import load

GOLDEN = Path(__file__).parent / "ovs_two_hosts.flows"
ROUTED = Path(__file__).parents[2] / "netns" / "routed.yaml"


def policy(**choices: Any) -> NvePolicy:
    scenario = load("two_hosts").with_nve(**choices)
    return scenario.policy.for_host("host1")


def of(table: Table, *, native: bool = True, **choices: Any) -> list[str]:
    """The flows of one table."""
    own = policy(**choices)
    view = View(own, dict.fromkeys(own.remote_pas, 1542), native)
    return [flow for flow in flows.flows(view) if f"table={int(table)}," in flow]


def test_the_flows_of_the_smallest_network_are_these() -> None:
    own = policy()
    vms = flows.flows(View(own, dict.fromkeys(own.remote_pas, 1542)))
    lines = [*vms, "", *underlay.flows(own, "02:00:00:00:00:01"), ""]
    assert "\n".join(lines) == GOLDEN.read_text()


def test_no_two_flows_say_different_things_of_the_same_packets() -> None:
    choices = {"source_check": SourceCheck.CA, "neighbours": Neighbours.PROXY, "unknown": UnknownUnicast.FLOOD}
    routed = load(str(ROUTED)).with_nve(**choices).policy
    for own in (policy(), policy(**choices), *(routed.for_host(nve.host) for nve in routed.nves)):
        view = View(own, dict.fromkeys(own.remote_pas, 1542))
        matches = [flow.split(",actions=")[0].split(",", 1)[1] for flow in flows.flows(view)]
        assert sorted(set(matches)) == sorted(matches)


def test_a_pa_that_cannot_be_reached_is_not_sent_to() -> None:
    own = policy()
    lost = [flow for flow in flows.flows(View(own)) if f"table={int(Table.RECORDS)}," in flow and "drop" in flow]
    assert len(lost) > len([flow for flow in of(Table.RECORDS) if "drop" in flow])


def test_without_entropy_no_flow_writes_a_flow_id() -> None:
    assert any("multipath" in flow or "group:1" in flow for flow in of(Table.FLOW_ID))
    assert not any("multipath" in flow or "group:1" in flow for flow in of(Table.FLOW_ID, flow_ids=FlowIds.NONE))


def test_where_the_kernel_forwards_nothing_relies_on_what_only_user_space_can_do() -> None:
    kernel = [flow for table in Table for flow in of(table, native=False)]
    assert not any("group:" in flow or "output:100" in flow for flow in kernel)


@given(st.sampled_from([*Kind, *Drop]), st.integers(0, 0xFFFFFF))
def test_a_cookie_says_what_is_counted_and_where(what: Kind | Drop, vsid: int) -> None:
    assert counted(cookie(what, vsid)) == (vsid, what)
    assert counted(0) is None


@given(st.integers(0, 65535), st.integers(0, 65535))
def test_a_range_of_ports_becomes_masks_that_match_it_and_nothing_else(one: int, other: int) -> None:
    first, last = sorted((one, other))
    masks = [tuple(int(part, 16) for part in text.split("/")) for text in filtering.masked(first, last)]
    around = {first, last, max(first - 1, 0), min(last + 1, 65535), (first + last) // 2}
    for port in around:
        assert any(port & mask == value for value, mask in masks) == (first <= port <= last)
    assert len(masks) <= 30


@pytest.mark.parametrize(("action", "concerns"), [(Action.DENY, True), (Action.ALLOW, False)])
def test_a_later_fragment_has_no_ports_so_it_is_denied_and_never_allowed(action: Action, concerns: bool) -> None:
    found = list(filtering.matches(Rule(action, Direction.IN, protocol=6, destination_ports=(22, 22))))
    assert any("ip_frag=later" in match for match in found) == concerns


@pytest.mark.parametrize("ttl", [64, 255, 254, 1])
def test_packets_with_marks_are_told_by_a_ttl_that_no_others_have(ttl: int) -> None:
    nve: Nve = policy(ttl=ttl).nve
    marks = [own.ttl for own in exits(nve)]
    assert ttl not in marks
    assert len(set(marks)) == len(marks) > 0


def test_a_datapath_that_there_is_not_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(datapath.VARIABLE, "warp")
    with pytest.raises(BadInputError, match="there are: system, netdev"):
        datapath.chosen()
    monkeypatch.setenv(datapath.VARIABLE, "netdev")
    assert datapath.chosen() == "netdev"


def test_the_kernel_counts_tags_that_are_off_so_flows_tell_what_had_them() -> None:
    def counting(*, native: bool) -> set[Kind | Drop]:
        cookies = (int(flow.split("cookie=")[1].split(",")[0], 16) for flow in of(Table.TUNNEL, native=native))
        return {what[1] for value in cookies if (what := counted(value))}

    assert set(UNTAGGED.values()) <= counting(native=False)
    assert not set(UNTAGGED.values()) & counting(native=True)
    vsid = 5000
    had = Counter({(cookie(UNTAGGED[2], vsid), "packets"): 3, (cookie(UNTAGGED[2], vsid), "bytes"): 3 * 68})
    had[cookie(Kind.ENCAPSULATED, vsid), "packets"] = 1
    had[cookie(Kind.ENCAPSULATED, vsid), "bytes"] = 60
    own = ovs.counters_of(vsid, had)
    assert (own.encapsulated, own.encapsulated_bytes) == (4, 4 * 60)


ND_ANSWER = ("nd_reserved", "nd_options_type")


@pytest.mark.parametrize("native", [True, False])
def test_what_the_kernel_cannot_write_is_written_by_a_bridge_in_user_space(native: bool) -> None:
    own = policy(neighbours=Neighbours.PROXY)
    view = View(own, dict.fromkeys(own.remote_pas, 1542), native)
    assert any(word in flow for flow in flows.flows(view) for word in ND_ANSWER) == native
    assert all(word in "".join(answering.advertisements(view)) for word in ND_ANSWER)


def test_questions_that_go_there_come_back_to_the_port_that_asked() -> None:
    own = policy(neighbours=Neighbours.PROXY)
    view = View(own, dict.fromkeys(own.remote_pas, 1542), native=False)
    asked = [flow for flow in flows.flows(view) if f"output:{ADVERTISER}" in flow]
    back = [flow for flow in flows.flows(view) if f"in_port={ADVERTISER}," in flow]
    solicited = [record for record in own.records if record.ca.version == 6 and record.vsid in own.vsids]
    assert len(asked) == 2 * len(solicited) > 0  # and one more for each, from those that have no address yet
    assert len(back) == len(own.ports)
    own_answers = [*flows.flows(replace(view, native=True))]
    assert not [flow for flow in own_answers if f"output:{ADVERTISER}" in flow or f"in_port={ADVERTISER}," in flow]


def test_what_is_neither_ip_nor_arp_is_dropped_where_these_alone_are_carried() -> None:
    def drops_it(table: Table, carries: Carries) -> bool:
        wanted = f"cookie=0x{cookie(Drop.NOT_IP, 5000):x}"
        return any(wanted in flow for flow in of(table, carries=carries))

    for table in (Table.UNTAG, Table.CONGESTION):
        assert drops_it(table, Carries.IP)
        assert not drops_it(table, Carries.ETHERNET)
