"""The JSON Schema that editors use: made of the checker's tables, good for good files, and not for what it can tell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator
from ruamel.yaml import YAML

import topologies
from topologies import json_schema, load, schema, shipped, wording

from .scenario_cases import EVERYTHING

FOLDER = Path(topologies.__file__).parent
PUBLISHED = FOLDER / "scenario.schema.json"
MODELINE = "# yaml-language-server: $schema=scenario.schema.json\n"
SMALL = "hosts: 2\ntenants: {red: {vms: 2}}\n"

BROKEN = {
    "no hosts": "tenants: {red: {vms: 2}}\n",
    "an unknown word": "colour: red\n" + SMALL,
    "a word in the wrong place": "vsid: 5001\n" + SMALL,
    "a TTL of 0": "nve: {ttl: 0}\n" + SMALL,
    "a word that is no choice": "nve: {too_big: shout}\n" + SMALL,
    "a DSCP that is no word": "nve: {dscp: inner}\n" + SMALL,
    "text for a switch": "nve: {probe: 'yes'}\n" + SMALL,
    "no hosts at all": "hosts: {}\ntenants: {red: {vms: 2}}\n",
    "a number of hosts below 1": "hosts: 0\ntenants: {red: {vms: 2}}\n",
    "a PA without length": "hosts: {host1: {pa: 192.168.1.1}}\ntenants: {red: {vms: 2}}\n",
    "a host with a long name": "hosts: {a_very_long_name: {}}\ntenants: {red: {vms: 2}}\n",
    "a capital letter": "hosts: {Host1: {}}\ntenants: {red: {vms: 2}}\n",
    "a reserved VSID": "hosts: 2\ntenants: {red: {subnets: {net: {vsid: 80}}, vms: 2}}\n",
    "a VLAN id as a word": "hosts: 2\ntenants: {red: {vms: {a: {trunk: {ten: {subnet: red_net, ca: 10.0.1.9}}}}}}\n",
    "a rule that says two things": "hosts: 2\ntenants: {red: {vms: {a: {acl: [{allow: in, deny: in}]}}}}\n",
    "a rule that says nothing": "hosts: 2\ntenants: {red: {vms: {a: {acl: [{protocol: tcp}]}}}}\n",
    "a link of three": "links: [[a, b, c]]\n" + SMALL,
    "a data plane that is none": "hosts: {host1: {dataplane: vpp}}\ntenants: {red: {vms: 2}}\n",
}
"""What a schema can tell; the checker refuses it too."""


def as_json(value: Any) -> Any:
    """YAML's data as JSON has it: keys are text."""
    if isinstance(value, dict):
        return {str(key): as_json(part) for key, part in value.items()}
    return [as_json(part) for part in value] if isinstance(value, list) else value


def complaints(text: str) -> list[str]:
    data = as_json(YAML(typ="safe", pure=True).load(text))
    return [error.message for error in Draft7Validator(json.loads(PUBLISHED.read_text())).iter_errors(data)]


def test_the_published_schema_is_that_of_the_checkers_tables() -> None:
    mend = ".venv/bin/python -m topologies.json_schema > topologies/scenario.schema.json"
    assert json.loads(PUBLISHED.read_text()) == json_schema.json_schema(), mend


def test_every_part_of_the_language_has_its_place() -> None:
    """Else what is missing or misspelt in it would be told without a hint."""
    parts = {part for part in vars(schema).values() if isinstance(part, type) and issubclass(part, schema.Part)}
    assert parts - {schema.Part} == set(wording.SCENARIO.values())


def test_it_is_a_schema() -> None:
    Draft7Validator.check_schema(json.loads(PUBLISHED.read_text()))


@pytest.mark.parametrize("name", shipped())
def test_shipped_scenarios_are_good_and_tell_editors_of_it(name: str) -> None:
    text = (FOLDER / f"{name}.yaml").read_text()
    assert text.startswith(MODELINE)
    assert complaints(text) == []


def test_the_example_with_every_word_is_good() -> None:
    assert complaints(EVERYTHING) == []


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN.keys())
def test_what_a_schema_can_tell_is_told_and_the_checker_tells_it_too(text: str, tmp_path: Path) -> None:
    assert complaints(text) != []
    (tmp_path / "net.yaml").write_text(text)
    with pytest.raises(topologies.ScenarioError):
        load(tmp_path / "net.yaml")


def test_the_small_text_is_good_without_any_of_these_mistakes(tmp_path: Path) -> None:
    assert complaints(SMALL) == []
    (tmp_path / "net.yaml").write_text(SMALL)
    assert load(tmp_path / "net.yaml").title == "2 provider hosts, 1 tenant"
