"""The `model` data plane: the executable specification on packet sockets, in Python, frame by frame, and slow.

Change a line of `model.py`, and watch what the wire does. VMs' offloads must be off: what is not yet cut to size or
summed when it leaves a VM would stay so.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from functools import partial
from typing import Any

from pyroute2.netlink.exceptions import NetlinkError

from nvgre_node import needs
from nvgre_node.choices import Fragments
from nvgre_node.dataplane import model
from nvgre_node.dataplane.base import (
    NO_PA,
    NO_PORT,
    NO_SUBNET,
    PUNT,
    Drop,
    Home,
    PaCounters,
    PortCounters,
    Punted,
    Sighted,
    SubnetCounters,
)
from nvgre_node.dataplane.capability import EVERYTHING
from nvgre_node.dataplane.serve import Handler, Server
from nvgre_node.errors import BadInputError
from nvgre_node.groups import ascending, group_mac
from nvgre_node.multicast import Memberships
from nvgre_node.namespace import NUD_VALID, netlink
from nvgre_node.packet import packet_socket, path_mtu_listeners, receive
from nvgre_node.policy import Address, LookupRecord, NvePolicy
from nvgre_node.reassembly import reassembly_socket, receive_reassembled
from nvgre_node.underlay_vlan import without_tag
from nvgre_node.wire import octets

_LOOK_AGAIN_SECONDS = 0.5
_PUNTS_MOST = 64
_FAMILIES = (socket.AF_INET, socket.AF_INET6)


class LiveModel:
    """The NVE of one provider host as a thread that calls `model.handle`."""

    name = "model"
    summary = "the executable specification on packet sockets: slow; change a line of Python, watch the wire"
    needs = (needs.program("ethtool", "ethtool"),)
    takes_offloads = False
    datapath = None
    capabilities = EVERYTHING

    def __init__(self, _home: Home) -> None:
        self._stack = ExitStack()
        self._counted: Counter[model.Counted] = Counter()
        self._at_ends: Counter[model.CountedAtEnd] = Counter()
        self._vsids: tuple[int, ...] = ()
        self._lock = threading.Lock()
        self._punts: list[Punted] = []
        self._sockets: dict[str, socket.socket] = {}
        self._whole: list[socket.socket] = []
        self._server: Server | None = None
        self._memberships: Memberships | None = None

    def attach(self, policy: NvePolicy, uplinks: tuple[str, ...]) -> None:
        """Opens a socket on every port and uplink, and starts the thread that serves them."""
        self._vsids = policy.vsids
        self._ip = self._stack.enter_context(netlink())
        self._uplinks = {link["index"]: link for link in self._ip.get_links() if link.get("ifname") in uplinks}
        macs = frozenset(octets(link.get("address")) for link in self._uplinks.values())
        self._groups = self._ways_to_groups(policy)
        self._state, self._looked = model.State(policy, macs, self._groups), 0.0
        for listener in path_mtu_listeners():
            self._stack.enter_context(listener)
        self._uplink_names = uplinks
        if policy.nve.fragments is Fragments.REASSEMBLE:
            self._whole = [self._stack.enter_context(reassembly_socket(family)) for family in _FAMILIES]
        self._stack.callback(self._pause)
        self._serve((*policy.interfaces, *uplinks))

    def update(self, policy: NvePolicy) -> None:
        """Puts another policy into force: what arrives meanwhile waits in the sockets.

        Raises:
            BadInputError: it is about another NVE, or another choice of its own.
        """
        if policy.nve != self._state.policy.nve:
            raise BadInputError(f"{policy.nve.host}: what an NVE does is settled when it comes up")
        self._pause()
        self._vsids = tuple(sorted({*self._vsids, *policy.vsids}))
        self._groups = self._ways_to_groups(policy)
        self._state, self._looked = replace(self._state, policy=policy, paths=self._groups), 0.0
        self._serve((*policy.interfaces, *self._uplink_names))

    def _pause(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _serve(self, interfaces: Sequence[str]) -> None:
        """Listens on these interfaces, and on others no more, and starts the thread that takes what comes."""
        for name in self._sockets.keys() - set(interfaces):
            self._sockets.pop(name).close()
        for name in interfaces:
            if name not in self._sockets:
                self._sockets[name] = self._stack.enter_context(packet_socket(name))
        is_tagged = bool(self._state.policy.nve.vlan)
        handlers: dict[socket.socket, Handler] = {
            sock: partial(self._take_tagged if is_tagged and name in self._uplink_names else self._take, name)
            for name, sock in self._sockets.items()
        }
        handlers |= dict.fromkeys(self._whole, partial(self._take_reassembled, self._uplink_names[0]))
        self._server = Server(handlers)

    def _take(self, interface: str, sock: socket.socket) -> None:
        self._handle(interface, receive(sock))

    def _take_tagged(self, uplink: str, sock: socket.socket) -> None:
        """A packet socket hears frames before the underlay's tag is off (O4)."""
        if (frame := without_tag(receive(sock), self._state.policy.nve.vlan or 0)) is not None:
            self._handle(uplink, frame)

    def _take_reassembled(self, uplink: str, sock: socket.socket) -> None:
        frame = receive_reassembled(sock, min(self._state.uplink_macs))
        if frame is not None:
            self._handle(uplink, frame)

    def _handle(self, interface: str, frame: bytes) -> None:
        with self._lock:
            self._look_around()
            self._state = replace(self._state, now=time.monotonic())
            result = self._punt(interface, model.handle(self._state, interface, frame))
            self._state = model.after(self._state, result)
            self._counted.update(result.counted)
            self._at_ends.update(result.at_ends)
        for name, out in result.out:
            with suppress(OSError):  # as with a cable: what does not fit through or meets nobody is gone
                self._sockets[name].send(out)

    def _punt(self, interface: str, result: model.Result) -> model.Result:
        """Keeps what is for user space, as long as there is room."""
        if [name for name, _ in result.out] != [PUNT]:
            return result
        ((vsid, _),) = result.counted
        if len(self._punts) >= _PUNTS_MOST:
            port, _ = next(iter(result.at_ends))
            return replace(model.dropped(vsid, Drop.UNKNOWN_UNICAST), at_ends=result.at_ends).came_from(port)
        self._punts.append(Punted(interface, vsid, result.out[0][1]))
        return replace(result, out=())

    def is_ready(self) -> bool:
        """From the moment on at which it is attached."""
        return True

    def punted(self) -> list[Punted]:
        """The frames that were handed to user space since the last call."""
        with self._lock:
            taken, self._punts = self._punts, []
        return taken

    def learnt(self) -> list[Sighted]:
        """What the NVE has learnt from packets, and not forgotten."""
        with self._lock:
            state, now = self._state, time.monotonic()
        ages = {(vsid, mac, found.pa): now - found.seen for (vsid, mac), found in state.learnt.items()}
        keep = state.policy.nve.learning
        return [Sighted(vsid, mac.hex(":"), pa, age) for (vsid, mac, pa), age in ages.items() if age < keep]

    def install(self, *records: LookupRecord) -> None:
        """Puts lookup records into force."""
        with self._lock:
            self._state = replace(self._state, policy=self._state.policy.with_records(*records))

    def _look_around(self) -> None:
        """Asks the kernel for the ways to the other NVEs: at once while one is missing, else now and then."""
        wanted, now = self._state.policy.remote_pas, time.monotonic()
        if wanted <= self._state.paths.keys() and now - self._looked < _LOOK_AGAIN_SECONDS:
            return
        self._looked = now
        known = [found for family in _FAMILIES for found in self._ip.get_neighbours(family=family)]
        valid = [found for found in known if found["state"] & NUD_VALID]
        macs = {(found["ifindex"], found.get("dst")): found.get("lladdr") for found in valid}
        paths = {pa: path for pa in wanted if (path := self._path(pa, macs))}
        self._state = replace(self._state, paths=paths | self._groups)

    def _ways_to_groups(self, policy: NvePolicy) -> dict[Address, model.Path]:
        """Joins the groups of the underlay; they are reached by the uplink, and have its MTU."""
        if not policy.joined:
            return {}
        link = next(iter(self._uplinks.values()))
        if self._memberships is None:
            self._memberships = self._stack.enter_context(closing(Memberships(link["index"])))
        self._memberships.keep(policy.joined)
        name, mac, mtu = link.get("ifname"), octets(link.get("address")), link.get("mtu")
        return {group: model.Path(name, mac, group_mac(group), mtu) for group in policy.joined}

    def _path(self, pa: Address, macs: dict[tuple[int, str], str]) -> model.Path | None:
        try:
            route = self._ip.route("get", dst=str(pa))[0]
        except NetlinkError:  # there is no route (any more)
            return None
        index = int(route.get("oif"))
        next_hop = macs.get((index, route.get("gateway") or str(pa)))
        if next_hop is None or index not in self._uplinks:
            return None
        link, metrics = self._uplinks[index], route.get("metrics")
        mtu = (metrics.get("mtu") if metrics else None) or link.get("mtu")  # the path's, where the kernel has learnt it
        return model.Path(link.get("ifname"), octets(link.get("address")), octets(next_hop), mtu)

    def counters(self) -> dict[int, SubnetCounters]:
        """Counters since attach, by VSID; NO_SUBNET holds what could be given to none."""
        counted = dict(self._counted)
        return {vsid: _counters_of(vsid, counted) for vsid in (NO_SUBNET, *self._vsids)}

    def port_counters(self) -> dict[str, PortCounters]:
        """Counters since attach, by port; NO_PORT holds what was for none."""
        names = (NO_PORT, *(port.name for port in self._state.policy.ports))
        return {name: PortCounters(**_at_end(name, dict(self._at_ends))) for name in names}

    def pa_counters(self) -> dict[Address, PaCounters]:
        """Counters since attach, by remote PA; NO_PA holds what came from none that may send."""
        pas = (NO_PA, *ascending(self._state.policy.peer_pas))
        return {pa: PaCounters(**_at_end(pa, dict(self._at_ends))) for pa in pas}

    def close(self) -> None:
        """Stops the thread and closes the sockets."""
        self._stack.close()


def _counters_of(vsid: int, counted: dict[model.Counted, int]) -> SubnetCounters:
    return SubnetCounters(**_fields({name: count for (at, name), count in counted.items() if at == vsid}))


def _at_end(end: model.End, counted: dict[model.CountedAtEnd, int]) -> dict[str, Any]:
    return _fields({name: count for (at, name), count in counted.items() if at == end})


def _fields(own: dict[str, int]) -> dict[str, Any]:
    """The fields of counters: the drops together, and each other by itself."""
    dropped = {reason: own.pop(reason.name) for reason in Drop if reason.name in own}
    return {"dropped": dropped, **own}
