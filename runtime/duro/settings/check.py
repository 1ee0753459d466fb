"""What a TOML document says, against the table of fields: the values, or everything that is wrong with them. Pure."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from duro.durations import DURATION_HINT, parse_duration_s
from duro.errors import InvalidNameError
from duro.naming import check_name
from duro.redacting import redacted
from duro.settings.fields import NO_SHELL_PATTERN, ROOT, Conflict, Field, Section
from duro.settings.places import Path


class Finding(NamedTuple):
    """Something wrong with the value at ``path`` (or, ``at_key``, with the key)."""

    path: Path
    at_key: bool
    message: str
    hint: str


class Checked(NamedTuple):
    """``values`` holds what was right, defaults filled in, durations in seconds; absent keys without one are None."""

    values: dict[str, Any]
    findings: tuple[Finding, ...]


def check_document(document: Mapping[str, Any]) -> Checked:
    """The whole file, as a TOML reader gives it. Never raises for what a file can say."""
    findings: list[Finding] = []
    return Checked(_check_table(ROOT, document, (), findings), tuple(findings))


def header(path: Path) -> str:
    """``path`` as the header of a table: ``[pruning.overrides."billing.*"]``. What may be a user's name is quoted."""
    return f"[{'.'.join(part if re.fullmatch('[a-z_]+', part) else written_text(part) for part in path)}]"


def written_key(key: str) -> str:
    """``key`` as TOML writes it: bare where it can be, else a basic string."""
    if key.isascii() and key.replace("_", "a").replace("-", "a").isalnum():
        return key
    return written_text(key)


def written_text(text: str) -> str:
    """``text`` as a basic TOML string: quotes, backslashes, control characters and lone surrogates (which no file has,
    and an error about a value that a caller gave may) escaped."""
    return f'"{_ESCAPED.sub(_escape, text)}"'


_ESCAPED: Final = re.compile(r'[\x00-\x1f\x7f\ud800-\udfff"\\]')


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    return f"\\{character}" if character in '"\\' else f"\\u{ord(character):04x}"


def _check_table(section: Section, table: Mapping[str, Any], path: Path, findings: list[Finding]) -> dict[str, Any]:
    before = len(findings)
    known = True
    fields = {field.name: field for field in section.fields}
    sections = {child.name: child for child in section.sections}
    values: dict[str, Any] = {
        field.name: None if field.default is None else read_value(field, field.default) for field in section.fields
    }
    values |= {child.name: None for child in section.sections}
    for key, value in table.items():
        here = (*path, key)
        if key in fields:
            try:
                values[key] = read_value(fields[key], value)
            except ValueError as error:
                message, hint = error.args
                findings.append(Finding(here, False, f"{named(path, key)} {message}", hint))
        elif key in sections:
            values[key] = _check_section(sections[key], value, here, findings)
        else:
            known = False
            findings.append(_unknown(section, path, key))
    for name, child in sections.items():
        if name not in table and not child.optional:
            values[name] = _check_section(child, {}, (*path, name), [])
    if known:  # else a key may be what is missing, misspelt
        right = len(findings) == before
        findings.extend(_placed(conflict, path) for conflict in _conflicts(section, table, right=right))
    return values


def _conflicts(section: Section, table: Mapping[str, Any], *, right: bool) -> Iterator[Conflict]:
    """Keys of ``table`` that do not go together. ``right``: every value is what its key takes."""
    if section.alone is not None and section.alone in table:
        for key in table if table[section.alone] is True else ():
            if key != section.alone:
                yield Conflict(key, f"{key} does not go with {section.alone} = true", "remove one of them")
        return
    missing = [(key, needed) for key, needed in section.needs if key in table and needed not in table]
    for key, needed in missing:
        yield Conflict(key, f"{key} goes with {needed}, which is not given", f"give {needed} too, or remove {key}")
    names = section.requires_one_of
    if names and not missing and not any(name in table for name in names):
        yield Conflict(None, "it names nothing to keep", f"give one of {', '.join(names)}")
    if section.not_both and all(name in table for name in section.not_both):
        first, second = section.not_both
        yield Conflict(first, f"{first} and {second} are both given", "keep one of them")
    if section.if_true and table.get(section.if_true[0]) is True and section.if_true[1] not in table:
        first, second = section.if_true
        yield Conflict(first, f"{first} = true goes with {second}, which is not given", f"give {second} too")
    if section.conflicts and right:
        yield from section.conflicts(table)


def _check_section(section: Section, value: object, path: Path, findings: list[Finding]) -> dict[str, Any] | None:
    if not isinstance(value, dict):
        if isinstance(value, list) and value and isinstance(value[0], dict):
            message = f"{header(path)} is an array of tables"
            findings.append(Finding(path, True, message, "write it once, with single brackets"))
        else:
            findings.append(
                Finding(path, True, f"{'.'.join(path)} is not a table", f"write {header(path)} and its keys below")
            )
        return None
    if section.members is None:
        return _check_table(section, value, path, findings)
    members: dict[str, Any] = {}
    for name, member in value.items():
        here = (*path, name)
        try:
            check_name(name, "orchestration name")
        except InvalidNameError as error:
            findings.append(Finding(here, True, error.message, "write the name of an orchestration, or a pattern"))
            continue
        members[name] = _check_section(section.members, member, here, findings)
    return members


