"""A store in this process's memory: the port in plain dictionaries under one lock.

It exists so that the contract has two implementations that share no logic (what only one store does is a description
of that store), and so that engines and programs can be tested without a disk. It does what ``base`` promises, in the
order it promises it, and nothing clever: it scans where SQLite has an index. Nothing survives the process.

Everything of one instance hangs on its ``Instance``; ``dump`` spreads it over the tables of the migrations.
"""

import re
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import msgspec

from duro import codec
from duro.clock import Clock
from duro.errors import (
    HistoryFormatError,
    InstanceFinishedError,
    InstanceNotFoundError,
    MailboxFullError,
    StoreClosedError,
    UsageError,
)
from duro.model.events import ActivityScheduled, ParentLink
from duro.model.failure import INSTANCE_EXISTS, TERMINATED, FailureDetails
from duro.model.families import OrphanRules
from duro.model.limits import MAILBOX_EVENTS_MAX
from duro.model.records import (
    ExecutionPage,
    ExecutionRecord,
    HistoryRecord,
    InstanceEnd,
    InstanceFilter,
    InstancePage,
    InstanceRecord,
    StartOutcome,
    StartRequest,
    StoreInfo,
    WorkerRecord,
)
from duro.model.space import MarkedUsage, NameUsage
from duro.model.status import BlockedKind, ExecutionStatus, InstanceStatus, ParentPolicy, RemovalState
from duro.model.turns import (
    ChildTerms,
    CommitBatch,
    CommitResult,
    DueTimer,
    ExecutionEnd,
    FinishActivity,
    LastCommit,
    LeasedActivity,
    LeasedInstance,
    LeaseRequest,
    LeaseResult,
    MailboxEvent,
    QueuedMessage,
    ReleaseInstance,
    RetryActivity,
    StartInstance,
    TurnCommit,
    TurnOutcome,
)
from duro.model.unregistered import shown_unregistered
from duro.retention.families import check_asked
from duro.retention.parents import why_ended, word_for, words_of
from duro.stores.base import Store, StoreDump
from duro.stores.memory import rows
from duro.stores.memory.archiving import Archives
from duro.stores.memory.instances import Activity, Child, Execution, Instance, Lineage
from duro.stores.memory.pruning import Pruning

SCHEMA_VERSION: Final = 4

T = TypeVar("T")
Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate(Generic[T]):
    """Work that could be leased from ``at_ms`` on. ``key`` breaks ties, oldest first."""

    kind: tuple[str, ...]
    at_ms: int
    key: tuple[int, ...]
    item: T


# --- the store ---------------------------------------------------------------------------------------------


