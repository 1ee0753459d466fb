"""Text laid out for the width of a terminal, in cells: an ideograph takes two, a combining mark none. Pure.

What does not fit is folded or wrapped, never left out, and what goes on below does not begin in the first column: only
what the program says begins there. A word (an id, a path, a cursor: what people copy) stays whole; one that is wider
than the terminal is left to it, which copies in one piece what it broke itself. rich, which knows the widths, is
imported when there is text beyond ASCII.
"""

from collections.abc import Iterator, Sequence
from typing import Final

_HANGING: Final = 4
_LEAST: Final = 6
"""Cells that a column of text keeps, however narrow the terminal is."""
_WORD: Final = 512
"""Cells up to which a word is whole: more than an id can have. It has no space, and so cannot pass for a line."""
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
    """``text`` in lines of at most ``width`` cells, those after the first indented; broken behind a space, which stays,
    and where there is none anywhere."""
    begin, before = 0, ""
    while (end := _end(text, begin, width - len(before))) < len(text):
        end = text.rfind(" ", begin, end) + 1 or end
        yield before + text[begin:end]
        begin, before = end, " " * max(0, min(indent, width - 2))
    yield before + text[begin:]


def is_word(text: str) -> bool:
    """Whether it is never broken: an id without a space, say, which can be copied where it is whole."""
    return " " not in text and _end(text, 0, _WORD) == len(text)


def wrap(text: str, width: int) -> Iterator[str]:
    """``text`` in lines of at most ``width`` cells, those after the first indented further than it.

    Broken at a space, whose place the break takes. A word that is wider than a line has one of its own, which is as
    wide as it is; one that nobody could mean to copy (see ``is_word``) is broken anywhere.
    """
    own = _word_at(text, 0)
    begin, before = 0, ""
    while (end := _end(text, begin, width - len(before))) < len(text):
        stop = _break(text, begin, end)
        yield before + text[begin:stop].rstrip(" ")
        begin = _word_at(text, stop)
        before = " " * min(own + _HANGING, width // 2)
        if begin == len(text):
            return
    yield before + text[begin:]


def _break(text: str, begin: int, end: int) -> int:
    """Where a line ends that begins at ``begin``, with room up to ``end``."""
    word = _word_at(text, begin)
    if word >= end:
        return end
    if (space := text.rfind(" ", word, end + 1)) >= 0:
        return space
    after = text.find(" ", end)
    after = len(text) if after < 0 else after
    return after if is_word(text[text.rfind(" ", 0, word) + 1 : after]) else end


def _word_at(text: str, begin: int) -> int:
    """Where the first word from ``begin`` on begins; the end, if there is none."""
    while begin < len(text) and text[begin] == " ":
        begin += 1
    return begin


def column_widths(natural: Sequence[int], least: Sequence[int], width: int, gap: int = GAP) -> list[int] | None:
    """Widths that together fit into ``width`` with ``gap`` spaces between two, the widest made narrower; None: not even
    the least ones fit."""
    room = width - gap * (len(natural) - 1)
    if sum(least) > room:
        return None
    widths = list(natural)
    while sum(widths) > room:
        widest = max((each, at) for at, each in enumerate(widths) if each > least[at])[1]
        widths[widest] -= 1
    return widths


def gap_between(natural: Sequence[int], width: int) -> int:
    """Spaces between two columns: one where that spares the folding of any, else the usual."""
    fits = sum(natural) + len(natural) - 1 <= width < sum(natural) + GAP * (len(natural) - 1)
    return 1 if fits else GAP


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
