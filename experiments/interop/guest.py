"""In a guest: tries the pairs that it is given, and prints the rows, as JSON: `python -m experiments.interop.guest`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from experiments.interop.network import reduced
from experiments.interop.trying import FULL, QUICK, TRYING, try_pairs
from topologies import load


def main() -> None:
    """Says on standard error what it is trying."""
    asked = json.loads(sys.argv[1])
    scenario = reduced(load(Path(asked["scenario"])))
    tour = QUICK if asked["quick"] else FULL

    def told(what: str) -> None:
        print(f"{TRYING}{what}", file=sys.stderr, flush=True)

    rows = try_pairs(scenario, [(left, right) for left, right in asked["pairs"]], tour, None, told)
    print(json.dumps([row.sample() for row in rows]))


if __name__ == "__main__":
    main()
