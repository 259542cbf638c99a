"""Third parties at their end: how each is started in a provider host's namespace, and the tenant behind it."""

from __future__ import annotations

import socket
import sys
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Self

from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP, GRE, Ether
from scapy.packet import Packet

from experiments.base import Workbench
from experiments.interop.ends import FlowIds, ThirdParty
from experiments.interop.stations import Interface, Remote, Station
from experiments.probes import BROADCAST
from nvgre_node.choices import TTL_DEFAULT
from nvgre_node.node import NamespacedNode, TenantVM
from nvgre_node.policy import Address, Vm
from nvgre_node.waiting import wait_until
from nvgre_node.wire import ETHERTYPE_TEB, GRE_PROTOCOL, NvgreHeader

_AGENT = "experiments.interop.agent"
_DEVICE, _BRIDGE = "hand0", "hand-br"
_LONGEST = 1 << 16
_ECHO_SECONDS = 1
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _DO = 10, 23, 2
_IP_HEADER_WORD = 4


@dataclass(frozen=True)
class Site:
    """Where a third party is put: a provider host without an NVE, and what it is told of the network."""

    host: NamespacedNode
    tenant: TenantVM
    vm: Vm
    vsid: int
    own: Address
    other: Address
    limit: int
    flow_ids: FlowIds

    @property
    def key(self) -> int:
        """The GRE key of its virtual subnet, with FlowID 0."""
        return NvgreHeader(self.vsid).key


class PartyError(Exception):
    """A third party could not be started; the message is its own."""


def _type(host: NamespacedNode, command: str) -> None:
    """What an administrator types."""
    done = host.run_process(command.split())
    if done.returncode:
        raise PartyError(f"{command}: {done.stderr.strip()}")


@contextmanager
def by_hand(site: Site, _bench: Workbench | None) -> Iterator[Station]:
    """A gretap device and a bridge; both go with the namespace.

    Without `ttl` the device copies the inner one, and multicast of TTL 1 dies at the first router of the underlay.
    """
    v6 = site.own.version == 6
    kind, more = ("ip6gretap", " encaplimit none") if v6 else ("gretap", "")
    told = f"local {site.own} remote {site.other} key {site.key} ttl {TTL_DEFAULT}{more}"
    made = f"ip link add {_DEVICE} type {kind} {told}"
    bridged = [f"ip link set {name} master {_BRIDGE} up" for name in (_DEVICE, site.vm.name)]
    for command in (made, f"ip link add {_BRIDGE} type bridge", *bridged, f"ip link set {_BRIDGE} up"):
        _type(site.host, command)
    with Interface(site.tenant, TenantVM.INTERFACE) as station:
        yield station


@contextmanager
def uml(site: Site, bench: Workbench | None) -> Iterator[Station]:
    """A guest whose NIC speaks GRE from this host's namespace; in it is the tenant."""
    if bench is None:
        raise PartyError("there is nobody to boot a guest")
    ends = f"src={site.own},dst={site.other}" + (",v6=1" if site.own.version == 6 else "")
    nic = f"transport=gre,{ends},tx_key={site.key},rx_key={site.key},depth=128,mtu={site.limit}"
    with bench.talk([sys.executable, "-m", _AGENT], site.host.run.namespace(site.host.name), nic) as dialogue:
        station = Remote(dialogue)
        station.settle(interface="vec0", mac=site.vm.mac, cas=[str(ca) for ca in site.vm.cas])
        yield station


