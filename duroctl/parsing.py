"""What people type, as values: durations, counts, references to executions, lines of ids. Pure; raises UsageError."""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from duro.durations import DURATION_HINT, parse_duration_s
from duro.errors import InstanceNotFoundError, UsageError
from duro.naming import beside_problem, path_problem

_COUNT_DIGITS_MAX: Final = 15
_EXECUTION = re.compile(r"[0-9]{1,18}")


def parse_duration(text: str, option: str) -> int:
    """Seconds. One number and one unit: ``90s 30m 12h 7d 2w``.

    Raises:
        UsageError: it is written otherwise, or is longer than a century.
    """
    try:
        return parse_duration_s(text)
    except ValueError as error:
        raise UsageError(f"{option} {text!r} {error}", hint=DURATION_HINT) from error


def parse_count(text: str, option: str, least: int = 0) -> int:
    """A whole number of at least ``least``, in ASCII digits.

    Raises:
        UsageError: it is anything else.
    """
    if not (text.isascii() and text.isdigit()) or not int(text[:_COUNT_DIGITS_MAX]) >= least:
        raise UsageError(f"{option} must be a whole number of at least {least}, not {text!r}")
    if len(text) > _COUNT_DIGITS_MAX:
        raise UsageError(f"{option} {text!r} is too large", hint=f"at most {_COUNT_DIGITS_MAX} digits")
    return int(text)


def check_new_file(path: str, option: str) -> None:
    """Raises UsageError: a file that is to be made has a name that can stand in no document, or belongs to a store."""
    if problem := path_problem(path) or beside_problem(path):
        raise UsageError(f"{option} {path!r} {problem}", hint="choose another name")


class Reference(NamedTuple):
    """``INSTANCE`` (``execution_id`` None: its current execution) or ``INSTANCE/EXECUTION``."""

    instance_id: str
    execution_id: int | None


AN_EXECUTION_OF: Final = "{0}/N (N: one of its executions)"


def resolve_reference(text: str, exists: Callable[[str], bool], first_as: str = AN_EXECUTION_OF) -> Reference:
    """Which execution ``text`` names. Instance ids may contain slashes, so what exists decides. ``first_as``: what to
    write for the whole of ``text`` (``{0}``) as an instance, where both readings exist.

    Raises:
        InstanceNotFoundError: neither reading names an instance.
        UsageError: both do.
    """
    head, slash, tail = text.rpartition("/")
    if not (slash and head and _EXECUTION.fullmatch(tail)):
        return Reference(text, None)
    whole_exists, head_exists = exists(text), exists(head)
    if whole_exists and head_exists:
        raise UsageError(
            f"{text!r} is an instance, and {head!r} is one too",
            hint=f"for the first write {first_as.format(text)}, for the other {head} --execution {tail}",
        )
    if not (whole_exists or head_exists):
        raise InstanceNotFoundError(
            f"there is no instance {head!r}, nor one called {text!r}",
            hint="`duroctl instances list` shows those there are",
        )
    return Reference(text, None) if whole_exists else Reference(head, int(tail))


def expand_ids(given: Iterable[str], read_lines: Callable[[], Iterable[str]], what: str = "instance id") -> list[str]:
    """The ids given, each once, in order; ``-`` stands for the ids on standard input, one a line. ``what`` they are.

    Raises:
        UsageError: there is none, or a line is a broken JSON string.
    """
    ids: dict[str, None] = {}
    for argument in given:
        for instance_id in _from_lines(read_lines()) if argument == "-" else (argument,):
            ids[instance_id] = None
    if not ids:
        raise UsageError(f"no {what} was given", hint="name one, or write - and send ids to standard input")
    return list(ids)


def _from_lines(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        if stripped := line.strip():
            yield id_from_line(stripped)


def id_from_line(line: str) -> str:
    """The id on a line as ``render.text.id_line`` wrote it: as it is, or a JSON string."""
    if not line.startswith('"'):
        return line
    import json

    try:
        value = json.loads(line)
    except ValueError as error:
        raise UsageError(f"the id {line!r} begins with a quote and is not a JSON string: {error}") from error
    return str(value)
