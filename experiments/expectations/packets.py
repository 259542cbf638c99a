"""Packets that are known wherever they turn up, sent by a VM's own stack or as frames. Needs root to send."""

from __future__ import annotations

import errno
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from experiments.expectations.questions import BROADCAST, Flight
from nvgre_node.node import TenantVM
from nvgre_node.policy import Vm
from topologies.expectation import By

_DISCARD = 7637
_ECHO, _ANSWER = {4: b"\x08\x00", 6: b"\x80\x00"}, {4: b"\x00\x00", 6: b"\x81\x00"}
_L4_BYTES = 8
IP_BYTES = {4: 20, 6: 40}
"""Bytes of an IP header without options."""
_MTU_DISCOVER = {4: (socket.IPPROTO_IP, 10), 6: (socket.IPPROTO_IPV6, 23)}
_PROBE = 3  # DF, and the path MTU that the kernel knows is not heeded


@dataclass
class Packet:
    """A packet of a flight. `number` is its source port, or what an echo request carries: unique in a network.

    `place` is the node at which it should arrive.
    """

    number: int
    flight: Flight
    source: Vm
    place: str
    arrived: bool = False
    answered: bool = False
    connection: socket.socket | None = field(default=None, repr=False)

    @property
    def port(self) -> int:
        """The destination's port."""
        return self.flight.way.port or _DISCARD

    @property
    def token(self) -> bytes:
        """What is behind the headers."""
        return b"nvgre-expects:" + struct.pack("!I", self.number)

    def is_in(self, frame: bytes) -> bool:
        """Whether a frame carries it, encapsulated or not; what quotes it in an ICMP error does so too."""
        to = self.flight.to
        if self.flight.way.by is By.ICMP:
            return to.packed + _ECHO[to.version] in frame and self.token in frame
        return to.packed + struct.pack("!HH", self.number, self.port) in frame

    def is_answered_in(self, frame: bytes) -> bool:
        """Whether a frame carries what its destination answers, as every IP stack does."""
        to, addresses = self.flight.to, self.flight.to.packed + self.flight.source.packed
        if self.flight.way.by is By.ICMP:
            return addresses + _ANSWER[to.version] in frame and self.token in frame
        return self.flight.way.by is By.TCP and addresses + struct.pack("!HH", self.port, self.number) in frame

    @property
    def wants_answer(self) -> bool:
        """Whether somebody who hears it answers."""
        return self.flight.way.by in (By.ICMP, By.TCP)


def send(packet: Packet, node: TenantVM, size: int | None = None) -> bool:
    """Has a VM's own stack send a packet, of `size` bytes of IP and with DF if that is given. False: it cannot."""
    version, by = packet.flight.to.version, packet.flight.way.by
    payload = packet.token if size is None else packet.token.ljust(size - IP_BYTES[version] - _L4_BYTES, b"\0")
    try:
        with node.inside():
            if by is By.TCP:
                _connect(packet)
                return True
            with _opened(packet, by) as sock:
                if size is not None:
                    sock.setsockopt(*_MTU_DISCOVER[version], _PROBE)
                data = _echo(version, packet.number, payload) if by is By.ICMP else payload
                sock.sendto(data, (str(packet.flight.to), 0 if by is By.ICMP else packet.port))
    except OSError as error:  # it has no route there, is told that nobody is there, or the packet is too large for it
        if error.errno not in {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EMSGSIZE, errno.EINVAL}:
            raise
        return False
    return True


def _opened(packet: Packet, by: By) -> socket.socket:
    source = packet.flight.source
    family = socket.AF_INET if source.version == 4 else socket.AF_INET6
    if by is By.ICMP:
        protocol = socket.IPPROTO_ICMP if source.version == 4 else socket.IPPROTO_ICMPV6
        sock = socket.socket(family, socket.SOCK_RAW, protocol)
        sock.bind((str(source), 0))
        return sock
    sock = socket.socket(family, socket.SOCK_DGRAM)
    if packet.flight.to == BROADCAST:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, TenantVM.INTERFACE.encode())
    sock.bind((str(source), packet.number))
    return sock


def _connect(packet: Packet) -> None:
    """Opens a connection, and does not wait for it: nobody need listen, for a refusal answers too."""
    close(packet)
    source = packet.flight.source
    sock = socket.socket(socket.AF_INET if source.version == 4 else socket.AF_INET6)
    packet.connection = sock
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((str(source), packet.number))
    with suppress(BlockingIOError, ConnectionRefusedError):
        sock.connect((str(packet.flight.to), packet.port))


def close(packet: Packet) -> None:
    """Ends its connection, if it has one."""
    if packet.connection:
        packet.connection.close()
        packet.connection = None


def _echo(version: int, number: int, payload: bytes) -> bytes:
    """An echo request; over IPv6 the kernel makes the checksum."""
    if version == 4:
        return bytes(ICMP(id=number, seq=1) / Raw(payload))
    return bytes(struct.pack("!BBHHH", 128, 0, 0, number, 1) + payload)


def frame(packet: Packet, mac: str) -> bytes:
    """The packet in a frame of its VM's to a MAC address, whatever the VM's stack would do."""
    flight = packet.flight
    ends = {"src": str(flight.source), "dst": str(flight.to)}
    ports = {"sport": packet.number, "dport": packet.port}
    echo: Any = ICMP(id=packet.number, seq=1) if flight.to.version == 4 else ICMPv6EchoRequest(id=packet.number, seq=1)
    l4: Any = {By.TCP: lambda: TCP(flags="S", **ports), By.UDP: lambda: UDP(**ports)}.get(flight.way.by, lambda: echo)()
    header: Any = IP(**ends) if flight.to.version == 4 else IPv6(**ends)
    return bytes(Ether(src=packet.source.mac, dst=mac) / header / l4 / Raw(packet.token))
