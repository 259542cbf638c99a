"""Waiting on a condition, the only way in which this project waits."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")


def wait_until(condition: Callable[[], _T], what: str, timeout: float = 10.0, interval: float = 0.005) -> _T:
    """Calls `condition` every `interval` seconds until it is true, and returns what it returned.

    Raises:
        TimeoutError: still not true after `timeout` seconds; the message is `what`.
    """
    deadline = time.monotonic() + timeout
    while True:
        if result := condition():
            return result
        if time.monotonic() >= deadline:
            raise TimeoutError(f"waited {timeout:g} s for {what}")
        time.sleep(interval)
