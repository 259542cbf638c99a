"""Whatever is in a file: a scenario, or all that is wrong in one pass, and never anything else."""

import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import topologies
from topologies import Problem, ScenarioError, load, shipped

from .scenario_cases import FLAT, edited, wrong_with

SHIPPED_TEXTS = [(Path(topologies.__file__).parent / f"{name}.yaml").read_text() for name in shipped()]

UNREADABLE: dict[str, tuple[str | bytes, list[str]]] = {
    "nothing": ("", ["net.yaml: is empty (a scenario has at least hosts and tenants)"]),
    "comments only": ("# x\n", ["net.yaml: is empty (a scenario has at least hosts and tenants)"]),
    "a list": ("- a\n", ["net.yaml:1:1: is not a mapping (a scenario starts like `name: two_hosts`)"]),
    "binary": (b"\x7fELF\xff\x00", ["net.yaml:1:5: is not text in UTF-8 (is it a scenario?)"]),
    "control characters": (
        "a:\n b\x07",
        ["net.yaml:2:3: the character '\\x07' may not stand in YAML (is it a scenario?)"],
    ),
    "a tab": ("a:\n\tb: 1\n", ["net.yaml:2:1: a tab cannot stand here (YAML indents with spaces)"]),
    "an open bracket": (
        "a: [1\nb: 2\n",
        ["net.yaml:2:2: expected ',' or ']', but got ':' (while parsing a flow sequence, from line 1)"],
    ),
    "two documents": (
        "a: 1\n---\nb: 1\n",
        ["net.yaml:2:1: found another document (expected a single document in the stream, from line 1)"],
    ),
    "keys that are there twice": (
        "a: 1\nb: {c: 1, c: 2}\na: 2\n",
        [
            "net.yaml:2:11: the key 'c' is there twice (first in line 2)",
            "net.yaml:3:1: the key 'a' is there twice (first in line 1)",
        ],
    ),
    "a key that is a list": ("? [a]\n: 1\n", ["net.yaml:1:3: a list or mapping cannot be a key"]),
    "an unknown alias": ("a: *b\n", ["net.yaml:1:4: found undefined alias 'b'"]),
    "types that YAML guesses": (
        "a: 2001-01-01\nb: !x y\n",
        [
            "net.yaml:1:4: is of the YAML type 'timestamp' (put it in quotes if it is meant as text)",
            "net.yaml:2:4: is of the YAML type '!x' (put it in quotes if it is meant as text)",
        ],
    ),
    "a tag that does not fit": (
        "a: !!int b\n",
        ["net.yaml:1:4: 'b' is not a whole number (put it in quotes if it is meant as text)"],
    ),
    "a list in itself": ("a: &a [*a]\n", ["net.yaml: has more than 50000 values once its aliases are followed"]),
    "a list in a list in a list ...": ("[" * 700, ["net.yaml: lists and mappings are nested too deeply"]),
    "a very long file": ("#" * 2_000_001, ["net.yaml: is longer than 2000000 bytes (is it a scenario?)"]),
}


@pytest.mark.parametrize(("text", "wrong"), UNREADABLE.values(), ids=UNREADABLE.keys())
def test_a_file_without_usable_data_gets_a_clear_message(text: str | bytes, wrong: list[str], tmp_path: Path) -> None:
    assert wrong_with(text, tmp_path) == wrong


def test_a_file_that_cannot_be_read_gets_a_clear_message(tmp_path: Path) -> None:
    for path, what in {
        tmp_path: "is a directory (name a scenario file)",
        tmp_path / "missing.yaml": "no such file",
        tmp_path / "zero\0.yaml": "cannot be read: embedded null byte",
    }.items():
        with pytest.raises(ScenarioError) as caught:
            load(path)
        assert str(caught.value) == f"{path}: {what}".replace("\0", "\\x00")


