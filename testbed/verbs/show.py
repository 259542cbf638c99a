"""`show`: a network with all that follows from it; what those that run now have counted, and what NVEs work from."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nvgre_node import run
from nvgre_node.dataplane import implementation
from nvgre_node.dataplane.base import NO_PORT
from nvgre_node.dataplane.capability import Capability
from nvgre_node.errors import BadInputError, MissingError
from nvgre_node.namespace import NAMED, entered, netlink
from testbed import counting
from testbed.counting import Counters, Elsewhere, PaRow, PortRow, Row
from testbed.networks import FORMATS, Format, printed
from testbed.settings import settings_option
from testbed.tables import show, table
from topologies import Scenario, load, shipped
from topologies.derived import customer_routes, lookup_records
from topologies.problems import did_you_mean

if TYPE_CHECKING:
    from nvgre_node.dataplane.pinned import PinnedPort

_T = TypeVar("_T")
RUNNING = ("counters", "records", "routes", "peers")
"""What can be shown of networks that run: no scenario has one of these names."""

Shown = dict[str, Any]
"""A row of a table, by its headings: what JSON has, and a table in words."""


def counters() -> Counters:
    """What every NVE of every live run has counted; those of the `ebpf` data plane can be read from outside."""
    from nvgre_node.dataplane.pinned import pinned_counters, pinned_pas, pinned_ports

    return Counters(
        [Row(own, host, *counted) for own, host, found in _everywhere(pinned_counters) for counted in found.items()],
        [row for own, host, found in _everywhere(pinned_ports) for row in _of_ports(own, host, found)],
        [PaRow(own, host, *counted) for own, host, found in _everywhere(pinned_pas) for counted in found.items()],
        list(_elsewhere()),
    )


def _of_ports(run_id: str, host: str, found: Sequence[PinnedPort]) -> Iterator[PortRow]:
    """Ports by the names of their interfaces; those of a trunk port are told apart as its VMs' frames are (I5)."""
    # It may have ended meanwhile.
    with suppress(FileNotFoundError), entered(NAMED / f"{run_id}-{host}"), netlink() as ip:
        names = {link["index"]: str(link.get("ifname")) for link in ip.get_links()}
        for port in found:
            name = names.get(port.ifindex, NO_PORT)
            yield PortRow(run_id, host, f"{name}.{port.vid}" if port.vid else name, port.vsid, port.counters)


def _elsewhere() -> Iterator[Elsewhere]:
    """The NVEs that nobody can read from outside, and what they do not count either."""
    wanted = (Capability.COUNTS_DROPS, Capability.COUNTS_PORTS, Capability.COUNTS_PAS)
    for run_id in run.alive():
        for path in sorted((run.ROOT / run_id / run.DATAPLANES).glob("*")):
            with suppress(FileNotFoundError):
                if (name := path.read_text()) != "ebpf":
                    lacks = [str(one) for one in wanted if one not in implementation(name).capabilities]
                    yield Elsewhere(run_id, path.name, name, lacks)


def running(what: str) -> Iterator[Shown]:
    """The records, or the routes, of every NVE of every live run."""
    from nvgre_node.dataplane.pinned import pinned_records, pinned_routes

    read: Callable[[Path], Sequence[object]] = pinned_records if what == "records" else pinned_routes
    for run_id, host, found in _everywhere(read):
        yield from ({"run": run_id, "host": host, **vars(entry)} for entry in found)


def planned(what: str, scenario: str, sets: Sequence[str] = ()) -> Iterator[Shown]:
    """The records, or the routes, of a scenario: nothing has to run."""
    policy = load(scenario, sets).policy
    return lookup_records(policy) if what == "records" else customer_routes(policy)


def _everywhere(read: Callable[[Path], _T]) -> Iterator[tuple[str, str, _T]]:
    """(run, provider host, what is read of it) for every NVE that can be read."""
    from nvgre_node.dataplane.libbpf import BpfError

    if os.geteuid() != 0:
        raise MissingError("reading BPF maps needs root: use sudo")
    for run_id in run.alive():
        for host in sorted((run.ROOT / run_id / "bpf").glob("*/counters")):
            try:
                yield run_id, host.parent.name, read(host.parent)
            except BpfError:  # the network has ended meanwhile
                continue


@dataclass(frozen=True)
class Peer:
    """A peer that an NVE has verified, and the seconds until it answered, if it did."""

    run: str
    host: str
    peer: str
    seconds: float | None


