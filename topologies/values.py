"""Reads the single values of a scenario file: addresses, names, numbers. Pure.

Each reader takes what YAML gave and returns the typed value, or raises BadValueError with a message and a hint.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, ip_address, ip_interface, ip_network
from typing import TypeVar

from nvgre_node.acl import PROTOCOLS
from nvgre_node.choices import COPY, Dscp
from nvgre_node.dataplane import DATAPLANES
from nvgre_node.fabric import Multipath
from nvgre_node.groups import is_administratively_scoped
from nvgre_node.policy import Address, Interface, Network
from nvgre_node.wire import VSID_FIRST, VSID_LAST, check_vsid
from topologies.expectation import By, Steps, Way
from topologies.problems import show

_T = TypeVar("_T")

DEFAULT = "default"
"""What holds where nothing else is said; no node has this name."""

MTU_LEAST, MTU_MOST = 576, 65535
"""Bytes of IP packet: what every IPv4 host must accept (RFC 791), and the most that an IPv4 header can say."""

INTERFACE_NAME_MOST = 15
"""Characters of a Linux interface name (IFNAMSIZ less the closing zero)."""

COUNT_MOST = 4096
"""Entries that one can stand for."""

VM_NAME_MOST, NODE_NAME_MOST = INTERFACE_NAME_MOST, INTERFACE_NAME_MOST - len("-eth0")

# Linux makes these in a network namespace unasked, or keeps the word for itself.
_TAKEN = frozenset(
    (
        *("all", "default", "lo", "tunl0", "sit0", "ip_vti0", "ip6tnl0", "ip6_vti0"),
        *("gre0", "gretap0", "erspan0", "ip6gre0", "ip6gretap0", "ip6erspan0"),
    )
)

NAME = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", re.ASCII)
PORTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", re.ASCII)
ENDPOINT = re.compile(r"(?:\[([^]]+)\]|([^:]+)):([0-9]{1,5})", re.ASCII)
WAY = re.compile(r"(icmp|broadcast|any)|(tcp|udp) ([0-9]{1,5})", re.ASCII)
_PLAIN_LENGTH = re.compile(r"[^/]+/[0-9]{1,3}", re.ASCII)


class BadValueError(ValueError):
    """A value that cannot be used, with a hint at what could."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def usable(read: Callable[[object], _T], value: object) -> _T | None:
    """What a reader makes of a value, or None where it refuses."""
    try:
        return read(value)
    except BadValueError:
        return None


def text(value: object) -> str:
    """Text of at least one character."""
    if value is None:
        raise BadValueError("has no value")
    if not isinstance(value, str):
        raise BadValueError(f"{show(value)} is not text", "put it in quotes if it is meant as text")
    if not value.strip():
        raise BadValueError("is empty")
    return value


def dataplane(value: object) -> str:
    """The name of a data plane."""
    if (found := text(value)) not in DATAPLANES:
        raise BadValueError(f"there is no data plane {found}", f"there are: {', '.join(DATAPLANES)}")
    return found


def line(value: object) -> str:
    """One line of text."""
    if "\n" in text(value).strip():
        raise BadValueError("has more than one line", "the long text goes under about")
    return text(value).strip()


def name(value: object) -> str:
    """A name: small letters, digits and underscores, a letter first."""
    if not NAME.fullmatch(text(value)):
        raise BadValueError(f"{show(value)} is not a name", "small letters, digits and underscores, a letter first")
    return text(value)


def vm_name(value: object) -> str:
    """A VM's name, which is also that of its port's interface: at most 15 characters."""
    return _interface_name(value, VM_NAME_MOST, "it becomes an interface name")


def node_name(value: object) -> str:
    """A host's or router's name: at most 10 characters, so that NAME-eth0 is an interface name."""
    return _interface_name(value, NODE_NAME_MOST, "its interfaces are called NAME-eth0, and Linux takes 15")


