"""A tap on every port and uplink of a running network: a VM says something, and the tap says who heard what."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from typing import Self

from experiments.watch import Place, Sighting, Watch, packet_socket
from nvgre_node.net import NvgreNet
from nvgre_node.node import TenantVM

Heard = dict[str, list[bytes]]
_numbers = itertools.count(1)


def token() -> bytes:
    """Eight bytes that no other frame of this process carries."""
    return b"tok:" + next(_numbers).to_bytes(4, "big")


class Tap:
    """Listens at each VM to what arrives, and at each uplink to what passes in either direction."""

    def __init__(self, net: NvgreNet) -> None:
        self.net = net
        self._stack = ExitStack()
        ports = [Place(vm, TenantVM.INTERFACE) for vm in net.vms]
        uplinks = [Place(host, uplink, incoming_only=False) for host in net.provider_hosts for uplink in host.uplinks]
        self._watch = self._stack.enter_context(Watch([*ports, *uplinks]))
        self._mouths = {place.node.name: self._stack.enter_context(packet_socket(place)) for place in ports}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def say(self, vm: str, frame: bytes, mark: bytes) -> Heard:
        """A VM sends a frame. Returns, by node, each frame with this mark, once all is quiet again."""
        self._mouths[vm].send(frame)
        return self._marked(self._watch.until_quiet(), mark)

    def during(self, act: Callable[[], object]) -> Heard:
        """What is heard, by node, while something happens."""
        self._watch.until_quiet()
        act()
        return self._marked(self._watch.until_quiet(), b"")

    @staticmethod
    def _marked(seen: list[Sighting], mark: bytes) -> Heard:
        heard: Heard = defaultdict(list)
        for sighting in seen:
            if mark in sighting.frame:
                heard[sighting.node].append(sighting.frame)
        return dict(heard)


def vms(heard: Heard) -> dict[str, int]:
    """How often each VM heard it."""
    return {node: len(frames) for node, frames in heard.items() if not node.startswith("host")}


def wire(heard: Heard, host: str = "host1") -> list[bytes]:
    """What passed the uplink of a host."""
    return heard.get(host, [])
