"""What may pass: the check of VMs' addresses (C1), and access control lists (T6). Pure.

Open vSwitch reads IP, ARP and the link-layer options of neighbour solicitations and advertisements, so these are
checked. It does not read those of router messages: a VM's router solicitations are taken as they are, and router
advertisements and redirects, which only a router sends, are dropped where the CA is checked.
"""

from __future__ import annotations

from collections.abc import Iterator

from nvgre_node.acl import ALL_PORTS, PORT_PROTOCOLS, Action, Direction, Rule
from nvgre_node.choices import SourceCheck
from nvgre_node.dataplane.base import Drop
from nvgre_node.dataplane.openvswitch.pipeline import Reg, Table, View, drops, flow, is_, onward
from nvgre_node.policy import Network, Port

_NO_MAC = "00:00:00:00:00:00"  # what Open vSwitch reads where an option is absent
_LISTENER_REPORTS = (131, 132, 143)
_ROUTER_SOLICITATION, _SOLICITATION, _ADVERTISEMENT = 133, 135, 136
_ROUTERS_ONLY = (134, 137)
_TO_LINK = "ipv6_dst=ff02::/16"
_IP = {4: "ip", 6: "ipv6"}


def flows(view: View) -> Iterator[str]:
    """The source check, and the lists of both directions."""
    yield from _source_check(view)
    for table, register, direction, reason, after in (
        (Table.ACL_OUT, Reg.FROM, Direction.OUT, Drop.ACL_OUT, Table.ANSWER),
        (Table.ACL_IN, Reg.TO, Direction.IN, Drop.ACL_IN, Table.COUNT),
    ):
        yield flow(table, 0, [], [onward(after)])
        for number, port in view.numbered:
            if not any(rule.direction is direction for rule in port.acl):
                continue
            for kind in (_SOLICITATION, _ADVERTISEMENT):  # to IPv6 what ARP is to IPv4
                resolution = [is_(register, number), "icmp6", "nw_ttl=255", f"icmp_type={kind}"]
                yield flow(table, 1000, resolution, [onward(after)])
            for match, allowed in _ordered(port.acl, direction):
                at, counted_at = [is_(register, number), *match[1]], match[0]
                if allowed:
                    yield flow(table, counted_at, at, [onward(after)])
                else:
                    yield from _denied(view, table, counted_at, at, port, reason)
    yield from _no_echo(view)


def _denied(view: View, table: Table, priority: int, match: list[str], port: Port, reason: Drop) -> Iterator[str]:
    """Drops; what came from another subnet's port by way of the router is counted where it came from."""
    if table is Table.ACL_OUT or not view.policy.routers:
        yield drops(table, priority, match, reason, port.vsid)
        return
    for vsid in view.policy.vsids:
        yield drops(table, priority, [is_(Reg.VSID, vsid), *match], reason, vsid)


def _no_echo(view: View) -> Iterator[str]:
    """A copy of a broadcast does not go back to the port that it came from; to others of a trunk, it does."""
    for number, _ in view.numbered:
        yield flow(Table.ACL_IN, 2000, [is_(Reg.COPY, 1), is_(Reg.FROM, number), is_(Reg.TO, number)], [])


def _ordered(rules: tuple[Rule, ...], direction: Direction) -> Iterator[tuple[tuple[int, list[str]], bool]]:
    """Each rule of a direction as (priority, match), and whether it allows; the first has the highest priority."""
    own = [rule for rule in rules if rule.direction is direction]
    for position, rule in enumerate(own):
        for match in matches(rule):
            yield (900 - position, match), rule.action is Action.ALLOW


def matches(rule: Rule) -> Iterator[list[str]]:
    """What a rule is about, as matches of which any may hold."""
    for version in (4, 6):
        if rule.version not in (None, version):
            continue
        base = [_IP[version]]
        field = "nw" if version == 4 else "ipv6"
        base += [f"{field}_src={rule.source}"] if _narrows(rule.source) else []
        base += [f"{field}_dst={rule.destination}"] if _narrows(rule.destination) else []
        base += [] if rule.protocol is None else [f"nw_proto={rule.protocol}"]
        if (rule.source_ports, rule.destination_ports) == (ALL_PORTS, ALL_PORTS):
            yield base
        else:
            yield from _with_ports(rule, base)


