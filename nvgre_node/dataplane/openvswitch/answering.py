"""What the NVE answers: ARP and Neighbour Discovery, for the router, and for VMs if it is their proxy (S2). Pure.

The question becomes the answer: fields are swapped and set in place, and the frame goes back where it came from. So
the answer has the options that the question had, and a solicitation that does not say who asks, as those to a group
must (RFC 4861 section 4.3), is left to the VM that it is about.
"""

from __future__ import annotations

from collections.abc import Iterator

from nvgre_node.choices import Neighbours, RecordType
from nvgre_node.dataplane.base import Drop
from nvgre_node.dataplane.openvswitch.pipeline import (
    GROUP,
    Kind,
    Reg,
    Table,
    View,
    again,
    cookie,
    drops,
    flow,
    is_,
    onward,
)
from nvgre_node.policy import UNKNOWN_CA, Address, LookupRecord
from nvgre_node.routing import ROUTER_MAC

_NS = ["icmp6", "icmp_type=135", "icmp_code=0", "nw_ttl=255"]
_NA = ["icmp6", "icmp_type=136", "icmp_code=0", "nw_ttl=255"]
_ROUTER, _SOLICITED, _OVERRIDE = 0x80, 0x40, 0x20
_ALL_NODES, _ALL_NODES_MAC = "ff02::1", "33:33:00:00:00:01"
BACK = ["move:NXM_NX_REG2[]->NXM_NX_REG3[]", "set_field:0->in_port", onward(Table.DELIVER)]
"""Back to the port that a frame came from, past its list: the port is no longer the one that it came in at."""


def flows(view: View) -> Iterator[str]:
    """The questions that are answered; all others go on."""
    for router in view.policy.routers:
        if router.vsid not in view.policy.vsids:
            continue
        for address in router.addresses:
            for destination in (GROUP, f"dl_dst={ROUTER_MAC}"):
                yield from _answers(router.vsid, address, ROUTER_MAC, 300, [destination], is_router=True)
    if view.policy.nve.neighbours is Neighbours.PROXY:
        for vsid in view.policy.vsids:
            yield from _proxy(view, vsid)
    yield flow(Table.ANSWER, 0, [], [onward(Table.SEND)])


def _proxy(view: View, vsid: int) -> Iterator[str]:
    own = [record for record in view.policy.records if record.vsid == vsid]
    for record in own:
        if record.ca != UNKNOWN_CA:
            is_gateway = record.type is RecordType.GATEWAY_WILDCARD
            yield from _answers(vsid, record.ca, record.mac, 200, [GROUP], is_router=is_gateway)
            yield from _own_address(view, record)
    if any(record.type is RecordType.L2ONLY for record in own):
        return
    subnet = is_(Reg.TO_VSID, vsid)
    for question in (["arp", "arp_op=1"], _NS):
        yield drops(Table.ANSWER, 100, [subnet, GROUP, *question], Drop.UNKNOWN_NEIGHBOUR, vsid)
    for said in (["arp"], _NA):
        yield drops(Table.ANSWER, 90, [subnet, GROUP, *said], Drop.ANNOUNCEMENT, vsid)


def _own_address(view: View, record: LookupRecord) -> Iterator[str]:
    """Silence tells a VM that asks for its own CA that nobody else has it."""
    port = view.local_port(record)
    if port is None or port.name != record.vm:
        return
    asks = [is_(Reg.FROM, view.number(port)), GROUP, *_asks(record.ca)]
    yield drops(Table.ANSWER, 250, asks, Drop.OWN_ADDRESS, record.vsid)


def _asks(address: Address) -> list[str]:
    if address.version == 4:
        return ["arp", "arp_op=1", f"arp_tpa={address}"]
    return [*_NS, f"nd_target={address}"]


def _answers(
    vsid: int, address: Address, mac: str, priority: int, destination: list[str], *, is_router: bool
) -> Iterator[str]:
    """The answer to whoever asks for an address in a virtual subnet."""
    match, counts = [is_(Reg.TO_VSID, vsid), *destination, *_asks(address)], cookie(Kind.ANSWERED, vsid)
    if address.version == 4:
        yield flow(Table.ANSWER, priority, match, [*_reply(address, mac), *BACK], counts)
        return
    flags = _OVERRIDE | (_ROUTER if is_router else 0)
    to_asker = ["move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[]", "move:NXM_NX_IPV6_SRC[]->NXM_NX_IPV6_DST[]"]
    solicited = [*to_asker, *_advertisement(address, mac, flags | _SOLICITED)]
    yield flow(Table.ANSWER, priority, match, solicited, counts)
    to_all = [f"set_field:{_ALL_NODES_MAC}->eth_dst", f"set_field:{_ALL_NODES}->ipv6_dst"]
    yield flow(Table.ANSWER, priority + 1, [*match, "nd_sll=00:00:00:00:00:00"], [onward(Table.SEND)])
    nobody = [*match, "ipv6_src=::"]  # who asks has no address yet
    yield flow(Table.ANSWER, priority + 2, nobody, [*to_all, *_advertisement(address, mac, flags)], counts)
    made = [is_(Reg.TO_VSID, vsid), f"dl_src={mac}", *_NA, f"nd_target={address}"]
    yield flow(Table.ADVERTISE, 100, made, [f"set_field:{mac}->nd_tll", *BACK])


def _reply(address: Address, mac: str) -> list[str]:
    return [
        "move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[]",
        f"set_field:{mac}->eth_src",
        "set_field:2->arp_op",
        "move:NXM_NX_ARP_SHA[]->NXM_NX_ARP_THA[]",
        "move:NXM_OF_ARP_SPA[]->NXM_OF_ARP_TPA[]",
        f"set_field:{mac}->arp_sha",
        f"set_field:{address}->arp_spa",
    ]


def _advertisement(address: Address, mac: str, flags: int) -> list[str]:
    return [
        f"set_field:{mac}->eth_src",
        f"set_field:{address}->ipv6_src",
        "set_field:136->icmpv6_type",
        f"set_field:0x{flags << 24:x}->nd_reserved",
        "set_field:2->nd_options_type",
        again(Table.ADVERTISE),  # the target's MAC address can be set only in what is an advertisement already
    ]