class MemoryStore(Archives, Pruning, Store):
    """See the module. ``clock`` is the store's time, ``new_id`` makes its ``store_id``."""

    def __init__(self, *, url: str = "memory:", clock: Clock, new_id: Callable[[], str]) -> None:
        self.url = url
        self._clock = clock
        self._lock = threading.RLock()
        self._closed = False
        self._changes = 0
        self._store_id = new_id()
        self._created_at_ms = clock.now_ms()
        self._next_incarnation = 1
        self._next_message_id = 1
        self._ignored_messages = 0
        self._maintenance: tuple[str, int] | None = None
        self._workers: dict[str, WorkerRecord] = {}
        self._instances: dict[int, Instance] = {}
        self._unfinished: dict[int, Instance] = {}
        self._by_id: dict[str, Instance] = {}
        self._children: dict[int, list[Instance]] = defaultdict(list)
        self._begin_families()
        self._begin_pruning()

    @contextmanager
    def _transaction(self) -> Iterator[int]:
        """The lock, and the time of everything that happens under it. Methods find out what stands in their way before
        they change anything, so an exception leaves everything as it was."""
        with self._lock:
            if self._closed:
                raise StoreClosedError("the store was closed")
            yield self._clock.now_ms()

    def _changed(self) -> None:
        self._changes += 1

    # --- life --------------------------------------------------------------------------------------------------

    def close(self) -> None:
        with self._lock:
            self._closed = True

    def now_ms(self) -> int:
        with self._transaction() as now:
            return now

    def change_counter(self) -> tuple[int, ...]:
        with self._transaction():
            return (self._changes,)

    # --- workers -----------------------------------------------------------------------------------------------

    def register_worker(self, worker: WorkerRecord, lease_ms: int) -> WorkerRecord:
        with self._transaction() as now:
            stored = msgspec.structs.replace(
                worker,
                lease_until_ms=now + lease_ms,
                orchestrations=tuple(sorted(set(worker.orchestrations))),
                activities=tuple(sorted(set(worker.activities))),
            )
            self._register_publication(stored, now)
            self._workers[worker.worker_id] = stored
            for instance in self._unfinished.values():
                code_may_match = instance.blocked in (BlockedKind.NONDETERMINISM, BlockedKind.HISTORY_UNREADABLE)
                if code_may_match and (instance.name, instance.version) in stored.orchestrations:
                    instance.become_ready(now)
            self._changed()
            return stored

    def renew_worker(self, worker_id: str, lease_ms: int) -> bool:
        with self._transaction() as now:
            worker = self._workers.get(worker_id)
            if worker is None:
                return False
            self._workers[worker_id] = msgspec.structs.replace(worker, lease_until_ms=now + lease_ms)
            self._changed()
            return True

    def release_worker(self, worker_id: str) -> None:
        with self._transaction() as now:
            if worker_id in self._workers:
                self._remove_worker(worker_id, now)

    def release_expired(self) -> int:
        with self._transaction() as now:
            return self._take_back_expired(now)

    def list_workers(self) -> tuple[WorkerRecord, ...]:
        with self._transaction():
            return tuple(sorted(self._workers.values(), key=lambda worker: (worker.started_at_ms, worker.worker_id)))

    def acquire_maintenance(self, holder: str, lease_ms: int) -> bool:
        with self._transaction() as now:
            if self._maintenance is not None and self._maintenance[0] != holder and self._maintenance[1] > now:
                return False
            self._maintenance = (holder, now + lease_ms)
            self._changed()
            return True

    def release_maintenance(self, holder: str) -> None:
        with self._transaction():
            if self._maintenance is not None and self._maintenance[0] == holder:
                self._maintenance = None
                self._changed()

    def _take_back_expired(self, now: int) -> int:
        expired = [worker.worker_id for worker in self._workers.values() if worker.lease_until_ms <= now]
        for worker_id in expired:
            self._remove_worker(worker_id, now)
        return len(expired)

    def _remove_worker(self, worker_id: str, now: int) -> None:
        """Its leases come back with it: a lease never outlives the row of the worker that holds it."""
        del self._workers[worker_id]
        for instance in self._unfinished.values():
            if instance.lease_worker_id == worker_id:
                instance.lease_worker_id = None
                instance.become_ready(now)
            for activity in instance.activities.values():
                if activity.lease_worker_id == worker_id:
                    activity.lease_worker_id = None
                    activity.visible_at_ms = now
        self._changed()

    # --- leasing -----------------------------------------------------------------------------------------------

    def lease(self, worker_id: str, request: LeaseRequest) -> LeaseResult:
        with self._transaction() as now:
            return self._lease(worker_id, request, now)

    def _lease(self, worker_id: str, request: LeaseRequest, now: int) -> LeaseResult:
        self._take_back_expired(now)
        if worker_id not in self._workers:
            return LeaseResult()
        instances, instances_next = self._choose_instances(worker_id, request, now)
        activities, activities_next = self._choose_activities(request, now)
        if instances or activities:
            self._changed()
        return LeaseResult(
            instances=tuple(_lease_instance(instance, worker_id, now) for instance in instances),
            activities=tuple(
                _lease_activity(instance, event_id, scheduled, worker_id)
                for instance, event_id, scheduled in activities
            ),
            next_ready_at_ms=_earliest(instances_next, activities_next),
        )

    def _choose_instances(self, worker_id: str, request: LeaseRequest, now: int) -> tuple[list[Instance], int | None]:
        """Those to lease, and when the earliest of the others is ready."""
        kinds = frozenset(request.orchestrations)
        found = [
            _Candidate(kind=(instance.name, instance.version), at_ms=instance.ready_at_ms, key=(number,), item=instance)
            for number, instance in self._unfinished.items()
            if instance.ready_at_ms is not None
            and instance.blocked is not BlockedKind.POISON
            and instance.lease_worker_id in (None, worker_id)
            and (instance.name, instance.version) in kinds
        ]
        return _choose(found, request.instances_max, now)

    def _choose_activities(
        self, request: LeaseRequest, now: int
    ) -> tuple[list[tuple[Instance, int, ActivityScheduled]], int | None]:
        """As ``_choose_instances``. An activity whose scheduled event cannot be read stays and stops nobody."""
        names = frozenset(request.activities)
        found = []
        for number, instance in self._unfinished.items():
            for event_id, activity in instance.activities.items():
                if activity.lease_worker_id is None and activity.name in names:
                    scheduled = _scheduled_event(instance, event_id)
                    if scheduled is not None:
                        item = (instance, event_id, scheduled)
                        key = (number, event_id)
                        found.append(
                            _Candidate(kind=(activity.name,), at_ms=activity.visible_at_ms, key=key, item=item)
                        )
        return _choose(_within(found, request.activities_max_of), request.activities_max, now)

    # --- commits -----------------------------------------------------------------------------------------------

    def commit(self, batch: CommitBatch) -> CommitResult:
        with self._transaction() as now:
            result = CommitResult(store_time_ms=now)
            for position, turn in enumerate(batch.turns):
                outcome, problem = self._commit_turn(turn, batch, now)
                result.turns.append(outcome)
                if problem is not None:
                    result.errors[position] = problem
            committed = [
                (position, turn)
                for position, (turn, outcome) in enumerate(zip(batch.turns, result.turns, strict=True))
                if outcome is TurnOutcome.COMMITTED
            ]
            self._end_children(
                [
                    (self._instances[turn.incarnation], turn.execution_id, ExecutionStatus(turn.end.status))
                    for _, turn in committed
                    if turn.end is not None
                ],
                now,
            )
            self._prune_turns(batch, committed, result)
            result.releases = [self._commit_release(release, batch.worker_id, now) for release in batch.releases]
            result.finished = [self._commit_finished(finish, batch.worker_id, now) for finish in batch.finished]
            result.retries = [self._commit_retry(retry, batch.worker_id) for retry in batch.retries]
            if TurnOutcome.COMMITTED in (*result.turns, *result.releases, *result.finished, *result.retries):
                self._changed()
            if batch.lease is not None:
                result.leased = self._lease(batch.worker_id, batch.lease, now)
            return result

    def _commit_turn(self, turn: TurnCommit, batch: CommitBatch, now: int) -> tuple[TurnOutcome, str | None]:
        instance = self._held_instance(turn.incarnation, batch.worker_id, turn.lease_epoch)
        if instance is None:
            return TurnOutcome.FENCED, None
        if instance.turn_sequence != turn.turn_sequence or instance.execution_id != turn.execution_id:
            return TurnOutcome.CONFLICT, None
        problem = _why_not_writable(turn, instance)
        if problem is not None:
            return TurnOutcome.REJECTED, problem
        self._apply_turn(instance, turn, batch, now)
        return TurnOutcome.COMMITTED, None

    def _held_instance(self, incarnation: int, worker_id: str, lease_epoch: int) -> Instance | None:
        instance = self._unfinished.get(incarnation)
        if instance is None or instance.lease_worker_id != worker_id or instance.lease_epoch != lease_epoch:
            return None
        return instance

    def _apply_turn(self, instance: Instance, turn: TurnCommit, batch: CommitBatch, now: int) -> None:
        """One turn, whole: the steps stand in the order of the port's text."""
        _record_events(instance, turn, batch.token)
        self._consume(instance, turn)
        _write_work(instance, turn, batch.worker_id, now)
        for start in turn.starts:
            self._start_from_turn(instance, turn, start, batch.child_terms, now)
        for cancel in turn.cancelled_children:
            for child in self._children_of(instance.incarnation, turn.execution_id):
                if child.lineage.parent.event_id == cancel.event_id:
                    child.lineage.given_up_at_ms = turn.at_ms
                    if not child.instance.finished:
                        _request_cancel(child.instance, cancel.reason, now)
        if turn.end is not None:
            self._end_execution(instance, turn.end, turn.at_ms, now)
        if not instance.finished:
            if not turn.keep_lease:
                instance.lease_worker_id = None
            instance.ready_at_ms = instance.ready_from_contents(now, unstarted_counts=not turn.keep_lease)

    def _consume(self, instance: Instance, turn: TurnCommit) -> None:
        for message_id in turn.consumed_messages:
            instance.messages.pop(message_id, None)
        for event_id in (*turn.consumed_timers, *turn.cancelled_timers):
            instance.timers.pop(event_id, None)
        for sequence in turn.consumed_mailbox:
            instance.mailbox.pop(sequence, None)
        for event_id in (*turn.finished_activities, *turn.cancelled_activities):
            instance.activities.pop(event_id, None)
        instance.waits = list(turn.waits)
        if turn.observed_children:
            for child in self._children_of(instance.incarnation, turn.execution_id):
                if child.lineage.parent.event_id in turn.observed_children:
                    child.lineage.observed_at_ms = turn.at_ms
        self._ignored_messages += turn.ignored_messages

    def _start_from_turn(
        self, spawner: Instance, turn: TurnCommit, start: StartInstance, terms: ChildTerms, now: int
    ) -> None:
        if start.instance_id in self._by_id:
            if not start.detached:
                failure = FailureDetails(
                    type=INSTANCE_EXISTS, message=f"the instance id {start.instance_id!r} is taken"
                )
                message = codec.child_failed_message(turn.execution_id, start.event_id, failure)
                self._send(spawner, message, now)
            return
        on_continue, on_end = words_of(start.on_parent_continue, start.on_parent_end, terms)
        lineage = Lineage(
            parent=ParentLink(
                instance_id=spawner.instance_id,
                incarnation=spawner.incarnation,
                execution_id=turn.execution_id,
                event_id=start.event_id,
            ),
            detached=start.detached,
            on_parent_continue=None if start.detached else on_continue,
            on_parent_end=None if start.detached else on_end,
            spawned_at_ms=turn.at_ms,
            spawner_version=turn.version,
        )
        request = StartRequest(
            instance_id=start.instance_id, name=start.name, version=start.version, input=start.input, request_id=""
        )
        self._children[spawner.incarnation].append(self._make_instance(request, lineage, turn.at_ms, now))

    def _make_instance(self, request: StartRequest, lineage: Lineage | None, at_ms: int, now: int) -> Instance:
        instance = Instance(
            incarnation=self._next_incarnation,
            instance_id=request.instance_id,
            name=request.name,
            version=request.version,
            created_at_ms=at_ms,
            updated_at_ms=at_ms,
            start_request_id=request.request_id,
            lineage=lineage,
            ready_at_ms=now,
        )
        instance.executions[1] = Execution(
            execution_id=1, version=request.version, started_at_ms=at_ms, input=request.input
        )
        self._next_incarnation += 1
        self._instances[instance.incarnation] = instance
        self._unfinished[instance.incarnation] = instance
        self._by_id[instance.instance_id] = instance
        return instance

    def _send(self, instance: Instance, message: str, now: int) -> None:
        instance.messages[self._take_message_id()] = message
        instance.wake(now)

    def _take_message_id(self) -> int:
        message_id = self._next_message_id
        self._next_message_id += 1
        return message_id

    def _children_of(self, incarnation: int, execution_id: int) -> list[Child]:
        """Also those that were removed: they may come back, and must know then what was made of their end."""
        children = [*self._children.get(incarnation, ()), *(each.instance for each in self._removed.values())]
        return [
            Child(instance, lineage)
            for instance in children
            if (lineage := instance.lineage) is not None
            and (lineage.parent.incarnation, lineage.parent.execution_id) == (incarnation, execution_id)
        ]

    # --- ends --------------------------------------------------------------------------------------------------

    def _end_execution(self, instance: Instance, end: ExecutionEnd, at_ms: int, now: int) -> None:
        instance.current.finish(end.status, at_ms)
        instance.timers.clear()
        instance.activities.clear()
        instance.waits.clear()
        for child in self._children_of(instance.incarnation, instance.execution_id):
            child.lineage.spawner_ended_at_ms = at_ms
            child.lineage.spawner_end = end.status
        if end.status is ExecutionStatus.CONTINUED_AS_NEW:
            _start_next_execution(instance, end, at_ms)
        else:
            self._finish_instance(instance, end, at_ms, now)

    def _finish_instance(self, instance: Instance, end: ExecutionEnd, at_ms: int, now: int) -> None:
        instance.status = InstanceStatus(end.status)
        instance.completed_at_ms = at_ms
        instance.lease_worker_id = None
        instance.ready_at_ms = None
        instance.messages.clear()
        instance.mailbox.clear()
        del self._unfinished[instance.incarnation]
        if instance.lineage is not None and instance.waited_for_by is not None and end.parent_message is not None:
            parent = self._unfinished.get(instance.waited_for_by.incarnation)
            if parent is not None and parent.execution_id == instance.waited_for_by.execution_id:
                instance.lineage.completion = "sent"
                self._send(parent, end.parent_message, now)
            else:
                instance.lineage.completion = "ignored"
                self._ignored_messages += 1

    def _end_children(self, ended: Sequence[tuple[Instance, int, ExecutionStatus]], now: int) -> None:
        """See *Children of what ends* in the port. ``ended``: an instance, the execution, how it ended."""
        while ended:
            terminated: dict[int, tuple[Instance, str]] = {}
            for parent, execution_id, status in ended:
                reason = why_ended(parent.instance_id, status)
                for child in self._dependents(parent):
                    assert child.lineage is not None, "it depends on its parent"
                    of_execution = child.lineage.parent.execution_id
                    if child.finished or (status is ExecutionStatus.CONTINUED_AS_NEW and of_execution != execution_id):
                        continue
                    word = word_for(status, child.lineage.on_parent_continue, child.lineage.on_parent_end)
                    if word is ParentPolicy.TERMINATE:
                        terminated.setdefault(child.incarnation, (child, reason))
                    elif word is ParentPolicy.CANCEL and child.incarnation not in terminated:
                        _request_cancel(child, reason, now)
            for _, (child, reason) in sorted(terminated.items()):
                self._terminate(child, reason, now)
            ended = [(child, child.execution_id, ExecutionStatus.TERMINATED) for child, _ in terminated.values()]

    def _terminate(self, instance: Instance, reason: str, now: int) -> None:
        execution = instance.current
        event = codec.terminated_event(execution.event_count + 1, now, reason)
        execution.history.append(event)
        execution.history_bytes += len(event.encode())
        instance.updated_at_ms = now
        instance.unblock()
        message = None
        if instance.waited_for_by is not None:
            link = instance.waited_for_by
            failure = FailureDetails(type=TERMINATED, message=reason)
            message = codec.child_failed_message(link.execution_id, link.event_id, failure)
        end = ExecutionEnd(status=ExecutionStatus.TERMINATED, parent_message=message)
        self._end_execution(instance, end, now, now)

    # --- what a worker gives back ------------------------------------------------------------------------------

    def _commit_release(self, release: ReleaseInstance, worker_id: str, now: int) -> TurnOutcome:
        instance = self._held_instance(release.incarnation, worker_id, release.lease_epoch)
        if instance is None:
            return TurnOutcome.FENCED
        instance.lease_worker_id = None
        if not release.count_attempt:
            instance.attempt_count = max(instance.attempt_count - 1, 0)
        if release.blocked is not None:
            instance.blocked = release.blocked
            instance.blocked_reason = release.reason
            instance.ready_at_ms = release.retry_at_ms
            return TurnOutcome.COMMITTED
        instance.ready_at_ms = instance.ready_from_contents(now, unstarted_counts=True)
        if instance.ready_at_ms is not None and release.retry_at_ms is not None:
            instance.ready_at_ms = max(instance.ready_at_ms, release.retry_at_ms)
        return TurnOutcome.COMMITTED

    def _held_activity(
        self, report: FinishActivity | RetryActivity, worker_id: str
    ) -> tuple[Instance, Activity] | None:
        instance = self._unfinished.get(report.incarnation)
        if instance is None or instance.execution_id != report.execution_id:
            return None
        activity = instance.activities.get(report.event_id)
        if activity is None or activity.lease_worker_id != worker_id or activity.lease_epoch != report.lease_epoch:
            return None
        return instance, activity

    def _commit_finished(self, finish: FinishActivity, worker_id: str, now: int) -> TurnOutcome:
        held = self._held_activity(finish, worker_id)
        if held is None:
            return TurnOutcome.FENCED
        instance, _ = held
        del instance.activities[finish.event_id]
        self._send(instance, finish.message, now)
        return TurnOutcome.COMMITTED

    def _commit_retry(self, retry: RetryActivity, worker_id: str) -> TurnOutcome:
        held = self._held_activity(retry, worker_id)
        if held is None:
            return TurnOutcome.FENCED
        _, activity = held
        activity.lease_worker_id = None
        activity.visible_at_ms = retry.visible_at_ms
        activity.attempt += 1 if retry.failed else 0
        return TurnOutcome.COMMITTED

    # --- the turn path: reads ----------------------------------------------------------------------------------

    def lookup_commit(self, incarnations: Sequence[int]) -> dict[int, LastCommit]:
        with self._transaction():
            return {
                incarnation: LastCommit(instance.last_commit_token, instance.turn_sequence)
                for incarnation in incarnations
                if (instance := self._instances.get(incarnation)) is not None
            }

    def load_histories(self, executions: Sequence[tuple[int, int]]) -> list[tuple[str, ...]]:
        with self._transaction():
            return [self._history(incarnation, execution_id) for incarnation, execution_id in executions]

    def _history(self, incarnation: int, execution_id: int) -> tuple[str, ...]:
        instance = self._instances.get(incarnation)
        if instance is None and incarnation in self._removed:
            instance = self._removed[incarnation].instance
        execution = instance.executions.get(execution_id) if instance is not None else None
        return tuple(execution.history) if execution is not None else ()

    def held_instances(self, worker_id: str) -> frozenset[tuple[int, int]]:
        with self._transaction():
            return frozenset(
                (instance.incarnation, instance.lease_epoch)
                for instance in self._unfinished.values()
                if instance.lease_worker_id == worker_id
            )

    def held_activities(self, worker_id: str) -> frozenset[tuple[int, int, int, int]]:
        with self._transaction():
            return frozenset(
                (instance.incarnation, instance.execution_id, event_id, activity.lease_epoch)
                for instance in self._unfinished.values()
                for event_id, activity in instance.activities.items()
                if activity.lease_worker_id == worker_id
            )

    # --- writes of clients -------------------------------------------------------------------------------------

    def start_instances(self, requests: Sequence[StartRequest]) -> list[StartOutcome]:
        with self._transaction() as now:
            return [self._start(request, now) for request in requests]

    def _start(self, request: StartRequest, now: int) -> StartOutcome:
        instance = self._by_id.get(request.instance_id)
        if instance is None:
            instance = self._make_instance(request, None, now, now)
            self._changed()
        return StartOutcome(
            instance_id=instance.instance_id,
            incarnation=instance.incarnation,
            name=instance.name,
            started=instance.start_request_id == request.request_id,
        )

    def raise_event(self, instance_id: str, name: str, data: str, request_id: str) -> None:
        with self._transaction() as now:
            instance = self._instance(instance_id)
            if request_id in instance.requests:
                return
            _refuse_finished(instance)
            if len(instance.mailbox) >= MAILBOX_EVENTS_MAX:
                raise MailboxFullError(f"instance {instance_id!r} holds {MAILBOX_EVENTS_MAX} undelivered events")
            instance.requests[request_id] = now
            sequence = self._take_message_id()
            instance.mailbox[sequence] = MailboxEvent(sequence, name, data)
            if name in instance.waits:
                instance.wake(now)
            self._changed()

    def request_cancel(
        self, instance_id: str, reason: str, request_id: str, *, orphan: tuple[int, OrphanRules] | None = None
    ) -> None:
        with self._transaction() as now:
            instance = self._instance(instance_id)
            lineage = instance.lineage
            child = None if lineage is None else self._child(instance, lineage)
            check_asked(child, instance_id, orphan, now)
            if request_id in instance.requests:
                return
            _refuse_finished(instance)
            instance.requests[request_id] = now
            _request_cancel(instance, reason, now)
            self._changed()

    def terminate_instance(self, instance_id: str, reason: str, request_id: str = "") -> None:
        with self._transaction() as now:
            instance = self._instance(instance_id)
            if request_id in instance.requests:
                return
            _refuse_finished(instance)
            if request_id:
                instance.requests[request_id] = now
            self._terminate(instance, reason, now)
            self._end_children([(instance, instance.execution_id, ExecutionStatus.TERMINATED)], now)
            self._changed()

    def resume_instance(self, instance_id: str) -> bool:
        with self._transaction() as now:
            instance = self._unfinished_instance(instance_id)
            if instance.blocked is None:
                return False
            instance.unblock()
            instance.become_ready(now)
            self._changed()
            return True

    def _instance(self, instance_id: str) -> Instance:
        instance = self._by_id.get(instance_id)
        if instance is None:
            raise InstanceNotFoundError(f"there is no instance {instance_id!r}")
        return instance

    def _unfinished_instance(self, instance_id: str) -> Instance:
        instance = self._instance(instance_id)
        _refuse_finished(instance)
        return instance

    # --- reads of clients --------------------------------------------------------------------------------------

    def get_instance(self, instance_id: str) -> InstanceRecord | None:
        with self._transaction() as now:
            instance = self._by_id.get(instance_id)
            return self._record(instance, now) if instance is not None else None

    def _record(self, instance: Instance, now: int) -> InstanceRecord:
        """Those that wait for code that no live worker has are shown as blocked."""
        record = _instance_record(instance)
        live = [worker for worker in self._workers.values() if worker.lease_until_ms > now]
        if instance.finished or not live:
            return record
        kinds = {kind for worker in live for kind in worker.orchestrations}
        names = {name for worker in live for name in worker.activities}
        served = (instance.name, instance.version) in kinds or (
            not instance.version and any(name == instance.name for name, _ in kinds)
        )
        is_ready = instance.lease_worker_id is None and _is_due(instance.ready_at_ms, now)
        waiting = (
            activity.name
            for activity in instance.activities.values()
            if activity.lease_worker_id is None and activity.visible_at_ms <= now and activity.name not in names
        )
        return shown_unregistered(record, orchestration=is_ready and not served, activity=min(waiting, default=None))

    def instance_ids_from(self, prefix: str, limit: int) -> tuple[str, ...]:
        with self._transaction():
            ids = (each.instance_id for each in self._instances.values())
            return tuple(sorted(each for each in ids if each.startswith(prefix))[:limit])

    def list_instances(self, where: InstanceFilter, limit: int, cursor: str | None) -> InstancePage:
        before = _parse_cursor(_INSTANCE_CURSOR, cursor)
        with self._transaction() as now:
            records = (
                self._record(instance, now)
                for instance in self._instances.values()
                if before is None or (instance.incarnation,) < before
            )
            found = [record for record in records if _matches(record, where)]
            found.sort(key=lambda record: record.incarnation, reverse=True)
            page = found[:limit] if limit else found
            more = len(page) < len(found)
            return InstancePage(
                instances=tuple(page),
                next=f"i{page[-1].incarnation}" if more else None,
            )

    def list_executions(self, instance_id: str | None, limit: int, cursor: str | None) -> ExecutionPage:
        before = _parse_cursor(_EXECUTION_CURSOR, cursor)
        with self._transaction():
            found = [
                (instance, execution)
                for instance in self._instances.values()
                for execution in _live_executions(instance)
                if instance_id in (None, instance.instance_id)
                and (before is None or (instance.incarnation, execution.execution_id) < before)
            ]
            found.sort(key=lambda pair: (pair[0].incarnation, pair[1].execution_id), reverse=True)
            page = found[:limit] if limit else found
            more = len(page) < len(found)
            return ExecutionPage(
                executions=tuple(_execution_record(instance, execution) for instance, execution in page),
                next=f"e{page[-1][0].incarnation}.{page[-1][1].execution_id}" if more else None,
            )

    def get_execution(self, instance_id: str, execution_id: int) -> ExecutionRecord | None:
        with self._transaction():
            found = self._live_execution(instance_id, execution_id)
            return _execution_record(*found) if found is not None else None

    def read_history(self, instance_id: str, execution_id: int | None, after: int = 0) -> HistoryRecord | None:
        with self._transaction():
            found = self._live_execution(instance_id, execution_id)
            if found is None:
                return None
            instance, execution = found
            return HistoryRecord(
                execution=_execution_record(instance, execution),
                events=tuple(execution.history[after:]),
                input=execution.input,
            )

    def read_ends(self, instance_ids: Sequence[str]) -> dict[str, InstanceEnd]:
        with self._transaction():
            found = [instance for each in instance_ids if (instance := self._by_id.get(each)) is not None]
            return {instance.instance_id: self._end_of(instance) for instance in found}

    def _end_of(self, instance: Instance) -> InstanceEnd:
        return InstanceEnd(
            instance_id=instance.instance_id,
            name=instance.name,
            version=instance.version,
            status=instance.status,
            execution_id=instance.execution_id,
            last_event=instance.current.history[-1] if instance.finished else None,
        )

    def _live_execution(self, instance_id: str, execution_id: int | None) -> tuple[Instance, Execution] | None:
        instance = self._by_id.get(instance_id)
        if instance is None:
            return None
        execution = instance.executions.get(instance.execution_id if execution_id is None else execution_id)
        if execution is None or execution.removal is not RemovalState.LIVE:
            return None
        return instance, execution

    def info(self) -> StoreInfo:
        with self._transaction():
            executions = [one for instance in self._instances.values() for one in instance.live_executions().values()]
            return StoreInfo(
                url=self.url,
                store_id=self._store_id,
                schema_version=SCHEMA_VERSION,
                engine="memory",
                instances=len(self._instances),
                executions=len(executions),
                events=sum(execution.event_count for execution in executions),
                logical_bytes=sum(execution.history_bytes for execution in executions),
                file_bytes=0,
                wal_bytes=0,
                free_bytes=0,
            )

    def usage(self, since_ms: int) -> tuple[NameUsage, ...]:
        with self._transaction():
            by_name: dict[str, list[Instance]] = {}
            for instance in self._instances.values():
                by_name.setdefault(instance.name, []).append(instance)
            return tuple(_usage(name, instances, since_ms) for name, instances in sorted(by_name.items()))

    def marked(self) -> MarkedUsage:
        with self._transaction():
            there = {id(one) for each in self._instances.values() for one in each.live_executions().values()}
            gone = [one for each in self._all_instances() for one in each.executions.values() if id(one) not in there]
            return MarkedUsage(
                executions=len(gone),
                events=sum(one.event_count for one in gone),
                history_bytes=sum(one.history_bytes for one in gone),
            )

    def dump(self) -> StoreDump:
        with self._transaction():
            instances = list(self._all_instances())
            return {
                "store": [self._store_row()],
                "instances": [rows.instance_row(instance) for _, instance in sorted(self._instances.items())],
                "removed_instances": [rows.removed_row(removed) for _, removed in sorted(self._removed.items())],
                "executions": rows.rows_of(rows.execution_rows, instances),
                "history": rows.rows_of(rows.history_rows, instances),
                "messages": rows.rows_of(rows.message_rows, instances),
                "mailbox": rows.rows_of(rows.mailbox_rows, instances),
                "timers": rows.rows_of(rows.timer_rows, instances),
                "activities": rows.rows_of(rows.activity_rows, instances),
                "lineage": rows.rows_of(rows.lineage_rows, instances),
                "workers": [rows.worker_row(worker) for _, worker in sorted(self._workers.items())],
                "capabilities": [
                    row for _, worker in sorted(self._workers.items()) for row in rows.capability_rows(worker)
                ],
                "requests": sorted(
                    rows.rows_of(rows.request_rows, instances), key=lambda row: (row["request_id"], row["incarnation"])
                ),
                "holds": [rows.hold_row(hold) for _, hold in sorted(self._holds.items())],
                "ledger": rows.rows_of(rows.ledger_rows, instances),
                "asked_prunes": rows.rows_of(rows.asked_rows, instances),
                "prune_runs": [rows.run_row(run) for _, run in sorted(self._runs.items())],
                "ledger_totals": [msgspec.structs.asdict(totals) for _, totals in sorted(self._totals.items())],
                "archives": [msgspec.structs.asdict(each) for _, each in sorted(self._archives.items())],
                "versions": [
                    {"name": name, "version": version, "first_seen_at_ms": at_ms}
                    for (name, version), at_ms in sorted(self._versions.items())
                ],
                "publications": [
                    {"published": text, "sequence": number, "last_published_at_ms": at_ms}
                    for text, (number, at_ms) in sorted(self._publications.items())
                ],
            }

    def _store_row(self) -> rows.Row:
        holder, until_ms = self._maintenance or (None, None)
        return {
            "one": 1,
            "store_id": self._store_id,
            "created_at_ms": self._created_at_ms,
            "next_incarnation": self._next_incarnation,
            "next_message_id": self._next_message_id,
            "policy_revision": self._policy_revision,
            "hold_revision": self._hold_revision,
            "maintenance_holder": holder,
            "maintenance_until_ms": until_ms,
            "ignored_messages": self._ignored_messages,
        }


