"""The frames that an NVE hands to user space because no lookup record knows where they go (B6)."""

from __future__ import annotations

import struct
from collections.abc import Callable

from nvgre_node.dataplane.base import Punted
from nvgre_node.dataplane.libbpf import Map
from nvgre_node.dataplane.perf import PerfBuffer

_HEAD = struct.Struct("=III")  # struct punted in bpf/punt.h


class PuntReader:
    """Takes punted frames out of the buffer that the programs write them to; `name_of` knows ports by index."""

    def __init__(self, punts: Map, name_of: Callable[[int], str]) -> None:
        self._buffer = PerfBuffer(punts)
        self._name_of = name_of

    def read(self) -> list[Punted]:
        """The frames since the last call."""
        return [self._punted(sample) for sample in self._buffer.read()]

    def _punted(self, sample: bytes) -> Punted:
        ifindex, vsid, length = _HEAD.unpack_from(sample)
        return Punted(self._name_of(ifindex), vsid, sample[_HEAD.size : _HEAD.size + length])

    def close(self) -> None:
        """Lets the programs drop from now on."""
        self._buffer.close()
