"""`import-hnv`: makes a scenario of a script with the cmdlets of Hyper-V Network Virtualization."""

from __future__ import annotations

import json
from pathlib import Path

import click

from nvgre_node.errors import BadInputError
from topologies.powershell import LANGUAGE, imported
from topologies.source import read_text


@click.command(short_help="A scenario from a PowerShell script of Hyper-V's cmdlets.")
@click.argument("file", metavar="FILE.ps1")
@click.option("--output", "output", metavar="FILE", help="Write the scenario there instead of printing it.")
@click.option("--force", is_flag=True, help="Let --output write over a file that is there.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(file: str, output: str | None, force: bool, as_json: bool) -> None:
    """Print the scenario of FILE.ps1, a script with the cmdlets of Hyper-V Network Virtualization (module NetWNV).

    It reads New-NetVirtualizationLookupRecord, -CustomerRoute, -ProviderAddress, -ProviderRoute and
    Set-NetVirtualizationGlobal, with variables, quotes and backticks; what decides or repeats it does not read. Every
    error is told in one pass, as file:line:column. What the script leaves open is assumed, and said in comments.
    Nothing is built; no root is needed.
    """
    found = imported(read_text(Path(file), file, LANGUAGE), file)
    if output is not None:
        _write(Path(output), found.text(), force)
        for note in found.notes:
            click.echo(f"{output}: assumed, or left out: {note}", err=True)
    elif as_json:
        click.echo(json.dumps({"scenario": found.data, "notes": found.notes}, indent=2))
    else:
        click.echo(found.text(), nl=False)


def _write(path: Path, text: str, force: bool) -> None:
    """Writes a file; one that is there only if told to."""
    try:
        with path.open("w" if force else "x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise BadInputError(f"{path}: is there already; --force writes over it") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BadInputError(f"{path}: cannot be written: {reason}") from None
