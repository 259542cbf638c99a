"""Policy to flows: everything that the bridge of a provider host's VMs does with a frame. Pure.

Counters are the packet counts of flows, told apart by their cookies; those flows follow from the ports and virtual
subnets alone, so that a record that changes takes no count away.
"""

from __future__ import annotations

from collections.abc import Iterator

from nvgre_node.choices import Carries
from nvgre_node.dataplane.base import NO_SUBNET, Drop
from nvgre_node.dataplane.openvswitch import answering, filtering, receiving, routes, sending
from nvgre_node.dataplane.openvswitch.pipeline import (
    CARRIED,
    TAGGED,
    Kind,
    Reg,
    Table,
    View,
    again,
    cookie,
    copied,
    drops,
    flow,
    is_,
    load,
    onward,
)
from nvgre_node.policy import Port


def flows(view: View) -> Iterator[str]:
    """All flows of the bridge that VMs are on."""
    for interface in view.policy.interfaces:
        yield from _from_interface(view, view.policy.ports_at(interface))
    yield from _untag(view)
    yield from filtering.flows(view)
    yield from answering.flows(view)
    yield from routes.flows(view)
    yield from sending.flows(view)
    yield from receiving.flows(view)
    yield from _delivery(view)


def _from_interface(view: View, ports: tuple[Port, ...]) -> Iterator[str]:
    """Which port, and so which virtual subnet, a frame of a VM belongs to (I5)."""
    of_port = f"in_port={view.of_port(ports[0])}"
    if len(ports) == 1 and ports[0].vid is None:
        yield flow(Table.ARRIVE, 100, [of_port], _entered(view, ports[0]))
        return
    for port in ports:
        if port.vid is not None:
            yield flow(Table.ARRIVE, 100, [of_port, f"dl_vlan={port.vid}"], _entered(view, port))
        else:  # without a tag, or with VLAN id 0, which says a priority only
            yield flow(Table.ARRIVE, 100, [of_port, "vlan_tci=0/0x1000"], _entered(view, port))
            yield flow(Table.ARRIVE, 100, [of_port, "vlan_tci=0x1000/0x1fff"], _entered(view, port))
    if all(port.vid is not None for port in ports):
        yield drops(Table.ARRIVE, 90, [of_port, "vlan_tci=0/0x1000"], Drop.UNTAGGED, NO_SUBNET)
        yield drops(Table.ARRIVE, 90, [of_port, "vlan_tci=0x1000/0x1fff"], Drop.UNTAGGED, NO_SUBNET)
    yield drops(Table.ARRIVE, 80, [of_port], Drop.UNKNOWN_VLAN, NO_SUBNET)


def _entered(view: View, port: Port) -> list[str]:
    number = view.number(port)
    return [load(Reg.VSID, port.vsid), load(Reg.TO_VSID, port.vsid), load(Reg.FROM, number), onward(Table.UNTAG)]


def _untag(view: View) -> Iterator[str]:
    """Takes tags off (I4, I5): the two that Open vSwitch can see. What then still has one does not travel.

    Nor does what is neither IP nor ARP, if these alone are carried.
    """
    for tags in (0,) if view.native else (0, 1):
        had = [] if view.native else [is_(Reg.TAGS, tags)]
        has = [] if view.native else [load(Reg.TAGS, tags + 1)]
        yield flow(Table.UNTAG, 100, [TAGGED, *had], ["pop_vlan", *has, again(Table.UNTAG)])
    for ethertype in (0x8100, 0x88A8, 0x9100):
        yield drops(Table.UNTAG, 90, [f"dl_type=0x{ethertype:x}"], Drop.TAG_DEPTH, NO_SUBNET)
    if view.policy.nve.carries is Carries.IP:
        for kind in CARRIED:
            yield flow(Table.UNTAG, 80, [kind], [onward(Table.CHECK_MAC)])
        for vsid in view.policy.vsids:
            yield drops(Table.UNTAG, 70, [is_(Reg.VSID, vsid)], Drop.NOT_IP, vsid)
    yield flow(Table.UNTAG, 0, [], [onward(Table.CHECK_MAC)])


def _delivery(view: View) -> Iterator[str]:
    """What a VM is given, in the VLAN of its port; to the VM that sent it, too, if it is an answer of the NVE's own.

    By itself Open vSwitch sends nothing back to where it came from, not even to another port of a trunk.
    """
    for vsid in view.policy.vsids:
        own = [port for port in view.policy.ports if port.vsid == vsid]
        copies = [copied(load(Reg.TO, view.number(port)), load(Reg.COPY, 1), again(Table.ACL_IN)) for port in own]
        yield flow(Table.LOCAL_COPIES, 100, [is_(Reg.TO_VSID, vsid)], copies)
        unicast = [is_(Reg.VSID, vsid), is_(Reg.COPY, 0)]
        yield flow(
            Table.COUNT, 100, [*unicast, is_(Reg.FROM, 0)], [onward(Table.DELIVER)], cookie(Kind.DECAPSULATED, vsid)
        )
        yield flow(Table.COUNT, 90, unicast, [onward(Table.DELIVER)], cookie(Kind.LOCAL, vsid))
    yield flow(Table.COUNT, 0, [], [onward(Table.DELIVER)])
    for number, port in view.numbered:
        tag = [] if port.vid is None else ["push_vlan:0x8100", f"set_field:{0x1000 | port.vid}->vlan_vid"]
        shared = ["set_field:0->in_port"] if len(view.policy.ports_at(port.interface)) > 1 else []
        yield flow(Table.DELIVER, 100, [is_(Reg.TO, number)], [*tag, *shared, f"output:{view.of_port(port)}"])
