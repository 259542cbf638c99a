"""The seam between rows and what they are tried on: somebody who speaks NVGRE to an NVE as its peer would.

`Lab` does so in a network that was built for it, and sees everything; `Foreign` does so to an NVE that was there
before, and sees what comes back.
"""

from __future__ import annotations

import random
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import GRE, Ether
from scapy.packet import Packet, Raw

from experiments.conformance.journal import Journal
from experiments.probes import TEST_ETHERTYPE
from nvgre_node.outer import Outer, outer_of
from nvgre_node.policy import Policy, Vm
from nvgre_node.wire import GRE_PROTOCOL

NOBODY = "delivered to nobody"
DEAD = "nothing gets through, not even a sound frame"
QUIET_MS = 20.0
_MARK = re.compile(rb"nvgre-row:.{4}", re.DOTALL)
_NUMBERS = count(1)


def mark() -> Raw:
    """A payload that no other frame of this process has: by it a frame is known wherever it turns up."""
    return Raw(b"nvgre-row:" + next(_NUMBERS).to_bytes(4, "big"))


def is_marked(frame: bytes) -> bool:
    """Whether a mark can be read in a frame."""
    return bool(marks(frame))


def marks(frame: bytes) -> list[bytes]:
    """The marks in a frame, each once."""
    return list(dict.fromkeys(_MARK.findall(frame)))


@dataclass(frozen=True)
class Shot:
    """What became of one frame. `alive`: a sound frame that was sent after it did arrive, so that silence means drop.

    `heard` are (VM, frame) of those that got it; `out` and `into` are the packets that carried it out of, and into, the
    uplink of each provider host. `reason` is what the NVEs counted as dropped, and `passed` has those of `Lab.paths` by
    which it went. `outside` are those that passed the leg of each gateway, and the link of each server without an NVE.
    """

    sent: bytes
    alive: bool
    heard: tuple[tuple[str, bytes], ...]
    out: dict[str, list[bytes]]
    into: dict[str, list[bytes]]
    reason: str
    passed: tuple[str, ...] = ()
    outside: dict[str, list[bytes]] = field(default_factory=dict)

    def carriers(self, host: str) -> list[Outer]:
        """The packets that carried it out of a provider host's uplink, read."""
        return [outer for packet in self.out[host] if (outer := outer_of(packet))]

    @property
    def delivered(self) -> str:
        """`delivered to web`, in words; silence counts only where the way was open."""
        if names := ", ".join(sorted(name for name, _ in self.heard)):
            return f"delivered to {names}"
        return NOBODY if self.alive else DEAD

    def recovered(self, frame: bytes) -> str:
        """`delivered`, and whether what arrived is this very frame."""
        changed = any(arrived != frame for _, arrived in self.heard)
        return self.delivered + (", changed" if changed else "")


class Peer(ABC):
    """Frames go from `sender` to `receiver`, a VM of its subnet behind the NVE that they are sent to."""

    ethertype = TEST_ETHERTYPE
    """Of the frames that the receiver is known to hear."""
    accepts_optional_fields = False
    """Whether the NVE takes packets with a checksum or a sequence number (G11)."""

    def __init__(self, policy: Policy, pair: tuple[Vm, Vm], seed: int, journal: Journal | None = None) -> None:
        self.policy = policy
        self.journal = journal if journal is not None else Journal()
        self.rng = random.Random(seed)  # noqa: S311 (addresses and ports, not secrets)
        self.turn_to(*pair)

    def turn_to(self, sender: Vm, receiver: Vm) -> None:
        """From now on, frames go from this VM to that one; both are of one subnet, on different hosts."""
        self.sender, self.receiver = sender, receiver
        self.vsid = self.policy.vsid_of(sender)
        self.to_receiver = f"delivered to {receiver.name}"

    def pa(self, vm: Vm) -> str:
        """The PA of the host that a VM is on."""
        return str(self.policy.pa_of(vm))

    @property
    def outer_version(self) -> int:
        """The IP version of the PAs between sender and receiver."""
        return self.policy.pa_of(self.receiver).version

    @abstractmethod
    def outer_macs(self) -> tuple[str, str]:
        """Source and destination MAC address of packets that arrive at the receiver's NVE."""

    def payload(self, times: int = 1) -> Packet:
        """What a frame of `ethertype` holds: something with a mark, that many times, which the receiver hears."""
        return Raw(mark().load * times)

    def ethernet(self, **fields: Any) -> Packet:
        """The Ethernet header of what the sender says to the receiver."""
        return Ether(**({"src": self.sender.mac, "dst": self.receiver.mac, "type": self.ethertype} | fields))

    def outer(self, **fields: Any) -> Packet:
        """The outer headers of what the sender's NVE sends to the receiver's, as they arrive there.

        `fields` are those of the IP version of the PAs.
        """
        source, destination = self.outer_macs()
        ethernet = Ether(src=source, dst=destination)
        addresses = {"src": self.pa(self.sender), "dst": self.pa(self.receiver)}
        if self.outer_version == 6:
            return ethernet / IPv6(**({"nh": GRE_PROTOCOL} | addresses | fields))
        return ethernet / IP(**({"flags": "DF", "id": 0, "proto": GRE_PROTOCOL} | addresses | fields))

    def nvgre(self, inner: Packet | None = None, vsid: int | None = None, flow: int = 0, **outer: Any) -> Packet:
        """An NVGRE packet for the receiver's NVE; with the sender's plain frame, unless told otherwise."""
        key = (self.vsid if vsid is None else vsid) << 8 | flow
        gre = GRE(key_present=1, proto=0x6558, key=key)
        return self.outer(**outer) / gre / (self.ethernet() / self.payload() if inner is None else inner)

    @abstractmethod
    def inject(self, *packets: Packet | bytes, quiet_ms: float = QUIET_MS) -> list[Shot]:
        """Packets arrive at the receiver's NVE; each carries a mark. Listens until all is quiet."""
