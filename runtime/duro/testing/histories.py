"""Tests that read like histories: events by number, a driver that gives an orchestration its turns, and replay.

::

    engine = Engine(sell, {"sku": "A1"}, registry=registry)
    engine.start()
    turn = engine.turn(activity_result(2, "paid"))
    assert engine.events == [
        started("sell", {"sku": "A1"}),
        activity_scheduled(2, "charge", {"sku": "A1"}),
        activity_completed(3, 2, "paid"),
        completed(4, "paid"),
    ]

``check_replay`` is for programs that use duro: keep the histories of executions that matter, and let a test replay
them with the code of today.
"""

import weakref
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

import msgspec

from duro.codec import decode_event, encode_event, encode_payload
from duro.errors import HistoryFormatError, UnknownOrchestrationError
from duro.model import events as ev
from duro.model.failure import FailureDetails
from duro.model.messages import (
    ActivityFailed,
    ActivitySucceeded,
    AnyMessage,
    ChildFailed,
    ChildSucceeded,
    HistoryPruned,
    Message,
)
from duro.model.options import RetryPolicy
from duro.model.retention import PruneOptions
from duro.model.status import ParentPolicy
from duro.model.turns import MailboxEvent, TurnCommit
from duro.registry import DEFAULT_VERSION, Registry
from duro.replay.engine import Arrivals, Execution, FirstTurn, Identity

NOW_MS: Final = 1_700_000_000_000
"""The time of events and turns that say no other."""

SEED: Final = "5eed" * 8
INSTANCE_ID: Final = "instance"


def payload(value: Any) -> ev.Json:
    """``value`` as a payload."""
    return encode_payload(value, "a payload of a test")


def failure(message: str = "it broke", type: str = "ValueError", **fields: Any) -> FailureDetails:
    return FailureDetails(type=type, message=message, **fields)


# --- the first event ---------------------------------------------------------------------------------------


def started(
    name: str,
    input: Any = None,
    *,
    version: str = DEFAULT_VERSION,
    seed: str = SEED,
    parent: ev.ParentLink | None = None,
    at_ms: int = NOW_MS,
) -> ev.OrchestrationStarted:
    return ev.OrchestrationStarted(
        event_id=1, at_ms=at_ms, name=name, version=version, input=payload(input), seed=seed, parent=parent
    )


# --- scheduled: the orchestration asked --------------------------------------------------------------------


def activity_scheduled(
    event_id: int,
    name: str,
    input: Any = None,
    *,
    retry: RetryPolicy | None = None,
    attempt_timeout_s: float | None = None,
    total_timeout_s: float | None = None,
    at_ms: int = NOW_MS,
) -> ev.ActivityScheduled:
    return ev.ActivityScheduled(
        event_id=event_id,
        at_ms=at_ms,
        name=name,
        input=payload(input),
        retry=retry,
        attempt_timeout_s=attempt_timeout_s,
        total_timeout_s=total_timeout_s,
    )


def activity_cancel_requested(event_id: int, scheduled: int, *, at_ms: int = NOW_MS) -> ev.ActivityCancelRequested:
    return ev.ActivityCancelRequested(event_id=event_id, at_ms=at_ms, scheduled_event_id=scheduled)


def timer_created(event_id: int, fire_at_ms: int, *, at_ms: int = NOW_MS) -> ev.TimerCreated:
    return ev.TimerCreated(event_id=event_id, at_ms=at_ms, fire_at_ms=fire_at_ms)


def timer_cancelled(event_id: int, scheduled: int, *, at_ms: int = NOW_MS) -> ev.TimerCancelled:
    return ev.TimerCancelled(event_id=event_id, at_ms=at_ms, scheduled_event_id=scheduled)


def event_wait_started(event_id: int, name: str, *, at_ms: int = NOW_MS) -> ev.EventWaitStarted:
    return ev.EventWaitStarted(event_id=event_id, at_ms=at_ms, name=name)


