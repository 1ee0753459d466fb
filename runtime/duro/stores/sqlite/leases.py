"""Leasing: which work is ready, who gets it, and everything a worker needs to begin with it."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, chain, takewhile, zip_longest
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

import apsw
import msgspec

from duro import codec
from duro.errors import HistoryFormatError
from duro.model.events import ActivityScheduled
from duro.model.limits import LEASE_BYTES_MAX
from duro.model.turns import LeasedActivity, LeasedInstance, LeaseRequest, LeaseResult, MailboxEvent
from duro.stores.sqlite import sql, workers
from duro.stores.sqlite.committer import Transaction, as_json
from duro.stores.sqlite.texts import decoded, row_of, value_of

T = TypeVar("T")

_ReadyInstance = tuple[int, int]
"""Ready since (ms), incarnation."""

_ReadyActivity = tuple[int, int, int, int, int, int, int, str, str, int | None]
"""Visible since (ms), incarnation, execution, event, attempt, epoch, scheduled at (ms), name, instance id, bytes of the
event; None: it is not there."""

_READ_AT_ONCE: Final = 16
"""Events of a name, to find one that can be read."""

_ActivityKey: TypeAlias = tuple[int, int, int]
"""Incarnation, execution, event."""

_ActivityKind = tuple[list[_ReadyActivity], int | None]
"""What ``READY_WORK`` says about one name: the ready ones, and when the next one is (ms)."""

_ready_instances = msgspec.json.Decoder(list[tuple[list[_ReadyInstance], int | None]])
_ready_activities = msgspec.json.Decoder(list[_ActivityKind])
_leased_instances = msgspec.json.Decoder(list[LeasedInstance])
_sizes = msgspec.json.Decoder(list[tuple[int, int, list[str]]])
"""Incarnation, bytes of its input and messages, the names it waits for."""
_message_sizes = msgspec.json.Decoder(list[int])
_head_sizes = msgspec.json.Decoder(list[tuple[int, str, int, int]])
"""Incarnation, name, sequence, bytes, in order of arrival."""
_mailbox_heads = msgspec.json.Decoder(list[tuple[int, list[MailboxEvent]]])
_events = msgspec.json.Decoder(list[tuple[int, int, int, str]])


class Rotation:
    """Which kind of work is served first: another one with every lease of a store."""

    def __init__(self) -> None:
        self.place = 0


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
        activities = _Activities(connection, now_ms, worker_id, request, answer[3])
        activity_ms = activities.earliest_ms()
    return LeaseResult(next_ready_at_ms=_earliest((instance_ms, activity_ms)))


def lease(
    transaction: Transaction, worker_id: str, request: LeaseRequest, rotation: Rotation, *, likely: bool = False
) -> LeaseResult:
    """Take work for a worker.

    A worker without a row gets nothing: nobody would ever find that it has gone. Unless it is ``likely`` that there is
    work, the cheap question goes first: most commits of a busy worker find nothing new, and ``READY_WORK`` costs more
    whatever it finds.
    """
    nothing = None if likely else look(transaction.connection, transaction.now_ms, worker_id, request)
    if nothing is not None:
        return nothing
    expired, registered, instances, activities = _ready_work(transaction, worker_id, request)
    if expired != "[]":
        workers.release_expired(transaction)
        _, registered, instances, activities = _ready_work(transaction, worker_id, request)
    if not registered:
        return LeaseResult()
    rotation.place += 1
    leased, instances_next = _lease_instances(transaction, worker_id, request.instances_max, instances, rotation.place)
    taken, activities_next = _lease_activities(transaction, worker_id, request, activities, rotation.place)
    return LeaseResult(
        instances=leased, activities=taken, next_ready_at_ms=_earliest((instances_next, activities_next))
    )


def _ready_work(transaction: Transaction, worker_id: str, request: LeaseRequest) -> Any:
    scope = (
        transaction.now_ms,
        worker_id,
        as_json(request.orchestrations),
        request.instances_max + 1,
        as_json(request.activities),
        request.activities_max + 1,
    )
    return row_of(transaction.connection, sql.READY_WORK, scope)


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


def _in_turn(queues: Sequence[Sequence[T]], rotation: int) -> list[T]:
    """All items, one of every queue after the other, beginning with the one that ``rotation`` says."""
    first = rotation % len(queues) if queues else 0
    rounds = zip_longest(*queues[first:], *queues[:first], fillvalue=None)
    return [item for item in chain.from_iterable(rounds) if item is not None]


def _number_within(sizes: Iterable[int]) -> int:
    """How many of the first are no more than ``LEASE_BYTES_MAX`` together; at least one."""
    return max(sum(1 for _ in takewhile(lambda total: total <= LEASE_BYTES_MAX, accumulate(sizes))), 1)


# --- instances -----------------------------------------------------------------------------------------------


def _lease_instances(
    transaction: Transaction, worker_id: str, count_max: int, ready_work: str, rotation: int
) -> tuple[tuple[LeasedInstance, ...], int | None]:
    """What was leased of the instances in ``READY_WORK``'s answer, and when the earliest of the others is ready."""
    kinds = _ready_instances.decode(ready_work)
    dealt = deal([ready for ready, _ in kinds], count_max, rotation)
    left = (ready[len(taken)][0] for (ready, _), taken in zip(kinds, dealt, strict=True) if len(ready) > len(taken))
    next_ms = _earliest((*left, *(later for _, later in kinds)))
    chosen = [incarnation for taken in dealt for _, incarnation in taken]
    if not chosen:
        return (), next_ms
    connection = transaction.connection
    sized = decoded(_sizes, value_of(connection, sql.LEASE_SIZES, (as_json(chosen),)))
    sizes = {incarnation: size for incarnation, size, _ in sized}
    heads = _heads(connection, [(incarnation, names) for incarnation, _, names in sized if names])
    for incarnation, waited_for in heads.items():
        sizes[incarnation] += sum(head.size for head in waited_for)
    messages_max, timers = -1, True
    if sum(sizes.values()) > LEASE_BYTES_MAX:
        in_turn = [incarnation for _, incarnation in _in_turn(dealt, rotation) if incarnation in sizes]
        chosen = in_turn[: _number_within(sizes[incarnation] for incarnation in in_turn)]
        next_ms = transaction.now_ms
        if sizes[chosen[0]] > LEASE_BYTES_MAX:
            messages_max, timers, heads[chosen[0]] = _as_much_as_fits(connection, chosen[0], heads[chosen[0]])
    scope = (as_json(chosen), transaction.now_ms, messages_max, timers)
    leased = decoded(_leased_instances, value_of(connection, sql.LEASED_INSTANCES, scope))
    answer = _with_mailboxes(connection, leased, heads)
    transaction.run(sql.LEASE_INSTANCES, (as_json(chosen), worker_id))
    return answer, next_ms


