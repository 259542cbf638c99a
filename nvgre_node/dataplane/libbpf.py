"""A thin binding to libbpf 1.x: objects, maps, tc hooks and test runs. Needs root; knows nothing of NVGRE.

libbpf does the ELF and BTF work; its C interface is stable within the major version, which is all that ctypes needs.
"""

from __future__ import annotations

import ctypes as c
import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Any

from nvgre_node.waiting import wait_until

_ANY_ALIGNMENT = 1 << 1
"""BPF_F_ANY_ALIGNMENT: kernels such as User-Mode Linux forbid it although the machine can."""
_REPLACE = 1 << 0
"""BPF_TC_F_REPLACE."""
_PATIENCE = 2.0
_PIN_OWNER_ONLY = 0o700
_LOG_BYTES, _LOG_LINES = 1 << 24, 40
"""The verifier's log can be as long as libbpf's buffer for it; what it objects to is in its last lines."""


class Hook(IntEnum):
    """Where at an interface a tc program is: BPF_TC_INGRESS, BPF_TC_EGRESS."""

    INGRESS = 1
    EGRESS = 2


class BpfError(OSError):
    """libbpf refused; `strerror` says what was tried, and the verifier's last words where there are any."""


class _TcHook(c.Structure):
    _fields_ = [("sz", c.c_size_t), ("ifindex", c.c_int), ("attach_point", c.c_int), ("parent", c.c_uint32)]


class _TcOpts(c.Structure):
    _fields_ = [
        ("sz", c.c_size_t),
        ("prog_fd", c.c_int),
        ("flags", c.c_uint32),
        ("prog_id", c.c_uint32),
        ("handle", c.c_uint32),
        ("priority", c.c_uint32),
    ]


class _TestRunOpts(c.Structure):
    _fields_ = [
        ("sz", c.c_size_t),
        ("data_in", c.c_char_p),
        ("data_out", c.c_void_p),
        ("data_size_in", c.c_uint32),
        ("data_size_out", c.c_uint32),
        ("ctx_in", c.c_void_p),
        ("ctx_out", c.c_void_p),
        ("ctx_size_in", c.c_uint32),
        ("ctx_size_out", c.c_uint32),
        ("retval", c.c_uint32),
        ("repeat", c.c_int),
        ("duration", c.c_uint32),
        ("flags", c.c_uint32),
        ("cpu", c.c_uint32),
        ("batch_size", c.c_uint32),
    ]


class SkBuff(c.Structure):
    """The start of the kernel's `struct __sk_buff`: the context of a tc program."""

    _fields_ = [
        ("len", c.c_uint32),
        ("pkt_type", c.c_uint32),
        ("unused", c.c_uint32 * 7),
        ("ingress_ifindex", c.c_uint32),
        ("ifindex", c.c_uint32),
        ("rest", c.c_uint32 * 37),
    ]


_PRINT = c.CFUNCTYPE(c.c_int, c.c_int, c.c_char_p, c.c_void_p)
_log: list[str] = []


def _collect(level: int, fmt: bytes, args: int) -> int:
    """Collects what libbpf warns of, for the next BpfError. The va_list goes to C as it came."""
    if level == 0:
        buffer = c.create_string_buffer(_LOG_BYTES)
        c.CDLL(None).vsnprintf(buffer, c.c_size_t(len(buffer)), fmt, c.c_void_p(args))
        _log.append("\n".join(buffer.value.decode(errors="replace").splitlines()[-_LOG_LINES:]))
    return 0


_collect_callback = _PRINT(_collect)  # kept alive for as long as libbpf may call it


@cache
def libbpf() -> c.CDLL:
    """The library. Raises BpfError where there is none."""
    try:
        lib = c.CDLL("libbpf.so.1", use_errno=True)
    except OSError as error:
        raise BpfError(0, "libbpf 1.x is missing (Debian: apt-get install libbpf1)") from error
    for name in (
        "bpf_object__open_file",
        "bpf_object__next_map",
        "bpf_object__next_program",
        "bpf_object__find_map_by_name",
        "bpf_object__find_program_by_name",
    ):
        getattr(lib, name).restype = c.c_void_p
    lib.bpf_map__name.restype = c.c_char_p
    lib.bpf_map__is_internal.restype = c.c_bool
    lib.libbpf_set_print(_collect_callback)
    return lib


