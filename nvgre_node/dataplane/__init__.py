"""The implementations of the NVE behind one interface, `base.DataPlane`."""

from pathlib import Path

from nvgre_node.dataplane.base import DataPlane
from nvgre_node.errors import BadInputError

DATAPLANES = {"ebpf": "tc-BPF programs on ports and uplinks: everything in RFC 7637, at kernel speed"}
"""The data planes there are, and what each is, by name."""


def create(name: str, directory: Path) -> DataPlane:
    """A data plane by name, not yet attached; `directory`, on a BPF file system, is its own.

    Raises:
        BadInputError: there is none of that name.
    """
    if name == "ebpf":
        from nvgre_node.dataplane.ebpf import EbpfDataPlane

        return EbpfDataPlane(directory)
    raise BadInputError(f"there is no data plane {name!r}; there are: {', '.join(DATAPLANES)}")
