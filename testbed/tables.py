"""Tables on a terminal, all in one look."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

_PIPE_COLUMNS = 160


def table(*headings: str, title: str | None = None) -> Table:
    """An empty table with these headings."""
    made = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        made.add_column(heading)
    return made


def show(made: Table) -> None:
    """Prints a table to standard output."""
    console().print(made)


def console() -> Console:
    """Standard output: as wide as the terminal, and wide enough for whole sentences where it is none."""
    found = Console()
    return found if found.is_terminal else Console(width=_PIPE_COLUMNS)