# --- leasing -----------------------------------------------------------------------------------------------


def _within(found: list[_Candidate[T]], max_of: dict[str, int]) -> list[_Candidate[T]]:
    """The earliest of each name that has a maximum, and all others."""
    left = dict(max_of)
    kept = []
    for candidate in sorted(found, key=lambda each: (each.at_ms, each.key)):
        name = candidate.kind[0]
        if left.get(name, 1) > 0:
            kept.append(candidate)
            if name in left:
                left[name] -= 1
    return kept


def _choose(found: list[_Candidate[T]], count_max: int, now: int) -> tuple[list[T], int | None]:
    """The items to lease now, and when the earliest of the others can be.

    A round takes the earliest of every kind, so that a thousand of one kind do not keep another one waiting.
    """
    rounds: dict[tuple[str, ...], int] = defaultdict(int)
    order = []
    for candidate in sorted(found, key=lambda one: (one.at_ms, one.key)):
        order.append((rounds[candidate.kind], candidate))
        rounds[candidate.kind] += 1
    order.sort(key=lambda pair: (pair[0], pair[1].at_ms, pair[1].key))
    ready = [candidate for _, candidate in order if candidate.at_ms <= now]
    later = [candidate.at_ms for candidate in found if candidate.at_ms > now]
    left = [candidate.at_ms for candidate in ready[count_max:]]
    return [candidate.item for candidate in ready[:count_max]], min(left + later, default=None)


