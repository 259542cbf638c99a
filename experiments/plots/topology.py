"""The picture of a network: VMs in their hosts, the tunnels of their virtual subnets, the fabric that carries them."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch, Patch, PathPatch
from matplotlib.path import Path

from experiments.plots import places, style
from experiments.plots.places import Box, Places, Point, Tunnel
from nvgre_node.fabric import Fabric, FabricLink
from nvgre_node.outside import attached_to, gateway_of
from nvgre_node.policy import Policy, Vm
from topologies.colours import tenant_colours

_LABELLED_LINKS = 8
"""Up to so many links, each has its own label."""
_LETTER = 0.12
"""Inches that a letter of an address takes in a host's box."""
_TITLE, _LEGEND, _MARGIN = 0.7, 0.45, 0.3


def draw(policy: Policy, fabric: Fabric) -> Figure:
    """Hosts with PA and NVE, their VMs with CA and MAC, tunnels by VSID, links with MTU (bytes of IP packet)."""
    at = Places(policy, fabric)
    colours = tenant_colours(subnet.tenant for subnet in policy.subnets)
    legend = _LEGEND * -(-(len(policy.subnets) + 1) // 3)
    frame = at.frame
    width, height = frame.width + 2 * _MARGIN, frame.height + _TITLE + legend + 2 * _MARGIN
    with style.look():
        figure = style.new_figure(height, width, laid_out=False)
        axes = figure.add_axes((0, 0, 1, 1))
        style.bare(axes)
        axes.set_xlim(frame.x - _MARGIN, frame.right + _MARGIN)
        axes.set_ylim(frame.y - _MARGIN - legend, frame.y + frame.height + _TITLE + _MARGIN)
        axes.text(frame.x, frame.y + frame.height + 0.45, headline(policy), fontsize=20, fontweight="bold", va="center")
        _draw_fabric(axes, at)
        for tunnel in at.tunnels:
            _draw_tunnel(axes, tunnel, colours[tunnel.subnet.tenant])
        _draw_hosts(axes, at, colours)
        _draw_outside(axes, at, colours)
        _legend(axes, policy, fabric, colours)
    return figure


def headline(policy: Policy) -> str:
    """What there is, in numbers."""
    tenants = len({subnet.tenant for subnet in policy.subnets})
    counts = {"provider host": len(policy.nves), "tenant": tenants, "virtual subnet": len(policy.subnets)}
    return ", ".join(f"{n} {what}{'' if n == 1 else 's'}" for what, n in {**counts, "VM": len(policy.vms)}.items())


def _round(axes: Axes, box: Box, fill: str, edge: str, width: float = 1.5, zorder: float = 3) -> None:
    shape = FancyBboxPatch((box.x, box.y), box.width, box.height, boxstyle="round,pad=0,rounding_size=0.12")
    shape.set(facecolor=fill, edgecolor=edge, linewidth=width, zorder=zorder)
    axes.add_patch(shape)


def _draw_hosts(axes: Axes, at: Places, colours: dict[str, str]) -> None:
    for host, box in at.hosts.items():
        _round(axes, box, "#F6F8FA", style.MUTED)
        x, _ = box.centre
        top = box.height - places.HEADER / 2 - 0.02
        axes.text(x, top, host, fontsize=16, fontweight="bold", ha="center", va="center", zorder=5)
        _round(axes, Box(box.x, 0, box.width, places.NVE_HEIGHT), "#3C4650", style.MUTED)
        words = f"NVE   PA {_as_many_as_fit(list(map(str, at.policy.nve(host).pas)), box.width)}"
        axes.text(x, places.NVE_HEIGHT / 2, words, fontsize=14, color="white", ha="center", va="center", zorder=5)
    for name, box in at.vms.items():
        vm = at.policy.vm(name)
        _draw_vm(axes, vm, box, colours[at.policy.tenant_of(vm)])


def _as_many_as_fit(pas: list[str], width: float) -> str:
    """The first of a host's PAs, as many as its box (inches) has room for, and how many more there are."""
    for shown in range(len(pas), 1, -1):
        rest = f" and {len(pas) - shown} more" if shown < len(pas) else ""
        if len(words := ", ".join(pas[:shown]) + rest) * _LETTER < width - 1.2:
            return words
    return pas[0] + (f" and {len(pas) - 1} more" if len(pas) > 1 else "")


def _draw_vm(axes: Axes, vm: Vm, box: Box, colour: str) -> None:
    _round(axes, box, style.PAPER, colour, width=3, zorder=4)
    x = box.centre[0]
    where = [f"on {vm.behind.port}, VLAN {vm.behind.vid}"] if vm.behind else []
    lines = [*(f"CA {ca}" for ca in vm.cas), f"MAC {vm.mac}", *where]
    top = box.y + box.height - 0.27
    axes.text(x, top, vm.name, fontsize=14, fontweight="bold", color=colour, ha="center", va="center", zorder=5)
    for i, line in enumerate(lines, start=1):
        axes.text(x, top - i * places.LINE - 0.02, line, fontsize=12, ha="center", va="center", zorder=5)


def _draw_tunnel(axes: Axes, tunnel: Tunnel, colour: str) -> None:
    control = -tunnel.depth * 4 / 3  # a cubic curve reaches three quarters of the way to its control points
    corners = [(tunnel.start, 0.0), (tunnel.start, control), (tunnel.end, control), (tunnel.end, 0.0)]
    curve = PathPatch(Path(corners, [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4]))
    curve.set(fill=False, edgecolor=colour, linewidth=5, capstyle="round", zorder=2)
    axes.add_patch(curve)
    words = axes.text((tunnel.start + tunnel.end) / 2, -tunnel.depth, f"VSID {tunnel.subnet.vsid}", zorder=6)
    words.set(fontsize=13, fontweight="bold", color=colour, ha="center", va="center")
    words.set_bbox({"facecolor": style.PAPER, "edgecolor": "none", "pad": 2})


def _draw_fabric(axes: Axes, at: Places) -> None:
    for link in at.fabric.links:
        corners = at.wire(link)
        axes.plot(*zip(*corners, strict=True), color=style.PATHS["underlay"], linewidth=2.5, zorder=1)
        if len(at.fabric.links) <= _LABELLED_LINKS:
            _label_link(axes, at, link)
    for router, box in at.routers.items():
        _round(axes, box, style.PAPER, style.MUTED, width=2)
        x, y = box.centre
        axes.text(x, y + 0.15, router, fontsize=15, fontweight="bold", ha="center", va="center", zorder=5)
        addresses = [str(address.ip) for address in at.fabric.addresses(router)]
        few = "  ".join(addresses) if len(addresses) <= 2 else f"{len(addresses)} links"
        axes.text(x, y - 0.17, few, fontsize=11, ha="center", va="center", zorder=5)


def _draw_outside(axes: Axes, at: Places, colours: dict[str, str]) -> None:
    """Physical networks, and what joins gateways and sites to them, with the addresses that they have there."""
    for network in at.policy.outside:
        box = at.outside[network.name]
        _round(axes, box, "#FFF8E5", style.MUTED, width=2)
        x, y = box.centre
        axes.text(x, y + 0.15, network.name, fontsize=15, fontweight="bold", ha="center", va="center", zorder=5)
        axes.text(x, y - 0.17, "  ".join(map(str, network.addresses)), fontsize=11, ha="center", va="center", zorder=5)
        if network.behind:
            owner = gateway_of(at.policy, network)
            colour = colours[at.policy.tenant_of(owner)] if owner else style.MUTED
            _draw_leg(axes, at.tunnel_to(network.name, network.behind), [str(own.ip) for own in network.at], colour)
    for vm in at.policy.vms:
        if vm.leg:
            words = [str(vm.leg.mode), *(str(own.ip) for own in vm.leg.addresses)]
            colour = colours[at.policy.tenant_of(vm)]
            _draw_leg(axes, at.leg(vm, attached_to(at.policy, vm.leg)), words, colour)


def _draw_leg(axes: Axes, corners: Sequence[Point], words: Sequence[str], colour: str) -> None:
    """A line with words on its upper end, below where it turns."""
    axes.plot(*zip(*corners, strict=True), color=colour, linewidth=2.5, zorder=3.5)
    x, y = corners[0][0], max(y for _, y in corners[:2]) - places.OUTSIDE_GAP * 0.4
    label = axes.text(x, y, "\n".join(words), fontsize=12, color=colour, ha="center", va="center", zorder=6)
    label.set_bbox({"facecolor": style.PAPER, "edgecolor": "none", "pad": 2})


def _label_link(axes: Axes, at: Places, link: FabricLink) -> None:
    words = "\n".join([*dict.fromkeys(str(address.network) for address in link.a.addresses), f"MTU {at.fabric.mtu}"])
    label = axes.text(*at.label(link), words, fontsize=12, ha="center", va="center", zorder=2)
    label.set_bbox({"facecolor": style.PAPER, "edgecolor": "none", "pad": 2})


def _legend(axes: Axes, policy: Policy, fabric: Fabric, colours: dict[str, str]) -> None:
    handles: list[Patch | Line2D] = [
        Patch(color=colours[subnet.tenant], label=f"{subnet.tenant}: {subnet.name}, VSID {subnet.vsid}")
        for subnet in policy.subnets
    ]
    grey = style.PATHS["underlay"]
    handles.append(Line2D([], [], color=grey, linewidth=3, label=f"link of the underlay, MTU {fabric.mtu} bytes"))
    axes.legend(handles=handles, loc="lower center", ncols=min(len(handles), 3), fontsize=13, borderaxespad=0.6)
