"""Where the keys and values of a TOML text stand. Pure.

No TOML reader tells where a *value* that is wrong in meaning stands, so the text is scanned a second time. The scanner
only has to be right about text that a TOML reader has accepted; that is what keeps it this small. Keys inside arrays
are not recorded: no setting is an array of tables.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator
from typing import Final, NamedTuple, TypeAlias

import tomli

Path: TypeAlias = tuple[str, ...]

PARTS_MAX: Final = 8
"""Longer paths are not recorded: no setting has one, and a key of thousands of parts would take all memory."""

_BLANK: Final = re.compile(r"(?:[ \t\r\n,]+|#[^\n]*)*")
_BASIC: Final = r'"(?:[^"\\\n]|\\.)*"'
_LITERAL: Final = r"'[^'\n]*'"
_KEY: Final = re.compile(rf"[ \t]*({_BASIC}|{_LITERAL}|[A-Za-z0-9_-]+)[ \t]*")
_STRING: Final = r'"""(?:[^\\]|\\.)*?"""(?:"{0,2})|' + rf"'''.*?'''(?:'{{0,2}})|{_BASIC}|{_LITERAL}"
_WHOLE_STRING: Final = re.compile(_STRING, re.DOTALL)
_PLAIN: Final = re.compile(r"[^,\]}#\r\n]+")
_NESTED: Final = re.compile(
    rf"(?P<skip>{_STRING}|#[^\n]*|[^\"'#\[\]{{}}]+)|(?P<open>[\[{{])|(?P<close>[\]}}])", re.DOTALL
)


class Place(NamedTuple):
    """Offsets in characters: where a key begins, where its value begins, where the value ends.

    For a table, ``value`` and ``end`` enclose the header or the key that first names it.
    """

    key: int
    value: int
    end: int


def scan(text: str) -> dict[Path, Place]:
    """The place of every key and table of ``text``, which must be valid TOML, by path; the first place counts."""
    places: dict[Path, Place] = {}
    inline: list[tuple[Path, int, int]] = []
    for path, depth, place in _statements(text, 0, len(text), ()):
        _record(places, inline, text, path, depth, place)
    while inline:  # a list, not recursion: tables nest as deep as the reader allows
        prefix, start, end = inline.pop()
        for path, depth, place in _statements(text, start + 1, end - 1, prefix):
            _record(places, inline, text, path, depth, place)
    return places


class Twice(NamedTuple):
    """What a text gives a second time, at which offset, and where it gave it first. ``is_header``: as a table."""

    path: Path
    is_header: bool
    second: int
    first: int


def find_twice(text: str) -> Twice | None:
    """What the last statement of ``text`` gives although it is there already, which a TOML reader refused at the end of
    ``text``; until then it was valid. None: it stands where nothing is recorded."""
    (path, place), there = _last(text, 0, ())
    while text[place.value : place.value + 1] == "{" and not _closing(text, place.value)[1]:  # it is in there
        (path, place), there = _last(text, place.value + 1, path)
    for length in range(len(path), 0, -1) if len(path) <= PARTS_MAX else ():
        if path[:length] in there:
            return Twice(path[:length], text[place.key - 1 : place.key] == "[", place.key, there[path[:length]])
    return None


def _last(text: str, start: int, prefix: Path) -> tuple[tuple[Path, Place], dict[Path, int]]:
    """The last statement from ``start`` on, and where those before it name what they name."""
    *before, (path, _, place) = _statements(text, start, len(text), prefix)
    there: dict[Path, int] = {}
    for found, depth, at in before:
        for length in range(depth + 1, min(len(found), PARTS_MAX + 1)):
            there.setdefault(found[:length], at.key)
        if len(found) <= PARTS_MAX:
            there[found] = at.key
    return (path, place), there


class Lines:
    """Offsets of a text as lines and columns, both from 1, in characters."""

    def __init__(self, text: str) -> None:
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def line(self, offset: int) -> int:
        return bisect_right(self._starts, offset)

    def line_and_column(self, offset: int) -> tuple[int, int]:
        line = self.line(offset)
        return line, offset - self._starts[line - 1] + 1


def _record(
    places: dict[Path, Place],
    inline: list[tuple[Path, int, int]],
    text: str,
    path: Path,
    depth: int,
    place: Place,
) -> None:
    """``depth``: how many parts of ``path`` were there before; the tables between are named by the same statement."""
    for length in range(depth + 1, min(len(path), PARTS_MAX + 1)):
        places.setdefault(path[:length], Place(place.key, place.key, place.end))
    if len(path) > PARTS_MAX:
        return
    places.setdefault(path, place)
    if text[place.value] == "{":
        inline.append((path, place.value, place.end))


def _statements(text: str, position: int, end: int, prefix: Path) -> Iterator[tuple[Path, int, Place]]:
    """Every header and every key with a value between two offsets: path, parts that were there before, place."""
    table = prefix
    while (position := _after(_BLANK, text, position)) < end:
        start = position
        if text[position] == "[":
            brackets = 2 if text.startswith("[[", position) else 1
            first, table, position = _dotted_key(text, position + brackets)
            position += brackets
            yield table, 0, Place(first, first, position)
            continue
        start, keys, position = _dotted_key(text, position)
        value = _after(_BLANK, text, position + 1)
        position = _value_end(text, value)
        yield table + keys, len(table), Place(start, value, position)


def _dotted_key(text: str, position: int) -> tuple[int, Path, int]:
    """Where the key begins, its parts, and where what follows it begins."""
    parts: list[str] = []
    start = -1
    while True:
        match = _KEY.match(text, position)
        assert match is not None, "the text was accepted by a TOML reader"
        start = match.start(1) if start < 0 else start
        parts.append(_key_text(match[1]))
        position = match.end()
        if not text.startswith(".", position):
            return start, tuple(parts), position
        position += 1


def _key_text(written: str) -> str:
    if "\\" in written and written[0] == '"':
        return str(tomli.loads(f"key = {written}")["key"])
    return written[1:-1] if written[0] in "\"'" else written


def _value_end(text: str, position: int) -> int:
    if position >= len(text):
        return len(text)
    if text[position] not in "[{":
        match = _WHOLE_STRING.match(text, position)
        if match is not None:
            return match.end()
        plain = _PLAIN.match(text, position)
        assert plain is not None, "the text was accepted by a TOML reader"
        return position + len(plain[0].rstrip())
    return _closing(text, position)[0]


def _closing(text: str, position: int) -> tuple[int, bool]:
    """Where what opens at ``position`` ends, and whether it does: else the text ends before."""
    depth = 0
    while position < len(text):
        match = _NESTED.match(text, position)
        assert match is not None, "the text was accepted by a TOML reader"
        position = match.end()
        depth += (match["open"] is not None) - (match["close"] is not None)
        if depth == 0:
            return position, True
    return position, False


def _after(pattern: re.Pattern[str], text: str, position: int) -> int:
    match = pattern.match(text, position)
    assert match is not None, "the pattern matches the empty text"
    return match.end()
