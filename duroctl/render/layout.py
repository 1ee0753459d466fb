"""Text laid out for the width of a terminal, in cells: an ideograph takes two, a combining mark none. Pure.

What does not fit is folded or wrapped, never left out, and what goes on below does not begin in the first column: only
what the program says begins there. rich, which knows the widths, is imported when there is text beyond ASCII.
"""

from collections.abc import Iterator, Sequence
from typing import Final

_HANGING: Final = 4
_LEAST: Final = 6
"""Cells that a column of text keeps, however narrow the terminal is."""
GAP: Final = 2
"""Spaces between two columns."""


def cells(text: str) -> int:
    """How many cells of a terminal ``text`` takes. It must be visible (see ``text.visible``)."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def cut(text: str, width: int, ellipsis: str = "…") -> str:
    """``text``, cut with an ellipsis to at most ``width`` cells."""
    if _end(text, 0, width, least=0) == len(text):
        return text
    return text[: _end(text, 0, width - len(ellipsis), least=0)] + ellipsis[: max(0, width)]


def fold(text: str, width: int, indent: int = 0) -> Iterator[str]:
    """``text`` in lines of at most ``width`` cells, broken anywhere, those after the first indented."""
    begin, before = 0, ""
    while (end := _end(text, begin, width - len(before))) < len(text):
        yield before + text[begin:end]
        begin, before = end, " " * max(0, min(indent, width - 2))
    yield before + text[begin:]


def wrap(text: str, width: int) -> Iterator[str]:
    """``text`` in lines of at most ``width`` cells, those after the first indented further than it.

    Broken at a space of the second half, whose place the break takes; without one, anywhere.
    """
    own = len(text) - len(text.lstrip(" "))
    begin, before = 0, ""
    while (end := _end(text, begin, width - len(before))) < len(text):
        space = text.rfind(" ", max(own + 1, (begin + end) // 2), end + 1)
        yield before + text[begin : end if space < 0 else space]
        begin = end if space < 0 else space + 1
        before = " " * min(own + _HANGING, width // 2)
    yield before + text[begin:]


def column_widths(natural: Sequence[int], least: Sequence[int], width: int) -> list[int] | None:
    """Widths that together fit into ``width``, the widest made narrower; None: not even the least ones fit."""
    room = width - GAP * (len(natural) - 1)
    if sum(least) > room:
        return None
    widths = list(natural)
    while sum(widths) > room:
        widest = max((each, at) for at, each in enumerate(widths) if each > least[at])[1]
        widths[widest] -= 1
    return widths


def least_width(natural: int, heading: str) -> int:
    """Of a column that may be folded."""
    return max(len(heading), min(natural, _LEAST))


def _end(text: str, begin: int, width: int, *, least: int = 1) -> int:
    """Where the part of ``text`` ends that begins there and takes at most ``width`` cells, or is of ``least``
    characters."""
    if text.isascii():
        return min(len(text), begin + max(least, width))
    used = 0
    for at in range(begin, len(text)):
        used += cells(text[at])
        if used > width and at >= begin + least:
            return at
    return len(text)
