"""Tables for a terminal. The only module that imports rich, and only commands that write to a terminal import it."""

from collections.abc import Iterable
from typing import Any, Final, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from duroctl.render.tables import Column, terminal_cell

_STYLES: Final = {
    "pending": "cyan",
    "running": "blue",
    "completed": "green",
    "failed": "red",
    "cancelled": "yellow",
    "terminated": "yellow",
    "continued_as_new": "dim",
}


def print_table(columns: Iterable[Column], records: Iterable[Any], now_ms: int, stream: TextIO) -> None:
    """Every id whole: long ones are folded, never cut."""
    shown = [column for column in columns if column.heading]
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in shown:
        number = column.kind in ("number", "bytes", "share")
        table.add_column(
            Text(column.heading or ""),
            justify="right" if number else "left",
            overflow="fold",
            no_wrap=column.kind not in ("id", "text"),
            min_width=len(column.heading or ""),
        )
    for record in records:
        table.add_row(*(_cell(column, record, now_ms) for column in shown))
    Console(file=stream, highlight=False, soft_wrap=False).print(table)


def _cell(column: Column, record: Any, now_ms: int) -> Text:
    value = column.value(record)
    text = terminal_cell(column.kind, value, now_ms)
    if column.name == "status":
        blocked = getattr(record, "blocked", None)
        shown = f"{text} (blocked)" if blocked else text
        return Text(shown, style="bold red" if blocked else _STYLES.get(str(value), ""))
    return Text(text)