def check(result: int, what: str) -> int:
    """What libbpf returned, unless that is an error: then BpfError, with what it warned of."""
    if result < 0:
        log, _log[:] = "\n".join(_log[-3:]), []
        raise BpfError(-result, f"{what}: {os.strerror(-result)}{chr(10) if log else ''}{log}")
    return result


def _opened(pointer: int | None, what: str) -> int:
    return pointer or check(-(c.get_errno() or 2), what)


def _per_cpu(value_size: int) -> int:
    """Bytes of all CPUs' values together, each rounded up to 8."""
    return (value_size + 7) // 8 * 8 * int(libbpf().libbpf_num_possible_cpus())


class Map:
    """One BPF map, addressed in bytes: keys and values are exactly `key_size` and `value_size` bytes long."""

    def __init__(self, name: str, fd: int, key_size: int, value_size: int) -> None:
        self.name, self.fd, self.key_size, self.value_size = name, fd, key_size, value_size

    @classmethod
    def pinned(cls, path: Path, key_size: int, value_size: int, *, per_cpu: bool = False) -> Map:
        """A map that somebody pinned; `value_size` is that of one CPU's value. Raises BpfError if there is none."""
        descriptor = check(libbpf().bpf_obj_get(str(path).encode()), f"open {path}")
        return cls(path.name, descriptor, key_size, _per_cpu(value_size) if per_cpu else value_size)

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self._fits(key, value)
        result = -errno.ENOMEM

        def is_written() -> bool:
            nonlocal result
            result = libbpf().bpf_map_update_elem(self.fd, key, value, c.c_uint64(0))
            return bool(result != -errno.ENOMEM)  # the kernel sets a few entries aside, and gets more in its own time

        with suppress(TimeoutError):
            wait_until(is_written, "memory for an entry", timeout=_PATIENCE)
        check(result, f"map {self.name}: write")

    def __delitem__(self, key: bytes) -> None:
        check(libbpf().bpf_map_delete_elem(self.fd, key), f"map {self.name}: delete")

    def get(self, key: bytes) -> bytes | None:
        """The value at `key`, or None. For a per-CPU map: one value after the other, each rounded up to 8 bytes."""
        value = c.create_string_buffer(self.value_size)
        return value.raw if libbpf().bpf_map_lookup_elem(self.fd, key, value) == 0 else None

    def __iter__(self) -> Iterator[bytes]:
        key, found = None, c.create_string_buffer(self.key_size)
        while libbpf().bpf_map_get_next_key(self.fd, key, found) == 0:
            key = found.raw
            yield key

    def close(self) -> None:
        """Gives up a pinned map; those of an Object are closed with it."""
        os.close(self.fd)

    def _fits(self, key: bytes, value: bytes) -> None:
        if len(key) != self.key_size or len(value) != self.value_size:
            raise ValueError(
                f"map {self.name} takes {self.key_size} and {self.value_size} bytes, not {len(key)} and {len(value)}"
            )


@dataclass(frozen=True)
class Verdict:
    """What a program did with a frame: its tc action, the frame as it left it, and nanoseconds per run."""

    action: int
    frame: bytes
    nanoseconds: int


