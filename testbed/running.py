"""A network that `up` keeps running, as another process sees it: its policy, its NVEs' tables, and what is wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from nvgre_node import control, run
from nvgre_node.consistency import differences
from nvgre_node.control import Command
from nvgre_node.dataplane.decoded import NveTables
from nvgre_node.errors import BadInputError
from nvgre_node.faults import Fault, Finding
from nvgre_node.namespace import NAMED
from nvgre_node.policy import Policy
from nvgre_node.underlay import Needs, findings
from topologies import Scenario, load

if TYPE_CHECKING:
    from nvgre_node.net import NvgreNet


def commands(net: NvgreNet, scenario: Scenario) -> Mapping[str, Command]:
    """What a running network does for others, once it runs: for `Control`."""
    told = net.own.directory / f"{scenario.name}.yaml"
    told.write_text(scenario.text)

    def migrate(vm: str, host: str) -> str:
        return str(net.migrate(vm, host))

    def network() -> str:
        places = {name: vms[0].host for name, vms in net.mover.policy.machines.items()}
        return json.dumps({"scenario": str(told), "hosts": places})

    def restore() -> str:
        net.restore()
        return "routes, next hops and NVEs are as the policy has them"

    return {"migrate": migrate, "network": network, "restore": restore}


def current(run_id: str) -> Scenario:
    """The scenario of a network that runs, with its VMs where they are now.

    Raises:
        BadInputError: it cannot be asked.
    """
    told = json.loads(control.ask(run_id, "network"))
    return moved(load(told["scenario"]), told["hosts"])


def moved(scenario: Scenario, hosts: Mapping[str, str]) -> Scenario:
    """The same network, with its VMs on these hosts."""
    policy = scenario.policy
    for machine, host in hosts.items():
        if policy.machines[machine][0].host != host:
            policy = policy.moved(machine, host)
    return replace(scenario, policy=policy)


def namespace(run_id: str, node: str) -> Path:
    """Where the namespace of a node of a run is."""
    return NAMED / f"{run_id}-{node}"


@dataclass(frozen=True)
class Read:
    """What is read of the NVEs of a run, by provider host: tables; data planes without; and hosts that lost them."""

    tables: Mapping[str, NveTables]
    unread: Mapping[str, str]
    lost: tuple[str, ...]


def read(run_id: str, policy: Policy) -> Read:
    """Reads the tables of every NVE of a run; a host that is gone is in none of the three."""
    from nvgre_node.dataplane.libbpf import BpfError
    from nvgre_node.dataplane.pinned import pinned_tables
    from nvgre_node.looking import names

    tables, unread, lost = {}, {}, []
    for nve in policy.nves:
        with suppress(FileNotFoundError):
            plane = (run.ROOT / run_id / run.DATAPLANES / nve.host).read_text()
            if plane != "ebpf":
                unread[nve.host] = plane
                continue
            try:
                tables[nve.host] = pinned_tables(
                    run.ROOT / run_id / "bpf" / nve.host, names(namespace(run_id, nve.host))
                )
            except BpfError:
                lost.append(nve.host)
    return Read(tables, unread, tuple(lost))


@dataclass(frozen=True)
class Examined:
    """What is wrong with a running network, and the hosts whose NVEs cannot be read from outside, with their planes."""

    found: list[Finding]
    unread: Mapping[str, str]


def examine(run_id: str) -> Examined:
    """Looks at every NVE and every node of the underlay of a running network, and sends test packets.

    Raises:
        BadInputError: it does not run, or cannot be asked.
    """
    from nvgre_node.looking import look
    from nvgre_node.tracing import trace

    if run_id not in run.alive():
        raise BadInputError(f"no network {run_id} runs; there are: {', '.join(control.listening()) or 'none'}")
    scenario = current(run_id)
    policy = scenario.policy
    seen_by = read(run_id, policy)
    needs = Needs(policy, scenario.fabric, scenario.tenant_mtu, frozenset(seen_by.tables))

    def where(node: str) -> Path:
        return namespace(run_id, node)

    sent = trace(needs, where, look(needs, where))
    seen = look(needs, where)  # after the test packets: what they pass, the kernel has had to resolve
    lost = [Finding(Fault.NO_MAPS, frozenset({host}), {"host": host}) for host in seen_by.lost]
    return Examined([*differences(policy, seen_by.tables), *lost, *findings(needs, seen, sent)], seen_by.unread)
