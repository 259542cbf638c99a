"""The proxy for ARP and Neighbour Discovery: VMs are answered by records, and the underlay hears nothing (S2)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    in6_getnsma,
    in6_getnsmac,
)
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from experiments.watch import Place, Watch
from nvgre_node.choices import Neighbours, RecordType
from nvgre_node.dataplane import model
from nvgre_node.dataplane.base import Drop
from nvgre_node.dataplane.planes import ebpf
from nvgre_node.namespace import set_sysctl
from nvgre_node.net import NvgreNet
from nvgre_node.waiting import wait_until
from topologies import Scenario, load

from .bench import Bench, running
from .frames import BLUE1, BLUE2, EVERYBODY, RED, RED1, RED2, RED3, REDIRECT, is_runnable
from .mutation import Mutant
from .oracle import agrees, agrees_on_flood, state_of

PROXY = load("two_hosts").with_nve(neighbours=Neighbours.PROXY)
DATAPLANES = ["ebpf", "model"]
ALL_NODES_MAC = "33:33:00:00:00:01"


def with_record(scenario: Scenario, name: str, record: RecordType) -> Scenario:
    """The scenario, in which the policy knows a VM by a record of this type."""
    vms = tuple(replace(vm, record=record) if vm.name == name else vm for vm in scenario.policy.vms)
    return replace(scenario, policy=replace(scenario.policy, vms=vms))


MIXED = with_record(with_record(PROXY, "red2", RecordType.L2ONLY), "red3", RecordType.GATEWAY_WILDCARD)


@contextmanager
def mute() -> Iterator[Bench]:
    """A bench whose VMs answer no question, so that nothing moves but by what the test sends."""
    with running(MIXED) as bench:
        for vm in bench.net.vms:
            with vm.inside():
                set_sysctl("ipv4/conf/eth0/arp_ignore", 8)
        yield bench


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with running(PROXY) as bench:
        yield bench


@pytest.fixture(scope="module")
def mixed() -> Iterator[Bench]:
    """A bench on which the policy knows no CA of red2, and knows red3 as a gateway."""
    with mute() as bench:
        yield bench


def request(target: str, src: str = RED1, dst: str = EVERYBODY, sender: str = "10.0.0.1", **fields: Any) -> bytes:
    """An ARP request, as red1 makes them."""
    arp = ARP(**({"op": 1, "hwsrc": src, "psrc": sender, "hwdst": "00:00:00:00:00:00", "pdst": target} | fields))
    return bytes(Ether(src=src, dst=dst) / arp)


def solicitation(target: str, src: str = RED1, source: str = "fd00:10::1", dst: str = "", **fields: Any) -> bytes:
    """A Neighbour Solicitation, as red1 makes them: to the solicited-node group unless told otherwise."""
    packed = ip_address(target).packed
    group = in6_getnsma(packed)
    ethernet = Ether(src=src, dst=dst or in6_getnsmac(group))
    ip = IPv6(**({"src": source, "dst": str(ip_address(group)), "hlim": 255} | fields))
    option = ICMPv6NDOptSrcLLAddr(lladdr=src) if source != "::" else Raw(b"")
    return bytes(ethernet / ip / ICMPv6ND_NS(tgt=target) / option)


def changed(frame: bytes, offset: int, value: int) -> bytes:
    """The frame with another byte at an offset."""
    return frame[:offset] + bytes([value]) + frame[offset + 1 :]


def advertisement(target: str, mac: str, to: str = "fd00:10::1", to_mac: str = RED1, **flags: int) -> bytes:
    """The Neighbour Advertisement that a VM would send, as Scapy makes it."""
    ip = IPv6(src=target, dst=to, hlim=255)
    said = ICMPv6ND_NA(**({"tgt": target, "R": 0, "S": 1, "O": 1} | flags)) / ICMPv6NDOptDstLLAddr(lladdr=mac)
    return bytes(Ether(src=mac, dst=to_mac) / ip / said)


# What is answered


@pytest.mark.parametrize(("target", "mac"), [("10.0.0.2", RED2), ("10.0.0.3", RED3)])
def test_an_arp_request_is_answered_as_the_vm_would_s2(bench: Bench, target: str, mac: str) -> None:
    sent = bench.from_port("red1", request(target))

    reply = Ether(src=mac, dst=RED1) / ARP(op=2, hwsrc=mac, psrc=target, hwdst=RED1, pdst="10.0.0.1")
    assert (sent.action, sent.moved) == (REDIRECT, {(RED, "answered"): 1})
    assert sent.frame.hex(" ") == bytes(reply).hex(" ")


@pytest.mark.parametrize(("target", "mac"), [("fd00:10::2", RED2), ("fd00:10::3", RED3)])
def test_a_solicitation_is_answered_as_the_vm_would_s2_rfc4861(bench: Bench, target: str, mac: str) -> None:
    sent = bench.from_port("red1", solicitation(target))

    assert (sent.action, sent.moved) == (REDIRECT, {(RED, "answered"): 1})
    assert sent.frame.hex(" ") == advertisement(target, mac).hex(" ")


def test_a_probe_for_duplicates_is_answered_to_all_nodes_rfc4861_7_2_4(bench: Bench) -> None:
    sent = bench.from_port("red1", solicitation("fd00:10::2", source="::"))

    assert sent.frame.hex(" ") == advertisement("fd00:10::2", RED2, "ff02::1", ALL_NODES_MAC, S=0).hex(" ")


def test_a_probe_for_an_address_of_another_vm_is_answered_rfc5227(bench: Bench) -> None:
    sent = bench.from_port("red1", request("10.0.0.2", sender="0.0.0.0"))  # noqa: S104

    reply = Ether(sent.frame)[ARP]
    assert (reply.op, reply.hwsrc, reply.psrc, reply.pdst) == (2, RED2, "10.0.0.2", "0.0.0.0")  # noqa: S104


def test_a_gateway_says_that_it_is_a_router_rfc4861_4_4(mixed: Bench) -> None:
    sent = mixed.from_port("red1", solicitation("fd00:10::3"))

    assert sent.frame.hex(" ") == advertisement("fd00:10::3", RED3, R=1).hex(" ")


def test_equal_addresses_of_two_tenants_are_answered_by_each_ones_records_t4(bench: Bench) -> None:
    asked = {"red1": (request("10.0.0.2"), RED2), "blue1": (request("10.0.0.2", src=BLUE1), BLUE2)}

    assert {vm: Ether(bench.from_port(vm, frame).frame)[ARP].hwsrc for vm, (frame, _) in asked.items()} == {
        vm: mac for vm, (_, mac) in asked.items()
    }


# What is not


SILENT = {
    "a CA that nobody has": (request("10.0.0.9"), Drop.UNKNOWN_NEIGHBOUR),
    "a CA that nobody has, IPv6": (solicitation("fd00:10::9"), Drop.UNKNOWN_NEIGHBOUR),
    "a group": (solicitation("ff02::1"), Drop.UNKNOWN_NEIGHBOUR),
    "no address at all": (request("0.0.0.0"), Drop.UNKNOWN_NEIGHBOUR),  # noqa: S104
    "the asker's own CA": (request("10.0.0.1"), Drop.OWN_ADDRESS),
    "the asker's own CA, as a probe": (request("10.0.0.1", sender="0.0.0.0"), Drop.OWN_ADDRESS),  # noqa: S104
    "the asker's own CA, IPv6": (solicitation("fd00:10::1"), Drop.OWN_ADDRESS),
    "the asker's own CA, IPv6, as a probe": (solicitation("fd00:10::1", source="::"), Drop.OWN_ADDRESS),
    "gratuitous ARP reply": (request("10.0.0.1", op=2), Drop.ANNOUNCEMENT),
    "gratuitous ARP reply for somebody else's CA": (request("10.0.0.2", op=2, sender="10.0.0.2"), Drop.ANNOUNCEMENT),
    "unsolicited advertisement": (
        advertisement("fd00:10::1", RED1, "ff02::1", ALL_NODES_MAC, S=0),
        Drop.ANNOUNCEMENT,
    ),
}


@pytest.mark.parametrize(("frame", "reason"), SILENT.values(), ids=SILENT)
def test_this_gets_no_answer_and_goes_nowhere_s2_g16(bench: Bench, frame: bytes, reason: Drop) -> None:
    sent = bench.from_port("red1", frame)

    assert sent.moved == {(RED, reason.name): 1}


@pytest.mark.parametrize(
    "frame",
    [
        request("10.0.0.2", dst=RED2),
        solicitation("fd00:10::2", dst=RED2),
        solicitation("fd00:10::2", hlim=254, dst=RED2),
    ],
)
def test_a_request_to_one_vm_goes_to_it(bench: Bench, frame: bytes) -> None:
    said = agrees(bench, "red1", frame)

    assert said.counted == {(RED, "encapsulated"): 1, (RED, "encapsulated_bytes"): len(frame)}


ORDINARY = {
    "a router solicitation": bytes(
        Ether(src=RED1, dst="33:33:00:00:00:02") / IPv6(src="fe80::1", dst="ff02::2", hlim=255) / ICMPv6ND_RS()
    ),
    "a solicitation that passed a router": solicitation("fd00:10::2", hlim=254),
    "ARP of another hardware": changed(request("10.0.0.2"), 15, 6),
    "a solicitation with a code": changed(solicitation("fd00:10::2"), 55, 1),
    "ARP of another protocol": changed(request("10.0.0.2"), 17, 1),
}


@pytest.mark.parametrize("frame", ORDINARY.values(), ids=ORDINARY)
def test_what_the_proxy_does_not_know_goes_to_everybody_like_any_broadcast(mixed: Bench, frame: bytes) -> None:
    agrees_on_flood(mixed, "red1", frame, frame)


# Records without a CA


@pytest.mark.parametrize(
    "frame",
    [
        request("10.0.0.2"),
        request("10.0.0.9"),
        request("10.0.0.9", op=2),
        solicitation("fd00:10::2"),
        solicitation("fd00:10::9", source="::"),
        advertisement("fd00:10::1", RED1, "ff02::1", ALL_NODES_MAC, S=0),
    ],
)
def test_where_a_record_knows_no_ca_everybody_is_asked(mixed: Bench, frame: bytes) -> None:
    agrees_on_flood(mixed, "red1", frame, frame)
    assert len(model.handle(state_of(mixed), "red1", frame).out) == 2  # to red3, and to host2


def test_other_subnets_are_not_asked_t4(mixed: Bench) -> None:
    sent = mixed.from_port("blue1", request("10.0.0.9", src=BLUE1))

    assert sent.drops == [Drop.UNKNOWN_NEIGHBOUR]


# Anything at all


cas = st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.9", "0.0.0.0", "255.255.255.255"])  # noqa: S104
cas6 = st.sampled_from([f"fd00:10::{n}" for n in (1, 2, 3, 9)] + ["::", "ff02::1", "::ffff:10.0.0.2"])
questions = st.one_of(
    st.builds(lambda target, sender, op: request(target, sender=sender, op=op), cas, cas, st.integers(0, 3)),
    st.builds(lambda target, source, hops: solicitation(target, source=source, hlim=hops), cas6, cas6, st.just(255)),
)


@st.composite
def broken_questions(draw: st.DrawFn) -> bytes:
    """A question with some bytes behind the addresses changed, cut short or made longer."""
    frame = bytearray(draw(questions))
    for position in draw(st.lists(st.integers(14, len(frame) - 1), max_size=2)):
        frame[position] = draw(st.integers(0, 0xFF))
    return bytes(frame[: draw(st.integers(15, len(frame)))]) + bytes(draw(st.sampled_from([0, 0, 4, 18])))


@settings(max_examples=150)
@given(frame=st.one_of(questions, broken_questions()).filter(is_runnable), known=st.booleans())
def test_the_data_plane_answers_as_specified(bench: Bench, mixed: Bench, frame: bytes, known: bool) -> None:
    chosen = bench if known else mixed
    wanted = model.handle(state_of(chosen), "red1", frame)
    if (RED, "answered") in wanted.counted or not wanted.out:
        agrees(chosen, "red1", frame)
    else:
        got = chosen.from_port("red1", frame)
        assert got.moved == dict(wanted.counted)


# From a VM's point of view


def neighbours(net: NvgreNet, vm: str) -> dict[str, str]:
    """The MAC addresses that a VM's kernel has found, by CA."""
    found = json.loads(net[vm].run_process(["ip", "-json", "neigh"]).stdout)
    return {entry["dst"]: entry["lladdr"] for entry in found if "lladdr" in entry}


