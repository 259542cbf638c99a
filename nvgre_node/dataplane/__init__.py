"""The implementations of the NVE behind one interface, `base.DataPlane`; each is a file in `planes`."""

from importlib import import_module
from pkgutil import iter_modules

from nvgre_node.dataplane.base import DataPlane, Home
from nvgre_node.dataplane.planes import __name__ as _planes
from nvgre_node.dataplane.planes import __path__ as _folders
from nvgre_node.errors import BadInputError

DATAPLANES = tuple(sorted(module.name for module in iter_modules(_folders)))
"""The names of the data planes there are."""


def implementation(name: str) -> type[DataPlane]:
    """The class of a data plane, imported only now.

    Raises:
        BadInputError: there is none of that name.
    """
    if name not in DATAPLANES:
        raise BadInputError(f"there is no data plane {name!r}; there are: {', '.join(DATAPLANES)}")
    members = vars(import_module(f"{_planes}.{name}")).values()
    found: type[DataPlane] = next(own for own in members if isinstance(own, type) and vars(own).get("name") == name)
    return found


def create(name: str, home: Home) -> DataPlane:
    """A data plane by name, not yet attached.

    Raises:
        BadInputError: there is none of that name.
    """
    return implementation(name)(home)
