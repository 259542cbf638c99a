"""The network of a scenario in the formats that `show --as` knows: for people, for programs, and for Hyper-V."""

from __future__ import annotations

import json
from enum import StrEnum

from topologies.derived import derived
from topologies.emit import comment, one_line, yaml_text
from topologies.graphs import dot, mermaid
from topologies.powershell import script
from topologies.scenario import Scenario
from topologies.written import written


class Format(StrEnum):
    """What a network is printed as."""

    YAML = "yaml"
    JSON = "json"
    DOT = "dot"
    SVG = "svg"
    MERMAID = "mermaid"
    POWERSHELL = "powershell"


FORMATS = tuple(str(own) for own in Format)


def printed(scenario: Scenario, wanted: Format) -> str:
    """A network as text, with a newline at its end."""
    match wanted:
        case Format.YAML:
            return _yaml(scenario)
        case Format.JSON:
            return json.dumps({"scenario": written(scenario), **derived(scenario)}, indent=2) + "\n"
        case Format.DOT:
            return dot(scenario)
        case Format.MERMAID:
            return mermaid(scenario)
        case Format.SVG:
            return _svg(scenario)
        case Format.POWERSHELL:
            return script(scenario)


def _yaml(scenario: Scenario) -> str:
    """A scenario file, and below it, as comments, what follows from it: the language has no words for that."""
    lines = ["What follows from it, and so has no words of its own in this language:"]
    for name, rows in derived(scenario).items():
        lines += ["", f"{name}:" if rows else f"{name}: []"]
        lines += [f"  - {one_line({key: value for key, value in row.items() if value is not None})}" for row in rows]
    return yaml_text(written(scenario)) + "\n" + comment(lines)


def _svg(scenario: Scenario) -> str:
    # Only here: matplotlib takes a second to import.
    from experiments.plots import style, topology

    return style.svg(topology.draw(scenario.policy, scenario.fabric))
