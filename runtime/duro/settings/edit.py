"""Setting and removing one policy in the text of a runtime_config.toml, with everything else kept as it is. Pure.

The text is spliced at the places of the policy's own keys, so comments, order and formatting elsewhere stay. A splice
is a guess about how the file is written; each one is read back and compared with what was intended, and its untouched
lines with those of before. The first that is right is taken; if none is, the edit is refused.
"""

import copy
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from duro.errors import EditRefusedError, SettingsError, UsageError
from duro.model.problem import FileProblem
from duro.settings.check import check_document, header, written_key, written_value
from duro.settings.places import Lines, Path, Place, scan
from duro.settings.reading import decode, parse, read_settings

_BOM: Final = b"\xef\xbb\xbf"
_DEFAULT: Final = ("pruning", "default")
_DEFAULT_KEEP_LAST: Final = ("pruning", "default_keep_last")


class _Splice(NamedTuple):
    """``text`` in place of what stands between two offsets."""

    start: int
    end: int
    text: str


def edit_policy(data: bytes, file: str, name: str | None, policy: Mapping[str, Any] | None) -> bytes:
    """``data`` with the policy of ``name`` (an orchestration or a pattern; None: the default) set or, None, removed.

    ``policy`` has keys and values as the file writes them (``{"keep_last": 3, "keep_within": "7d"}``) and replaces
    what was there. Removing what is not there gives ``data`` itself.

    Raises:
        SettingsError: the file cannot be used as it is.
        UsageError: the policy is wrong.
        EditRefusedError: the file is written in a way in which this edit could not be made safely.
    """
    read_settings(data, file)
    text = decode(data, file)
    document = parse(text, file)
    changes = _changes(document, name, policy)
    intended = _intended(document, changes)
    if intended == document:
        return data
    newline = "\r\n" if "\r\n" in text and not re.search(r"(?<!\r)\n", text) else "\n"
    whole = text if text.endswith("\n") or not text else text + newline
    for candidate in _candidates(whole, newline, intended, changes):
        if _is_right(whole, candidate, intended, changes):
            return (_BOM if data.startswith(_BOM) else b"") + candidate.encode()
    message = "it is written in a way that this edit could not keep, and was left as it is"
    path, table = changes[0]
    snippet, where = ("", "") if table is None else _by_hand(whole, path, table, [old for old, _ in changes[1:]])
    hint = "write the policy by hand" if snippet else "remove the policy by hand"
    raise EditRefusedError(FileProblem(file, 0, 0, message, hint), snippet, where)


def _by_hand(text: str, path: Path, table: Mapping[str, Any], instead_of: list[Path]) -> tuple[str, str]:
    """What somebody may write into ``text`` where no edit is safe, and where."""
    places = scan(text)
    lines = Lines(text)
    gone = "".join(f", in place of {each[-1]}" for each in instead_of if each in places)
    place = places.get(path)
    if place is not None and place.value != place.key:
        first, last = lines.line(place.key), lines.line(place.end)
        what = f"what line {first} says" if first == last else f"what lines {first} to {last} say of it"
        return text[place.key : place.value] + _inline(table) + "\n", f"in place of {what}{gone}"
    around = _braces_around(text, places, path)
    if around:
        brace = places[around].value
        pair = f"{_dotted(path[len(around) :])} = {_inline(table)}\n"
        return pair, f"in the braces that open in line {lines.line(brace)}{gone}"
    return _section(path, table, "\n"), f"at its end{gone}"


def _braces_around(text: str, places: Mapping[Path, Place], path: Path) -> Path:
    """The innermost table in braces that has, or would have, ``path``; (): none."""
    for length in range(len(path) - 1, 0, -1):
        place = places.get(path[:length])
        if place is not None and text[place.value] == "{":
            return path[:length]
    return ()


def _changes(document: Mapping[str, Any], name: str | None, policy: Mapping[str, Any] | None) -> list[tuple[Path, Any]]:
    """What is to stand at which paths; None: nothing."""
    if name is not None:
        return [(("pruning", "overrides", name), policy)]
    short = "default_keep_last" in document.get("pruning", {})
    if short and policy is not None and set(policy) == {"keep_last"}:
        return [(_DEFAULT_KEEP_LAST, policy["keep_last"])]
    return [(_DEFAULT, policy), *([(_DEFAULT_KEEP_LAST, None)] if short else [])]