def _earliest(first: int | None, second: int | None) -> int | None:
    return min((at_ms for at_ms in (first, second) if at_ms is not None), default=None)


def _lease_instance(instance: Instance, worker_id: str, now: int) -> LeasedInstance:
    """Leased anew, or the same lease once more when the worker already holds it."""
    if instance.lease_worker_id is None:
        instance.lease_worker_id = worker_id
        instance.lease_epoch += 1
        instance.attempt_count += 1
    instance.ready_at_ms = None
    due = sorted((fire_at_ms, event_id) for event_id, fire_at_ms in instance.timers.items() if fire_at_ms <= now)
    return LeasedInstance(
        instance_id=instance.instance_id,
        incarnation=instance.incarnation,
        execution_id=instance.execution_id,
        name=instance.name,
        version=instance.version,
        turn_sequence=instance.turn_sequence,
        lease_epoch=instance.lease_epoch,
        attempt_count=instance.attempt_count,
        input=instance.current.input,
        parent=instance.waited_for_by,
        cancel_reason=instance.cancel_reason,
        event_count=instance.current.event_count,
        messages=tuple(QueuedMessage(message_id, data) for message_id, data in instance.messages.items()),
        timers=tuple(DueTimer(event_id, fire_at_ms) for fire_at_ms, event_id in due),
        mailbox=instance.deliverable(),
    )


