"""Ids, names and numbers, checked once, at the API, the same for every store."""

import re
from collections.abc import Iterable
from typing import Final

from duro.errors import InvalidIdError, InvalidInputError, InvalidNameError, UsageError
from duro.model.limits import INSTANCE_ID_BYTES_MAX, NAME_BYTES_MAX, NUMBER_MAX, REASON_BYTES_MAX


def _problem(text: object, bytes_max: int) -> str | None:
    """What keeps ``text`` from being stored everywhere: PostgreSQL refuses NUL and lone surrogates, SQLite's
    ``length`` stops at NUL."""
    if not isinstance(text, str):
        return f"must be a string, not {type(text).__name__}"
    if not text:
        return "is empty"
    if "\0" in text:
        return "contains a NUL character"
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError:
        return "contains a lone surrogate (it is not valid Unicode)"
    if size > bytes_max:
        return f"is {size} bytes long, and at most {bytes_max} are allowed"
    return None


def _plain(text: str) -> str:
    """``text`` as a ``str`` and nothing derived from it: JSON knows no other, and ``str()`` may say something else."""
    return text if type(text) is str else str.__str__(text)


def check_instance_id(instance_id: str) -> str:
    """``instance_id`` itself, as a plain ``str``.

    Raises:
        InvalidIdError: it is empty, over ``INSTANCE_ID_BYTES_MAX`` bytes, or has a NUL or a lone surrogate.
    """
    if problem := _problem(instance_id, INSTANCE_ID_BYTES_MAX):
        raise InvalidIdError(f"instance id {shown(instance_id)} {problem}", hint="choose another id")
    return _plain(instance_id)


def check_instance_ids(instance_ids: Iterable[str]) -> list[str]:
    """All of them, checked; an iterator is read once.

    Raises:
        UsageError: it is one string, or nothing that has several.
        InvalidIdError: one of them is none.
    """
    if isinstance(instance_ids, str) or not isinstance(instance_ids, Iterable):
        raise UsageError(
            f"instance_ids must be several ids, not {shown(instance_ids)}", hint="wait_for_orchestration waits for one"
        )
    return [check_instance_id(each) for each in instance_ids]


def check_timeout_s(timeout: float, what: str = "timeout", hint: str = "None waits for ever") -> float:
    """``timeout`` itself: seconds to wait; less than 0 is none. ``what`` names it in the error.

    Raises:
        UsageError: it is no number, or no time.
    """
    wrong = isinstance(timeout, bool) or not isinstance(timeout, int | float) or timeout != timeout
    if wrong or (isinstance(timeout, int) and abs(timeout) > NUMBER_MAX):
        raise UsageError(f"{what} must be seconds, not {shown(timeout)}", hint=hint)
    return timeout


def check_request_id(request_id: str) -> str:
    """``request_id`` itself, as a plain ``str``.

    Raises:
        InvalidIdError: it is empty, over ``INSTANCE_ID_BYTES_MAX`` bytes, or has a NUL or a lone surrogate.
    """
    if problem := _problem(request_id, INSTANCE_ID_BYTES_MAX):
        raise InvalidIdError(f"request id {shown(request_id)} {problem}", hint="choose another id")
    return _plain(request_id)


def check_name(name: str, what: str) -> str:
    """``name`` itself, as a plain ``str``; ``what`` names its kind in the error ("activity name", "version").

    Raises:
        InvalidNameError: it is empty, over ``NAME_BYTES_MAX`` bytes, or has a NUL or a lone surrogate.
    """
    if problem := _problem(name, NAME_BYTES_MAX):
        raise InvalidNameError(f"{what} {shown(name)} {problem}", hint="choose another one")
    return _plain(name)


def check_text(text: str, what: str) -> str:
    """``text`` itself, as a plain ``str``: a reason, written by people, that may be empty.

    Raises:
        InvalidInputError: it is over ``REASON_BYTES_MAX`` bytes, or has a NUL or a lone surrogate.
    """
    if text != "" and (problem := _problem(text, REASON_BYTES_MAX)):
        raise InvalidInputError(f"{what} {shown(text)} {problem}", hint="write another one")
    return _plain(text)


def path_problem(path: str) -> str | None:
    """What keeps a path from being told to SQLite, and written into documents and ledgers."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return "is not valid UTF-8"
    return None


_BESIDE: Final = ("-wal", "-journal", "-shm", "-reserve")
"""Endings of files that SQLite and duro read, make and remove beside the one they are called after."""


def beside_problem(path: str) -> str | None:
    """Why nothing else may be written under this name, whatever is there now: SQLite takes ``X-journal`` for a part of
    ``X`` and deletes it, and ``X-reserve`` is given up for room."""
    ending = next((each for each in _BESIDE if path.casefold().endswith(each)), None)
    return None if ending is None else f"ends in {ending}: such a file belongs to the store it stands beside"


def check_count(count: int, what: str) -> int:
    """``count`` itself; ``what`` names it in the error ("limit").

    Raises:
        UsageError: it is no whole number from 0 to ``NUMBER_MAX``.
    """
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= NUMBER_MAX:
        raise UsageError(f"{what} must be a whole number of at least 0, not {shown(count)}", hint="0 means all")
    return count


def check_execution_id(execution_id: int) -> int:
    """``execution_id`` itself, which may be of none.

    Raises:
        UsageError: it is no whole number, or one that no store can hold.
    """
    number = execution_id if isinstance(execution_id, int) and not isinstance(execution_id, bool) else None
    if number is None or abs(number) > NUMBER_MAX:
        raise UsageError(
            f"execution_id must be a whole number from 1, not {shown(execution_id)}", hint="the first execution is 1"
        )
    return number


def cursor_numbers(form: re.Pattern[str], cursor: str | None) -> tuple[int, ...] | None:
    """The numbers that the groups of ``form`` find in ``cursor``; None: it is the first page that is asked for.

    Raises:
        UsageError: ``cursor`` is not of the listing with this form of cursors.
    """
    if cursor is None:
        return None
    match = form.fullmatch(cursor) if isinstance(cursor, str) else None
    if match is None:
        raise not_a_cursor(cursor)
    return tuple(int(part) for part in match.groups())


def not_a_cursor(given: object) -> UsageError:
    return UsageError(f"{shown(given)} is not a cursor of this listing", hint="take it from the page before")


def shown(value: object) -> str:
    """``value`` as an error repeats it: in ASCII, and not at length."""
    try:
        text = ascii(value)
    except ValueError:  # a whole number of thousands of digits
        text = "a number of thousands of digits"
    return text if len(text) <= 60 else f"{text[:40]}...{text[-10:]}"


def command_on(command: str, subject: str, options: str = "") -> str:
    """``duroctl`` with ``command``, an id and ``options`` (text that begins with a space), in backquotes, as a shell
    takes it: what a shell would read is quoted, and an id that begins like an option stands behind ``--``."""
    import shlex  # nobody else is to pay for loading it

    if subject.startswith("-"):
        return f"`duroctl {command}{options} -- {shlex.quote(subject)}`"
    return f"`duroctl {command} {shlex.quote(subject)}{options}`"
