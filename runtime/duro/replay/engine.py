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
* **The end.** When the root coroutine has ended, or somebody has asked to continue as new, the execution ends in the
  same turn, unless coroutines that were interrupted (losers of a select, a cancel) are still cleaning up: then it
  ends with the last of them. An error of the root goes before a request to continue as new.
* **Once interrupted.** A coroutine is interrupted once. What it asks for after that is cleanup, and a cancel of the
  instance leaves it alone.
* **Sealing.** A dropped coroutine is closed with its context sealed: whatever its ``finally`` blocks ask of the context
  raises ``ContextSealed`` and leaves no trace. The same goes for the rest of a turn that is lost to nondeterminism.
* **Deadlines.** An activity with a total time-out has a timer of its own, under the id of its scheduled event. When it
  is due before the answer, the activity has failed, whoever has it or not, and leaves its queue.
* **Pruning.** A prune is carried out in the commit of its request, so there is nothing to cancel: whoever waits may
  give up, and the answer is recorded all the same, for nobody. An answer that finds its execution ended is expected.

A live ``Execution`` continues from where its last turn stopped; a new one replays first. Both give the same commits.
"""

import hashlib
import inspect
import math
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Sequence
from functools import partial
from typing import Any, Final, NoReturn, TypeAlias, TypeVar

import msgspec

from duro.codec import (
    NULL,
    decode_event,
    decode_value,
    encode_message,
    encode_payload,
    event_json,
    misfit,
    stored_payload,
)
from duro.errors import (
    ContextSealed,
    DuroError,
    HistoryFormatError,
    InvalidInputError,
    NondeterminismError,
    NonDurableAwaitError,
    OrchestrationCancelled,
    UsageError,
)
from duro.failures import explained, failure_of, message_of
from duro.model import events
from duro.model.events import AnyEvent, ArrivedEvent, Event, Json, ParentLink
from duro.model.failure import CANCELLED, INVALID_INPUT, INVALID_RESULT, FailureDetails, clip, out_of_time
from duro.model.messages import (
    ActivityFailed,
    ActivitySucceeded,
    AnyMessage,
    ChildFailed,
    ChildSucceeded,
    HistoryPruned,
    Message,
)
from duro.model.pruning import PruneResult
from duro.model.retention import PruneOptions
from duro.model.status import ExecutionStatus
from duro.model.turns import (
    CancelChild,
    CreateTimer,
    ExecutionEnd,
    MailboxEvent,
    RequestPrune,
    ScheduleActivity,
    StartInstance,
    TurnCommit,
)
from duro.registry import OrchestrationDefinition, Registry
from duro.replay.allowance import Allowance
from duro.replay.context import OrchestrationContext, failure_error
from duro.replay.futures import DurableFuture, Operation, Task, carry_out
from duro.replay.guard import HINT, asyncio_refused
from duro.replay.matching import mismatch, same_request

T = TypeVar("T")

_REFUSALS_MAX: Final = 100
"""Calls of a lost context after which it raises no more, and awaits suspend: code that swallows every exception in a
loop around an await comes to rest. What it asks for goes into a turn that nobody reads."""

_ABANDONED: Final = "this turn is abandoned: code and history differ"
_DROPPED: Final = "this coroutine is being dropped from memory; what it asks for now does not count"

_SEED_BYTES: Final = 16

_REQUESTS: Final[frozenset[type[Event]]] = frozenset(
    {
        events.ActivityScheduled,
        events.ActivityCancelRequested,
        events.TimerCreated,
        events.TimerCancelled,
        events.EventWaitStarted,
        events.EventWaitCancelled,
        events.SubOrchestrationScheduled,
        events.SubOrchestrationCancelRequested,
        events.OrchestrationScheduled,
        events.HistoryPruneRequested,
    }
)
_ENDS: Final[frozenset[type[Event]]] = frozenset(
    {
        events.OrchestrationCompleted,
        events.OrchestrationFailed,
        events.OrchestrationCancelled,
        events.OrchestrationTerminated,
        events.OrchestrationContinuedAsNew,
    }
)
_PRUNE: Final = "wait for a prune"

_ANSWERS: Final[dict[type[Event] | type[Message], str]] = {
    ActivitySucceeded: "activity",
    ActivityFailed: "activity",
    ChildSucceeded: "sub-orchestration",
    ChildFailed: "sub-orchestration",
    HistoryPruned: _PRUNE,
    events.ActivityCompleted: "activity",
    events.ActivityFailed: "activity",
    events.TimerFired: "timer",
    events.EventReceived: "event",
    events.SubOrchestrationCompleted: "sub-orchestration",
    events.SubOrchestrationFailed: "sub-orchestration",
    events.HistoryPruned: _PRUNE,
}
"""Which kind of operation a message or an arrived event is the answer to."""

_Answer: TypeAlias = (
    events.ActivityCompleted
    | events.ActivityFailed
    | events.TimerFired
    | events.EventReceived
    | events.SubOrchestrationCompleted
    | events.SubOrchestrationFailed
    | events.HistoryPruned
)


class Identity(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Which execution of which life of which instance."""

    instance_id: str
    incarnation: int
    execution_id: int


