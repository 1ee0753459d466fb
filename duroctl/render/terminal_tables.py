"""Tables for a terminal, as lines. Pure."""

from collections.abc import Callable, Iterable, Iterator
from itertools import zip_longest
from typing import Any, Final, NamedTuple

from duroctl.render.layout import GAP, cells, column_widths, fold, least_width, wrap
from duroctl.render.tables import Column, terminal_cell

_STYLES: Final = {
    "pending": "36",
    "running": "34",
    "completed": "32",
    "failed": "31",
    "cancelled": "33",
    "terminated": "33",
    "continued_as_new": "2",
}
_BLOCKED: Final = "1;31"
_HEADING: Final = "1"
_INDENT: Final = 2
_SHORT_ID: Final = 24
"""Cells up to which ids are not folded, unless nothing else helps: one that is whole can be copied."""


class _Cell(NamedTuple):
    text: str
    style: str = ""
    """Parameters of the escape sequence that sets it (SGR)."""


def table_lines(
    columns: Iterable[Column],
    records: Iterable[Any],
    now_ms: int,
    width: int,
    *,
    colours: bool,
    encodable: Callable[[str], str] = str,
) -> Iterator[str]:
    """A heading and a row for each record, no line wider than ``width`` cells, no cell cut: texts are folded.

    Where even that is too wide, records come as lines ``HEADING  value``, with empty ones between them.
    ``encodable``: what the terminal can show of a text.
    """
    shown = [column for column in columns if column.heading]
    headings = [column.heading or "" for column in shown]
    rows = [[_cell(column, record, now_ms, encodable) for column in shown] for record in records]
    natural = [max(cells(each.text) for each in of) for of in zip(map(_Cell, headings), *rows, strict=True)]
    widths = None
    for folded in ({"text"}, {"text", "id"}, {"text", "id", "word"}):
        least = [
            least_width(each, column.heading or "")
            if column.kind in folded or (column.kind == "id" and each > _SHORT_ID)
            else each
            for column, each in zip(shown, natural, strict=True)
        ]
        widths = widths or column_widths(natural, least, width)
    if widths is not None:
        right = [column.kind in ("number", "bytes", "share") for column in shown]
        for row in [[_Cell(heading, _HEADING) for heading in headings], *rows]:
            yield from _row_lines(row, widths, right, colours=colours)
    elif not rows:
        yield from wrap("  ".join(headings), width)
    else:
        for at, row in enumerate(rows):
            yield from [""] * (at > 0)
            yield from _record_lines(headings, row, width)


def _cell(column: Column, record: Any, now_ms: int, encodable: Callable[[str], str]) -> _Cell:
    value = column.value(record)
    text = encodable(terminal_cell(column.kind, value, now_ms))
    if column.name != "status":
        return _Cell(text)
    if getattr(record, "blocked", None):
        return _Cell(f"{text} (blocked)", _BLOCKED)
    return _Cell(text, _STYLES.get(str(value), ""))


def _row_lines(row: list[_Cell], widths: list[int], right: list[bool], *, colours: bool) -> Iterator[str]:
    folded = [
        fold(cell.text, width, 0 if at else _INDENT) for at, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    for pieces in zip_longest(*folded, fillvalue=""):
        line = ""
        for piece, width, justified, cell in zip(pieces, widths, right, row, strict=True):
            styled = f"\x1b[{cell.style}m{piece}\x1b[0m" if colours and cell.style and piece else piece
            spaces = " " * (width - cells(piece))
            line += (spaces + styled if justified else styled + spaces) + " " * GAP
        yield line.rstrip(" ")


def _record_lines(headings: list[str], row: list[_Cell], width: int) -> Iterator[str]:
    label = max(map(len, headings)) + GAP
    for heading, cell in zip(headings, row, strict=True):
        yield from fold(f"{heading:<{label}}{cell.text}", width, min(label, width // 2))
