"""Asks another NVE whether it lives, from the current network namespace. Needs root; who may be asked is policy."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Iterator
from contextlib import closing, suppress

from nvgre_node.policy import Address
from nvgre_node.vendor import HEADER, Kind, Probe
from nvgre_node.wire import GRE_PROTOCOL

_IP_MTU_DISCOVER, _IP_PMTUDISC_DO = 10, 2
_LONGEST = 1 << 16


def probe(remote: Address, timeout: float, ttl: int = 64, dscp: int = 0) -> float | None:
    """Seconds until the NVE at a PA answered, or None where it has not within `timeout` seconds.

    The kernel makes the outer header, with DF, TTL and DSCP as the NVE's own packets have them.
    """
    request = Probe(Kind.REQUEST, os.getpid() & 0xFFFF, int.from_bytes(os.urandom(4), "big"))
    wanted = HEADER.pack() + Probe(Kind.REPLY, request.identifier, request.sequence).pack()
    with closing(connected(remote, GRE_PROTOCOL, ttl, dscp)) as sock:
        asked = time.monotonic()
        try:
            sock.send(HEADER.pack() + request.pack())
        except OSError:  # no way there
            return None
        for payload, at in _arriving(sock, remote.version, asked + timeout):
            if payload == wanted:
                return at - asked
    return None


def connected(remote: Address, protocol: int, ttl: int = 64, dscp: int = 0) -> socket.socket:
    """A raw socket for a protocol's packets to and from one PA; theirs have DF."""
    family = socket.AF_INET if remote.version == 4 else socket.AF_INET6
    sock = socket.socket(family, socket.SOCK_RAW, protocol)
    sock.setblocking(False)
    if remote.version == 4:
        sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DO)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, dscp << 2)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, ttl)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, dscp << 2)
    with suppress(OSError):  # no way there: then sending will say so too
        sock.connect((str(remote), 0))
    return sock


def _arriving(sock: socket.socket, version: int, deadline: float) -> Iterator[tuple[bytes, float]]:
    """GRE packets without their IP header, and when each came, until the deadline (of the monotonic clock)."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    while (left := deadline - time.monotonic()) > 0:
        if not poll.poll(left * 1000):
            return
        try:
            packet = sock.recv(_LONGEST)
        except OSError:  # an ICMP error about the request
            continue
        yield packet[(packet[0] & 0xF) * 4 :] if version == 4 else packet, time.monotonic()
