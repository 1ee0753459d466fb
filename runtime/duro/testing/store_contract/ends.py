"""Every way an execution can end: what it carries out, what it cleans, whom it tells."""

import pytest

from duro import codec
from duro.model.events import AnyEvent
from duro.model.failure import CANCELLED, FailureDetails
from duro.model.messages import ChildFailed, ChildSucceeded
from duro.model.records import ChildRecord
from duro.model.status import ExecutionStatus, InstanceStatus
from duro.model.turns import TurnOutcome
from duro.stores.base import Store
from duro.testing.builders import (
    activity_scheduled,
    activity_succeeded_message,
    cancelled,
    child_completed,
    child_scheduled,
    completed,
    continued_as_new,
    detached_scheduled,
    event_received,
    failed,
    next_lease,
    timer_created,
    turn,
    wait_started,
)
from duro.testing.clock import ManualClock
from duro.testing.scripted import ScriptedWorker
from duro.testing.store_contract.suite import StoreContract

FINAL_EVENTS = pytest.mark.parametrize(
    ("last", "status"),
    [
        pytest.param(completed("42"), "completed", id="completed"),
        pytest.param(failed(), "failed", id="failed"),
        pytest.param(cancelled("enough"), "cancelled", id="cancelled"),
    ],
)

LAST_EVENTS = pytest.mark.parametrize(
    "last", [completed(), failed(), cancelled()], ids=lambda last: type(last).__name__
)


def _only_child(store: Store, incarnation: int) -> ChildRecord:
    (child,) = store.list_children(incarnation, 0, 0)
    return child


