"""The picture of a network as text for other programs to draw: Graphviz (`dot`) and Mermaid. Pure.

Both show the same: provider hosts with their VMs, the underlay's links, and a dashed line, which is where NVGRE goes,
between hosts that serve the same virtual subnets.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import combinations

from nvgre_node.fabric import FabricLink
from nvgre_node.outside import attached_to
from nvgre_node.policy import Policy, Vm
from topologies.colours import tenant_colours
from topologies.scenario import Scenario


@dataclass(frozen=True)
class Node:
    """Something with a name, and what is written in it, line by line; `tenant` is whose VM it is."""

    name: str
    lines: tuple[str, ...]
    kind: str
    tenant: str = ""


@dataclass(frozen=True)
class Edge:
    """A line between two nodes; a dashed one is what goes through the others."""

    a: str
    b: str
    label: str = ""
    dashed: bool = False


@dataclass(frozen=True)
class Graph:
    """A picture: groups of nodes by the name of their host or server, nodes without one, and edges."""

    title: str
    groups: dict[str, tuple[Node, ...]]
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]


def graph(scenario: Scenario) -> Graph:
    """What there is to see of a network."""
    policy, fabric = scenario.policy, scenario.fabric
    places: dict[str, list[Node]] = {nve.host: [_nve(policy, nve.host)] for nve in policy.nves}
    for server, (vm, *_) in policy.servers.items():
        places[server] = [Node(server, (server, f"no NVE: {vm.host}'s"), "server")]
    edges = [_link(link, fabric.routers) for link in fabric.links]
    for node, (vm, *_others) in policy.machines.items():
        home = vm.behind.port if vm.behind else vm.host
        places[home].append(_vm(policy, node))
        edges.append(Edge(node, home, f"VLAN {vm.behind.vid}" if vm.behind else ""))
    edges += [Edge(server, vms[0].host) for server, vms in policy.servers.items()]
    edges += [*_tunnels(policy), *_outside(policy)]
    routers = (Node(name, (name,), "router") for name in fabric.routers)
    networks = (Node(own.name, (own.name, *map(str, own.addresses)), "outside") for own in policy.outside)
    groups = {name: tuple(nodes) for name, nodes in places.items()}
    return Graph(scenario.title, groups, (*routers, *networks), tuple(edges))


def _nve(policy: Policy, host: str) -> Node:
    return Node(host, (host, *(f"PA {pa}" for pa in policy.nve(host).pas)), "nve")


def _vm(policy: Policy, node: str) -> Node:
    lines = [f"{node} ({policy.tenant_of(policy.machines[node][0])})"]
    for vm in policy.machines[node]:
        vlan = f"VLAN {vm.vid}: " if vm.vid is not None else ""
        lines.append(f"{vlan}VSID {policy.vsid_of(vm)}, {', '.join(str(ca.ip) for ca in vm.cas)}")
    return Node(node, tuple(lines), "vm", policy.tenant_of(policy.machines[node][0]))


def _tunnels(policy: Policy) -> Iterator[Edge]:
    """One per pair of hosts, with all virtual subnets that both serve."""
    served = {nve.host: {policy.vsid_of(vm) for vm in policy.vms if vm.host == nve.host} for nve in policy.nves}
    for a, b in combinations(served, 2):
        if both := sorted(served[a] & served[b]):
            yield Edge(a, b, f"VSID {', '.join(map(str, both))}", dashed=True)


def _outside(policy: Policy) -> Iterator[Edge]:
    legs: list[tuple[Vm, str]] = [(vm, attached_to(policy, vm.leg)) for vm in policy.vms if vm.leg]
    for vm, network in legs:
        if vm.leg:
            yield Edge(vm.node, network, f"{vm.leg.mode} {', '.join(str(own.ip) for own in vm.leg.addresses)}")
    for site in policy.outside:
        if site.behind:
            yield Edge(site.behind, site.name, ", ".join(str(own.ip) for own in site.at))


def _link(link: FabricLink, routers: Collection[str]) -> Edge:
    """A link, from the host if one end is one: who draws from top to bottom then has the fabric below."""
    a, b = (end.node for end in sorted(link.ends, key=lambda end: end.node in routers))
    return Edge(a, b, ", ".join(dict.fromkeys(str(address.network) for address in link.a.addresses)))


_SHAPES = {"nve": "component", "router": "ellipse", "server": "box3d", "outside": "note", "vm": "box"}
_BRACKETS = {"nve": ("[[", "]]"), "router": ("([", "])"), "outside": ("{{", "}}")}


def _vms_by_tenant(made: Graph) -> dict[str, list[str]]:
    """The names of every tenant's VMs."""
    found: dict[str, list[str]] = {}
    for node in (node for own in made.groups.values() for node in own if node.tenant):
        found.setdefault(node.tenant, []).append(node.name)
    return found


