"""The data plane beside its specification, many frames a second: what came out of each, and what each batch counted.

A frame goes through BPF_PROG_TEST_RUN where the kernel takes it there, else over the real link: long ones, those with
tags that the kernel moves aside, and those whose IP header is cut. Copies of a flooded frame leave the test run for
real, and are heard where they arrive. Counters are read once per batch: where they differ, its frames are tried again
one by one.
"""

from __future__ import annotations

import errno
import select
import socket
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Self

from experiments.watch import Place, packet_socket
from nvgre_node.choices import TooBig
from nvgre_node.dataplane import model
from nvgre_node.dataplane.base import PUNT
from nvgre_node.dataplane.planes.ebpf import EbpfDataPlane
from nvgre_node.namespace import netlink
from nvgre_node.node import TenantVM
from nvgre_node.packet import receive
from nvgre_node.waiting import wait_until
from nvgre_node.wire import ETHERNET_BYTES, GRE_PROTOCOL, IPV6_BYTES, OVERHEAD_IPV4, octets

from .bench import Bench, Tally
from .frames import DROP, PASS, REDIRECT, is_runnable
from .oracle import state_of

_LONGEST_TEST_RUN = 3500  # a page less the kernel's own share of it
_PATIENCE_MS = 200.0
_SHORTEST_TAGGED = 20
_LONGEST_HEADERS = 256  # outer, inner and transport
_SHOWN = 120  # bytes of what came out, beside all of what went in
_MOVED = {0x8100, 0x88A8}  # tags that the kernel moves aside on receipt, which a test run does not
Frame = tuple[str, bytes]
"""An interface of the host, or a VM's name, and the bytes that came in or went out there."""


@dataclass(frozen=True)
class Difference:
    """A frame of which data plane and specification do not make the same."""

    number: int
    interface: str
    frame: bytes
    what: str

    def __str__(self) -> str:
        return f"frame {self.number} on {self.interface}: {self.what}\n    {self.frame.hex()}"


class Comparison:
    """Compares frame by frame on a running bench, whose VMs say nothing from now on. `tried` counts frames."""

    def __init__(self, bench: Bench, underlay_mtu: int) -> None:
        self._bench, self._state = bench, state_of(bench, underlay_mtu)
        self._stack, self._poll = ExitStack(), select.poll()
        self._taps: dict[int, tuple[str, socket.socket]] = {}
        self._mouths: dict[str, socket.socket] = {}
        dataplane = bench.host.dataplane
        assert isinstance(dataplane, EbpfDataPlane)
        self._test_run = dataplane.loaded.test_run
        self._slow_path = bench.host.policy.nve.too_big is TooBig.FRAGMENT  # which a test run does not take
        self._longest_whole = underlay_mtu - bench.overhead + ETHERNET_BYTES
        self.tried = 0

    def __enter__(self) -> Self:
        bench = self._bench
        for vm in bench.net.vms:
            _silence(vm)
        for port in bench.host.policy.ports:
            self._mouths[port.interface] = self._listen(Place(bench.net[port.interface], TenantVM.INTERFACE))
        self._listen(Place(bench.host, bench.uplink, incoming_only=False))
        (far,) = bench.peer.uplinks
        self._mouths[bench.uplink] = self._stack.enter_context(packet_socket(Place(bench.peer, far)))
        while self._heard(_PATIENCE_MS):
            pass
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _listen(self, place: Place) -> socket.socket:
        sock = self._stack.enter_context(packet_socket(place))
        self._taps[sock.fileno()] = place.interface if place.node is self._bench.host else place.node.name, sock
        self._poll.register(sock, select.POLLIN)
        return sock

    def differences(self, frames: Iterator[Frame], batch: int = 512) -> Iterator[Difference]:
        """Tries all frames, and names those that differ; their numbers count from 0."""
        first = 0
        while batched := list(islice(frames, batch)):
            yield from self._batch(first, batched)
            first += len(batched)

    def _batch(self, first: int, frames: Sequence[Frame]) -> Iterator[Difference]:
        before, wanted, differs = self._counts(), Counter[tuple[int | model.End, str]](), False
        for number, (interface, frame) in enumerate(frames, start=first):
            if not _can_be_compared(frame):
                continue
            result = model.handle(self._state, interface, frame)
            try:
                what = self._difference(interface, frame, result)
            except OSError as error:
                if error.errno != errno.EMSGSIZE:  # the link does not take it
                    raise
                continue
            for key, count in chain[Any](result.counted.items(), result.at_ends.items()):
                wanted[key] += count
            self.tried += 1
            if what:
                differs = True
                yield Difference(number, interface, frame, what)
        if differs or not (what := self._miscounted(before, wanted)):
            return
        if len(frames) == 1:
            yield Difference(first, *frames[0], what)
            return
        for number, one in enumerate(frames, start=first):
            yield from self._batch(number, [one])

    def _counts(self) -> Tally:
        """All counters: by virtual subnet, by port, and by PA."""
        return {**self._bench.tally(), **self._bench.ends_tally()}

    def _miscounted(self, before: Tally, wanted: Mapping[tuple[int | model.End, str], int]) -> str:
        """How the counters moved otherwise than they should have; packets of the link may be under way for a moment."""

        def moved() -> Tally:
            return {key: n - before.get(key, 0) for key, n in self._counts().items() if n != before.get(key, 0)}

        with suppress(TimeoutError):
            wait_until(lambda: moved() == wanted, "the counters", timeout=_PATIENCE_MS / 1000)
        found = moved()
        return f"counted {found}, specified {dict(wanted)}" if found != wanted else ""

    def _difference(self, interface: str, frame: bytes, wanted: model.Result) -> str:
        """What came out and should not have, or should have and did not; empty where both agree.

        Raises:
            OSError: EMSGSIZE, the frame fits neither a test run nor the link.
        """
        is_slow = self._slow_path and interface != self._bench.uplink and len(frame) > self._longest_whole
        if is_slow or not _fits_test_run(frame):
            self._mouths[interface].send(frame)
            return self._arrivals(wanted.out)
        program = "from_uplink" if interface == self._bench.uplink else "from_port"
        with self._bench.host.inside():  # and no longer: other networks may come and go meanwhile
            verdict = self._test_run(program, frame, self._bench.index[interface])
        if verdict.action == REDIRECT:
            meant = [sent for _, sent in wanted.out]
            return "" if meant == [verdict.frame] else _told([("redirected", verdict.frame)], wanted.out)
        if verdict.action != (PASS if wanted.left_alone else DROP):
            return f"action {verdict.action}, specified {wanted}"
        return self._arrivals(wanted.out)

    def _arrivals(self, wanted: Sequence[Frame]) -> str:
        """Listens until exactly what should arrive has arrived, for a moment; says what is wrong, if anything."""
        meant, found = sorted(filter(_is_audible, wanted)), sorted(self._heard(0))
        deadline, is_late = time.monotonic() + _PATIENCE_MS / 1000, False
        while found != meant and not is_late:
            is_late = time.monotonic() >= deadline  # one last look, as a busy machine may have kept us from it
            found = sorted([*found, *self._heard(1)])
        return "" if found == meant else _told(found, wanted)

    def _heard(self, milliseconds: float) -> list[Frame]:
        """What the NVE has sent since the last call: to VMs, NVGRE packets out of the uplink, and to user space."""
        found = [(PUNT, punted.frame) for punted in self._bench.host.punted()]
        for descriptor, _ in self._poll.poll(milliseconds):
            name, sock = self._taps[descriptor]
            with suppress(BlockingIOError):
                while True:
                    frame = receive(sock)
                    if name != self._bench.uplink or self._is_ours(frame):
                        found.append((name, frame))
        return found

    def _is_ours(self, frame: bytes) -> bool:
        """Whether the NVE may have made it: the rest is what we send, and what the host's own stack says."""
        protocol_at = {0x0800: 23, 0x86DD: 20}.get(int.from_bytes(frame[12:14], "big"))
        return frame[6:12] == octets(self._bench.mac) and protocol_at is not None and frame[protocol_at] == GRE_PROTOCOL


