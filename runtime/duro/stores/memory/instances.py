"""What the memory store keeps of one instance: everything that belongs to it hangs on its ``Instance``."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from duro.model.events import ParentLink
from duro.model.ledger import SEVERAL, LedgerRange, RunSource
from duro.model.limits import ASKED_PRUNES_MAX
from duro.model.removal import PruneRun
from duro.model.retention import PolicyOrigin, PruneOptions
from duro.model.status import BlockedKind, ExecutionStatus, InstanceStatus, ParentPolicy, RemovalState
from duro.model.turns import MailboxEvent


def as_json(value: PruneOptions | PolicyOrigin) -> str:
    return msgspec.json.encode(value).decode()


@dataclass(slots=True)
class Execution:
    execution_id: int
    version: str
    started_at_ms: int
    input: str | None
    status: ExecutionStatus = ExecutionStatus.PENDING
    completed_at_ms: int | None = None
    history: list[str] = field(default_factory=list)
    history_bytes: int = 0
    removal: RemovalState = RemovalState.LIVE
    pruned_at_ms: int | None = None
    reclaim_at_ms: int | None = None
    run_id: str | None = None
    takes_children: bool = False
    archive: str | None = None
    unarchived: bool = False
    reclaimed_events: int = 0
    """The first of the history, which are deleted already."""

    @property
    def event_count(self) -> int:
        return len(self.history) + self.reclaimed_events

    def restore(self) -> None:
        """Live again, as if it had never been marked."""
        self.removal = RemovalState.LIVE
        self.pruned_at_ms = self.reclaim_at_ms = self.run_id = None
        self.takes_children = False
        self.archive, self.unarchived = None, False

    def finish(self, status: ExecutionStatus, at_ms: int) -> None:
        self.status = status
        self.completed_at_ms = at_ms


@dataclass(slots=True)
class Activity:
    name: str
    scheduled_at_ms: int
    visible_at_ms: int
    attempt: int = 1
    lease_worker_id: str | None = None
    lease_epoch: int = 0


@dataclass(slots=True)
class Lineage:
    parent: ParentLink
    detached: bool
    on_parent_continue: ParentPolicy | None
    on_parent_end: ParentPolicy | None
    spawned_at_ms: int
    spawner_version: str
    spawner_ended_at_ms: int | None = None
    spawner_end: ExecutionStatus | None = None
    observed_at_ms: int | None = None
    completion: str | None = None
    parent_removed_at_ms: int | None = None
    adopted_at_ms: int | None = None
    adopted_by: str | None = None
    adopted_reason: str | None = None
    given_up_at_ms: int | None = None


class LedgerRow(NamedTuple):
    """A row of an instance's ledger. ``run_id`` None: an automatic prune."""

    sequence: int
    entry: LedgerRange
    run_id: str | None


class Asked(NamedTuple):
    """What code asked for and a turn did not finish: see ``AskedPrune``. ``due_at_ms``: from when a sweep goes on."""

    origin: PolicyOrigin
    through: int
    at_ms: int
    due_at_ms: int


class RunTotals:
    """What one transaction adds to a prune run."""

    def __init__(self) -> None:
        self.instances = self.executions = self.events = self.history_bytes = 0
        self.rule = self.origin = ""

    def add(self, pruned: LedgerRange, *, new: bool) -> None:
        self.instances += new
        self.executions += pruned.executions
        self.events += pruned.events
        self.history_bytes += pruned.history_bytes
        self.rule = pruned.rule if self.rule in ("", pruned.rule) else SEVERAL
        self.origin = pruned.origin if self.origin in ("", pruned.origin) else SEVERAL

    def run(
        self,
        run_id: str,
        trigger: str,
        *,
        kind: str,
        by: str,
        reason: str,
        source: RunSource,
        started_at_ms: int,
        archive: str | None = None,
    ) -> PruneRun:
        return PruneRun(
            run_id=run_id,
            trigger=str(trigger),
            rule=self.rule,
            origin=self.origin,
            by=by,
            reason=reason,
            started_at_ms=started_at_ms,
            instances=self.instances,
            executions=self.executions,
            events=self.events,
            history_bytes=self.history_bytes,
            source=source,
            archive=archive,
            kind=str(kind),
        )


