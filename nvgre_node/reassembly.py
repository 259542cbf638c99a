"""Outer fragments are the kernel's work: raw sockets get what it reassembled (F2), or have it fragment. Needs root.

How much the kernel keeps of unfinished packets, and for how long, are `net.ipv4.ipfrag_high_thresh` and `ipfrag_time`,
and `net.ipv6.ip6frag_*`. It discards what RFC 9601 section 5 wants discarded: fragments that mix Not-ECT with others.
"""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address, IPv6Address

from nvgre_node.groups import group_mac
from nvgre_node.packet import RECEIVE_BUFFER, SO_RCVBUFFORCE, take_nothing
from nvgre_node.wire import ETHERNET_BYTES, ETHERTYPE_IPV4, ETHERTYPE_IPV6, GRE_PROTOCOL, IPV4_BYTES, IPV6_BYTES

_IP_RECVFRAGSIZE, _IPV6_RECVFRAGSIZE = 25, 77
_LONGEST = 1 << 16
_HOP_LIMIT = 64
_MTU_DISCOVER = {socket.AF_INET: (socket.IPPROTO_IP, 10), socket.AF_INET6: (socket.IPPROTO_IPV6, 23)}
_NO_DISCOVERY = 0  # IP_PMTUDISC_DONT: no DF, and fragments of what does not fit
_IPV6_AUTOFLOWLABEL = 70
_IP_PKTINFO, _PKTINFO = 8, struct.Struct("=I4s4s")


def reassembly_socket(family: int) -> socket.socket:
    """A non-blocking socket that gets the GRE packets of this namespace; and can tell which came in pieces."""
    sock = socket.socket(family, socket.SOCK_RAW, GRE_PROTOCOL)
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
    if family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, _IP_RECVFRAGSIZE, 1)
    else:
        for option in (_IPV6_RECVFRAGSIZE, socket.IPV6_RECVPKTINFO, socket.IPV6_RECVTCLASS):
            sock.setsockopt(socket.IPPROTO_IPV6, option, 1)
    sock.setblocking(False)
    return sock


def receive_reassembled(sock: socket.socket, mac: bytes) -> bytes | None:
    """The next packet as a frame for `mac`, or None if it came in one piece. Raises OSError as `recv` does."""
    data, ancillary, _, sender = sock.recvmsg(_LONGEST, 256)
    said = {(level, kind): content for level, kind, content in ancillary}
    if sock.family == socket.AF_INET:
        if (socket.IPPROTO_IP, _IP_RECVFRAGSIZE) not in said:
            return None
        return _frame(mac, IPv4Address(data[16:20]), ETHERTYPE_IPV4, data)
    if (socket.IPPROTO_IPV6, _IPV6_RECVFRAGSIZE) not in said:
        return None
    # These sockets get no IPv6 header: it is made again of what the kernel says of it.
    (traffic_class,) = struct.unpack("=i", said[socket.IPPROTO_IPV6, socket.IPV6_TCLASS])
    destination = IPv6Address(said[socket.IPPROTO_IPV6, socket.IPV6_PKTINFO][:16])
    source = IPv6Address(sender[0].partition("%")[0])
    header = struct.pack("!IHBB", 6 << 28 | traffic_class << 20, len(data), GRE_PROTOCOL, _HOP_LIMIT)
    return _frame(mac, destination, ETHERTYPE_IPV6, header + source.packed + destination.packed + data)


def _frame(mac: bytes, destination: IPv4Address | IPv6Address, ethertype: int, packet: bytes) -> bytes:
    own = group_mac(destination) if destination.is_multicast else mac
    return own + bytes(6) + struct.pack("!H", ethertype) + packet


class FragmentingSender:
    """Has the kernel send NVGRE packets, as outer fragments where they do not fit, which RFC 7637 forbids (F1)."""

    def __init__(self) -> None:
        self._sockets = {family: socket.socket(family, socket.SOCK_RAW, GRE_PROTOCOL) for family in _MTU_DISCOVER}
        for family, sock in self._sockets.items():
            take_nothing(sock)
            sock.setsockopt(*_MTU_DISCOVER[family], _NO_DISCOVERY)
        self._sockets[socket.AF_INET6].setsockopt(socket.IPPROTO_IPV6, _IPV6_AUTOFLOWLABEL, 0)

    def send(self, frame: bytes) -> None:
        """Sends what a frame carries between its PAs, with its TTL and traffic class. Raises OSError as `send` does."""
        packet = frame[ETHERNET_BYTES:]
        if int.from_bytes(frame[12:14], "big") == ETHERTYPE_IPV4:
            self._send4(packet[:IPV4_BYTES], packet[IPV4_BYTES:])
        else:
            self._send6(packet[:IPV6_BYTES], packet[IPV6_BYTES:])

    def _send4(self, header: bytes, payload: bytes) -> None:
        said = [
            (socket.IPPROTO_IP, _IP_PKTINFO, _PKTINFO.pack(0, header[12:16], bytes(4))),
            (socket.IPPROTO_IP, socket.IP_TTL, struct.pack("=i", header[8])),
            (socket.IPPROTO_IP, socket.IP_TOS, struct.pack("=i", header[1])),
        ]
        self._sockets[socket.AF_INET].sendmsg([payload], said, 0, (str(IPv4Address(header[16:20])), 0))

    def _send6(self, header: bytes, payload: bytes) -> None:
        traffic_class = int.from_bytes(header[:2], "big") >> 4 & 0xFF
        said = [
            (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, header[8:24] + bytes(4)),
            (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT, struct.pack("=i", header[7])),
            (socket.IPPROTO_IPV6, socket.IPV6_TCLASS, struct.pack("=i", traffic_class)),
        ]
        self._sockets[socket.AF_INET6].sendmsg([payload], said, 0, (str(IPv6Address(header[24:40])), 0))

    def close(self) -> None:
        """Closes the sockets."""
        for sock in self._sockets.values():
            sock.close()