def event_wait_cancelled(event_id: int, scheduled: int, *, at_ms: int = NOW_MS) -> ev.EventWaitCancelled:
    return ev.EventWaitCancelled(event_id=event_id, at_ms=at_ms, scheduled_event_id=scheduled)


def sub_orchestration_scheduled(
    event_id: int,
    name: str,
    input: Any = None,
    *,
    instance_id: str,
    version: str | None = None,
    on_parent_continue: ParentPolicy | None = None,
    on_parent_end: ParentPolicy | None = None,
    at_ms: int = NOW_MS,
) -> ev.SubOrchestrationScheduled:
    return ev.SubOrchestrationScheduled(
        event_id=event_id,
        at_ms=at_ms,
        name=name,
        instance_id=instance_id,
        input=payload(input),
        version=version,
        on_parent_continue=on_parent_continue,
        on_parent_end=on_parent_end,
    )


def sub_orchestration_cancel_requested(
    event_id: int, scheduled: int, *, at_ms: int = NOW_MS
) -> ev.SubOrchestrationCancelRequested:
    return ev.SubOrchestrationCancelRequested(event_id=event_id, at_ms=at_ms, scheduled_event_id=scheduled)


def orchestration_scheduled(
    event_id: int,
    name: str,
    input: Any = None,
    *,
    instance_id: str,
    version: str | None = None,
    at_ms: int = NOW_MS,
) -> ev.OrchestrationScheduled:
    return ev.OrchestrationScheduled(
        event_id=event_id, at_ms=at_ms, name=name, instance_id=instance_id, input=payload(input), version=version
    )


# --- arrived ------------------------------------------------------------------------------------------------


def activity_completed(
    event_id: int, scheduled: int, result: Any = None, *, at_ms: int = NOW_MS
) -> ev.ActivityCompleted:
    return ev.ActivityCompleted(event_id=event_id, at_ms=at_ms, scheduled_event_id=scheduled, result=payload(result))


def activity_failed(
    event_id: int, scheduled: int, details: FailureDetails | None = None, *, at_ms: int = NOW_MS
) -> ev.ActivityFailed:
    return ev.ActivityFailed(event_id=event_id, at_ms=at_ms, scheduled_event_id=scheduled, failure=details or failure())


def timer_fired(event_id: int, scheduled: int, *, at_ms: int = NOW_MS) -> ev.TimerFired:
    return ev.TimerFired(event_id=event_id, at_ms=at_ms, scheduled_event_id=scheduled)


def event_received(
    event_id: int, scheduled: int, name: str, data: Any = None, *, at_ms: int = NOW_MS
) -> ev.EventReceived:
    return ev.EventReceived(event_id=event_id, at_ms=at_ms, scheduled_event_id=scheduled, name=name, data=payload(data))


def sub_orchestration_completed(
    event_id: int, scheduled: int, result: Any = None, *, at_ms: int = NOW_MS
) -> ev.SubOrchestrationCompleted:
    return ev.SubOrchestrationCompleted(
        event_id=event_id, at_ms=at_ms, scheduled_event_id=scheduled, result=payload(result)
    )


def sub_orchestration_failed(
    event_id: int, scheduled: int, details: FailureDetails | None = None, *, at_ms: int = NOW_MS
) -> ev.SubOrchestrationFailed:
    return ev.SubOrchestrationFailed(
        event_id=event_id, at_ms=at_ms, scheduled_event_id=scheduled, failure=details or failure()
    )


def cancel_requested(
    event_id: int, reason: str = "asked to stop", *, at_ms: int = NOW_MS
) -> ev.OrchestrationCancelRequested:
    return ev.OrchestrationCancelRequested(event_id=event_id, at_ms=at_ms, reason=reason)


# --- the last event -----------------------------------------------------------------------------------------