@dataclass(slots=True)
class Instance:
    """One instance and all that belongs to it. Timers and activities are keyed by event id: only the current
    execution can have any."""

    incarnation: int
    instance_id: str
    name: str
    version: str
    created_at_ms: int
    updated_at_ms: int
    start_request_id: str
    lineage: Lineage | None
    status: InstanceStatus = InstanceStatus.PENDING
    execution_id: int = 1
    completed_at_ms: int | None = None
    custom_status: str | None = None
    turn_sequence: int = 0
    last_commit_token: str | None = None
    attempt_count: int = 0
    lease_worker_id: str | None = None
    lease_epoch: int = 0
    ready_at_ms: int | None = None
    waits: list[str] = field(default_factory=list)
    cancel_requested_at_ms: int | None = None
    cancel_reason: str | None = None
    cancel_delivered: bool = False
    blocked: BlockedKind | None = None
    blocked_reason: str | None = None
    executions: dict[int, Execution] = field(default_factory=dict)
    messages: dict[int, str] = field(default_factory=dict)
    mailbox: dict[int, MailboxEvent] = field(default_factory=dict)
    timers: dict[int, int] = field(default_factory=dict)
    activities: dict[int, Activity] = field(default_factory=dict)
    requests: dict[str, int] = field(default_factory=dict)
    prune_policy: str | None = None
    pruned_through: int = 0
    prune_due_at_ms: int | None = None
    swept_at_ms: int | None = None
    live_from: int = 1
    ledger: list[LedgerRow] = field(default_factory=list)
    asked: dict[PruneOptions, Asked] = field(default_factory=dict)

    def ask(self, options: PruneOptions, origin: PolicyOrigin, through: int, now_ms: int, due_at_ms: int) -> None:
        """Keep for a sweep what a turn did not finish; the oldest of too many give way."""
        before = self.asked.get(options)
        earliest_ms = due_at_ms if before is None else min(before.due_at_ms, due_at_ms)
        self.asked[options] = Asked(origin, through, now_ms, earliest_ms)
        newest = sorted(self.asked.items(), key=lambda each: (-each[1].at_ms, as_json(each[0])))
        self.asked = dict(newest[:ASKED_PRUNES_MAX])

    def live_executions(self) -> dict[int, Execution]:
        return {
            number: execution for number, execution in self.executions.items() if execution.removal is RemovalState.LIVE
        }

    @property
    def finished(self) -> bool:
        return self.completed_at_ms is not None

    def has_ended(self, execution_id: int) -> bool:
        return self.finished or execution_id != self.execution_id

    @property
    def current(self) -> Execution:
        return self.executions[self.execution_id]

    @property
    def waited_for_by(self) -> ParentLink | None:
        """Who is told how it ends."""
        return self.lineage.parent if self.lineage is not None and not self.lineage.detached else None

    def become_ready(self, now: int) -> None:
        """Now, unless it already was: waiting longer never costs an instance its place."""
        self.ready_at_ms = now if self.ready_at_ms is None else min(self.ready_at_ms, now)

    def wake(self, now: int) -> None:
        """Something arrived. A blocked instance keeps it until its next turn or its resumption."""
        if self.blocked is None:
            self.become_ready(now)

    def unblock(self) -> None:
        self.blocked = None
        self.blocked_reason = None
        self.attempt_count = 0

    def has_arrivals(self, now: int) -> bool:
        return bool(
            self.messages
            or any(fire_at_ms <= now for fire_at_ms in self.timers.values())
            or any(event.name in self.waits for event in self.mailbox.values())
            or (self.cancel_requested_at_ms is not None and not self.cancel_delivered)
        )

    def ready_from_contents(self, now: int, *, unstarted_counts: bool) -> int | None:
        """When there is something for a turn to do."""
        if self.has_arrivals(now) or (unstarted_counts and self.current.status is ExecutionStatus.PENDING):
            return now
        return min(self.timers.values(), default=None)

    def deliverable(self) -> tuple[MailboxEvent, ...]:
        """For each waited-for name the first events, at most as many as there are waits of it, in order of arrival."""
        room: dict[str, int] = defaultdict(int)
        for name in self.waits:
            room[name] += 1
        events = []
        for event in self.mailbox.values():
            if room[event.name] > 0:
                room[event.name] -= 1
                events.append(event)
        return tuple(events)


def next_sequence(instance: Instance) -> int:
    """The place of the next row in its ledger."""
    return max((row.sequence for row in instance.ledger), default=0) + 1


def record_run(instance: Instance, run_id: str, pruned: LedgerRange) -> bool:
    """The row of a manual run: made, or made longer. True: it is new."""
    for index, row in enumerate(instance.ledger):
        if row.run_id == run_id:
            instance.ledger[index] = LedgerRow(row.sequence, _longer(row.entry, pruned), run_id)
            return False
    instance.ledger.append(LedgerRow(next_sequence(instance), pruned, run_id))
    return True


def _longer(one: LedgerRange, other: LedgerRange) -> LedgerRange:
    return msgspec.structs.replace(
        one,
        first_execution_id=min(one.first_execution_id, other.first_execution_id),
        last_execution_id=max(one.last_execution_id, other.last_execution_id),
        executions=one.executions + other.executions,
        events=one.events + other.events,
        history_bytes=one.history_bytes + other.history_bytes,
        last_pruned_at_ms=other.last_pruned_at_ms,
    )


class Child(NamedTuple):
    """A spawned instance with its lineage, which it certainly has."""

    instance: Instance
    lineage: Lineage
