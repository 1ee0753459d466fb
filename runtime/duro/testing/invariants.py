"""What is true of every store at every moment: the promises of the design that can be seen in a dump.

Each invariant is a pure function from a dump to what it found wrong, in sentences; none found is an empty list.
``check_invariants`` runs them all. They run after every test of the store contract and after every step of the
property tests.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import msgspec

from duro import codec
from duro.errors import HistoryFormatError
from duro.model import events as ev
from duro.model.limits import MAILBOX_EVENTS_MAX
from duro.model.messages import AnyMessage
from duro.model.status import FINAL_INSTANCE_STATUSES
from duro.stores.base import Store, StoreDump
from duro.testing.family_invariants import FAMILY_INVARIANTS
from duro.testing.prune_invariants import PRUNE_INVARIANTS

Invariant: TypeAlias = Callable[[StoreDump], list[str]]
Row: TypeAlias = dict[str, Any]
ExecutionKey: TypeAlias = tuple[int, int]
"""(incarnation, execution id)"""


def check_invariants(store_or_dump: Store | StoreDump) -> None:
    """Raises AssertionError with everything that any of ``INVARIANTS`` found wrong."""
    dump = store_or_dump.dump() if isinstance(store_or_dump, Store) else store_or_dump
    shared = _shared_view.set((dump, _made_view(dump)))
    try:
        found = [f"{invariant.__name__}: {finding}" for invariant in INVARIANTS for finding in invariant(dump)]
    finally:
        _shared_view.reset(shared)
    if found:
        raise AssertionError("\n".join(["the store broke its invariants:", *found]))


# --- a dump, by key ----------------------------------------------------------------------------------------

_FINAL: Final = frozenset(str(status) for status in FINAL_INSTANCE_STATUSES)
_UNFINISHED_EXECUTION: Final = frozenset({"pending", "running"})
_LAST_EVENTS: Final = MappingProxyType(
    {
        "completed": ev.OrchestrationCompleted,
        "failed": ev.OrchestrationFailed,
        "cancelled": ev.OrchestrationCancelled,
        "terminated": ev.OrchestrationTerminated,
        "continued_as_new": ev.OrchestrationContinuedAsNew,
    }
)
_ASKS_FOR_AN_ANSWER: Final = (
    ev.ActivityScheduled,
    ev.TimerCreated,
    ev.EventWaitStarted,
    ev.SubOrchestrationScheduled,
    ev.HistoryPruneRequested,
)
_ANSWERS: Final = (
    ev.ActivityCompleted,
    ev.ActivityFailed,
    ev.TimerFired,
    ev.EventReceived,
    ev.SubOrchestrationCompleted,
    ev.SubOrchestrationFailed,
    ev.HistoryPruned,
)
_WITHDRAWALS: Final = (ev.ActivityCancelRequested, ev.TimerCancelled, ev.EventWaitCancelled)
"""After one of these nothing is owed any more. A cancelled child still ends, and its parent ignores how."""


@dataclass(frozen=True, slots=True)
class _Execution:
    """An execution row with its decoded events by event id, None for one that cannot be read."""

    row: Row
    events: dict[int, ev.AnyEvent | None]

    @property
    def unfinished(self) -> bool:
        return self.row["status"] in _UNFINISHED_EXECUTION

    def answered(self) -> Counter[int]:
        """How often each scheduled event was answered."""
        return Counter(event.scheduled_event_id for event in self.events.values() if isinstance(event, _ANSWERS))

    def children_given_up(self) -> set[int]:
        """Scheduled events of children that this execution waits for no longer."""
        return {
            event.scheduled_event_id
            for event in self.events.values()
            if isinstance(event, ev.SubOrchestrationCancelRequested)
        }

    def owed(self, *kinds: type[ev.Event]) -> Iterator[tuple[int, Any]]:
        """The scheduled events of these kinds that still wait for an answer."""
        settled = set(self.answered())
        settled |= {event.scheduled_event_id for event in self.events.values() if isinstance(event, _WITHDRAWALS)}
        for event_id, event in self.events.items():
            if isinstance(event, kinds) and event_id not in settled:
                yield event_id, event


@dataclass(frozen=True, slots=True)
class _View:
    instances: dict[int, Row]
    removed: dict[int, Row]
    executions: dict[ExecutionKey, _Execution]
    children: dict[tuple[int, int, int], Row]
    messages: dict[int, list[AnyMessage]]
    """The readable messages in each instance's queue."""

    def current(self, incarnation: int) -> _Execution | None:
        instance = self.instances.get(incarnation)
        return self.executions.get((incarnation, instance["execution_id"])) if instance is not None else None

    def unfinished_executions(self) -> Iterator[tuple[ExecutionKey, _Execution]]:
        return ((key, execution) for key, execution in self.executions.items() if execution.unfinished)

    def is_queued(self, key: ExecutionKey, event_id: int) -> bool:
        """Whether the answer to a scheduled event waits in the instance's queue."""
        incarnation, execution_id = key
        return any(
            (message.execution_id, message.scheduled_event_id) == (execution_id, event_id)
            for message in self.messages.get(incarnation, ())
        )