def _scheduled_event(instance: Instance, event_id: int) -> ActivityScheduled | None:
    """The event an activity was scheduled with, if it is there and readable."""
    try:
        event = codec.decode_event(instance.current.history[event_id - 1])
    except (HistoryFormatError, IndexError):
        return None
    return event if isinstance(event, ActivityScheduled) else None


def _lease_activity(instance: Instance, event_id: int, scheduled: ActivityScheduled, worker_id: str) -> LeasedActivity:
    activity = instance.activities[event_id]
    activity.lease_worker_id = worker_id
    activity.lease_epoch += 1
    return LeasedActivity(
        instance_id=instance.instance_id,
        incarnation=instance.incarnation,
        execution_id=instance.execution_id,
        event_id=event_id,
        name=activity.name,
        attempt=activity.attempt,
        lease_epoch=activity.lease_epoch,
        scheduled_at_ms=activity.scheduled_at_ms,
        input=bytes(scheduled.input).decode(),
        retry=scheduled.retry,
        attempt_timeout_s=scheduled.attempt_timeout_s,
        total_timeout_s=scheduled.total_timeout_s,
    )


# --- turns -------------------------------------------------------------------------------------------------


def _why_not_writable(turn: TurnCommit, instance: Instance) -> str | None:
    """What a database would refuse about a turn: rows that are there already, text that is no Unicode."""
    if turn.first_event_id != len(instance.current.history) + 1:
        return f"its events begin at {turn.first_event_id}, and the next one is {len(instance.current.history) + 1}"
    if _repeats([*instance.activities, *(activity.event_id for activity in turn.activities)]):
        return "an activity has the event id of another one"
    if _repeats([*instance.timers, *(timer.event_id for timer in turn.timers)]):
        return "a timer has the event id of another one"
    if _repeats([start.event_id for start in turn.starts]):
        return "a start has the event id of another one"
    try:
        for text in _texts(turn):
            text.encode()
    except UnicodeEncodeError as error:
        return f"its text cannot be stored: {error}"
    return None


