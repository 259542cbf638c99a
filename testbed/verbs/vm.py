"""`vm`: commands, a shell and tests in a guest with a stock kernel."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.markup import escape
from rich.table import Table

from experiments.runner import RESULTS
from nvgre_node.errors import BadInputError
from testbed import tables
from testbed.vm import kernels, machine, matrix, streams
from testbed.vm.engine import Engine
from testbed.vm.job import PIPES, TERMINAL, Job
from testbed.vm.machine import MEMORY, LimitError
from testbed.vm.matrix import Column
from testbed.vm.qemu import Qemu
from testbed.vm.uml import UserModeLinux

OVER = 124
"""Exit status where a time limit ended the guest, as that of coreutils' `timeout`."""
PROJECT = Path(__file__).parents[2]
ENGINES = ("uml", "qemu")


@click.group(short_help="The same in a guest with a stock kernel.")
def command() -> None:
    """Run something in a guest with a stock kernel: User-Mode Linux, a process that boots in two seconds, or QEMU.

    The guest sees this machine's files, cannot change them, and is gone when its command ends.
    """


def guest_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of everything that boots a guest."""
    folder = click.Path(file_okay=False, path_type=Path)
    for option in (
        click.option("--engine", type=click.Choice(ENGINES), default="uml", show_default=True),
        click.option("--kernel", metavar="6.1|6.12|FILE", help="What qemu boots: Debian's, or an image. [6.1]"),
        click.option(
            "--time-limit", type=click.FloatRange(0, min_open=True), metavar="SECONDS", help="Then it is ended."
        ),
        click.option("--memory", default=MEMORY, show_default=True, metavar="MIB", help="Most that it may use."),
        click.option(
            "--bring-back",
            type=folder,
            multiple=True,
            help="A folder whose new files come back, as those of results/ do.",
        ),
    ):
        function = option(function)
    return function


_COMMAND = {"allow_interspersed_args": False}


@command.command(short_help="Run one command.", context_settings=_COMMAND)
@guest_options
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND...")
def run(words: tuple[str, ...], **options: Any) -> int:
    """Run COMMAND in a guest, in this folder; its output, error output and exit status are those of this command.

    What it writes in the project's results/ comes back; everything else that it writes is gone.
    """
    return boot(words, **options)


@command.command(short_help="Open a shell.")
@guest_options
def shell(**options: Any) -> int:
    """Open a shell in a guest, in this folder; `exit` ends both."""
    return boot(["bash", "--norc"], terminal=True, **options)


@command.command(short_help="Run tests.", context_settings={**_COMMAND, "ignore_unknown_options": True})
@guest_options
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[PYTEST ARGUMENTS]...")
def test(arguments: tuple[str, ...], **options: Any) -> int:
    """Run tests in a guest: those that ARGUMENTS name, in this folder or in the project's; without any, tests/vm.

    ARGUMENTS go to pytest, for example `-k trunk` or `tests/netns/test_trunk.py`. Tests of your own find the fixture
    `nvgre_net`: docs/ci.md.
    """
    folder, tests = where_tests_are(arguments)
    pytest = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
    return boot([*pytest, *arguments, *tests], folder=folder, **options)


def where_tests_are(arguments: Sequence[str]) -> tuple[Path, tuple[str, ...]]:
    """The folder to run pytest in, this one or the project's, and which tests to add if `arguments` name none."""
    paths = [path for word in arguments if (path := word.partition("::")[0])]
    for folder in (Path.cwd(), PROJECT):
        if any((folder / path).exists() for path in paths):
            return folder, ()
    return PROJECT, ("tests/vm",)


@command.command("matrix", short_help="The data planes on several kernels.")
@click.option(
    "--kernel",
    "kernels_",
    multiple=True,
    metavar="this|uml|6.1|6.12|FILE",
    help=f"One of them; may be repeated. [{', '.join(matrix.KERNELS)}]",
)
@click.option(
    "--time-limit", type=click.FloatRange(0, min_open=True), default=matrix.LIMIT, metavar="SECONDS", show_default=True
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def matrix_(kernels_: tuple[str, ...], time_limit: float, as_json: bool) -> int:
    """Try every data plane on this kernel, in User-Mode Linux, and on Debian's 6.1 and 6.12 by QEMU.

    Each must load, carry frames of two tenants with the same addresses, keep them apart, and keep to the MTU. The time
    limit is that of one kernel. Exit status: 0 nothing failed, 1 something did, 3 a kernel could not be tried.
    """
    chosen = kernels_ or matrix.KERNELS
    for kernel in chosen:
        if kernel not in matrix.KERNELS:
            kernels.check(kernel)
    found = matrix.columns(chosen, time_limit, lambda kernel: click.echo(f"trying: {kernel}", err=True))
    if as_json:
        click.echo(json.dumps([asdict(column) for column in found], indent=2))
    else:
        tables.show(matrix_table(found))
    return matrix.status(found)


def matrix_table(found: Sequence[Column]) -> Table:
    """Data planes by kernels, with the reason for whatever is no pass."""
    made = tables.table("data plane", *(column.heading for column in found))
    for name in found[0].cells:
        made.add_row(name, *(escape(str(column.cells[name])) for column in found))
    return made


def boot(
    words: Sequence[str],
    engine: str,
    kernel: str | None,
    time_limit: float | None,
    memory: int,
    bring_back: tuple[Path, ...],
    folder: Path | None = None,
    terminal: bool = False,
) -> int:
    """Runs a command in a guest and returns its exit status."""
    chosen = chosen_engine(engine, kernel)
    folders = [RESULTS, *(path.resolve() for path in bring_back)]
    job = Job(words, folder or Path.cwd(), folders, mode=TERMINAL if terminal else PIPES)
    with streams.terminal() if terminal else streams.pipes() as joined:
        try:
            return machine.run(job, chosen, joined, time_limit, memory)
        except LimitError as error:
            click.echo(str(error), err=True)
            return OVER


def chosen_engine(name: str, kernel: str | None) -> Engine:
    """An engine by its name. Raises BadInputError for a kernel that it cannot boot."""
    if name == "qemu":
        return Qemu(kernel or kernels.DEFAULT)
    if kernel:
        raise BadInputError(f"--kernel {kernel}: User-Mode Linux boots its own kernel; another needs --engine qemu")
    return UserModeLinux()