@cache
def _decode_event(data: str) -> ev.AnyEvent | None:
    try:
        return codec.decode_event(data)
    except HistoryFormatError:
        return None


def _decode_message(data: str) -> AnyMessage | None:
    try:
        return codec.decode_message(data)
    except HistoryFormatError:
        return None


_shared_view: ContextVar[tuple[StoreDump, _View] | None] = ContextVar("_shared_view", default=None)
"""Of the dump that is being checked as a whole: made once for all invariants."""


def _view(dump: StoreDump) -> _View:
    shared = _shared_view.get()
    return shared[1] if shared is not None and shared[0] is dump else _made_view(dump)


def _made_view(dump: StoreDump) -> _View:
    going = {row["incarnation"] for row in dump["removed_instances"] if row["reclaiming"]}
    whole = [row for row in dump["executions"] if row["removal"] != "reclaiming" and row["incarnation"] not in going]
    executions = {_execution_key(row): _Execution(row, {}) for row in whole}
    for row in dump["history"]:
        execution = executions.get(_execution_key(row))
        if execution is not None:
            execution.events[row["event_id"]] = _decode_event(row["data"])
    messages = defaultdict(list)
    for row in dump["messages"]:
        message = _decode_message(row["data"])
        if message is not None:
            messages[row["incarnation"]].append(message)
    return _View(
        instances={row["incarnation"]: row for row in dump["instances"]},
        removed={row["incarnation"]: row for row in dump["removed_instances"]},
        executions=executions,
        children={_spawner_key(row): row for row in dump["lineage"]},
        messages=dict(messages),
    )


def _execution_key(row: Row) -> ExecutionKey:
    return row["incarnation"], row["execution_id"]


def _spawner_key(row: Row) -> tuple[int, int, int]:
    return row["parent_incarnation"], row["parent_execution_id"], row["parent_event_id"]


# --- rows have owners (promise 9: no orphan rows) ------------------------------------------------------------


def every_row_has_its_instance(dump: StoreDump) -> list[str]:
    """What is queued belongs to one that is there; the rest may be of one that is removed and not yet reclaimed."""
    there = {row["incarnation"] for row in dump["instances"]}
    removed = {row["incarnation"] for row in dump["removed_instances"]}
    owners = dict.fromkeys(("messages", "mailbox", "timers", "activities"), there)
    owners |= dict.fromkeys(("executions", "history", "requests"), there | removed)
    return [
        f"{table} row {row} belongs to no instance"
        for table, incarnations in owners.items()
        for row in dump[table]
        if row["incarnation"] not in incarnations
    ]


def every_history_row_has_its_execution(dump: StoreDump) -> list[str]:
    keys = {_execution_key(row) for row in dump["executions"]}
    return [
        f"event {row['event_id']} of {_execution_key(row)} has no execution"
        for row in dump["history"]
        if _execution_key(row) not in keys
    ]


def every_instance_has_its_current_execution(dump: StoreDump) -> list[str]:
    view = _view(dump)
    return [f"instance {key} has no current execution" for key in view.instances if view.current(key) is None]


def lineage_lives_as_long_as_the_child(dump: StoreDump) -> list[str]:
    incarnations = {row["incarnation"] for table in ("instances", "removed_instances") for row in dump[table]}
    return [
        f"lineage of {row['child_incarnation']}, which is gone"
        for row in dump["lineage"]
        if row["child_incarnation"] not in incarnations
    ]


def every_lease_has_its_worker(dump: StoreDump) -> list[str]:
    """A lease without a worker's row would never expire."""
    workers = {row["worker_id"] for row in dump["workers"]}
    return [
        f"{table} row {row} is leased to a worker without a row"
        for table in ("instances", "activities")
        for row in dump[table]
        if row["lease_worker_id"] is not None and row["lease_worker_id"] not in workers
    ] + [
        f"capability {row} of a worker without a row" for row in dump["capabilities"] if row["worker_id"] not in workers
    ]


