"""The implementations of the NVE behind one interface, `base.DataPlane`."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from nvgre_node.dataplane.base import DataPlane
from nvgre_node.errors import BadInputError

DATAPLANES = {
    "ebpf": "tc-BPF programs on ports and uplinks: everything in RFC 7637, at kernel speed",
    "gretap": "the kernel's gretap devices and bridges: what plain Linux gives, and lacks",
    "gretap_external": "gretap devices without keys and a tc-BPF program that gives each packet its own: with FlowIDs",
    "ovs": "Open vSwitch with OpenFlow, one per host: the independent peer; in the kernel or in user space",
    "model": "the executable specification on packet sockets: slow; change a line of Python, watch the wire",
}
"""The data planes there are, and what each is, by name."""

WITHOUT_OFFLOADS = frozenset({"model", "ovs"})
"""Data planes that need frames as they are on the wire: cut to size, and with their checksums in place.

That goes for `ovs` where it forwards in user space.
"""

_CLASSES = {
    "ebpf": ("ebpf", "EbpfDataPlane"),
    "gretap": ("gretap", "GretapDataPlane"),
    "gretap_external": ("gretap_external", "GretapExternalDataPlane"),
    "ovs": ("ovs", "OvsDataPlane"),
    "model": ("live", "LiveModel"),
}


def implementation(name: str) -> type[DataPlane]:
    """The class of a data plane, imported only now.

    Raises:
        BadInputError: there is none of that name.
    """
    if name not in _CLASSES:
        raise BadInputError(f"there is no data plane {name!r}; there are: {', '.join(DATAPLANES)}")
    module, own = _CLASSES[name]
    found: type[DataPlane] = getattr(import_module(f"nvgre_node.dataplane.{module}"), own)
    return found


def datapath(name: str) -> str | None:
    """What forwards, of a data plane that leaves this to the machine: `system`, the kernel, or `netdev`; else None."""
    if name != "ovs":
        return None
    from nvgre_node.dataplane.openvswitch.datapath import chosen

    return chosen()


def takes_offloads(name: str) -> bool:
    """Whether a data plane can work, on this machine, with packets larger than the MTU and checksums yet to be made."""
    return name not in WITHOUT_OFFLOADS or datapath(name) == "system"


def create(name: str, pin_directory: Callable[[], Path], folder: Path) -> DataPlane:
    """A data plane by name, not yet attached.

    `pin_directory` makes one for it on a BPF file system, if it wants one; `folder` is its own, yet to be made.

    Raises:
        BadInputError: there is none of that name.
    """
    own = implementation(name)
    if name == "ebpf":
        return own(pin_directory())  # type: ignore[call-arg]
    return own(folder) if name == "ovs" else own()  # type: ignore[call-arg]
