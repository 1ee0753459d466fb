"""The memory store's workers, and what they lease of it."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

from duro import codec
from duro.errors import HistoryFormatError
from duro.model.events import ActivityScheduled
from duro.model.records import WorkerRecord
from duro.model.status import BlockedKind
from duro.model.turns import (
    DueTimer,
    LastCommit,
    LeasedActivity,
    LeasedInstance,
    LeaseRequest,
    LeaseResult,
    QueuedMessage,
)
from duro.stores.memory.families import Removed
from duro.stores.memory.instances import Instance

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate(Generic[T]):
    """Work that could be leased from ``at_ms`` on. ``key`` breaks ties, oldest first."""

    kind: tuple[str, ...]
    at_ms: int
    key: tuple[int, ...]
    item: T


class Leasing:
    """Part of ``MemoryStore``, which has the instances and the lock."""

    _instances: dict[int, Instance]
    _unfinished: dict[int, Instance]
    _removed: dict[int, Removed]
    _transaction: Callable[[], AbstractContextManager[int]]
    _changed: Callable[[], None]
    _register_publication: Callable[[WorkerRecord, int], None]

    def _begin_leasing(self) -> None:
        self._maintenance: tuple[str, int] | None = None
        self._workers: dict[str, WorkerRecord] = {}

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

    def renew_worker(self, worker_id: str, lease_ms: int, *, threads_stuck: int = 0) -> bool:
        with self._transaction() as now:
            worker = self._workers.get(worker_id)
            if worker is None:
                return False
            self._workers[worker_id] = msgspec.structs.replace(
                worker, lease_until_ms=now + lease_ms, threads_stuck=threads_stuck
            )
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
        history_bytes=instance.current.history_bytes,
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
