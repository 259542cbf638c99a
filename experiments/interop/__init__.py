"""Who understands whom: each data plane at the other end of each, and of NVGRE that nobody here wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from experiments.base import Context
    from experiments.results import Outcome


def run(context: Context) -> Outcome:
    """Tries every pair; see `conducting`."""
    from experiments.interop import conducting  # only here: what runs in a guest is in this package too

    return conducting.run(context)