def _interface_name(value: object, most: int, reason: str) -> str:
    read = name(value)
    if len(read) > most:
        raise BadValueError(f"{show(read)} has {len(read)} characters, {most} are the most", reason)
    if read in _TAKEN:
        raise BadValueError(f"{show(read)} is an interface name that Linux keeps for itself", "choose another name")
    return read


def vsid(value: object) -> int:
    """A VSID that a tenant may have (V5)."""
    hint = f"use {VSID_FIRST} to {VSID_LAST}"
    try:
        return check_vsid(_whole_number(value, hint))
    except BadValueError:
        raise
    except ValueError as error:
        raise BadValueError(str(error), hint) from error


def mtu(value: object) -> int:
    """An MTU in bytes of IP packet."""
    hint = f"use {MTU_LEAST} to {MTU_MOST}"
    read = _whole_number(value, hint)
    if not MTU_LEAST <= read <= MTU_MOST:
        raise BadValueError(f"an MTU of {show(read)} bytes is too {'small' if read < MTU_LEAST else 'large'}", hint)
    return read


@dataclass(frozen=True)
class Whole:
    """A reader of whole numbers from `least` to `most`."""

    least: int
    most: int
    what: str
    hint: str = ""

    def __call__(self, value: object) -> int:
        """The number, if it is one of them."""
        hint = self.hint or f"use {self.least} to {self.most}"
        read = _whole_number(value, hint)
        if not self.least <= read <= self.most:
            size = "small" if read < self.least else "large"
            raise BadValueError(f"{self.what} of {show(read)} is too {size}", hint)
        return read


ttl = Whole(1, 255, "a TTL")
"""The TTL, or hop limit, of outer headers."""

learning = Whole(0, 1_000_000, "an age", "use seconds, such as 300; 0: nothing is learnt")
"""Seconds for which something learnt is kept, or 0."""

vid = Whole(1, 4094, "a VLAN id")
"""A VLAN id (IEEE 802.1Q section 9.6): 0 is no VLAN, and 4095 is reserved."""

pcp = Whole(0, 7, "a PCP")
"""The priority (PCP) of an 802.1Q tag."""

count = Whole(1, COUNT_MOST, "a count")
"""How many entries one stands for."""

plain_dscp = Whole(0, 63, "a DSCP")

metric = Whole(0, 65535, "a metric")
"""The metric of a route."""

port = Whole(1, 65535, "a port")


def dscp(value: object) -> Dscp:
    """The DSCP of outer headers, or the word that says it is the inner one."""
    hint = f"use 0 to 63, or {COPY}"
    return COPY if value == COPY else replace(plain_dscp, hint=hint)(value)


def multipath(value: object) -> Multipath:
    """By what all routers spread packets over equal-cost paths."""
    hint = f"or one of them by router, such as {{{DEFAULT}: outer, leaf1: key}}"
    if value is None:
        raise BadValueError("has no value", f"such as key, {hint}")
    if not isinstance(value, str) or value not in list(Multipath):
        *first, last = map(repr, map(str, Multipath))
        raise BadValueError(f"{show(value)} is not {', '.join(first)} or {last}", hint)
    return Multipath(value)


