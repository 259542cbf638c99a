"""Congestion in the underlay reaches the TCP of the VMs (RFC 6040): their kernels use ECN, and say what they saw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from experiments.transfer import transfer
from nvgre_node.choices import Ecn
from nvgre_node.dataplane.build import compile_programs
from nvgre_node.dataplane.libbpf import Object
from nvgre_node.namespace import set_sysctl
from nvgre_node.net import NvgreNet
from nvgre_node.node import TenantVM
from topologies import load

SIZE = 4 << 20
# The kernel's own helper marks what is capable of it, and leaves all else alone.
MARKER = """
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

SEC("tc")
int mark(struct __sk_buff *skb)
{
	bpf_skb_ecn_set_ce(skb);
	return TC_ACT_OK;
}

char LICENSE[] SEC("license") = "GPL";
"""


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """A program that marks every packet with CE, as a router in congestion does."""
    (tmp_path / "nvgre.bpf.c").write_text(MARKER)
    return compile_programs(tmp_path, tmp_path / "marker.bpf.o")


def netstat(vm: TenantVM) -> dict[str, int]:
    """What the kernel of a VM has counted: of IPv4 and TCP by name, of IPv6 with Ip6 in front."""
    lines = [line.split() for line in vm.run_process(["cat", "/proc/net/netstat"]).stdout.splitlines()]
    ip6 = [line.split() for line in vm.run_process(["cat", "/proc/net/snmp6"]).stdout.splitlines()]
    pairs = zip(lines[::2], lines[1::2], strict=True)
    named = [named for names, numbers in pairs for named in zip(names[1:], numbers[1:], strict=True)]
    return {name: int(value) for name, value in (*named, *ip6)}


def counted(marker: Path, dataplane: str, address: str, **choices: Any) -> tuple[dict[str, int], dict[str, int]]:
    """What sender and receiver of a TCP stream counted, whose packets r1 marked on their way."""
    with NvgreNet(load("contoso_fabrikam").with_nve(**choices), dataplane) as net:
        sender, receiver, router = net["contoso_sql"], net["contoso_web"], net["r1"]
        for vm in (sender, receiver):
            with vm.inside():
                set_sysctl("ipv4/tcp_ecn", 1)
        programs = Object(marker)
        try:
            with router.inside():
                programs.attach("mark", router.interface_index("r1-eth0"))
            done = transfer(sender, receiver, address, SIZE if dataplane == "ebpf" else SIZE >> 4)
            assert done.completed
            return netstat(sender), netstat(receiver)
        finally:
            programs.close()


@pytest.mark.parametrize("dataplane", ["ebpf", "model"])
@pytest.mark.parametrize("address", ["10.1.1.12", "fd00:10:1:1::12"])
def test_tcp_is_told_of_congestion_in_the_underlay(marker: Path, dataplane: str, address: str) -> None:
    sent, received = counted(marker, dataplane, address)
    assert received["Ip6InCEPkts" if ":" in address else "InCEPkts"] > 10
    assert sent["TCPDeliveredCE"] > 10  # the receiver has echoed it
    assert (received["InCsumErrors"], received["TCPLostRetransmit"]) == (0, 0)


def test_an_underlay_that_may_not_mark_leaves_no_mark(marker: Path) -> None:
    sent, received = counted(marker, "ebpf", "10.1.1.12", ecn=Ecn.ZERO)
    assert (received["InCEPkts"], sent["TCPDeliveredCE"]) == (0, 0)
    assert received["InECT0Pkts"] > 10  # and what the tenant said has arrived
