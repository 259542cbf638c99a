"""What `gretap` counts by port and by remote PA: its devices' statistics, and no drops."""

from __future__ import annotations

from ipaddress import IPv4Address

from nvgre_node.choices import FlowIds
from nvgre_node.net import NvgreNet
from nvgre_node.waiting import wait_until
from topologies import load

PA2 = IPv4Address("192.168.0.2")


def test_gretap_counts_by_port_and_by_pa_what_its_devices_count() -> None:
    scenario = load("two_hosts").with_nve(flow_ids=FlowIds.NONE)
    with NvgreNet(scenario, "gretap") as net:
        assert net["red1"].ping("10.0.0.2", count=3)
        host = net["host1"]

        def sums_agree() -> bool:
            by_vsid, by_pa = host.counters().values(), host.pa_counters().values()
            names = ("encapsulated", "encapsulated_bytes", "decapsulated", "decapsulated_bytes")
            return all(sum(getattr(own, n) for own in by_vsid) == sum(getattr(own, n) for own in by_pa) for n in names)

        assert wait_until(sums_agree, "a moment in which no VM says anything")
        ports, pas = host.port_counters(), host.pa_counters()
    assert list(pas) == [PA2]
    assert min(pas[PA2].encapsulated, pas[PA2].decapsulated, ports["red1"].sent, ports["red1"].received) >= 3
    assert ports["blue1"].sent < ports["red1"].sent
    assert [pas[PA2].dropped, ports["red1"].dropped] == [None, None]