def every_lease_has_an_epoch(dump: StoreDump) -> list[str]:
    return [
        f"{table} row {row} is leased under epoch {row['lease_epoch']}"
        for table in ("instances", "activities")
        for row in dump[table]
        if row["lease_worker_id"] is not None and row["lease_epoch"] < 1
    ]


# --- histories (promise 1: a turn is one transaction) --------------------------------------------------------


def event_ids_run_from_one(dump: StoreDump) -> list[str]:
    return [
        f"execution {key} counts {execution.row['event_count']} events and has {sorted(execution.events)}"
        for key, execution in _view(dump).executions.items()
        if sorted(execution.events) != list(range(1, execution.row["event_count"] + 1))
    ]


def events_know_their_ids(dump: StoreDump) -> list[str]:
    return [
        f"row {event_id} of execution {key} holds event {event.event_id}"
        for key, execution in _view(dump).executions.items()
        for event_id, event in execution.events.items()
        if event is not None and event.event_id != event_id
    ]


def history_bytes_are_the_bytes_of_the_events(dump: StoreDump) -> list[str]:
    measured: Counter[ExecutionKey] = Counter()
    for row in dump["history"]:
        measured[_execution_key(row)] += len(row["data"].encode())
    return [
        f"execution {key} counts {execution.row['history_bytes']} bytes and has {measured[key]}"
        for key, execution in _view(dump).executions.items()
        if execution.row["history_bytes"] != measured[key]
    ]


def histories_begin_with_their_start(dump: StoreDump) -> list[str]:
    """The exception: an execution terminated before its first turn has nothing but that event."""
    found = []
    for key, execution in _view(dump).executions.items():
        first = execution.events.get(1)
        terminated_unstarted = isinstance(first, ev.OrchestrationTerminated) and len(execution.events) == 1
        if first is not None and not isinstance(first, ev.OrchestrationStarted) and not terminated_unstarted:
            found.append(f"execution {key} begins with {type(first).__name__}")
        if any(isinstance(event, ev.OrchestrationStarted) for number, event in execution.events.items() if number > 1):
            found.append(f"execution {key} starts twice")
    return found


def pending_executions_have_no_history(dump: StoreDump) -> list[str]:
    found = []
    for row in dump["executions"]:
        pending = row["status"] == "pending"
        if pending and row["event_count"]:
            found.append(f"execution {_execution_key(row)} is pending and has {row['event_count']} events")
        if pending != (row["input"] is not None) and row["status"] != "terminated":
            found.append(f"execution {_execution_key(row)} is {row['status']} and its stored input is {row['input']!r}")
    return found


def ended_executions_say_how(dump: StoreDump) -> list[str]:
    """The last event, the status and ``completed_at_ms`` tell the same, for every way an execution can end."""
    found = []
    for key, execution in _view(dump).executions.items():
        row = execution.row
        last = execution.events.get(row["event_count"])
        expected = _LAST_EVENTS.get(row["status"])
        if (row["completed_at_ms"] is None) != execution.unfinished:
            found.append(f"execution {key} is {row['status']} and was completed at {row['completed_at_ms']}")
        if expected is None and isinstance(last, tuple(_LAST_EVENTS.values())):
            found.append(f"execution {key} is {row['status']} after {type(last).__name__}")
        if expected is not None and last is not None and not isinstance(last, expected):
            found.append(f"execution {key} is {row['status']} and ends with {type(last).__name__}")
    return found


def nothing_is_answered_twice(dump: StoreDump) -> list[str]:
    """Everything but an activity's attempt happens once, and is answered after it was asked for."""
    found = []
    for key, execution in _view(dump).executions.items():
        found += [
            f"event {event_id} of execution {key} is answered {times} times"
            for event_id, times in execution.answered().items()
            if times > 1
        ]
        for event_id, event in execution.events.items():
            if isinstance(event, _ANSWERS):
                asked = execution.events.get(event.scheduled_event_id)
                readable = asked is not None or event.scheduled_event_id not in execution.events
                if event.scheduled_event_id >= event_id or (readable and not isinstance(asked, _ASKS_FOR_AN_ANSWER)):
                    found.append(f"event {event_id} of execution {key} answers event {event.scheduled_event_id}")
    return found


# --- instances and executions --------------------------------------------------------------------------------