def _intended(document: Mapping[str, Any], changes: list[tuple[Path, Any]]) -> dict[str, Any]:
    intended = copy.deepcopy(dict(document))
    for path, value in changes:
        table = intended
        for part in path[:-1]:
            table = table.setdefault(part, {}) if value is not None else table.get(part, {})
        if value is None:
            table.pop(path[-1], None)
        else:
            table[path[-1]] = dict(value) if isinstance(value, Mapping) else value
    if findings := check_document(intended).findings:
        raise UsageError(findings[0].message, hint=findings[0].hint)
    return intended


def _is_right(before: str, after: str, intended: Mapping[str, Any], changes: list[tuple[Path, Any]]) -> bool:
    """Whether ``after`` says what is intended, key by key (an explicit default is not as good as none: somebody wrote
    it), and every line of ``before`` that is not of the policy is still there."""
    try:
        document = parse(after, "edited")
    except SettingsError:
        return False
    if _without_empty_tables(document) != _without_empty_tables(intended):
        return False
    checked = check_document(document)
    if checked.findings or checked.values != check_document(intended).values:
        return False
    if _drops_comments(before, changes):
        return False
    touched = _touched_lines(before, [path for path, _ in changes])
    remaining = iter(after.split("\n"))
    return all(line in remaining for number, line in enumerate(before.split("\n")) if number not in touched)


def _without_empty_tables(table: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: _without_empty_tables(each) if isinstance(each, Mapping) else each for key, each in table.items()}
    return {key: each for key, each in kept.items() if each != {}}


def _drops_comments(before: str, changes: list[tuple[Path, Any]]) -> bool:
    """Whether a table in braces that is written anew has several lines, and may have comments between them."""
    places = scan(before)
    for path, value in changes:
        place = places.get(path)
        if value is not None and place is not None and place.value != place.key:
            written = before[place.value : place.end]
            if "\n" in written and "#" in written:
                return True
    return False


def _touched_lines(text: str, paths: list[Path]) -> set[int]:
    """The numbers, from 0, of the lines a policy (or a table on one line that holds it) stands on."""
    places = scan(text)
    touched: set[int] = set()
    for path in paths:
        for each, place in places.items():
            inline_around = each == path[: len(each)] and text[place.value] == "{"
            if each[: len(path)] == path or inline_around:
                touched.update(range(text.count("\n", 0, place.key), text.count("\n", 0, place.end) + 1))
        if path in places:  # comments between its lines go with it
            own = [place for each, place in places.items() if each[: len(path)] == path]
            if _is_header(text, places[path]):
                first, last = places[path].key, max(place.end for place in own)
                end = _after_own_comments(text, text.rfind("\n", 0, first) + 1, text.index("\n", last) + 1)
                touched.update(range(text.count("\n", 0, first), text.count("\n", 0, end)))
                if not text[end:].strip():  # at the end the line that set it off goes, too
                    touched.add(text.count("\n", 0, first) - 1)
    return touched


def _candidates(text: str, newline: str, intended: Mapping[str, Any], changes: list[tuple[Path, Any]]) -> Iterator[str]:
    """Ways to write the change, the most natural first. ``text`` is empty or ends with a line end."""
    places = scan(text)
    splices = [splice for path, value in changes for splice in _splices(text, places, path, value, newline)]
    if not _cuts_into_braces(text, places, splices, [path for path, _ in changes]):
        yield _spliced(text, splices)
    parents = changes[0][0][:-1]
    while parents:  # a table on one line that holds the policy is written anew
        path, parents = parents, parents[:-1]
        place = places.get(path)
        if place and text[place.value] == "{" and "\n" not in text[place.value : place.end]:
            value: Any = intended
            for part in path:
                value = value[part]
            yield _spliced(text, [_Splice(place.value, place.end, _inline(value))])
    path, added = changes[0]
    around = _braces_around(text, places, path)
    if around and added is not None and path not in places and not any(each in places for each, _ in changes[1:]):
        brace = places[around]  # over several lines: what is new comes first
        comma = "," if text[brace.value + 1 : brace.end - 1].strip() else ""
        pair = f"{_dotted(path[len(around) :])} = {_inline(added)}{comma}"
        yield _spliced(text, [_Splice(brace.value + 1, brace.value + 1, f" {pair}")])