def peers() -> Iterator[Peer]:
    """The verified peers of every NVE of every live run; each is asked now."""
    from nvgre_node.dataplane.pinned import pinned_peers
    from nvgre_node.probing import probe

    for run_id, host, verified in _everywhere(pinned_peers):
        with suppress(FileNotFoundError), entered(NAMED / f"{run_id}-{host}"):  # it may have ended meanwhile
            yield from [Peer(run_id, host, str(pa), probe(pa, 1.0)) for pa in verified]


def _show_peers(found: list[Peer], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([vars(peer) for peer in found], indent=2))
        return
    made = table("run", "host", "peer", "answered")
    for peer in found:
        answered = "no answer" if peer.seconds is None else f"in {peer.seconds * 1000:.2f} ms"
        made.add_row(peer.run, peer.host, peer.peer, answered)
    if found:
        show(made)
    else:
        click.echo("no NVE of the ebpf data plane runs now that has verified peers")


@click.command(short_help="A network in full, or what those that run now have counted.")
@click.argument("what", metavar="WHAT")
@click.argument("scenario", required=False)
@click.option(
    "--as",
    "wanted",
    type=click.Choice(FORMATS),
    help="What to print a network as; yaml if not said.",
)
@settings_option
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(what: str, scenario: str | None, wanted: str | None, sets: tuple[str, ...], as_json: bool) -> None:
    """Show a network with all that follows from it, or what every NVE that runs now (of `up`, `mn` or `run`) has.

    WHAT is a scenario, a shipped name or a file. It is printed with its defaults written out and with lookup records,
    customer routes, provider addresses and provider routes: as a scenario file that loads again, as JSON, as a picture
    (svg, or dot for Graphviz, or mermaid), or as the PowerShell commands that build the same policy on Hyper-V.

    Or WHAT is one of counters, records, routes, peers. Counters are per virtual subnet, VM port and remote PA, and per
    drop reason: a drop is counted in its virtual subnet, and at the port or PA that the frame came from. Records and
    routes can also be those of a SCENARIO: then nothing has to run, and no root is needed. Peers are the other NVEs of
    this make, and how soon each answers a probe now (RFC 7637 section 3.4): none where the scenario does not say
    `nve: {probe: true}`.
    """
    if what not in RUNNING:
        if scenario:
            raise BadInputError(f"{what}: of a scenario there are records and routes, such as: show records {scenario}")
        click.echo(printed(_network(what, sets), _format(wanted, as_json)), nl=False)
        return
    if wanted:
        raise BadInputError(f"--as is for a scenario: {what} are tables, or JSON with --json")
    if sets and not scenario:
        raise BadInputError("--set is for a scenario: what runs is as it was built")
    if what == "counters":
        if scenario:
            raise BadInputError("a scenario counts nothing: counters are those of running networks")
        _show_counters(as_json)
    elif what == "peers":
        if scenario:
            raise BadInputError("a scenario has nobody to ask: peers are those of running networks")
        _show_peers(list(peers()), as_json)
    else:
        _show(list(planned(what, scenario, sets) if scenario else running(what)), what, as_json)


def _network(name: str, sets: Sequence[str]) -> Scenario:
    """The scenario of a name or file; a name that is neither may be a misspelt word as well."""
    looks_like_a_path = Path(name).suffix or len(Path(name).parts) > 1 or Path(name).exists()
    if name not in shipped() and not looks_like_a_path:
        hint = did_you_mean(name, [*RUNNING, *shipped()])
        raise BadInputError(f"{name}: neither a scenario nor what networks that run have ({hint})")
    return load(name, sets)


def _format(wanted: str | None, as_json: bool) -> Format:
    if as_json and wanted not in (None, Format.JSON):
        raise BadInputError(f"--json and --as {wanted} are two formats: leave one out")
    return Format.JSON if as_json else Format(wanted or Format.YAML)


def _show(found: list[Shown], what: str, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(found, indent=2, default=str))
    elif found:
        made = table(*(name.replace("_", " ") for name in found[0]))
        for row in found:
            made.add_row(*(_word(name, value) for name, value in row.items()))
        show(made)
    else:
        click.echo(f"there are no {what}")


def _word(name: str, value: object) -> str:
    """A value in a table: what is not there, in words."""
    absent = {"ca": "unknown", "pa": "this host", "next_hop": "on-link"}
    return absent[name] if value is None and name in absent else str(value)


def _show_counters(as_json: bool) -> None:
    found = counters()
    if as_json:
        click.echo(json.dumps(counting.as_json(found), indent=2))
    else:
        counting.print_tables(found)
