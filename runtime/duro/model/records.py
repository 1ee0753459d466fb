"""Records: what a client writes to a store and reads back from it. Times are Unix milliseconds of the store's clock."""

import msgspec

from duro.model.events import ParentLink
from duro.model.refusal import InvalidRulesError, settle_members
from duro.model.status import FINAL_INSTANCE_STATUSES, BlockedKind, ExecutionStatus, InstanceStatus, RemovalState

# --- written by clients ------------------------------------------------------------------------------------


class StartRequest(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """``version`` "" leaves the choice to the worker that runs the first turn. ``request_id`` makes a repeat harmless:
    a start whose instance exists with the same request id reports that instance as started."""

    instance_id: str
    name: str
    version: str
    input: str
    request_id: str


class StartOutcome(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """``started`` is True when this request (or an earlier one with the same request id) made the instance;
    otherwise the id was taken, and ``incarnation`` and ``name`` are those of the instance that has it."""

    instance_id: str
    incarnation: int
    name: str
    started: bool


class WorkerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A worker and what it publishes. ``orchestrations`` are (name, version) pairs. ``published`` is what it says about
    pruning (JSON of ``PolicySources``; "{}": nothing). ``threads_stuck``: how many of its threads were in plain
    activities that nobody waits for any more, when it last renewed its lease."""

    worker_id: str
    host: str
    process_id: int
    started_at_ms: int
    lease_until_ms: int
    orchestrations: tuple[tuple[str, str], ...] = ()
    activities: tuple[str, ...] = ()
    duro_version: str = ""
    published: str = "{}"
    threads_stuck: int = 0


# --- read by clients ---------------------------------------------------------------------------------------


class InstanceRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One row a living instance. ``version`` is "" until the first turn chose it. ``execution_id`` is the current
    execution; ``event_count`` and ``history_bytes`` are its own. ``custom_status`` is JSON text. ``blocked`` says why
    it makes no progress although it has work, and ``blocked_reason`` what stands in its way."""

    instance_id: str
    incarnation: int
    name: str
    version: str
    status: InstanceStatus
    execution_id: int
    created_at_ms: int
    updated_at_ms: int
    completed_at_ms: int | None
    event_count: int
    history_bytes: int
    turn_sequence: int
    custom_status: str | None
    parent: ParentLink | None
    detached: bool
    cancel_reason: str | None
    blocked: BlockedKind | None
    blocked_reason: str | None
    attempt_count: int
    lease_worker_id: str | None
    ready_at_ms: int | None


class InstanceEnd(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How an instance ended, or that it has not: ``last_event`` is the last encoded event of its current execution,
    once the instance has a final status."""

    instance_id: str
    incarnation: int
    name: str
    version: str
    status: InstanceStatus
    execution_id: int
    last_event: str | None


class ExecutionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One execution. ``version`` is "" until its first turn. ``completed_at_ms`` is set for every way it can end."""

    instance_id: str
    incarnation: int
    execution_id: int
    name: str
    version: str
    status: ExecutionStatus
    started_at_ms: int
    completed_at_ms: int | None
    event_count: int
    history_bytes: int
    removal: RemovalState = RemovalState.LIVE


class HistoryRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An execution and its events, encoded, in order, exactly as stored. ``input`` is the JSON text of an execution
    that has not had its first turn, None afterwards."""

    execution: ExecutionRecord
    events: tuple[str, ...]
    input: str | None


class ChildRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Lineage of one child: it lives as long as the child does, whatever is pruned of the parent.

    ``spawner_ended_at_ms`` and ``spawner_end`` tell when and how the spawning execution ended; ``spawner_live`` is
    False once that execution is pruned (or gone with its instance). ``observed_at_ms`` is when a parent turn recorded
    the child's end, ``given_up_at_ms`` when one recorded that it waits for it no longer and had it cancelled.
    ``completion`` says where the end of the child went: None (not ended, or detached), ``sent`` (in the parent's queue
    or history) or ``ignored`` (nobody was there, or whoever was ended, or gave the child up, before a turn took it).
    ``parent_status`` and ``parent_execution_id`` are the parent instance as it is now, None once it is not there;
    ``parent_removed_at_ms`` is when it was purged. ``adopted_at_ms``: when somebody said on purpose that it stands
    alone; then it is ``detached``. ``cancel_requested_at_ms``: when it was first asked to end, whoever asked.
    ``unreadable``: what stands in the store where one of these words, or the id of its parent, should, as "column: what
    stands there"; a word is then None, or ``running`` where it is a status. Nobody can tell from such a record who may
    observe the child, unless somebody has already.
    """

    instance_id: str
    incarnation: int
    name: str
    version: str
    status: InstanceStatus
    completed_at_ms: int | None
    parent: ParentLink
    detached: bool
    spawned_at_ms: int
    spawner_version: str
    spawner_ended_at_ms: int | None
    spawner_end: ExecutionStatus | None
    spawner_live: bool
    observed_at_ms: int | None
    completion: str | None
    parent_status: InstanceStatus | None
    parent_execution_id: int | None
    parent_removed_at_ms: int | None = None
    adopted_at_ms: int | None = None
    adopted_by: str = ""
    adopted_reason: str = ""
    given_up_at_ms: int | None = None
    cancel_requested_at_ms: int | None = None
    unreadable: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.completion == "sent" and self.observed_at_ms is None and not self._may_be_observed:
            msgspec.structs.force_setattr(self, "completion", "ignored")

    @property
    def spawner_runs(self) -> bool:
        """Whether the execution that spawned it is its instance's current one, which runs, as the parent's own row
        says."""
        running = self.parent_status is not None and self.parent_status not in FINAL_INSTANCE_STATUSES
        return running and self.parent.execution_id == self.parent_execution_id

    @property
    def _may_be_observed(self) -> bool:
        return self.spawner_runs and self.given_up_at_ms is None


class InstanceFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which instances a listing shows: all given fields must match. ``statuses``: none, or None, is any. ``name`` is
    exact. ``blocked`` True: only blocked ones, those that wait for unregistered code included; False: only others.

    Raises:
        InvalidRulesError: a field is not as described.
    """

    statuses: tuple[InstanceStatus, ...] = ()
    name: str | None = None
    blocked: bool | None = None

    def __post_init__(self) -> None:
        if self.statuses is None or self.statuses in ((), [], set()):
            msgspec.structs.force_setattr(self, "statuses", ())
        else:
            settle_members(self, "statuses", InstanceStatus)
        if self.blocked is not None and not isinstance(self.blocked, bool):
            raise InvalidRulesError(f"InstanceFilter.blocked must be True, False or None, not {self.blocked!r}")


class InstancePage(msgspec.Struct, frozen=True, kw_only=True):
    """Newest first. ``next`` is the cursor for the next page, None on the last one."""

    instances: tuple[InstanceRecord, ...]
    next: str | None


class ExecutionPage(msgspec.Struct, frozen=True, kw_only=True):
    """Newest instance first and, within it, newest execution first. ``next`` as in ``InstancePage``."""

    executions: tuple[ExecutionRecord, ...]
    next: str | None


class StoreInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The store and its size. ``file_bytes``, ``wal_bytes`` and ``free_bytes`` (free pages inside the file) are 0 for a
    store without a file. ``logical_bytes`` is the sum of the history bytes of all executions."""

    url: str
    store_id: str
    schema_version: int
    engine: str
    instances: int
    executions: int
    events: int
    logical_bytes: int
    file_bytes: int
    wal_bytes: int
    free_bytes: int
