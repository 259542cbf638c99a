"""Links of the underlay in a VLAN (O4): outer frames have its tag, and what has another reaches nobody."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.conformance import outer_tags
from experiments.conformance.rows import verdicts
from experiments.results import Verdict
from nvgre_node import underlay_vlan
from nvgre_node.net import NvgreNet
from topologies import load

from .mutation import Mutant, without
from .trying import context, failed, tried

VLANS = """
name: vlans
title: Two uplinks in two VLANs
hosts:
  host1: {pa: [192.168.1.10/24, "fd00:1::10/64"], vlan: 100}
  host2: {pa: [192.168.2.20/24, "fd00:2::20/64"], vlan: 4094}
routers:
  r1: {host1: [192.168.1.1/24, "fd00:1::1/64"], host2: [192.168.2.1/24, "fd00:2::1/64"]}
tenants:
  red:
    subnets: {red_net: {vsid: 5001, prefixes: [10.1.1.0/24]}}
    vms:
      red1: {subnet: red_net, host: host1, ca: 10.1.1.11}
      red2: {subnet: red_net, host: host2, ca: 10.1.1.12, pa: "fd00:2::20"}
"""


@pytest.mark.parametrize("dataplane", ["ebpf", "model"])
@pytest.mark.parametrize("scenario", ["two_hosts", "contoso_fabrikam"])
def test_it_holds(scenario: str, dataplane: str) -> None:
    found = verdicts(tried(outer_tags.tagged, outer_tags.in_vlans, context(scenario, dataplane)).samples)
    assert [row for row, verdict in found.items() if verdict == Verdict.PASS] == ["O4"]


@pytest.mark.parametrize("dataplane", ["ebpf", "model"])
def test_vms_talk_over_vlans_of_either_ip_version(dataplane: str, tmp_path: Path) -> None:
    (tmp_path / "vlans.yaml").write_text(VLANS)
    with NvgreNet(load(tmp_path / "vlans.yaml"), dataplane) as net:
        assert net["red1"].ping("10.1.1.12")


def test_a_frame_is_of_its_vlan_alone() -> None:
    frame = bytes(range(12)) + b"\x81\x00\xe0\x64\x08\x00rest"
    assert underlay_vlan.without_tag(frame, 100) == frame[:12] + b"\x08\x00rest"
    assert underlay_vlan.without_tag(frame, 101) is None
    assert underlay_vlan.without_tag(frame[:12] + frame[16:], 100) is None


# What is wrong cannot pass.

MUTANTS = {
    "nothing is tagged": Mutant("underlay_vlan.bpf.c", "vlan.vid) ? TC_ACT_SHOT", "1) ? TC_ACT_SHOT"),
    "every VLAN is let in": without(
        "underlay_vlan.bpf.c", "!skb->vlan_present || (skb->vlan_tci & VLAN_VID) != vlan.vid"
    ),
    "the tag stays on": Mutant("underlay_vlan.bpf.c", "return bpf_skb_vlan_pop(skb) ?", "return 0 ?"),
}


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=list(MUTANTS))
def test_a_fault_fails_the_row(mutant: Mutant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = mutant.compiled(tmp_path, "underlay_vlan")
    monkeypatch.setattr(underlay_vlan, "object_file", lambda _: programs)
    monkeypatch.setattr("nvgre_node.net.wait_until", lambda *_: None)  # neighbours that are out of reach stay so
    assert failed(tried(outer_tags.tagged, outer_tags.in_vlans, context("two_hosts"))) == ["O4"]


def test_an_underlay_without_tags_fails_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(underlay_vlan, "attach", lambda *_: None)
    assert failed(tried(outer_tags.tagged, outer_tags.in_vlans)) == ["O4"]
