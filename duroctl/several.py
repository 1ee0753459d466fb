"""One thing done to several, of which some may refuse it."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final, TypeVar

from duro.errors import DuroError, StateError
from duroctl.errors import PartlyDoneError
from duroctl.render.units import were

if TYPE_CHECKING:
    from duroctl.session import Session

_TOLD_MAX: Final = 10
"""Refusals that are told one by one."""

Asked = TypeVar("Asked")
Done = TypeVar("Done")


def try_each(asked: Iterable[Asked], act: Callable[[Asked], Done]) -> tuple[list[Done], list[StateError]]:
    """What ``act`` returned, and what it refused."""
    done: list[Done] = []
    refused: list[StateError] = []
    for each in asked:
        try:
            done.append(act(each))
        except StateError as error:
            refused.append(error)
    return done, refused


def check_refused(session: "Session", refused: Sequence[DuroError], of: int, what: str) -> None:
    """Tell what was refused of so many; the last thing a command does.

    Raises:
        StateError: the only one that was asked for was refused. PartlyDoneError: some of several were.
    """
    if not refused:
        return
    if of == 1:
        raise refused[0]
    tell_refused(session, refused)
    raise PartlyDoneError(f"{len(refused):,} of {of:,} {what} {were(len(refused))} refused", hint="see above for why")


def tell_refused(session: "Session", refused: Sequence[DuroError]) -> None:
    """A line each, up to a number of them."""
    for error in refused[:_TOLD_MAX]:
        session.note(str(error))
    if len(refused) > _TOLD_MAX:
        session.note(f"... and {len(refused) - _TOLD_MAX:,} more")
