"""From a VM to the wire, or to its neighbours on the same host: the place of each frame, and the tunnel there. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from nvgre_node.choices import Ecn, FlowIds, PaChoice, UnknownUnicast
from nvgre_node.dataplane.base import Drop
from nvgre_node.dataplane.openvswitch.pipeline import (
    GROUP,
    TUNNEL_PORTS,
    UNTAGGED,
    Kind,
    Reg,
    Table,
    View,
    again,
    cookie,
    copied,
    drops,
    exit_of,
    flow,
    is_,
    load,
    onward,
    tun,
)
from nvgre_node.policy import Address, LookupRecord
from nvgre_node.routing import ROUTER_MAC
from nvgre_node.wire import ETHERNET_BYTES, OVERHEAD

_HASHES = {  # by match, what FlowIDs follow from; a datagram's fragments hash alike
    ("ip", "ip_frag=yes"): "symmetric_l3",
    ("ipv6", "ip_frag=yes"): "symmetric_l3",
    ("ip", "ip_frag=no"): "symmetric_l3l4+udp",
    ("ipv6", "ip_frag=no"): "symmetric_l3l4+udp",
    (): "symmetric_l4",
}
_FLOW_ID_BASIS, _PA_BASIS = 1024, 7637
"""Two, so that FlowID and PA of a flow do not follow from each other."""

_ENTROPY, _ANEW = 1, 2
"""Groups of type `select`: one bucket per FlowID, by the datapath's hash of a flow; and buckets that are all alike.

