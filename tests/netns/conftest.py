"""Tests of running networks: they need root, and are skipped with a reason without it."""

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

_CLEANING = Path("/run/nvgre-tests.lock")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() != 0:
        here = __file__.rpartition("/")[0]
        for item in items:
            if str(item.path).startswith(here):
                item.add_marker(pytest.mark.skip(reason="building a network needs root"))


@pytest.fixture
def sole_cleaner() -> Iterator[None]:
    """For what leaves dead runs, or removes all that there are: no other such test runs meanwhile, in any process."""
    with _CLEANING.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
