"""The command line: finds the verb, and turns errors into one message and an exit status."""

from __future__ import annotations

import importlib
import signal
import sys
from types import FrameType
from typing import NoReturn

import click

from nvgre_node.errors import BadInputError, MissingError

PASSED, FAILED, BAD_INPUT, MISSING, INTERRUPTED = 0, 1, 2, 3, 130
"""Exit status: every expectation held, one failed, bad input, the machine lacks something, Ctrl-C."""

VERBS = {
    "demo": "The main job: the Contoso/Fabrikam network, three experiments, a report.",
    "test": "Run the whole test suite (arguments go to pytest).",
    "list": "Scenarios, experiments and data planes, and what runs on this machine.",
    "check": "Validate a scenario: every error in one pass.",
    "up": "Build a scenario and open the Mininet shell.",
    "migrate": "Move a VM of a running network to another provider host.",
    "run": "Run experiments and write a run with its report.",
    "report": "Render a run again.",
    "explain": "Which records decide where a VM's packet goes.",
    "show": "A network in full, or what those that run now have counted.",
    "import-hnv": "A scenario from a PowerShell script of Hyper-V's cmdlets.",
    "doctor": "What this machine can do, or what is wrong with a network that runs.",
    "clean": "Remove what crashed runs left, and nothing else.",
    "vm": "Commands, a shell and tests in a guest with a stock kernel.",
    "mn": "Mininet's own mn, with this project's classes at hand.",
}


class Verbs(click.Group):
    """One module of `testbed.verbs` per verb, imported when it is asked for: `-h` stays quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """The verbs, in the order in which one meets them."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command of a verb, or None."""
        if cmd_name not in VERBS:
            return None
        command: click.Command = importlib.import_module(f"testbed.verbs.{cmd_name.replace('-', '_')}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Lists the verbs without importing them."""
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def cli() -> None:
    """Learn, reproduce and test NVGRE (RFC 7637).

    Start with `sudo ./nvgre demo`. Exit status: 0 every expectation held, 1 one failed, 2 bad input, 3 this machine
    lacks something.
    """


def _terminate(signum: int, _frame: FrameType | None) -> NoReturn:
    """Ends the process the way an exception does, so that everything it made is removed."""
    sys.exit(128 + signum)


def main() -> None:
    """Runs the command line and exits."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _terminate)
    try:
        status = cli.main(prog_name="./nvgre", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        status = BAD_INPUT
    except BadInputError as error:
        click.echo(str(error), err=True)
        status = BAD_INPUT
    except MissingError as error:
        click.echo(f"This machine lacks something: {error}", err=True)
        status = MISSING
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted; everything that was built is removed", err=True)
        status = INTERRUPTED
    sys.exit(status if isinstance(status, int) else PASSED)
