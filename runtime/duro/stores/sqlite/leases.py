"""Leasing: which work is ready, who gets it, and everything a worker needs to begin with it."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeVar

import apsw
import msgspec

from duro import codec
from duro.errors import HistoryFormatError
from duro.model.events import ActivityScheduled
from duro.model.limits import LEASE_BYTES_MAX
from duro.model.turns import LeasedActivity, LeasedInstance, LeaseRequest, LeaseResult, MailboxEvent
from duro.stores.sqlite import sql, workers
from duro.stores.sqlite.committer import Transaction, as_json
from duro.stores.sqlite.texts import TOO_BIG, decoded, row_of, value_of, without_unreadable

T = TypeVar("T")

_ReadyInstance = tuple[int, int]
"""Ready since (ms), incarnation."""

_ReadyActivity = tuple[int, int, int, int, int, int, int, str, str, str | None]
"""Visible since (ms), incarnation, execution, event, attempt, epoch, scheduled at (ms), name, instance id, event."""

_FEWER: Final = 8
"""Where the work that is ready is too much to be read at once, an eighth of it is tried."""

_ANY_NUMBER: Final = 2**30
"""More than anybody asks for."""

_DELIVERIES_AT_ONCE: Final = 64
"""Messages, and events of a name, of an instance for which more is there than can be read at once; the rest follows
with its next turn."""

_ActivityKind = tuple[list[_ReadyActivity], int | None]
"""What ``READY_WORK`` says about one name: the ready ones, and when the next one is (ms)."""

_ready_instances = msgspec.json.Decoder(list[tuple[list[_ReadyInstance], int | None]])
_ready_activities = msgspec.json.Decoder(list[_ActivityKind])
_leased_instances = msgspec.json.Decoder(list[LeasedInstance])
_waits = msgspec.json.Decoder(list[tuple[int, list[str]]])
_mailbox_heads = msgspec.json.Decoder(list[tuple[int, list[MailboxEvent]]])


class Pace:
    """What the leases of a store remember from one to the next: which kind is served first, and how many instances and
    activities are not too much at once (``LEASE_BYTES_MAX``). Sizes are known only when they are read."""

    def __init__(self) -> None:
        self.rotation = 0
        self.instances_max = self.activities_max = _ANY_NUMBER

    def read_instances(self, count: int, size_bytes: int) -> None:
        self.instances_max = _next_max(self.instances_max, count, size_bytes)

    def read_activities(self, count: int, size_bytes: int) -> None:
        self.activities_max = _next_max(self.activities_max, count, size_bytes)


def _next_max(now_max: int, count: int, size_bytes: int) -> int:
    """How many to read next time, after so many were of that size."""
    if size_bytes > LEASE_BYTES_MAX:
        return max(count * LEASE_BYTES_MAX // size_bytes, 1)
    return min(2 * now_max, _ANY_NUMBER)


def look(connection: apsw.Connection, now_ms: int, worker_id: str, request: LeaseRequest) -> LeaseResult | None:
    """The answer to a lease that finds nothing to do, without a write transaction; None when there is something."""
    scope = (now_ms, worker_id, as_json(request.orchestrations), as_json(request.activities))
    row: Any = connection.execute(sql.EARLIEST_WORK, scope).fetchone()
    expired, registered, instance_ms, activity_ms = row
    if expired != "[]":
        return None
    if not registered:
        return LeaseResult()
    if request.instances_max > 0 and instance_ms is not None and instance_ms <= now_ms:
        return None
    if activity_ms is not None and activity_ms <= now_ms:
        if request.activities_max > 0:
            return None
        answer = row_of(connection, sql.READY_WORK, _activity_scope(now_ms, worker_id, request, 1))
        kinds, readable = _readable_activities(connection, now_ms, worker_id, request, answer[3])
        activity_ms = _earliest((*(rows[0][0][0] for rows in readable if rows), *(later for _, later in kinds)))
    return LeaseResult(next_ready_at_ms=_earliest((instance_ms, activity_ms)))


def lease(
    transaction: Transaction, worker_id: str, request: LeaseRequest, pace: Pace, *, likely: bool = False
) -> LeaseResult:
    """Take work for a worker.

    A worker without a row gets nothing: nobody would ever find that it has gone. Unless it is ``likely`` that there is
    work, the cheap question goes first: most commits of a busy worker find nothing new, and ``READY_WORK`` costs more
    whatever it finds.
    """
    nothing = None if likely else look(transaction.connection, transaction.now_ms, worker_id, request)
    if nothing is not None:
        return nothing
    request, (expired, registered, instances, activities) = _ready_work(transaction, worker_id, request, pace)
    if expired != "[]":
        workers.release_expired(transaction)
        request, (_, registered, instances, activities) = _ready_work(transaction, worker_id, request, pace)
    if not registered:
        return LeaseResult()
    pace.rotation += 1
    leased, instances_next = _lease_instances(transaction, worker_id, request.instances_max, instances, pace)
    taken, activities_next = _lease_activities(transaction, worker_id, request, activities, pace.rotation)
    return LeaseResult(
        instances=leased, activities=taken, next_ready_at_ms=_earliest((instances_next, activities_next))
    )


def _ready_work(
    transaction: Transaction, worker_id: str, request: LeaseRequest, pace: Pace
) -> tuple[LeaseRequest, Any]:
    """The answer of ``READY_WORK``; to a request for fewer activities where their inputs are too much at once."""
    while True:
        if request.activities_max > pace.activities_max:
            request = msgspec.structs.replace(request, activities_max=pace.activities_max)
        scope = (
            transaction.now_ms,
            worker_id,
            as_json(request.orchestrations),
            request.instances_max + 1,
            as_json(request.activities),
            request.activities_max + 1,
        )
        try:
            row = row_of(transaction.connection, sql.READY_WORK, scope)
        except TOO_BIG:
            if request.activities_max <= 1 or not transaction.connection.in_transaction:
                raise
            pace.activities_max = max(request.activities_max // _FEWER, 1)
        else:
            pace.read_activities(request.activities_max, len(row[3]))
            return request, row


def _earliest(times: Iterable[int | None]) -> int | None:
    return min((time for time in times if time is not None), default=None)


def deal(queues: Sequence[Sequence[T]], count_max: int, rotation: int) -> list[list[T]]:
    """Which items of each queue to take: one of every queue in turn, beginning with another one each time, so that a
    thousand of one kind do not keep another kind waiting."""
    taken = [0] * len(queues)
    open_queues = [(rotation + n) % len(queues) for n in range(len(queues))] if queues else []
    open_queues = [n for n in open_queues if queues[n]]
    room = count_max
    while open_queues and room > 0:
        share = max(room // len(open_queues), 1)
        for n in open_queues[:room]:
            take = min(share, len(queues[n]) - taken[n])
            taken[n] += take
            room -= take
        open_queues = [n for n in open_queues if taken[n] < len(queues[n])]
    return [list(queue[:count]) for queue, count in zip(queues, taken, strict=True)]


# --- instances -----------------------------------------------------------------------------------------------


def _lease_instances(
    transaction: Transaction, worker_id: str, count_max: int, ready_work: str, pace: Pace
) -> tuple[tuple[LeasedInstance, ...], int | None]:
    """What was leased of the instances in ``READY_WORK``'s answer, and when the earliest of the others is ready."""
    kinds = _ready_instances.decode(ready_work)
    dealt = deal([ready for ready, _ in kinds], min(count_max, pace.instances_max), pace.rotation)
    left = (ready[len(taken)][0] for (ready, _), taken in zip(kinds, dealt, strict=True) if len(ready) > len(taken))
    next_ms = _earliest((*left, *(later for _, later in kinds)))
    chosen = [incarnation for taken in dealt for _, incarnation in taken]
    if not chosen:
        return (), next_ms
    deliveries_max = -1
    while True:
        try:
            leased, size_bytes = _read(transaction, chosen, deliveries_max)
            pace.read_instances(len(chosen), size_bytes)
            break
        except TOO_BIG:
            if deliveries_max == 1 or not transaction.connection.in_transaction:
                raise
            if len(chosen) > 1:
                pace.instances_max = max(len(chosen) // _FEWER, 1)
                chosen, next_ms = chosen[: pace.instances_max], transaction.now_ms
            else:
                deliveries_max = _DELIVERIES_AT_ONCE if deliveries_max < 0 else max(deliveries_max // _FEWER, 1)
    transaction.run(sql.LEASE_INSTANCES, (as_json(chosen), worker_id))
    return leased, next_ms


def _read(transaction: Transaction, chosen: list[int], deliveries_max: int) -> tuple[tuple[LeasedInstance, ...], int]:
    """The instances as they will be when they are leased, with up to so many messages, and as many events of each name
    they wait for (-1: all); and how large that is without the events."""
    scope = (as_json(chosen), transaction.now_ms, deliveries_max)
    instances, waits = row_of(transaction.connection, sql.LEASED_INSTANCES, scope)
    leased = _with_mailboxes(transaction, decoded(_leased_instances, instances), waits, deliveries_max)
    return leased, len(instances)


def _with_mailboxes(
    transaction: Transaction, instances: list[LeasedInstance], waits: str, deliveries_max: int
) -> tuple[LeasedInstance, ...]:
    """The instances with the mailbox events they wait for, in order of arrival."""
    if waits == "[]":
        return tuple(instances)
    by_count: defaultdict[int, list[tuple[int, str]]] = defaultdict(list)
    for incarnation, names in _waits.decode(waits):
        for name in dict.fromkeys(names):
            count = names.count(name)
            by_count[count if deliveries_max < 0 else min(count, deliveries_max)].append((incarnation, name))
    events: defaultdict[int, list[MailboxEvent]] = defaultdict(list)
    for count, waited_for in by_count.items():
        answer = value_of(transaction.connection, sql.MAILBOX_HEADS, (as_json(waited_for), count))
        for incarnation, head in decoded(_mailbox_heads, answer):
            events[incarnation] += head
    return tuple(
        msgspec.structs.replace(instance, mailbox=tuple(sorted(found, key=lambda event: event.sequence)))
        if (found := events.get(instance.incarnation))
        else instance
        for instance in instances
    )


# --- activities ----------------------------------------------------------------------------------------------


def _lease_activities(
    transaction: Transaction, worker_id: str, request: LeaseRequest, ready_work: str, rotation: int
) -> tuple[tuple[LeasedActivity, ...], int | None]:
    """As ``_lease_instances``. An activity whose scheduled event cannot be read stays and stops nobody."""
    connection, now = transaction.connection, transaction.now_ms
    kinds, readable = _readable_activities(connection, now, worker_id, request, ready_work)
    if request.activities_max_of:
        maxima = [request.activities_max_of.get(name) for name in request.activities]
        readable = [rows[:count_max] for rows, count_max in zip(readable, maxima, strict=True)]
    dealt = deal(readable, request.activities_max, rotation)
    left = (rows[len(taken)][0][0] for rows, taken in zip(readable, dealt, strict=True) if len(rows) > len(taken))
    next_ms = _earliest((*left, *(later for _, later in kinds)))
    chosen = [pair for taken in dealt for pair in taken]
    transaction.rows(sql.LEASE_ACTIVITIES, [(row[1], row[2], row[3]) for row, _ in chosen], (worker_id,))
    return tuple(_leased_activity(row, event) for row, event in chosen), next_ms


def _activity_scope(now_ms: int, worker_id: str, request: LeaseRequest, count: int) -> tuple[int | str, ...]:
    """What ``READY_WORK`` takes to answer with activities only, up to ``count`` of a name."""
    return (now_ms, worker_id, "[]", 0, as_json(request.activities), count)


def _readable_activities(
    connection: apsw.Connection, now_ms: int, worker_id: str, request: LeaseRequest, ready_work: str
) -> tuple[list[_ActivityKind], list[list[tuple[_ReadyActivity, ActivityScheduled]]]]:
    """The answer, and of each name the activities whose event can be read. Where others take their room in it, a longer
    answer is asked for."""
    asked = request.activities_max + 1
    while True:
        kinds = _decoded(ready_work)
        readable = [[(row, event) for row in ready if (event := _scheduled(row[9])) is not None] for ready, _ in kinds]
        crowded = (
            len(ready) == asked and len(good) <= request.activities_max
            for (ready, _), good in zip(kinds, readable, strict=True)
        )
        if not any(crowded):
            return kinds, readable
        asked *= 4
        answer = row_of(connection, sql.READY_WORK, _activity_scope(now_ms, worker_id, request, asked))
        ready_work = answer[3]


def _decoded(ready_work: str) -> list[_ActivityKind]:
    try:
        return _ready_activities.decode(ready_work)
    except UnicodeEncodeError:  # an event that is no UTF-8 is as good as none
        return _ready_activities.decode(without_unreadable(ready_work))


def _scheduled(data: str | None) -> ActivityScheduled | None:
    if data is None:
        return None
    try:
        event = codec.decode_event(data)
    except HistoryFormatError:
        return None
    return event if isinstance(event, ActivityScheduled) else None


def _leased_activity(row: _ReadyActivity, event: ActivityScheduled) -> LeasedActivity:
    return LeasedActivity(
        instance_id=row[8],
        incarnation=row[1],
        execution_id=row[2],
        event_id=row[3],
        name=row[7],
        attempt=row[4],
        lease_epoch=row[5] + 1,
        scheduled_at_ms=row[6],
        input=bytes(event.input).decode(),
        retry=event.retry,
        attempt_timeout_s=event.attempt_timeout_s,
        total_timeout_s=event.total_timeout_s,
    )
