"""The nodes of YAML: what a mapping holds, what a node's value is, and how one is laid over another. Pure.

Every node knows where it stands, and in which file: what is made of nodes of several files still says where it is from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

YAML_TAG = "tag:yaml.org,2002:"
MERGE = YAML_TAG + "merge"

Entries = dict[str, tuple[Node, Node]]
"""(key, value) by key."""

_CONSTRUCTOR = YAML(typ="safe", pure=True).constructor

_NUMBERED = {"vms": "{}", "subnets": "{}_net"}
"""What the entries are called that a number stands for, in a tenant of that name."""


def entries(node: MappingNode) -> Entries:
    """(key, value) by key; own entries hide those merged in by `<<`."""
    merged: Entries = {}
    own: Entries = {}
    for key, value in node.value:
        if key.tag != MERGE:
            own[key.value] = (key, value)
            continue
        for source in reversed([value] if isinstance(value, MappingNode) else value.value):
            merged |= entries(source)
    return merged | own


def mapping(of: Entries, like: Node) -> MappingNode:
    """A mapping of these entries that stands where another node does."""
    return MappingNode(YAML_TAG + "map", list(of.values()), like.start_mark, like.end_mark)


def text(value: str, like: Node) -> ScalarNode:
    """A text that stands where another node does."""
    return ScalarNode(YAML_TAG + "str", value, like.start_mark, like.end_mark)


def scalar(node: Node) -> Any:
    """The value of a scalar."""
    return node.value if node.tag == YAML_TAG + "str" else _CONSTRUCTOR.yaml_constructors[node.tag](_CONSTRUCTOR, node)


def plain(node: Node, known: dict[int, Any] | None = None) -> Any:
    """The value of a node; what several aliases stand for is made once."""
    known = {} if known is None else known
    if id(node) not in known:
        if isinstance(node, MappingNode):
            known[id(node)] = {scalar(key): plain(value, known) for key, value in entries(node).values()}
        elif isinstance(node, SequenceNode):
            known[id(node)] = [plain(part, known) for part in node.value]
        else:
            known[id(node)] = scalar(node)
    return known[id(node)]


def within(node: Node, seen: set[int]) -> Iterator[Node]:
    """A node and all that is in it, each once."""
    if id(node) not in seen:
        seen.add(id(node))
        yield node
        for child in children(node):
            yield from within(child, seen)


def children(node: Node) -> list[Node]:
    """What is in a node: of a mapping keys and values."""
    if isinstance(node, MappingNode):
        return [part for entry in node.value for part in entry]
    return node.value if isinstance(node, SequenceNode) else []


def laid_over(base: MappingNode, top: MappingNode) -> MappingNode:
    """A mapping in which what `top` says counts before what `base` says: mappings key by key, all else as a whole."""
    own = entries(base)
    for name, (key, value) in entries(top).items():
        below = own[name][1] if name in own else None
        if isinstance(value, MappingNode) and isinstance(below, MappingNode):
            own[name] = (key, laid_over(below, value))
        else:
            own[name] = (key, value)
    return mapping(own, top)


def spelt_out(root: MappingNode) -> MappingNode:
    """The same, but numbers of hosts, subnets and VMs are mappings of one entry with that `count`."""
    own = _with_counts(entries(root), {"hosts": "host"})
    if "tenants" in own and isinstance(tenants := own["tenants"][1], MappingNode):
        made = {name: (key, _tenant(name, part)) for name, (key, part) in entries(tenants).items()}
        own["tenants"] = (own["tenants"][0], mapping(made, tenants))
    return mapping(own, root)


def _tenant(name: str, part: Node) -> Node:
    if not isinstance(part, MappingNode):
        return part
    return mapping(_with_counts(entries(part), {key: form.format(name) for key, form in _NUMBERED.items()}), part)


def _with_counts(own: Entries, names: Mapping[str, str]) -> Entries:
    for key, name in names.items():
        if key in own and own[key][1].tag == YAML_TAG + "int":
            number = own[key][1]
            counted = mapping({"count": (text("count", number), number)}, number)
            own[key] = (own[key][0], mapping({name: (text(name, number), counted)}, number))
    return own
