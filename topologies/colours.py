"""The colours of tenants, the same in every picture: colour-blind people can tell them apart. Pure."""

from __future__ import annotations

from collections.abc import Iterable

# From Okabe and Ito's palette (jfly.uni-koeln.de/color), darker where a name is to be written in the colour.
_BLUE, _AMBER, _GREEN = "#0072B2", "#C47900", "#009E73"
TENANTS = (_BLUE, _AMBER, _GREEN, "#B0568A", "#2E8BC0", "#7A68A6")
_NAMESAKES = {"red": "#C0321A", "blue": _BLUE, "green": _GREEN, "orange": _AMBER}


def tenant_colours(tenants: Iterable[str]) -> dict[str, str]:
    """A colour per tenant: its namesake (a red tenant is red), else by order of appearance; repeats after the sixth."""
    names = list(dict.fromkeys(tenants))
    free = [colour for colour in TENANTS if colour not in {_NAMESAKES.get(name) for name in names}]
    others = [name for name in names if name not in _NAMESAKES]
    return {name: _NAMESAKES.get(name) or free[others.index(name) % len(free)] for name in names}