def _cuts_into_braces(text: str, places: Mapping[Path, Place], splices: list[_Splice], changed: list[Path]) -> bool:
    """Whether a splice takes away a part, or all, of a table in braces that has more than what is changed."""
    braces = [
        place
        for path, place in places.items()
        if text[place.value] == "{" and not any(path[: len(each)] == each for each in changed)
    ]
    return any(
        splice.start < place.end
        and place.value < splice.end
        and not (place.value < splice.start and splice.end < place.end)
        for splice in splices
        for place in braces
    )


def _spliced(text: str, splices: list[_Splice]) -> str:
    for splice in sorted(splices, reverse=True):
        text = text[: splice.start] + splice.text + text[splice.end :]
    return text


def _splices(text: str, places: Mapping[Path, Place], path: Path, value: Any, newline: str) -> list[_Splice]:
    place = places.get(path)
    if place is None:
        if value is None:
            return []
        gap = newline if text else ""
        return [_Splice(len(text), len(text), gap + _section(path, value, newline))]
    if place.value != place.key:  # a key with a value: a number, or a table on one line
        new = _inline(value) if isinstance(value, Mapping) else written_value(value)
        return [_whole_lines(text, place.key, place.end) if value is None else _Splice(place.value, place.end, new)]
    keys = {each[-1]: own for each, own in places.items() if each[:-1] == path}
    if value is not None:
        return _table_splices(text, place, keys, value, newline)
    if _is_header(text, place):
        whole = _whole_lines(text, place.key, max(own.end for own in keys.values()))
        whole = whole._replace(end=_after_own_comments(text, whole.start, whole.end))
        gap = newline if whole.end == len(text) and text[: whole.start].endswith(newline * 2) else ""
        return [whole._replace(start=whole.start - len(gap))]
    return [_whole_lines(text, own.key, own.end) for own in keys.values()]


def _table_splices(
    text: str, place: Place, keys: Mapping[str, Place], value: Mapping[str, Any], newline: str
) -> list[_Splice]:
    """The keys of a table that are changed, removed and added, one by one."""
    splices = []
    for key, own in keys.items():
        if key not in value:
            splices.append(_whole_lines(text, own.key, own.end))
        elif parse(f"key = {text[own.value : own.end]}", "value")["key"] != value[key]:
            splices.append(_Splice(own.value, own.end, written_value(value[key])))
    last_key, last = max(keys.items(), key=lambda item: item[1].end)
    line = text.rfind("\n", 0, last.key) + 1
    written = text[line : last.value].rstrip().removesuffix("=").rstrip()
    prefix = written.removesuffix(last_key) if not _is_header(text, place) else written[: last.key - line]
    added = "".join(f"{prefix}{key} = {written_value(value[key])}{newline}" for key in value if key not in keys)
    if added:
        end = text.index("\n", last.end) + 1
        splices.append(_Splice(end, end, added))
    return splices


def _is_header(text: str, place: Place) -> bool:
    """Whether a table is named by ``[...]`` and not by dotted keys."""
    return place.value == place.key and text[place.end - 1] == "]" and _opens_header(text, place.key)


def _opens_header(text: str, key: int) -> bool:
    return text[text.rfind("\n", 0, key) + 1 : key].strip() == "["


def _whole_lines(text: str, start: int, end: int) -> _Splice:
    return _Splice(text.rfind("\n", 0, start) + 1, text.index("\n", end) + 1, "")


def _after_own_comments(text: str, start: int, end: int) -> int:
    """After the comments from ``end`` on that are indented deeper than the line at ``start``, their table's header.
    ``end``, if the header of another table follows: they may be about that one."""
    header_line = text[start:end]
    outer = len(header_line) - len(header_line.lstrip(" \t"))
    after = end
    while comment := re.compile(r"([ \t]*)#[^\n]*\n").match(text, after):
        if len(comment[1]) <= outer:
            break
        after = comment.end()
    return end if re.compile(r"[ \t]*\[").match(text, after) else after


def _section(path: Path, value: Mapping[str, Any], newline: str) -> str:
    lines = [header(path), *(f"{written_key(key)} = {written_value(each)}" for key, each in value.items())]
    return "".join(line + newline for line in lines)


def _dotted(path: Path) -> str:
    return ".".join(map(written_key, path))


def _inline(value: Mapping[str, Any]) -> str:
    pairs = (
        f"{written_key(key)} = {_inline(each) if isinstance(each, Mapping) else written_value(each)}"
        for key, each in value.items()
    )
    return "{" + ", ".join(pairs) + "}"