def only_the_newest_execution_is_unfinished(dump: StoreDump) -> list[str]:
    found = []
    view = _view(dump)
    for (incarnation, execution_id), execution in view.executions.items():
        instance = view.instances.get(incarnation)
        if instance is None:
            continue
        if execution_id > instance["execution_id"]:
            found.append(f"execution {execution_id} of {incarnation} is newer than the current one")
        if execution_id < instance["execution_id"] and execution.row["status"] != "continued_as_new":
            found.append(f"execution {execution_id} of {incarnation} is {execution.row['status']} and not current")
    return found


def instances_tell_what_their_current_execution_tells(dump: StoreDump) -> list[str]:
    found = []
    view = _view(dump)
    for incarnation, instance in view.instances.items():
        current = view.current(incarnation)
        if current is None:
            continue
        status = current.row["status"]
        expected = "running" if status == "pending" and instance["execution_id"] > 1 else status
        if instance["status"] != expected:
            found.append(f"instance {incarnation} is {instance['status']}, its current execution {status}")
        found += [
            f"{column} of instance {incarnation} is {instance[column]!r}, its execution has {current.row[column]!r}"
            for column in ("version", "completed_at_ms")
            if instance[column] != current.row[column]
        ]
    return found


def every_execution_with_turns_counts(dump: StoreDump) -> list[str]:
    """``turn_sequence`` fences: an execution that has its start had at least one turn."""
    begun: Counter[int] = Counter(
        key[0]
        for key, execution in _view(dump).executions.items()
        if isinstance(execution.events.get(1), ev.OrchestrationStarted)
    )
    return [
        f"instance {row['incarnation']} had {row['turn_sequence']} turns in {begun[row['incarnation']]} executions"
        for row in dump["instances"]
        if row["turn_sequence"] < begun[row["incarnation"]]
    ]


def finished_instances_hold_nothing(dump: StoreDump) -> list[str]:
    """No queue rows, timers of dead executions or leases: they would count as backlog for ever."""
    finished = {row["incarnation"] for row in dump["instances"] if row["status"] in _FINAL}
    found = [
        f"{table} row {row} of a finished instance"
        for table in ("messages", "mailbox", "timers", "activities")
        for row in dump[table]
        if row["incarnation"] in finished
    ]
    nothing = {"lease_worker_id": None, "ready_at_ms": None, "waits": "[]", "blocked": None, "attempt_count": 0}
    for row in dump["instances"]:
        if row["incarnation"] in finished:
            kept = {column: row[column] for column, value in nothing.items() if row[column] != value}
            if kept:
                found.append(f"finished instance {row['incarnation']} keeps {kept}")
    return found


def marks_come_with_their_reason(dump: StoreDump) -> list[str]:
    found = []
    for row in dump["instances"]:
        if (row["blocked"] is None) != (row["blocked_reason"] is None):
            found.append(f"instance {row['incarnation']} is blocked {row['blocked']} because {row['blocked_reason']}")
        if (row["cancel_requested_at_ms"] is None) != (row["cancel_reason"] is None):
            found.append(f"instance {row['incarnation']} has half a cancel request")
        if row["cancel_delivered"] and row["cancel_requested_at_ms"] is None:
            found.append(f"instance {row['incarnation']} was delivered a cancel nobody asked for")
    return found


# --- nothing accepted is ever lost ---------------------------------------------------------------------------


def what_can_go_on_is_ready(dump: StoreDump) -> list[str]:
    """An instance nobody holds and nothing blocks is ready if anything is there for it."""
    found = []
    for row in dump["instances"]:
        idle = row["lease_worker_id"] is None and row["blocked"] is None and row["status"] not in _FINAL
        if idle and row["ready_at_ms"] is None:
            found += [f"instance {row['incarnation']} is not ready and has {thing}" for thing in _work_of(row, dump)]
    return found


def _work_of(instance: Row, dump: StoreDump) -> Iterator[str]:
    incarnation = instance["incarnation"]
    waits = msgspec.json.decode(instance["waits"])
    if any(row["incarnation"] == incarnation for row in dump["messages"]):
        yield "a message"
    if any(row["incarnation"] == incarnation for row in dump["timers"]):
        yield "a timer"
    if any(row["incarnation"] == incarnation and row["name"] in waits for row in dump["mailbox"]):
        yield "an event it waits for"
    if any(row["incarnation"] == incarnation and row["status"] == "pending" for row in dump["executions"]):
        yield "an execution to start"
    if instance["cancel_requested_at_ms"] is not None and not instance["cancel_delivered"]:
        yield "an undelivered cancel"