class FirstTurn(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the first event of an execution is made of."""

    input: str
    seed: str
    parent: ParentLink | None


class Arrivals(msgspec.Struct, kw_only=True, gc=False):
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

    __slots__ = (
        "_allowance",
        "_broken",
        "_cancel_delivered",
        "_continuation",
        "_deadlines",
        "_ended",
        "_open",
        "_ordinal",
        "_parent",
        "_position",
        "_ready",
        "_recorded",
        "_refusals",
        "_root",
        "_running",
        "_seed",
        "_tasks",
        "_turn",
        "_waits",
        "custom_status",
        "definition",
        "event_count",
        "history_bytes",
        "identity",
        "now_ms",
        "registry",
        "replaying",
        "sealed",
        "seen_bytes",
        "seen_events",
        "traces",
        "turn_sequence",
    )

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
        self.traces: Sequence[tuple[str, str]] = ()
        """(level, text) of the last turn, to be written out once it is committed."""
        self.custom_status: str | None = None
        self._seed = b""
        self._ordinal = 0
        self._recorded: Sequence[AnyEvent] = ()
        self._position = 0
        self._allowance = Allowance()
        self._open: dict[int, Operation[Any]] = {}
        self._deadlines = _NO_DEADLINES
        """Open activities that have a timer of their own."""
        self._waits: dict[str, deque[Operation[Any]]] = {}
        self._ready: deque[Task[Any]] | None = None
        """While there are any."""
        self._root: Task[Any] | None = None
        """None before the first event, and once the object is sealed."""
        self._tasks: dict[int, Task[Any]] = {}
        """What has not ended of the others, by ``id`` of the coroutine."""
        self._running: Task[Any] | None = None
        """Whose code runs now, and may ask for things; None also once the turn is lost or the code sealed."""
        self._parent: ParentLink | None = None
        self._cancel_delivered = False
        self._continuation: tuple[Json, str | None, PruneOptions | None] | None = None
        self._broken: DuroError | None = None
        self._refusals = 0
        self._turn = _NO_TURN
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
        for number, event in enumerate(recorded, start=1):
            if event.event_id != number:
                raise HistoryFormatError(f"{self._where()}: event {number} of the history is numbered {event.event_id}")
        sizes = [len(data.encode()) for data in history]
        self._recorded = recorded
        self.replaying = True
        self._position = 1
        self._account(sizes, 0, 1)
        with asyncio_refused():
            self._begin(recorded[0])
            while self._position < len(recorded) and not self._ended:
                event = recorded[self._position]
                if type(event) in _ENDS:
                    self._replay_end(event)
                    break
                if type(event) in _REQUESTS:
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
            input=stored_payload(first.input, "the input"),
            seed=first.seed,
            parent=first.parent,
        )
        self._append(started)
        with asyncio_refused():
            self._begin(started)
            self._deliver_all(arrivals)
        return self._taken()

    def turn(self, arrivals: Arrivals, now_ms: int) -> TurnCommit | None:
        """The next turn, or None when none of the arrivals means anything to this execution and nothing has to leave
        a queue. The caller fills in ``turn_sequence`` and ``lease_epoch``, and drops the object unless the turn
        commits.

        Raises:
            NondeterminismError, HistoryFormatError: the turn is abandoned and this object is of no more use.
        """
        self._open_turn(now_ms)
        with asyncio_refused():
            self._deliver_all(arrivals)
        commit = self._taken()
        return commit if commit.events or arrivals.messages else None

    @property
    def ended(self) -> bool:
        return self._ended

    def seal(self) -> None:
        """Drop the coroutines: their ``finally`` blocks run with a context that refuses everything. Idempotent."""
        if self.sealed:
            return
        self.sealed = True
        self._running = None
        self.traces = ()
        self._turn = _NO_TURN
        if undone := [task for task in self._all_tasks() if not task.done]:
            self._lose_turn()
            with asyncio_refused():
                for task in undone:
                    self._refusals = 0
                    _close(task.coroutine)
        self._tasks.clear()
        self._ready = None
        self._open.clear()
        self._waits.clear()
        self._root = None  # it refers back to this object: without it both are freed now, and not by the collector

    # --- what the context and the futures call ---------------------------------------------------------------

    def check_open(self) -> None:
        """Whether this code may ask for something now.

        Raises:
            ContextSealed: its coroutine is being dropped, or its turn is already lost.
            UsageError: the code that asks is not the one that this execution runs.
        """
        if self._running is None:
            self._refuse()

    def _refuse(self) -> None:
        if not self.sealed and self._broken is None:
            raise UsageError(
                f"the context of instance {self.identity.instance_id!r} was used outside its orchestration's own code",
                hint="use it in the orchestration it was given to and in the coroutines that this one awaits or joins",
            )
        self._refusals += 1
        if self._refusals <= _REFUSALS_MAX:
            raise ContextSealed(_DROPPED if self._broken is None else _ABANDONED)
        if self._turn is _NO_TURN:
            self._lose_turn()

    def _lose_turn(self) -> None:
        """Whatever the code still asks for goes into a turn that nobody reads."""
        self._running = None
        self.replaying = False
        self.traces = ()
        self._turn = _empty_turn()

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
            self._abandon(mismatch(self._where(), recorded, event))
        self._position += 1
        return False

    def _abandon(self, error: NondeterminismError) -> NoReturn:
        """The turn is lost. Code must not catch the error that says so: it gets ContextSealed, and ``_run`` raises."""
        running = self._running
        self._broken = error
        self._lose_turn()
        if running is None:
            raise error
        raise ContextSealed(_ABANDONED)

    def open_operation(self, event: Event, kind: str, name: str, annotation: Any) -> Operation[Any]:
        operation: Operation[Any] = Operation(self, event.event_id, kind, name, annotation, self._running)
        self._open[event.event_id] = operation
        return operation

    def _admit(self, payload_bytes: int = 0) -> None:
        """Raises LimitExceededError: the execution, or this turn, has asked for as much as it may."""
        if self._running is not None:  # the rest of a lost turn goes nowhere
            self._allowance.take(payload_bytes)

    def schedule_activity(self, event: events.ActivityScheduled, annotation: Any) -> Operation[Any]:
        self._admit(len(event.input))
        if self.request(event):
            self._turn.activities = _with(
                self._turn.activities,
                ScheduleActivity(
                    event_id=event.event_id,
                    name=event.name,
                    input=str(event.input, "utf-8"),
                    retry=event.retry,
                    attempt_timeout_s=event.attempt_timeout_s,
                    total_timeout_s=event.total_timeout_s,
                ),
            )
            if event.total_timeout_s is not None:
                deadline_ms = event.at_ms + math.ceil(event.total_timeout_s * 1000)
                self._turn.timers = _with(self._turn.timers, CreateTimer(event.event_id, deadline_ms))
        if event.total_timeout_s is not None:
            if self._deadlines is _NO_DEADLINES:
                self._deadlines = set()
            self._deadlines.add(event.event_id)
        return self.open_operation(event, "activity", event.name, annotation)

    def create_timer(self, event: events.TimerCreated) -> Operation[Any]:
        self._admit()
        if self.request(event):
            self._turn.timers = _with(self._turn.timers, CreateTimer(event.event_id, event.fire_at_ms))
        return self.open_operation(event, "timer", "", None)

    def wait_for_event(self, event: events.EventWaitStarted, annotation: Any) -> Operation[Any]:
        self._admit()
        self.request(event)
        operation = self.open_operation(event, "event", event.name, annotation)
        self._waits.setdefault(event.name, deque()).append(operation)
        return operation

    def start_child(self, event: events.SubOrchestrationScheduled, annotation: Any) -> Operation[Any]:
        self._admit(len(event.input))
        if self.request(event):
            self._turn.starts = _with(
                self._turn.starts,
                StartInstance(
                    event_id=event.event_id,
                    instance_id=event.instance_id,
                    name=event.name,
                    version=event.version or "",
                    input=str(event.input, "utf-8"),
                    detached=False,
                    on_parent_continue=event.on_parent_continue,
                    on_parent_end=event.on_parent_end,
                ),
            )
        return self.open_operation(event, "sub-orchestration", event.name, annotation)

    def start_detached(self, event: events.OrchestrationScheduled) -> None:
        self._admit(len(event.input))
        if self.request(event):
            self._turn.starts = _with(
                self._turn.starts,
                StartInstance(
                    event_id=event.event_id,
                    instance_id=event.instance_id,
                    name=event.name,
                    version=event.version or "",
                    input=str(event.input, "utf-8"),
                    detached=True,
                ),
            )

    def prune_history(self, event: events.HistoryPruneRequested) -> Operation[PruneResult]:
        self._admit()
        if self.request(event):
            self._turn.prune_requests = _with(self._turn.prune_requests, RequestPrune(event.event_id, event.options))
        return self.open_operation(event, _PRUNE, "", None)

    def cancel_operation(self, operation: Operation[Any]) -> None:
        """Record that nobody waits for the operation any more, and ask what runs for it to stop."""
        if operation.kind == _PRUNE:
            return  # it is carried out with the request, and its answer will come
        self._open.pop(operation.event_id, None)
        header = {"event_id": self.next_event_id, "at_ms": self.now_ms, "scheduled_event_id": operation.event_id}
        turn = self._turn
        match operation.kind:
            case "activity":
                if self.request(events.ActivityCancelRequested(**header)):
                    unsent = [each for each in turn.activities if each.event_id != operation.event_id]
                    if len(unsent) == len(turn.activities):
                        turn.cancelled_activities = _with(turn.cancelled_activities, operation.event_id)
                    turn.activities = unsent
                    if operation.event_id in self._deadlines:
                        self._drop_timer(operation.event_id)
                self._deadlines.discard(operation.event_id)
            case "timer":
                if self.request(events.TimerCancelled(**header)):
                    self._drop_timer(operation.event_id)
            case "event":
                self._forget_wait(operation)
                self.request(events.EventWaitCancelled(**header))
            case _:
                if self.request(events.SubOrchestrationCancelRequested(**header)):
                    turn.cancelled_children = _with(
                        turn.cancelled_children, CancelChild(operation.event_id, "its parent no longer waits for it")
                    )

    def _drop_timer(self, event_id: int) -> None:
        """It leaves its queue, or never comes there."""
        turn = self._turn
        unset = [each for each in turn.timers if each.event_id != event_id]
        if len(unset) == len(turn.timers):
            turn.cancelled_timers = _with(turn.cancelled_timers, event_id)
        turn.timers = unset

    def _forget_wait(self, operation: Operation[Any]) -> None:
        waits = self._waits[operation.name]
        waits.remove(operation)
        if not waits:
            del self._waits[operation.name]

    def has_task(self, coroutine: object) -> bool:
        """Whether the coroutine runs, or is to run, as a task of its own."""
        return id(coroutine) in self._tasks or (self._root is not None and self._root.coroutine is coroutine)

    def _all_tasks(self) -> list[Task[Any]]:
        """In the order in which they were added."""
        root = self._root
        return [] if root is None else [root, *self._tasks.values()]

    def spawn(self, coroutine: Coroutine[Any, Any, Any] | Generator[Any, Any, Any]) -> Task[Any]:
        """A coroutine to run beside the others, from the next time the ready ones run."""
        running = self._running
        task: Task[Any] = Task(self, coroutine)
        if running is None:  # the turn is lost: nothing runs any more
            _close(coroutine)
            return task
        task.cleaning = running.cleaning
        self._tasks[id(coroutine)] = task
        self.make_ready(task)
        return task

    def make_ready(self, task: Task[Any]) -> None:
        if not task.queued:
            task.queued = True
            if self._ready is None:
                self._ready = deque((task,))
            else:
                self._ready.append(task)

    def continue_as_new(self, input: Json, version: str | None, prune: PruneOptions | None) -> None:
        if self._continuation is None:
            self._continuation = (input, version, prune)

    def trace(self, level: str, text: str) -> None:
        self.traces = _with(self.traces, (level, text))

    def digest(self, purpose: str) -> bytes:
        """16 bytes that follow from the seed, the purpose and how many were asked for before."""
        self.check_open()
        self._ordinal += 1
        return hashlib.blake2b(f"{purpose}:{self._ordinal}".encode(), key=self._seed, digest_size=16).digest()

    # --- one turn --------------------------------------------------------------------------------------------

    def _open_turn(self, now_ms: int) -> None:
        self.now_ms = now_ms
        self.traces = ()
        self.custom_status = None
        identity, definition = self.identity, self.definition
        self._turn = TurnCommit(
            instance_id=identity.instance_id,
            incarnation=identity.incarnation,
            execution_id=identity.execution_id,
            turn_sequence=-1,
            lease_epoch=-1,
            at_ms=now_ms,
            name=definition.name,
            version=definition.version,
            first_event_id=self.event_count + 1,
            events=[],
            history_bytes=0,
        )

    def _taken(self) -> TurnCommit:
        """What this turn has come to, but for what only the worker knows. It is kept no longer here: a thousand live
        executions would be a thousand commits."""
        turn, self._turn = self._turn, _NO_TURN
        turn.custom_status = self.custom_status
        if self._waits:
            turn.waits = [name for name, operations in self._waits.items() for _ in operations]
        return turn

    def _deliver_all(self, arrivals: Arrivals) -> None:
        if arrivals.cancel_reason is not None and not self._cancel_delivered and not self._ended:
            self._turn.cancel_delivered = True
            self._record(
                events.OrchestrationCancelRequested(
                    event_id=self.next_event_id, at_ms=self.now_ms, reason=arrivals.cancel_reason
                )
            )
        for message in arrivals.messages:
            self._deliver_message(message)
        for event_id in arrivals.timers:
            operation = self._open.get(event_id)
            if operation is None or self._ended:
                continue
            header = {"event_id": self.next_event_id, "at_ms": self.now_ms, "scheduled_event_id": event_id}
            if operation.kind == "timer":
                self._turn.consumed_timers = _with(self._turn.consumed_timers, event_id)
                self._record(events.TimerFired(**header))
            elif event_id in self._deadlines:
                self._turn.consumed_timers = _with(self._turn.consumed_timers, event_id)
                self._turn.cancelled_activities = _with(self._turn.cancelled_activities, event_id)
                self._record(events.ActivityFailed(failure=out_of_time(operation.name), **header))
        for item in arrivals.mailbox:
            waits = self._waits.get(item.name)
            if waits and not self._ended:
                self._turn.consumed_mailbox = _with(self._turn.consumed_mailbox, item.sequence)
                self._record(
                    events.EventReceived(
                        event_id=self.next_event_id,
                        at_ms=self.now_ms,
                        scheduled_event_id=waits[0].event_id,
                        name=item.name,
                        data=stored_payload(item.data, f"event {item.name}"),
                    )
                )

    def _deliver_message(self, message: AnyMessage) -> None:
        operation = self._open.get(message.scheduled_event_id)
        if (
            self._ended
            or operation is None
            or message.execution_id != self.identity.execution_id
            or operation.kind != _ANSWERS[type(message)]
        ):
            if not self._is_late_prune(message):
                self._turn.ignored_messages += 1
            return
        number, at_ms, asked = self.event_count + 1, self.now_ms, operation.event_id
        event: ArrivedEvent
        if asked in self._deadlines:
            self._turn.cancelled_timers = _with(self._turn.cancelled_timers, asked)
        match message:
            case ActivitySucceeded(result=result):
                event = events.ActivityCompleted(event_id=number, at_ms=at_ms, scheduled_event_id=asked, result=result)
            case ActivityFailed(failure=failure):
                event = events.ActivityFailed(event_id=number, at_ms=at_ms, scheduled_event_id=asked, failure=failure)
            case ChildSucceeded(result=result):
                self._turn.observed_children = _with(self._turn.observed_children, asked)
                event = events.SubOrchestrationCompleted(
                    event_id=number, at_ms=at_ms, scheduled_event_id=asked, result=result
                )
            case HistoryPruned():
                event = events.HistoryPruned(
                    event_id=number,
                    at_ms=at_ms,
                    scheduled_event_id=asked,
                    executions_deleted=message.executions_deleted,
                    events_deleted=message.events_deleted,
                    bytes_deleted=message.bytes_deleted,
                    remaining=message.remaining,
                    error=message.error,
                )
            case _:
                self._turn.observed_children = _with(self._turn.observed_children, asked)
                event = events.SubOrchestrationFailed(
                    event_id=number, at_ms=at_ms, scheduled_event_id=asked, failure=message.failure
                )
        self._record(event)

    def _is_late_prune(self, message: AnyMessage) -> bool:
        """Whether it answers a prune whose execution has ended since: the answer is a message, so it comes later."""
        past = self._ended or message.execution_id < self.identity.execution_id
        return past and isinstance(message, HistoryPruned)

    def _record(self, event: ArrivedEvent) -> None:
        self._append(event)
        self._apply(event)

    def _append(self, event: Event) -> None:
        data = event_json(event)
        size = len(data)
        turn = self._turn
        turn.events.append(data.decode())
        turn.history_bytes += size
        self.event_count += 1
        self.history_bytes += size

    def _account(self, sizes: Sequence[int], start: int, stop: int) -> None:
        self.event_count = stop
        self.history_bytes += sum(sizes[start:stop])

    # --- delivering ------------------------------------------------------------------------------------------

    def _begin(self, started: events.OrchestrationStarted) -> None:
        self._see(started)
        try:
            self._seed = _seed(started)
        except ValueError as error:
            raise HistoryFormatError(f"{self._where()}: {error}") from error
        self._parent = started.parent
        try:
            arguments = self.definition.signature.arguments(started.input, f"orchestration {started.name!r}")
        except Exception as error:  # noqa: BLE001 - also whatever the input's own type raises while it is made
            self._end_failed(FailureDetails(type=INVALID_INPUT, message=explained(error), non_retryable=True))
            return
        root = self._root = Task(self, self.definition.function(OrchestrationContext(self), *arguments))
        self.make_ready(root)
        self._run()

    def _apply(self, event: AnyEvent) -> None:
        """Deliver one arrived event to the code and let it run until everything waits."""
        self._see(event)
        match event:
            case events.ActivityCompleted() | events.SubOrchestrationCompleted():
                self._resolve(self._take_open(event), event.result)
            case events.ActivityFailed() | events.SubOrchestrationFailed():
                self._fail(self._take_open(event), event.failure)
            case events.TimerFired():
                self._take_open(event).resolve(None)
            case events.EventReceived():
                operation = self._take_open(event)
                self._forget_wait(operation)
                self._resolve(operation, event.data)
            case events.HistoryPruned():
                self._take_open(event).resolve(_pruned(event))
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
        self._allowance.renew(self.event_count, self.history_bytes)

    def _take_open(self, event: _Answer) -> Operation[Any]:
        operation = self._open.pop(event.scheduled_event_id, None)
        self._deadlines.discard(event.scheduled_event_id)
        if operation is not None and operation.kind == _ANSWERS[type(event)]:
            return operation
        answered = f"{type(event).__name__} answers event {event.scheduled_event_id}"
        found = "waits for nothing" if operation is None else f"waits for something else ({operation.kind})"
        raise HistoryFormatError(f"{self._where()}, event {event.event_id}: {answered}, which {found}")

    def _resolve(self, operation: Operation[Any], data: Json) -> None:
        annotation = operation.annotation
        value, error = None, None
        try:
            value = decode_value(data, annotation)
        except MemoryError:
            raise
        except Exception as raised:  # noqa: BLE001 - also whatever the annotated type raises while it is made
            error = partial(InvalidInputError, explained(misfit(raised, annotation, operation.payload)))
        operation.resolve(value, error)

    def _fail(self, operation: Operation[Any], failure: FailureDetails) -> None:
        operation.resolve(None, lambda: failure_error(operation.kind, operation.name, failure))

    def _cancel_all(self, reason: str) -> None:
        """Interrupt everything but cleanup that is going on already."""
        self._cancel_delivered = True
        asked = [operation for operation in self._open.values() if not operation.is_cleanup]
        for task in self._all_tasks():
            if not task.cleaning:
                carry_out(task.cancelling(reason))
        for operation in asked:
            carry_out(operation.cancelling(reason))

    # --- running the code ------------------------------------------------------------------------------------

    def _run(self) -> None:
        """Run the ready coroutines until all of them wait, then end the execution if it is over."""
        while self._ready and not self._over():
            self._step(self._ready.popleft())
            if self._broken is not None:
                raise self._broken
        self._ready = self._ready or None
        if self._root is not None and self._over():
            self._end(self._root)

    def _over(self) -> bool:
        """Whether nothing is left to wait for: the execution is to end, and all cleanup is done (or can never be)."""
        root = self._root
        if root is None or not (root.done or self._continuation is not None):
            return False
        if root.done and not self._tasks:
            return True
        return not any(
            task.interruption is not None and not task.done and not task.is_stuck() for task in self._all_tasks()
        )

    def _step(self, task: Task[Any]) -> None:
        """Run one coroutine until it waits for something that is not there yet, or ends."""
        task.queued = False
        if task.done:
            return
        future, task.waiting_on = task.waiting_on, None
        error: Callable[[], BaseException] | None = None
        value: Any = None
        if task.interruption_due:
            task.interruption_due = False
            reason = task.interruption or ""
            if future is not None:  # it began to wait after it had brought its interruption upon itself
                future.leave(task, reason)
            error = partial(OrchestrationCancelled, reason)
        elif future is not None:
            error = future.error
            value = future.outcome() if error is None else None
        coroutine = task.coroutine
        self._running = task
        try:
            while True:
                awaited = coroutine.throw(error()) if error is not None else coroutine.send(value)
                value, error = None, None
                if not isinstance(awaited, DurableFuture) or awaited._execution is not self:
                    if inspect.iscoroutine(awaited) and not self.has_task(awaited):
                        _close(awaited)  # a generator yielded it; it will never run
                    error = _not_durable(awaited)
                elif awaited.done:
                    error = awaited.error
                    value = awaited.outcome() if error is None else None
                else:
                    task.waiting_on = awaited
                    awaited.add_waiter(task)
                    return
        except StopIteration as stop:
            self._running = None
            self._task_ended(task, stop.value, None)
        except MemoryError:
            raise
        except BaseException as failed:  # noqa: BLE001 - whatever the user's code raises is its outcome
            self._running = None
            self._task_ended(task, None, failed)
        finally:
            self._running = None

    def _task_ended(self, task: Task[Any], value: Any, error: BaseException | None) -> None:
        if self._broken is not None:
            return
        if task is not self._root:
            del self._tasks[id(task.coroutine)]
        if error is None:
            task.resolve(value)
        elif isinstance(error, OrchestrationCancelled) and task is not self._root:
            task.ended_as_cancelled(message_of(error))
        else:
            task.resolve(None, lambda: error)

    # --- the end ---------------------------------------------------------------------------------------------

    def _end(self, root: Task[Any]) -> None:
        error = root.error() if root.error is not None else None
        if isinstance(error, OrchestrationCancelled):
            self._end_cancelled(clip(message_of(error)))
        elif error is not None:
            self._end_failed(failure_of(error))
        elif self._continuation is None:
            self._end_completed(root.outcome())
        elif self._cancel_delivered:
            self._end_cancelled("it was cancelled and asked to continue as new")
        else:
            self._end_continued(*self._continuation)

    def _end_completed(self, value: Any) -> None:
        try:
            what = f"the result of orchestration {self.definition.name!r}"
            result = encode_payload(value, what)
            self.definition.signature.check_result(value, result, what)
        except Exception as error:  # noqa: BLE001 - also whatever an odd object raises while it is encoded
            self._end_failed(FailureDetails(type=INVALID_RESULT, message=explained(error), non_retryable=True))
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

    def _end_continued(self, input: Json, version: str | None, prune: PruneOptions | None) -> None:
        if version is None:
            newest = self.registry.find_orchestration(self.definition.name)
            version = newest.version if newest else self.definition.version
        event = events.OrchestrationContinuedAsNew(
            event_id=self.next_event_id, at_ms=self.now_ms, input=input, version=version
        )
        end = ExecutionEnd(
            status=ExecutionStatus.CONTINUED_AS_NEW,
            next_input=str(input, "utf-8"),
            next_version=version,
            prune=prune,
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
        return encode_message(ChildSucceeded(result=result or NULL, **address))

    def _where(self) -> str:
        identity = self.identity
        code = f"{self.definition.name} {self.definition.version}"
        return f"instance {identity.instance_id!r} execution {identity.execution_id} ({code})"


def _with(found: Sequence[T], item: T) -> Sequence[T]:
    """``found`` and ``item``: a list from the first item on."""
    if isinstance(found, list):
        found.append(item)
        return found
    return [*found, item]


def _pruned(event: events.HistoryPruned) -> PruneResult:
    return PruneResult(
        executions_deleted=event.executions_deleted,
        events_deleted=event.events_deleted,
        bytes_deleted=event.bytes_deleted,
        instances_processed=0 if event.error else 1,
        remaining=event.remaining,
        error=event.error,
    )


def _seed(started: events.OrchestrationStarted) -> bytes:
    """Raises ValueError when there is none."""
    try:
        seed = bytes.fromhex(started.seed)
    except ValueError:
        seed = b""
    if len(seed) != _SEED_BYTES:
        raise ValueError(f"the seed is not {2 * _SEED_BYTES} hexadecimal digits: {started.seed!r}")
    return seed


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
            _keep_for_ever(coroutine)
    except BaseException:  # noqa: BLE001 - ContextSealed, or what the code made of it: it leaves no trace
        return


def _keep_for_ever(coroutine: Coroutine[Any, Any, Any] | Generator[Any, Any, Any]) -> None:
    """Also while the interpreter shuts down: code that swallows everything would swallow, and loop over, the errors of
    modules that are half gone, and the process would never end."""
    import ctypes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(coroutine))


def _suspended(coroutine: Coroutine[Any, Any, Any] | Generator[Any, Any, Any]) -> bool:
    if inspect.isgenerator(coroutine):
        return inspect.getgeneratorstate(coroutine) == inspect.GEN_SUSPENDED
    return inspect.iscoroutine(coroutine) and inspect.getcoroutinestate(coroutine) == inspect.CORO_SUSPENDED


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


_NO_DEADLINES: Final[set[int]] = set()
"""Of executions whose activities have no total time-out: nothing is ever added to it."""

_NO_TURN: Final = _empty_turn()
"""Stands where no turn is going on; nothing is ever written to it."""
