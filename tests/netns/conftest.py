"""Tests of running networks: they need root, and are skipped with a reason without it."""

import os

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() != 0:
        here = __file__.rpartition("/")[0]
        for item in items:
            if str(item.path).startswith(here):
                item.add_marker(pytest.mark.skip(reason="building a network needs root"))