def _repeats(event_ids: list[int]) -> bool:
    return len(set(event_ids)) < len(event_ids)


def _texts(turn: TurnCommit) -> Iterator[str]:
    yield from (turn.name, turn.version, turn.custom_status or "", *turn.events, *turn.waits)
    for start in turn.starts:
        yield from (start.instance_id, start.name, start.version, start.input)
    if turn.end is not None:
        yield from (turn.end.parent_message or "", turn.end.next_input or "", turn.end.next_version or "")


def _record_events(instance: Instance, turn: TurnCommit, token: str) -> None:
    execution = instance.current
    execution.history.extend(turn.events)
    execution.history_bytes += turn.history_bytes
    execution.version = turn.version
    execution.status = ExecutionStatus.RUNNING
    execution.input = None
    instance.name = turn.name
    instance.version = turn.version
    instance.status = InstanceStatus.RUNNING
    instance.updated_at_ms = turn.at_ms
    instance.turn_sequence += 1
    instance.last_commit_token = token
    instance.unblock()
    if turn.custom_status is not None:
        instance.custom_status = turn.custom_status or None
    if turn.cancel_delivered:
        instance.cancel_delivered = True


def _write_work(instance: Instance, turn: TurnCommit, worker_id: str, now: int) -> None:
    for activity in turn.activities:
        instance.activities[activity.event_id] = Activity(
            name=activity.name,
            scheduled_at_ms=turn.at_ms,
            visible_at_ms=now,
            lease_worker_id=worker_id if activity.claimed else None,
            lease_epoch=1 if activity.claimed else 0,
        )
    for timer in turn.timers:
        instance.timers[timer.event_id] = timer.fire_at_ms


