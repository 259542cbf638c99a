"""The distributed router: IP packets to its MAC address go on into the virtual subnet of their destination (X6). Pure.

It is silent about what it cannot deliver, since Open vSwitch makes no ICMP errors; it answers echo requests.
"""

from __future__ import annotations

from collections.abc import Iterator

from nvgre_node.dataplane.base import Drop
from nvgre_node.dataplane.openvswitch.answering import BACK
from nvgre_node.dataplane.openvswitch.pipeline import (
    NEXT_HOP6,
    Kind,
    Reg,
    Table,
    View,
    cookie,
    drops,
    flow,
    is_,
    load,
    onward,
)
from nvgre_node.policy import UNKNOWN_CA, Address
from nvgre_node.routing import ROUTER_MAC, Route

_IP = {4: "ip", 6: "ipv6"}
_FIELD = {4: "nw", 6: "ipv6"}
_MARTIANS = {
    4: ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3"),
    6: ("ff00::/8", "fe80::/10", "::/127"),
}
_TTL = 64


def flows(view: View) -> Iterator[str]:
    """From the router's MAC address to the next hop's. All drops are counted where the packet came from."""
    if not view.policy.routers:
        return
    for router in view.policy.routers:
        if router.vsid in view.policy.vsids:
            yield from _from_subnet(router.vsid)
    for route in view.policy.routes:
        vsids = [router.vsid for router in view.policy.routers if router.domain == route.domain]
        for vsid in sorted(set(vsids) & set(view.policy.vsids)):
            yield _by_route(route, vsid)
    for vsid in view.policy.vsids:
        yield from _next_hop_rest(vsid)
    yield from _next_hops(view)


def _from_subnet(vsid: int) -> Iterator[str]:
    subnet = is_(Reg.VSID, vsid)
    for version, martians in _MARTIANS.items():
        for prefix in martians:
            for end in ("src", "dst"):
                match = [subnet, _IP[version], f"{_FIELD[version]}_{end}={prefix}"]
                yield drops(Table.ROUTE, 500, match, Drop.MARTIAN, vsid)
        yield drops(Table.ROUTE, 10, [subnet, _IP[version]], Drop.NO_CUSTOMER_ROUTE, vsid)
    yield drops(Table.ROUTE, 5, [subnet], Drop.MALFORMED, vsid)  # not even IP
    yield flow(Table.ROUTED, 100, [subnet], [onward(Table.RECORDS)], cookie(Kind.ROUTED, vsid))


def _by_route(route: Route, vsid: int) -> str:
    """The longest prefix has the highest priority."""
    version = route.prefix.version
    match = [is_(Reg.VSID, vsid), _IP[version]]
    match += [f"{_FIELD[version]}_dst={route.prefix}"] if route.prefix.prefixlen else []
    return flow(
        Table.ROUTE,
        100 + route.prefix.prefixlen,
        match,
        [load(Reg.TO_VSID, route.vsid), _to_register(route.next_hop, version), onward(Table.NEXT_HOP)],
    )


def _to_register(next_hop: Address | None, version: int) -> str:
    """The next hop is that of the route, or the destination itself."""
    if version == 4:
        return load(Reg.NEXT_HOP, int(next_hop)) if next_hop else "move:NXM_OF_IP_DST[]->NXM_NX_REG8[]"
    return f"set_field:0x{int(next_hop):x}->{NEXT_HOP6}" if next_hop else "move:NXM_NX_IPV6_DST[]->NXM_NX_XXREG2[]"


def _is_next_hop(vsid: int, address: Address) -> list[str]:
    register = Reg.NEXT_HOP if address.version == 4 else NEXT_HOP6
    return [is_(Reg.TO_VSID, vsid), _IP[address.version], f"{register}=0x{int(address):x}"]


def _next_hops(view: View) -> Iterator[str]:
    for router in view.policy.routers:
        for address in router.addresses:
            yield from _to_router(view, router.vsid, address)
    for record in view.policy.records:
        if record.ca != UNKNOWN_CA and view.policy.router(record.vsid):
            on = [f"set_field:{record.mac}->eth_dst", f"set_field:{ROUTER_MAC}->eth_src", "dec_ttl"]
            match = _is_next_hop(record.vsid, record.ca)
            yield flow(Table.NEXT_HOP, 100, match, [*on, onward(Table.ROUTED)])


def _to_router(view: View, router_vsid: int, address: Address) -> Iterator[str]:
    """A packet to the router itself: an echo request is answered, and nothing else is there to take it."""
    match = _is_next_hop(router_vsid, address)
    for vsid in view.policy.vsids:
        own, counts = is_(Reg.VSID, vsid), cookie(Kind.ANSWERED, vsid)
        if address.version == 4:
            echo = ["nw_proto=1", "icmp_type=8", "icmp_code=0", "ip_frag=no"]
            swapped, reply = "NXM_OF_IP", "set_field:0->icmp_type"
        else:
            echo = ["nw_proto=58", "icmp_type=128", "icmp_code=0", "ip_frag=no"]
            swapped, reply = "NXM_NX_IPV6", "set_field:129->icmpv6_type"
        back = [
            f"push:{swapped}_SRC[]",
            f"move:{swapped}_DST[]->{swapped}_SRC[]",
            f"pop:{swapped}_DST[]",
            reply,
            f"set_field:{_TTL}->nw_ttl",
            "move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[]",
            f"set_field:{ROUTER_MAC}->eth_src",
        ]
        yield flow(Table.NEXT_HOP, 400, [own, *match, *echo], [*back, *BACK], counts)
        yield drops(Table.NEXT_HOP, 300, [own, *match], Drop.ROUTER_ADDRESS, vsid)


def _next_hop_rest(vsid: int) -> Iterator[str]:
    own = is_(Reg.VSID, vsid)
    for version in _IP.values():
        for ttl in (0, 1):
            yield drops(Table.NEXT_HOP, 200, [own, version, f"nw_ttl={ttl}"], Drop.TTL_EXCEEDED, vsid)
    yield drops(Table.NEXT_HOP, 0, [own], Drop.UNKNOWN_NEIGHBOUR, vsid)
