"""The target file: what it says becomes a network of two NVEs, and every mistake in it is told in one pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.conformance.foreign.reasons import UNTRIED, choices
from experiments.conformance.rows import BY_ID
from nvgre_node.choices import Ecn
from topologies import ScenarioError
from topologies.target import INSIDE, OUTSIDE, TARGET, OptionsPart, TargetPart, load_target

DOCS = Path(__file__).parents[3] / "docs"
GOOD = """\
interface: eth1
nve: {pa: 192.168.1.10}
us: {pa: 192.168.1.1}
vsid: 5001
inside: {ca: 10.1.1.11}
outside: {ca: 10.1.1.12, mac: 02:00:0a:01:01:0c}
"""

WRONG = {
    "nothing": ("", ["is empty (a target file has at least interface, nve, us, vsid, inside and outside)"]),
    "a list": ("- a\n", ["1:1: is not a mapping (a target file starts like `interface: eth1`)"]),
    "everything missing": (
        "{mtu: 1500}\n",
        [
            "1:1: interface: is missing (such as interface: eth1)",
            "1:1: nve: is missing (such as nve: {pa: 192.168.1.10})",
            "1:1: us: is missing (such as us: {pa: 192.168.1.1})",
            "1:1: vsid: is missing (such as vsid: 5001)",
            "1:1: inside: is missing (such as inside: {ca: 10.1.1.11})",
            "1:1: outside: is missing (such as outside: {ca: 10.1.1.12, mac: 02:00:0a:01:01:0c})",
        ],
    ),
    "one wrong value in each line": (
        """\
interface: eth1/0
namespace: a b
mtu: 100
nve: {pa: 192.168.1.10/24, via: 224.0.0.1, mac: 01:00:5e:00:00:01}
us: {pa: 127.0.0.1, mac: 02:00:00:00:00:01}
vsid: 4095
inside: {ca: 10.1.1.300, priority_tags: maybe}
outside: {ca: 10.1.1.12}
options: {ttl: 0, ecn: some, fragment: drop, optional_fields: ignore}
""",
        [
            "1:12: interface: 'eth1/0' is not the name of an interface (such as eth1; `ip link` lists them)",
            "2:12: namespace: 'a b' is not the name of a network namespace (a name that `ip netns` lists)",
            "3:6: mtu: an MTU of 100 bytes is too small (use 576 to 65535)",
            "4:11: nve.pa: '192.168.1.10/24' is not an IP address (write the address alone)",
            "4:33: nve.via: '224.0.0.1' is not a unicast address that an NVE can have"
            " (such as 192.168.1.10 or fd00::10)",
            "4:49: nve.mac: 01:00:5e:00:00:01 is a multicast MAC address"
            " (the first byte must be even, such as 02:00:0a:01:01:0b)",
            "5:10: us.pa: '127.0.0.1' is not a unicast address that an NVE can have (such as 192.168.1.10 or fd00::10)",
            "5:21: us.mac: is not a key of this language (there are: pa)",
            "6:7: vsid: VSID 4095 is reserved: 0 to 4095 are kept for future use (RFC 7637 section 3.4)"
            " (use 4096 to 16777214)",
            "7:14: inside.ca: '10.1.1.300' is not an IP address (such as 10.1.1.11 or fd00::11)",
            "7:41: inside.priority_tags: 'maybe' is not true or false",
            "8:10: outside.mac: is missing (such as mac: 02:00:0a:01:01:0c)",
            "9:16: options.ttl: a TTL of 0 is too small (use 1 to 255)",
            "9:24: options.ecn: 'some' is not 'copy' or 'zero'",
            "9:30: options.fragment: is not a key of this language (did you mean fragments?"
            " there are: checks_source, dscp, ecn, flow_ids, fragments, optional_fields, ttl)",
            "9:63: options.optional_fields: 'ignore' is not 'drop' or 'accept'",
        ],
    ),
    "parts that do not go together": (
        """\
interface: eth1
mtu: 1279
nve: {pa: "fd00::10", via: 192.168.1.254}
us: {pa: "fd00::10"}
vsid: 5001
other_vsid: 5001
inside: {ca: 10.1.1.11, mac: 02:00:0a:01:01:0c}
outside: {ca: 10.1.1.11, mac: 02:00:0a:01:01:0c}
""",
        [
            "2:6: mtu: 1279 is less than any IPv6 link has (use 1280 or more)",
            "3:28: nve.via: 192.168.1.254 and fd00::10, which is nve.pa, are of different IP versions"
            " (an IPv6 address)",
            "4:10: us.pa: fd00::10 is nve.pa too (each has its own)",
            "6:13: other_vsid: 5001 is vsid too (that of another virtual subnet of the target, or none)",
            "8:15: outside.ca: 10.1.1.11 is inside.ca too (each has its own)",
            "8:31: outside.mac: 02:00:0a:01:01:0c is that of inside too (each has its own)",
        ],
    ),
}


def wrong_with(text: str, folder: Path) -> list[str]:
    path = folder / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ScenarioError) as caught:
        load_target(path)
    return [line.removeprefix(f"{path}:").strip() for line in str(caught.value).splitlines()]


@pytest.mark.parametrize(("text", "wrong"), WRONG.values(), ids=WRONG.keys())
def test_every_mistake_is_told_in_one_pass(text: str, wrong: list[str], tmp_path: Path) -> None:
    assert wrong_with(text, tmp_path) == wrong


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"mine\.yaml: no such file"):
        load_target(tmp_path / "mine.yaml")


def test_what_it_says_is_a_network_of_two_nves(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD + "options: {ttl: 32, ecn: zero}\n")
    target = load_target(path)
    policy = target.scenario.policy
    assert [(vm.name, str(policy.pa_of(vm)), policy.vsid_of(vm)) for vm in policy.vms] == [
        (OUTSIDE, "192.168.1.1", 5001),
        (INSIDE, "192.168.1.10", 5001),
    ]
    assert (policy.nve(TARGET).ttl, policy.nve(TARGET).ecn) == (32, Ecn.ZERO)
    assert (target.scenario.name, target.scenario.fabric.mtu, target.scenario.tenant_mtu) == ("mine", 1500, 1458)


def test_the_example_is_good_and_uses_every_word() -> None:
    text = (DOCS / "target.yaml").read_text()
    load_target(DOCS / "target.yaml")
    words = {*TargetPart.model_fields, *OptionsPart.model_fields}
    words |= {key for name in ("nve", "us", "inside", "outside") for key in _keys(name)}
    assert [word for word in words if f"{word}:" not in text] == []


def _keys(name: str) -> set[str]:
    part = TargetPart.model_fields[name].annotation
    assert part is not None
    return set(part.model_fields)


def test_reasons_and_choices_are_those_of_rows() -> None:
    assert set(UNTRIED) <= set(BY_ID)
    assert choices(OptionsPart(ttl=64, checks_source=True)) == {
        "O8": "ttl 64, dscp not stated, ecn not stated",
        "G8": "flow_ids not stated",
        "G11": "optional_fields not stated",
        "F2": "fragments not stated",
        "C1": "checks_source True",
    }
