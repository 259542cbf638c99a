"""Trunk ports (I5): VLAN ids select virtual subnets, tags stay at the port, and priorities choose the outer DSCP.

Tags travel beside a frame in the kernel, so that all of this is tried on the wire, and compared with the specification.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.packet import Packet, Raw

from nvgre_node.choices import COPY, Neighbours, SourceCheck, TooBig
from nvgre_node.dataplane import model
from nvgre_node.dataplane.base import NO_SUBNET, Drop
from nvgre_node.dataplane.planes import ebpf
from nvgre_node.net import NvgreNet
from nvgre_node.wire import NvgreHeader, octets
from topologies import Scenario, load

from .frames import EVERYBODY, EXPERIMENTAL, KINDS, OUTER_BYTES
from .mutation import Mutant
from .tap import Heard, Tap, token, wire

TRUNKS = """
name: trunks
title: A firewall in three virtual subnets, on one port
hosts: {host1: {pa: 192.168.0.1/24}, host2: {pa: 192.168.0.2/24}}
links: [[host1, host2]]
nve: {pcp_to_dscp: {5: 46, 0: 8}}
tenants:
  red:
    subnets:
      red_net: {vsid: 5000, prefixes: [10.0.0.0/24]}
      red_dmz: {vsid: 5001, prefixes: [10.0.1.0/24]}
      red_mgmt: {vsid: 5002, prefixes: [10.0.2.0/24]}
    vms:
      fw:
        host: host1
        subnet: red_mgmt
        ca: 10.0.2.254
        mac: 02:00:00:00:00:fe
        trunk:
          10: {subnet: red_net, ca: 10.0.0.254}
          20: {subnet: red_dmz, ca: 10.0.1.254}
      net1: {subnet: red_net, host: host1, ca: 10.0.0.1}
      net2: {subnet: red_net, host: host2, ca: 10.0.0.2}
      dmz2: {subnet: red_dmz, host: host2, ca: 10.0.1.2}
      mgmt2: {subnet: red_mgmt, host: host2, ca: 10.0.2.2}
      ids:
        host: host2
        mac: 02:00:00:00:00:1d
        trunk: {30: {subnet: red_net, ca: 10.0.0.253}, 40: {subnet: red_dmz, ca: 10.0.1.253}}
