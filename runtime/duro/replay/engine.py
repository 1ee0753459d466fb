"""One execution, driven: history and arrivals in, one ``TurnCommit`` a turn out.

The rules this file keeps:

* **Position.** An event's id is its position in the history. While history is replayed, each request of the code
  must be the next recorded scheduled event, and after the code has come to rest the next recorded event must be an
  arrived one. Anything else is a ``NondeterminismError``. Whatever the code does with that error, the turn is
  abandoned.
* **One at a time.** Arrivals are recorded and delivered one by one; after each the code runs until every coroutine
  of it waits. Ready coroutines run first in, first out. So the order of everything follows from the history.
* **Time.** The code's ``now`` is ``at_ms`` of the event delivered last.
* **Chance.** Random numbers, GUIDs and child ids come from the seed in the first event and an ordinal.
* **No effects.** A request is an event and an action in the turn's commit; nothing happens before the store has both.
* **The end.** When the root coroutine has ended, or continued as new, the execution ends in the same turn, unless
  coroutines that were interrupted (losers of a select, a cancel) are still cleaning up: then it ends with the last
  of them.
* **Sealing.** A dropped coroutine is closed with its context sealed: whatever its ``finally`` blocks ask of the context
  raises ``ContextSealed`` and leaves no trace.

A live ``Execution`` continues from where its last turn stopped; a new one replays first. Both give the same commits.
"""

import hashlib
import inspect
import traceback
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Sequence
from typing import Any, Final

import msgspec

from duro.codec import decode_event, encode_event, encode_message, encode_payload
from duro.errors import (
    ContextSealed,
    DuroError,
    HistoryFormatError,
    InvalidInputError,
    NondeterminismError,
    NonDurableAwaitError,
    OrchestrationCancelled,
    TaskFailedError,
    UnknownOrchestrationError,
)
from duro.model import events
from duro.model.events import AnyEvent, ArrivedEvent, Event, Json, ParentLink
from duro.model.failure import CANCELLED, INVALID_INPUT, INVALID_RESULT, FailureDetails, clip
from duro.model.messages import ActivityFailed, ActivitySucceeded, AnyMessage, ChildFailed, ChildSucceeded
from duro.model.status import ExecutionStatus
from duro.model.turns import (
    CancelChild,
    CreateTimer,
    ExecutionEnd,
    MailboxEvent,
    ScheduleActivity,
    StartInstance,
    TurnCommit,
)
from duro.registry import OrchestrationDefinition, Registry
from duro.replay.futures import DurableFuture, Operation, Task
from duro.replay.guard import HINT, asyncio_refused
from duro.replay.matching import mismatch, same_request

_SEALED_CALLS_MAX: Final = 100
"""Calls of a sealed context after which an await suspends instead of raising, so that code that swallows every
exception in a loop around an await comes to rest."""

