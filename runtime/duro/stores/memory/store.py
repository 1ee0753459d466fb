"""A store in this process's memory: the port in plain dictionaries under one lock.

It exists so that the contract has two implementations that share no logic (what only one store does is a description
of that store), and so that engines and programs can be tested without a disk. It does what ``base`` promises, in the
order it promises it, and nothing clever: it scans where SQLite has an index. Nothing survives the process.

Everything of one instance hangs on its ``Instance``; ``dump`` spreads it over the tables of the migrations.
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import msgspec

from duro import codec
from duro.clock import Clock
from duro.errors import (
    InstanceFinishedError,
    InstanceNotFoundError,
    MailboxFullError,
    StoreClosedError,
)
from duro.model.events import ParentLink
from duro.model.failure import INSTANCE_EXISTS, TERMINATED, FailureDetails
from duro.model.families import OrphanRules
from duro.model.limits import MAILBOX_EVENTS_MAX
from duro.model.records import (
    StartOutcome,
    StartRequest,
)
from duro.model.status import ExecutionStatus, InstanceStatus, ParentPolicy
from duro.model.turns import (
    ChildTerms,
    CommitBatch,
    CommitResult,
    ExecutionEnd,
    FinishActivity,
    MailboxEvent,
    ReleaseInstance,
    RetryActivity,
    StartInstance,
    TurnCommit,
    TurnOutcome,
)
from duro.retention.families import check_asked
from duro.retention.parents import why_ended, word_for, words_of
from duro.stores.base import Store, StoreDump
from duro.stores.memory import rows
from duro.stores.memory.archiving import Archives
from duro.stores.memory.instances import Activity, Child, Execution, Instance, Lineage
from duro.stores.memory.leasing import Leasing
from duro.stores.memory.pruning import Pruning
from duro.stores.memory.reading import Reading


class MemoryStore(Leasing, Reading, Archives, Pruning, Store):
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
        self._instances: dict[int, Instance] = {}
        self._unfinished: dict[int, Instance] = {}
        self._by_id: dict[str, Instance] = {}
        self._children: dict[int, list[Instance]] = defaultdict(list)
        self._begin_leasing()
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
            if orphan is not None:
                found = self._families([orphan[0]])
                check_asked(found[0] if found else None, instance_id, orphan, self._holds.values(), now)
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
