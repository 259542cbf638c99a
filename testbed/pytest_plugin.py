"""Networks as a pytest fixture, here and in the test suites of people who put isolation tests into their own CI."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def nvgre_net() -> Iterator[Callable[..., Any]]:
    """Builds running networks that are gone when the test ends, whatever happens.

    `net = nvgre_net("two_hosts")`, or with the path of a scenario, or with a Scenario; keywords are those of
    NvgreNet, and `sets` are settings as of `--set`: `nvgre_net("two_hosts", sets=["nve.ttl=5"])`.
    A test that asks for it is skipped where networks cannot be built, with the reason.
    """
    if os.geteuid() != 0:
        pytest.skip("building a network needs root")
    from nvgre_node.net import NvgreNet
    from topologies import load

    with ExitStack() as stack:

        def build(scenario: Any, sets: Sequence[str] = (), **options: Any) -> NvgreNet:
            loaded = load(scenario, sets) if isinstance(scenario, str | Path) else scenario
            return stack.enter_context(NvgreNet(loaded, **options))

        yield build