class ScapyPeer:
    """NVE and tenant in one: builds and reads NVGRE with Scapy on a raw socket, and answers ARP, ND and pings."""

    streams = False

    def __init__(self, site: Site) -> None:
        self._site = site
        self._heard: list[bytes] = []
        self._ended = threading.Event()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        family = socket.AF_INET6 if self._site.own.version == 6 else socket.AF_INET
        level = (socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER) if family == socket.AF_INET6 else (0, _IP_MTU_DISCOVER)
        with self._site.host.inside():
            self._socket = socket.socket(family, socket.SOCK_RAW, GRE_PROTOCOL)
        self._socket.setsockopt(*level, _DO)  # no outer fragments (F1)
        self._socket.bind((str(self._site.own), 0))
        self._socket.settimeout(0.05)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._socket.close()

    def _listen(self) -> None:
        while not self._ended.is_set():
            with suppress(TimeoutError):
                packet = self._socket.recv(_LONGEST)
                if self._site.own.version == 4:  # a raw socket of IPv4 keeps the header on
                    packet = packet[(packet[0] & 0xF) * _IP_HEADER_WORD :]
                self._take(GRE(packet))

    def _take(self, gre: Packet) -> None:
        if not gre.key_present or gre.proto != ETHERTYPE_TEB or gre.key >> 8 != self._site.vsid:
            return
        inner = bytes(gre.payload)
        with self._lock:
            self._heard.append(inner)
        if (answer := self._answer(Ether(inner))) is not None:
            self.say([bytes(answer)])

    def _answer(self, frame: Packet) -> Packet | None:
        """What a tenant says to a question, or nothing."""
        vm = self._site.vm
        own = {str(ca.ip) for ca in vm.cas}
        ether = Ether(src=vm.mac, dst=frame.src)
        if ARP in frame and frame[ARP].op == 1 and frame[ARP].pdst in own:
            asked = frame[ARP]
            return ether / ARP(op=2, hwsrc=vm.mac, psrc=asked.pdst, hwdst=asked.hwsrc, pdst=asked.psrc)
        if ICMPv6ND_NS in frame and frame[ICMPv6ND_NS].tgt in own:
            said = ICMPv6ND_NA(tgt=frame[ICMPv6ND_NS].tgt, R=0, S=1, O=1) / ICMPv6NDOptDstLLAddr(lladdr=vm.mac)
            return ether / IPv6(src=frame[ICMPv6ND_NS].tgt, dst=frame[IPv6].src, hlim=255) / said
        if ICMP in frame and frame[ICMP].type == 8 and frame[IP].dst in own:
            echo = frame[ICMP]
            return (
                ether / IP(src=frame[IP].dst, dst=frame[IP].src) / ICMP(type=0, id=echo.id, seq=echo.seq) / echo.payload
            )
        if ICMPv6EchoRequest in frame and frame[IPv6].dst in own:
            asked = frame[ICMPv6EchoRequest]
            reply = ICMPv6EchoReply(id=asked.id, seq=asked.seq, data=asked.data)
            return ether / IPv6(src=frame[IPv6].dst, dst=frame[IPv6].src) / reply
        return None

    def say(self, frames: Sequence[bytes]) -> None:
        """Sends each as an NVGRE packet; one that does not fit is refused by the kernel, and lost."""
        for frame in frames:
            flow = 0 if self._site.flow_ids is FlowIds.ZERO else 1 + zlib.crc32(frame[:38]) % 255
            key = NvgreHeader(self._site.vsid, flow).key
            packet = bytes(GRE(key_present=1, proto=ETHERTYPE_TEB, key=key) / Ether(frame))
            with suppress(OSError):
                self._socket.sendto(packet, (str(self._site.other), 0))

    def hear(self, milliseconds: float) -> list[bytes]:
        """The inner frames that came."""
        with suppress(TimeoutError):
            wait_until(lambda: bool(self._heard), "a frame", milliseconds / 1000)
        with self._lock:
            heard, self._heard = self._heard, []
        return heard

    def ping(self, address: str, seconds: int) -> bool:
        """Asks for the address's MAC, then pings it."""
        vm = self._site.vm
        source = vm.ca(ip_address(address).version)
        question: Any = Ether(src=vm.mac, dst=BROADCAST) / ARP(hwsrc=vm.mac, psrc=str(source), pdst=address)
        for _ in range(max(1, seconds // _ECHO_SECONDS // 2)):
            if told := self._until(
                question, lambda said: ARP in said and said[ARP].op == 2 and said[ARP].psrc == address
            ):
                echo = Ether(src=vm.mac, dst=told[ARP].hwsrc) / IP(src=str(source), dst=address) / ICMP(id=1, seq=1)
                return self._until(echo, lambda said: ICMP in said and said[ICMP].type == 0) is not None
        return False

    def _until(self, said: Packet, wanted: Callable[[Packet], bool]) -> Packet | None:
        """Says something; the answer, if it comes in time."""
        self.hear(0)
        self.say([bytes(said)])
        found: list[Packet] = []

        def answered() -> bool:
            found.extend(frame for frame in map(Ether, self.hear(0)) if wanted(frame))
            return bool(found)

        with suppress(TimeoutError):
            wait_until(answered, "an answer", _ECHO_SECONDS)
        return found[0] if found else None

    def serve(self, address: str) -> AbstractContextManager[None]:
        """It has no TCP."""
        raise NotImplementedError(address)

    def stream(self, address: str, seconds: int, segment: int) -> float:
        """It has no TCP."""
        raise NotImplementedError(address, seconds, segment)


@contextmanager
def scapy(site: Site, _bench: Workbench | None) -> Iterator[Station]:
    """A peer in this process, on a raw socket in the host's namespace."""
    with ScapyPeer(site) as station:
        yield station


Party = Callable[[Site, Workbench | None], AbstractContextManager[Station]]
PARTIES: dict[str, Party] = {ThirdParty.BY_HAND: by_hand, ThirdParty.UML: uml, ThirdParty.SCAPY: scapy}
"""How each third party is started."""
