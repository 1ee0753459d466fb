"""What a worker leases from a store and what it gives back: one turn in, one ``TurnCommit`` out, many to a batch.

The way of one value: a client writes a start, event or cancel; the store makes the instance *ready*; a worker
leases it (``LeasedInstance``); the engine turns it into a ``TurnCommit``; one ``CommitBatch`` carries all turns
finished since the last one; the ``CommitResult`` says, turn by turn, what became of them and brings the next work.

``gc=False`` here and on events and messages: they are never part of a cycle, and a worker makes so many of them that
the garbage collector's looking at them showed.
"""

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from duro.model.events import ParentLink
from duro.model.options import RetryPolicy
from duro.model.policies import PolicyChain
from duro.model.pruning import PruneTrigger
from duro.model.removal import PruneReport
from duro.model.retention import PruneOptions
from duro.model.status import BlockedKind, ChildrenPolicy, ExecutionStatus, ParentPolicy

# --- leased: store -> worker --------------------------------------------------------------------------------


class LeaseRequest(msgspec.Struct, frozen=True, kw_only=True):
    """How much new work a worker takes, and which kinds.

    ``orchestrations`` lists (name, version) pairs; the pair (name, "") stands for instances whose version is not
    chosen yet. ``activities`` lists names. Work of any other kind is never leased. ``activities_max_of`` says of
    some of the names how many at most.
    """

    orchestrations: tuple[tuple[str, str], ...]
    activities: tuple[str, ...]
    instances_max: int
    activities_max: int
    activities_max_of: dict[str, int] = msgspec.field(default_factory=dict)


class QueuedMessage(msgspec.Struct, frozen=True, gc=False):
    """A message row: ``data`` is an encoded ``AnyMessage``. Ids grow in the order of arrival."""

    message_id: int
    data: str


class DueTimer(msgspec.Struct, frozen=True, gc=False):
    event_id: int
    fire_at_ms: int


class MailboxEvent(msgspec.Struct, frozen=True, gc=False):
    """One undelivered external event; ``sequence`` grows in the order of arrival, ``data`` is JSON text."""

    sequence: int
    name: str
    data: str


class LeasedInstance(msgspec.Struct, kw_only=True, gc=False):
    """An instance this worker may run a turn for, with everything that has arrived for its current execution.

    ``version`` is "" when the first turn has yet to choose it. ``input`` is JSON text before the first turn of an
    execution and None after it (then it stands in the history). ``turn_sequence`` is the number of turns committed
    over all executions. ``lease_epoch`` is the fencing token: it grows with every lease of the instance.
    ``attempt_count`` counts the leases since the last commit, this one included. ``cancel_reason`` is set when
    a cancel was requested, delivered or not. ``mailbox`` holds, for every name in the stored waits, at most as many
    events as there are waits of that name. Where more is there than is handed out at once, timers come with the last of
    the messages and events after them. ``history_bytes`` is the size of the execution's history so far. Whoever leased
    it owns it, and keeps it up to date while the lease is kept.
    """

    instance_id: str
    incarnation: int
    execution_id: int
    name: str
    version: str
    turn_sequence: int
    lease_epoch: int
    attempt_count: int
    input: str | None
    parent: ParentLink | None
    cancel_reason: str | None
    event_count: int
    history_bytes: int
    messages: tuple[QueuedMessage, ...] = ()
    timers: tuple[DueTimer, ...] = ()
    mailbox: tuple[MailboxEvent, ...] = ()


