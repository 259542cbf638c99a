"""Links of the underlay in a VLAN: the outer 802.1Q tag of RFC 7637 section 3.2 (O4), on any kernel that has tc-BPF."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager

from nvgre_node.dataplane.build import object_file
from nvgre_node.dataplane.libbpf import Hook, Object

_VLAN = struct.Struct("=I")  # struct vlan of bpf/underlay_vlan.bpf.c
_TAG_BYTES, _TPID = 4, b"\x81\x00"


@contextmanager
def tagging(vid: int) -> Iterator[Object]:
    """The programs for one VLAN id, to be attached with `attach`; what is attached outlives them."""
    with closing(Object(object_file("underlay_vlan"), constants={".rodata.vlan": _VLAN.pack(vid)})) as programs:
        yield programs


def attach(programs: Object, ifindex: int) -> None:
    """Puts an interface of the current network namespace, all that passes it, into the VLAN."""
    programs.attach("tag", ifindex, Hook.EGRESS, before_others=True)
    programs.attach("untag", ifindex, Hook.INGRESS, before_others=True)


def without_tag(frame: bytes, vid: int) -> bytes | None:
    """A frame as the programs leave it, for who hears it before them; None if it is not of this VLAN."""
    if frame[12:14] != _TPID or int.from_bytes(frame[14:16], "big") & 0xFFF != vid:
        return None
    return frame[:12] + frame[12 + _TAG_BYTES :]
