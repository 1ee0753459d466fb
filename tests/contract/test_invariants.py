"""The invariants find what they are for: a healthy dump passes, each kind of damage is named."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from duro.model.families import PurgeOptions
from duro.model.limits import TURN_PRUNE_EXECUTIONS_MAX
from duro.model.pruning import Hold, HoldTarget
from duro.model.status import ChildrenPolicy
from duro.stores.base import Store, StoreDump
from duro.stores.memory import MemoryStore
from duro.testing import INVARIANTS, ManualClock, check_invariants
from duro.testing.builders import (
    activity_completed,
    activity_scheduled,
    activity_succeeded_message,
    child_cancel_requested,
    child_completed,
    child_scheduled,
    completed,
    continued_as_new,
    next_lease,
    prune_batch,
    prune_requested,
    removal_batch,
    start_request,
    timer_created,
    wait_started,
)
from duro.testing.scripted import ScriptedWorker

Rows = dict[str, list[dict[str, Any]]]


def _make_store() -> Store:
    """A store with something in every table: a parent (1) that waits, its finished and observed child (2), a running
    one (3), a loop (4) in its second execution, a finished instance (5), and an archive that was used."""
    clock = ManualClock()
    store = MemoryStore(clock=clock, new_id=lambda: "store")
    worker = ScriptedWorker(store)
    store.start_instances([start_request("parent")])
    worker.run(worker.take(), child_scheduled("c2"), child_scheduled("c3"))
    children = {leased.instance_id: leased for leased in worker.lease().instances}
    worker.run(children["c2"], completed("1"))
    worker.run(children["c3"], activity_scheduled(), activity_scheduled())
    first, _ = worker.lease(instances=0, activities=10).activities
    worker.finish(first, activity_succeeded_message(1, first.event_id))
    timer, wait = timer_created(clock.now_ms() + 5), wait_started("go")
    parent = next(leased for leased in worker.lease(100).instances if leased.instance_id == "parent")
    worker.run(parent, child_completed(2, "1"), timer, wait, waits=["go"])
    store.raise_event("parent", "other", "null", "r")
    store.start_instances([start_request("loop")])
    worker.run(worker.take(), continued_as_new("2"), keep_lease=True)
    store.start_instances([start_request("done")])
    worker.run(worker.take(), activity_scheduled(), keep_lease=True)
    activity = worker.take_activity()
    worker.finish(activity, activity_succeeded_message(1, 2))
    worker.run(worker.take("done"), activity_completed(2), completed())
    _prune(store, worker)
    store.remember_archive("/var/archive", "its id")
    _ask(store, worker)
    return store


def _prune(store: Store, worker: ScriptedWorker) -> None:
    """Of a loop (6) in its fifth execution the first is gone, the second marked; it is held. A parent (7) has lost its
    first execution and with it a child (8), which had lost an execution itself."""
    store.publish(worker.worker_id, "told something")
    tidy = store.start_instances([start_request("tidy")])[0].incarnation
    for _ in range(4):
        worker.run(worker.take("tidy"), continued_as_new())
    worker.run(worker.take("tidy"), activity_scheduled(), keep_lease=True)
    store.prune(prune_batch((tidy, 4)))
    store.prune(prune_batch((tidy, 3), run_id="run-1", grace_ms=1_000))
    target = HoldTarget(instance_id="tidy")
    store.add_hold(Hold(hold_id="hold-1", target=target, reason="to be looked at", created_at_ms=0))
    parent = store.start_instances([start_request("family")])[0].incarnation
    worker.run(worker.take("family"), child_scheduled("gone", "Child"))
    child = worker.take("gone")
    worker.run(child, continued_as_new())
    worker.run(worker.take("gone"), completed())
    store.prune(prune_batch((child.incarnation, 1)))
    worker.run(worker.take("family"), child_completed(2), continued_as_new())
    store.prune(prune_batch((parent, 1), children=ChildrenPolicy.SETTLED))
    worker.run(worker.take("family"), wait_started("go"), waits=["go"])
    assert store.reclaim(1_000).children == 1
    _remove(store, worker)


def _ask(store: Store, worker: ScriptedWorker) -> None:
    """A loop (11) that asked for more than a turn does."""
    store.start_instances([start_request("tidies")])
    for _ in range(TURN_PRUNE_EXECUTIONS_MAX + 1):
        worker.run(worker.take("tidies"), continued_as_new())
    worker.run(worker.take("tidies"), prune_requested(), wait_started("go"), waits=["go"])


def _remove(store: Store, worker: ScriptedWorker) -> None:
    """A parent (9) and its child (10), removed as one, and not yet reclaimed."""
    parent = store.start_instances([start_request("over")])[0].incarnation
    leased = worker.take("over")
    kept = next_lease(leased, worker.run(leased, child_scheduled("too"), keep_lease=True))
    worker.run(worker.take("too"), completed())
    worker.run(kept, child_completed(2), completed())
    store.remove(removal_batch((parent, PurgeOptions(completed_before=10**14)), run_id="run-2", grace_ms=1_000))


@pytest.fixture(scope="module")
def healthy() -> StoreDump:
    return _make_store().dump()


def test_a_healthy_store_passes(healthy: StoreDump) -> None:
    check_invariants(healthy)
    assert all(rows for rows in healthy.values())


def test_a_store_can_be_checked_itself() -> None:
    check_invariants(_make_store())


def test_a_parent_may_throw_away_the_end_of_a_child_it_gave_up() -> None:
    """As the engine does with that of a child that lost a ``select``."""
    store = MemoryStore(clock=ManualClock(), new_id=lambda: "store")
    worker = ScriptedWorker(store)
    store.start_instances([start_request("parent")])
    leased = worker.take()
    parent = next_lease(leased, worker.run(leased, child_scheduled("child"), keep_lease=True))
    parent = next_lease(parent, worker.run(parent, child_cancel_requested(2), keep_lease=True))
    worker.run(worker.take("child"), completed())
    (told,) = worker.lease().instances
    worker.run(parent, consumed_messages=[message.message_id for message in told.messages], keep_lease=True)
    assert store.dump()["messages"] == []
    check_invariants(store)


def _row(dump: Rows, table: str, **where: object) -> dict[str, Any]:
    return next(row for row in dump[table] if where.items() <= row.items())


def _damage(table: str, column: str, value: object, **where: object) -> Callable[[Rows], None]:
    """Set one value of one row."""

    def damage(dump: Rows) -> None:
        _row(dump, table, **where)[column] = value

    return damage


def _loss(table: str, **where: object) -> Callable[[Rows], None]:
    """Remove one row."""

    def damage(dump: Rows) -> None:
        dump[table].remove(_row(dump, table, **where))

    return damage


def _copy(table: str, **changes: object) -> Callable[[Rows], None]:
    """Add the first row of a table once more, changed."""

    def damage(dump: Rows) -> None:
        dump[table].append({**dump[table][0], **changes})

    return damage


def _repeat_an_answer(dump: Rows) -> None:
    answer = _row(dump, "history", incarnation=1, event_id=4)
    execution = _row(dump, "executions", incarnation=1)
    execution["event_count"] += 1
    execution["history_bytes"] += len(answer["data"])
    data = answer["data"].replace('"event_id":4', '"event_id":7')
    dump["history"].append({**answer, "event_id": 7, "data": data})


def _lose_the_start(dump: Rows) -> None:
    second = _row(dump, "history", incarnation=2, event_id=2)
    _row(dump, "history", incarnation=2, event_id=1)["data"] = second["data"]


DAMAGES = {
    "every_row_has_its_instance": _copy("requests", incarnation=99),
    "every_history_row_has_its_execution": _copy("history", execution_id=9),
    "every_instance_has_its_current_execution": _loss("executions", incarnation=3),
    "lineage_lives_as_long_as_the_child": _copy("lineage", child_incarnation=99, parent_event_id=50),
    "every_lease_has_its_worker": _loss("workers"),
    "every_lease_has_an_epoch": _damage("instances", "lease_epoch", 0, incarnation=4),
    "event_ids_run_from_one": _loss("history", incarnation=1, event_id=2),
    "events_know_their_ids": _damage("history", "event_id", 9, incarnation=1, event_id=6),
    "history_bytes_are_the_bytes_of_the_events": _damage("executions", "history_bytes", 1, incarnation=1),
    "histories_begin_with_their_start": _lose_the_start,
    "pending_executions_have_no_history": _damage("executions", "input", "1", incarnation=1),
    "ended_executions_say_how": _damage("executions", "completed_at_ms", None, incarnation=4, execution_id=1),
    "nothing_is_answered_twice": _repeat_an_answer,
    "only_the_newest_execution_is_unfinished": _damage(
        "executions", "status", "running", incarnation=4, execution_id=1
    ),
    "instances_tell_what_their_current_execution_tells": _damage("instances", "status", "failed", incarnation=2),
    "every_execution_with_turns_counts": _damage("instances", "turn_sequence", 0, incarnation=1),
    "finished_instances_hold_nothing": _copy("messages", incarnation=2),
    "marks_come_with_their_reason": _damage("instances", "blocked", "poison", incarnation=1),
    "what_can_go_on_is_ready": _damage("instances", "ready_at_ms", None, incarnation=1),
    "messages_go_to_the_living": _copy("messages", incarnation=2),
    "timers_and_activities_belong_to_the_running_execution": _copy("timers", event_id=1),
    "scheduled_work_is_queued_until_answered": _loss("timers"),
    "waits_are_those_of_the_history": _damage("instances", "waits", "[]", incarnation=1),
    "mailboxes_stay_within_their_limit": lambda dump: dump["mailbox"].extend(dump["mailbox"] * 10_000),
    "scheduled_children_exist_or_are_answered": _loss("lineage", child_incarnation=3),
    "finished_children_have_told_their_parent": _damage("lineage", "completion", None, child_incarnation=2),
    "observed_ends_are_in_the_history": _damage("lineage", "observed_at_ms", None, child_incarnation=2),
    "children_given_up_are_in_the_history": _damage("lineage", "given_up_at_ms", 5, child_incarnation=2),
    "lineage_knows_how_the_spawner_ended": _damage("lineage", "spawner_end", "failed", child_incarnation=2),
    "counters_are_beyond_every_used_id": _damage("store", "next_incarnation", 3),
    "arrivals_have_ids_of_their_own": _copy("messages", incarnation=1),
    "marked_executions_are_neither_current_nor_running": _damage("instances", "execution_id", 2, instance_id="tidy"),
    "marks_say_when_and_until": _damage("executions", "reclaim_at_ms", None, removal="pruned"),
    "no_live_execution_is_below_where_they_begin": _damage("instances", "live_from", 9, instance_id="tidy"),
    "kept_and_pruned_is_everything": _damage("ledger", "executions", 7, run_id=None),
    "what_was_asked_for_is_of_an_instance_that_is_there": lambda dump: dump["asked_prunes"].append(
        {"incarnation": 99, "options": "{}", "origin": "{}", "through": 1, "at_ms": 1, "due_at_ms": 1}
    ),
    "the_ledger_is_bounded": lambda dump: dump["ledger"].extend(
        {**dump["ledger"][0], "executions": 0, "sequence": number} for number in range(100, 164)
    ),
    "ledger_rows_belong_to_an_instance_and_a_run": _damage("ledger", "run_id", "run-9", run_id="run-1"),
    "runs_count_what_their_ledger_rows_count": _damage("prune_runs", "executions", 0, run_id="run-1"),
    "what_waits_for_its_archive_is_whole": _damage("executions", "unarchived", 1, removal="pruned"),
    "nobody_is_there_and_removed": _damage("removed_instances", "incarnation", 1, instance_id="over"),
    "children_are_younger_than_their_parents": _damage("lineage", "parent_incarnation", 2, child_incarnation=2),
    "a_family_is_removed_as_one": _damage("lineage", "parent_incarnation", 9, child_incarnation=3),
    "leaves_go_before_their_parents": _loss("removed_instances", instance_id="over"),
    "a_parent_that_is_gone_was_removed": _damage("lineage", "parent_removed_at_ms", 5, child_incarnation=3),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_found_by_the_invariant_it_breaks(name: str, healthy: StoreDump) -> None:
    dump = copy.deepcopy(healthy)
    DAMAGES[name](dump)
    with pytest.raises(AssertionError, match=f"{name}: "):
        check_invariants(dump)


def test_every_invariant_is_shown_to_find_something() -> None:
    assert list(DAMAGES) == [invariant.__name__ for invariant in INVARIANTS]