_REQUESTS: Final[tuple[type[Event], ...]] = (
    events.ActivityScheduled,
    events.ActivityCancelRequested,
    events.TimerCreated,
    events.TimerCancelled,
    events.EventWaitStarted,
    events.EventWaitCancelled,
    events.SubOrchestrationScheduled,
    events.SubOrchestrationCancelRequested,
    events.OrchestrationScheduled,
)
_ENDS: Final[tuple[type[Event], ...]] = (
    events.OrchestrationCompleted,
    events.OrchestrationFailed,
    events.OrchestrationCancelled,
    events.OrchestrationTerminated,
    events.OrchestrationContinuedAsNew,
)


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Which execution of which life of which instance."""

    instance_id: str
    incarnation: int
    execution_id: int


class FirstTurn(msgspec.Struct, frozen=True, kw_only=True):
    """What the first event of an execution is made of."""

    input: str
    seed: str
    parent: ParentLink | None


class Arrivals(msgspec.Struct, kw_only=True):
    """What has reached an execution since its last turn, in the order it is to be delivered.

    ``timers`` are event ids of due timers; ``mailbox`` events are taken only as far as the code waits for them;
    ``cancel_reason`` is delivered once an execution, first.
    """

    messages: Sequence[AnyMessage] = ()
    timers: Sequence[int] = ()
    mailbox: Sequence[MailboxEvent] = ()
    cancel_reason: str | None = None


class Execution:
    """One execution and the state of its code. Not thread-safe: one turn at a time."""

    def __init__(self, identity: Identity, definition: OrchestrationDefinition, registry: Registry) -> None:
        self.identity = identity
        self.definition = definition
        self.registry = registry
        self.turn_sequence = -1
        """The instance's turn sequence after the last turn of this object that is known to be committed; -1: none."""
        self.now_ms = 0
        self.event_count = 0
        self.history_bytes = 0
        self.seen_events = 0
        """``event_count`` when the code was last delivered something: what the code may know of it."""
        self.seen_bytes = 0
        self.replaying = False
        self.sealed = False
        self.traces: list[tuple[str, str]] = []
        """(level, text) of the last turn, to be written out once it is committed."""
        self.custom_status: str | None = None
        self._seed = b""
        self._ordinal = 0
        self._recorded: Sequence[AnyEvent] = ()
        self._position = 0
        self._open: dict[int, Operation[Any]] = {}
        self._waits: dict[str, deque[Operation[Any]]] = {}
        self._ready: deque[Task[Any]] = deque()
        self._tasks: list[Task[Any]] = []
        self._root: Task[Any] | None = None
        self._parent: ParentLink | None = None
        self._cancel_delivered = False
        self._continuation: tuple[Json, str | None] | None = None
        self._broken: DuroError | None = None
        self._sealed_calls = 0
        self._turn = _empty_turn()
        self._ended = False

    # --- what a worker calls ---------------------------------------------------------------------------------

    def replay(self, history: Sequence[str]) -> None:
        """Bring a new object to where ``history`` ends. Nothing is asked of anybody.

        A finished history is accepted: then the code must end as recorded.

        Raises:
            HistoryFormatError: an event cannot be decoded, or the events are no history.
            NondeterminismError: the code asks for something else than was recorded.
        """
        recorded = [decode_event(data) for data in history]
        if not recorded or not isinstance(recorded[0], events.OrchestrationStarted):
            raise HistoryFormatError(f"{self._where()}: the history does not begin with OrchestrationStarted")
        sizes = [len(data.encode()) for data in history]
        self._recorded = recorded
        self.replaying = True
        self._position = 1
        self._account(sizes, 0, 1)
        with asyncio_refused():
            self._begin(recorded[0])
            while self._position < len(recorded) and not self._ended:
                event = recorded[self._position]
                if isinstance(event, _ENDS):
                    self._replay_end(event)
                    break
                if isinstance(event, _REQUESTS):
                    raise mismatch(self._where(), event, "did not ask for it and came to rest")
                self._position += 1
                self._account(sizes, self.event_count, self._position)
                self._apply(event)
        if self._position < len(recorded):
            raise mismatch(self._where(), recorded[self._position], "had already ended")
        self._account(sizes, self.event_count, len(recorded))
        self.replaying = False
        self._recorded = ()

    def first_turn(self, first: FirstTurn, arrivals: Arrivals, now_ms: int) -> TurnCommit:
        """The turn that begins the execution. Raises NondeterminismError never, for there is no history yet."""
        self._open_turn(now_ms)
        started = events.OrchestrationStarted(
            event_id=1,
            at_ms=now_ms,
            name=self.definition.name,
            version=self.definition.version,
            input=msgspec.Raw(first.input.encode()),
            seed=first.seed,
            parent=first.parent,
        )
        self._append(started)
        with asyncio_refused():
            self._begin(started)
        return self._take(arrivals, now_ms)

    def turn(self, arrivals: Arrivals, now_ms: int) -> TurnCommit | None:
        """The next turn, or None when none of the arrivals means anything to this execution and nothing has to leave
        a queue. The caller fills in ``turn_sequence`` and ``lease_epoch``, and drops the object unless the turn
        commits.

        Raises:
            NondeterminismError, HistoryFormatError: the turn is abandoned and this object is of no more use.
        """
        self._open_turn(now_ms)
        commit = self._take(arrivals, now_ms)
        return commit if commit.events or commit.ignored_messages else None

    @property
    def ended(self) -> bool:
        return self._ended

    def seal(self) -> None:
        """Drop the coroutines: their ``finally`` blocks run with a context that refuses everything. Idempotent."""
        if self.sealed:
            return
        self.sealed = True
        with asyncio_refused():
            for task in self._tasks:
                if not task.done:
                    _close(task.coroutine)
        self._tasks.clear()
        self._ready.clear()
        self._open.clear()

    # --- what the context and the futures call ---------------------------------------------------------------

    def check_open(self) -> None:
        """Raises ContextSealed when the coroutine is being dropped, or the turn is already lost."""
        if self.sealed:
            self._sealed_calls += 1
            if self._sealed_calls <= _SEALED_CALLS_MAX:
                raise ContextSealed("this coroutine is being dropped from memory; what it asks for now does not count")
        elif self._broken is not None:
            raise ContextSealed("this turn is abandoned: code and history differ")

    @property
    def next_event_id(self) -> int:
        return (self._position if self.replaying else self.event_count) + 1

    def request(self, event: Event) -> bool:
        """Match a scheduled event with history, or record it. True: it is new, so its action goes into the turn."""
        if not self.replaying:
            self._append(event)
            return True
        recorded = self._recorded[self._position] if self._position < len(self._recorded) else None
        if recorded is None or not same_request(recorded, event):
            self._broken = mismatch(self._where(), recorded, event)
            raise ContextSealed("this turn is abandoned: code and history differ")
        self._position += 1
        return False

    def open_operation(
        self, event: Event, kind: str, name: str, decode: Callable[[Json], Any] | None
    ) -> Operation[Any]:
        operation: Operation[Any] = Operation(self, event.event_id, kind, name, decode)
        self._open[event.event_id] = operation
        return operation

    def schedule_activity(
        self, event: events.ActivityScheduled, decode: Callable[[Json], Any] | None
    ) -> Operation[Any]:
        if self.request(event):
            self._turn.activities.append(
                ScheduleActivity(
                    event_id=event.event_id,
                    name=event.name,
                    input=bytes(event.input).decode(),
                    retry=event.retry,
                    attempt_timeout_s=event.attempt_timeout_s,
                    total_timeout_s=event.total_timeout_s,
                )
            )
        return self.open_operation(event, "activity", event.name, decode)

    def create_timer(self, event: events.TimerCreated) -> Operation[Any]:
        if self.request(event):
            self._turn.timers.append(CreateTimer(event.event_id, event.fire_at_ms))
        return self.open_operation(event, "timer", "", None)

    def wait_for_event(self, event: events.EventWaitStarted, decode: Callable[[Json], Any] | None) -> Operation[Any]:
        self.request(event)
        operation = self.open_operation(event, "event", event.name, decode)
        self._waits.setdefault(event.name, deque()).append(operation)
        return operation

    def start_child(
        self, event: events.SubOrchestrationScheduled, decode: Callable[[Json], Any] | None
    ) -> Operation[Any]:
        if self.request(event):
            self._turn.starts.append(
                StartInstance(
                    event_id=event.event_id,
                    instance_id=event.instance_id,
                    name=event.name,
                    version=event.version or "",
                    input=bytes(event.input).decode(),
                    detached=False,
                    on_parent_continue=event.on_parent_continue,
                    on_parent_end=event.on_parent_end,
                )
            )
        return self.open_operation(event, "sub-orchestration", event.name, decode)

    def start_detached(self, event: events.OrchestrationScheduled) -> None:
        if self.request(event):
            self._turn.starts.append(
                StartInstance(
                    event_id=event.event_id,
                    instance_id=event.instance_id,
                    name=event.name,
                    version=event.version or "",
                    input=bytes(event.input).decode(),
                    detached=True,
                )
            )

    def cancel_operation(self, operation: Operation[Any]) -> None:
        """Record that nobody waits for the operation any more, and ask what runs for it to stop."""
        self.check_open()
        del self._open[operation.event_id]
        header = {"event_id": self.next_event_id, "at_ms": self.now_ms, "scheduled_event_id": operation.event_id}
        turn = self._turn
        match operation.kind:
            case "activity":
                if self.request(events.ActivityCancelRequested(**header)):
                    unsent = [each for each in turn.activities if each.event_id != operation.event_id]
                    if len(unsent) == len(turn.activities):
                        turn.cancelled_activities.append(operation.event_id)
                    turn.activities = unsent
            case "timer":
                if self.request(events.TimerCancelled(**header)):
                    unset = [each for each in turn.timers if each.event_id != operation.event_id]
                    if len(unset) == len(turn.timers):
                        turn.cancelled_timers.append(operation.event_id)
                    turn.timers = unset
            case "event":
                self._waits[operation.name].remove(operation)
                self.request(events.EventWaitCancelled(**header))
            case "sub-orchestration":
                if self.request(events.SubOrchestrationCancelRequested(**header)):
                    turn.cancelled_children.append(CancelChild(operation.event_id, "its parent no longer waits for it"))

    def spawn(self, coroutine: Coroutine[Any, Any, Any] | Generator[Any, Any, Any]) -> Task[Any]:
        """A coroutine to run beside the others, from the next time the ready ones run."""
        task: Task[Any] = Task(self, coroutine)
        self._tasks.append(task)
        self._ready.append(task)
        return task

    def make_ready(self, task: Task[Any]) -> None:
        self._ready.append(task)

    def continue_as_new(self, input: Json, version: str | None) -> None:
        if self._continuation is None:
            self._continuation = (input, version)

    def digest(self, purpose: str) -> bytes:
        """16 bytes that follow from the seed, the purpose and how many were asked for before."""
        self.check_open()
        self._ordinal += 1
        return hashlib.blake2b(f"{purpose}:{self._ordinal}".encode(), key=self._seed, digest_size=16).digest()

    # --- one turn --------------------------------------------------------------------------------------------

    def _open_turn(self, now_ms: int) -> None:
        self.now_ms = now_ms
        self.traces = []
        self.custom_status = None
        self._turn = _empty_turn()
        self._turn.first_event_id = self.event_count + 1

    def _take(self, arrivals: Arrivals, now_ms: int) -> TurnCommit:
        with asyncio_refused():
            self._deliver_all(arrivals)
        turn = self._turn
        turn.instance_id = self.identity.instance_id
        turn.incarnation = self.identity.incarnation
        turn.execution_id = self.identity.execution_id
        turn.at_ms = now_ms
        turn.name = self.definition.name
        turn.version = self.definition.version
        turn.custom_status = self.custom_status
        turn.waits = [name for name, operations in self._waits.items() for _ in operations]
        return turn

    def _deliver_all(self, arrivals: Arrivals) -> None:
        if arrivals.cancel_reason is not None and not self._cancel_delivered and not self._ended:
            self._record(
                events.OrchestrationCancelRequested(
                    event_id=self.next_event_id, at_ms=self.now_ms, reason=arrivals.cancel_reason
                )
            )
        for message in arrivals.messages:
            self._deliver_message(message)
        for event_id in arrivals.timers:
            if event_id in self._open and not self._ended:
                self._turn.consumed_timers.append(event_id)
                self._record(
                    events.TimerFired(event_id=self.next_event_id, at_ms=self.now_ms, scheduled_event_id=event_id)
                )
        for item in arrivals.mailbox:
            waits = self._waits.get(item.name)
            if waits and not self._ended:
                self._turn.consumed_mailbox.append(item.sequence)
                self._record(
                    events.EventReceived(
                        event_id=self.next_event_id,
                        at_ms=self.now_ms,
                        scheduled_event_id=waits[0].event_id,
                        name=item.name,
                        data=msgspec.Raw(item.data.encode()),
                    )
                )

    def _deliver_message(self, message: AnyMessage) -> None:
        operation = self._open.get(message.scheduled_event_id)
        if self._ended or operation is None or message.execution_id != self.identity.execution_id:
            self._turn.ignored_messages += 1
            return
        header = {"event_id": self.next_event_id, "at_ms": self.now_ms, "scheduled_event_id": operation.event_id}
        match message:
            case ActivitySucceeded():
                self._record(events.ActivityCompleted(result=message.result, **header))
            case ActivityFailed():
                self._record(events.ActivityFailed(failure=message.failure, **header))
            case ChildSucceeded():
                self._turn.observed_children.append(operation.event_id)
                self._record(events.SubOrchestrationCompleted(result=message.result, **header))
            case ChildFailed():
                self._turn.observed_children.append(operation.event_id)
                self._record(events.SubOrchestrationFailed(failure=message.failure, **header))

    def _record(self, event: ArrivedEvent) -> None:
        self._append(event)
        self._apply(event)

    def _append(self, event: Event) -> None:
        data = encode_event(event)
        size = len(data) if data.isascii() else len(data.encode())
        self._turn.events.append(data)
        self._turn.history_bytes += size
        self.event_count += 1
        self.history_bytes += size

    def _account(self, sizes: Sequence[int], start: int, stop: int) -> None:
        self.event_count = stop
        self.history_bytes += sum(sizes[start:stop])

    # --- delivering ------------------------------------------------------------------------------------------

    def _begin(self, started: events.OrchestrationStarted) -> None:
        self._see(started)
        self._seed = bytes.fromhex(started.seed)
        self._parent = started.parent
        try:
            arguments = self.definition.signature.arguments(started.input, f"orchestration {started.name!r}")
        except InvalidInputError as error:
            self._end_failed(FailureDetails(type=INVALID_INPUT, message=clip(str(error)), non_retryable=True))
            return
        from duro.replay.context import OrchestrationContext

        self._root = self.spawn(self.definition.function(OrchestrationContext(self), *arguments))
        self._run()

    def _apply(self, event: AnyEvent) -> None:
        """Deliver one arrived event to the code and let it run until everything waits."""
        self._see(event)
        match event:
            case events.ActivityCompleted() | events.SubOrchestrationCompleted():
                self._resolve(event.scheduled_event_id, event.result)
            case events.ActivityFailed() | events.SubOrchestrationFailed():
                self._fail(event.scheduled_event_id, event.failure)
            case events.TimerFired():
                self._resolve(event.scheduled_event_id, None)
            case events.EventReceived():
                operation = self._resolve(event.scheduled_event_id, event.data)
                self._waits[operation.name].remove(operation)
            case events.OrchestrationCancelRequested():
                self._cancel_all(event.reason)
            case _:
                raise HistoryFormatError(
                    f"{self._where()}: {type(event).__name__} at event {event.event_id} is out of place"
                )
        self._run()

    def _see(self, event: Event) -> None:
        self.now_ms = event.at_ms
        self.seen_events = self.event_count
        self.seen_bytes = self.history_bytes

    def _take_open(self, event_id: int) -> Operation[Any]:
        operation = self._open.pop(event_id, None)
        if operation is None:
            raise HistoryFormatError(f"{self._where()}: an event answers event {event_id}, which waits for nothing")
        return operation

    def _resolve(self, event_id: int, data: Json | None) -> Operation[Any]:
        operation = self._take_open(event_id)
        if data is None or operation.decode is None:
            operation.resolve(None)
            return operation
        try:
            operation.resolve(operation.decode(data))
        except InvalidInputError as error:
            text = str(error)
            operation.resolve(None, lambda: InvalidInputError(text))
        return operation

    def _fail(self, event_id: int, failure: FailureDetails) -> None:
        from duro.replay.context import failure_error

        operation = self._take_open(event_id)
        operation.resolve(None, lambda: failure_error(operation.kind, operation.name, failure))

    def _cancel_all(self, reason: str) -> None:
        self._cancel_delivered = True
        for task in list(self._tasks):
            task.cancel(reason)
        for operation in list(self._open.values()):
            operation.cancel(reason)

    # --- running the code ------------------------------------------------------------------------------------

    def _run(self) -> None:
        """Run the ready coroutines until all of them wait, then end the execution if it is over."""
        ready = self._ready
        while ready and not self._over():
            self._step(ready.popleft())
            if self._broken is not None:
                raise self._broken
        if self._over():
            self._end()

    def _over(self) -> bool:
        if self._ended or self._root is None:
            return self._ended
        if not (self._root.done or self._continuation is not None):
            return False
        return not any(
            task.interruption is not None and not task.done for task in self._tasks if task is not self._root
        )

    def _step(self, task: Task[Any]) -> None:
        """Run one coroutine until it waits for something that is not there yet, or ends."""
        if task.done:
            return
        future, task.waiting_on = task.waiting_on, None
        error: Callable[[], BaseException] | None = None
        value: Any = None
        if task.interruption_due:
            task.interruption_due = False
            error = task.interruption
        elif future is not None:
            error = future.error
            value = future.outcome() if error is None else None
        coroutine = task.coroutine
        try:
            while True:
                awaited = coroutine.throw(error()) if error is not None else coroutine.send(value)
                value, error = None, None
                if not isinstance(awaited, DurableFuture) or awaited._execution is not self:
                    error = _not_durable(awaited)
                elif awaited.done:
                    error = awaited.error
                    value = awaited.outcome() if error is None else None
                else:
                    task.waiting_on = awaited
                    awaited.add_waiter(task)
                    return
        except StopIteration as stop:
            self._task_ended(task, stop.value, None)
        except ContextSealed:
            if self._broken is None:
                raise
        except (KeyboardInterrupt, MemoryError):
            raise
        except BaseException as failed:  # noqa: BLE001 - whatever the user's code raises is its outcome
            self._task_ended(task, None, failed)

    def _task_ended(self, task: Task[Any], value: Any, error: BaseException | None) -> None:
        if task is not self._root:
            self._tasks.remove(task)
        if error is None:
            task.resolve(value)
        elif isinstance(error, OrchestrationCancelled) and task is not self._root:
            DurableFuture.cancel(task, error.reason)
        else:
            task.resolve(None, lambda: error)

    # --- the end ---------------------------------------------------------------------------------------------

    def _end(self) -> None:
        if self._ended or self._root is None:
            return
        error = self._root.error() if self._root.error is not None else None
        if self._continuation is not None and not self._cancel_delivered:
            self._end_continued(*self._continuation)
        elif self._continuation is not None and error is None:
            self._end_cancelled("it was cancelled and asked to continue as new")
        elif error is None:
            self._end_completed(self._root.outcome())
        elif isinstance(error, OrchestrationCancelled):
            self._end_cancelled(error.reason)
        else:
            self._end_failed(failure_of(error))

    def _end_completed(self, value: Any) -> None:
        try:
            result = encode_payload(value, f"the result of orchestration {self.definition.name!r}")
        except DuroError as error:
            self._end_failed(FailureDetails(type=INVALID_RESULT, message=clip(str(error)), non_retryable=True))
            return
        self._finish(
            events.OrchestrationCompleted(event_id=self.next_event_id, at_ms=self.now_ms, result=result),
            ExecutionStatus.COMPLETED,
            self._tell_parent(result=result),
        )

    def _end_failed(self, failure: FailureDetails) -> None:
        self._finish(
            events.OrchestrationFailed(event_id=self.next_event_id, at_ms=self.now_ms, failure=failure),
            ExecutionStatus.FAILED,
            self._tell_parent(failure=failure),
        )

    def _end_cancelled(self, reason: str) -> None:
        self._finish(
            events.OrchestrationCancelled(event_id=self.next_event_id, at_ms=self.now_ms, reason=reason),
            ExecutionStatus.CANCELLED,
            self._tell_parent(failure=FailureDetails(type=CANCELLED, message=reason)),
        )

    def _end_continued(self, input: Json, version: str | None) -> None:
        if version is None:
            newest = self.registry.find_orchestration(self.definition.name)
            version = newest.version if newest else self.definition.version
        event = events.OrchestrationContinuedAsNew(
            event_id=self.next_event_id, at_ms=self.now_ms, input=input, version=version
        )
        end = ExecutionEnd(
            status=ExecutionStatus.CONTINUED_AS_NEW, next_input=bytes(input).decode(), next_version=version
        )
        self._finish(event, ExecutionStatus.CONTINUED_AS_NEW, None, end)

    def _finish(
        self, event: Event, status: ExecutionStatus, parent_message: str | None, end: ExecutionEnd | None = None
    ) -> None:
        self._ended = True
        if self.replaying:
            self._expect_end(event)
            return
        self._append(event)
        self._turn.end = end or ExecutionEnd(status=status, parent_message=parent_message)

    def _expect_end(self, event: Event) -> None:
        recorded = self._recorded[self._position] if self._position < len(self._recorded) else None
        if type(recorded) is not type(event):
            raise mismatch(self._where(), recorded, f"ended with {type(event).__name__}")
        self._position += 1

    def _replay_end(self, event: Event) -> None:
        """History ends here and the code did not: right only if it was ended from outside."""
        if not isinstance(event, events.OrchestrationTerminated):
            raise mismatch(self._where(), event, "did not end")
        self._ended = True
        self._position += 1

    def _tell_parent(self, result: Json | None = None, failure: FailureDetails | None = None) -> str | None:
        if self._parent is None:
            return None
        address = {"execution_id": self._parent.execution_id, "scheduled_event_id": self._parent.event_id}
        if failure is not None:
            return encode_message(ChildFailed(failure=failure, **address))
        return encode_message(ChildSucceeded(result=result or msgspec.Raw(b"null"), **address))

    def _where(self) -> str:
        identity = self.identity
        code = f"{self.definition.name} {self.definition.version}"
        return f"instance {identity.instance_id!r} execution {identity.execution_id} ({code})"