def _placed(conflict: Conflict, path: Path) -> Finding:
    message = conflict.message if conflict.key else f"{header(path)}: {conflict.message}"
    return Finding((*path, conflict.key) if conflict.key else path, True, message, conflict.hint)


def named(path: Path, key: str) -> str:
    """``key`` of the table ``path`` as messages call it."""
    return f"{header(path)} {written_key(key)}" if path else written_key(key)


def read_value(field: Field, value: object) -> Any:
    """``value`` as the program uses it: durations in seconds, arrays as tuples.

    Raises:
        ValueError: it is not what the field takes; ``args`` are the rest of the sentence and a hint.
    """
    match field.kind:
        case "boolean" if isinstance(value, bool):
            return value
        case "true" if value is True:
            return True
        case "true" if value is False:
            raise ValueError("can only be true", "leave it out")
        case "count" if isinstance(value, int) and not isinstance(value, bool):
            if field.minimum <= value <= field.maximum:
                return value
        case "duration" if isinstance(value, str):
            return _duration_s(field, value)
        case "text" if isinstance(value, str) and re.match(NO_SHELL_PATTERN, value) is None:
            raise ValueError(f"begins with ~, which only a shell expands: {_shown(value)}", "write the whole path")
        case "text" if isinstance(value, str) and value and "\0" not in value:
            return value
        case "choice" if isinstance(value, str):
            if value in field.choices:
                return value
            raise _not_a_choice(field, value, value)
        case "choices" if isinstance(value, list):
            return _choices(field, value)
    raise ValueError(f"must be {field.expected}, not {_shown(value)}", _example(field))


def _duration_s(field: Field, text: str) -> int:
    try:
        seconds = parse_duration_s(text)
    except ValueError as error:
        raise ValueError(f"{_shown(text)} {error}", DURATION_HINT) from error
    if seconds < field.minimum:
        raise ValueError(f"must be {field.expected}, not {_shown(text)}", _example(field))
    return seconds


def _choices(field: Field, chosen: list[Any]) -> tuple[str, ...]:
    wrong = [each for each in chosen if each not in field.choices]
    if wrong or not chosen:
        raise _not_a_choice(field, chosen, wrong[0] if wrong else None)
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"names something twice: {_shown(chosen)}", "remove the second one")
    return tuple(chosen)


def _not_a_choice(field: Field, value: object, wrong: object) -> ValueError:
    meant = closest(wrong, field.choices) if isinstance(wrong, str) else None
    hint = f'did you mean "{meant}"?' if meant else _example(field)
    return ValueError(f"must be {field.expected}, not {_shown(value)}", hint)


def _example(field: Field) -> str:
    return f"write it like {written_value(field.example if field.example is not None else field.default, field)}"


def written_value(value: Any, field: Field | None = None) -> str:
    """``value`` as TOML writes it; after ``field``, a whole line."""
    if isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, str):
        text = written_text(value)
    elif isinstance(value, list | tuple):
        text = f"[{', '.join(written_value(each) for each in value)}]"
    else:
        text = str(value)
    return f"{field.name} = {text}" if field else text


def _shown(value: object) -> str:
    """A wrong value, short, as the file writes it; of a URL not what may be a secret."""
    if isinstance(value, int) and abs(value) > 10**20:
        return "a number of more than 20 digits"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list) and not all(isinstance(each, str) for each in value):
        return "an array of other things"
    text = written_value(value) if isinstance(value, bool | str | list) else str(value)
    text = redacted(text) if "://" in text else text
    return text if len(text) <= 60 else f"{text[:40]}...{text[-10:]}"


def _unknown(section: Section, path: Path, key: str) -> Finding:
    where = f" in {header(path)}" if path else ""
    here = (*path, key)
    for name, message, hint in section.redirects:
        if key == name:
            return Finding(here, True, message, hint)
    known = [field.name for field in section.fields] + [child.name for child in section.sections]
    if meant := closest(key, known):
        hint = f"did you mean {meant}?"
    elif key in [section.name for section in ROOT.sections]:
        hint = f"it is a table of its own: {header((key,))}"
    elif homes := [header(home) for home, each in _homes(ROOT, ()) if each == key]:
        hint = f"it belongs in {' or '.join(homes)}"
    else:
        hint = f"known here: {', '.join(known)}"
    return Finding(here, True, f"unknown key {_shown(key)}{where}", hint)


def closest(word: str, known: list[str] | tuple[str, ...]) -> str | None:
    """The one of ``known`` that was probably meant."""
    import difflib  # only a wrong file pays for it

    return next(iter(difflib.get_close_matches(word, known, n=1)), None)


def _homes(section: Section, path: Path) -> Iterator[tuple[Path, str]]:
    """Every key there is, with the table it belongs in."""
    for field in section.fields:
        yield path, field.name
    for child in (*section.sections, *((section.members,) if section.members else ())):
        yield path, child.name
        yield from _homes(child, (*path, child.name))