@pytest.fixture(params=DATAPLANES)
def net(request: pytest.FixtureRequest) -> Iterator[NvgreNet]:
    with NvgreNet(PROXY, request.param) as net:
        yield net


def asks(packet: Packet) -> bool:
    """Whether an inner frame asks who has an address, and is for everybody."""
    return packet.dst != RED2 and (ARP in packet or ICMPv6ND_NS in packet)


def test_vms_find_each_other_and_the_underlay_hears_no_question_s2_s4(net: NvgreNet) -> None:
    with Watch([Place(net["host1"], "host1-eth0", incoming_only=False)]) as watch:
        pings = [net["red1"].ping(address) for address in ("10.0.0.2", "10.0.0.3", "fd00:10::2", "fd00:10::3")]
        asked = not net["red1"].ping("10.0.0.9", timeout=1)
        seen = [Ether(sighting.frame) for sighting in watch.until_quiet()]

    assert pings == [True] * 4
    assert asked
    found = neighbours(net, "red1")
    assert {found[ca] for ca in ("10.0.0.2", "fd00:10::2")} == {RED2}
    assert {found[ca] for ca in ("10.0.0.3", "fd00:10::3")} == {RED3}
    inner = [Ether(bytes(packet)[42:]) for packet in seen if packet.type == 0x0800 and bytes(packet)[23] == 47]
    assert inner
    assert [packet.summary() for packet in inner if asks(packet) and packet.dst == EVERYBODY] == []
    assert [packet.summary() for packet in inner if ICMPv6ND_NS in packet and packet.dst.startswith("33:33")] == []