def messages_go_to_the_living(dump: StoreDump) -> list[str]:
    unfinished = {row["incarnation"] for row in dump["instances"] if row["status"] not in _FINAL}
    return [f"message {row} to nobody" for row in dump["messages"] if row["incarnation"] not in unfinished]


def timers_and_activities_belong_to_the_running_execution(dump: StoreDump) -> list[str]:
    """They have their scheduled event in its history, and no answer there yet. A timer may be an activity's."""
    found = []
    view = _view(dump)
    kinds = {"timers": (ev.TimerCreated, ev.ActivityScheduled), "activities": (ev.ActivityScheduled,)}
    for table, kind in kinds.items():
        for row in dump[table]:
            execution = view.current(row["incarnation"])
            if execution is None or execution.row["execution_id"] != row["execution_id"] or not execution.unfinished:
                found.append(f"{table} row {row} does not belong to a running execution")
                continue
            event = execution.events.get(row["event_id"])
            unreadable = event is None and row["event_id"] in execution.events
            if not unreadable and not isinstance(event, kind):
                found.append(f"{table} row {row} was scheduled by {type(event).__name__}")
            if row["event_id"] in execution.answered():
                found.append(f"{table} row {row} is answered already")
    return found


def scheduled_work_is_queued_until_answered(dump: StoreDump) -> list[str]:
    """Every activity and timer of a running execution is in its queue, or its answer is."""
    view = _view(dump)
    queued = {
        table: {(*_execution_key(row), row["event_id"]) for row in dump[table]} for table in ("activities", "timers")
    }
    found = []
    for key, execution in view.unfinished_executions():
        for event_id, event in execution.owed(ev.ActivityScheduled, ev.TimerCreated):
            table = "timers" if isinstance(event, ev.TimerCreated) else "activities"
            if (*key, event_id) not in queued[table] and not view.is_queued(key, event_id):
                found.append(f"{table} of execution {key} lost what event {event_id} scheduled")
    return found


def waits_are_those_of_the_history(dump: StoreDump) -> list[str]:
    view = _view(dump)
    found = []
    for incarnation, instance in view.instances.items():
        execution = view.current(incarnation)
        if execution is None or not execution.unfinished:
            continue
        stored = sorted(msgspec.json.decode(instance["waits"]))
        open_waits = sorted(event.name for _, event in execution.owed(ev.EventWaitStarted))
        if stored != open_waits:
            found.append(f"instance {incarnation} stores the waits {stored}, its history has {open_waits}")
    return found


def mailboxes_stay_within_their_limit(dump: StoreDump) -> list[str]:
    held = Counter(row["incarnation"] for row in dump["mailbox"])
    return [f"the mailbox of {key} holds {count} events" for key, count in held.items() if count > MAILBOX_EVENTS_MAX]


# --- families --------------------------------------------------------------------------------------------------


def scheduled_children_exist_or_are_answered(dump: StoreDump) -> list[str]:
    """A child that history says was scheduled was started, or its parent is told that it was not. (One that was given
    up may have been purged.)"""
    view = _view(dump)
    return [
        f"child of event {event_id} of execution {key} was never started, and nobody says so"
        for key, execution in view.unfinished_executions()
        for event_id, _ in execution.owed(ev.SubOrchestrationScheduled)
        if (*key, event_id) not in view.children
        and not view.is_queued(key, event_id)
        and event_id not in execution.children_given_up()
    ]


def finished_children_have_told_their_parent(dump: StoreDump) -> list[str]:
    """A child that ends in any way tells its parent, and a parent that still waits has been told. (One that gave the
    child up, a loser of a ``select`` say, throws its end away.)"""
    view = _view(dump)
    found = []
    for row in dump["lineage"]:
        number = row["child_incarnation"]
        child = view.instances.get(number) or view.removed.get(number)
        told = row["completion"] is not None
        ended = child is not None and child["status"] in _FINAL
        if told != (ended and not row["detached"]) and row["adopted_at_ms"] is None:
            found.append(f"child {row['child_incarnation']} (ended: {ended}) has completion {row['completion']}")
        key = (row["parent_incarnation"], row["parent_execution_id"])
        parent = view.executions.get(key)
        if told and parent is not None and parent.unfinished:
            event_id = row["parent_event_id"]
            is_told = event_id in parent.answered() or event_id in parent.children_given_up()
            if not is_told and not view.is_queued(key, event_id):
                found.append(f"the end of child {row['child_incarnation']} is not with its parent {key}")
    return found