def dot(scenario: Scenario) -> str:
    """The network in the language of Graphviz: `dot -Tsvg`."""
    made = graph(scenario)
    colours = tenant_colours(_vms_by_tenant(made))

    def node(own: Node) -> str:
        look = f"shape={_SHAPES[own.kind]}" + (f', color="{colours[own.tenant]}"' if own.tenant else "")
        return f'"{own.name}" [label="{_joined(own.lines, _dot_text, chr(92) + "n")}", {look}]'

    lines = [f'graph "{_dot_text(scenario.name)}" {{', f'  label="{_dot_text(made.title)}"; labelloc=t; style=rounded']
    lines += ["  node [fontname=Helvetica, fontsize=11]; edge [fontname=Helvetica, fontsize=10]"]
    for name, nodes in made.groups.items():
        lines += [
            f'  subgraph "cluster_{name}" {{ label=""; style=rounded',
            *(f"    {node(own)}" for own in nodes),
            "  }",
        ]
    lines += [f"  {node(own)}" for own in made.nodes]
    for edge in made.edges:
        look = [f'label="{_dot_text(edge.label)}"'] if edge.label else []
        look += ["style=dashed", "constraint=false"] if edge.dashed else []
        lines.append(f'  "{edge.a}" -- "{edge.b}"' + (f" [{', '.join(look)}]" if look else ""))
    return "\n".join([*lines, "}", ""])


def mermaid(scenario: Scenario) -> str:
    """The network as a Mermaid flowchart, which code hosts draw inside Markdown."""
    made = graph(scenario)

    def node(own: Node) -> str:
        start, end = _BRACKETS.get(own.kind, ("[", "]"))
        return f'{_id(own.name)}{start}"{_joined(own.lines, _mermaid_text, "<br>")}"{end}'

    lines = ["flowchart TB", f"  %% {' '.join(made.title.split())}"]
    for name, nodes in made.groups.items():
        lines += [f'  subgraph {_id(name)}_box[" "]', *(f"    {node(own)}" for own in nodes), "  end"]
    lines += [f"  {node(own)}" for own in made.nodes]
    for edge in made.edges:
        line, label = ("-.-" if edge.dashed else "---"), f'|"{_mermaid_text(edge.label)}"|' if edge.label else ""
        lines.append(f"  {_id(edge.a)} {line}{label} {_id(edge.b)}")
    colours = tenant_colours(_vms_by_tenant(made))
    for index, (tenant, vms) in enumerate(_vms_by_tenant(made).items()):
        lines.append(f"  classDef tenant{index} stroke:{colours[tenant]},stroke-width:2px")
        lines.append(f"  class {','.join(map(_id, vms))} tenant{index}")
    return "\n".join([*lines, ""])


def _id(name: str) -> str:
    """A name as an identifier: some names, such as `end`, are words of Mermaid's own."""
    return f"n_{name}"


def _joined(lines: tuple[str, ...], quoted: Callable[[str], str], newline: str) -> str:
    return newline.join(map(quoted, lines))


def _dot_text(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _mermaid_text(text: str) -> str:
    return text.replace("#", "#35;").replace('"', "#quot;").replace("<", "#lt;").replace(">", "#gt;")