def failure_of(error: BaseException) -> FailureDetails:
    """An exception as data, with the chain of causes that explain it."""
    cause: FailureDetails | None = None
    if isinstance(error, TaskFailedError):
        cause = error.failure
    elif error.__cause__ is not None:
        cause = failure_of(error.__cause__)
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if f"{_OWN_PATH}" not in frame.filename]
    text = "".join(traceback.format_list(own)) if own else None
    return FailureDetails(
        type=type(error).__name__,
        message=clip(_message_of(error)),
        traceback=clip(text) if text else None,
        non_retryable=isinstance(error, InvalidInputError | UnknownOrchestrationError | NondeterminismError),
        cause=cause,
    )


_OWN_PATH: Final = __name__.rpartition(".")[0].replace(".", "/") + "/"
"""``duro/replay/``: frames of the driver say nothing about the user's error."""


def _message_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a broken __str__ must not hide the failure it belongs to
        return f"<{type(error).__name__} that cannot be printed>"


def _not_durable(awaited: object) -> Callable[[], BaseException]:
    what = type(awaited).__name__ if awaited is not None else "something that yielded None"
    return lambda: NonDurableAwaitError(f"the orchestration awaited {what}, which is not durable", hint=HINT)


_abandoned: list[object] = []
"""Coroutines that refuse to be closed: kept, for collecting them would only make them refuse again."""


def _close(coroutine: Coroutine[Any, Any, Any] | Generator[Any, Any, Any]) -> None:
    try:
        coroutine.close()
    except RuntimeError:
        if _suspended(coroutine):
            _abandoned.append(coroutine)
    except (KeyboardInterrupt, MemoryError):
        raise
    except BaseException:  # noqa: BLE001 - ContextSealed, or what the code made of it: it leaves no trace
        return


def _suspended(coroutine: Coroutine[Any, Any, Any] | Generator[Any, Any, Any]) -> bool:
    if inspect.iscoroutine(coroutine):
        return inspect.getcoroutinestate(coroutine) == inspect.CORO_SUSPENDED
    if inspect.isgenerator(coroutine):
        return inspect.getgeneratorstate(coroutine) == inspect.GEN_SUSPENDED
    return False


def _empty_turn() -> TurnCommit:
    return TurnCommit(
        instance_id="",
        incarnation=0,
        execution_id=0,
        turn_sequence=-1,
        lease_epoch=-1,
        at_ms=0,
        name="",
        version="",
        first_event_id=1,
        events=[],
        history_bytes=0,
    )
