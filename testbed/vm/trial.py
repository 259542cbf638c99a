"""Whether data planes work on the kernel that this runs on: `python -m testbed.vm.trial [DATA PLANE]...`.

Prints a line of JSON about the kernel, and one for each data plane as soon as it is known. Short, since where every
instruction is emulated Python takes twenty times as long: two provider hosts and two tenants with the same addresses.
"""

from __future__ import annotations

import json
import platform
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from nvgre_node import kernel
from nvgre_node.dataplane import DATAPLANES, implementation
from nvgre_node.dataplane.build import KERNEL_BTF
from nvgre_node.errors import MissingError
from nvgre_node.net import NvgreNet
from nvgre_node.node import ProviderHost
from nvgre_node.waiting import wait_until
from testbed.vm.verdict import Found, Verdict
from topologies import Scenario, load

SCENARIO = "two_hosts"
PAUSES = [2.0**power for power in range(-2, 7)]
"""Seconds to wait after each time that something is said."""
_PORT = 7637
_JIT = Path("/proc/sys/net/core/bpf_jit_enable")
_UDP_HEADERS = 28
_DO_NOT_FRAGMENT = 2
"""IP_PMTUDISC_DO."""
_IP_MTU_DISCOVER = 10


class WrongError(Exception):
    """Something was observed that must not be."""


class Inboxes:
    """What VMs hear by UDP, of both versions of IP."""

    def __init__(self, net: NvgreNet, *names: str) -> None:
        self.net = net
        self.heard: dict[str, list[bytes]] = {name: [] for name in names}
        self._sockets: dict[str, socket.socket] = {}

    @contextmanager
    def open(self) -> Iterator[Inboxes]:
        """Listens."""
        with ExitStack() as stack:
            for name in self.heard:
                with self.net[name].inside():
                    own = stack.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
                own.bind(("::", _PORT))
                own.setblocking(False)
                self._sockets[name] = own
            yield self

    def collect(self) -> None:
        """Takes what has arrived by now."""
        for name, own in self._sockets.items():
            while True:
                try:
                    self.heard[name].append(own.recv(1 << 16))
                except BlockingIOError:
                    break

    def hear(self, name: str, word: bytes, say: Callable[[], object]) -> None:
        """Has something said until it is heard: what is said first may be lost while addresses are asked for.

        It is said ever more seldom, so that what is slow need not first work through what was said before.
        """

        def heard() -> bool:
            self.collect()
            return word in self.heard[name]

        for pause in PAUSES:
            say()
            with suppress(TimeoutError):
                wait_until(heard, "it to be heard", pause)
                return
        raise WrongError(f"{name} did not hear {word[:20]!r}, {len(word)} bytes, in {sum(PAUSES):g} s")


def say(net: NvgreNet, name: str, address: str, word: bytes) -> None:
    """A VM sends a datagram, which nobody may fragment."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with net[name].inside(), socket.socket(family, socket.SOCK_DGRAM) as own:
        if family == socket.AF_INET:
            own.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _DO_NOT_FRAGMENT)
        own.sendto(word, (address, _PORT))


def carries(inboxes: Inboxes) -> None:
    """Frames of both tenants and both versions of IP cross the underlay in their virtual subnets."""
    net = inboxes.net
    for tenant in ("red", "blue"):
        for address in ("10.0.0.2", "fd00:10::2"):
            word = f"{tenant} to {address}".encode()
            inboxes.hear(f"{tenant}2", word, lambda: say(net, f"{tenant}1", address, word))  # noqa: B023
    counters = net.counters()
    for vsid in (5000, 6000):
        if not counters["host1"][vsid].encapsulated or not counters["host2"][vsid].decapsulated:
            raise WrongError(f"VSID {vsid}: nothing was counted")


def isolates(inboxes: Inboxes) -> None:
    """Nobody has heard the other tenant, whose VMs have the same addresses: asked when both have been heard."""
    inboxes.collect()
    for name, words in inboxes.heard.items():
        if strange := {word for word in words if not word.startswith(name[:-1].encode())}:
            raise WrongError(f"{name} heard {strange}")


def ports(net: NvgreNet) -> Iterator[tuple[ProviderHost, str]]:
    """The hosts' ends of what leads to VMs."""
    for host in net.provider_hosts:
        yield from ((host, name) for name in host.policy.interfaces)


def fits(inboxes: Inboxes, scenario: Scenario) -> None:
    """A packet of the tenants' MTU arrives whole; one that the underlay cannot carry does not arrive."""
    net, most = inboxes.net, scenario.tenant_mtu - _UDP_HEADERS
    whole, larger, last = b"red".ljust(most, b"w"), b"red".ljust(most + 1, b"l"), b"red last"
    inboxes.hear("red2", whole, lambda: say(net, "red1", "10.0.0.2", whole))
    for node, name in (*((vm, "eth0") for vm in net.vms), *ports(net)):  # so that it is up to the NVEs and the underlay
        node.set_link(name, mtu=scenario.tenant_mtu + 1)
    say(net, "red1", "10.0.0.2", larger)
    inboxes.hear("red2", last, lambda: say(net, "red1", "10.0.0.2", last))
    if larger in inboxes.heard["red2"]:
        raise WrongError(f"a packet of {scenario.tenant_mtu + 1} bytes was carried")


def lacking(dataplane: str) -> str:
    """What this kernel lacks that a data plane cannot do without; empty if nothing."""
    absent = [need.name for need in implementation(dataplane).needs if not need.present()]
    return "; ".join(f"{name}: {kernel.lacks()[name]}" if name in kernel.PROBES else name for name in absent)


def tried(dataplane: str, scenario: Scenario | None = None) -> Verdict:
    """What comes of a data plane here. The scenario is one with the names of `two_hosts`."""
    if reason := lacking(dataplane):
        return Verdict(Found.LACKS, reason)
    scenario, step = scenario or load(SCENARIO), "loads"
    try:
        with NvgreNet(scenario, dataplane) as net, Inboxes(net, "red2", "blue2").open() as inboxes:
            step = "carries"
            carries(inboxes)
            step = "isolates"
            isolates(inboxes)
            step = "MTU"
            fits(inboxes, scenario)
    except MissingError as error:
        return Verdict(Found.LACKS, str(error))
    except Exception as error:
        return Verdict(Found.FAIL, f"{step}: {error}")
    return Verdict(Found.PASS)


def about() -> dict[str, object]:
    """What is worth knowing of this kernel."""
    jit = _JIT.exists() and _JIT.read_text().strip() != "0"
    return {"release": platform.release(), "btf": KERNEL_BTF.exists(), "jit": jit}


def main() -> None:
    """Tries the data planes that are named, or all."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that the network is removed
    print(json.dumps(about()), flush=True)
    for dataplane in sys.argv[1:] or DATAPLANES:
        print(json.dumps({"dataplane": dataplane, **asdict(tried(dataplane))}), flush=True)


if __name__ == "__main__":
    main()
