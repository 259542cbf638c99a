"""The texts that the tests of scenarios edit, and what a case is made of."""

import re
from pathlib import Path
from typing import NamedTuple

from topologies import Scenario, ScenarioError, load

FLAT = """\
name: net
title: Two tenants on one link
hosts:
  host1: {pa: 192.168.0.1/24}
  host2: {pa: 192.168.0.2/24}
links: [[host1, host2]]
tenants:
  red:
    subnets:
      red_net: {vsid: 5000, prefixes: [10.0.0.0/24, fd00:10::/64]}
    vms:
      red1: {subnet: red_net, host: host1, ca: [10.0.0.1, fd00:10::1]}
      red2: {subnet: red_net, host: host2, ca: [10.0.0.2, fd00:10::2]}
  blue:
    subnets:
      blue_net: {vsid: 6000, prefixes: [10.0.0.0/24]}
    vms:
      blue1: {subnet: blue_net, host: host1, ca: 10.0.0.1, mac: 02:00:00:00:0b:01}
      blue2: {subnet: blue_net, host: host2, ca: 10.0.0.2, mac: 02:00:00:00:0b:02}
"""

LEAKY = (
    FLAT
    + """\
faults: [{subnet: red_net, record_of: red1, points_to: blue1}]
"""
)

ROUTED = """\
name: net
title: Three hosts and two routers
hosts:
  host1: {pa: 192.168.1.10/24}
  host2: {pa: 192.168.2.10/24}
  host3: {pa: 192.168.3.10/24}
routers:
  r1: {host1: 192.168.1.1/24, host2: 192.168.2.1/24, r2: 192.168.9.1/24}
  r2: {host3: 192.168.3.1/24, r1: 192.168.9.2/24}
tenants:
  red:
    subnets:
      red_net: {vsid: 5000, prefixes: [10.0.0.0/24]}
    vms:
      red1: {subnet: red_net, host: host1, ca: 10.0.0.1}
"""


PAGE = Path(__file__).parents[3] / "docs/scenarios.md"
DOCUMENTED = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
"""The examples of the page about the language."""
(EVERYTHING,) = (text for text in DOCUMENTED if "\nname: everything\n" in text)
"""The one that has every word."""


class Case(NamedTuple):
    """In a good text, `edits` replace text by text; `wrong` is all that is then said, each after `net.yaml:`."""

    name: str
    edits: dict[str, str]
    wrong: list[str]


def edited(text: str, edits: dict[str, str]) -> str:
    """The text after the edits, every one of which must find its place."""
    for old, new in edits.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


def wrong_with(text: str | bytes, folder: Path) -> list[str]:
    """The lines that `load` has to say about a text in a file `net.yaml`; none if it is a good scenario."""
    path = folder / "net.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    try:
        load(path)
    except ScenarioError as error:
        return str(error).replace(str(path), "net.yaml").splitlines()
    return []


def everything(folder: Path) -> Scenario:
    """The scenario of docs/scenarios.md, which uses every word of the language."""
    (folder / "everything.yaml").write_text(EVERYTHING)
    return load(folder / "everything.yaml")


def lines(case: Case) -> list[str]:
    """What `load` is to say of a case, in full."""
    return [f"net.yaml:{line}" for line in case.wrong]
