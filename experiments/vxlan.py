"""The peer of the throughput experiment: the kernel's own VXLAN between the same hosts, for the same VMs (RFC 7348)."""

from __future__ import annotations

from experiments.watch import Place
from nvgre_node.namespace import netlink
from nvgre_node.net import NvgreNet
from nvgre_node.node import ProviderHost, TenantVM

_VNI = 5001
_PORT = 4789
_VM_INTERFACE, _HOST_PORT, _BRIDGE, _TUNNEL = "vxlan-vm", "vxlan-port", "vxlan-br", "vxlan-tun"
ADDRESSES = ("10.250.0.1", "10.250.0.2")


def add(net: NvgreNet, vms: tuple[TenantVM, TenantVM], mtu: int) -> list[Place]:
    """Gives two VMs a second interface, bridged into a VXLAN tunnel between their hosts' PAs; returns what it made.

    This is what an administrator would set up: one Linux bridge per host, static remote, no learning.
    """
    hosts = tuple(net[vm.vm.host] for vm in vms)
    pas = [str(host.policy.nve.pas[0].ip) for host in hosts]
    made = []
    for own, vm, host in zip((0, 1), vms, hosts, strict=True):
        _attach_vm(vm, host, ADDRESSES[own], mtu)
        _attach_tunnel(host, pas[own], pas[1 - own], mtu)
        made += [Place(vm, _VM_INTERFACE), *(Place(host, name) for name in (_HOST_PORT, _BRIDGE, _TUNNEL))]
    return made


def _attach_vm(vm: TenantVM, host: ProviderHost, address: str, mtu: int) -> None:
    with vm.inside(), netlink() as ip:
        peer = {"ifname": _HOST_PORT, "net_ns_pid": host.pid, "mtu": mtu}
        ip.link("add", ifname=_VM_INTERFACE, kind="veth", mtu=mtu, peer=peer)
        index = ip.link_lookup(ifname=_VM_INTERFACE)[0]
        ip.link("set", index=index, state="up")
        ip.addr("add", index=index, address=address, prefixlen=24)


def _attach_tunnel(host: ProviderHost, local: str, remote: str, mtu: int) -> None:
    with host.inside(), netlink() as ip:
        ip.link("add", ifname=_BRIDGE, kind="bridge")
        bridge = ip.link_lookup(ifname=_BRIDGE)[0]
        suffix = "6" if ":" in remote else ""
        ends = {f"vxlan_local{suffix}": local, f"vxlan_group{suffix}": remote}
        tunnel = {"vxlan_id": _VNI, "vxlan_port": _PORT, **ends}
        ip.link("add", ifname=_TUNNEL, kind="vxlan", mtu=mtu, vxlan_learning=False, **tunnel)
        for name in (_TUNNEL, _HOST_PORT):
            ip.link("set", index=ip.link_lookup(ifname=name)[0], master=bridge, state="up")
        ip.link("set", index=bridge, state="up")
