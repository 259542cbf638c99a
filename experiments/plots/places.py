"""Where the parts of a network go in its picture. Pure geometry.

One unit is one inch; y grows upwards and is 0 where the hosts stand.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, pairwise

from nvgre_node.fabric import Fabric, FabricLink
from nvgre_node.outside import attached_to
from nvgre_node.policy import Policy, VirtualSubnet, Vm

VM_WIDTH, LINE, PAD = 2.75, 0.27, 0.2
NVE_HEIGHT, HEADER = 0.6, 0.5
ROUTER_WIDTH, ROUTER_HEIGHT = 2.7, 0.8
OUTSIDE_GAP = 1.2
_ARC_STEP, _LEVEL_STEP = 0.5, 1.7
_INSET = 0.35

Point = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """A rectangle by its lower left corner."""

    x: float
    y: float
    width: float
    height: float

    @property
    def centre(self) -> Point:
        """Its middle."""
        return self.x + self.width / 2, self.y + self.height / 2

    @property
    def right(self) -> float:
        """Its right edge."""
        return self.x + self.width


@dataclass(frozen=True)
class Tunnel:
    """The tunnel of one virtual subnet between two NVEs: where it leaves them, and how deep it hangs."""

    subnet: VirtualSubnet
    start: float
    end: float
    depth: float


@dataclass(frozen=True)
class Places:
    """The picture of one network."""

    policy: Policy
    fabric: Fabric

    @property
    def _hosts(self) -> tuple[str, ...]:
        return tuple(nve.host for nve in self.policy.nves)

    def _vms(self, host: str) -> list[Vm]:
        return [vm for vm in self.policy.vms if vm.host == host]

    @cached_property
    def columns(self) -> int:
        """How many VMs stand side by side in a host."""
        return 2 if len(self._hosts) <= 2 and any(len(self._vms(host)) > 1 for host in self._hosts) else 1

    @cached_property
    def vm_height(self) -> float:
        """The height of every VM: name, addresses, MAC."""
        return (2 + max((len(vm.cas) + bool(vm.behind) for vm in self.policy.vms), default=1)) * LINE + 0.22

    @cached_property
    def hosts(self) -> dict[str, Box]:
        """The boxes of the provider hosts, side by side."""
        rows = max((-(-len(self._vms(host)) // self.columns) for host in self._hosts), default=0)
        width = self.columns * (VM_WIDTH + PAD) + PAD
        height = NVE_HEIGHT + HEADER + rows * (self.vm_height + PAD)
        gap = 1.8 if len(self._hosts) <= 2 else 1.0
        return {host: Box(i * (width + gap), 0, width, height) for i, host in enumerate(self._hosts)}

    @cached_property
    def vms(self) -> dict[str, Box]:
        """The boxes of the VMs, each in that of its host, filled from the top."""
        boxes = {}
        for host, box in self.hosts.items():
            top = box.height - HEADER
            for i, vm in enumerate(self._vms(host)):
                row, column = divmod(i, self.columns)
                x = box.x + PAD + column * (VM_WIDTH + PAD)
                boxes[vm.name] = Box(x, top - (row + 1) * (self.vm_height + PAD) + PAD, VM_WIDTH, self.vm_height)
        return boxes

    @cached_property
    def tunnels(self) -> tuple[Tunnel, ...]:
        """One per virtual subnet and pair of its hosts; the farther apart, the deeper, so that they nest."""
        tunnels = []
        order = {host: i for i, host in enumerate(self._hosts)}
        deepest = max((len(order) - 1) * len(self.policy.subnets) - 1, 1)
        for number, subnet in enumerate(self.policy.subnets):
            members = sorted({vm.host for vm in self.policy.vms if vm.subnet == subnet.name}, key=order.__getitem__)
            for a, b in combinations(members, 2):
                level = (order[b] - order[a] - 1) * len(self.policy.subnets) + number
                room = self.hosts[a].width * 0.45 - _INSET
                inset = _INSET + min(_INSET, room / deepest) * level
                ends = self.hosts[a].right - inset, self.hosts[b].x + inset
                tunnels.append(Tunnel(subnet, *ends, 0.55 + _ARC_STEP * level))
        return tuple(tunnels)

    @cached_property
    def floor(self) -> float:
        """The height below which there are no tunnels."""
        return -max((tunnel.depth for tunnel in self.tunnels), default=0.0)

    @cached_property
    def routers(self) -> dict[str, Box]:
        """The boxes of the routers: those next to hosts first, those behind them below, each under its neighbours."""
        centres = {host: box.centre[0] for host, box in self.hosts.items()}
        boxes: dict[str, Box] = {}
        y = self.floor - 0.95 - ROUTER_HEIGHT
        while waiting := [name for name in self.fabric.routers if name not in boxes]:
            wanted = {name: xs for name in waiting if (xs := [centres[n] for n in self._beside(name) if n in centres])}
            level = {name: sum(xs) / len(xs) for name, xs in wanted.items()} or dict.fromkeys(waiting, 0.0)
            for name, x in _spread(level).items():
                centres[name] = x
                boxes[name] = Box(x - ROUTER_WIDTH / 2, y, ROUTER_WIDTH, ROUTER_HEIGHT)
            y -= _LEVEL_STEP
        return boxes

    @cached_property
    def outside(self) -> dict[str, Box]:
        """The boxes of the physical networks above the hosts, each over its gateways; tenants' sites above those."""
        top = max(box.y + box.height for box in self.hosts.values())
        plain = [network.name for network in self.policy.outside if not network.behind]
        sites = [network.name for network in self.policy.outside if network.behind]
        boxes: dict[str, Box] = {}
        for level, names in enumerate(filter(None, (plain, sites))):
            y = top + OUTSIDE_GAP + level * (ROUTER_HEIGHT + OUTSIDE_GAP)
            placed = _spread({name: self._over_gateways(name) for name in names})
            boxes |= {name: Box(x - ROUTER_WIDTH / 2, y, ROUTER_WIDTH, ROUTER_HEIGHT) for name, x in placed.items()}
        return boxes

    def _over_gateways(self, network: str) -> float:
        legs = [(vm, vm.leg) for vm in self.policy.vms if vm.leg]
        xs = [self.vms[vm.name].centre[0] for vm, leg in legs if network in {leg.to, attached_to(self.policy, leg)}]
        return sum(xs) / len(xs) if xs else 0.0

    def tunnel_to(self, site: str, network: str) -> list[Point]:
        """The ends of what joins a site to the network that it is behind."""
        (x, y), below = self.outside[site].centre, self.outside[network]
        there = min(max(x, below.x + 0.2), below.right - 0.2)
        return [(x, y - ROUTER_HEIGHT / 2), (there, below.y + below.height)]

    def leg(self, vm: Vm, network: str) -> list[Point]:
        """The corners of a gateway's leg: up to the physical network, beside those of its host's other gateways."""
        box, end = self.vms[vm.name], self.outside[network]
        own = [other.name for other in self._vms(vm.host) if other.leg]
        x = box.x + box.width * (own.index(vm.name) + 0.3) / len(own)  # not in the middle, where the host's name is
        there, turn = min(max(x, end.x + 0.2), end.right - 0.2), end.y - OUTSIDE_GAP / 4
        return [(x, box.y + box.height), (x, turn), (there, turn), (there, end.y)]

    def _beside(self, node: str) -> list[str]:
        """The nodes at the other ends of a node's links."""
        ends = [tuple(end.node for end in link.ends) for link in self.fabric.links]
        return [b if a == node else a for a, b in ends if node in (a, b)]

    def wire(self, link: FabricLink) -> list[Point]:
        """The corners of a link: straight to a router, or down and up again between two hosts."""
        a, b = (self._foot(end.node, other.node) for end, other in zip(link.ends, reversed(link.ends), strict=True))
        if any(end.node in self.routers for end in link.ends):
            return [a, b]
        direct = [other for other in self.fabric.links if not any(end.node in self.routers for end in other.ends)]
        depth = self.floor - 0.9 - 0.8 * direct.index(link)
        return [a, (a[0], depth), (b[0], depth), b]

    def label(self, link: FabricLink) -> Point:
        """Where a link's label goes: below the tunnels where it comes from a host, else in its middle."""
        corners = self.wire(link)
        (x1, y1), (x2, y2) = corners[len(corners) // 2 - 1 : len(corners) // 2 + 1]
        y = self.floor - 0.5 if 0.0 in (y1, y2) else (y1 + y2) / 2
        share = (y - y1) / (y2 - y1) if y1 != y2 else 0.5
        return x1 + share * (x2 - x1), y

    def _foot(self, node: str, other: str) -> Point:
        """Where the link to another node ends at a node: on that side of a router on which the other one is."""
        if node in self.hosts:
            return self.hosts[node].centre[0], 0.0
        x, y = self.routers[node].centre
        reach = ROUTER_WIDTH / 2 - 0.3
        return x + min(max((self.hosts | self.routers)[other].centre[0] - x, -reach), reach), y

    @cached_property
    def frame(self) -> Box:
        """What the whole picture covers, without title and legend."""
        corners = [point for link in self.fabric.links for point in self.wire(link)]
        boxes = [*self.hosts.values(), *self.routers.values(), *self.outside.values()]
        left, right = min(box.x for box in boxes), max(box.right for box in boxes)
        bottom = min([self.floor, *(box.y for box in boxes), *(y - 0.4 for _, y in corners)])
        return Box(left, bottom, right - left, max(box.y + box.height for box in boxes) - bottom)


def _spread(level: dict[str, float]) -> dict[str, float]:
    """Moves centres apart until no two boxes of a level overlap, and keeps their common middle."""
    names = sorted(level, key=lambda name: level[name])
    xs = [level[name] for name in names]
    for i, _ in enumerate(pairwise(names), start=1):
        xs[i] = max(xs[i], xs[i - 1] + ROUTER_WIDTH + 0.5)
    shift = (sum(level.values()) - sum(xs)) / len(xs)
    return {name: x + shift for name, x in zip(names, xs, strict=True)}
