"""Reads what BPF programs write to a perf event array, by libbpf's `perf_buffer`. Knows nothing of NVGRE."""

from __future__ import annotations

import ctypes as c
import errno

from nvgre_node.dataplane.libbpf import Map, check, libbpf
from nvgre_node.errors import MissingError

_SAMPLE = c.CFUNCTYPE(None, c.c_void_p, c.c_int, c.c_void_p, c.c_uint32)
_PAGES = 32
"""Pages of memory per CPU, a power of two: 128 KiB where a page has 4 KiB."""


class PerfBuffer:
    """The reader of a map of type PERF_EVENT_ARRAY; programs can write to it from now on, until it is closed.

    Raises MissingError on a kernel without perf events.
    """

    def __init__(self, events: Map) -> None:
        self._samples: list[bytes] = []
        self._callback = _SAMPLE(self._collect)  # kept alive for as long as libbpf may call it
        new = libbpf().perf_buffer__new
        new.restype = c.c_void_p
        pointer = new(events.fd, c.c_size_t(_PAGES), self._callback, None, None, None)
        if not pointer and c.get_errno() == errno.ENOSYS:
            raise MissingError("this kernel has no perf events (CONFIG_PERF_EVENTS), by which frames are punted")
        self._pointer = c.c_void_p(pointer or check(-(c.get_errno() or 1), f"perf buffer of {events.name}"))

    def _collect(self, _context: int, _cpu: int, data: int, size: int) -> None:
        self._samples.append(c.string_at(data, size))

    def read(self) -> list[bytes]:
        """What has been written since the last call, CPU by CPU; each sample may have padding behind it."""
        check(libbpf().perf_buffer__consume(self._pointer), "read a perf buffer")
        taken, self._samples = self._samples, []
        return taken

    def close(self) -> None:
        """Frees the buffer. Safe to call twice."""
        if self._pointer:
            libbpf().perf_buffer__free(self._pointer)
            self._pointer = c.c_void_p()
