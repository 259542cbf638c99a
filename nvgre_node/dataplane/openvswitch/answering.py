"""What the NVE answers: ARP and Neighbour Discovery, for the router, and for VMs if it is their proxy (S2). Pure.

The question becomes the answer: fields are swapped and set in place, and the frame goes back where it came from. So
the answer has the options that the question had, and a solicitation that does not say who asks, as those to a group
must (RFC 4861 section 4.3), is left to the VM that it is about.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nvgre_node.choices import Neighbours, RecordType
from nvgre_node.dataplane.base import Drop
from nvgre_node.dataplane.openvswitch.pipeline import (
    ADVERTISER,
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
    load,
    onward,
)
from nvgre_node.policy import UNKNOWN_CA, Address, LookupRecord, NvePolicy
from nvgre_node.routing import ROUTER_MAC

_NS = ["icmp6", "icmp_type=135", "icmp_code=0", "nw_ttl=255"]
_NA = ["icmp6", "icmp_type=136", "icmp_code=0", "nw_ttl=255"]
_ROUTER, _SOLICITED, _OVERRIDE = 0x80, 0x40, 0x20
_ALL_NODES, _ALL_NODES_MAC = "ff02::1", "33:33:00:00:00:01"
BACK = ["move:NXM_NX_REG2[]->NXM_NX_REG3[]", "set_field:0->in_port", onward(Table.DELIVER)]
"""Back to the port that a frame came from, past its list: the port is no longer the one that it came in at."""

_APART = ["push_vlan:0x8100", "move:NXM_NX_REG2[0..11]->OXM_OF_VLAN_VID[0..11]", f"output:{ADVERTISER}"]


@dataclass(frozen=True)
class Answered:
    """Somebody whose neighbours are told of it by the NVE: an address in a virtual subnet, and its MAC address."""

    vsid: int
    address: Address
    mac: str
    priority: int
    destinations: tuple[str, ...]
    is_router: bool

    @property
    def flags(self) -> int:
        """Those of an advertisement that nobody has asked for."""
        return _OVERRIDE | (_ROUTER if self.is_router else 0)


def flows(view: View) -> Iterator[str]:
    """The questions that are answered; all others go on."""
    for one in _answered(view.policy):
        yield from _answers(view, one)
    if view.policy.nve.neighbours is Neighbours.PROXY:
        for vsid in view.policy.vsids:
            yield from _proxy(view, vsid)
    if view.advertises_apart:
        for number, _ in view.numbered:
            told = ["pop_vlan", load(Reg.TO, number), onward(Table.DELIVER)]
            yield flow(Table.ARRIVE, 100, [f"in_port={ADVERTISER}", f"dl_vlan={number}"], told)
    yield flow(Table.ANSWER, 0, [], [onward(Table.SEND)])


def advertisements(view: View) -> Iterator[str]:
    """The flows of a bridge in user space that has solicitations become advertisements, where the kernel forwards.

    The kernel cannot be told to write flags and types of options. Frames go there, and come back, with the number of
    the asking VM's port as VLAN id.
    """
    for number, port in view.numbered:
        yield flow(Table.ARRIVE, 100, [f"dl_vlan={number}"], [load(Reg.TO_VSID, port.vsid), onward(Table.ANSWER)])
    for one in _answered(view.policy):
        if one.address.version == 6:
            yield from _advertised(one, ["in_port"])


def _answered(policy: NvePolicy) -> Iterator[Answered]:
    """Everybody for whom the NVE answers: the routers, and all VMs if it is their proxy."""
    for router in policy.routers:
        if router.vsid in policy.vsids:
            to = (GROUP, f"dl_dst={ROUTER_MAC}")
            for address in router.addresses:
                yield Answered(router.vsid, address, ROUTER_MAC, 300, to, is_router=True)
    for record in policy.records if policy.nve.neighbours is Neighbours.PROXY else ():
        if record.ca != UNKNOWN_CA and record.vsid in policy.vsids:
            is_gateway = record.type is RecordType.GATEWAY_WILDCARD
            yield Answered(record.vsid, record.ca, record.mac, 200, (GROUP,), is_router=is_gateway)


def _proxy(view: View, vsid: int) -> Iterator[str]:
    """What a proxy does not answer, and lets nobody else hear."""
    own = [record for record in view.policy.records if record.vsid == vsid]
    for record in own:
        if record.ca != UNKNOWN_CA:
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


def _answers(view: View, one: Answered) -> Iterator[str]:
    """The answers to whoever asks for an address in a virtual subnet, by a frame to one of some destinations."""
    counts = cookie(Kind.ANSWERED, one.vsid)
    if one.address.version == 6 and not view.advertises_apart:
        yield from _advertised(one, BACK, counts)
    for destination in one.destinations:
        match = [is_(Reg.TO_VSID, one.vsid), destination, *_asks(one.address)]
        if one.address.version == 4:
            yield flow(Table.ANSWER, one.priority, match, [*_reply(one.address, one.mac), *BACK], counts)
            continue
        yield flow(Table.ANSWER, one.priority + 1, [*match, "nd_sll=00:00:00:00:00:00"], [onward(Table.SEND)])
        if view.advertises_apart:
            for priority, asker in ((one.priority, []), (one.priority + 2, ["ipv6_src=::"])):
                yield flow(Table.ANSWER, priority, [*match, *asker], _APART, counts)


def _advertised(one: Answered, back: list[str], counts: int = 0) -> Iterator[str]:
    """The answers to solicitations: to who asks, and to all if that has no address yet."""
    to_asker = ["move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[]", "move:NXM_NX_IPV6_SRC[]->NXM_NX_IPV6_DST[]"]
    to_all = [f"set_field:{_ALL_NODES_MAC}->eth_dst", f"set_field:{_ALL_NODES}->ipv6_dst"]
    subnet = is_(Reg.TO_VSID, one.vsid)
    for destination in one.destinations:
        match = [subnet, destination, *_asks(one.address)]
        solicited = _advertisement(one.address, one.mac, one.flags | _SOLICITED)
        yield flow(Table.ANSWER, one.priority, match, [*to_asker, *solicited], counts)
        to_nobody = _advertisement(one.address, one.mac, one.flags)
        yield flow(Table.ANSWER, one.priority + 2, [*match, "ipv6_src=::"], [*to_all, *to_nobody], counts)
    made = [subnet, f"dl_src={one.mac}", *_NA, f"nd_target={one.address}"]
    yield flow(Table.ADVERTISE, 100, made, [f"set_field:{one.mac}->nd_tll", *back])


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
