"""The NVE of RFC 7637 as one pure function: read this beside the RFC to learn what an NVGRE endpoint does.

`handle` takes what an NVE knows, an interface and a frame that came in there, and says which frames go out where, what
is counted, and what the frame taught; `after` adds that to what the NVE knows. They touch nothing and remember nothing;
the data planes are tested against them. Read on in
`encapsulate` (from a VM to the wire) and `decapsulate` (from the wire to a VM). The modules have the names of the C
files in `bpf/` that do the same in the kernel.
"""

from nvgre_node.dataplane.base import NO_PORT, NO_SUBNET, Drop
from nvgre_node.dataplane.model.decapsulate import from_uplink
from nvgre_node.dataplane.model.encapsulate import from_port
from nvgre_node.dataplane.model.learn import after
from nvgre_node.dataplane.model.state import Counted, CountedAtEnd, End, Learnt, Path, Result, State, dropped
from nvgre_node.dataplane.model.vlan import selected

__all__ = ["Counted", "CountedAtEnd", "End", "Learnt", "Path", "Result", "State", "after", "dropped", "handle"]


def handle(state: State, interface: str, frame: bytes) -> Result:
    """What the NVE does with a frame that came in on an interface."""
    ports = state.policy.ports_at(interface)
    if not ports:
        return from_uplink(state, interface, frame)
    port = selected(ports, frame)
    if isinstance(port, Drop):
        return dropped(NO_SUBNET, port).came_from(NO_PORT)
    return from_port(state, port, frame)