class Object:
    """A loaded BPF object file: its maps by name, sized as told, and its tc programs.

    `constants` are the contents of sections of read-only data, by name: what the verifier may take for granted. `maps`
    of another object take the place of its own.
    """

    def __init__(
        self,
        path: Path,
        max_entries: Mapping[str, int] | None = None,
        constants: Mapping[str, bytes] | None = None,
        maps: Mapping[str, Map] | None = None,
    ) -> None:
        lib = libbpf()
        self._pointer = c.c_void_p(_opened(lib.bpf_object__open_file(str(path).encode(), None), f"open {path}"))
        try:
            for name, entries in (max_entries or {}).items():
                check(lib.bpf_map__set_max_entries(self._find(name), c.c_uint32(entries)), f"size of map {name}")
            for name, data in (constants or {}).items():
                size = c.c_size_t(len(data))
                check(lib.bpf_map__set_initial_value(self._find(name), data, size), f"contents of {name}")
            for name, found in (maps or {}).items():
                check(lib.bpf_map__reuse_fd(self._find(name), found.fd), f"reuse of map {name}")
            for program in self._all("program"):
                check(lib.bpf_program__set_flags(program, _ANY_ALIGNMENT), "alignment of programs")
            check(lib.bpf_object__load(self._pointer), f"load {path}")
        except BpfError:
            self.close()
            raise
        self.maps = {found.name: found for found in self._maps()}

    def _find(self, name: str) -> c.c_void_p:
        found = libbpf().bpf_object__find_map_by_name(self._pointer, name.encode())
        return c.c_void_p(_opened(found, f"no map {name}"))

    def _all(self, kind: str) -> Iterator[c.c_void_p]:
        """All of its programs, or maps."""
        following, pointer = getattr(libbpf(), f"bpf_object__next_{kind}"), None
        while pointer := following(self._pointer, c.c_void_p(pointer)):
            yield c.c_void_p(pointer)

    def _maps(self) -> Iterator[Map]:
        """The maps that are not sections of data."""
        lib = libbpf()
        for handle in self._all("map"):
            if lib.bpf_map__is_internal(handle):
                continue
            size = lib.bpf_map__value_size(handle)
            if lib.bpf_map__type(handle) in (5, 6):  # BPF_MAP_TYPE_PERCPU_HASH, _PERCPU_ARRAY
                size = _per_cpu(size)
            yield Map(lib.bpf_map__name(handle).decode(), lib.bpf_map__fd(handle), lib.bpf_map__key_size(handle), size)

    def pin(self, directory: Path) -> None:
        """Pins every map under `directory`, which is on a BPF file system; created if missing."""
        directory.mkdir(mode=_PIN_OWNER_ONLY, parents=True, exist_ok=True)
        for found in self.maps.values():
            check(libbpf().bpf_obj_pin(found.fd, str(directory / found.name).encode()), f"pin {found.name}")

    def attach(self, program: str, ifindex: int, at: Hook = Hook.INGRESS, *, before_others: bool = False) -> None:
        """Attaches a program to the clsact qdisc of an interface of the *current* network namespace.

        It takes the place of the one that is there, at once. One that comes `before_others` lets them decide by
        returning TC_ACT_UNSPEC.
        """
        hook = _TcHook(c.sizeof(_TcHook), ifindex, at, 0)
        created = libbpf().bpf_tc_hook_create(c.byref(hook))
        if created != -17:  # EEXIST: somebody has made the clsact qdisc already
            check(created, f"clsact on interface {ifindex}")
        opts = _TcOpts(
            sz=c.sizeof(_TcOpts),
            prog_fd=self.program(program),
            flags=_REPLACE,
            handle=1,
            priority=1 if before_others else 2,
        )
        check(libbpf().bpf_tc_attach(c.byref(hook), c.byref(opts)), f"attach {program} to interface {ifindex}")

    def test_run(self, program: str, frame: bytes, ifindex: int, repeat: int = 1) -> Verdict:
        """Runs a program on one frame as if it had come in on `ifindex` of the current network namespace."""
        out = c.create_string_buffer(len(frame) + 256)
        context = SkBuff(ingress_ifindex=ifindex, ifindex=ifindex)
        opts: Any = _TestRunOpts(
            sz=c.sizeof(_TestRunOpts),
            data_in=frame,
            data_size_in=len(frame),
            data_out=c.cast(out, c.c_void_p),
            data_size_out=len(out),
            ctx_in=c.cast(c.byref(context), c.c_void_p),
            ctx_size_in=c.sizeof(context),
            repeat=repeat,
        )
        check(libbpf().bpf_prog_test_run_opts(self.program(program), c.byref(opts)), f"test run of {program}")
        return Verdict(opts.retval, out.raw[: opts.data_size_out], opts.duration)

    def program(self, name: str) -> int:
        """The file descriptor of a program, which lives as long as the object."""
        found = libbpf().bpf_object__find_program_by_name(self._pointer, name.encode())
        return int(libbpf().bpf_program__fd(c.c_void_p(_opened(found, f"no program {name}"))))

    def close(self) -> None:
        """Frees the object. Attached programs and pinned maps live on in the kernel."""
        if self._pointer:
            libbpf().bpf_object__close(self._pointer)
            self._pointer = c.c_void_p()