@pytest.mark.parametrize(("address", "fails"), [("fd00:10::2", True), ("fd00:10::77", False)])
def test_a_kernel_that_takes_an_address_of_another_vm_is_told_rfc4862(net: NvgreNet, address: str, fails: bool) -> None:
    vm = net["red1"]
    with vm.inside():
        for name, value in {"accept_dad": 1, "dad_transmits": 1}.items():
            Path(f"/proc/sys/net/ipv6/conf/eth0/{name}").write_text(str(value))
    vm.run_process(["ip", "addr", "add", f"{address}/64", "dev", "eth0"])

    def state() -> dict[str, Any]:
        (link,) = json.loads(vm.run_process(["ip", "-json", "addr", "show", "dev", "eth0"]).stdout)
        return next((info for info in link["addr_info"] if info["local"] == address), {})

    wait_until(lambda: "dadfailed" in state() or "tentative" not in state(), "the kernel to have probed", 10)
    assert bool(state().get("dadfailed")) == fails


@pytest.mark.parametrize("dataplane", DATAPLANES)
def test_a_vm_that_no_record_knows_by_ca_is_found_by_asking(dataplane: str) -> None:
    with NvgreNet(with_record(PROXY, "red2", RecordType.L2ONLY), dataplane) as net:
        assert [net["red1"].ping(address) for address in ("10.0.0.2", "fd00:10::2")] == [True, True]
        assert neighbours(net, "red1")["10.0.0.2"] == RED2
        assert net["red2"].ping("10.0.0.3")
        assert net["blue1"].ping("10.0.0.2")


