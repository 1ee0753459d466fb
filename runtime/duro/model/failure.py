"""What went wrong in an orchestration or activity, as data: recorded in history, replayed, sent to parents."""

from typing import Final

import msgspec

from duro.model.limits import FAILURE_TEXT_CHARACTERS_MAX

CANCELLED: Final = "OrchestrationCancelled"
TERMINATED: Final = "OrchestrationTerminated"
TIMED_OUT: Final = "ActivityTimeout"
POISON: Final = "Poison"
INVALID_INPUT: Final = "InvalidInput"
INVALID_RESULT: Final = "InvalidResult"
INSTANCE_EXISTS: Final = "InstanceExists"


class FailureDetails(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One failure and what caused it.

    ``type`` is the exception's class name, or one of the constants of this module where duro itself decided.
    ``traceback`` is text for people, absent where no code failed. ``non_retryable`` failures end an activity at
    once, whatever its retry policy says.
    """

    type: str
    message: str
    traceback: str | None = None
    non_retryable: bool = False
    cause: "FailureDetails | None" = None


def out_of_time(activity: str, attempt: int | None = None) -> FailureDetails:
    """The failure of an activity whose time is over: that of one attempt, or of all together (None)."""
    which = "all its attempts" if attempt is None else f"attempt {attempt}"
    return FailureDetails(type=TIMED_OUT, message=f"activity {activity!r} was not done in the time for {which}")


def clip(text: str) -> str:
    """``text`` with its middle cut out when it is longer than ``FAILURE_TEXT_CHARACTERS_MAX``, without lone
    surrogates."""
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    if len(text) <= FAILURE_TEXT_CHARACTERS_MAX:
        return text
    half = FAILURE_TEXT_CHARACTERS_MAX // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters cut ...]\n{text[-half:]}"