def completed(event_id: int, result: Any = None, *, at_ms: int = NOW_MS) -> ev.OrchestrationCompleted:
    return ev.OrchestrationCompleted(event_id=event_id, at_ms=at_ms, result=payload(result))


def failed(event_id: int, details: FailureDetails | None = None, *, at_ms: int = NOW_MS) -> ev.OrchestrationFailed:
    return ev.OrchestrationFailed(event_id=event_id, at_ms=at_ms, failure=details or failure())


def cancelled(event_id: int, reason: str = "asked to stop", *, at_ms: int = NOW_MS) -> ev.OrchestrationCancelled:
    return ev.OrchestrationCancelled(event_id=event_id, at_ms=at_ms, reason=reason)


def terminated(event_id: int, reason: str = "ended from outside", *, at_ms: int = NOW_MS) -> ev.OrchestrationTerminated:
    return ev.OrchestrationTerminated(event_id=event_id, at_ms=at_ms, reason=reason)


def continued_as_new(
    event_id: int, input: Any = None, *, version: str = DEFAULT_VERSION, at_ms: int = NOW_MS
) -> ev.OrchestrationContinuedAsNew:
    return ev.OrchestrationContinuedAsNew(event_id=event_id, at_ms=at_ms, input=payload(input), version=version)


def prune_requested(event_id: int, options: PruneOptions, *, at_ms: int = NOW_MS) -> ev.HistoryPruneRequested:
    return ev.HistoryPruneRequested(event_id=event_id, at_ms=at_ms, options=options)


def history_pruned(event_id: int, scheduled: int, *, at_ms: int = NOW_MS, **fields: Any) -> ev.HistoryPruned:
    """``fields``: the counts, and ``error``."""
    return ev.HistoryPruned(event_id=event_id, at_ms=at_ms, scheduled_event_id=scheduled, **fields)


# --- what reaches an execution ------------------------------------------------------------------------------


class TimerDue(msgspec.Struct, frozen=True):
    event_id: int


class EventRaised(msgspec.Struct, frozen=True):
    name: str
    data: Any = None


class CancelAsked(msgspec.Struct, frozen=True):
    reason: str


Arrival: TypeAlias = AnyMessage | TimerDue | EventRaised | CancelAsked


def activity_result(scheduled: int, result: Any = None, *, execution_id: int = 1) -> ActivitySucceeded:
    return ActivitySucceeded(execution_id=execution_id, scheduled_event_id=scheduled, result=payload(result))


def activity_error(scheduled: int, details: FailureDetails | None = None, *, execution_id: int = 1) -> ActivityFailed:
    return ActivityFailed(execution_id=execution_id, scheduled_event_id=scheduled, failure=details or failure())


def child_result(scheduled: int, result: Any = None, *, execution_id: int = 1) -> ChildSucceeded:
    return ChildSucceeded(execution_id=execution_id, scheduled_event_id=scheduled, result=payload(result))


def child_error(scheduled: int, details: FailureDetails | None = None, *, execution_id: int = 1) -> ChildFailed:
    return ChildFailed(execution_id=execution_id, scheduled_event_id=scheduled, failure=details or failure())


def pruned(scheduled: int, *, execution_id: int = 1, **fields: Any) -> HistoryPruned:
    """The store's answer to ``prune_history``. ``fields``: the counts, and ``error``."""
    return HistoryPruned(execution_id=execution_id, scheduled_event_id=scheduled, **fields)


def timer_due(scheduled: int) -> TimerDue:
    return TimerDue(scheduled)


def event_raised(name: str, data: Any = None) -> EventRaised:
    return EventRaised(name, data)


def cancel_asked(reason: str = "asked to stop") -> CancelAsked:
    return CancelAsked(reason)


# --- the driver ---------------------------------------------------------------------------------------------


def history(*events: ev.Event) -> list[str]:
    """The events as a store keeps them."""
    return [encode_event(event) for event in events]


