"""`vm`: commands, a shell and tests in a guest with a stock kernel."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from experiments.runner import RESULTS
from testbed.vm import machine, streams
from testbed.vm.job import PIPES, TERMINAL, Job
from testbed.vm.machine import MEMORY, LimitError
from testbed.vm.uml import UserModeLinux

OVER = 124
"""Exit status where a time limit ended the guest, as that of coreutils' `timeout`."""
PROJECT = Path(__file__).parents[2]
ENGINES = {"uml": UserModeLinux}


@click.group(short_help="The same in a guest with a stock kernel.")
def command() -> None:
    """Run something in a guest with a stock kernel: User-Mode Linux, a process that boots in two seconds.

    The guest sees this machine's files, cannot change them, and is gone when its command ends.
    """


def guest_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of everything that boots a guest."""
    folder = click.Path(file_okay=False, path_type=Path)
    for option in (
        click.option("--engine", type=click.Choice(list(ENGINES)), default="uml", show_default=True),
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
    """Run the tests that need a stock kernel, tests/vm, or those of another file or folder, in a guest.

    ARGUMENTS go to pytest, for example `-k trunk` or `tests/netns/test_trunk.py`.
    """
    pytest = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
    chosen = any((PROJECT / word.partition("::")[0]).exists() for word in arguments)
    return boot([*pytest, *arguments, *(() if chosen else ("tests/vm",))], folder=PROJECT, **options)


def boot(
    words: Sequence[str],
    engine: str,
    time_limit: float | None,
    memory: int,
    bring_back: tuple[Path, ...],
    folder: Path | None = None,
    terminal: bool = False,
) -> int:
    """Runs a command in a guest and returns its exit status."""
    folders = [RESULTS, *(path.resolve() for path in bring_back)]
    job = Job(words, folder or Path.cwd(), folders, mode=TERMINAL if terminal else PIPES)
    with streams.terminal() if terminal else streams.pipes() as joined:
        try:
            return machine.run(job, ENGINES[engine](), joined, time_limit, memory)
        except LimitError as error:
            click.echo(str(error), err=True)
            return OVER