"""
FW, IDS = "02:00:00:00:00:fe", "02:00:00:00:00:1d"
NET1, NET2, DMZ2, MGMT2 = (f"02:00:0a:00:0{n}" for n in ("0:01", "0:02", "1:02", "2:02"))
NET, DMZ, MGMT = 5000, 5001, 5002
NOBODY = "10.0.0.99"  # who does not answer
DATAPLANES = ["ebpf", "model"]


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    path = tmp_path_factory.mktemp("trunks") / "trunks.yaml"
    path.write_text(TRUNKS)
    return load(path)


@pytest.fixture(scope="module", params=DATAPLANES)
def tap(request: pytest.FixtureRequest, scenario: Scenario) -> Iterator[Tap]:
    with NvgreNet(scenario, request.param) as net, Tap(net) as tap:
        yield tap


def frame(src: str, dst: str, mark: bytes, *tags: Packet, payload: Packet | None = None) -> bytes:
    """A frame with tags, the outermost first."""
    packet: Packet = Ether(src=src, dst=dst)
    for tag in tags:
        packet /= tag
    if payload is not None:
        return bytes(packet / payload / Raw(mark))
    (packet.lastlayer() if tags else packet).type = EXPERIMENTAL
    return bytes(packet / Raw(mark))


def c_tag(vid: int, pcp: int = 1) -> Packet:
    return Dot1Q(vlan=vid, prio=pcp)


def s_tag(vid: int, pcp: int = 1) -> Packet:
    return Dot1AD(vlan=vid, prio=pcp)


def carried(heard: Heard, host: str = "host1") -> list[tuple[int, bytes]]:
    """What an uplink carried: VSID and inner frame."""
    return [(NvgreHeader.unpack(packet[34:]).vsid, packet[OUTER_BYTES:]) for packet in wire(heard, host)]


def at_vms(heard: Heard) -> Heard:
    return {node: frames for node, frames in heard.items() if not node.startswith("host")}


def counted(tap: Tap, host: str) -> dict[tuple[int, Drop], int]:
    counters = tap.net.counters()[host]
    return {(vsid, drop): n for vsid, own in counters.items() for drop, n in own.dropped.items()}


# From a trunk port


SELECTED = {
    "one VID": ((c_tag(10),), NET, "net2", NET2),
    "another VID": ((c_tag(20),), DMZ, "dmz2", DMZ2),
    "no tag": ((), MGMT, "mgmt2", MGMT2),
    "a priority tag": ((c_tag(0, pcp=7),), MGMT, "mgmt2", MGMT2),
    "a service tag": ((s_tag(10),), NET, "net2", NET2),
    "QinQ": ((s_tag(20), c_tag(10)), DMZ, "dmz2", DMZ2),
    "a tag behind a priority tag": ((c_tag(0), c_tag(10)), MGMT, "mgmt2", MGMT2),
    "three tags": ((c_tag(10), c_tag(20), c_tag(99)), NET, "net2", NET2),
}


@pytest.mark.parametrize(("tags", "vsid", "hearer", "mac"), SELECTED.values(), ids=SELECTED)
def test_the_outermost_tag_selects_and_all_are_stripped(
    tap: Tap, tags: tuple[Packet, ...], vsid: int, hearer: str, mac: str
) -> None:
    mark = token()
    heard = tap.say("fw", frame(FW, mac, mark, *tags), mark)
    plain = frame(FW, mac, mark)
    assert carried(heard) == [(vsid, plain)]
    assert at_vms(heard) == {hearer: [plain]}


REFUSED = {
    "an unknown VID": ("fw", (c_tag(99),), Drop.UNKNOWN_VLAN),
    "the highest VID": ("fw", (c_tag(4095),), Drop.UNKNOWN_VLAN),
    "a known VID behind an unknown one": ("fw", (s_tag(99), c_tag(10)), Drop.UNKNOWN_VLAN),
    "another trunk port's VID": ("ids", (c_tag(10),), Drop.UNKNOWN_VLAN),
    "no tag where nothing is untagged": ("ids", (), Drop.UNTAGGED),
    "a priority tag where nothing is untagged": ("ids", (c_tag(0),), Drop.UNTAGGED),
}


@pytest.mark.parametrize(("vm", "tags", "reason"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("dst", [NET1, EVERYBODY])
def test_what_no_vlan_is_for_is_dropped(tap: Tap, vm: str, tags: tuple[Packet, ...], reason: Drop, dst: str) -> None:
    host, mark = {"fw": "host1", "ids": "host2"}[vm], token()
    before = counted(tap, host)
    heard = tap.say(vm, frame({"fw": FW, "ids": IDS}[vm], dst, mark, *tags), mark)
    assert (wire(heard, host), at_vms(heard)) == ([], {})
    assert counted(tap, host) == before | {(NO_SUBNET, reason): before.get((NO_SUBNET, reason), 0) + 1}


# To a trunk port


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("vm", "src", "tag"), [("net2", NET2, c_tag(10, 0)), ("net1", NET1, c_tag(10, 0)), ("mgmt2", MGMT2, None)]
)
def test_what_is_delivered_has_the_tag_of_its_subnet(
    tap: Tap, vm: str, src: str, tag: Packet | None, kind: str
) -> None:
    packet = KINDS[kind]
    plain = bytes(Ether(src=src, dst=FW) / packet)
    wanted = bytes(Ether(src=src, dst=FW) / tag / packet) if tag else plain
    heard = tap.say(vm, plain, bytes(packet)[-20:])
    assert at_vms(heard) == {"fw": [wanted]}


def test_from_trunk_port_to_trunk_port(tap: Tap) -> None:
    mark = token()
    heard = tap.say("fw", frame(FW, IDS, mark, c_tag(20)), mark)
    assert carried(heard) == [(DMZ, frame(FW, IDS, mark))]
    assert at_vms(heard) == {"ids": [frame(FW, IDS, mark, c_tag(40, 0))]}


def test_each_copy_of_a_broadcast_has_the_tag_of_its_port(tap: Tap) -> None:
    mark = token()
    heard = tap.say("net2", frame(NET2, EVERYBODY, mark), mark)
    plain = frame(NET2, EVERYBODY, mark)
    tagged = {vid: frame(NET2, EVERYBODY, mark, c_tag(vid, 0)) for vid in (10, 30)}
    assert at_vms(heard) == {"fw": [tagged[10]], "net1": [plain], "ids": [tagged[30]]}


def test_a_broadcast_from_a_trunk_port_stays_in_its_vlan(tap: Tap) -> None:
    mark = token()
    heard = tap.say("fw", frame(FW, EVERYBODY, mark, c_tag(10)), mark)
    plain = frame(FW, EVERYBODY, mark)
    assert carried(heard) == [(NET, plain)]
    assert at_vms(heard) == {"net1": [plain], "net2": [plain], "ids": [frame(FW, EVERYBODY, mark, c_tag(30, 0))]}


# What the NVE itself says to a trunk port, and checks there


@pytest.fixture(scope="module", params=DATAPLANES)
def strict(request: pytest.FixtureRequest, scenario: Scenario) -> Iterator[Tap]:
    """NVEs that answer ARP, check CAs and cut what is too big, and VMs that send what is too big."""
    choices: dict[str, Any] = {"neighbours": Neighbours.PROXY, "source_check": SourceCheck.CA}
    variant = scenario.with_nve(**choices, too_big=TooBig.FRAGMENT, dscp=COPY).with_mtu(tenant=2000)
    with NvgreNet(variant, request.param) as net, Tap(net) as tap:
        yield tap


def test_the_proxy_for_neighbours_answers_into_the_vlan(strict: Tap) -> None:
    asked = Ether(src=FW, dst=EVERYBODY) / c_tag(20) / ARP(hwsrc=FW, psrc="10.0.1.254", pdst="10.0.1.2")
    (answer,) = strict.say("fw", bytes(asked), octets(DMZ2) + bytes([10, 0, 1, 2]))["fw"]
    assert (Ether(answer)[Dot1Q].vlan, Ether(answer)[ARP].hwsrc) == (20, DMZ2)


def test_who_sends_too_much_is_told_in_its_vlan(strict: Tap) -> None:
    packet = IP(src="10.0.0.254", dst="10.0.0.2", flags="DF") / UDP(sport=7, dport=7) / Raw(bytes(1600))
    sent = bytes(Ether(src=FW, dst=NET2) / c_tag(10) / packet)
    (told,) = at_vms(strict.say("fw", sent, bytes(packet)[:28]))["fw"]
    assert (Ether(told)[Dot1Q].vlan, Ether(told)["ICMP"].nexthopmtu) == (10, 1500)


@pytest.mark.parametrize(("vid", "heard"), [(10, 1), (20, 0)])
def test_a_ca_is_the_vms_own_only_in_its_vlan(strict: Tap, vid: int, heard: int) -> None:
    mark = token()
    payload = IP(src="10.0.0.254", dst=NOBODY) / UDP(sport=7, dport=7)
    target = {10: NET2, 20: DMZ2}[vid]
    assert len(at_vms(strict.say("fw", frame(FW, target, mark, c_tag(vid), payload=payload), mark))) == heard


def test_every_inner_fragment_has_the_dscp_of_its_packets_priority(strict: Tap) -> None:
    mark = token()
    payload = IP(src="10.0.0.254", dst=NOBODY) / UDP(sport=7, dport=7) / Raw(mark * 200)
    heard = strict.say("fw", frame(FW, NET2, mark, c_tag(10, pcp=5), payload=payload), mark)
    assert [Ether(packet)[IP].tos >> 2 for packet in wire(heard)] == [46, 46]
    assert {vsid for vsid, _ in carried(heard)} == {NET}


# Priorities


PRIORITIES = {
    "mapped": ("fw", (c_tag(10, pcp=5),), 46),
    "not mapped": ("fw", (c_tag(10, pcp=3),), 0),
    "no tag": ("fw", (), 0),
    "0, of a tag": ("fw", (c_tag(10, pcp=0),), 8),
    "a priority tag": ("fw", (c_tag(0, pcp=5),), 46),
    "the outermost": ("fw", (s_tag(10, pcp=5), c_tag(10, pcp=0)), 46),
    "not the inner one": ("fw", (s_tag(10, pcp=3), c_tag(10, pcp=5)), 0),
    "on an access port": ("net1", (c_tag(0, pcp=5),), 46),
    "on an access port, any VID": ("net1", (c_tag(77, pcp=5),), 46),
}


@pytest.mark.parametrize(("vm", "tags", "dscp"), PRIORITIES.values(), ids=PRIORITIES)
@pytest.mark.parametrize("to", [NET2, EVERYBODY])
def test_the_priority_of_the_outermost_tag_chooses_the_outer_dscp(
    tap: Tap, vm: str, tags: tuple[Packet, ...], dscp: int, to: str
) -> None:
    mark, payload = token(), IP(src="10.0.0.254", dst=NOBODY, tos=10 << 2 | 2) / UDP()
    to = MGMT2 if to == NET2 and vm == "fw" and not (tags and tags[0].vlan) else to
    heard = tap.say(vm, frame({"fw": FW, "net1": NET1}[vm], to, mark, *tags, payload=payload), mark)
    (packet,) = wire(heard)
    assert Ether(packet)[IP].tos == dscp << 2 | 2  # and ECN is the inner one, whatever the priority


def test_a_priority_that_is_mapped_goes_before_the_inner_dscp(strict: Tap) -> None:
    found = []
    for pcp in (5, 3):
        mark, payload = token(), IP(src="10.0.0.254", dst=NOBODY, tos=10 << 2) / UDP()
        heard = strict.say("fw", frame(FW, NET2, mark, c_tag(10, pcp), payload=payload), mark)
        found += [Ether(packet)[IP].tos >> 2 for packet in wire(heard)]
    assert found == [46, 10]


# All of it, beside the specification


def as_specified(tap: Tap, vm: str, sent: bytes, mark: bytes) -> None:
    """Compares what host1 sends where, and its drops, with what the specification says of a frame from its VM."""
    host, (uplink,) = tap.net["host1"], tap.net["host1"].uplinks
    far = tap.net["host2"].interface_mac("host2-eth0")
    path = model.Path(uplink, octets(host.interface_mac(uplink)), octets(far), 1542)
    pa = host.policy.nve.pas[0].ip + 1
    wanted = model.handle(model.State(host.policy, frozenset(), {pa: path}), vm, sent)
    before = counted(tap, "host1")
    heard = tap.say(vm, sent, mark)
    after = counted(tap, "host1")
    moved = {key: n - before.get(key, 0) for key, n in after.items() if n != before.get(key, 0)}
    own = {"fw", "net1"} - {vm}
    out = [("host1", packet) for packet in wire(heard)] + [(node, f) for node in own for f in heard.get(node, [])]
    assert sorted(out) == sorted(("host1" if name == uplink else name, f) for name, f in wanted.out)
    reasons = {reason.name: reason for reason in Drop}
    dropped = {(vsid, reasons[name]): n for (vsid, name), n in wanted.counted.items() if name in reasons}
    assert moved == dropped


tags_of = st.lists(
    st.builds(
        lambda kind, vid, pcp: kind(vid, pcp),
        st.sampled_from([c_tag, s_tag]),
        st.sampled_from([0, 10, 20, 30, 99]) | st.integers(0, 4095),
        st.integers(0, 7),
    ),
    max_size=5,
)


@settings(max_examples=40)
@given(
    tags=tags_of,
    vm=st.sampled_from([("fw", FW), ("net1", NET1)]),
    dst=st.sampled_from([NET1, NET2, DMZ2, MGMT2, FW, IDS, EVERYBODY]),
    tos=st.integers(0, 255),
)
def test_any_stack_of_tags_fares_as_the_specification_says(
    tap: Tap, tags: list[Packet], vm: tuple[str, str], dst: str, tos: int
) -> None:
    mark = token()
    sent = frame(vm[1], dst, mark, *tags, payload=IP(src="10.0.0.9", dst="10.0.0.8", tos=tos) / UDP())
    as_specified(tap, vm[0], sent, mark)


MUTANTS = {
    "an unknown VID is no access port's": Mutant("vlan.h", "return port && port->access ? port : 0;", "return port;"),
    "the VID selects": Mutant("vlan.h", "key.vid = skb->vlan_tci & VLAN_VID;", "key.vid = 10;"),
    "a tag for the trunk port": Mutant(
        "vlan.h", "return nve.trunks && vid ? bpf_skb_vlan_push", "return 0 ? bpf_skb_vlan_push"
    ),
    "no tag for the next copy": Mutant("vlan.h", "return nve.trunks && vid ? bpf_skb_vlan_pop(skb) : 0;", "return 0;"),
    "the priority that policy names": Mutant("vlan.h", "kept & PRIORITY_KNOWN ?", "0 ?"),
    "no priority without a tag": Mutant("vlan.h", "kept & PRIORITY_KNOWN ?", "1 ?"),
}


def every_check(tap: Tap) -> None:
    for tags in ((), (c_tag(10, 5),), (c_tag(20),), (c_tag(0),), (c_tag(99),), (s_tag(20), c_tag(10))):
        for dst in (NET1, NET2, DMZ2, MGMT2, EVERYBODY):
            mark = token()
            as_specified(tap, "fw", frame(FW, dst, mark, *tags), mark)
    for dst in (FW, EVERYBODY):
        mark = token()
        as_specified(tap, "net1", frame(NET1, dst, mark), mark)


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=list(MUTANTS))
def test_disabling_this_check_is_noticed(
    mutant: Mutant, scenario: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = mutant.compiled(tmp_path)
    monkeypatch.setattr(ebpf, "object_file", lambda: path)
    with NvgreNet(scenario) as net, Tap(net) as tap, pytest.raises(AssertionError):
        every_check(tap)


def test_the_data_plane_passes_unchanged(scenario: Scenario) -> None:
    with NvgreNet(scenario) as net, Tap(net) as tap:
        every_check(tap)