def observed_ends_are_in_the_history(dump: StoreDump) -> list[str]:
    """``observed_at_ms`` is the evidence on which a child may be removed: it means that the parent has the result."""
    view = _view(dump)
    found = []
    for row in dump["lineage"]:
        parent = view.executions.get((row["parent_incarnation"], row["parent_execution_id"]))
        if parent is not None and all(event is not None for event in parent.events.values()):
            recorded = row["parent_event_id"] in parent.answered()
            if recorded != (row["observed_at_ms"] is not None):
                how = f"observed at {row['observed_at_ms']}, recorded by its parent: {recorded}"
                found.append(f"child {row['child_incarnation']} is {how}")
    return found


def children_given_up_are_in_the_history(dump: StoreDump) -> list[str]:
    """``given_up_at_ms`` is such evidence, too: it means that the parent wants no result."""
    view = _view(dump)
    found = []
    for row in dump["lineage"]:
        parent = view.executions.get((row["parent_incarnation"], row["parent_execution_id"]))
        if parent is not None and all(event is not None for event in parent.events.values()):
            recorded = row["parent_event_id"] in parent.children_given_up()
            if recorded != (row["given_up_at_ms"] is not None):
                how = f"given up at {row['given_up_at_ms']}, recorded by its parent: {recorded}"
                found.append(f"child {row['child_incarnation']} is {how}")
    return found


def lineage_knows_how_the_spawner_ended(dump: StoreDump) -> list[str]:
    view = _view(dump)
    found = []
    for row in dump["lineage"]:
        parent = view.executions.get((row["parent_incarnation"], row["parent_execution_id"]))
        if parent is not None:
            known = (row["spawner_ended_at_ms"], row["spawner_end"])
            expected = (None, None) if parent.unfinished else (parent.row["completed_at_ms"], parent.row["status"])
            if known != expected:
                found.append(f"lineage of {row['child_incarnation']} says {known}, its spawner {expected}")
    return found


# --- counters ----------------------------------------------------------------------------------------------------


def counters_are_beyond_every_used_id(dump: StoreDump) -> list[str]:
    (store,) = dump["store"]
    used = {
        "next_incarnation": [row["incarnation"] for row in (*dump["instances"], *dump["removed_instances"])],
        "next_message_id": [row["message_id"] for row in dump["messages"]]
        + [row["sequence"] for row in dump["mailbox"]],
    }
    return [
        f"{counter} is {store[counter]} and {max(ids)} is in use"
        for counter, ids in used.items()
        if ids and store[counter] <= max(ids)
    ]


def arrivals_have_ids_of_their_own(dump: StoreDump) -> list[str]:
    """Messages and mailbox events come from one counter."""
    ids = Counter(row["message_id"] for row in dump["messages"])
    ids.update(row["sequence"] for row in dump["mailbox"])
    return [f"the id {number} was given {times} times" for number, times in ids.items() if times > 1]


INVARIANTS: Final[tuple[Invariant, ...]] = (
    every_row_has_its_instance,
    every_history_row_has_its_execution,
    every_instance_has_its_current_execution,
    lineage_lives_as_long_as_the_child,
    every_lease_has_its_worker,
    every_lease_has_an_epoch,
    event_ids_run_from_one,
    events_know_their_ids,
    history_bytes_are_the_bytes_of_the_events,
    histories_begin_with_their_start,
    pending_executions_have_no_history,
    ended_executions_say_how,
    nothing_is_answered_twice,
    only_the_newest_execution_is_unfinished,
    instances_tell_what_their_current_execution_tells,
    every_execution_with_turns_counts,
    finished_instances_hold_nothing,
    marks_come_with_their_reason,
    what_can_go_on_is_ready,
    messages_go_to_the_living,
    timers_and_activities_belong_to_the_running_execution,
    scheduled_work_is_queued_until_answered,
    waits_are_those_of_the_history,
    mailboxes_stay_within_their_limit,
    scheduled_children_exist_or_are_answered,
    finished_children_have_told_their_parent,
    observed_ends_are_in_the_history,
    children_given_up_are_in_the_history,
    lineage_knows_how_the_spawner_ended,
    counters_are_beyond_every_used_id,
    arrivals_have_ids_of_their_own,
    *PRUNE_INVARIANTS,
    *FAMILY_INVARIANTS,
)
