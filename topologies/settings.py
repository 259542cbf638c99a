"""Settings of the command line, `--set nve.ttl=5`: values that take the place of what a file says. Pure.

A setting is a path, `=`, and a value in YAML. Steps of a path are keys, after a dot or in brackets; in a list they are
an index, the name of an entry (any value in it that no other entry has), or `+` for one more.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from topologies.nodes import YAML_TAG, Entries, children, entries, mapping, plain, spelt_out
from topologies.problems import Problem, ScenarioError, listed, show
from topologies.source import Source, parse_value
from topologies.values import BadValueError

_STEP = re.compile(r"\[([^\]]+)\]|(?:^|\.)([^.\[\]=]+)")
_HINT = "such as nve.ttl=5, hosts.host1.dataplane=model or tenants.red.routes[0].metric=5"


def applied(source: Source, settings: Iterable[str]) -> Source:
    """The file with these settings, one after the other.

    Raises:
        ScenarioError: settings that cannot be read, or that have no place in the file: all of them.
    """
    root, problems = source.root, list[Problem]()
    for setting in settings:
        name = f"--set {setting}"
        try:
            steps, value = _read(setting, name)
            root = _mapping_with(spelt_out(root), steps, value, "")
        except BadValueError as error:
            problems.append(Problem("", str(error), error.hint, file=name))
        except ScenarioError as error:
            problems += [Problem("", problem.message, problem.hint, file=name) for problem in error.problems]
    if problems:
        raise ScenarioError(source.file, problems)
    return Source(source.file, root)


def _read(setting: str, name: str) -> tuple[list[str], Node]:
    steps, at = list[str](), 0
    while found := _STEP.match(setting, at):
        steps.append(found[1] or found[2])
        at = found.end()
    if not steps or setting[at : at + 1] != "=":
        raise BadValueError("is not a path, = and a value", _HINT)
    if steps[0] == "include":
        raise BadValueError("what a file includes is for the file to say", "write one that includes both")
    return steps, parse_value(setting[at + 1 :], name)


def _with(node: Node | None, steps: list[str], value: Node, at: str) -> Node:
    """A node in which one value has changed; mappings that are not there yet are made."""
    if not steps:
        return value
    if node is None and steps[0] == "+":
        return _list_with(SequenceNode(YAML_TAG + "seq", [], value.start_mark, value.end_mark), steps, value, at)
    if node is None:
        return _mapping_with(mapping({}, value), steps, value, at)
    if isinstance(node, MappingNode):
        return _mapping_with(node, steps, value, at)
    if isinstance(node, SequenceNode):
        return _list_with(node, steps, value, at)
    raise BadValueError(f"{at} is {show(plain(node))}, in which there is no {steps[0]}", "set it as a whole")


def _mapping_with(node: MappingNode, steps: list[str], value: Node, at: str) -> MappingNode:
    step, own = steps[0], entries(node)
    key, below = own[step] if step in own else (parse_value(step, value.start_mark.name), None)
    if not isinstance(key, ScalarNode):
        raise BadValueError(f"{show(step)} is not a key", _HINT)
    made: Entries = own | {step: (key, _with(below, steps[1:], value, f"{at}.{step}".removeprefix(".")))}
    return mapping(made, node)


def _list_with(node: SequenceNode, steps: list[str], value: Node, at: str) -> SequenceNode:
    index = len(node.value) if steps[0] == "+" else _index(node, steps[0], at)
    below = node.value[index] if index < len(node.value) else None
    changed = _with(below, steps[1:], value, f"{at}[{index}]")
    entries_now = [*node.value[:index], changed, *node.value[index + 1 :]]
    return SequenceNode(YAML_TAG + "seq", entries_now, node.start_mark, node.end_mark)


def _index(node: SequenceNode, step: str, at: str) -> int:
    number = len(node.value)
    if step.isascii() and step.isdigit() and int(step[:9]) < number:
        return int(step)
    named = [index for index, entry in enumerate(node.value) if step in _names(entry)]
    if len(named) > 1:
        raise BadValueError(f"{at} has {len(named)} entries with {show(step)} in them", "give the index of one of them")
    if not named:
        names = listed({name for entry in node.value for name in _names(entry)})
        what = f"{at} has no entry {step}, but {number or 'none'}"
        raise BadValueError(what, f"an index from 0, one of {names}, or + for one more")
    return named[0]


def _names(entry: Node) -> set[str]:
    """What an entry of a list may be called by: itself, or a value in it."""
    if isinstance(entry, ScalarNode):
        return {entry.value}
    parts = children(entry)[1::2] if isinstance(entry, MappingNode) else children(entry)
    return {part.value for part in parts if isinstance(part, ScalarNode)}
