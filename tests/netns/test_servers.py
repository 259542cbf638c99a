"""Servers without an NVE, behind a top-of-rack switch that has it: what their VMs can do, and the rows T3 and D5."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from scapy.layers.l2 import Dot1Q, Ether

from experiments import conformance
from experiments.base import Context
from experiments.conformance import racks
from experiments.conformance.journal import Journal
from experiments.conformance.lab import DEAD
from experiments.probes import BROADCAST, TEST_ETHERTYPE
from experiments.results import Outcome, Verdict
from experiments.transfer import transfer
from experiments.watch import Watch, server_links, vm_ports
from nvgre_node import server
from nvgre_node.choices import SourceCheck
from nvgre_node.dataplane.base import Drop
from nvgre_node.dataplane.planes import ebpf
from nvgre_node.net import NvgreNet
from nvgre_node.packet import packet_socket
from topologies import load

from .mutation import Mutant

DATAPLANES = ["ebpf", "model"]


@pytest.fixture(params=DATAPLANES)
def net(request: pytest.FixtureRequest) -> Iterator[NvgreNet]:
    with NvgreNet(load("vlan_gateway").with_nve(source_check=SourceCheck.CA), request.param) as net:
        yield net


def test_vms_on_servers_and_hosts_reach_their_own_tenant_t3(net: NvgreNet) -> None:
    for vm, address in (("sql", "10.1.1.11"), ("sql", "10.1.1.13"), ("disk", "10.1.1.12"), ("web", "10.1.1.13")):
        for tenant in ("contoso", "fabrikam"):
            assert net[f"{tenant}_{vm}"].ping(address), (tenant, vm, address)
    assert net["contoso_web"].ping("fd00:10:1:1::12")
    assert net.dropped()[Drop.SOURCE_MAC] == net.dropped()[Drop.SOURCE_CA] == 0


@pytest.mark.parametrize(("source", "destination", "address"), [
    ("contoso_web", "contoso_sql", "10.1.1.12"),
    ("fabrikam_disk", "fabrikam_web", "10.1.1.11"),
    ("fabrikam_disk", "fabrikam_sql", "10.1.1.12"),
])  # fmt: skip
def test_a_transfer_passes_a_server(net: NvgreNet, source: str, destination: str, address: str) -> None:
    done = transfer(net[source], net[destination], address, 1 << 20)
    assert (done.connected, done.completed) == (True, True)


def said(net: NvgreNet, vm: str, frame: bytes) -> set[tuple[str, str]]:
    """Where a frame that a VM sends is seen: (node, interface)."""
    with net[vm].inside():
        mouth = packet_socket("eth0")
    with mouth, Watch([*vm_ports(net), *server_links(net)]) as watch:
        mouth.send(frame)
        seen = watch.until_quiet(200)
    return {(sighting.node, sighting.interface) for sighting in seen if frame[-8:] in sighting.frame}


def test_a_vm_of_a_server_cannot_speak_as_its_neighbour_c1(net: NvgreNet) -> None:
    """Each VM of a server is checked by itself: the frame gets to the switch, and no further."""
    own, neighbour = net["fabrikam_disk"].vm, net["fabrikam_sql"].vm
    on_the_link = ("tor", "rack1")
    honest = Ether(src=own.mac, dst=BROADCAST, type=TEST_ETHERTYPE) / b"honest!!"
    assert {on_the_link, ("fabrikam_web", "eth0")} < said(net, "fabrikam_disk", bytes(honest))
    forged = Ether(src=neighbour.mac, dst=BROADCAST, type=TEST_ETHERTYPE) / b"forged!!"
    assert said(net, "fabrikam_disk", bytes(forged)) == {on_the_link}
    assert net.dropped()[Drop.SOURCE_MAC] == 1


def test_a_vm_that_tags_its_own_frames_is_not_heard_d5(net: NvgreNet) -> None:
    own = net["fabrikam_disk"].vm
    for vid in (10, 20, 30, 99):
        tagged = Ether(src=own.mac, dst=BROADCAST) / Dot1Q(vlan=vid, type=TEST_ETHERTYPE) / b"tagged!!"
        assert said(net, "fabrikam_disk", bytes(tagged)) == set(), vid


# The rows


def tried(scenario: str = "two_hosts") -> Outcome:
    """The outcome of the rows T3 and D5 where the NVEs are in switches."""
    asked = Context(load(scenario), "ebpf", lambda *_: None)
    journal = Journal()
    todo = [(racks.racked, racks.RACKED)]
    return conformance.outcome(asked, list(journal.follow(conformance.on_variants(asked, journal, todo))), journal)


def failures(outcome: Outcome) -> set[str]:
    return {str(sample["row"]) for sample in outcome.samples if sample["verdict"] == Verdict.FAIL}


@pytest.mark.parametrize("scenario", ["two_hosts", "contoso_fabrikam", "vlan_gateway"])
def test_what_is_right_passes_with_a_capture_behind_it(scenario: str) -> None:
    outcome = tried(scenario)
    assert failures(outcome) == set()
    shown = [sample for sample in outcome.samples if sample["row"] in {"T3", "D5"} and sample["what"]]
    assert {sample["row"] for sample in shown} == {"T3", "D5"}
    assert all(sample["capture"] and sample["packet"] for sample in shown)


_PUSH = "bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), *vid)"
SERVERS = {
    "every VM is the first VLAN": (Mutant("server.bpf.c", _PUSH, _PUSH.replace("*vid", "101")), {"T3", "D5"}),
    "no VM has a tag": (Mutant("server.bpf.c", _PUSH, "0"), {"T3", "D5"}),
    "VMs may tag their frames": (Mutant("server.bpf.c", "if (!vid || skb->vlan_present ||", "if (!vid ||"), {"D5"}),
}


@pytest.mark.parametrize(("mutant", "found"), SERVERS.values(), ids=list(SERVERS))
def test_a_fault_of_a_server_is_found(
    mutant: Mutant, found: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = mutant.compiled(tmp_path, "server")
    monkeypatch.setattr(server, "object_file", lambda _name: programs)
    assert failures(tried()) == found


NVES = {
    "what came in at a server's port goes to none of its other VMs": (
        Mutant("replicate.h", "skb->ingress_ifindex && to->vid == vid", "skb->ingress_ifindex"),
        {"T3"},
    ),
    "what is delivered to a server has no tag": (
        Mutant("vlan.h", "nve.trunks && vid ? bpf_skb_vlan_push", "0 ? bpf_skb_vlan_push"),
        {"T3", "D5"},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("mutant", "found"), NVES.values(), ids=list(NVES))
def test_a_fault_of_the_nve_in_a_switch_is_found(
    mutant: Mutant, found: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = mutant.compiled(tmp_path)
    monkeypatch.setattr(ebpf, "object_file", lambda: programs)
    assert failures(tried()) == found


def test_silence_on_the_servers_links_is_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(racks, "RACKED", (racks.no_tunnels,))
    (sample,) = [sample for sample in tried().samples if sample["row"] == "T3"]
    assert (sample["verdict"], sample["observed"]) == (Verdict.FAIL, DEAD)
