"""Sections as text: with rich on a terminal, plain and whole everywhere else."""

from collections.abc import Iterable
from textwrap import fill
from typing import Final, Literal, TextIO

from duroctl.demo.report import Column, Section

_WIDTH_MAX: Final = 100
"""Remarks are not set wider than this: longer lines are hard to read."""


def print_sections(sections: Iterable[Section], stream: TextIO) -> None:
    """Print the sections to ``stream``."""
    if stream.isatty():
        _print_rich(sections, stream)
        return
    for section in sections:
        stream.write("\n".join(_plain_lines(section)) + "\n\n")


def _plain_lines(section: Section) -> list[str]:
    rows = [tuple(column.heading for column in section.columns), *section.rows] if section.columns else []
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    table = ["  ".join(map(_padded, row, section.columns, widths)).rstrip() for row in rows]
    remark = fill(section.remark, _WIDTH_MAX).splitlines()
    return [section.title, "-" * len(section.title), *table, *remark, *section.lines]


def _padded(cell: str, column: Column, width: int) -> str:
    return cell.rjust(width) if column.number else cell.ljust(width)


def _print_rich(sections: Iterable[Section], stream: TextIO) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=stream, highlight=False)
    for section in sections:
        console.print(Text(section.title, style="bold"))
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        for column in section.columns:
            justify: Literal["right", "left"] = "right" if column.number else "left"
            table.add_column(Text(column.heading), justify=justify, no_wrap=column.number, overflow="fold")
        for row in section.rows:
            table.add_row(*map(Text, row))
        if section.columns:
            console.print(table)
        if section.remark:
            console.print(Text(fill(section.remark, min(console.width, _WIDTH_MAX)), style="italic"))
        for line in section.lines:
            console.print(Text(line), soft_wrap=True)  # a command that is longer than the line can be copied whole
        console.print()