class EndsContract(StoreContract):
    """Complete, fail, be cancelled. Termination has tests of its own."""

    @FINAL_EVENTS
    def test_an_end_is_final_for_instance_and_execution(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock, last: AnyEvent, status: str
    ) -> None:
        self.start(store)
        leased = worker.take()
        at_ms = clock.now_ms()
        clock.advance(7)
        worker.run(leased, last, keep_lease=True)
        record, execution = self.instance(store), store.get_execution("a", 1)
        assert execution is not None
        assert (record.status, execution.status) == (InstanceStatus(status), ExecutionStatus(status))
        assert record.completed_at_ms == execution.completed_at_ms == record.updated_at_ms == at_ms + 7
        assert (record.lease_worker_id, record.ready_at_ms, record.attempt_count) == (None, None, 0)
        assert worker.is_idle()

    def test_an_end_is_recorded_at_the_time_of_itsturn(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        self.start(store)
        leased = worker.take()
        at_ms = clock.now_ms()
        clock.advance(7)
        worker.commit(turn(leased, completed(), at_ms=at_ms))
        assert self.instance(store).completed_at_ms == at_ms

    @LAST_EVENTS
    def test_an_end_empties_every_queue_of_the_instance(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock, last: AnyEvent
    ) -> None:
        """A thirty-day timer of a dead execution is backlog for thirty days."""
        self.start(store)
        timer, wait = timer_created(clock.now_ms() + 30 * 86_400_000), wait_started("go")
        worker.run(worker.take(), timer, activity_scheduled(), activity_scheduled(), wait, waits=["go"])
        first, _ = worker.lease(instances=0, activities=10).activities
        worker.finish(first, activity_succeeded_message(1, first.event_id))
        leased = worker.take()
        store.raise_event("a", "go", "null", "r1")
        store.raise_event("a", "other", "null", "r2")
        worker.run(leased, last, consumed_messages=[], waits=["go"])
        dump = store.dump()
        assert all(dump[table] == [] for table in ("messages", "mailbox", "timers", "activities"))
        assert dump["instances"][0]["waits"] == "[]"
        assert store.held_activities("w1") == frozenset()

    @LAST_EVENTS
    def test_what_a_last_turn_scheduled_never_starts(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock, last: AnyEvent
    ) -> None:
        self.start(store)
        worker.run(worker.take(), activity_scheduled(), timer_created(clock.now_ms()), last)
        dump = store.dump()
        assert (dump["timers"], dump["activities"]) == ([], [])
        assert worker.lease(activities=10).activities == ()

    @LAST_EVENTS
    def test_what_a_last_turn_starts_is_started(self, store: Store, worker: ScriptedWorker, last: AnyEvent) -> None:
        self.start(store)
        worker.run(worker.take(), detached_scheduled("free"), child_scheduled("child"), last)
        assert {leased.instance_id for leased in worker.lease().instances} == {"free", "child"}

    def test_a_lost_activity_of_an_ended_execution_reports_to_nobody(
        self, store: Store, worker: ScriptedWorker
    ) -> None:
        self.start(store)
        worker.run(worker.take(), activity_scheduled(), wait_started("go"), waits=["go"])
        activity = worker.take_activity()
        store.raise_event("a", "go", "null", "r")
        worker.run(worker.take(), completed())
        assert worker.finish(activity, activity_succeeded_message(1, 2)) is TurnOutcome.FENCED
        assert worker.retry(activity, visible_at_ms=0, failed=True) is TurnOutcome.FENCED
        assert store.dump()["messages"] == []

    def test_a_completed_child_tells_its_parent(self, store: Store, worker: ScriptedWorker, clock: ManualClock) -> None:
        incarnation = self.start(store)
        worker.run(worker.take(), child_scheduled("child"))
        worker.run(worker.take("child"), completed('{"n": 1}'))
        assert _only_child(store, incarnation).completion == "sent"
        assert self.instance(store).ready_at_ms == clock.now_ms()
        (message,) = worker.take("a").messages
        expected = ChildSucceeded(execution_id=1, scheduled_event_id=2, result=completed('{"n": 1}').result)
        assert codec.decode_message(message.data) == expected

    @pytest.mark.parametrize(
        ("last", "failure"),
        [
            (failed(FailureDetails(type="E", message="m")), FailureDetails(type="E", message="m")),
            (cancelled("enough"), FailureDetails(type=CANCELLED, message="enough")),
        ],
        ids=["failed", "cancelled"],
    )
    def test_a_child_that_does_not_complete_tells_its_parent_too(
        self, store: Store, worker: ScriptedWorker, last: AnyEvent, failure: FailureDetails
    ) -> None:
        incarnation = self.start(store)
        worker.run(worker.take(), child_scheduled("child"))
        worker.run(worker.take("child"), last)
        (message,) = worker.take("a").messages
        expected = ChildFailed(execution_id=1, scheduled_event_id=2, failure=failure)
        assert codec.decode_message(message.data) == expected
        assert _only_child(store, incarnation).completion == "sent"

    def test_a_parent_that_finished_is_not_told(self, store: Store, worker: ScriptedWorker) -> None:
        incarnation = self.start(store)
        worker.run(worker.take(), child_scheduled("child"), completed())
        worker.run(worker.take("child"), completed())
        assert _only_child(store, incarnation).completion == "ignored"
        dump = store.dump()
        assert dump["messages"] == []
        assert dump["store"][0]["ignored_messages"] == 1

    def test_a_parent_that_continued_as_new_is_not_told(self, store: Store, worker: ScriptedWorker) -> None:
        """The next execution never asked for that child: an answer could be taken for one of its own."""
        incarnation = self.start(store)
        worker.run(worker.take(), child_scheduled("child"), continued_as_new())
        leased = {instance.instance_id: instance for instance in worker.lease().instances}
        worker.run(leased["child"], completed())
        assert _only_child(store, incarnation).completion == "ignored"
        assert store.dump()["messages"] == []

    def test_a_message_sent_before_the_parent_moved_on_and_taken_by_no_turn_was_ignored(
        self, store: Store, worker: ScriptedWorker
    ) -> None:
        incarnation = self.start(store)
        worker.run(worker.take(), child_scheduled("child"), wait_started("go"), waits=["go"])
        worker.run(worker.take("child"), completed())
        worker.run(worker.take("a"), completed(), consumed_messages=[], waits=["go"])
        child = _only_child(store, incarnation)
        assert (child.completion, child.observed_at_ms) == ("ignored", None)
        assert store.dump()["messages"] == []

    def test_within_a_batch_the_earlier_turn_decides(self, store: Store, worker: ScriptedWorker) -> None:
        """A parent that ended first is not told; one that ended later was."""
        first, second = self.start(store, "p1"), self.start(store, "p2")
        parents = {leased.instance_id: leased for leased in worker.lease().instances}
        kept = {
            name: next_lease(parents[name], worker.run(parents[name], child_scheduled(f"c{name}"), keep_lease=True))
            for name in ("p1", "p2")
        }
        children = {leased.instance_id: leased for leased in worker.lease().instances}
        now = store.now_ms()
        result = worker.commit(
            turn(kept["p1"], completed(), at_ms=now),
            turn(children["cp1"], completed(), at_ms=now),
            turn(children["cp2"], completed(), at_ms=now),
            turn(kept["p2"], completed(), at_ms=now),
        )
        assert result.turns == [TurnOutcome.COMMITTED] * 4
        rows = {row["parent_incarnation"]: row["completion"] for row in store.dump()["lineage"]}
        assert rows == {first: "ignored", second: "sent"}
        assert store.dump()["messages"] == []

    def test_nobody_is_told_of_the_end_of_a_detached_one(self, store: Store, worker: ScriptedWorker) -> None:
        incarnation = self.start(store)
        worker.run(worker.take(), detached_scheduled("free"), wait_started("go"), waits=["go"])
        worker.run(worker.take("free"), completed())
        assert _only_child(store, incarnation).completion is None
        dump = store.dump()
        assert dump["messages"] == []
        assert dump["store"][0]["ignored_messages"] == 0
        assert worker.is_idle()

    @FINAL_EVENTS
    def test_lineage_keeps_when_and_how_the_spawner_ended(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock, last: AnyEvent, status: str
    ) -> None:
        incarnation = self.start(store)
        worker.run(worker.take(), child_scheduled("child"), detached_scheduled("free"), wait_started("g"), waits=["g"])
        assert [child.spawner_end for child in store.list_children(incarnation, 0, 0)] == [None, None]
        clock.advance(5)
        store.raise_event("a", "g", "null", "r")
        leased = {instance.instance_id: instance for instance in worker.lease().instances}
        worker.run(leased["a"], last)
        for child in store.list_children(incarnation, 0, 0):
            assert (child.spawner_ended_at_ms, child.spawner_end) == (clock.now_ms(), ExecutionStatus(status))


class ContinueAsNewContract(StoreContract):
    """The execution ends, the instance goes on."""

    def test_the_next_execution_starts_pending_and_becomes_current(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        self.start(store, input="1")
        leased = worker.take()
        at_ms = clock.now_ms()
        clock.advance(7)
        worker.commit(turn(leased, continued_as_new("2", "2.0.0"), at_ms=at_ms))
        record = self.instance(store)
        assert (record.status, record.version, record.execution_id) == (InstanceStatus.RUNNING, "2.0.0", 2)
        assert (record.event_count, record.history_bytes, record.completed_at_ms) == (0, 0, None)
        assert record.ready_at_ms == clock.now_ms()
        first, second = store.get_execution("a", 1), store.read_history("a", 2)
        assert first is not None
        assert second is not None
        assert (first.status, first.completed_at_ms) == (ExecutionStatus.CONTINUED_AS_NEW, at_ms)
        assert (first.version, first.event_count) == ("1.0.0", 2)
        assert (second.input, second.events) == ("2", ())
        assert (second.execution.status, second.execution.version) == (ExecutionStatus.PENDING, "2.0.0")
        assert (second.execution.started_at_ms, second.execution.completed_at_ms) == (at_ms, None)

    def test_the_next_execution_is_leased_with_its_input(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store, input="1")
        worker.run(worker.take(), continued_as_new("2", "2.0.0"))
        leased = worker.take()
        assert (leased.execution_id, leased.input, leased.version) == (2, "2", "2.0.0")
        assert (leased.event_count, leased.turn_sequence) == (0, 1)

    def test_only_a_worker_with_the_next_version_gets_it(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        old = ScriptedWorker(store, "old", orchestrations=[("Order", ""), ("Order", "1.0.0")])
        old.run(old.take(), continued_as_new("2", "2.0.0"))
        assert old.lease().instances == ()
        assert worker.take().version == "2.0.0"

    def test_a_kept_lease_holds_the_next_execution_in_hand(self, store: Store, worker: ScriptedWorker) -> None:
        """Its worker has everything to start it: it is not ready for anybody, itself included."""
        self.start(store)
        leased = worker.take()
        committed = worker.run(leased, continued_as_new("2"), keep_lease=True)
        record = self.instance(store)
        assert (record.lease_worker_id, record.ready_at_ms) == ("w1", None)
        assert worker.is_idle()
        worker.run(next_lease(leased, committed), completed())
        assert self.instance(store).status is InstanceStatus.COMPLETED

    def test_a_next_execution_in_hand_is_not_lost_with_its_worker(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        worker.run(worker.take(), continued_as_new("2"), keep_lease=True)
        store.release_worker("w1")
        assert ScriptedWorker(store, "w2").take().input == "2"

    def test_timers_and_activities_stay_behind(self, store: Store, worker: ScriptedWorker, clock: ManualClock) -> None:
        self.start(store)
        worker.run(worker.take(), timer_created(clock.now_ms() + 10), activity_scheduled(), keep_lease=True)
        activity = worker.take_activity()
        clock.advance(10)
        worker.run(worker.take(), activity_scheduled(), continued_as_new())
        dump = store.dump()
        assert (dump["timers"], dump["activities"]) == ([], [])
        assert worker.finish(activity, activity_succeeded_message(1, 3)) is TurnOutcome.FENCED

    def test_waits_stay_behind_and_undelivered_events_do_not(self, store: Store, worker: ScriptedWorker) -> None:
        """The mailbox belongs to the instance: continue-as-new loses no event and copies none."""
        self.start(store)
        worker.run(worker.take(), wait_started("go"), waits=["go"])
        store.raise_event("a", "go", "1", "r1")
        store.raise_event("a", "go", "2", "r2")
        leased = worker.take()
        consumed = [leased.mailbox[0].sequence]
        worker.run(
            leased,
            event_received(2, "go", "1"),
            wait_started("go"),
            continued_as_new(),
            consumed_mailbox=consumed,
            waits=["go"],
        )
        leased = worker.take()
        assert leased.mailbox == ()
        worker.run(leased, wait_started("go"), waits=["go"])
        assert [event.data for event in worker.take().mailbox] == ["2"]

    def test_a_detached_start_in_the_same_turn_is_started(self, store: Store, worker: ScriptedWorker) -> None:
        """duroxide recorded it and never started it."""
        incarnation = self.start(store)
        worker.run(worker.take(), detached_scheduled("free", input="9"), continued_as_new())
        leased = {instance.instance_id: instance for instance in worker.lease().instances}
        assert set(leased) == {"a", "free"}
        assert leased["free"].input == "9"
        (child,) = store.list_children(incarnation, 0, 0)
        assert child.detached

    def test_a_child_scheduled_in_the_same_turn_is_not_lost(self, store: Store, worker: ScriptedWorker) -> None:
        """duroxide's history said so and nothing ran. It starts, stamped with the execution that spawned it."""
        incarnation = self.start(store)
        worker.run(worker.take(), child_scheduled("child"), continued_as_new())
        assert {leased.instance_id for leased in worker.lease().instances} == {"a", "child"}
        child = _only_child(store, incarnation)
        assert (child.parent.execution_id, child.parent.event_id) == (1, 2)
        assert child.spawner_end is ExecutionStatus.CONTINUED_AS_NEW

    def test_lineage_stamps_the_execution_that_spawned(self, store: Store, worker: ScriptedWorker) -> None:
        """Each child belongs to the execution that asked for it, also when it ends long after."""
        incarnation = self.start(store)
        worker.run(worker.take(), child_scheduled("c1"), continued_as_new())
        leased = {instance.instance_id: instance for instance in worker.lease().instances}
        worker.run(leased["a"], child_scheduled("c2"))
        worker.run(leased["c1"], completed())
        first, second = store.list_children(incarnation, 0, 0)
        assert (first.parent.execution_id, second.parent.execution_id) == (1, 2)
        assert (first.completion, second.completion) == ("ignored", None)
        assert (first.spawner_end, second.spawner_end) == (ExecutionStatus.CONTINUED_AS_NEW, None)
        worker.run(worker.take("c2"), completed("7"))
        worker.run(worker.take("a"), child_completed(2, "7"))
        first, second = store.list_children(incarnation, 0, 0)
        assert (first.observed_at_ms, second.observed_at_ms) == (None, store.now_ms())

    def test_messages_still_queued_stay_for_the_next_execution_to_ignore(
        self, store: Store, worker: ScriptedWorker
    ) -> None:
        self.start(store)
        worker.run(worker.take(), activity_scheduled(), keep_lease=True)
        activity = worker.take_activity()
        worker.finish(activity, activity_succeeded_message(1, 2))
        worker.run(worker.take(), continued_as_new(), consumed_messages=[])
        leased = worker.take()
        assert [message.data for message in leased.messages] == [activity_succeeded_message(1, 2)]
        worker.run(leased, wait_started("go"), waits=["go"], ignored_messages=1)
        assert store.dump()["messages"] == []
        assert worker.is_idle()

    def test_an_instance_runs_through_many_executions(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store, input="0")
        for number in range(20):
            leased = worker.take()
            assert (leased.execution_id, leased.input, leased.turn_sequence) == (number + 1, str(number), number)
            worker.run(leased, continued_as_new(str(number + 1)))
        worker.run(worker.take(), completed())
        page = store.list_executions("a", 0, None)
        assert [execution.execution_id for execution in page.executions] == list(range(21, 0, -1))
        assert all(execution.completed_at_ms is not None for execution in page.executions)