def test_every_error_is_told_in_one_pass_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = edited(
        FLAT,
        {
            "name: net": "name: net\ncolour: red",
            "192.168.0.2/24": "192.168.1.2/24",
            "vsid: 5000": "vsid: 80",
            "fd00:10::/64": "fd00:10::7/64",
            "red1: {subnet: red_net": "red1: {subnet: rednet",
            "ca: 10.0.0.2": "ca: 10.0.0.1",
            "mac: 02:00:00:00:0b:02": "mac: 02-00-00-00-0b-02",
        },
    )

    assert wrong_with(text, tmp_path) == [
        "net.yaml:2:1: colour: is not a key of this language "
        "(there are: about, expect, faults, hosts, include, links, mtu, multipath, name, nve, outside, routers, "
        "servers, tenants, title)",
        "net.yaml:7:9: links[0]: host1 (192.168.0.1/24) and host2 (192.168.1.2/24) are not in one prefix "
        "(change a PA, or put a router between them)",
        "net.yaml:11:23: tenants.red.subnets.red_net.vsid: VSID 80 is reserved: 0 to 4095 are kept for future use "
        "(RFC 7637 section 3.4) (use 4096 to 16777214)",
        "net.yaml:11:51: tenants.red.subnets.red_net.prefixes[1]: fd00:10::7/64 has bits set after the prefix "
        "(did you mean fd00:10::/64?)",
        "net.yaml:13:22: tenants.red.vms.red1.subnet: tenant red has no subnet rednet "
        "(did you mean red_net? there are: red_net)",
        "net.yaml:20:50: tenants.blue.vms.blue2.ca: 10.0.0.1 is a CA of blue1 too (both are in blue_net)",
        "net.yaml:20:65: tenants.blue.vms.blue2.mac: '02-00-00-00-0b-02' is not a MAC address "
        "(such as 02:00:0a:01:01:0b)",
    ]


def test_a_problem_can_be_used_without_its_text(tmp_path: Path) -> None:
    (tmp_path / "net.yaml").write_text(edited(FLAT, {"host: host2, ca: 10.0.0.2": "host: host3, ca: 10.0.0.2"}))

    with pytest.raises(ScenarioError) as caught:
        load(tmp_path / "net.yaml")

    assert caught.value.problems == [
        Problem(
            path="tenants.blue.vms.blue2.host",
            message="no host is called host3",
            hint="did you mean host2? there are: host1, host2",
            line=19,
            column=39,
        )
    ]


def test_a_mistake_in_merged_keys_is_told_where_it_stands(tmp_path: Path) -> None:
    text = edited(
        FLAT, {"red1: {subnet: red_net": "red1: &red {subnet: rednet", "red2: {subnet: red_net, ": "red2: {<<: *red, "}
    )

    assert [line.split(": tenant red")[0] for line in wrong_with(text, tmp_path)] == [
        "net.yaml:12:27: tenants.red.vms.red1.subnet",
        "net.yaml:12:27: tenants.red.vms.red2.subnet",
    ]


@pytest.mark.parametrize("step", ["[*a{0}, *a{0}]", "{{<<: [*a{0}, *a{0}], x{0}: 1}}"], ids=["lists", "merged keys"])
def test_aliases_that_multiply_do_not_stall_the_loader(step: str, tmp_path: Path) -> None:
    steps = (f"a{number + 1}: &a{number + 1} {step.format(number)}\n" for number in range(60))
    text = "a0: &a0 {x: 1}\n" + "".join(steps)
    start = time.monotonic()

    assert wrong_with(text, tmp_path) == ["net.yaml: has more than 50000 values once its aliases are followed"]
    assert time.monotonic() - start < 5


@st.composite
def mutilated(draw: st.DrawFn) -> str:
    """A shipped text after some accidents with lines and characters."""
    text = draw(st.sampled_from(SHIPPED_TEXTS))
    for _ in range(draw(st.integers(1, 4))):
        pieces = text.splitlines(keepends=True) if draw(st.booleans()) else list(text)
        at = draw(st.integers(0, max(0, len(pieces) - 1)))
        new = draw(
            st.sampled_from(["", "\n", "\t", "!!", "&a ", "*a", "- ", "{", "]", "null", "5", "<<: ", "'", *pieces])
        )
        pieces[at : at + 1] = [new]
        text = "".join(pieces)
    return text


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=mutilated() | st.text(max_size=200))
def test_a_mutilated_file_is_a_scenario_or_a_scenario_error(text: str, tmp_path: Path) -> None:
    for line in wrong_with(text.encode("utf-8", "surrogatepass"), tmp_path):
        assert line.startswith("net.yaml:")
