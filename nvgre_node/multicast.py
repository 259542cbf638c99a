"""Multicast in the kernel, by its socket interface: membership in groups, and static routes of a router. Needs root.

The kernel tells the neighbours of a membership (IGMP, RFC 3376; MLD, RFC 3810), and takes it back when its socket is
closed. A router forwards by the entries that it is given here: the test bed knows who is where, so that no routing
protocol runs.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Collection, Mapping, Sequence

from nvgre_node.errors import MissingError
from nvgre_node.fabric import MulticastRoute
from nvgre_node.groups import Address, ascending

# <linux/in.h>, <linux/mroute.h>, <linux/mroute6.h>: options have the same numbers in both IP versions
_MRT_INIT, _MRT_ADD_VIF, _MRT_ADD_MFC = 200, 202, 204
_MAX_VIFS = 32
_USE_IFINDEX = 0x8
_MREQN, _MREQ6 = struct.Struct("@4s4si"), struct.Struct("@16si")
_VIFCTL, _MIF6CTL = struct.Struct("@HBBIi4s"), struct.Struct("@HBBHI")
_MFCCTL, _MF6CCTL = struct.Struct(f"@4s4sH{_MAX_VIFS}s2xIIIi"), struct.Struct("@28s28sH2xI28x")
_SOCKADDR6 = struct.Struct("@HHI16sI")
_THRESHOLD = 1  # what has a TTL above this goes out; 255 would mean: nothing does
_LEVEL = {4: socket.IPPROTO_IP, 6: socket.IPPROTO_IPV6}


class Memberships:
    """The groups that an interface of the current network namespace is a member of, for as long as this is open."""

    def __init__(self, ifindex: int) -> None:
        self._ifindex = ifindex
        self._sockets: dict[Address, socket.socket] = {}

    def keep(self, groups: Collection[Address]) -> None:
        """Joins what is new among these groups, and leaves the others. To be called in the interface's namespace."""
        for group in self._sockets.keys() - set(groups):
            self._sockets.pop(group).close()
        for group in ascending(set(groups) - self._sockets.keys()):
            self._sockets[group] = self._joined(group)

    def _joined(self, group: Address) -> socket.socket:
        family = socket.AF_INET6 if group.version == 6 else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM)  # one each: the kernel limits groups per socket
        try:
            if group.version == 6:
                sock.setsockopt(_LEVEL[6], socket.IPV6_JOIN_GROUP, _MREQ6.pack(group.packed, self._ifindex))
            else:
                sock.setsockopt(_LEVEL[4], socket.IP_ADD_MEMBERSHIP, _MREQN.pack(group.packed, bytes(4), self._ifindex))
        except OSError:
            sock.close()
            raise
        return sock

    def close(self) -> None:
        """Leaves every group."""
        self.keep(())


def multicast_router(interfaces: Mapping[Address, int], routes: Sequence[MulticastRoute]) -> list[socket.socket]:
    """Has the kernel forward groups between interfaces of this namespace while the sockets are open.

    `interfaces` are the indices of the router's interfaces by address.

    Raises:
        MissingError: this kernel has no multicast routing.
        ValueError: there are more interfaces than the kernel can route groups between.
    """
    vifs = {index: number for number, index in enumerate(dict.fromkeys(interfaces.values()))}
    if routes and len(vifs) > _MAX_VIFS:
        raise ValueError(f"a router of groups has at most {_MAX_VIFS} links, not {len(vifs)}")
    numbers = {address: vifs[index] for address, index in interfaces.items()}
    sockets: list[socket.socket] = []
    try:
        for version in sorted({route.group.version for route in routes}):
            sockets.append(_raw_socket(version))
            _forward(sockets[-1], version, vifs, numbers, [own for own in routes if own.group.version == version])
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _raw_socket(version: int) -> socket.socket:
    if version == 6:
        return socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IGMP)


def _forward(
    sock: socket.socket,
    version: int,
    vifs: Mapping[int, int],
    numbers: Mapping[Address, int],
    routes: Sequence[MulticastRoute],
) -> None:
    """Starts the kernel's forwarding of an IP version, with these interfaces (number by index) and entries."""
    vif, entry = (_mif6, _mfc6) if version == 6 else (_vif4, _mfc4)
    options = [(_MRT_INIT, struct.pack("@i", 1))]
    options += [(_MRT_ADD_VIF, vif(number, index)) for index, number in vifs.items()]
    for route in routes:
        out = {numbers[address] for address in route.outgoing}
        options.append((_MRT_ADD_MFC, entry(route, numbers[route.incoming], out)))
    try:
        for name, value in options:
            sock.setsockopt(_LEVEL[version], name, value)
    except OSError as error:
        what = f"this kernel does not route multicast of IPv{version}"
        raise MissingError(f"{what} (CONFIG_IP{'V6' if version == 6 else ''}_MROUTE): {error.strerror}") from error


def _vif4(number: int, index: int) -> bytes:
    return _VIFCTL.pack(number, _USE_IFINDEX, _THRESHOLD, 0, index, bytes(4))


def _mif6(number: int, index: int) -> bytes:
    return _MIF6CTL.pack(number, 0, _THRESHOLD, index, 0)


def _mfc4(route: MulticastRoute, incoming: int, out: Collection[int]) -> bytes:
    ttls = bytes(_THRESHOLD if number in out else 255 for number in range(_MAX_VIFS))
    return _MFCCTL.pack(route.source.packed, route.group.packed, incoming, ttls, 0, 0, 0, 0)


def _mfc6(route: MulticastRoute, incoming: int, out: Collection[int]) -> bytes:
    source, group = (_SOCKADDR6.pack(socket.AF_INET6, 0, 0, own.packed, 0) for own in (route.source, route.group))
    return _MF6CCTL.pack(source, group, incoming, sum(1 << number for number in out))
