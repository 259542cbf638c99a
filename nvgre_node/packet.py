"""Packet sockets: raw frames in and out of an interface of the current network namespace. Needs root."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from contextlib import suppress
from pathlib import Path

from nvgre_node.wire import GRE_PROTOCOL

_ETH_P_ALL = 0x0003
_SOL_PACKET, _PACKET_AUXDATA, _PACKET_IGNORE_OUTGOING = 263, 8, 23
_TP_STATUS_VLAN_VALID, _TP_STATUS_VLAN_TPID_VALID = 0x10, 0x40
_AUXDATA = struct.Struct("=IIIHHHH")
_LONGEST = 1 << 17
_SO_ATTACH_FILTER, _SO_RCVBUFFORCE = 26, 33
_SYS_PIDFD_GETFD = 438  # the same on every architecture
_IPV6_RECVERR = 25
_TAKE_NOTHING = struct.pack("=HBBI", 0x06, 0, 0, 0)  # classic BPF: return 0 bytes
SO_RCVBUFFORCE = 33
"""As SO_RCVBUF, but past the machine's limit, which is small: a reader that waits for its turn must lose nothing."""
RECEIVE_BUFFER = 8 << 20
"""Bytes that a socket keeps for its reader."""
_SO_TIMESTAMPNS, _TIMESPEC = 35, struct.Struct("=qq")


def packet_socket(interface: str, *, incoming_only: bool = True, stamped: bool = False) -> socket.socket:
    """A non-blocking socket on an interface: sends frames as they are, and receives all that pass.

    `incoming_only` leaves out what this machine itself sends there; `stamped` has the kernel note when each passed.
    """
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
    sock.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
    if stamped:
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    if incoming_only:
        sock.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    sock.bind((interface, _ETH_P_ALL))
    sock.setblocking(False)
    return sock


def receive_more(pid: int) -> None:
    """Gives another process's packet sockets the receive buffer of ours; they are told among its descriptors."""
    handle = os.pidfd_open(pid)
    try:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):  # it has been closed meanwhile
                if descriptor.readlink().name.startswith("socket:"):
                    with socket.socket(fileno=_copy(handle, int(descriptor.name))) as sock:
                        if sock.family == socket.AF_PACKET:
                            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER)
    finally:
        os.close(handle)


def _copy(process: int, descriptor: int) -> int:
    """A descriptor of another process, as one of this (pidfd_getfd, Linux 5.6)."""
    copied = int(ctypes.CDLL(None, use_errno=True).syscall(_SYS_PIDFD_GETFD, process, descriptor, 0))
    if copied < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return copied


def path_mtu_listeners() -> list[socket.socket]:
    """Sockets that make the kernel heed "fragmentation needed" and "packet too big" about this namespace's GRE packets.

    Without a socket for their protocol it ignores such messages. With one it keeps a path MTU per remote PA, with a
    floor against forged messages and an age (`net.ipv4.route.min_pmtu`, `mtu_expires`; 1280 for IPv6), which route
    look-ups then report (RFC 2003 section 5.1). They also keep the kernel from answering GRE packets with "protocol
    unreachable".
    """
    sockets = [socket.socket(family, socket.SOCK_RAW, GRE_PROTOCOL) for family in (socket.AF_INET, socket.AF_INET6)]
    # IPv6 wants a socket that asks for errors, which fill it; so it must not be the one that keeps the kernel quiet.
    asking = socket.socket(socket.AF_INET6, socket.SOCK_RAW, GRE_PROTOCOL)
    asking.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
    for sock in (*sockets, asking):  # nobody reads them, and a full socket would count as none
        take_nothing(sock)
    return [*sockets, asking]


def take_nothing(sock: socket.socket) -> None:
    """Has a socket take in no packet."""
    nothing = ctypes.create_string_buffer(_TAKE_NOTHING, len(_TAKE_NOTHING))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", 1, ctypes.addressof(nothing)))


def receive(sock: socket.socket) -> bytes:
    """The next frame, with the 802.1Q tag put back that the kernel moved aside. Raises OSError as `recv` does."""
    return receive_stamped(sock)[1]


def receive_stamped(sock: socket.socket) -> tuple[float, bytes]:
    """As `receive`, and when it passed: seconds since the epoch, or 0 where the socket is not `stamped`."""
    data, ancillary, _, _ = sock.recvmsg(_LONGEST, 256)
    at = 0.0
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
            seconds, nanoseconds = _TIMESPEC.unpack(content)
            at = seconds + nanoseconds / 1e9
        if level == _SOL_PACKET and kind == _PACKET_AUXDATA:
            status, _, _, _, _, tci, tpid = _AUXDATA.unpack(content[: _AUXDATA.size])
            if status & _TP_STATUS_VLAN_VALID:
                ethertype = tpid if status & _TP_STATUS_VLAN_TPID_VALID else 0x8100
                data = data[:12] + struct.pack("!HH", ethertype, tci) + data[12:]
    return at, data