def _whole_number(value: object, hint: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadValueError("has no value" if value is None else f"{show(value)} is not a whole number", hint)
    return value


def pa(value: object) -> Interface:
    """An underlay address with its prefix length: a PA, or a router's address (O5)."""
    hint = "such as 192.168.1.10/24"
    given = text(value)
    if not _PLAIN_LENGTH.fullmatch(given) or "%" in given:
        raise BadValueError(f"{show(given)} is not an IP address with prefix length", hint)
    try:
        read = ip_interface(given)
    except ValueError as error:
        raise BadValueError(f"{show(given)} is not an IP address with prefix length", hint) from error
    if not _is_unicast(read.ip) or read.is_link_local:
        raise BadValueError(f"{read.ip} is not a unicast address", hint)
    refuse_network_address(read.ip, read.network)
    return read


def plain_pa(value: object) -> Address:
    """A PA, or the address of a router, without prefix length."""
    given = text(value)
    hint = "such as 192.168.1.10 or fd00::10"
    try:
        read = ip_address(given)
    except ValueError as error:
        more = "write the address alone" if _PLAIN_LENGTH.fullmatch(given) else hint
        raise BadValueError(f"{show(given)} is not an IP address", more) from error
    if not _is_unicast(read) or read.is_link_local or "%" in given:
        raise BadValueError(f"{show(given)} is not a unicast address that an NVE can have", hint)
    return read


def interface(value: object) -> str:
    """The name of an interface that is there, whoever named it."""
    return _kernel_name(value, INTERFACE_NAME_MOST, "an interface", "such as eth1; `ip link` lists them")


def namespace(value: object) -> str:
    """The name of a network namespace, as `ip netns` lists them."""
    return _kernel_name(value, 255, "a network namespace", "a name that `ip netns` lists")


def _kernel_name(value: object, most: int, what: str, hint: str) -> str:
    read = text(value)
    if len(read) > most or "/" in read or read in {".", ".."} or any(c.isspace() or c < " " for c in read):
        raise BadValueError(f"{show(read)} is not the name of {what}", hint)
    return read


def own_pa(value: object) -> Address:
    """One of the host's PAs, without prefix length."""
    given = text(value)
    try:
        return ip_address(given)
    except ValueError as error:
        hint = "one of the host's PAs, without prefix length"
        raise BadValueError(f"{show(given)} is not an IP address", hint) from error


def ca(value: object) -> Address:
    """A customer address, without prefix length: its subnet's prefix gives that."""
    given = text(value)
    if _PLAIN_LENGTH.fullmatch(given):
        raise BadValueError(f"{show(given)} has a prefix length", "write the address alone: its subnet has the prefix")
    try:
        read = ip_address(given)
    except ValueError as error:
        raise BadValueError(f"{show(given)} is not an IP address", "such as 10.1.1.11 or fd00::11") from error
    if not _is_unicast(read) or "%" in given:
        raise BadValueError(f"{show(given)} is not a unicast address that a VM can have", "such as 10.1.1.11")
    return read


def group(value: object) -> Address:
    """A multicast group of the underlay: an administratively scoped one (B1)."""
    read = inner_group(value)
    if not is_administratively_scoped(read):
        ipv4, ipv6 = "use 239.0.0.0 to 239.255.255.255, RFC 2365", "such as ff15::1: scope 4, 5 or 8, RFC 4291"
        raise BadValueError(f"{read} is not administratively scoped", ipv6 if read.version == 6 else ipv4)
    return read


def inner_group(value: object) -> Address:
    """A multicast group of the tenant's."""
    given = text(value)
    try:
        read = ip_address(given)
    except ValueError as error:
        raise BadValueError(f"{show(given)} is not an IP address", "such as 239.1.1.1") from error
    if not read.is_multicast or "%" in given:
        raise BadValueError(f"{show(given)} is not a multicast address", "such as 239.1.1.1")
    return read


def prefix(value: object) -> Network:
    """A CA prefix of a virtual subnet."""
    given = text(value)
    if not _PLAIN_LENGTH.fullmatch(given) or "%" in given:
        raise BadValueError(f"{show(given)} is not a prefix", "such as 10.1.1.0/24 or fd00::/64")
    try:
        read = ip_network(given, strict=False)
    except ValueError as error:
        raise BadValueError(f"{show(given)} is not a prefix", "such as 10.1.1.0/24 or fd00::/64") from error
    if str(read.network_address) != str(ip_address(given.split("/")[0])):
        raise BadValueError(f"{given} has bits set after the prefix", f"did you mean {read}?")
    return read


def protocol(value: object) -> int | None:
    """An IP protocol by name or number; None for any."""
    hint = f"{', '.join(PROTOCOLS)}, any, or a number from 0 to 255"
    if isinstance(value, str) and value in PROTOCOLS:
        return PROTOCOLS[value]
    if value == "any":
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 255:
        raise BadValueError("has no value" if value is None else f"{show(value)} is not an IP protocol", hint)
    return value


def ports(value: object) -> tuple[int, int]:
    """A port, or a range of ports with both ends."""
    hint = "such as 443 or 1024-65535"
    if value is None:
        raise BadValueError("has no value", hint)
    found = PORTS.fullmatch(str(value))
    first, last = (int(found[1]), int(found[2] or found[1])) if found and not isinstance(value, bool) else (1, 0)
    if not first <= last <= 65535:
        raise BadValueError(f"{show(value)} is neither a port nor a range of ports", hint)
    return first, last


def endpoint(value: object) -> tuple[Address, int]:
    """A CA with a port."""
    hint = "such as 10.1.1.11:80 or '[fd00::11]:80'"
    found = ENDPOINT.fullmatch(text(value))
    if not found:
        raise BadValueError(f"{show(value)} is not a CA with a port", hint)
    return ca(found[1] or found[2]), port(int(found[3]))


def way(value: object) -> Way:
    """What is expected to go from one to the other."""
    found = WAY.fullmatch(text(value))
    if not found:
        raise BadValueError(f"{show(value)} is nothing that can be sent", "icmp, tcp PORT, udp PORT, broadcast or any")
    return Way(By(found[1])) if found[1] else Way(By(found[2]), port(int(found[3])))


def steps(value: object) -> Steps:
    """The nodes that a packet passes; of several that it may be, a list."""
    given = value if isinstance(value, list) else [value]
    return tuple(tuple(map(text, step)) if isinstance(step, list) and step else (text(step),) for step in given)


def addresses(value: object) -> Network:
    """The addresses of a rule: a prefix, or one address."""
    given = text(value)
    return prefix(value) if "/" in given else ip_network(ca(value))


def mac(value: object) -> str:
    """A unicast MAC address, six bytes with colons, in small letters."""
    hint = "such as 02:00:0a:01:01:0b"
    read = text(value).lower()
    if not _MAC.fullmatch(read):
        raise BadValueError(f"{show(value)} is not a MAC address", hint)
    if int(read[:2], 16) & 1:
        raise BadValueError(f"{read} is a multicast MAC address", f"the first byte must be even, {hint}")
    if read == "00:00:00:00:00:00":
        raise BadValueError(f"{read} is no interface's MAC address", hint)
    return read


def made_mac(cas: Sequence[Address]) -> str:
    """The MAC address of a VM without one of its own: 02:00 and the last four bytes of its first CA, IPv4 if any."""
    first = next((address for address in cas if address.version == 4), cas[0])
    return (b"\x02\x00" + first.packed[-4:]).hex(":")


def link(value: object) -> tuple[str, str]:
    """The two hosts that a link joins."""
    if not isinstance(value, list) or len(value) != 2 or not all(isinstance(end, str) for end in value):
        raise BadValueError(f"{show(value)} is not a pair of hosts", "such as [host1, host2]")
    if value[0] == value[1]:
        raise BadValueError(f"joins {show(value[0])} to itself", "name two hosts")
    return value[0], value[1]


def refuse_network_address(address: Address, network: Network) -> None:
    """Raises BadValueError for a prefix's network address (IPv6: subnet-router anycast) or IPv4 broadcast address."""
    if network.num_addresses <= 2:  # RFC 3021, RFC 6164: point-to-point prefixes use both
        return
    if address == network.network_address:
        raise BadValueError(f"{address} is the network address of {network}", "no interface can have it")
    if isinstance(address, IPv4Address) and address == network.broadcast_address:
        raise BadValueError(f"{address} is the broadcast address of {network}", "no interface can have it")


def _is_unicast(address: Address) -> bool:
    v4_class_e = isinstance(address, IPv4Address) and address.is_reserved
    return not (address.is_multicast or address.is_unspecified or address.is_loopback or v4_class_e)
