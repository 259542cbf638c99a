"""Finds what is there more than once. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


def repeats(items: Iterable[tuple[K | None, T]]) -> Iterator[tuple[K, T, T]]:
    """(key, first item, this item) for every item whose key an earlier one has; the key None never counts."""
    seen: dict[K, T] = {}
    for key, item in items:
        if key is None:
            continue
        if key in seen:
            yield key, seen[key], item
        else:
            seen[key] = item