def _request_cancel(instance: Instance, reason: str, now: int) -> None:
    """The first request counts; its reason stays."""
    if instance.cancel_requested_at_ms is None:
        instance.cancel_requested_at_ms = now
        instance.cancel_reason = reason
        instance.wake(now)


def _start_next_execution(instance: Instance, end: ExecutionEnd, at_ms: int) -> None:
    instance.execution_id += 1
    instance.version = end.next_version or ""
    instance.executions[instance.execution_id] = Execution(
        execution_id=instance.execution_id, version=instance.version, started_at_ms=at_ms, input=end.next_input
    )


def _refuse_finished(instance: Instance) -> None:
    if instance.finished:
        raise InstanceFinishedError(f"instance {instance.instance_id!r} is {instance.status}")


# --- reads -------------------------------------------------------------------------------------------------

_INSTANCE_CURSOR: Final = re.compile(r"i([0-9]{1,19})", re.ASCII)
_EXECUTION_CURSOR: Final = re.compile(r"e([0-9]{1,19})\.([0-9]{1,19})", re.ASCII)


def _parse_cursor(form: re.Pattern[str], cursor: str | None) -> tuple[int, ...] | None:
    if cursor is None:
        return None
    match = form.fullmatch(cursor)
    if match is None:
        raise UsageError(f"{cursor!a} is not a cursor of this listing", hint="take it from the page before")
    return tuple(int(part) for part in match.groups())