class _Head(NamedTuple):
    """A mailbox event that an instance waits for."""

    sequence: int
    name: str
    size: int


def _heads(connection: apsw.Connection, waiting: Iterable[tuple[int, Sequence[str]]]) -> defaultdict[int, list[_Head]]:
    """By incarnation, in order of arrival: of each name that it waits for as many as that."""
    by_count: defaultdict[int, list[tuple[int, str]]] = defaultdict(list)
    for incarnation, names in waiting:
        for name, count in Counter(names).items():
            by_count[count].append((incarnation, name))
    heads: defaultdict[int, list[_Head]] = defaultdict(list)
    for count, waited_for in by_count.items():
        answer = value_of(connection, sql.MAILBOX_SIZES, (as_json(waited_for), count))
        for incarnation, name, sequence, size in decoded(_head_sizes, answer):
            heads[incarnation].append(_Head(sequence, name, size))
    for found in heads.values():
        found.sort()
    return heads


def _as_much_as_fits(
    connection: apsw.Connection, incarnation: int, heads: list[_Head]
) -> tuple[int, bool, list[_Head]]:
    """Of an instance for which more is there than is handed out at once: the number of its messages, whether its timers
    fire, and its events, as many as there is still room for; at least one message or event. The rest follows with its
    next turn. Timers come after the last message: an answer that was in time is not overtaken by its time-out."""
    messages = _message_sizes.decode(str(value_of(connection, sql.MESSAGE_SIZES, (incarnation,))))
    sizes = [*messages, *(head.size for head in heads)]
    count = _number_within(sizes)
    return min(count, len(messages)), count >= len(messages), heads[: max(count - len(messages), 0)]


