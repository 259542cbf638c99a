"""Turns what pydantic found into findings that a reader of the file understands. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from topologies import schema
from topologies.problems import Finding, Path, did_you_mean, show
from topologies.values import BadValueError

Places = Mapping[Path, type[schema.Part]]
"""The mappings of a language, by where they stand."""

SCENARIO: Places = {
    (): schema.ScenarioPart,
    ("mtu",): schema.MtuPart,
    ("nve",): schema.NvePart,
    ("hosts", "*"): schema.HostPart,
    ("tenants", "*"): schema.TenantPart,
    ("tenants", "*", "subnets", "*"): schema.SubnetPart,
    ("tenants", "*", "vms", "*"): schema.VmPart,
    ("tenants", "*", "vms", "*", "trunk", "*"): schema.VlanPart,
    ("tenants", "*", "routes", "*"): schema.RoutePart,
    ("tenants", "*", "subnets", "*", "acl", "*"): schema.RulePart,
    ("tenants", "*", "vms", "*", "acl", "*"): schema.RulePart,
    ("tenants", "*", "vms", "*", "gateway"): schema.GatewayPart,
    ("tenants", "*", "vms", "*", "gateway", "forward", "*"): schema.ForwardPart,
    ("servers", "*"): schema.ServerPart,
    ("outside", "*"): schema.OutsidePart,
    ("faults", "*"): schema.FaultPart,
    ("expect", "*"): schema.ExpectPart,
}

_KINDS = {
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "list_type": "a list",
    "string_type": "text",
    "bool_type": "true or false",
}


def findings(error: ValidationError, places: Places = SCENARIO) -> list[Finding]:
    """Everything that a validation found, in words."""
    return [_finding(details, places) for details in error.errors(include_url=False)]


def _finding(details: ErrorDetails, places: Places) -> Finding:
    path, kind, given = details["loc"], details["type"], details["input"]
    at_key = path[-1:] == ("[key]",)
    if at_key:
        path = path[:-1]
    cause = details.get("ctx", {}).get("error")
    if isinstance(cause, BadValueError):
        return Finding(path, str(cause), cause.hint, at_key)
    if kind == "missing":
        return Finding(path, "is missing", _example(path, places))
    if kind in ("extra_forbidden", "invalid_key"):
        return Finding(path, "is not a key of this language", _nearest(path, places), at_key=True)
    return Finding(path, _in_words(kind, given, details.get("ctx", {})) or details["msg"], at_key=at_key)


def _in_words(kind: str, given: Any, context: dict[str, Any]) -> str:
    if given is None:
        return "has no value"
    if kind == "too_short":
        return "is empty"
    if kind == "too_long":
        return f"has {context['actual_length']} entries, {context['max_length']} are the most"
    if kind == "enum":
        return f"{show(given)} is not {context['expected']}"
    return f"{show(given)} is not {_KINDS[kind]}" if kind in _KINDS else ""


def _part(path: Path, places: Places) -> type[schema.Part] | None:
    """The mapping of the language that stands at a path."""
    for place, part in places.items():
        if len(place) == len(path) and all(step in ("*", given) for step, given in zip(place, path, strict=True)):
            return part
    return None


def _example(path: Path, places: Places) -> str:
    part = _part(path[:-1], places)
    known = _words(part)[str(path[-1])].examples if part else None
    return f"such as {known[0]}" if known else ""


def _nearest(path: Path, places: Places) -> str:
    part = _part(path[:-1], places)
    return did_you_mean(str(path[-1]), list(_words(part))) if part else ""


def _words(part: type[schema.Part]) -> dict[str, FieldInfo]:
    """The fields of a mapping by the words for them."""
    return {field.alias or name: field for name, field in part.model_fields.items()}
