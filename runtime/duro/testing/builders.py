"""Builders that read like a history: ``turn(leased, activity_scheduled("charge"), timer_created(fire_at_ms=5_000))``.

Events are made without a number and a time; ``encoded`` (and ``turn``) give them both. ``turn`` also derives what the
events mean for the store (an ``ActivityScheduled`` is an activity to queue, a last event is an end ...), so that what
a test commits is what an engine could have committed. Every field can be given to say otherwise.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from duro import codec
from duro.model import events as ev
from duro.model.failure import CANCELLED, FailureDetails
from duro.model.families import RemovalBatch, RemovalOrder, RemovalRules
from duro.model.messages import ActivityFailed, ActivitySucceeded, ChildFailed, ChildSucceeded
from duro.model.options import RetryPolicy
from duro.model.pruning import PruneTrigger
from duro.model.records import StartRequest, WorkerRecord
from duro.model.removal import PruneBatch, PruneOrder
from duro.model.retention import PolicyKind, PolicyOrigin, PruneOptions, as_prune_options
from duro.model.status import ExecutionStatus, ParentPolicy
from duro.model.turns import (
    CancelChild,
    CreateTimer,
    ExecutionEnd,
    LeasedInstance,
    RequestPrune,
    ScheduleActivity,
    StartInstance,
    TurnCommit,
)

NAME: Final = "Order"
VERSION: Final = "1.0.0"
SEED: Final = "0" * 32
_UNNUMBERED: Final = 0


def json(text: str) -> ev.Json:
    """JSON text as a payload."""
    return msgspec.Raw(text.encode())


def failure(message: str = "it broke", type: str = "ValueError") -> FailureDetails:
    return FailureDetails(type=type, message=message)


# --- requests of clients -----------------------------------------------------------------------------------


def start_request(
    instance_id: str, name: str = NAME, *, version: str = "", input: str = "null", request_id: str | None = None
) -> StartRequest:
    """Each id has a request id of its own unless one is given."""
    return StartRequest(
        instance_id=instance_id,
        name=name,
        version=version,
        input=input,
        request_id=request_id if request_id is not None else f"start {instance_id}",
    )


def worker_record(
    worker_id: str,
    *,
    orchestrations: Sequence[tuple[str, str]] = (),
    activities: Sequence[str] = (),
    started_at_ms: int = 0,
) -> WorkerRecord:
    return WorkerRecord(
        worker_id=worker_id,
        host="test",
        process_id=1,
        started_at_ms=started_at_ms,
        lease_until_ms=0,
        orchestrations=tuple(orchestrations),
        activities=tuple(activities),
    )


# --- events ------------------------------------------------------------------------------------------------


def started(
    name: str = NAME,
    version: str = VERSION,
    input: str = "null",
    *,
    seed: str = SEED,
    parent: ev.ParentLink | None = None,
) -> ev.OrchestrationStarted:
    return ev.OrchestrationStarted(
        event_id=_UNNUMBERED, at_ms=0, name=name, version=version, input=json(input), seed=seed, parent=parent
    )


def activity_scheduled(
    name: str = "charge",
    input: str = "null",
    *,
    retry: RetryPolicy | None = None,
    attempt_timeout_s: float | None = None,
    total_timeout_s: float | None = None,
) -> ev.ActivityScheduled:
    return ev.ActivityScheduled(
        event_id=_UNNUMBERED,
        at_ms=0,
        name=name,
        input=json(input),
        retry=retry,
        attempt_timeout_s=attempt_timeout_s,
        total_timeout_s=total_timeout_s,
    )


def activity_completed(scheduled_event_id: int, result: str = "null") -> ev.ActivityCompleted:
    return ev.ActivityCompleted(
        event_id=_UNNUMBERED, at_ms=0, scheduled_event_id=scheduled_event_id, result=json(result)
    )


def activity_failed(scheduled_event_id: int, details: FailureDetails | None = None) -> ev.ActivityFailed:
    return ev.ActivityFailed(
        event_id=_UNNUMBERED, at_ms=0, scheduled_event_id=scheduled_event_id, failure=details or failure()
    )


def activity_cancel_requested(scheduled_event_id: int) -> ev.ActivityCancelRequested:
    return ev.ActivityCancelRequested(event_id=_UNNUMBERED, at_ms=0, scheduled_event_id=scheduled_event_id)


def timer_created(fire_at_ms: int) -> ev.TimerCreated:
    return ev.TimerCreated(event_id=_UNNUMBERED, at_ms=0, fire_at_ms=fire_at_ms)


def timer_fired(scheduled_event_id: int) -> ev.TimerFired:
    return ev.TimerFired(event_id=_UNNUMBERED, at_ms=0, scheduled_event_id=scheduled_event_id)


def timer_cancelled(scheduled_event_id: int) -> ev.TimerCancelled:
    return ev.TimerCancelled(event_id=_UNNUMBERED, at_ms=0, scheduled_event_id=scheduled_event_id)


def wait_started(name: str) -> ev.EventWaitStarted:
    return ev.EventWaitStarted(event_id=_UNNUMBERED, at_ms=0, name=name)


def wait_cancelled(scheduled_event_id: int) -> ev.EventWaitCancelled:
    return ev.EventWaitCancelled(event_id=_UNNUMBERED, at_ms=0, scheduled_event_id=scheduled_event_id)


def event_received(scheduled_event_id: int, name: str, data: str = "null") -> ev.EventReceived:
    return ev.EventReceived(
        event_id=_UNNUMBERED, at_ms=0, scheduled_event_id=scheduled_event_id, name=name, data=json(data)
    )


def child_scheduled(
    instance_id: str,
    name: str = "Child",
    input: str = "null",
    *,
    version: str | None = None,
    on_parent_continue: ParentPolicy | None = None,
    on_parent_end: ParentPolicy | None = None,
) -> ev.SubOrchestrationScheduled:
    return ev.SubOrchestrationScheduled(
        event_id=_UNNUMBERED,
        at_ms=0,
        name=name,
        instance_id=instance_id,
        input=json(input),
        version=version,
        on_parent_continue=on_parent_continue,
        on_parent_end=on_parent_end,
    )


def child_cancel_requested(scheduled_event_id: int) -> ev.SubOrchestrationCancelRequested:
    return ev.SubOrchestrationCancelRequested(event_id=_UNNUMBERED, at_ms=0, scheduled_event_id=scheduled_event_id)


def child_completed(scheduled_event_id: int, result: str = "null") -> ev.SubOrchestrationCompleted:
    return ev.SubOrchestrationCompleted(
        event_id=_UNNUMBERED, at_ms=0, scheduled_event_id=scheduled_event_id, result=json(result)
    )


def child_failed(scheduled_event_id: int, details: FailureDetails | None = None) -> ev.SubOrchestrationFailed:
    return ev.SubOrchestrationFailed(
        event_id=_UNNUMBERED, at_ms=0, scheduled_event_id=scheduled_event_id, failure=details or failure()
    )


def detached_scheduled(
    instance_id: str, name: str = "Child", input: str = "null", *, version: str | None = None
) -> ev.OrchestrationScheduled:
    return ev.OrchestrationScheduled(
        event_id=_UNNUMBERED, at_ms=0, name=name, instance_id=instance_id, input=json(input), version=version
    )


def cancel_requested(reason: str = "asked to") -> ev.OrchestrationCancelRequested:
    return ev.OrchestrationCancelRequested(event_id=_UNNUMBERED, at_ms=0, reason=reason)


def completed(result: str = "null") -> ev.OrchestrationCompleted:
    return ev.OrchestrationCompleted(event_id=_UNNUMBERED, at_ms=0, result=json(result))


def failed(details: FailureDetails | None = None) -> ev.OrchestrationFailed:
    return ev.OrchestrationFailed(event_id=_UNNUMBERED, at_ms=0, failure=details or failure())


def cancelled(reason: str = "asked to") -> ev.OrchestrationCancelled:
    return ev.OrchestrationCancelled(event_id=_UNNUMBERED, at_ms=0, reason=reason)


def continued_as_new(input: str = "null", version: str = VERSION) -> ev.OrchestrationContinuedAsNew:
    return ev.OrchestrationContinuedAsNew(event_id=_UNNUMBERED, at_ms=0, input=json(input), version=version)


def prune_requested(options: PruneOptions | None = None) -> ev.HistoryPruneRequested:
    return ev.HistoryPruneRequested(event_id=_UNNUMBERED, at_ms=0, options=options or PruneOptions(keep_last=1))


def history_pruned(scheduled_event_id: int, executions_deleted: int = 0) -> ev.HistoryPruned:
    return ev.HistoryPruned(
        event_id=_UNNUMBERED, at_ms=0, scheduled_event_id=scheduled_event_id, executions_deleted=executions_deleted
    )


def numbered(events: Sequence[ev.AnyEvent], first_event_id: int = 1, at_ms: int = 0) -> list[ev.AnyEvent]:
    """The events with consecutive ids and one time, as a turn records them."""
    return [
        msgspec.structs.replace(event, event_id=event_id, at_ms=at_ms)
        for event_id, event in enumerate(events, start=first_event_id)
    ]


def encoded(*events: ev.AnyEvent, first_event_id: int = 1, at_ms: int = 0) -> list[str]:
    """The events numbered and encoded: a history, as a store keeps it."""
    return [codec.encode_event(event) for event in numbered(events, first_event_id, at_ms)]


def size(texts: Sequence[str]) -> int:
    """Bytes of a history, as executions count them."""
    return sum(len(text.encode()) for text in texts)


# --- pruning ---------------------------------------------------------------------------------------------------


def prune_batch(*orders: tuple[int, PruneOptions | int], **fields: Any) -> PruneBatch:
    """Orders as (incarnation, rules); an int stands for ``keep_last``. A batch with a run is a manual one, any other
    that of a sweep; ``fields`` are those of ``PruneBatch``."""
    trigger = PruneTrigger.MANUAL if fields.get("run_id") else PruneTrigger.INTERVAL
    batch = PruneBatch(
        orders=tuple(
            PruneOrder(
                incarnation=incarnation, rules=(as_prune_options(rules),), origin=PolicyOrigin(PolicyKind.CALL, "")
            )
            for incarnation, rules in orders
        ),
        trigger=trigger,
        executions_max=100,
    )
    return msgspec.structs.replace(batch, **fields)


def removal_batch(*orders: tuple[int, RemovalRules], **fields: Any) -> RemovalBatch:
    """Orders as (incarnation, rules); ``fields`` are those of ``RemovalBatch``."""
    origin = PolicyOrigin(PolicyKind.CALL, "")
    made = [RemovalOrder(incarnation=incarnation, rules=rules, origin=origin) for incarnation, rules in orders]
    return RemovalBatch(orders=tuple(made), **{"trigger": "purge", **fields})


# --- messages ----------------------------------------------------------------------------------------------


def activity_succeeded_message(execution_id: int, scheduled_event_id: int, result: str = "null") -> str:
    message = ActivitySucceeded(execution_id=execution_id, scheduled_event_id=scheduled_event_id, result=json(result))
    return codec.encode_message(message)


def activity_failed_message(execution_id: int, scheduled_event_id: int, details: FailureDetails | None = None) -> str:
    message = ActivityFailed(
        execution_id=execution_id, scheduled_event_id=scheduled_event_id, failure=details or failure()
    )
    return codec.encode_message(message)


# --- turns -------------------------------------------------------------------------------------------------


def turn(
    leased: LeasedInstance, *events: ev.AnyEvent, at_ms: int, version: str | None = None, **fields: Any
) -> TurnCommit:
    """The commit of a turn of ``leased`` that recorded ``events`` at ``at_ms``.

    An execution's first turn records its start first: it is put there. All messages the lease brought count as
    consumed unless ``fields`` say otherwise. What the events ask of the store is derived from them; ``fields``
    (those of ``TurnCommit``) go before what is derived. Waits are the caller's to give: events alone do not tell which
    of an earlier turn are still open.
    """
    version = version or leased.version or VERSION
    if leased.event_count == 0:
        first = started(leased.name, version, leased.input or "null", parent=leased.parent)
        events = (first, *events)
    recorded = numbered(events, leased.event_count + 1, at_ms)
    texts = [codec.encode_event(event) for event in recorded]
    committed = TurnCommit(
        instance_id=leased.instance_id,
        incarnation=leased.incarnation,
        execution_id=leased.execution_id,
        turn_sequence=leased.turn_sequence,
        lease_epoch=leased.lease_epoch,
        at_ms=at_ms,
        name=leased.name,
        version=version,
        first_event_id=leased.event_count + 1,
        events=texts,
        history_bytes=size(texts),
        consumed_messages=[message.message_id for message in leased.messages],
        cancel_delivered=any(isinstance(event, ev.OrchestrationCancelRequested) for event in recorded),
        end=_end(recorded, leased.parent),
    )
    return msgspec.structs.replace(committed, **{**_asked_for(recorded), **fields})


def next_lease(leased: LeasedInstance, committed: TurnCommit) -> LeasedInstance:
    """What the worker that kept its lease knows of the instance after its turn, without asking the store."""
    end = committed.end
    moved_on = end is not None and end.status is ExecutionStatus.CONTINUED_AS_NEW
    return msgspec.structs.replace(
        leased,
        turn_sequence=leased.turn_sequence + 1,
        execution_id=leased.execution_id + moved_on,
        version=(end.next_version or "") if end is not None and moved_on else committed.version,
        input=end.next_input if end is not None and moved_on else None,
        event_count=0 if moved_on else leased.event_count + len(committed.events),
        messages=(),
        timers=(),
        mailbox=(),
    )


def _asked_for(events: Sequence[ev.AnyEvent]) -> dict[str, list[Any]]:
    """The actions of the events, by the field of ``TurnCommit`` that carries them."""
    asked: dict[str, list[Any]] = {}

    def add(field: str, action: object) -> None:
        asked.setdefault(field, []).append(action)

    for event in events:
        match event:
            case ev.ActivityScheduled():
                add("activities", _schedule(event))
            case ev.HistoryPruneRequested():
                add("prune_requests", RequestPrune(event.event_id, event.options))
            case ev.TimerCreated():
                add("timers", CreateTimer(event.event_id, event.fire_at_ms))
            case ev.SubOrchestrationScheduled() | ev.OrchestrationScheduled():
                add("starts", _start(event))
            case ev.TimerFired(scheduled_event_id=answered):
                add("consumed_timers", answered)
            case ev.TimerCancelled(scheduled_event_id=answered):
                add("cancelled_timers", answered)
            case ev.ActivityCancelRequested(scheduled_event_id=answered):
                add("cancelled_activities", answered)
            case ev.SubOrchestrationCancelRequested(scheduled_event_id=answered):
                add("cancelled_children", CancelChild(answered, "nobody waits for it"))
            case ev.SubOrchestrationCompleted(scheduled_event_id=answered):
                add("observed_children", answered)
            case ev.SubOrchestrationFailed(scheduled_event_id=answered):
                add("observed_children", answered)
            case _:
                pass
    return asked


def _schedule(event: ev.ActivityScheduled) -> ScheduleActivity:
    return ScheduleActivity(
        event_id=event.event_id,
        name=event.name,
        input=bytes(event.input).decode(),
        retry=event.retry,
        attempt_timeout_s=event.attempt_timeout_s,
        total_timeout_s=event.total_timeout_s,
    )


def _start(event: ev.SubOrchestrationScheduled | ev.OrchestrationScheduled) -> StartInstance:
    child = event if isinstance(event, ev.SubOrchestrationScheduled) else None
    return StartInstance(
        event_id=event.event_id,
        instance_id=event.instance_id,
        name=event.name,
        version=event.version or "",
        input=bytes(event.input).decode(),
        detached=child is None,
        on_parent_continue=child.on_parent_continue if child is not None else None,
        on_parent_end=child.on_parent_end if child is not None else None,
    )


def _end(events: Sequence[ev.AnyEvent], parent: ev.ParentLink | None) -> ExecutionEnd | None:
    match events[-1] if events else None:
        case ev.OrchestrationCompleted(result=result):
            message = ChildSucceeded(**_address(parent), result=result) if parent is not None else None
            return _final_end(ExecutionStatus.COMPLETED, message)
        case ev.OrchestrationFailed(failure=details):
            return _final_end(ExecutionStatus.FAILED, _child_failed(parent, details))
        case ev.OrchestrationCancelled(reason=reason):
            details = FailureDetails(type=CANCELLED, message=reason)
            return _final_end(ExecutionStatus.CANCELLED, _child_failed(parent, details))
        case ev.OrchestrationContinuedAsNew(input=input, version=version):
            return ExecutionEnd(
                status=ExecutionStatus.CONTINUED_AS_NEW, next_input=bytes(input).decode(), next_version=version
            )
        case _:
            return None


def _final_end(status: ExecutionStatus, message: ChildSucceeded | ChildFailed | None) -> ExecutionEnd:
    return ExecutionEnd(status=status, parent_message=codec.encode_message(message) if message is not None else None)


def _child_failed(parent: ev.ParentLink | None, details: FailureDetails) -> ChildFailed | None:
    return ChildFailed(**_address(parent), failure=details) if parent is not None else None


def _address(parent: ev.ParentLink) -> dict[str, int]:
    return {"execution_id": parent.execution_id, "scheduled_event_id": parent.event_id}
