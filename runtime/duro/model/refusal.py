"""The roots of duro's errors. They stand below ``duro.errors``, which has the whole tree, because values refuse wrong
arguments when they are made."""

from enum import StrEnum
from typing import ClassVar

import msgspec


class DuroError(Exception):
    """Root of everything duro raises on purpose."""

    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class UsageError(DuroError, ValueError):
    """An argument is wrong. Nothing was changed."""

    exit_code = 2


class InvalidRulesError(UsageError):
    """Retention rules, a policy or a hold name nothing, or something that cannot be."""


def check_texts(owner: object, *fields: str) -> None:
    """That these fields of ``owner`` are None or texts that are not empty.

    Raises:
        InvalidRulesError: one is not.
    """
    for field in fields:
        given = getattr(owner, field)
        what = f"{type(owner).__name__}.{field}"
        if given == "":
            raise InvalidRulesError(f"{what} is empty", hint="leave it out or name something")
        if given is not None and not isinstance(given, str):
            raise InvalidRulesError(f"{what} must be a string, not {shown_value(given)}")


def settle_members(owner: msgspec.Struct, field: str, kind: type[StrEnum]) -> None:
    """Make a field that takes some of an enumeration, by member or by text, a tuple of members in their order. None
    stays as it is.

    Raises:
        InvalidRulesError: it is something else, or empty.
    """
    given = getattr(owner, field)
    if given is None:
        return
    what = f"{type(owner).__name__}.{field}"
    if not isinstance(given, tuple | list | set | frozenset) or not given:
        raise InvalidRulesError(f"{what} must be several of {', '.join(kind)}, not {shown_value(given)}")
    try:
        chosen = tuple(dict.fromkeys(kind(each) for each in given))
    except ValueError as error:
        raise InvalidRulesError(f"{what}: {error}", hint=f"known: {', '.join(kind)}") from error
    msgspec.structs.force_setattr(owner, field, tuple(sorted(chosen, key=list(kind).index)))


def shown_value(value: object) -> str:
    """An int of thousands of digits cannot be printed (``ValueError``), nor would anybody read it."""
    if isinstance(value, int) and abs(value) > 10**20:
        return "a number of more than 20 digits"
    try:
        return repr(value)
    except ValueError:
        return f"a {type(value).__name__} of numbers that nobody can read"
