"""The option of every verb that takes a scenario: values in place of what its file says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


def settings_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--set PATH=VALUE`, as often as there are values to set: the parameter `sets`."""
    what = "In place of what the scenario says: nve.ttl=5, hosts.host1.vlan=7. Again for each; docs/scenarios.md."
    return click.option("--set", "sets", multiple=True, metavar="PATH=VALUE", help=what)(function)
