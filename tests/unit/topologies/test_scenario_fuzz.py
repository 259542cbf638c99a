"""Mutated scenarios: `./nvgre check` says good or bad, with status 0 or 2 and a line for each mistake, and no more."""

from __future__ import annotations

import io
import json
import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator
from ruamel.yaml import YAML

import topologies
from topologies import shipped

from ..testbed.command_line import Said, nvgre
from .scenario_cases import EVERYTHING

FOLDER = Path(topologies.__file__).parent
TEXTS = [*((FOLDER / f"{name}.yaml").read_text() for name in shipped()), EVERYTHING]
DATA = [YAML(typ="safe", pure=True).load(text) for text in TEXTS]
SCHEMA = Draft7Validator(json.loads((FOLDER / "scenario.schema.json").read_text()))
PLACE = re.compile(r"\S+\.yaml(:\d+:\d+)?: .|--set .|[^ ]*: .")

SCALARS = st.sampled_from(
    [
        *(
            None,
            True,
            False,
            0,
            -1,
            1,
            7,
            300,
            10**30,
            1.5,
            float("nan"),
            "",
            " ",
            "x",
            "host1",
            "red_net",
            "r1",
            "all",
        ),
        *("10.0.0.1", "10.0.0.1/24", "fd00::/64", "::", "0.0.0.0/0", "255.255.255.255/32", "02:00:00:00:00:01", "copy"),
        *("10.0.0.0/31", "fe80::1%eth0", "a" * 40, "\u00e9", "two_hosts", ".", "\0", "1e3", "0x10", "-"),
    ]
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SCALARS, inner, max_size=3), max_leaves=5
)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to all that is in a value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path for key, part in inside for path in ((*at, key), *places(part, (*at, key)))]


def parent(data: Any, path: tuple[Any, ...]) -> Any:
    for step in path[:-1]:
        data = data[step]
    return data


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """What a shipped scenario says, after some accidents with its values."""
    data = deepcopy(draw(st.sampled_from(DATA)))
    for _ in range(draw(st.integers(1, 4))):
        known = places(data)
        if not known:
            break
        path = draw(st.sampled_from(known))
        at, step = parent(data, path), path[-1]
        accident = draw(st.sampled_from(["delete", "replace", "swap", "rename", "count"]))
        if accident == "delete":
            del at[step]
        elif accident == "replace":
            at[step] = draw(VALUES)
        elif accident == "swap":
            other = draw(st.sampled_from(known))
            at[step] = deepcopy(parent(data, other)[other[-1]])
        elif accident == "rename" and isinstance(at, dict):
            at[draw(SCALARS)] = at.pop(step)
        elif isinstance(at[step], dict):
            at[step]["count"] = draw(st.sampled_from([0, 1, 2, 3, 40, 5000, "2"]))
    return data


@st.composite
def noisy(draw: st.DrawFn) -> bytes:
    """The bytes of a shipped scenario, with noise among them."""
    raw = bytearray(draw(st.sampled_from(TEXTS)).encode())
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(raw)))
        raw[at : at + draw(st.integers(0, 30))] = draw(st.binary(max_size=4))
    return bytes(raw)


def assert_told(said: Said) -> None:
    assert said.status in {0, 2}
    assert "Traceback" not in said.err
    assert (said.status == 2) == bool(said.err)
    assert [line for line in said.err.splitlines() if not PLACE.match(line)] == []


@pytest.mark.parametrize(
    "said",
    [
        Said(1, "", "net.yaml: is wrong\n"),
        Said(2, "", ""),
        Said(0, "", "net.yaml: is wrong\n"),
        Said(2, "", "Traceback (most recent call last):\n"),
        Said(2, "", "oops\n"),
    ],
)
def test_another_status_and_other_words_are_noticed(said: Said) -> None:
    with pytest.raises(AssertionError):
        assert_told(said)


FUZZ = settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZ
@given(data=mutated())
def test_a_scenario_with_other_values_is_good_or_told_what_is_wrong(data: Any, tmp_path: Path) -> None:
    stream = io.StringIO()
    YAML().dump(data, stream)
    (tmp_path / "net.yaml").write_text(stream.getvalue())

    said = nvgre("check", str(tmp_path / "net.yaml"))

    assert_told(said)
    if said.status == 0:  # what the checker takes, editors must not mark
        assert [error.message for error in SCHEMA.iter_errors(as_json(data))] == []


@FUZZ
@given(raw=noisy() | st.binary(max_size=80))
def test_a_file_with_noise_in_it_is_good_or_told_what_is_wrong(raw: bytes, tmp_path: Path) -> None:
    (tmp_path / "net.yaml").write_bytes(raw)
    assert_told(nvgre("check", str(tmp_path / "net.yaml")))


@FUZZ
@given(
    path=st.lists(
        st.sampled_from(["nve", "ttl", "hosts", "host1", "links", "tenants", "red", "vms", "[0]", "[+]", "x"])
    ),
    value=st.sampled_from(["5", "", "[", "{a: 1}", "!!x y", "copy", "&a [*a]", "\t", "null", "{count: 3}", "*a"]),
    sign=st.sampled_from(["=", "", "=="]),
)
def test_a_setting_is_good_or_told_what_is_wrong(path: list[str], value: str, sign: str) -> None:
    setting = ".".join(path).replace(".[", "[") + sign + value
    assert_told(nvgre("check", "two_hosts", "--set", setting))


def as_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): as_json(part) for key, part in value.items()}
    return [as_json(part) for part in value] if isinstance(value, list) else value
