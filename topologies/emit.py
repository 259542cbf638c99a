"""Data of the scenario language as YAML that reads like the shipped files: what is small stands on one line. Pure."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import LiteralScalarString

WIDTH = 120
_BLOCKS = 3
"""So many levels of mappings are blocks, however small: the parts of a file, its tenants, and their VMs."""


def yaml_text(data: dict[str, Any]) -> str:
    """A file's text. A blank line stands before every part that is more than a line."""
    parts = [_dump({key: value}) for key, value in data.items()]
    lines: list[str] = []
    for part in parts:
        apart = lines and ("\n" in part.strip() or "\n" in lines[-1].strip())
        lines += ["\n", part] if apart else [part]
    return "".join(lines)


def one_line(data: dict[str, Any]) -> str:
    """A mapping on one line: `{vsid: 5001, ca: 10.1.1.11}`."""
    made = CommentedMap(data)
    made.fa.set_flow_style()  # and with it all that is in it
    return _dumped(made, 1_000_000)


def comment(lines: Iterable[str]) -> str:
    """Lines as comments, whatever is in them: a line break starts another one, and control characters are left out."""
    every = (part for line in lines for part in line.splitlines() or [""])
    return "".join(f"# {''.join(filter(str.isprintable, line))}".rstrip() + "\n" for line in every)


def _dump(data: dict[str, Any]) -> str:
    return _dumped(_styled(data, 0), WIDTH) + "\n"


def _dumped(data: Any, width: int) -> str:
    yaml = YAML()
    yaml.width = width
    yaml.indent(mapping=2, sequence=4, offset=2)
    stream = io.StringIO()
    yaml.dump(data, stream)
    return stream.getvalue().rstrip("\n")


def _styled(value: Any, depth: int, lead: int = 0) -> Any:
    """The same data, each mapping and list marked as a block or as a line; `lead` characters stand before it."""
    if isinstance(value, dict):
        entries = ((key, entry, 2 * depth + len(str(key)) + 2) for key, entry in value.items())
        made = CommentedMap({key: _styled(entry, depth + 1, before) for key, entry, before in entries})
        if (
            depth
            and _fits(value, lead)
            and not any(isinstance(entry, dict) or _nests(entry) for entry in value.values())
        ):
            made.fa.set_flow_style()
        return made
    if isinstance(value, list):
        items = CommentedSeq([_styled(entry, depth + 1, 2 * depth + 2) for entry in value])
        if _fits(value, lead) and (depth >= _BLOCKS or not _nests(value)):
            items.fa.set_flow_style()
        return items
    return LiteralScalarString(value) if isinstance(value, str) and _is_prose(value) else value


def _is_prose(text: str) -> bool:
    """Whether text is lines that can stand in a file as they are: YAML has to escape anything else."""
    lines = text.removesuffix("\n").split("\n")
    return "\n" in text and all(line.isprintable() and line == line.rstrip() for line in lines)


def _fits(value: Any, lead: int) -> bool:
    """Whether it fits on the line on which it starts: Python's own notation has quotes that YAML can do without."""
    return lead + len(str(value)) - str(value).count("'") <= WIDTH - 4


def _is_large(value: Any) -> bool:
    return isinstance(value, dict) or _nests(value)


def _nests(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(entry, dict | list) for entry in value)
