"""In a guest: a tenant that does what it is told, line by line, as JSON: `python -m experiments.interop.agent`.

The program at the other side is `stations.Remote`; each line names what to `do`, and the answer is `is`, or `error`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from experiments.interop.stations import Here, Interface, packed, unpacked
from nvgre_node.namespace import netlink, set_sysctl

_IFA_F_NODAD = 0x02


class Agent:
    """A tenant with one interface."""

    def __init__(self) -> None:
        self._stack, self._serving = ExitStack(), ExitStack()
        self._orders: dict[str, Callable[..., Any]] = {
            "settle": self._settle,
            "ping": lambda address, seconds: self._station.ping(address, seconds),
            "say": lambda frames: self._station.say(unpacked(frames)),
            "hear": lambda milliseconds: packed(self._station.hear(milliseconds)),
            "serve": lambda address: self._serving.enter_context(self._station.serve(address)),
            "serve_no_more": self._serving.close,
            "stream": lambda address, seconds, segment: self._station.stream(address, seconds, segment),
        }

    def answer(self, line: str) -> str:
        """Does what a line says, and says what came of it."""
        order = json.loads(line)
        try:
            return json.dumps({"is": self._orders[order.pop("do")](**order)})
        except Exception as error:
            return json.dumps({"error": f"{type(error).__name__}: {error}"})

    def _settle(self, interface: str, mac: str, cas: list[str]) -> None:
        """Has the interface up with these addresses, and listens there."""
        for name, value in {"accept_ra": 0, "accept_dad": 0, "router_solicitations": 0}.items():
            set_sysctl(f"ipv6/conf/{interface}/{name}", value)
        with netlink() as ip:
            (index,) = ip.link_lookup(ifname=interface)
            ip.link("set", index=index, address=mac)
            ip.link("set", index=index, state="up")
            for ca in cas:
                address, _, length = ca.partition("/")
                own = {"flags": _IFA_F_NODAD} if ":" in address else {}
                ip.addr("add", index=index, address=address, prefixlen=int(length), **own)
        self._station = self._stack.enter_context(Interface(Here(), interface))


def main() -> None:
    """Answers line by line until there are no more."""
    agent = Agent()
    print("ready", flush=True)
    for line in sys.stdin:
        print(agent.answer(line), flush=True)


if __name__ == "__main__":
    main()