def registry_of(*orchestrations: Callable[..., Any], version: str = DEFAULT_VERSION) -> Registry:
    """A registry of these orchestrations and nothing else."""
    registry = Registry()
    for orchestration in orchestrations:
        registry.orchestration(version=version)(orchestration)
    return registry


class Engine:
    """One instance given its turns by hand: what a worker and a store do for it, without either.

    ``registry`` None registers the orchestration alone. Mailbox events wait in ``mailbox`` until a turn takes them.
    When the ``Engine`` is dropped, the code it drives is sealed.
    """

    def __init__(
        self,
        orchestration: Callable[..., Any] | str,
        input: Any = None,
        *,
        registry: Registry | None = None,
        version: str = "",
        instance_id: str = INSTANCE_ID,
        execution_id: int = 1,
        parent: ev.ParentLink | None = None,
        seed: str = SEED,
        now_ms: int = NOW_MS,
    ) -> None:
        if registry is None:
            registry = Registry() if isinstance(orchestration, str) else registry_of(orchestration)
        self.registry = registry
        self.identity = Identity(instance_id=instance_id, incarnation=1, execution_id=execution_id)
        self.first = FirstTurn(input=bytes(payload(input)).decode(), seed=seed, parent=parent)
        self.now_ms = now_ms
        self.commits: list[TurnCommit] = []
        self.history: list[str] = []
        self.mailbox: list[MailboxEvent] = []
        self._definition = _definition(registry, registry.orchestration_name(orchestration), version)
        self._raised = 0
        self._live = [Execution(self.identity, self._definition, registry)]
        weakref.finalize(self, _seal, self._live)

    @property
    def execution(self) -> Execution:
        return self._live[0]

    @property
    def events(self) -> list[Any]:
        """The history so far, decoded."""
        return [decode_event(text) for text in self.history]

    @property
    def kinds(self) -> list[str]:
        """The class names of the events so far, for where the kinds say it all."""
        return [type(event).__name__ for event in self.events]

    @property
    def result(self) -> Any:
        """What the orchestration returned, as plain JSON values."""
        last = self.events[-1]
        assert isinstance(last, ev.OrchestrationCompleted), f"it did not complete: {last}"
        return msgspec.json.decode(last.result)

    @property
    def failure(self) -> FailureDetails:
        """How the orchestration failed."""
        last = self.events[-1]
        assert isinstance(last, ev.OrchestrationFailed), f"it did not fail: {last}"
        return last.failure

    @property
    def ended(self) -> bool:
        return self.execution.ended

    @property
    def last(self) -> TurnCommit:
        """The commit of the last turn that had one."""
        return self.commits[-1]

    def start(self, *arrived: Arrival) -> TurnCommit:
        """The first turn."""
        turn = self.execution.first_turn(self.first, self.arrivals(*arrived), self.now_ms)
        self._commit(turn)
        return turn

    def turn(self, *arrived: Arrival, now_ms: int | None = None) -> TurnCommit | None:
        """The next turn, at ``now_ms`` (which stays the time of those after it)."""
        self.now_ms = now_ms if now_ms is not None else self.now_ms
        return self.take(self.arrivals(*arrived))

    def take(self, arrivals: Arrivals) -> TurnCommit | None:
        """The next turn, with what ``arrivals`` put together."""
        turn = self.execution.turn(arrivals, self.now_ms)
        if turn is not None:
            self._commit(turn)
        return turn

    def forget(self) -> None:
        """Drop the coroutine, as a cache does, and replay what is recorded."""
        self.execution.seal()
        self._live[0] = self.replayed()

    def replayed(self) -> Execution:
        """A further execution of the same instance, brought to the same point by replay. Seal it after use."""
        execution = Execution(self.identity, self._definition, self.registry)
        try:
            execution.replay(self.history)
        except BaseException:
            execution.seal()
            raise
        return execution

    def next_execution(self, *, seed: str | None = None) -> "Engine":
        """The execution that this one continued as."""
        end = self.last.end
        assert end is not None, "the execution has not ended"
        assert end.next_input is not None, "the execution did not continue as new"
        engine = Engine(
            self._definition.name,
            registry=self.registry,
            version=end.next_version or "",
            instance_id=self.identity.instance_id,
            execution_id=self.identity.execution_id + 1,
            parent=self.first.parent,
            seed=seed or "ee" * 16,
            now_ms=self.now_ms,
        )
        engine.first = msgspec.structs.replace(engine.first, input=end.next_input)
        engine.mailbox = self.mailbox
        return engine

    def arrivals(self, *arrived: Arrival) -> Arrivals:
        """``arrived``, and what waits in the mailbox, as a turn takes them."""
        for each in arrived:
            if isinstance(each, EventRaised):
                self._raised += 1
                text = bytes(payload(each.data)).decode()
                self.mailbox.append(MailboxEvent(self._raised, each.name, text))
        return Arrivals(
            messages=[each for each in arrived if isinstance(each, Message)],
            timers=[each.event_id for each in arrived if isinstance(each, TimerDue)],
            mailbox=tuple(self.mailbox),
            cancel_reason=next((each.reason for each in arrived if isinstance(each, CancelAsked)), None),
        )

    def _commit(self, turn: TurnCommit) -> None:
        self.commits.append(turn)
        self.history.extend(turn.events)
        taken = set(turn.consumed_mailbox)
        self.mailbox[:] = [event for event in self.mailbox if event.sequence not in taken]


