"""Tests that need a stock kernel: they run in guests, and are skipped with a reason anywhere else."""

import os

import pytest

from testbed.vm.job import INSIDE


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if INSIDE not in os.environ:
        here = __file__.rpartition("/")[0]
        for item in items:
            if str(item.path).startswith(here):
                item.add_marker(
                    pytest.mark.skip(reason="not in a guest; tests/netns/test_in_a_guest.py runs it in one")
                )
