"""How a router of the underlay chooses among equal-cost paths, by the kernel's means (RFC 7637 section 4.1).

Linux hashes outer addresses, or inner headers, but never a GRE key. That takes a rule of nftables, which writes the
number of a path into each packet's mark, and a routing table per path. Needs root.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from socket import AF_INET, AF_INET6
from typing import Any
from zlib import crc32

from nvgre_node import namespace
from nvgre_node.errors import MissingError
from nvgre_node.fabric import Multipath, Route, paths
from nvgre_node.namespace import netlink
from nvgre_node.wire import GRE_PROTOCOL

# Documentation/networking/ip-sysctl.rst: fib_multipath_hash_policy, and fib_multipath_hash_fields for policy 3
_POLICIES = {Multipath.OUTER: 0, Multipath.INNER_ADDRESSES: 2, Multipath.INNER: 3, Multipath.KEY: 0}
_INNER_SOURCE, _INNER_DESTINATION, _INNER_PROTOCOL = 0x0040, 0x0080, 0x0100
_INNER_PORTS = 0x0400 | 0x0800
_INNER_FIELDS = _INNER_SOURCE | _INNER_DESTINATION | _INNER_PROTOCOL | _INNER_PORTS

_TABLES = 1000  # path N has table 1000 + N: out of the way of the kernel's own
_NVGRE = 0x20006558  # the first four bytes of the only GRE header in which the key comes next, and is NVGRE's
_MANGLE = -150  # before the packet is routed

_Object = dict[str, Any]


class Spreading:
    """One router's choice among equal-cost paths, to be called in its namespace. Without such paths it does nothing.

    The router's name seeds its hash: the same flows take the same paths in every run (Linux 6.11 for the kernel's own
    hash), and two routers on one way do not choose alike.
    """

    def __init__(self, router: str, routes: Sequence[Route]) -> None:
        self._seed = crc32(router.encode()) or 1
        self._paths = paths(routes)
        self._undo = ExitStack()

    def choose(self, mode: Multipath) -> None:
        """Spreads packets by this, and no longer by what was chosen before.

        Raises:
            MissingError: this kernel cannot, or `nft` is missing.
        """
        if not self._paths:
            return
        self._undo.close()
        _set_policy(_POLICIES[mode], self._seed)
        if mode is Multipath.KEY:
            with ExitStack() as undo:
                self._set_tables(undo)
                _nft([*_rules("ip", len(self._paths), self._seed), *_rules("ip6", len(self._paths), self._seed)])
                undo.callback(_nft, [{"delete": {"table": _table(family)}} for family in ("ip", "ip6")])
                self._undo = undo.pop_all()

    def _set_tables(self, undo: ExitStack) -> None:
        """A routing table per path, and the rules that send marked packets there."""
        for number, routes in enumerate(self._paths, start=1):
            table = _TABLES + number
            for route in routes:
                _add(undo, "route", dst=str(route.prefix), gateway=str(route.next_hop), table=table)
            for family in (AF_INET, AF_INET6):
                _add(undo, "rule", fwmark=number, table=table, priority=_TABLES, family=family)


def _set_policy(policy: int, seed: int) -> None:
    """The kernel's own hash, of both IP versions."""
    with suppress(FileNotFoundError):  # before Linux 6.11 the kernel draws one by lot, for all namespaces
        namespace.set_sysctl("ipv4/fib_multipath_hash_seed", seed)
    try:
        for version in ("ipv4", "ipv6"):
            namespace.set_sysctl(f"{version}/fib_multipath_hash_fields", _INNER_FIELDS)
            namespace.set_sysctl(f"{version}/fib_multipath_hash_policy", policy)
    except OSError as error:
        what = "this kernel does not choose among equal-cost paths by inner headers"
        raise MissingError(f"{what} (Linux 5.15, CONFIG_IP_ROUTE_MULTIPATH): {error.strerror}") from error


def _add(undo: ExitStack, kind: str, **what: Any) -> None:
    """Adds a route or a rule to the kernel, and has it deleted later."""

    def change(command: str) -> None:
        with netlink() as ip:
            getattr(ip, kind)(command, **what)

    change("add")
    undo.callback(change, "del")


def _nft(commands: Sequence[_Object]) -> None:
    """Has nftables carry out commands: all of them, or none."""
    text = json.dumps({"nftables": commands})
    try:
        done = subprocess.run(["nft", "-j", "-f", "-"], input=text, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise MissingError("nft is missing, and `multipath: key` needs it (apt-get install nftables)") from error
    if done.returncode:
        said = " ".join(done.stderr.split())
        raise MissingError(f"this kernel cannot hash GRE keys (CONFIG_NF_TABLES, CONFIG_NFT_HASH): {said}")


def _table(family: str) -> _Object:
    return {"family": family, "name": "nvgre"}


def _rules(family: str, count: int, seed: int) -> Iterator[_Object]:
    """What marks NVGRE packets of one IP version with the number of one of `count` paths, 1 being the first."""
    # `meta l4proto` would do for both versions, but makes nft 1.0.6 stumble when it prints the rule.
    protocol = "protocol" if family == "ip" else "nexthdr"
    hashed = [_field(family, "saddr"), _field(family, "daddr"), _word(32)]
    path = {"jhash": {"mod": count, "offset": 1, "seed": seed, "expr": {"concat": hashed}}}
    rule = [
        _is(_field(family, protocol), GRE_PROTOCOL),
        _is(_word(0), _NVGRE),
        {"mangle": {"key": {"meta": {"key": "mark"}}, "value": path}},
    ]
    chain = {"family": family, "table": "nvgre", "name": "paths"}
    hook = {"type": "filter", "hook": "prerouting", "prio": _MANGLE, "policy": "accept"}
    yield {"add": {"table": _table(family)}}
    yield {"add": {"chain": chain | hook}}
    yield {"add": {"rule": {"family": family, "table": "nvgre", "chain": "paths", "expr": rule}}}


def _is(left: _Object, right: int) -> _Object:
    return {"match": {"op": "==", "left": left, "right": right}}


def _field(family: str, name: str) -> _Object:
    return {"payload": {"protocol": family, "field": name}}


def _word(at: int) -> _Object:
    """32 bits of what follows the IP header, `at` so many bits."""
    return {"payload": {"base": "th", "offset": at, "len": 32}}
