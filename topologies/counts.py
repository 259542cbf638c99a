"""Entries with a `count` become so many: hosts, tenants, virtual subnets and VMs. Pure.

`NAME: {count: 3, ...}` is NAME1, NAME2 and NAME3, each with all else that it says; of NAME9 the first is NAME9_1. What
an entry of such a name says itself is laid over. In a counted tenant, names of virtual subnets and VMs begin with that
of the numbered tenant, instead of the written one or before theirs: names stay unique in the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from topologies import values
from topologies.problems import Finding, Path

ENTRIES_AT_MOST = 5000
"""What a file may stand for: more VMs than a machine can run, and checked in seconds."""

Part = dict[str, Any]


@dataclass
class Counted:
    """A file's data after counting. `origins` says where that which has a number was written."""

    data: Part
    origins: dict[Path, Path] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def written(self, path: Path) -> Path:
        """Where that was written which is at a path now."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.origins:
                return *self.origins[path[:length]], *path[length:]
        return path


def expanded(data: Part) -> Counted:
    """The data with every count carried out, or without them where they are too many."""
    made = Counted(data)
    tenants = data.get("tenants")
    if (total := _total(data)) > ENTRIES_AT_MOST:
        path, _ = max(_counts(data), key=lambda found: found[1])
        what = f"with it, this file stands for {total} hosts, tenants, subnets and VMs"
        made.findings.append(Finding((*path, "count"), what, f"{ENTRIES_AT_MOST} are the most"))
        return Counted(_without_counts(data), findings=made.findings)
    made.data = {**data}
    if isinstance(data.get("hosts"), dict):
        made.data["hosts"] = _numbered(data["hosts"], ("hosts",), ("hosts",), made, values.NODE_NAME_MOST)
    if isinstance(tenants, dict):
        made.data["tenants"] = dict(_tenants(tenants, made))
    return made


def _tenants(tenants: Part, made: Counted) -> Iterator[tuple[str, Any]]:
    for name, part in _numbered(tenants, ("tenants",), ("tenants",), made, None).items():
        at = ("tenants", name)
        base = made.origins.get(at, at)
        part = _renamed(part, str(base[-1]), name, made) if base != at else part
        if isinstance(part, dict):
            part = {**part}
            for key, most in {"subnets": None, "vms": values.VM_NAME_MOST}.items():
                if isinstance(part.get(key), dict):
                    part[key] = _numbered(part[key], (*at, key), (*base, key), made, most)
        yield name, part


def _numbered(parts: Part, at: Path, written: Path, made: Counted, most: int | None) -> Part:
    """A mapping in which counted entries are what they stand for."""
    found: Part = {}
    for name, part in parts.items():
        count = _count(part)
        if count is None or not isinstance(name, str):
            found[name] = _over(found[name], part) if name in found else part
            continue
        origin = made.origins.get((*at, name), (*written, name))
        rest = {key: value for key, value in part.items() if key != "count"}
        last = numbered(name, count)
        if most is not None and len(last) > most:
            what, hint = f"the last of them would be called {last}", f"{most} characters are the most: shorten the name"
            made.findings.append(Finding((*at, name), what, hint, at_key=True))
            made.origins[*at, name] = origin
        for number in range(1, count + 1):
            own = numbered(name, number)
            found[own] = _over(rest, found[own]) if own in found else rest
            if own not in parts:
                made.origins[*at, own] = origin
    return found


def numbered(name: str, number: int) -> str:
    """A name with a number: red1, and red1_1, so that no two names and numbers give one."""
    return f"{name}_{number}" if name[-1:].isdigit() else f"{name}{number}"


def _over(base: Any, top: Any) -> Any:
    if not isinstance(base, dict) or not isinstance(top, dict):
        return top
    return base | {key: _over(base[key], value) if key in base else value for key, value in top.items()}


def _renamed(part: Any, base: str, tenant: str, made: Counted) -> Any:
    """A counted tenant's part with the names that one of its number has."""
    if not isinstance(part, dict):
        return part

    def called(name: Any) -> Any:
        if not isinstance(name, str):
            return name
        return tenant + name[len(base) :] if name == base or name.startswith(f"{base}_") else f"{tenant}_{name}"

    subnets, vms = part.get("subnets"), part.get("vms")
    known = subnets if isinstance(subnets, dict) else {}
    named = {**part}
    for key, own in (("subnets", subnets), ("vms", vms)):
        if isinstance(own, dict):
            change: Callable[[Any], Any] = _in_its_subnet(known, called) if key == "vms" else lambda kept: kept
            named[key] = {called(name): change(value) for name, value in own.items()}
            for name in own:
                made.origins["tenants", tenant, key, called(name)] = ("tenants", base, key, name)
    return named


def _in_its_subnet(known: Part, called: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """What has VMs, and the VLANs of trunk ports, name their virtual subnets as these are called."""

    def moved(part: Any) -> Any:
        if not isinstance(part, dict):
            return part
        made = {**part}
        if isinstance(part.get("subnet"), str) and part["subnet"] in known:
            made["subnet"] = called(part["subnet"])
        if isinstance(part.get("trunk"), dict):
            made["trunk"] = {vid: moved(vlan) for vid, vlan in part["trunk"].items()}
        return made

    return moved


def _count(part: Any) -> int | None:
    return values.usable(values.count, part.get("count")) if isinstance(part, dict) else None


def _mapping(value: Any) -> Part:
    return value if isinstance(value, dict) else {}


def _counts(data: Part) -> Iterator[tuple[Path, int]]:
    """Where counts are, and how large they are."""
    places: list[tuple[Path, Any]] = [(("hosts",), data.get("hosts")), (("tenants",), data.get("tenants"))]
    for tenant, part in _mapping(data.get("tenants")).items():
        places += [(("tenants", tenant, key), _mapping(part).get(key)) for key in ("subnets", "vms")]
    for path, parts in places:
        for name, part in _mapping(parts).items():
            if count := _count(part):
                yield (*path, name), count


def _total(data: Part) -> int:
    def of(parts: Any) -> int:
        return sum(_count(part) or 1 for part in _mapping(parts).values())

    tenants = _mapping(data.get("tenants")).values()
    inside = ((_count(part) or 1, of(_mapping(part).get("subnets")), of(_mapping(part).get("vms"))) for part in tenants)
    return of(data.get("hosts")) + sum(many * (1 + subnets + vms) for many, subnets, vms in inside)


def _without_counts(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: _without_counts(part) for key, part in value.items() if key != "count"}
