"""``OrchestrationContext``: everything an orchestration may ask for."""

import inspect
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, overload

from duro.codec import check_annotation, encode_payload
from duro.errors import ActivityFailedError, InvalidInputError, SubOrchestrationFailedError, TaskFailedError, UsageError
from duro.model import events
from duro.model.events import Json
from duro.model.failure import FailureDetails
from duro.model.limits import CONTINUE_AS_NEW_BYTES, CONTINUE_AS_NEW_EVENTS
from duro.model.options import RetryPolicy
from duro.model.pruning import PruneResult
from duro.model.retention import PruneOptions, as_prune_options
from duro.model.status import ParentPolicy
from duro.naming import check_instance_id, check_name
from duro.replay.futures import DurableFuture, Join, Never, Select

if TYPE_CHECKING:
    from duro.replay.engine import Execution

I = TypeVar("I")  # noqa: E741 - input
O = TypeVar("O")  # noqa: E741 - output
T = TypeVar("T")

Seconds = float | timedelta
"""A duration: seconds, or a timedelta."""

ParentPolicyName = Literal["abandon", "cancel", "terminate"]

_DELAY_MAX_S: Final = 100 * 365 * 86_400.0
"""A hundred years: longer delays are mistakes of unit, and overflow calendars."""

_AUTOMATIC_ID_NAME_BYTES: Final = 60
"""How much of its orchestration's name an automatic id begins with."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class OrchestrationContext:
    """What an orchestration asks for and may know. Every method is deterministic: it gives the same on every replay.

    Methods that return a future have asked already when they return: awaiting it only takes the result. All raise
    ``ContextSealed`` (a BaseException) once the coroutine is being dropped from memory.
    """

    __slots__ = ("_execution",)

    def __init__(self, execution: "Execution") -> None:
        self._execution = execution

    # --- what it may know ------------------------------------------------------------------------------------

    @property
    def instance_id(self) -> str:
        return self._execution.identity.instance_id

    @property
    def execution_id(self) -> int:
        """From 1, one more at each continue-as-new."""
        return self._execution.identity.execution_id

    @property
    def name(self) -> str:
        return self._execution.definition.name

    @property
    def version(self) -> str:
        return self._execution.definition.version

    @property
    def is_replaying(self) -> bool:
        """Whether this part of the code has run before. For logging only: never decide anything by it."""
        return self._execution.replaying

    @property
    def history_event_count(self) -> int:
        """Events of this execution up to what the code was last given."""
        return self._execution.seen_events

    @property
    def history_bytes(self) -> int:
        """Encoded bytes of those events."""
        return self._execution.seen_bytes

    @property
    def continue_as_new_suggested(self) -> bool:
        """Whether the history has become long enough to be worth leaving behind."""
        return self.history_event_count >= CONTINUE_AS_NEW_EVENTS or self.history_bytes >= CONTINUE_AS_NEW_BYTES

    def utc_now(self) -> datetime:
        """The time of the turn that last delivered something, the same on every replay."""
        self._execution.check_open()
        return datetime.fromtimestamp(self._execution.now_ms / 1000, UTC)

    def new_guid(self) -> uuid.UUID:
        """A random UUID (version 4) that is the same on every replay."""
        return uuid.UUID(bytes=self._execution.digest("guid"), version=4)

    def random(self) -> float:
        """A random number of [0, 1) that is the same on every replay. Not for secrets."""
        return (int.from_bytes(self._execution.digest("random")[:7], "big") >> 3) / (1 << 53)

    # --- activities ------------------------------------------------------------------------------------------

    @overload
    def schedule_activity(
        self,
        activity: Callable[[Any, I], Coroutine[Any, Any, O]],
        input: I,
        *,
        retry: RetryPolicy | None = None,
        timeout: Seconds | None = None,
        total_timeout: Seconds | None = None,
    ) -> DurableFuture[O]: ...
    @overload
    def schedule_activity(
        self,
        activity: Callable[[Any], Coroutine[Any, Any, O]],
        *,
        retry: RetryPolicy | None = None,
        timeout: Seconds | None = None,
        total_timeout: Seconds | None = None,
    ) -> DurableFuture[O]: ...
    @overload
    def schedule_activity(
        self,
        activity: Callable[[Any, I], O],
        input: I,
        *,
        retry: RetryPolicy | None = None,
        timeout: Seconds | None = None,
        total_timeout: Seconds | None = None,
    ) -> DurableFuture[O]: ...
    @overload
    def schedule_activity(
        self,
        activity: Callable[[Any], O],
        *,
        retry: RetryPolicy | None = None,
        timeout: Seconds | None = None,
        total_timeout: Seconds | None = None,
    ) -> DurableFuture[O]: ...
    @overload
    def schedule_activity(
        self,
        activity: str,
        input: Any = None,
        *,
        retry: RetryPolicy | None = None,
        timeout: Seconds | None = None,
        total_timeout: Seconds | None = None,
    ) -> DurableFuture[Any]: ...
    def schedule_activity(
        self,
        activity: Callable[..., Any] | str,
        input: Any = None,
        *,
        retry: RetryPolicy | None = None,
        timeout: Seconds | None = None,
        total_timeout: Seconds | None = None,
    ) -> DurableFuture[Any]:
        """Run an activity, at least once, on any worker that has it. Awaiting the future gives its result.

        Without ``retry`` there is one attempt. ``timeout`` bounds each attempt, ``total_timeout`` all of them
        with their delays; both in seconds or as a timedelta.

        Raises:
            UnknownActivityError: the function is not registered (a name may be one of another worker).
            InvalidInputError, PayloadTooLargeError: the input is not JSON, or too large. Nothing was scheduled.
            ActivityFailedError: (when awaited) it failed for good.
        """
        execution = self._execution
        execution.check_open()
        name = execution.registry.activity_name(activity)
        payload = encode_payload(input, f"input of activity {name!r}")
        event = events.ActivityScheduled(
            event_id=execution.next_event_id,
            at_ms=execution.now_ms,
            name=name,
            input=payload,
            retry=None if retry is None else _retry(retry),
            attempt_timeout_s=None if timeout is None else _timeout_s(timeout, "timeout"),
            total_timeout_s=None if total_timeout is None else _timeout_s(total_timeout, "total_timeout"),
        )
        definition = execution.registry.find_activity(name)
        result_type = definition.signature.result_type if definition else Any
        return execution.schedule_activity(event, result_type)

    # --- time ------------------------------------------------------------------------------------------------

    def schedule_timer(self, delay: Seconds) -> DurableFuture[None]:
        """A future that is done ``delay`` (seconds or a timedelta) after ``utc_now()``, also if the process dies
        meanwhile."""
        self._execution.check_open()
        return self._timer(self._execution.now_ms + round(_seconds(delay, "delay") * 1000))

    def schedule_timer_at(self, when: datetime) -> DurableFuture[None]:
        """A future that is done at ``when`` (with a time zone) and never before; at once if that is past.

        Raises:
            UsageError: ``when`` is no datetime, or has no time zone.
        """
        self._execution.check_open()
        if not isinstance(when, datetime):
            raise UsageError(f"when must be a datetime, not {when!r}", hint="ctx.schedule_timer takes a delay")
        if when.tzinfo is None:
            raise UsageError(f"{when!r} has no time zone", hint="use datetime(..., tzinfo=UTC), or ctx.utc_now() + ...")
        return self._timer(-((_EPOCH - when) // timedelta(milliseconds=1)))

    def _timer(self, fire_at_ms: int) -> DurableFuture[None]:
        execution = self._execution
        return execution.create_timer(
            events.TimerCreated(event_id=execution.next_event_id, at_ms=execution.now_ms, fire_at_ms=fire_at_ms)
        )

    # --- the mailbox -----------------------------------------------------------------------------------------

    @overload
    def wait_for_event(self, name: str) -> DurableFuture[Any]: ...
    @overload
    def wait_for_event(self, name: str, data_type: type[T]) -> DurableFuture[T]: ...
    def wait_for_event(self, name: str, data_type: Any = Any) -> DurableFuture[Any]:
        """The data of the next event ``name`` in the instance's mailbox, first in first out; one that came before
        waits there.

        Raises:
            InvalidNameError: the name is empty, too long or not storable.
            InvalidInputError: JSON cannot be turned into ``data_type``; (when awaited) the data does not fit it.
        """
        execution = self._execution
        execution.check_open()
        check_annotation(data_type, f"the data of event {name!r}")
        event = events.EventWaitStarted(
            event_id=execution.next_event_id, at_ms=execution.now_ms, name=check_name(name, "event name")
        )
        return execution.wait_for_event(event, data_type)

    # --- other orchestrations --------------------------------------------------------------------------------

    @overload
    def schedule_sub_orchestration(
        self,
        orchestration: "Callable[[OrchestrationContext, I], Coroutine[Any, Any, O] | Generator[Any, Any, O]]",
        input: I,
        *,
        instance_id: str | None = None,
        version: str | None = None,
        on_parent_continue: ParentPolicyName | None = None,
        on_parent_end: ParentPolicyName | None = None,
    ) -> DurableFuture[O]: ...
    @overload
    def schedule_sub_orchestration(
        self,
        orchestration: "Callable[[OrchestrationContext], Coroutine[Any, Any, O] | Generator[Any, Any, O]]",
        *,
        instance_id: str | None = None,
        version: str | None = None,
        on_parent_continue: ParentPolicyName | None = None,
        on_parent_end: ParentPolicyName | None = None,
    ) -> DurableFuture[O]: ...
    @overload
    def schedule_sub_orchestration(
        self,
        orchestration: str,
        input: Any = None,
        *,
        instance_id: str | None = None,
        version: str | None = None,
        on_parent_continue: ParentPolicyName | None = None,
        on_parent_end: ParentPolicyName | None = None,
    ) -> DurableFuture[Any]: ...
    def schedule_sub_orchestration(
        self,
        orchestration: Callable[..., Any] | str,
        input: Any = None,
        *,
        instance_id: str | None = None,
        version: str | None = None,
        on_parent_continue: ParentPolicyName | None = None,
        on_parent_end: ParentPolicyName | None = None,
    ) -> DurableFuture[Any]:
        """Start a child: an instance of its own, whose result (over all its executions) the future gives.

        ``instance_id`` None makes an id that is the same on every replay and never meets another's. ``version`` None
        takes the newest. The two policies say what becomes of the child when this execution continues as new or the
        instance ends before the child does; None leaves it to the store's settings (``[orphans]`` in
        runtime_config.toml). They are recorded with the child.

        Raises:
            UnknownOrchestrationError, InvalidIdError, InvalidNameError, InvalidInputError, PayloadTooLargeError:
            nothing was started. SubOrchestrationFailedError: (when awaited) it failed, was cancelled or terminated,
            or its id was taken.
        """
        execution = self._execution
        name, child_id, version, payload = self._child(orchestration, input, instance_id, version)
        event = events.SubOrchestrationScheduled(
            event_id=execution.next_event_id,
            at_ms=execution.now_ms,
            name=name,
            instance_id=child_id,
            input=payload,
            version=version,
            on_parent_continue=_parent_policy(on_parent_continue, "on_parent_continue"),
            on_parent_end=_parent_policy(on_parent_end, "on_parent_end"),
        )
        definition = execution.registry.find_orchestration(name, version or "")
        result_type = definition.signature.result_type if definition else Any
        return execution.start_child(event, result_type)

    def schedule_orchestration(
        self,
        orchestration: Callable[..., Any] | str,
        input: Any = None,
        *,
        instance_id: str | None = None,
        version: str | None = None,
    ) -> str:
        """Start a detached orchestration, for which nobody waits, and return its instance id. If the id is taken, the
        instance that has it goes on and nothing is started.

        Raises: as ``schedule_sub_orchestration``.
        """
        execution = self._execution
        name, child_id, version, payload = self._child(orchestration, input, instance_id, version)
        execution.start_detached(
            events.OrchestrationScheduled(
                event_id=execution.next_event_id,
                at_ms=execution.now_ms,
                name=name,
                instance_id=child_id,
                input=payload,
                version=version,
            )
        )
        return child_id

    def _child(
        self, orchestration: Callable[..., Any] | str, input: Any, instance_id: str | None, version: str | None
    ) -> tuple[str, str, str | None, Json]:
        execution = self._execution
        execution.check_open()
        name = execution.registry.orchestration_name(orchestration)
        if version is not None:
            version = check_name(version, "version")
        payload = encode_payload(input, f"input of orchestration {name!r}")
        if instance_id is None:
            beginning = name.encode()[:_AUTOMATIC_ID_NAME_BYTES].decode(errors="ignore")
            instance_id = f"{beginning}-{execution.digest('child').hex()}"
        return name, check_instance_id(instance_id), version, payload

    # --- combinations ----------------------------------------------------------------------------------------

    def join(self, *durables: Awaitable[T], return_exceptions: bool = False) -> DurableFuture[list[T]]:
        """Wait for all; their results in the order given. Coroutines run side by side from here on.

        Like ``asyncio.gather``: the first failure is raised at once and the others go on; with ``return_exceptions``
        failures stand in the list instead.

        Raises:
            UsageError: something given is not durable, or runs already.
        """
        members = self._futures(durables, "join")
        return Join(self._execution, members, return_exceptions=return_exceptions)

    def select(self, *durables: Awaitable[T]) -> DurableFuture[tuple[int, T]]:
        """Wait for the first; ``(index, value)``, or its failure raised. The others are cancelled, whoever else waits
        for them, children with their subtree.

        Raises:
            UsageError: nothing was given, or something that is not durable or runs already.
        """
        if not durables:
            raise UsageError("select of nothing would wait for ever", hint="give it at least one future or coroutine")
        return Select(self._execution, self._futures(durables, "select"))

    def _futures(self, durables: Iterable[Awaitable[T]], what: str) -> list[DurableFuture[T]]:
        """Each coroutine given as a task, the same one for the same coroutine. Refused, all that is new is closed."""
        execution = self._execution
        given = list(durables)
        try:
            execution.check_open()
            for each in given:
                if not isinstance(each, DurableFuture):
                    self._check_coroutine(each, what)
                elif each._execution is not execution:
                    raise UsageError(f"{what} got a future of another execution, which is not durable here")
        except BaseException:
            for each in given:
                if inspect.iscoroutine(each) and not execution.has_task(each):
                    _close_unused(each)
            raise
        tasks: dict[int, DurableFuture[T]] = {}
        for each in given:
            if not isinstance(each, DurableFuture) and id(each) not in tasks:
                tasks[id(each)] = execution.spawn(each)  # type: ignore[arg-type]
        return [each if isinstance(each, DurableFuture) else tasks[id(each)] for each in given]

    def _check_coroutine(self, value: object, what: str) -> None:
        if inspect.iscoroutine(value):
            fresh = inspect.getcoroutinestate(value) == inspect.CORO_CREATED
        elif inspect.isgenerator(value):
            fresh = inspect.getgeneratorstate(value) == inspect.GEN_CREATED
        else:
            raise UsageError(
                f"{what} got {type(value).__name__}, which is not durable",
                hint="give it futures of this context, or coroutines that await such futures",
            )
        if not fresh or self._execution.has_task(value):
            raise UsageError(f"{what} got a coroutine that runs already or has run", hint="call its function once more")

    # --- the course of the instance --------------------------------------------------------------------------

    def prune_history(self, options: PruneOptions | int) -> DurableFuture[PruneResult]:
        """Remove earlier executions of this instance, in the commit of this very turn: no activity, no worker. An int
        stands for ``keep_last``; this execution counts, and always stays.

        Awaiting it gives what was removed. A prune that failed gives a result with ``error``; it does not raise. It
        cannot be stopped: one that loses a ``select``, or that nobody awaits, is carried out as well. ``remaining``
        above 0: one prune looks at the oldest ``TURN_PRUNE_EXECUTIONS_MAX`` executions, and so many more, counted up to
        that, may have to go; a sweep sees to them.

        Raises:
            InvalidRulesError: the options name nothing to keep, or something that cannot be. Nothing was asked.
        """
        execution = self._execution
        execution.check_open()
        chosen = as_prune_options(options, "options of prune_history")
        return execution.prune_history(
            events.HistoryPruneRequested(event_id=execution.next_event_id, at_ms=execution.now_ms, options=chosen)
        )

    def continue_as_new(
        self, input: Any = None, *, version: str | None = None, prune: PruneOptions | int | None = None
    ) -> DurableFuture[Any]:
        """End this execution and begin the next one with ``input`` and a history of its own. ``version`` None takes
        the newest version registered. What was asked for in this turn is carried out. Await it: code after it does
        not run.

        ``prune`` (an int stands for ``keep_last``) removes earlier executions in the same transaction, in place of the
        automatic policy; the execution being started counts. An execution that was cancelled prunes nothing.

        Raises:
            InvalidInputError, PayloadTooLargeError, InvalidNameError, InvalidRulesError: nothing was changed.
        """
        execution = self._execution
        execution.check_open()
        chosen = None if prune is None else as_prune_options(prune, "prune of continue_as_new")
        if version is not None:
            version = check_name(version, "version")
        payload = encode_payload(input, f"input of the next execution of {self.name!r}")
        definition = execution.registry.find_orchestration(self.name, version or "")
        if definition is not None:
            definition.signature.arguments(payload, f"orchestration {self.name!r} {definition.version}")
        execution.continue_as_new(payload, version, chosen)
        return Never(execution)

    def set_custom_status(self, status: Any) -> None:
        """Any JSON value, shown with the instance from this turn's commit on; None clears it.

        Raises:
            InvalidInputError, PayloadTooLargeError: it stays as it was.
        """
        self._execution.check_open()
        text = "" if status is None else bytes(encode_payload(status, "the custom status")).decode()
        if not self._execution.replaying:
            self._execution.custom_status = text

    # --- traces ----------------------------------------------------------------------------------------------

    def trace_debug(self, message: str) -> None:
        """Log ``message`` once the turn is committed; silent on replay. Logger ``duro.orchestration``."""
        self._trace("debug", message)

    def trace_info(self, message: str) -> None:
        """As ``trace_debug``, at level INFO."""
        self._trace("info", message)

    def trace_warning(self, message: str) -> None:
        """As ``trace_debug``, at level WARNING."""
        self._trace("warning", message)

    def trace_error(self, message: str) -> None:
        """As ``trace_debug``, at level ERROR."""
        self._trace("error", message)

    def _trace(self, level: str, message: str) -> None:
        self._execution.check_open()
        if not self._execution.replaying:
            self._execution.trace(level, message)


def failure_error(kind: str, name: str, failure: FailureDetails) -> TaskFailedError:
    """The exception an orchestration gets for a recorded failure."""
    message = f"{kind} {name!r} failed: {failure.type}: {failure.message}"
    if kind == "activity":
        return ActivityFailedError(message, failure)
    return SubOrchestrationFailedError(message, failure)


def _seconds(value: Seconds, what: str) -> float:
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= _DELAY_MAX_S:
        raise UsageError(f"{what} must be between 0 and {_DELAY_MAX_S:.0f} seconds, not {value!r}")
    return float(seconds)


def _timeout_s(value: Seconds, what: str) -> float:
    seconds = _seconds(value, what)
    if seconds == 0:
        raise UsageError(f"{what} must be more than 0 seconds", hint="leave it out for no time-out")
    return seconds


def _retry(policy: RetryPolicy) -> RetryPolicy:
    """What is recorded must be readable again."""
    if not isinstance(policy, RetryPolicy):
        raise UsageError(f"retry must be a RetryPolicy, not {policy!r}")
    names = policy.non_retryable_errors
    if not isinstance(names, tuple | list) or not all(isinstance(name, str) for name in names):
        raise UsageError(
            f"non_retryable_errors must be a tuple of class names, not {names!r}", hint='for example ("ValueError",)'
        )
    return policy


def _parent_policy(value: str | None, what: str) -> ParentPolicy | None:
    if value is None:
        return None
    try:
        return ParentPolicy(value)
    except ValueError:
        raise InvalidInputError(f"{what} must be abandon, cancel or terminate, not {value!r}") from None


def _close_unused(coroutine: "Coroutine[Any, Any, Any]") -> None:
    """So that nobody is told it was never awaited. One that has begun belongs to whoever began it."""
    if inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
        coroutine.close()
