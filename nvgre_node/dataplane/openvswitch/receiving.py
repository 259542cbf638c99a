"""From the wire to a VM: every check that a received packet must pass, then the inner frame to whom it is for. Pure.

What Open vSwitch itself refuses of a GRE header never gets here.
"""

from __future__ import annotations

from collections.abc import Iterator

from nvgre_node.choices import Carries, UnknownUnicast
from nvgre_node.dataplane.base import NO_SUBNET, Drop
from nvgre_node.dataplane.openvswitch.pipeline import (
    AT_ECT_1,
    CARRIED,
    GROUP,
    TAGGED,
    TUNNEL_PORTS,
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
    tun,
)
from nvgre_node.wire import VSID_FIRST

_TAGGED = (TAGGED, "dl_type=0x8100", "dl_type=0x88a8", "dl_type=0x9100")


def flows(view: View) -> Iterator[str]:
    """Everything that arrives by a tunnel. Its FlowID is no part of any match (G10)."""
    for vsid in view.policy.vsids:
        subnet = f"tun_id=0x{vsid << 8:x}/0xffffff00"
        entered = [load(Reg.VSID, vsid), load(Reg.TO_VSID, vsid), onward(Table.CONGESTION)]
        for tunnel in TUNNEL_PORTS.values():
            for pa in view.policy.senders[vsid]:
                yield flow(Table.ARRIVE, 60, [f"in_port={tunnel}", subnet, f"{tun('src', pa)}={pa}"], entered)
            yield drops(Table.ARRIVE, 50, [f"in_port={tunnel}", subnet], Drop.SOURCE_PA, vsid)  # C1
        yield from _in_subnet(view, vsid)
    yield from _congestion(view)
    for tunnel in TUNNEL_PORTS.values():
        for reserved in (f"tun_id=0/0x{0x100000000 - (VSID_FIRST << 8):x}", "tun_id=0xffffff00/0xffffff00"):  # V1, V2
            yield drops(Table.ARRIVE, 40, [f"in_port={tunnel}", reserved], Drop.RESERVED_VSID, NO_SUBNET)
        yield drops(Table.ARRIVE, 30, [f"in_port={tunnel}"], Drop.UNKNOWN_VSID, NO_SUBNET)  # T6


def _congestion(view: View) -> Iterator[str]:
    """What is carried at all; and an outer ECT(1) goes in where the inner one is ECT(0).

    The rest of RFC 6040's table Open vSwitch does itself.
    """
    for end in AT_ECT_1.values() if view.native else ():
        for ip in ("ip", "ipv6"):
            match = [f"{tun('dst', end)}={end}", ip, "nw_ecn=2"]
            yield flow(Table.CONGESTION, 100, match, ["set_field:1->ip_ecn", onward(Table.RECEIVE)])
    if view.policy.nve.carries is Carries.IP:
        for kind in (*CARRIED, *_TAGGED):  # what has a tag is dropped for that
            yield flow(Table.CONGESTION, 90, [kind], [onward(Table.RECEIVE)])
        for vsid in view.policy.vsids:
            yield drops(Table.CONGESTION, 80, [is_(Reg.TO_VSID, vsid)], Drop.NOT_IP, vsid)
    yield flow(Table.CONGESTION, 0, [], [onward(Table.RECEIVE)])


def _in_subnet(view: View, vsid: int) -> Iterator[str]:
    subnet, floods = is_(Reg.TO_VSID, vsid), view.policy.nve.unknown is UnknownUnicast.FLOOD
    for tag in _TAGGED:
        yield drops(Table.RECEIVE, 120, [subnet, tag], Drop.INNER_TAG, vsid)  # I6
    to_all = flow(Table.RECEIVE, 110, [subnet, GROUP], [onward(Table.LOCAL_COPIES)], cookie(Kind.DECAPSULATED, vsid))
    yield to_all
    for record in view.records:
        if record.vsid != vsid:
            continue
        match, port = [subnet, f"dl_dst={record.mac}"], view.local_port(record)
        if port is not None:
            yield flow(Table.RECEIVE, 100, match, [load(Reg.TO, view.number(port)), onward(Table.ACL_IN)])
        elif floods:
            yield drops(Table.RECEIVE, 100, match, Drop.NOT_LOCAL, vsid)
    if floods:
        unknown = [onward(Table.LOCAL_COPIES)]
        yield flow(Table.RECEIVE, 90, [subnet], unknown, cookie(Kind.DECAPSULATED, vsid))
    else:  # split horizon: the wire never feeds the wire
        yield drops(Table.RECEIVE, 90, [subnet], Drop.NOT_LOCAL, vsid)