class LeasedActivity(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One attempt of an activity this worker may run. ``attempt`` counts failures reported before it, plus one;
    ``lease_epoch`` counts every delivery, those to workers that died included."""

    instance_id: str
    incarnation: int
    execution_id: int
    event_id: int
    name: str
    attempt: int
    lease_epoch: int
    scheduled_at_ms: int
    input: str
    retry: RetryPolicy | None = None
    attempt_timeout_s: float | None = None
    total_timeout_s: float | None = None


class LeaseResult(msgspec.Struct, frozen=True, kw_only=True):
    """New work, leased in the transaction that reported it. ``next_ready_at_ms`` is when the earliest further work of
    the requested kinds becomes ready (a time in the past: there is more now), or None."""

    instances: tuple[LeasedInstance, ...] = ()
    activities: tuple[LeasedActivity, ...] = ()
    next_ready_at_ms: int | None = None


# --- actions: what a turn asks for --------------------------------------------------------------------------


class ScheduleActivity(msgspec.Struct, kw_only=True, gc=False):
    """``claimed``: the worker that commits the turn takes the first attempt itself (leased as it is written)."""

    event_id: int
    name: str
    input: str
    retry: RetryPolicy | None = None
    attempt_timeout_s: float | None = None
    total_timeout_s: float | None = None
    claimed: bool = False


class CreateTimer(msgspec.Struct, frozen=True, gc=False):
    event_id: int
    fire_at_ms: int


class StartInstance(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A child (``detached`` False: its end is sent to the parent) or a detached orchestration."""

    event_id: int
    instance_id: str
    name: str
    version: str
    input: str
    detached: bool
    on_parent_continue: ParentPolicy | None = None
    on_parent_end: ParentPolicy | None = None


class CancelChild(msgspec.Struct, frozen=True, gc=False):
    """Cancel the child that this execution spawned with event ``event_id``, if it is still unfinished."""

    event_id: int
    reason: str


class RequestPrune(msgspec.Struct, frozen=True, gc=False):
    """``ctx.prune_history``: prune this instance in the commit of the turn, and send it a ``HistoryPruned`` message
    that answers event ``event_id``."""

    event_id: int
    options: PruneOptions


class ExecutionEnd(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How a turn ended its execution.

    ``parent_message`` is the encoded message that tells the parent (None without a parent, and for
    ``continued_as_new``). The ``next_*`` fields are those of the execution being started by ``continued_as_new``, and
    ``prune`` is what its call said about pruning.
    """

    status: ExecutionStatus
    parent_message: str | None = None
    next_input: str | None = None
    next_version: str | None = None
    prune: PruneOptions | None = None


class TurnCommit(msgspec.Struct, kw_only=True, gc=False):
    """Everything one turn changes. The store applies all of it or nothing.

    The first group identifies the turn and fences it: it commits only if the instance is still leased by the batch's
    worker under ``lease_epoch``, its turn sequence is ``turn_sequence`` and its current execution is
    ``execution_id``. ``events`` are encoded, their ids run on from ``first_event_id``.
    ``observed_children`` are the spawning event ids whose end this turn recorded, ``cancel_delivered`` says that it
    recorded the instance's cancel request.
    ``waits`` are the names of all mailbox waits outstanding after the turn, one entry a wait.
    ``custom_status`` None leaves it as it is; "" clears it.
    ``keep_lease`` keeps the instance leased (its worker has activities of it in hand, or its next execution to start);
    otherwise it is released, and ready at once if something is there for it, at the next timer if not.
    ``prune_requests`` are carried out in their order. ``policies`` is what is said about pruning this instance when it
    continues as new (the ``prune`` of its end included, the instance's own override not: that one is the store's);
    None: nothing, so that only the override counts.
    What a turn has nothing of is an empty tuple: most turns use two or three of these sequences, and a list made for
    each would be most of what a worker makes.
    """

    instance_id: str
    incarnation: int
    execution_id: int
    turn_sequence: int
    lease_epoch: int
    at_ms: int
    name: str
    version: str
    first_event_id: int
    events: list[str]
    history_bytes: int
    consumed_messages: Sequence[int] = ()
    consumed_timers: Sequence[int] = ()
    consumed_mailbox: Sequence[int] = ()
    finished_activities: Sequence[int] = ()
    observed_children: Sequence[int] = ()
    cancel_delivered: bool = False
    ignored_messages: int = 0
    activities: Sequence[ScheduleActivity] = ()
    timers: Sequence[CreateTimer] = ()
    starts: Sequence[StartInstance] = ()
    cancelled_activities: Sequence[int] = ()
    cancelled_timers: Sequence[int] = ()
    cancelled_children: Sequence[CancelChild] = ()
    waits: Sequence[str] = ()
    custom_status: str | None = None
    end: ExecutionEnd | None = None
    keep_lease: bool = False
    prune_requests: Sequence[RequestPrune] = ()
    policies: PolicyChain | None = None

    @property
    def newest_execution_id(self) -> int:
        """The current execution of the instance once this turn is committed."""
        continues = self.end is not None and self.end.status is ExecutionStatus.CONTINUED_AS_NEW
        return self.execution_id + continues


# --- the other things a worker gives back -------------------------------------------------------------------


class ReleaseInstance(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Give a lease back without a turn.

    With ``blocked`` set the instance is marked blocked with ``reason`` and ready again at ``retry_at_ms`` (None: not
    before somebody resumes it). ``count_attempt`` False takes the attempt of this lease back: the work is not to
    blame (nothing to do, code missing or wrong, shutdown). A released instance that has work is ready at once
    unless ``retry_at_ms`` says later.
    """

    incarnation: int
    lease_epoch: int
    count_attempt: bool = False
    blocked: BlockedKind | None = None
    reason: str = ""
    retry_at_ms: int | None = None


class FinishActivity(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The activity has ended for good, and its instance is not leased by this worker: ``message`` (an encoded
    ``ActivitySucceeded`` or ``ActivityFailed``) goes to the instance's queue and the activity leaves its own."""

    incarnation: int
    execution_id: int
    event_id: int
    lease_epoch: int
    message: str


class RetryActivity(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Give an activity back to its queue, to be taken by anyone from ``visible_at_ms`` on. ``failed`` counts the
    attempt (a retry); without it the attempt did not happen (shutdown, no room)."""

    incarnation: int
    execution_id: int
    event_id: int
    lease_epoch: int
    visible_at_ms: int
    failed: bool


class TurnOutcome(StrEnum):
    """What became of one turn (or release, or activity report) of a batch."""

    COMMITTED = "committed"
    FENCED = "fenced"
    """The lease is lost: another worker has it, or nobody, or the instance is gone. Nothing was written."""
    CONFLICT = "conflict"
    """The lease is held but the instance moved on without this worker (terminated, say). Nothing was written."""
    REJECTED = "rejected"
    """The store could not write this turn and wrote the others; ``CommitResult.errors`` says why."""


class PruneTerms(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker's settings say about every prune in the commits of its turns: what becomes of children, how long a
    further version of an orchestration stops automatic pruning, and with what cap (see ``retention.triggers``)."""

    children: ChildrenPolicy = ChildrenPolicy.KEEP
    rollout_pause_s: float = 0.0
    rollout_cap_s: float = 7 * 86_400.0
    stopped_by: str = ""
    """Who switched automatic pruning off, "" if nobody did; for instances with an override of their own."""
    triggers: tuple[PruneTrigger, ...] = (PruneTrigger.CONTINUE_AS_NEW, PruneTrigger.INTERVAL)
    archive: bool = False
    """Whether what goes is to be kept in the configured archive first."""


class ChildTerms(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker's settings say about the children its turns spawn, where the spawn itself says nothing: what
    happens to those that run when the spawning execution continues as new, and when their parent ends."""

    on_parent_continue: ParentPolicy = ParentPolicy.ABANDON
    on_parent_end: ParentPolicy = ParentPolicy.CANCEL


class CommitBatch(msgspec.Struct, kw_only=True):
    """One transaction. ``token`` is new for every batch and is left on each instance it changed, so that after an
    unknown outcome ``lookup_commit`` can tell what happened."""

    worker_id: str
    token: str
    turns: list[TurnCommit] = msgspec.field(default_factory=list)
    releases: list[ReleaseInstance] = msgspec.field(default_factory=list)
    finished: list[FinishActivity] = msgspec.field(default_factory=list)
    retries: list[RetryActivity] = msgspec.field(default_factory=list)
    lease: LeaseRequest | None = None
    prune_terms: PruneTerms = PruneTerms()
    child_terms: ChildTerms = ChildTerms()


class LastCommit(msgspec.Struct, frozen=True, array_like=True):
    """What the last committed turn of an instance left: the token of its batch (None before the first one), and the
    number of turns committed by then. A batch may hold two turns of one instance; the number says whether both are
    there."""

    token: str | None
    turn_sequence: int


class CommitResult(msgspec.Struct, kw_only=True):
    """One outcome for each turn, release, finished and retried activity, in the order of the batch.
    ``errors`` maps the position of a rejected turn to the reason. ``prunes`` tells of every prune that was due, failed
    ones included, in the order of the batch."""

    store_time_ms: int
    turns: list[TurnOutcome] = msgspec.field(default_factory=list)
    releases: list[TurnOutcome] = msgspec.field(default_factory=list)
    finished: list[TurnOutcome] = msgspec.field(default_factory=list)
    retries: list[TurnOutcome] = msgspec.field(default_factory=list)
    errors: dict[int, str] = msgspec.field(default_factory=dict)
    leased: LeaseResult = LeaseResult()
    prunes: list[PruneReport] = msgspec.field(default_factory=list)
