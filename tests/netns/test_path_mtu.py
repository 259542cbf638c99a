"""A narrow link in the fabric: the NVE learns of it from ICMP, and tells its VMs (F4, RFC 2003 section 5.1)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.l2 import Ether

from experiments.probes import Kind, sized
from experiments.transfer import transfer
from experiments.watch import Place, Watch, packet_socket
from nvgre_node.dataplane.planes import ebpf
from nvgre_node.net import NvgreNet
from topologies import load

NARROW = 1400
DATAPLANES = ["ebpf", "model"]


@pytest.fixture(params=DATAPLANES)
def narrowed(request: pytest.FixtureRequest) -> Iterator[NvgreNet]:
    """contoso_fabrikam, in which the link between r1 and host2 carries 1400 bytes and no more."""
    with NvgreNet(load("contoso_fabrikam"), request.param) as net:
        narrow(net)
        yield net


def narrow(net: NvgreNet) -> None:
    net["r1"].set_link("r1-eth1", mtu=NARROW)
    net["host2"].set_link("host2-eth0", mtu=NARROW)


def told(net: NvgreNet, size: int, tag: int) -> int | None:
    """The MTU that contoso_sql is told when it sends a packet of this size to contoso_web, or None."""
    policy = load("contoso_fabrikam").policy
    frame = sized(Kind.ICMP, 4, policy.vm("contoso_sql"), policy.vm("contoso_web"), size, tag=tag)
    port = Place(net["contoso_sql"], "eth0")
    with Watch([port]) as watch, packet_socket(port) as sock:
        sock.send(frame)
        seen = watch.until(lambda sightings: any(frame[14:42] in s.frame for s in sightings), seconds=0.5)
    errors = [packet for s in seen if ICMP in (packet := Ether(s.frame)) and packet[ICMP].type == 3]
    return int(errors[0][ICMP].nexthopmtu) if errors else None


def test_what_a_router_says_reaches_the_vm_as_what_fits_into_the_tunnel(narrowed: NvgreNet) -> None:
    assert told(narrowed, 1500, tag=1) is None  # the first packet is lost: only the router knows, and tells the NVE
    answers = {told(narrowed, size, tag=size) for size in (1500, NARROW - 42 + 1)}
    assert answers == {NARROW - 42}


def test_without_a_listener_the_vm_would_never_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ebpf, "path_mtu_listeners", list)
    with NvgreNet(load("contoso_fabrikam")) as net:
        narrow(net)
        assert [told(net, 1500, tag) for tag in (1, 2)] == [None, None]


def test_a_transfer_survives_a_narrow_link_in_the_fabric(narrowed: NvgreNet) -> None:
    done = transfer(narrowed["contoso_sql"], narrowed["contoso_web"], "10.1.1.12", 256 * 1024)
    assert (done.completed, done.received) == (True, 256 * 1024)


def test_a_forged_message_cannot_push_the_path_below_the_kernels_floor() -> None:
    with NvgreNet(load("contoso_fabrikam")) as net:
        host, router = Place(net["host1"], "host1-eth0", incoming_only=False), Place(net["r1"], "r1-eth0")
        with Watch([host]) as watch, packet_socket(router) as sock:
            assert net["contoso_sql"].ping("10.1.1.12")
            sent = next(
                p for s in watch.heard(100) if (p := Ether(s.frame)).haslayer(IP) and p[IP].src == "192.168.1.10"
            )
            forged = Ether(src=sent.dst, dst=sent.src) / IP(src="192.168.1.1", dst="192.168.1.10")
            sock.send(bytes(forged / ICMP(type=3, code=4, nexthopmtu=68) / bytes(sent[IP])[:28]))
        assert told(net, 500, tag=1) is None  # 500 + 42 fits into the least path MTU that Linux believes in, 552
        assert net["contoso_sql"].ping("10.1.1.12")
