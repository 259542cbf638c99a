"""A running network to try rows on: frames go in at VMs and from the underlay, and every port and uplink is watched."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from scapy.layers.l2 import Ether
from scapy.packet import Packet

from experiments.base import distant_pair, distant_pairs
from experiments.conformance.journal import Frame, Journal
from experiments.conformance.peer import DEAD, NOBODY, QUIET_MS, Peer, Shot, is_marked, mark, marks
from experiments.forks import fork
from experiments.watch import Place, Sighting, Watch, legs, packet_socket, server_links, uplinks, vm_ports
from nvgre_node.gateway import PhysicalSegment
from nvgre_node.namespace import set_sysctl
from nvgre_node.net import NvgreNet
from nvgre_node.node import ProviderHost, TenantVM
from nvgre_node.outer import outer_of
from nvgre_node.outside import OUTSIDE
from nvgre_node.policy import Policy, Vm
from nvgre_node.routing import ROUTER_MAC
from nvgre_node.wire import octets

__all__ = ["DEAD", "NOBODY", "QUIET_MS", "Lab", "Shot", "Uplink", "distinct", "is_icmp_error", "is_marked", "mark"]

_AT_ONCE = 32  # frames between two looks at the sockets, whose buffers are finite
_PATIENCE, _IMPATIENCE = 3.0, 1.0  # seconds for a sound frame, which a busy machine may delay; once one was lost, less
_ICMP, _ICMPV6, _INFORMATIONAL = 1, 58, 128


def distinct(values: Iterable[str]) -> str:
    """The values there are, each once: one value where all agree."""
    return ", ".join(sorted(set(values))) or "nothing"


def is_icmp_error(packet: bytes) -> bool:
    """Whether a packet is an ICMP or ICMPv6 error: it quotes another and does not carry it."""
    outer = outer_of(packet)
    if outer is None or not outer.payload:
        return False
    kind = outer.payload[0]
    return (outer.protocol == _ICMP and kind not in {0, 8}) or (outer.protocol == _ICMPV6 and kind < _INFORMATIONAL)


@dataclass(frozen=True)
class Uplink:
    """Where a provider host meets the underlay: its own end, and the other end, which is its next hop."""

    mac: str
    far: Place
    far_mac: str

    @classmethod
    def of(cls, host: ProviderHost) -> Uplink:
        """The uplink of a provider host."""
        (name,) = host.uplinks
        link = host.nameToIntf[name].link
        far = link.intf2 if link.intf1.node is host else link.intf1
        return cls(host.interface_mac(name), Place(far.node, far.name), far.node.interface_mac(far.name))


class Lab(Peer):
    """A network under observation. Frames go from `sender` to `receiver`, a VM of its subnet on another host."""

    def __init__(self, net: NvgreNet, policy: Policy, seed: int, journal: Journal | None = None) -> None:
        super().__init__(policy, distant_pair(policy), seed, journal)
        self.net = net
        self.uplinks = {host.name: Uplink.of(host) for host in net.provider_hosts}
        self.legs = {place.interface: place for place in legs(net)}
        self.server_links = {place.interface: place for place in server_links(net)}
        self.everything: list[Sighting] = []
        self.paths: tuple[str, ...] = ()  # the routers among which the way from sender to receiver parts, if it does
        self._patience = _PATIENCE
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        ports = vm_ports(self.net)
        for vm in self.net.vms:
            with vm.inside():  # what a VM says of its own accord is no part of a row
                set_sysctl(f"ipv6/conf/{TenantVM.INTERFACE}/disable_ipv6", 1)
        parting = fork(self.net, self.net.topo.fabric, self.sender.host, self.policy.pa_of(self.receiver))
        self.paths = parting.names if parting else ()
        ways = parting.paths if parting else ()
        beyond = *self.legs.values(), *self.server_links.values()
        self._watch = self._stack.enter_context(Watch([*ports, *uplinks(self.net), *ways, *beyond]))
        self._mouths = {place.node.name: self._stack.enter_context(packet_socket(place)) for place in ports}
        self._outside = {leg: self._stack.enter_context(packet_socket(place)) for leg, place in self.legs.items()}
        self._underlay: dict[str, socket.socket] = {
            host: self._stack.enter_context(packet_socket(uplink.far)) for host, uplink in self.uplinks.items()
        }
        cpus = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {_present_cpu()})  # frames that are sent on one CPU keep their order
        self._stack.callback(os.sched_setaffinity, 0, cpus)
        self._watch.until_quiet()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def pairs(self) -> list[tuple[Vm, Vm]]:
        """Per virtual subnet, its first two VMs on different provider hosts."""
        return distant_pairs(self.policy)

    def port_mac(self, vm: Vm) -> str:
        """The MAC address of the host's end of a VM's port."""
        return str(self.net[vm.host].interface_mac(vm.behind.port if vm.behind else vm.node))

    def outer_macs(self) -> tuple[str, str]:
        """Of the receiver's uplink: its far end, and its own."""
        uplink = self.uplinks[self.receiver.host]
        return uplink.far_mac, uplink.mac

    def leaving(self, flow: int = 0) -> Packet:
        """What the sender's NVE makes of its plain frame, as it leaves."""
        own = self.uplinks[self.sender.host]
        return Ether(src=own.mac, dst=own.far_mac) / self.nvgre(flow=flow).payload

    # Sending

    def say(
        self, *frames: Packet | bytes, vm: Vm | None = None, arriving_from: str = "", answered: bool = False
    ) -> list[Shot]:
        """A VM, the sender unless told otherwise, sends frames; each carries a mark.

        `arriving_from` is the MAC address that they come from where they are heard, if that is not the VM's. Where they
        are to be `answered`, it listens until that VM hears each mark again.
        """
        own = vm or self.sender
        control = self._mouths[self.sender.name], bytes(self.ethernet() / mark())
        awaited = {(own.node, found) for frame in frames for found in marks(bytes(frame))} if answered else set()
        sent = [bytes(frame) for frame in frames]
        origins = [octets(arriving_from) if arriving_from else frame[6:12] for frame in sent]
        return self._shoot(self._mouths[own.name], sent, control, origins, f"sent:{own.name}", awaited=awaited)

    def listen(self, is_wanted: Callable[[Sighting], bool]) -> list[Sighting]:
        """What is heard until something wanted is among it, for as long as a sound frame would have."""
        seen = self._watch.until(lambda latest: any(map(is_wanted, latest)), self._patience)
        self.everything += [sighting for sighting in seen if sighting.node not in self.paths]
        return seen

    def call_in(self, gateway: Vm, packet: Packet, vm: Vm) -> Shot:
        """A packet arrives from outside at a gateway's leg, and is to get to a VM; it carries a mark."""
        control = self._mouths[self.sender.name], bytes(self.ethernet() / mark())
        ends = {"src": self.leg_mac(gateway, far=True), "dst": self.leg_mac(gateway)}
        sent = bytes(Ether(**ends) / packet)
        awaited = {(vm.node, found) for found in marks(sent)}
        mouth, place = self._outside[gateway.name], f"sent:outside-to-{gateway.name}"
        return self._shoot(mouth, [sent], control, [octets(ROUTER_MAC)], place, awaited=awaited)[0]

    def leg_mac(self, gateway: Vm, *, far: bool = False) -> str:
        """The MAC address of a gateway's leg outside, or of the host that it meets there."""
        segment = self.legs[gateway.name].node
        if far and isinstance(segment, PhysicalSegment):
            return segment.interface_mac(segment.segment)
        return str(self.net[gateway.name].interface_mac(OUTSIDE))

    def inject(self, *packets: Packet | bytes, quiet_ms: float = QUIET_MS) -> list[Shot]:
        """Packets arrive from the underlay at the receiver's host; each carries a mark. Listens until all is quiet."""
        host = self.receiver.host
        mouth = self._underlay[host]
        sent = [bytes(packet) for packet in packets]
        origins = [octets(self.sender.mac)] * len(sent)
        return self._shoot(mouth, sent, (mouth, bytes(self.nvgre())), origins, f"sent:underlay-to-{host}", quiet_ms)

    def send_out(self, *packets: Packet) -> list[Shot]:
        """Packets leave the sender's host as if its NVE had made them; each carries a mark."""
        host = self.net[self.sender.host]
        sent = [bytes(packet) for packet in packets]
        with packet_socket(Place(host, *host.uplinks)) as mouth:
            control = mouth, bytes(self.leaving())
            return self._shoot(mouth, sent, control, [octets(self.sender.mac)] * len(sent), f"sent:{host.name}")

    def look_back(self, seen: Sequence[Sighting]) -> None:
        """The next findings are about these frames of the whole run, and not about what was sent last."""
        self.journal.recall([*_seen(seen, b"", ())])

    def answers(self, packet: Packet, is_answer: Callable[[bytes], bool]) -> list[bytes]:
        """What the receiver's host says in answer to a packet from the underlay that is not NVGRE's business."""
        host, mac = self.receiver.host, octets(self.uplinks[self.receiver.host].mac)
        sent = Frame(time.time(), f"sent:underlay-to-{host}", bytes(packet), "sent", sent=True)
        self._underlay[host].send(sent.data)

        def found(seen: list[Sighting]) -> list[bytes]:
            return [s.frame for s in seen if s.node == host and s.frame[6:12] == mac and is_answer(s.frame)]

        seen = self._watch.until(lambda so_far: bool(found(so_far)))
        self.journal.record([sent, *_seen(seen, b"", ())])
        return found(seen)

    def _shoot(
        self,
        mouth: socket.socket,
        sent: Sequence[bytes],
        control: tuple[socket.socket, bytes],
        origins: Sequence[bytes],
        place: str,
        quiet_ms: float = QUIET_MS,
        awaited: Collection[tuple[str, bytes]] = (),
    ) -> list[Shot]:
        """Sends, and sorts what was seen; `origins` are the MAC addresses that the inner frames come from.

        `awaited` are further (node, mark) that are listened for, if they come at all.
        """
        before, seen = self.net.dropped(), list[Sighting]()
        frames: list[Frame] = []
        for number, packet in enumerate(sent):
            if number % _AT_ONCE == _AT_ONCE - 1:
                seen += self._watch.heard(0)
            frames.append(Frame(time.time(), place, packet, f"sent, {number + 1} of {len(sent)}", sent=True))
            mouth.send(packet)
        # Frames keep their order, so that when the control has arrived, all before it has been dealt with.
        control_mouth, sound = control
        frames.append(Frame(time.time(), place, sound, "sent behind it: a sound frame, which must arrive"))
        control_mouth.send(sound)
        (own,) = marks(sound)

        def arrived(latest: list[Sighting]) -> bool:
            return any(s.node == self.receiver.name and own in s.frame for s in latest)

        def complete(latest: list[Sighting]) -> bool:
            return arrived(latest) and all(any(s.node == node and m in s.frame for s in latest) for node, m in awaited)

        seen += self._watch.until(complete, self._patience) + self._watch.until_quiet(quiet_ms)
        self.everything += [sighting for sighting in seen if sighting.node not in self.paths]
        self.journal.record([*frames, *_seen(seen, own, sent)])
        alive, reason = arrived(seen), ", ".join(drop.label for drop in self.net.dropped() - before)
        if not alive:
            self._patience = _IMPATIENCE
        by_mark: dict[bytes, list[Sighting]] = {}
        for sighting in seen:
            for found in marks(sighting.frame):
                by_mark.setdefault(found, []).append(sighting)
        return [
            self._shot(packet, origin, by_mark.get(marks(packet)[0], []), alive, reason)
            for packet, origin in zip(sent, origins, strict=True)
        ]

    def _shot(self, sent: bytes, origin: bytes, seen: list[Sighting], alive: bool, reason: str) -> Shot:
        heard: list[tuple[str, bytes]] = []
        out: dict[str, list[bytes]] = {host: [] for host in self.uplinks}
        into: dict[str, list[bytes]] = {host: [] for host in self.uplinks}
        passed = tuple(sighting.node for sighting in seen if sighting.node in self.paths)
        outside: dict[str, list[bytes]] = {name: [] for name in (*self.legs, *self.server_links)}
        for sighting in seen:
            source = sighting.frame[6:12]
            if sighting.interface in outside:
                outside[sighting.interface].append(sighting.frame)
                continue
            if (uplink := self.uplinks.get(sighting.node)) and is_icmp_error(sighting.frame):
                continue
            if uplink:
                (out if source == octets(uplink.mac) else into)[sighting.node].append(sighting.frame)
            elif source == origin and not is_icmp_error(sighting.frame):  # else it is an answer that quotes the frame
                heard.append((sighting.node, sighting.frame))
        return Shot(sent, alive, tuple(heard), out, into, reason, passed, outside)


def _present_cpu() -> int:
    """The CPU that this thread is on: were it the same one for all, runs side by side would share it."""
    return int(Path("/proc/thread-self/stat").read_text().rpartition(")")[2].split()[36])


def _seen(seen: Iterable[Sighting], control: bytes, sent: Sequence[bytes]) -> Iterator[Frame]:
    """Sightings as the journal keeps them: each says which of the frames that were sent it carries."""
    numbers = {found: number for number, packet in enumerate(sent, start=1) for found in marks(packet)}
    for sighting in seen:
        carried = marks(sighting.frame)
        own = [f"carries {numbers[found]} of {len(sent)}" for found in carried if found in numbers]
        role = "carries the sound frame" if control in carried else own[0] if own else "seen"
        yield Frame(sighting.time, f"{sighting.node}:{sighting.interface}", sighting.frame, role)