def _narrows(prefix: Network | None) -> bool:
    return prefix is not None and prefix.prefixlen > 0


def _with_ports(rule: Rule, base: list[str]) -> Iterator[list[str]]:
    """A later fragment has no ports to read: no rule allows it for them, and one that could be about it denies it."""
    if rule.action is Action.DENY:
        yield [*base, "ip_frag=later"]
    if rule.protocol not in PORT_PROTOCOLS:
        return
    for source in masked(*rule.source_ports):
        for destination in masked(*rule.destination_ports):
            ports = [f"tp_src={source}"] * (source != "0x0/0x0") + [f"tp_dst={destination}"] * (
                destination != "0x0/0x0"
            )
            for fragment in ("no", "first"):
                yield [*base, f"ip_frag={fragment}", *ports]


def masked(first: int, last: int) -> Iterator[str]:
    """A range of ports, both ends included, as the fewest values with masks."""
    while first <= last:
        size = first & -first or 0x10000
        while first + size - 1 > last:
            size >>= 1
        yield f"0x{first:x}/0x{0x10000 - size & 0xFFFF if size < 0x10000 else 0:x}"
        first += size


# What a VM's frames prove of their origin


def _source_check(view: View) -> Iterator[str]:
    check = view.policy.nve.source_check
    for number, port in view.numbered if check is not SourceCheck.NONE else ():
        own = is_(Reg.FROM, number)
        yield flow(Table.CHECK_MAC, 100, [own, f"dl_src={port.mac}"], [onward(Table.CHECK_CA)])
        yield drops(Table.CHECK_MAC, 90, [own], Drop.SOURCE_MAC, port.vsid)
        if check is SourceCheck.CA and not port.any_ca:
            for match in _genuine(port):
                yield flow(Table.CHECK_CA, 100, [own, *match], [onward(Table.ACL_OUT)])
            for match in _forged():
                yield drops(Table.CHECK_CA, 90, [own, *match], Drop.SOURCE_CA, port.vsid)
            for address in port.sources:
                if address.version == 6:
                    yield flow(Table.CHECK_CA, 80, [own, "ipv6", f"ipv6_src={address}"], [onward(Table.ACL_OUT)])
            for kind in ("ip", "arp", "ipv6"):
                yield drops(Table.CHECK_CA, 70, [own, kind], Drop.SOURCE_CA, port.vsid)
    yield flow(Table.CHECK_MAC, 0, [], [onward(Table.CHECK_CA)])
    yield flow(Table.CHECK_CA, 0, [], [onward(Table.ACL_OUT)])


def _genuine(port: Port) -> Iterator[list[str]]:
    """What a VM may say with its own CAs, and without one."""
    yield ["udp", "nw_src=0.0.0.0", "nw_dst=255.255.255.255", "tp_src=68", "tp_dst=67"]
    own_mac = [f"arp_sha={port.mac}"]
    for address in port.sources:
        if address.version == 4:
            yield ["ip", f"nw_src={address}"]
            yield ["arp", f"arp_spa={address}", *own_mac]
            yield ["arp", "arp_op=1", "arp_spa=0.0.0.0", f"arp_tpa={address}", *own_mac]
    for kind in (*_LISTENER_REPORTS, _ROUTER_SOLICITATION):
        yield ["icmp6", "ipv6_src=::", _TO_LINK, f"icmp_type={kind}"]
    yield from _discovery(port, [address for address in port.sources if address.version == 6])


def _discovery(port: Port, own: list[object]) -> Iterator[list[str]]:
    for link_layer in (port.mac, _NO_MAC):
        solicits = ["icmp6", f"icmp_type={_SOLICITATION}", "icmp_code=0", f"nd_sll={link_layer}"]
        advertises = ["icmp6", f"icmp_type={_ADVERTISEMENT}", "icmp_code=0", f"nd_tll={link_layer}"]
        for address in own:
            yield [*solicits, "ipv6_src=::", _TO_LINK, f"nd_target={address}"]
            yield [*solicits, f"ipv6_src={address}"]
            for target in own:
                yield [*advertises, f"ipv6_src={address}", f"nd_target={target}"]


def _forged() -> Iterator[list[str]]:
    for kind in (_SOLICITATION, _ADVERTISEMENT, *_ROUTERS_ONLY):
        yield ["icmp6", f"icmp_type={kind}"]