# The checks bite


MUTANTS = {
    "the VSID of a question (T4)": Mutant(
        "neighbours.h", "neighbour_key about = {.vsid = port->vsid}", "neighbour_key about = {.vsid = 5000}"
    ),
    "silence about the asker's own CA": Mutant(
        "neighbours.h", "record->ifindex == skb->ingress_ifindex", "record->ifindex == ~0U"
    ),
    "no question to the wire (S2)": Mutant(
        "neighbours.h", "return drop_sent(skb, port, asks ? DROP_UNKNOWN_NEIGHBOUR : DROP_ANNOUNCEMENT)", "return -1"
    ),
    "an unknown CA is no answer": Mutant("neighbours.h", "found->type != RECORD_L2ONLY", "1"),
    "l2only counts in its own subnet only (T4)": Mutant(
        "neighbours.h", "unknown = {.vsid = port->vsid,", "unknown = {.vsid = 5000,"
    ),
    "announcements are not answered": Mutant("neighbours.h", "if (asks && found", "if (found"),
    "the hop limit (RFC 4861)": Mutant("neighbours.h", "ip->hop_limit != ND_HOP_LIMIT ||", "0 ||"),
    "the code (RFC 4861)": Mutant("neighbours.h", "|| nd->code)", ")"),
    "the hardware of ARP": Mutant("neighbours.h", "arp->hardware != bpf_htons(ARP_ETHERNET) ||", "0 ||"),
    "nobody's address gets no answer (RFC 4861)": Mutant(
        "neighbours.h", "has_address = !is_unspecified(&asker)", "has_address = 1"
    ),
    "a gateway is a router (RFC 4861)": Mutant(
        "neighbours.h", "found->type == RECORD_GATEWAY_WILDCARD || found->type", "found->type"
    ),
}  # fmt: skip


def every_question(bench: Bench) -> None:
    """Compares the data plane with the specification on one question for each check."""
    for frame in (
        request("10.0.0.1"), request("10.0.0.3"), request("10.0.0.3", op=2), request("0.0.0.0"),  # noqa: S104
        solicitation("fd00:10::1"), solicitation("fd00:10::3"), solicitation("fd00:10::3", source="::"),
    ):  # fmt: skip
        said = model.handle(state_of(bench), "red1", frame)
        if (RED, "answered") in said.counted or not said.out:
            agrees(bench, "red1", frame)
        else:
            agrees_on_flood(bench, "red1", frame, frame)
    for frame in (request("10.0.0.2", src=BLUE1), request("10.0.0.9", src=BLUE1), request("10.0.0.2", src=BLUE1, op=2)):
        agrees(bench, "blue1", frame)
    hardware, code = changed(request("10.0.0.3"), 15, 6), changed(solicitation("fd00:10::3"), 55, 1)
    for frame in (solicitation("fd00:10::3", hlim=64), hardware, code):
        agrees_on_flood(bench, "red1", frame, frame)


def test_the_data_plane_passes_unchanged(mixed: Bench) -> None:
    every_question(mixed)


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS)
def test_disabling_this_check_is_noticed(mutant: Mutant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = mutant.compiled(tmp_path)
    monkeypatch.setattr(ebpf, "object_file", lambda: path)

    with mute() as bench, pytest.raises(AssertionError):
        every_question(bench)
