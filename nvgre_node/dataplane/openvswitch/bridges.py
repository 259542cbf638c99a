"""Bridges and ports as rows of the Open vSwitch database, by one transaction each time (RFC 7047)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nvgre_node.dataplane.openvswitch.datapath import REMEDIES
from nvgre_node.dataplane.openvswitch.jsonrpc import Rpc, RpcError
from nvgre_node.errors import MissingError

_DATABASE = "Open_vSwitch"
_CONFIGURED_MILLISECONDS = 15_000


@dataclass(frozen=True)
class Interface:
    """A port of a bridge: an interface of the kernel (no type), or a tunnel."""

    name: str
    of_port: int
    type: str = ""
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Bridge:
    """A bridge that does what its flows say and nothing else; its own interface has this MAC address, if given."""

    name: str
    interfaces: Sequence[Interface]
    mac: str | None = None


def create(database: Rpc, datapath: str, bridges: Sequence[Bridge]) -> None:
    """Makes bridges of a datapath type, and waits until ovs-vswitchd has configured them.

    Raises:
        MissingError: this machine has no such datapath.
        RpcError: the database refuses, or an interface could not become a port.
    """
    operations = [one for bridge in bridges for one in _bridge(bridge, datapath)]
    made = [["named-uuid", _uuid(bridge.name)] for bridge in bridges]
    limits = {"vlan-limit": "0"}  # read as many tags as it can: two
    operations += [
        _mutate("bridges", "insert", ["set", made]),
        _mutate("other_config", "insert", _map(limits)),
        _mutate("next_cfg", "+=", 1),
        {"op": "select", "table": _DATABASE, "where": [], "columns": ["next_cfg"]},
    ]
    (row,) = _transact(database, operations)[-1]["rows"]
    _await(database, row["next_cfg"])
    _check(database, datapath)


def _bridge(bridge: Bridge, datapath: str) -> list[dict[str, Any]]:
    ports = [Interface(bridge.name, 65534, "internal"), *bridge.interfaces]
    made = [operation for port in ports for operation in _port(port, f"{bridge.name}_{port.name}")]
    row: dict[str, Any] = {
        "name": bridge.name,
        "datapath_type": datapath,
        "fail_mode": "secure",
        "protocols": ["set", ["OpenFlow13", "OpenFlow14", "OpenFlow15"]],
        "ports": ["set", [["named-uuid", _uuid(f"port_{bridge.name}_{port.name}")] for port in ports]],
        "other_config": _map({"hwaddr": bridge.mac} if bridge.mac else {}),
    }
    return [*made, {"op": "insert", "table": "Bridge", "row": row, "uuid-name": _uuid(bridge.name)}]


def _port(port: Interface, key: str) -> list[dict[str, Any]]:
    row: dict[str, Any] = {"name": port.name, "type": port.type, "options": _map(port.options)}
    if port.type != "internal":
        row["ofport_request"] = port.of_port
    interface = {"op": "insert", "table": "Interface", "row": row, "uuid-name": _uuid(f"interface_{key}")}
    own = {"name": port.name, "interfaces": ["named-uuid", _uuid(f"interface_{key}")]}
    return [interface, {"op": "insert", "table": "Port", "row": own, "uuid-name": _uuid(f"port_{key}")}]


def _uuid(name: str) -> str:
    """A name as RFC 7047 has them: letters, digits and underscores."""
    return "row_" + name.encode().hex()


def _map(entries: Mapping[str, str]) -> list[Any]:
    return ["map", [[key, value] for key, value in entries.items()]]


def _mutate(column: str, mutator: str, value: object) -> dict[str, Any]:
    return {"op": "mutate", "table": _DATABASE, "where": [], "mutations": [[column, mutator, value]]}


def _transact(database: Rpc, operations: Sequence[dict[str, Any]]) -> list[Any]:
    results = database.call("transact", _DATABASE, *operations)
    if errors := [result for result in results if result and "error" in result]:
        raise RpcError(f"{errors[0]['error']}: {errors[0].get('details', '')}")
    return list(results)


def prepare(database: Rpc) -> None:
    """Gives a new database its one row, without which ovs-vswitchd does nothing."""
    _transact(database, [{"op": "insert", "table": _DATABASE, "row": {}}])


def _await(database: Rpc, number: int) -> None:
    """Waits until the configuration of this number is in force."""
    wait = {"op": "wait", "table": _DATABASE, "where": [], "columns": ["cur_cfg"], "until": "=="}
    _transact(database, [{**wait, "rows": [{"cur_cfg": number}], "timeout": _CONFIGURED_MILLISECONDS}])


def _check(database: Rpc, datapath: str) -> None:
    select = {"op": "select", "table": "Bridge", "where": [], "columns": ["name", "datapath_id"]}
    for row in _transact(database, [select])[0]["rows"]:
        if row["datapath_id"] == ["set", []]:
            raise MissingError(f"Open vSwitch cannot make {row['name']} here: {REMEDIES[datapath]}")
    select = {"op": "select", "table": "Interface", "where": [], "columns": ["name", "ofport", "error"]}
    for row in _transact(database, [select])[0]["rows"]:
        if row["error"] != ["set", []] or row["ofport"] == -1:
            raise RpcError(f"Open vSwitch cannot use {row['name']}: {row['error']}")
