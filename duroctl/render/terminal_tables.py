"""Tables for a terminal, as lines. Pure."""

from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate, zip_longest
from typing import Any, Final, NamedTuple

from duroctl.render.layout import GAP, cells, column_widths, fold, gap_between, is_word, least_width, wrap
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
_SHORT_IDS: Final = (24, 12, 0)
"""Cells up to which ids have room in their column, the fewer the less there is."""


class _Cell(NamedTuple):
    text: str
    style: str = ""
    """Parameters of the escape sequence that sets it (SGR)."""
    whole: bool = False
    """It is never folded: it can be copied. Where its column is too narrow, it has a line to itself."""


class _Place(NamedTuple):
    """Where the cells of a column stand."""

    start: int
    width: int
    right: bool


def table_lines(
    columns: Iterable[Column],
    records: Iterable[Any],
    now_ms: int,
    width: int,
    *,
    colours: bool,
    encodable: Callable[[str], str] = str,
) -> Iterator[str]:
    """A heading and a row for each record, no line wider than ``width`` cells, no cell cut: texts are folded, and what
    follows an id that is too wide for its column stands below it. An id by itself may be wider than the terminal.

    Where even that is too wide, records come as lines ``HEADING  value``, with empty ones between them.
    ``encodable``: what the terminal can show of a text.
    """
    shown = [column for column in columns if column.heading]
    headings = [column.heading or "" for column in shown]
    rows = [[_cell(column, record, now_ms, encodable) for column in shown] for record in records]
    if (places := _places(shown, headings, rows, width)) is not None:
        for row in [[_Cell(heading, _HEADING) for heading in headings], *rows]:
            yield from _row_lines(row, places, width, colours=colours)
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
        return _Cell(text, whole=column.kind == "id" and is_word(text))
    if getattr(record, "blocked", None):
        return _Cell(f"{text} (blocked)", _BLOCKED)
    return _Cell(text, _STYLES.get(str(value), ""))


def _places(columns: list[Column], headings: list[str], rows: list[list[_Cell]], width: int) -> list[_Place] | None:
    """None: the columns do not fit beside each other."""
    of_columns = list(zip(map(_Cell, headings), *rows, strict=True))
    natural = [max(cells(each.text) for each in of) for of in of_columns]
    gap = gap_between(natural, width)
    widths = None
    for whole in _SHORT_IDS:
        least = [_least(*each, whole) for each in zip(columns, of_columns, natural, strict=True)]
        widths = widths or column_widths(natural, least, width, gap)
    if widths is None:
        return None
    # Ids that will have a line to themselves need no room in their column: others have it.
    needed = [
        max(cells(each.text) for each in of if cells(each.text) <= given or not each.whole)
        for given, of in zip(widths, of_columns, strict=True)
    ]
    widths = column_widths(needed, [min(pair) for pair in zip(widths, needed, strict=True)], width, gap) or widths
    starts = accumulate((each + gap for each in widths[:-1]), initial=0)
    right = [column.kind in ("number", "bytes", "share") for column in columns]
    return [_Place(*each) for each in zip(starts, widths, right, strict=True)]


def _least(column: Column, of: tuple[_Cell, ...], natural: int, whole: int) -> int:
    """How narrow a column can be made where ids of up to ``whole`` cells keep their room in it. Known words are folded
    only where nothing keeps its room."""
    if column.kind not in ("text", "id") and (column.kind != "word" or whole):
        return natural
    words = (cells(word) for each in of for word in each.text.split(" ") if column.kind == "id")
    return max(least_width(natural, column.heading or ""), *(each for each in words if each <= whole), 0)


def _row_lines(row: list[_Cell], places: list[_Place], width: int, *, colours: bool) -> Iterator[str]:
    begin = 0
    for at, (cell, place) in enumerate(zip(row, places, strict=True)):
        if not (cell.whole and cells(cell.text) > place.width):
            continue
        before = list(_beside(row[begin:at], places[begin:at], colours=colours))
        if len(before) <= 1 and place.start + cells(cell.text) <= width:
            yield from _beside(row[begin : at + 1], places[begin : at + 1], colours=colours)
        else:
            yield from before
            yield _own_line(cell, place.start, width)
        begin = at + 1
    yield from _beside(row[begin:], places[begin:], colours=colours)


def _own_line(cell: _Cell, start: int, width: int) -> str:
    """A cell that is never folded, as near to ``start`` as it fits."""
    return " " * min(start, max(_INDENT, width - cells(cell.text))) + cell.text


def _beside(row: list[_Cell], places: list[_Place], *, colours: bool) -> Iterator[str]:
    """Cells beside each other, the last as wide as it is if it is whole."""
    folded = [
        [cell.text] if cell.whole else fold(cell.text, place.width, 0 if place.start else _INDENT)
        for cell, place in zip(row, places, strict=True)
    ]
    for pieces in zip_longest(*folded, fillvalue=""):
        line, end = "", 0
        for piece, place, cell in zip(pieces, places, row, strict=True):
            styled = f"\x1b[{cell.style}m{piece}\x1b[0m" if colours and cell.style and piece else piece
            spaces = " " * (place.width - cells(piece))
            line += " " * (place.start - end) + (spaces + styled if place.right else styled + spaces)
            end = place.start + place.width
        yield line.rstrip(" ")


def _record_lines(headings: list[str], row: list[_Cell], width: int) -> Iterator[str]:
    label = max(map(len, headings)) + GAP
    for heading, cell in zip(headings, row, strict=True):
        if cell.whole and label + cells(cell.text) > width:
            yield heading
            yield _own_line(cell, label, width)
        else:
            yield from fold(f"{heading:<{label}}{cell.text}", width, min(label, width // 2))
