"""Events: what has happened in one execution, in order. Their list is the execution's history.

Every event has an ``event_id`` (its position, from 1) and ``at_ms``, the time of the turn that recorded it
(Unix milliseconds). There are three families:

* *scheduled* events: the orchestration asked for something (an activity, a timer, a child ...). Replay matches
  them, by position, with what the code asks for.
* *arrived* events: something reached the orchestration. Each names the scheduled event it answers. Replay
  delivers them one at a time, in the recorded order.
* the first event, ``OrchestrationStarted``, and the last one, which says how the execution ended.

The ``tag`` of each class is its name on disk. It is declared apart from the class name, so a class can be renamed
and old rows still read; a tag is never reused for another meaning.
"""

from typing import TypeAlias

import msgspec

from duro.model.failure import FailureDetails
from duro.model.options import RetryPolicy
from duro.model.retention import PruneOptions
from duro.model.status import ParentPolicy

Json: TypeAlias = msgspec.Raw
"""A payload as encoded JSON text, kept as it is and decoded only where its type is known."""


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", gc=False):
    """What all events have in common; never recorded itself."""

    event_id: int
    at_ms: int


class ParentLink(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Who waits for this instance: the exact spawning event of the exact life of the parent."""

    instance_id: str
    incarnation: int
    execution_id: int
    event_id: int


# --- the first event ---------------------------------------------------------------------------------------


class OrchestrationStarted(Event, frozen=True, kw_only=True, tag="OrchestrationStarted"):
    """First event of every execution. ``seed`` (32 hex digits) feeds ``random``, ``new_guid`` and child ids."""

    name: str
    version: str
    input: Json
    seed: str
    parent: ParentLink | None = None


# --- scheduled: the orchestration asked --------------------------------------------------------------------


class ActivityScheduled(Event, frozen=True, kw_only=True, tag="ActivityScheduled"):
    """``attempt_timeout_s`` bounds one attempt, ``total_timeout_s`` all attempts with their delays."""

    name: str
    input: Json
    retry: RetryPolicy | None = None
    attempt_timeout_s: float | None = None
    total_timeout_s: float | None = None


class ActivityCancelRequested(Event, frozen=True, kw_only=True, tag="ActivityCancelRequested"):
    scheduled_event_id: int


class TimerCreated(Event, frozen=True, kw_only=True, tag="TimerCreated"):
    fire_at_ms: int


class TimerCancelled(Event, frozen=True, kw_only=True, tag="TimerCancelled"):
    scheduled_event_id: int


class EventWaitStarted(Event, frozen=True, kw_only=True, tag="EventWaitStarted"):
    """The code waits for the next mailbox event called ``name``."""

    name: str


class EventWaitCancelled(Event, frozen=True, kw_only=True, tag="EventWaitCancelled"):
    scheduled_event_id: int


class SubOrchestrationScheduled(Event, frozen=True, kw_only=True, tag="SubOrchestrationScheduled"):
    """``version`` is None when the newest registered version is to be taken."""

    name: str
    instance_id: str
    input: Json
    version: str | None = None
    on_parent_continue: ParentPolicy | None = None
    on_parent_end: ParentPolicy | None = None


class SubOrchestrationCancelRequested(Event, frozen=True, kw_only=True, tag="SubOrchestrationCancelRequested"):
    scheduled_event_id: int


class OrchestrationScheduled(Event, frozen=True, kw_only=True, tag="OrchestrationScheduled"):
    """A detached orchestration: nobody waits for it."""

    name: str
    instance_id: str
    input: Json
    version: str | None = None


class HistoryPruneRequested(Event, frozen=True, kw_only=True, tag="HistoryPruneRequested"):
    """The code asked to prune the instance's earlier executions, in the commit of this very event."""

    options: PruneOptions


# --- arrived ------------------------------------------------------------------------------------------------


class ActivityCompleted(Event, frozen=True, kw_only=True, tag="ActivityCompleted"):
    scheduled_event_id: int
    result: Json


class ActivityFailed(Event, frozen=True, kw_only=True, tag="ActivityFailed"):
    scheduled_event_id: int
    failure: FailureDetails


class TimerFired(Event, frozen=True, kw_only=True, tag="TimerFired"):
    scheduled_event_id: int


class EventReceived(Event, frozen=True, kw_only=True, tag="EventReceived"):
    scheduled_event_id: int
    name: str
    data: Json


class SubOrchestrationCompleted(Event, frozen=True, kw_only=True, tag="SubOrchestrationCompleted"):
    scheduled_event_id: int
    result: Json


class SubOrchestrationFailed(Event, frozen=True, kw_only=True, tag="SubOrchestrationFailed"):
    """The child failed, was cancelled or terminated, or could not be started; ``failure.type`` says which."""

    scheduled_event_id: int
    failure: FailureDetails


class HistoryPruned(Event, frozen=True, kw_only=True, tag="HistoryPruned"):
    """What the prune did: the counts of what was marked, as in ``PruneResult``. With ``error`` it failed, and did
    nothing."""

    scheduled_event_id: int
    executions_deleted: int = 0
    events_deleted: int = 0
    bytes_deleted: int = 0
    remaining: int = 0
    error: str | None = None


class OrchestrationCancelRequested(Event, frozen=True, kw_only=True, tag="OrchestrationCancelRequested"):
    reason: str


# --- the last event -----------------------------------------------------------------------------------------


class OrchestrationCompleted(Event, frozen=True, kw_only=True, tag="OrchestrationCompleted"):
    result: Json


class OrchestrationFailed(Event, frozen=True, kw_only=True, tag="OrchestrationFailed"):
    failure: FailureDetails


class OrchestrationCancelled(Event, frozen=True, kw_only=True, tag="OrchestrationCancelled"):
    reason: str


class OrchestrationTerminated(Event, frozen=True, kw_only=True, tag="OrchestrationTerminated"):
    """Ended from outside, without its code; recorded by the store, not by a turn."""

    reason: str


class OrchestrationContinuedAsNew(Event, frozen=True, kw_only=True, tag="OrchestrationContinuedAsNew"):
    """``version`` is the version the next execution runs on."""

    input: Json
    version: str


ScheduledEvent: TypeAlias = (
    ActivityScheduled
    | ActivityCancelRequested
    | TimerCreated
    | TimerCancelled
    | EventWaitStarted
    | EventWaitCancelled
    | SubOrchestrationScheduled
    | SubOrchestrationCancelRequested
    | OrchestrationScheduled
    | HistoryPruneRequested
)
ArrivedEvent: TypeAlias = (
    ActivityCompleted
    | ActivityFailed
    | TimerFired
    | EventReceived
    | SubOrchestrationCompleted
    | SubOrchestrationFailed
    | HistoryPruned
    | OrchestrationCancelRequested
)
LastEvent: TypeAlias = (
    OrchestrationCompleted
    | OrchestrationFailed
    | OrchestrationCancelled
    | OrchestrationTerminated
    | OrchestrationContinuedAsNew
)
AnyEvent: TypeAlias = OrchestrationStarted | ScheduledEvent | ArrivedEvent | LastEvent
