"""The roots of duro's errors. They stand below ``duro.errors``, which has the whole tree, because values refuse wrong
arguments when they are made."""

from typing import ClassVar


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
            raise InvalidRulesError(f"{what} must be a string, not {given!r}")
