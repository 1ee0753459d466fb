"""Attempts of activities: what goes in, what the function is told, and what comes out."""

import asyncio
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import msgspec

from duro.codec import encode_payload
from duro.errors import ActivityCancelled, InvalidInputError, PayloadTooLargeError
from duro.failures import failure_of
from duro.model.events import Json
from duro.model.failure import INVALID_INPUT, INVALID_RESULT, TIMED_OUT, FailureDetails, out_of_time
from duro.model.turns import LeasedActivity
from duro.registry import ActivityDefinition

if TYPE_CHECKING:
    from duro.async_client import AsyncClient
    from duro.client import Client

ActivityKey = tuple[int, int, int]
"""(incarnation, execution id, event id)"""


class ActivityAttempt(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One attempt to run. ``total_left_s`` is what is left of the time for all attempts, from now on; the attempt's own
    time-out begins when the function does."""

    key: ActivityKey
    leased: LeasedActivity
    definition: ActivityDefinition
    total_left_s: float | None = None


def attempt_of(leased: LeasedActivity, definition: ActivityDefinition) -> ActivityAttempt:
    key = (leased.incarnation, leased.execution_id, leased.event_id)
    return ActivityAttempt(key=key, leased=leased, definition=definition)


class ActivityOutcome(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How an attempt ended: with ``result``, with ``failure`` (and the class names of the error and its bases), or,
    with neither, cancelled. ``final``: no other attempt, whatever the policy says. ``thread``: the attempt has ended
    and its plain function is still in a thread ("stays"), or no more than that it has left it now ("is back")."""

    attempt: ActivityAttempt
    result: Json | None = None
    failure: FailureDetails | None = None
    error_names: tuple[str, ...] = ()
    final: bool = False
    thread: Literal["free", "stays", "is back"] = "free"


class ActivityExecutor(Protocol):
    """What a worker needs of whoever runs activities; a simulation has its own."""

    def submit(self, attempts: Sequence[ActivityAttempt]) -> None:
        """Begin the attempts; each gives exactly one outcome, cancelled ones, too. After one whose thread stays comes
        another one when it is back."""
        ...

    def cancel(self, key: ActivityKey) -> None:
        """Ask a running attempt to stop; unknown ones are ignored."""
        ...

    def close(self) -> None:
        """Cancel what runs and give back the threads; threads inside a plain function are left to end by themselves."""
        ...


_making_event: Final = threading.Lock()
"""Held while a context makes the event that few of them need: making one costs more than the rest of a context."""


class ActivityContext:
    """What an activity knows about its attempt. Activities run at least once: after a crash the same attempt may run
    again."""

    def __init__(self, attempt: ActivityAttempt, clients: "Clients") -> None:
        self._attempt = attempt
        self._clients = clients
        self._cancelled = False
        self._waited_for: threading.Event | None = None
        self._task: asyncio.Task[Any] | None = None

    @property
    def instance_id(self) -> str:
        """The instance that scheduled the activity."""
        return self._attempt.leased.instance_id

    @property
    def execution_id(self) -> int:
        return self._attempt.leased.execution_id

    @property
    def event_id(self) -> int:
        """The event that scheduled the activity. Together with instance and execution id it makes an idempotency
        key."""
        return self._attempt.leased.event_id

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of this activity, and for no other activity."""
        leased = self._attempt.leased
        return f"{leased.instance_id}/{leased.incarnation}/{leased.execution_id}/{leased.event_id}"

    @property
    def name(self) -> str:
        return self._attempt.leased.name

    @property
    def attempt(self) -> int:
        """1 for the first attempt, one more after each failure. An attempt that died with its process is not
        counted."""
        return self._attempt.leased.attempt

    @property
    def is_cancelled(self) -> bool:
        """Whether nobody waits for this attempt any more (cancelled, timed out, or shutting down)."""
        return self._cancelled

    def raise_if_cancelled(self) -> None:
        """Raises ActivityCancelled (a BaseException) when nobody waits for this attempt any more."""
        if self._cancelled:
            raise ActivityCancelled("nobody waits for this activity any more")

    def heartbeat(self) -> None:
        """Say that the attempt is alive, and learn whether it is still wanted. The runtime renews leases by itself;
        long plain functions call this so that they stop soon after a cancel.

        Raises:
            ActivityCancelled: nobody waits for this attempt any more.
        """
        self.raise_if_cancelled()

    def wait_for_cancellation(self, timeout: float | None = None) -> bool:
        """In a plain function: wait up to ``timeout`` seconds; whether the attempt is cancelled by then."""
        with _making_event:
            waited_for = self._waited_for = self._waited_for or threading.Event()
        return self._cancelled or waited_for.wait(timeout)

    @property
    def client(self) -> "Client":
        """A client of the store this activity's instance lives in. It blocks: in async activities use
        ``async_client``."""
        return self._clients.client

    @property
    def async_client(self) -> "AsyncClient":
        return self._clients.async_client

    def _cancel(self) -> None:
        self._cancelled = True
        if self._waited_for is not None:
            self._waited_for.set()


class Clients(Protocol):
    """Where activity contexts get their clients from."""

    @property
    def client(self) -> "Client": ...
    @property
    def async_client(self) -> "AsyncClient": ...


def ended_by(error: BaseException, context: ActivityContext) -> ActivityOutcome:
    """The outcome for whatever was raised: cancelled only if that was asked for, and not by a cancellation of the
    activity's own making."""
    attempt = context._attempt
    if context.is_cancelled and isinstance(error, asyncio.CancelledError | ActivityCancelled):
        return ActivityOutcome(attempt=attempt)
    names = tuple(kind.__name__ for kind in type(error).__mro__)
    failure = failure_of(error)
    if isinstance(error, _WrongInputError | _WrongResultError):
        kind = INVALID_INPUT if isinstance(error, _WrongInputError) else INVALID_RESULT
        failure = FailureDetails(type=kind, message=failure.message, non_retryable=True)
    return ActivityOutcome(attempt=attempt, failure=failure, error_names=names, final=failure.non_retryable)


class _WrongInputError(Exception):
    """The recorded input does not fit the function; another attempt would not either."""


class _WrongResultError(Exception):
    """The function's result is not JSON, or too large; another attempt's would not be either."""


def arguments_of(attempt: ActivityAttempt) -> tuple[Any, ...]:
    try:
        return attempt.definition.signature.arguments(attempt.leased.input, f"activity {attempt.definition.name!r}")
    except InvalidInputError as error:
        raise _WrongInputError(str(error)) from error


def succeeded(attempt: ActivityAttempt, value: Any) -> ActivityOutcome:
    try:
        what = f"the result of activity {attempt.definition.name!r}"
        result = encode_payload(value, what)
        attempt.definition.signature.check_result(value, result, what)
    except (InvalidInputError, PayloadTooLargeError) as error:
        raise _WrongResultError(str(error)) from error
    return ActivityOutcome(attempt=attempt, result=result)


def timed_out(attempt: ActivityAttempt, *, in_total: bool) -> ActivityOutcome:
    """The outcome of an attempt whose time, or that of all attempts together, is over."""
    failure = out_of_time(attempt.definition.name, None if in_total else attempt.leased.attempt)
    return ActivityOutcome(attempt=attempt, failure=failure, error_names=(TIMED_OUT, "TimeoutError"), final=in_total)