def _with_mailboxes(
    connection: apsw.Connection, instances: Sequence[LeasedInstance], heads: Mapping[int, Sequence[_Head]]
) -> tuple[LeasedInstance, ...]:
    """The instances with the mailbox events of ``heads``, in order of arrival."""
    if not heads:
        return tuple(instances)
    by_count: defaultdict[int, list[tuple[int, str]]] = defaultdict(list)
    for incarnation in {instance.incarnation for instance in instances} & heads.keys():
        for name, count in Counter(head.name for head in heads[incarnation]).items():
            by_count[count].append((incarnation, name))
    events: defaultdict[int, list[MailboxEvent]] = defaultdict(list)
    for count, waited_for in by_count.items():
        answer = value_of(connection, sql.MAILBOX_HEADS, (as_json(waited_for), count))
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
    activities = _Activities(transaction.connection, transaction.now_ms, worker_id, request, ready_work)
    chosen, next_ms = activities.choose(rotation)
    transaction.rows(sql.LEASE_ACTIVITIES, [_key(row) for row, _ in chosen], (worker_id,))
    return tuple(_leased_activity(row, event) for row, event in chosen), next_ms


class _Activities:
    """The activities in ``READY_WORK``'s answer ``ready_work``. Their events are read when they are chosen: those that
    cannot be read are as good as not there."""

    def __init__(
        self, connection: apsw.Connection, now_ms: int, worker_id: str, request: LeaseRequest, ready_work: str
    ) -> None:
        self._connection = connection
        self._now_ms = now_ms
        self._worker_id = worker_id
        self._request = request
        self._ready_work = ready_work
        self._events: dict[_ActivityKey, ActivityScheduled | None] = {}

    def earliest_ms(self) -> int | None:
        """When there is one that can be read."""
        while True:
            kinds, ready = self._ready(1)
            self._read([row for rows in ready for row in rows[:_READ_AT_ONCE]])
            first = [rows[0] for rows in ready if rows]
            if all(self._may_be_read(row) for row in first):
                return _earliest((*(row[0] for row in first), *(later for _, later in kinds)))

    def choose(self, rotation: int) -> tuple[list[tuple[_ReadyActivity, ActivityScheduled]], int | None]:
        """Which to take, and when the earliest of the others is ready."""
        request = self._request
        while True:
            kinds, ready = self._ready(request.activities_max + 1)
            if request.activities_max_of:
                maxima = [request.activities_max_of.get(name) for name in request.activities]
                ready = [rows[:count_max] for rows, count_max in zip(ready, maxima, strict=True)]
            dealt = deal(ready, request.activities_max, rotation)
            chosen = [row for taken in dealt for row in taken]
            if sum(row[9] or 0 for row in chosen) > LEASE_BYTES_MAX:
                in_turn = _in_turn(dealt, rotation)
                chosen = in_turn[: _number_within(row[9] or 0 for row in in_turn)]
            self._read(chosen)
            if all(self._may_be_read(row) for row in chosen):
                break
        taken = {_key(row) for row in chosen}
        left = (row[0] for rows in ready if (row := next((each for each in rows if _key(each) not in taken), None)))
        next_ms = _earliest((*left, *(later for _, later in kinds)))
        return [(row, event) for row in chosen if (event := self._events[_key(row)]) is not None], next_ms

    def _ready(self, count: int) -> tuple[list[_ActivityKind], list[list[_ReadyActivity]]]:
        """The answer, and of each name those of which it is not known that they cannot be read. Where such ones take
        the room of others in it, a longer answer is asked for: ``count`` of a name are needed."""
        asked = count
        while True:
            kinds = decoded(_ready_activities, self._ready_work)
            ready = [[row for row in rows if self._may_be_read(row)] for rows, _ in kinds]
            crowded = (len(rows) >= asked and len(good) < count for (rows, _), good in zip(kinds, ready, strict=True))
            if not any(crowded):
                return kinds, ready
            asked = 4 * max(asked, max(len(rows) for rows, _ in kinds))
            scope = _activity_scope(self._now_ms, self._worker_id, self._request, asked)
            self._ready_work = row_of(self._connection, sql.READY_WORK, scope)[3]

    def _may_be_read(self, row: _ReadyActivity) -> bool:
        return row[9] is not None and self._events.get(_key(row), row) is not None

    def _read(self, rows: Sequence[_ReadyActivity]) -> None:
        unread = [key for row in rows if (key := _key(row)) not in self._events]
        if unread:
            answer = value_of(self._connection, sql.SCHEDULED_EVENTS, (as_json(unread),))
            found = {(n, execution, event): data for n, execution, event, data in decoded(_events, answer)}
            self._events |= {key: _scheduled(found.get(key)) for key in unread}


def _key(row: _ReadyActivity) -> _ActivityKey:
    return row[1], row[2], row[3]


def _activity_scope(now_ms: int, worker_id: str, request: LeaseRequest, count: int) -> tuple[int | str, ...]:
    """What ``READY_WORK`` takes to answer with activities only, up to ``count`` of a name."""
    return (now_ms, worker_id, "[]", 0, as_json(request.activities), count)


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