def _matches(record: InstanceRecord, where: InstanceFilter) -> bool:
    return (
        (not where.statuses or record.status in where.statuses)
        and (where.name is None or record.name == where.name)
        and (where.blocked is None or (record.blocked is not None) == where.blocked)
    )


def _is_due(at_ms: int | None, now: int) -> bool:
    return at_ms is not None and at_ms <= now


def _live_executions(instance: Instance) -> list[Execution]:
    return [execution for execution in instance.executions.values() if execution.removal is RemovalState.LIVE]


def _instance_record(instance: Instance) -> InstanceRecord:
    return InstanceRecord(
        instance_id=instance.instance_id,
        incarnation=instance.incarnation,
        name=instance.name,
        version=instance.version,
        status=instance.status,
        execution_id=instance.execution_id,
        created_at_ms=instance.created_at_ms,
        updated_at_ms=instance.updated_at_ms,
        completed_at_ms=instance.completed_at_ms,
        event_count=instance.current.event_count,
        history_bytes=instance.current.history_bytes,
        turn_sequence=instance.turn_sequence,
        custom_status=instance.custom_status,
        parent=instance.lineage.parent if instance.lineage is not None else None,
        detached=instance.lineage is not None and instance.lineage.detached,
        cancel_reason=instance.cancel_reason,
        blocked=instance.blocked,
        blocked_reason=instance.blocked_reason,
        attempt_count=instance.attempt_count,
        lease_worker_id=instance.lease_worker_id,
        ready_at_ms=instance.ready_at_ms,
    )


def _execution_record(instance: Instance, execution: Execution) -> ExecutionRecord:
    return ExecutionRecord(
        instance_id=instance.instance_id,
        incarnation=instance.incarnation,
        execution_id=execution.execution_id,
        name=instance.name,
        version=execution.version,
        status=execution.status,
        started_at_ms=execution.started_at_ms,
        completed_at_ms=execution.completed_at_ms,
        event_count=execution.event_count,
        history_bytes=execution.history_bytes,
        removal=execution.removal,
    )


def _usage(name: str, instances: Sequence[Instance], since_ms: int) -> NameUsage:
    executions = [one for instance in instances for one in instance.live_executions().values()]
    recent = [one for one in executions if one.started_at_ms >= since_ms]
    return NameUsage(
        name=name,
        instances=len(instances),
        unfinished=sum(not instance.finished for instance in instances),
        executions=len(executions),
        events=sum(one.event_count for one in executions),
        history_bytes=sum(one.history_bytes for one in executions),
        recent_executions=len(recent),
        recent_bytes=sum(one.history_bytes for one in recent),
    )
