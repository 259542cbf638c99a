"""Names of the scenario language made from those of a script, which may be anything. Pure."""

from __future__ import annotations

import re

from topologies.values import BadValueError, vm_name


class Names:
    """Names that are given once: to nodes, which are hosts, VMs and routers, or to tenants, or to virtual subnets."""

    def __init__(self, *taken: str, of_nodes: bool = False) -> None:
        self._taken, self._of_nodes = set(taken), of_nodes

    def new(self, wanted: str, otherwise: str, most: int = 200) -> str:
        """A name like the wanted one, or like the other, that nothing has yet."""
        stem = _name(wanted)[:most] or otherwise
        found, number = stem, 1
        while found in self._taken or (self._of_nodes and _is_refused(found)):
            number += 1
            found = f"{stem[: most - len(str(number)) - 1]}_{number}"
        self._taken.add(found)
        return found


def _name(wanted: str) -> str:
    """Small letters, digits and underscores, a letter first; nothing where no letter is left."""
    return re.sub(r"[^a-z0-9]+", "_", wanted.lower()).lstrip("_0123456789").rstrip("_")


def _is_refused(name: str) -> bool:
    """Whether Linux keeps it for itself."""
    try:
        vm_name(name)
    except BadValueError:
        return True
    return False