Where one is passed, the datapath looks the frame up anew, and only there are frames that fit counted apart from those
that do not. With a hash in flows' own actions, each TCP or UDP flow would need a flow of its own in the datapath.
Copies go without: behind such a look-up nothing more is done to the original.
"""


def groups() -> Iterator[str]:
    """The groups that flows use where Open vSwitch makes outer headers itself."""
    onward_ = again(Table.TUNNEL)
    ids = ",".join(f"bucket=actions=set_field:{number}/0xff->tun_id,{onward_}" for number in range(256))
    yield f"group_id={_ENTROPY},type=select,selection_method=dp_hash,{ids}"
    yield f"group_id={_ANEW},type=select,selection_method=dp_hash" + f",bucket=actions={onward_}" * 2


def flows(view: View) -> Iterator[str]:
    """Everything between the check of what a VM sends, and the tunnel."""
    yield from _decide(view)
    for record in view.records:
        yield from _to(view, record)
    yield from _unknown(view)
    yield from _flood(view)
    yield from _source_pas(view)
    yield from _flow_ids(view)
    yield from _tunnels(view)


def _decide(view: View) -> Iterator[str]:
    yield flow(Table.SEND, 100, [GROUP], [onward(Table.FLOOD)])
    for router in view.policy.routers:
        yield flow(Table.SEND, 90, [is_(Reg.TO_VSID, router.vsid), f"dl_dst={ROUTER_MAC}"], [onward(Table.ROUTE)])
    yield flow(Table.SEND, 0, [], [onward(Table.RECORDS)])


def _to(view: View, record: LookupRecord) -> Iterator[str]:
    """The way of unicast frames to a VM."""
    match = [is_(Reg.TO_VSID, record.vsid), f"dl_dst={record.mac}"]
    port = view.local_port(record)
    if port is None:
        yield flow(Table.RECORDS, 100, match, _into_tunnel(view, record.pa, record.deliver_vsid))
        return
    number = view.number(port)
    yield flow(Table.RECORDS, 100, match, [load(Reg.TO, number), onward(Table.ACL_IN)])
    if record.vm == port.name:
        own = [is_(Reg.FROM, number), *match]
        yield drops(Table.RECORDS, 110, own, Drop.OWN_ADDRESS, port.vsid)


def _into_tunnel(view: View, pa: Address, vsid: int) -> list[str]:
    """Has a frame encapsulated for a PA (U1), if it fits; none, if there is no way there."""
    mtu = view.mtus.get(pa)
    if mtu is None:
        return []
    largest = mtu - OVERHEAD[pa.version] + ETHERNET_BYTES
    return [
        f"set_field:{pa}->{tun('dst', pa)}",
        f"set_field:0x{vsid << 8:x}->tun_id",
        load(Reg.TUNNEL, TUNNEL_PORTS[pa.version]),
        f"check_pkt_larger({largest})->NXM_NX_REG5[0]",
        again(Table.SOURCE_PA),
    ]


def _unknown(view: View) -> Iterator[str]:
    """Unicast that no record knows (B6)."""
    yield flow(Table.RECORDS, 0, [], [onward(Table.UNKNOWN)])
    for vsid in view.policy.vsids:
        if view.policy.nve.unknown is UnknownUnicast.FLOOD:
            yield flow(Table.UNKNOWN, 100, [is_(Reg.VSID, vsid)], [onward(Table.FLOOD)])
        else:
            yield drops(Table.UNKNOWN, 100, [is_(Reg.VSID, vsid)], Drop.UNKNOWN_UNICAST, vsid)


def _flood(view: View) -> Iterator[str]:
    """Broadcast and multicast: to every neighbour, and to each other NVE (B5) or to the group of the subnet (B2)."""
    for vsid in view.policy.vsids:
        subnet, own = is_(Reg.TO_VSID, vsid), view.policy.groups.get(vsid)
        default = (own.default,) if own and own.default else view.policy.replicas.get(vsid, ())
        yield flow(Table.FLOOD, 90, [subnet], _copies(view, vsid, default))
        for mac, group in own.by_mac.items() if own else ():
            yield flow(Table.FLOOD, 100, [subnet, f"dl_dst={mac.hex(':')}"], _copies(view, vsid, (group,)))


def _copies(view: View, vsid: int, pas: tuple[Address, ...]) -> list[str]:
    ways = (_into_tunnel(view, pa, vsid) for pa in pas)
    return [load(Reg.COPY, 1), *(copied(*way) for way in ways if way), again(Table.LOCAL_COPIES)]


def _source_pas(view: View) -> Iterator[str]:
    """Which of the own PAs a packet comes from (O6, E3)."""
    nve = view.policy.nve
    for version, tunnel in TUNNEL_PORTS.items():
        own, leaves = nve.pas_of(version), is_(Reg.TUNNEL, tunnel)
        if nve.pa_choice is PaChoice.FLOW and len(own) > 1:
            for match, fields in _HASHES.items():
                chosen = f"multipath({fields},{_PA_BASIS},hrw,{len(own)},0,NXM_NX_REG7[])"
                priority = 100 if match else 90
                yield flow(Table.SOURCE_PA, priority, [*match, leaves], [chosen, again(Table.PA_OF_FLOW)])
            for number, pa in enumerate(own):
                yield flow(Table.PA_OF_FLOW, 100, [leaves, is_(Reg.PA, number)], _from_pa(view, pa))
            continue
        for number, port in view.numbered:
            if (fixed := view.policy.fixed_source_pa(port, version)) is not None:
                yield flow(Table.SOURCE_PA, 100, [leaves, is_(Reg.FROM, number)], _from_pa(view, fixed))


def _from_pa(view: View, pa: Address) -> list[str]:
    if view.native and pa.version == 6:
        return [load(Reg.TUNNEL, exit_of(view.policy.nve, 6, pa, congested=False)), onward(Table.FLOW_ID)]
    return [f"set_field:{pa}->{tun('src', pa)}", onward(Table.FLOW_ID)]


def _flow_ids(view: View) -> Iterator[str]:
    """The lower 8 bits of the key: a hash of the inner flow (G8), or nothing (G9)."""
    by_flow = view.policy.nve.flow_ids is FlowIds.FLOW
    for copy in (0, 1):
        anew = view.native and not copy
        for match, fields in _HASHES.items():
            entropy = f"multipath({fields},{_FLOW_ID_BASIS},hrw,256,0,NXM_NX_TUN_ID[0..7])"
            actions = [entropy] * by_flow + [f"group:{_ANEW}" if anew else onward(Table.TUNNEL)]
            if anew and by_flow and "ip_frag=no" in match:
                actions = [f"group:{_ENTROPY}"]
            yield flow(Table.FLOW_ID, 100 if match else 90, [is_(Reg.COPY, copy), *match], actions)


def _tunnels(view: View) -> Iterator[str]:
    """Out it goes, unless it does not fit.

    Open vSwitch writes the inner ECN outside, but ECT(0) for CE (RFC 3168). What is congested takes tunnels of its own,
    so that flows of the uplink's bridge can tell it, for RFC 6040's sake.
    """
    out, too_big = "output:NXM_NX_REG6[]", [f"{Reg.TOO_BIG}=0x1/0x1"]
    copies_ce = view.native and view.policy.nve.ecn is Ecn.COPY
    yield flow(Table.TUNNEL, 120, too_big, [])  # without a new look-up, all would be counted
    for vsid in view.policy.vsids:
        subnet, counts = is_(Reg.VSID, vsid), cookie(Kind.ENCAPSULATED, vsid)
        if view.native:
            yield drops(Table.TUNNEL, 130, [subnet, is_(Reg.COPY, 0), *too_big], Drop.TOO_BIG, vsid)
        for tunnel, congested in _congested(view) if copies_ce else ():
            for ip in ("ip", "ipv6"):
                match = [subnet, is_(Reg.TUNNEL, tunnel), ip, "nw_ecn=3"]
                yield flow(Table.TUNNEL, 110, match, [f"output:{congested}"], counts)
        for tags, kind in () if view.native else UNTAGGED.items():
            yield flow(Table.TUNNEL, 110, [subnet, is_(Reg.TAGS, tags)], [out], cookie(kind, vsid))
        yield flow(Table.TUNNEL, 100, [subnet], [out], counts)


def _congested(view: View) -> Iterator[tuple[int, int]]:
    """Each tunnel, and that for what is congested."""
    nve = view.policy.nve
    for version in TUNNEL_PORTS:
        for pa in nve.pas_of(6) if version == 6 else (None,):
            yield exit_of(nve, version, pa, congested=False), exit_of(nve, version, pa, congested=True)
