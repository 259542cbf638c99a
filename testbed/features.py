"""What this machine can do: each feature that something here needs, whether it is there, and how to get it."""

from __future__ import annotations

import ctypes.util
import os
import platform
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Feature:
    """Something a machine has or lacks: who needs it (a data plane, an experiment, ...), and how to get it."""

    name: str
    needed_by: str
    present: Callable[[], bool]
    remedy: str


def _program(name: str) -> Callable[[], bool]:
    return lambda: shutil.which(name) is not None


def _kernel_at_least(*wanted: int) -> bool:
    numbers = platform.release().split("-")[0].split(".")[: len(wanted)]
    return tuple(int(number) for number in numbers) >= wanted


def _has_library() -> bool:
    return ctypes.util.find_library("bpf") is not None or any(Path("/usr/lib").glob("*/libbpf.so.1"))


def _has_bpf_file_system() -> bool:
    return "\tbpf\n" in Path("/proc/filesystems").read_text()


ROOT = Feature("root", "every network", lambda: os.geteuid() == 0, "use sudo")
FEATURES = (
    ROOT,
    Feature("Linux 5.15 or newer", "ebpf", lambda: _kernel_at_least(5, 15), "use a newer kernel"),
    Feature("BPF file system in the kernel", "ebpf", _has_bpf_file_system, "use a kernel with CONFIG_BPF_SYSCALL"),
    Feature("libbpf 1.x", "ebpf", _has_library, "apt-get install libbpf1"),
    Feature("clang", "ebpf", _program("clang"), "apt-get install clang"),
    Feature("ovs-vswitchd", "ovs", _program("ovs-vswitchd"), "apt-get install openvswitch-switch"),
    Feature("mnexec", "every network", _program("mnexec"), "apt-get install mininet"),
    Feature("ip", "every network", _program("ip"), "apt-get install iproute2"),
    Feature("iperf3", "throughput, interop", _program("iperf3"), "apt-get install iperf3"),
    Feature("ethtool", "throughput, model, ovs", _program("ethtool"), "apt-get install ethtool"),
    Feature("nft", "ecmp, conformance, multipath: key, gateways", _program("nft"), "apt-get install nftables"),
    Feature("wg", "site_to_site", _program("wg"), "apt-get install wireguard-tools"),
    Feature("wireguard-go", "site_to_site", _program("wireguard-go"), "apt-get install wireguard-go"),
    Feature("ping", "ping()", _program("ping"), "apt-get install iputils-ping"),
    Feature("tshark", "one test", _program("tshark"), "apt-get install tshark"),
)


def missing_for(users: Iterable[str]) -> str:
    """What these data planes or experiments lack on this machine, with the remedies; empty if nothing."""
    concerned = {"every network", *users}
    needed = [feature for feature in FEATURES if concerned & set(feature.needed_by.split(", "))]
    absent = [feature for feature in needed if not feature.present()]
    return "; ".join(f"{feature.name} (needed by {feature.needed_by}): {feature.remedy}" for feature in absent)


def missing_for_a_target() -> str:
    """What speaking to an NVE lacks that is there already; empty if nothing: no network is built for it."""
    return "" if ROOT.present() else f"{ROOT.name} (needed by packet sockets): {ROOT.remedy}"