def drive(
    orchestration: Callable[..., Any] | str, input: Any = None, *turns: Sequence[Arrival], **options: Any
) -> Engine:
    """An ``Engine`` that has had its first turn and one for each of ``turns``."""
    engine = Engine(orchestration, input, **options)
    engine.start()
    for arrived in turns:
        engine.turn(*arrived)
    return engine


# --- replay -------------------------------------------------------------------------------------------------


def replay(
    recorded: Sequence[str | ev.Event],
    orchestration: Callable[..., Any] | str,
    *,
    registry: Registry | None = None,
    version: str = "",
    instance_id: str = INSTANCE_ID,
    execution_id: int = 1,
) -> Execution:
    """An execution brought to where ``recorded`` ends. Seal it after use.

    Raises: as ``Execution.replay``.
    """
    engine = Engine(
        orchestration, registry=registry, version=version, instance_id=instance_id, execution_id=execution_id
    )
    engine.history = [_text(event) for event in recorded]
    return engine.replayed()


def check_replay(
    history_events: Sequence[str | ev.Event],
    registry: Registry,
    *,
    instance_id: str = INSTANCE_ID,
    execution_id: int = 1,
) -> None:
    """Replay a recorded history, finished or not, with the code of the name and version in its first event.

    A history does not hold its instance id: give it where the code uses it.

    Raises:
        NondeterminismError: the code asks for something else than was recorded.
        HistoryFormatError: it is not a history that this version of duro can read.
        UnknownOrchestrationError: its name and version are not registered.
    """
    texts = [_text(event) for event in history_events]
    first = decode_event(texts[0]) if texts else None
    if not isinstance(first, ev.OrchestrationStarted):
        raise HistoryFormatError("the history does not begin with OrchestrationStarted")
    replay(
        texts, first.name, registry=registry, version=first.version, instance_id=instance_id, execution_id=execution_id
    ).seal()


def _text(event: str | ev.Event) -> str:
    return event if isinstance(event, str) else encode_event(event)


def _definition(registry: Registry, name: str, version: str) -> Any:
    definition = registry.find_orchestration(name, version)
    if definition is None:
        raise UnknownOrchestrationError(
            f"orchestration {name!r} version {version or '(newest)'} is not registered here",
            hint="keep old versions registered for as long as their histories are to be replayed",
        )
    return definition


def _seal(live: list[Execution]) -> None:
    for execution in live:
        execution.seal()
