"""Tables on a terminal, all in one look."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table


def table(*headings: str, title: str | None = None) -> Table:
    """An empty table with these headings."""
    made = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        made.add_column(heading)
    return made


def show(made: Table) -> None:
    """Prints a table to standard output."""
    Console().print(made)
