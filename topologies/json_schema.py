"""The scenario language as JSON Schema, for editors: made of the models in `schema` and the readers in `values`. Pure.

`python -m topologies.json_schema` prints it; scenario.schema.json is that. A schema knows single values and their
places: what joins the parts (names that exist, addresses in their prefixes) is for `./nvgre check` to tell.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from nvgre_node.acl import PROTOCOLS
from nvgre_node.choices import COPY
from nvgre_node.dataplane import DATAPLANES
from nvgre_node.fabric import Multipath
from nvgre_node.wire import VSID_FIRST, VSID_LAST
from topologies import schema, values

DIALECT = "http://json-schema.org/draft-07/schema#"
"""The version that the language server of editors knows best."""

_NAME = {"type": "string", "pattern": f"^{values.NAME.pattern}$"}
_ADDRESS = {"type": "string", "pattern": "^[0-9a-fA-F.:]+$"}
_WITH_LENGTH = {"type": "string", "pattern": "^[0-9a-fA-F.:]+/[0-9]{1,3}$"}
_WITH_OR_WITHOUT_LENGTH = {"type": "string", "pattern": "^[0-9a-fA-F.:]+(/[0-9]{1,3})?$"}
_TEXT = {"type": "string", "minLength": 1}
_MULTIPATH = {"type": "string", "enum": [str(mode) for mode in Multipath]}


def _whole(least: int, most: int) -> JsonSchemaValue:
    return {"type": "integer", "minimum": least, "maximum": most}


_READERS: dict[Callable[[Any], Any], JsonSchemaValue] = {
    values.name: _NAME,
    values.node_name: _NAME | {"maxLength": values.NODE_NAME_MOST},
    values.vm_name: _NAME | {"maxLength": values.VM_NAME_MOST},
    values.text: _TEXT,
    values.line: _TEXT,
    values.dataplane: {"type": "string", "enum": list(DATAPLANES)},
    values.mtu: _whole(values.MTU_LEAST, values.MTU_MOST),
    values.vsid: _whole(VSID_FIRST, VSID_LAST),
    values.pa: _WITH_LENGTH,
    values.own_pa: _ADDRESS,
    values.ca: _ADDRESS,
    values.prefix: _WITH_LENGTH,
    values.group: _ADDRESS,
    values.inner_group: _ADDRESS,
    values.mac: {"type": "string", "pattern": "^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$"},
    values.dscp: {"anyOf": [_whole(values.plain_dscp.least, values.plain_dscp.most), {"const": COPY}]},
    values.protocol: {"anyOf": [_whole(0, 255), {"enum": [*PROTOCOLS, "any"]}]},
    values.ports: {"anyOf": [_whole(0, 65535), {"type": "string", "pattern": f"^{values.PORTS.pattern}$"}]},
    values.endpoint: {"type": "string", "pattern": f"^{values.ENDPOINT.pattern}$"},
    values.addresses: _WITH_OR_WITHOUT_LENGTH,
    values.way: {"type": "string", "pattern": f"^({values.WAY.pattern})$"},
    values.steps: {"anyOf": [_TEXT, {"type": "array", "items": {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]}}]},
    values.link: {"type": "array", "items": _TEXT, "minItems": 2, "maxItems": 2},
}
"""What each reader takes, as far as a schema can say it."""

_NUMBERS = {"ScenarioPart": ["hosts"], "TenantPart": ["subnets", "vms"]}
"""Where a number stands for so many entries."""


class _Generator(GenerateJsonSchema):
    """Pydantic's, but it knows our readers."""

    def function_plain_schema(self, schema: core_schema.PlainValidatorFunctionSchema) -> JsonSchemaValue:
        read: Any = schema["function"]["function"]
        if isinstance(read, values.Whole):
            return _whole(read.least, read.most)
        return dict(_READERS[read])

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        inner = self.generate_inner(schema["schema"])
        one = _MULTIPATH if schema["function"]["function"] is _FOR_ALL else inner["items"]
        return {"anyOf": [one, inner]}

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        keys = self.generate_inner(schema["keys_schema"]) if "keys_schema" in schema else {}
        if keys.get("type") == "integer":
            keys = {"pattern": "^(0x[0-9a-fA-F]+|0o[0-7]+|[0-9]+)$"}
        keys.pop("type", None)
        made = {"type": "object", "additionalProperties": self.generate_inner(schema["values_schema"])}
        made |= {"propertyNames": keys} if keys else {}
        return made | ({"minProperties": schema["min_length"]} if "min_length" in schema else {})

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        made = self.generate_inner(schema["schema"])
        default = schema.get("default")
        if (isinstance(default, str | int) and default not in {"", 0}) or default is False:
            return made | {"default": default}
        return made


_FOR_ALL: Any = schema.for_all


def json_schema() -> dict[str, Any]:
    """The language as JSON Schema."""
    made = schema.ScenarioPart.model_json_schema(schema_generator=_Generator)
    parts = made["$defs"] | {"ScenarioPart": made}
    for name, keys in _NUMBERS.items():
        for key in keys:
            own = parts[name]["properties"][key]
            parts[name]["properties"][key] = {"anyOf": [_whole(values.count.least, values.count.most), own]}
    for part in parts.values():
        _tidy(part)
    required = made.pop("required")
    return {"$schema": DIALECT, **made, "anyOf": [{"required": required}, {"required": ["include"]}]}


def _tidy(part: dict[str, Any]) -> None:
    """Takes out titles that repeat names, and line breaks out of descriptions; examples become descriptions."""
    part.pop("title", None)
    if "description" in part:
        part["description"] = re.sub(r"(?<!\n)\n(?!\n)", " ", part["description"].strip())
    for own in part.get("properties", {}).values():
        own.pop("title", None)
        if examples := own.pop("examples", []):  # editors would offer them as values, and they are hints for readers
            own["description"] = f"Such as `{examples[0]}`."


def main() -> None:
    """Prints it."""
    json.dump(json_schema(), sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
