"""The ends of an NVE, between which it carries frames, and by which it counts them: VMs' ports and remote PAs. Pure."""

from __future__ import annotations

from nvgre_node.dataplane.base import NO_PA, NO_PORT
from nvgre_node.dataplane.layouts import END_FIRST_PORT, END_NO_PA, END_NO_PORT, SPARE_PAS
from nvgre_node.groups import ascending
from nvgre_node.policy import Address, NvePolicy


class Ends:
    """Their numbers: ports in the order of the policy, then PAs, and room for some that records bring later."""

    def __init__(self, policy: NvePolicy) -> None:
        ports = {port.name: END_FIRST_PORT + number for number, port in enumerate(policy.ports, start=1)}
        self.ports = {NO_PORT: END_NO_PORT, **ports}
        self._next = END_NO_PA + 1 + len(ports)
        self.size = self._next + len(policy.peer_pas) + SPARE_PAS
        self.pas = {NO_PA: END_NO_PA}
        for pa in ascending(policy.peer_pas):
            self.of_pa(pa)

    def of_pa(self, pa: Address) -> int:
        """The number of a PA: a new one, if it has none; once there are no more, that of NO_PA."""
        if pa not in self.pas and self._next < self.size:
            self.pas[pa], self._next = self._next, self._next + 1
        return self.pas.get(pa, END_NO_PA)
