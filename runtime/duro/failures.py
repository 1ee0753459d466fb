"""Exceptions as data: what is recorded of an error of a user's code."""

import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Final

import msgspec

from duro.errors import DuroError, InvalidInputError, NondeterminismError, TaskFailedError, UnknownOrchestrationError
from duro.model.failure import FailureDetails, clip

_CAUSES_MAX: Final = 16
"""Links kept of a chain of causes: chains may be long (a child of a child ...) or closed to a ring."""

_OWN_PATHS: Final = ("duro/replay/", "duro/host/")
"""Frames of the drivers say nothing about the user's error."""


_cause_of: Final[Callable[[BaseException], BaseException | None]] = vars(BaseException)["__cause__"].__get__
_traceback_of: Final[Callable[[BaseException], TracebackType | None]] = vars(BaseException)["__traceback__"].__get__
"""What Python keeps, whatever the class of the exception makes of these names: code that raises must not keep its own
error from being recorded."""


def failure_of(error: BaseException, causes_max: int = _CAUSES_MAX) -> FailureDetails:
    """An exception as data, with the chain of causes that explain it, as far as ``causes_max`` links."""
    cause: FailureDetails | None = None
    recorded = getattr(error, "failure", None) if isinstance(error, TaskFailedError) else None
    if isinstance(recorded, FailureDetails):
        cause = _shortened(recorded, causes_max)
    elif (because := _cause_of(error)) is not None and causes_max > 0:
        cause = failure_of(because, causes_max - 1)
    frames = traceback.extract_tb(_traceback_of(error))
    users = [frame for frame in frames if not any(path in frame.filename for path in _OWN_PATHS)]
    text = "".join(traceback.format_list(users)) if users else None
    return FailureDetails(
        type=type(error).__name__,
        message=clip(message_of(error)),
        traceback=clip(text) if text else None,
        non_retryable=isinstance(error, InvalidInputError | UnknownOrchestrationError | NondeterminismError),
        cause=cause,
    )


def message_of(error: BaseException) -> str:
    """The text of an error, whatever its ``__str__`` does."""
    try:
        return str(error)
    except MemoryError:
        raise
    except BaseException:  # noqa: BLE001 - a broken __str__ must not hide the failure it belongs to
        return f"<{type(error).__name__} that cannot be printed>"


def explained(error: Exception) -> str:
    """An error of duro speaks for itself; one of somebody else's is named."""
    text = message_of(error)
    return clip(text if isinstance(error, DuroError) else f"{type(error).__name__}: {text}")


def _shortened(failure: FailureDetails, links_max: int) -> FailureDetails | None:
    """The first ``links_max`` links of a recorded chain."""
    if links_max <= 0:
        return None
    if failure.cause is None:
        return failure
    return msgspec.structs.replace(failure, cause=_shortened(failure.cause, links_max - 1))