def _fits_test_run(frame: bytes) -> bool:
    return len(frame) <= _LONGEST_TEST_RUN and int.from_bytes(frame[12:14], "big") not in _MOVED and is_runnable(frame)


def _is_audible(sent: Frame) -> bool:
    """Whether who gets a frame hears it: a kernel drops what has less than two bytes behind the tag that it moves."""
    _, frame = sent
    return len(frame) >= _SHORTEST_TAGGED or int.from_bytes(frame[12:14], "big") not in _MOVED


def _can_be_compared(frame: bytes) -> bool:
    """Whether the kernel leaves the decision to the programs.

    It drops what is not audible. And it cuts no frame in front of the
    transport header that a packet socket believes to see in it, be it in what is but padding.
    """
    if int.from_bytes(frame[12:14], "big") in _MOVED:
        return _is_audible(("", frame))
    length = _outer_length(frame)
    return _fits_test_run(frame) or not OVERHEAD_IPV4 <= length < min(_LONGEST_HEADERS, len(frame) - ETHERNET_BYTES)


def _outer_length(frame: bytes) -> int:
    """How long the outer IP packet says it is."""
    is_v6 = frame[12:14] == b"\x86\xdd"
    return int.from_bytes(frame[18:20], "big") + IPV6_BYTES if is_v6 else int.from_bytes(frame[16:18], "big")


def _told(found: Sequence[Frame], wanted: Sequence[Frame]) -> str:
    """What came out, beside what should have."""

    def spelled(frames: Sequence[Frame]) -> str:
        return "; ".join(f"{name} {len(frame)} bytes {frame[:_SHOWN].hex()}" for name, frame in frames) or "nothing"

    return f"out {spelled(found)}\n    specified {spelled(wanted)}"


def _silence(vm: TenantVM) -> None:
    """Takes a VM's addresses away, so that it answers nothing."""
    with vm.inside(), netlink() as ip:
        ip.flush_addr(index=ip.link_lookup(ifname=TenantVM.INTERFACE)[0])
