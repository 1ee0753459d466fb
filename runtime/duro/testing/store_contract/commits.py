"""``commit``: what each part of a turn changes, and what the batch as a whole promises."""

import msgspec

from duro.model.events import AnyEvent
from duro.model.status import ExecutionStatus, InstanceStatus
from duro.model.turns import (
    FinishActivity,
    LeasedActivity,
    LeasedInstance,
    ReleaseInstance,
    RetryActivity,
    TurnOutcome,
)
from duro.stores.base import Store
from duro.testing.builders import (
    activity_completed,
    activity_scheduled,
    activity_succeeded_message,
    completed,
    continued_as_new,
    encoded,
    event_received,
    next_lease,
    size,
    start_request,
    started,
    timer_cancelled,
    timer_created,
    timer_fired,
    turn,
    wait_started,
)
from duro.testing.clock import ManualClock
from duro.testing.scripted import LEASE_MS, ScriptedWorker, tokens
from duro.testing.store_contract.suite import StoreContract


def _release(leased: LeasedInstance) -> ReleaseInstance:
    return ReleaseInstance(incarnation=leased.incarnation, lease_epoch=leased.lease_epoch)


def _finish(leased: LeasedActivity) -> FinishActivity:
    return FinishActivity(
        incarnation=leased.incarnation,
        execution_id=leased.execution_id,
        event_id=leased.event_id,
        lease_epoch=leased.lease_epoch,
        message=activity_succeeded_message(leased.execution_id, leased.event_id),
    )


def _retry(leased: LeasedActivity) -> RetryActivity:
    return RetryActivity(
        incarnation=leased.incarnation,
        execution_id=leased.execution_id,
        event_id=leased.event_id,
        lease_epoch=leased.lease_epoch,
        visible_at_ms=leased.scheduled_at_ms,
        failed=True,
    )


class CommitsContract(StoreContract):
    """Turns that go on, and batches."""

    def test_a_first_turn_makes_the_instance_run(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        self.start(store, input="5")
        leased = worker.take()
        at_ms = clock.now_ms()
        clock.advance(3)
        worker.commit(turn(leased, wait_started("go"), at_ms=at_ms, version="2.0.0", waits=["go"]))
        record = self.instance(store)
        assert (record.status, record.version, record.turn_sequence) == (InstanceStatus.RUNNING, "2.0.0", 1)
        assert (record.event_count, record.attempt_count) == (2, 0)
        assert (record.updated_at_ms, record.ready_at_ms, record.lease_worker_id) == (at_ms, None, None)
        history = store.read_history("a", 1)
        assert history is not None
        assert history.events == tuple(encoded(started(version="2.0.0", input="5"), wait_started("go"), at_ms=at_ms))
        assert history.input is None
        assert (history.execution.status, history.execution.version) == (ExecutionStatus.RUNNING, "2.0.0")
        assert history.execution.history_bytes == record.history_bytes == size(history.events)

    def test_events_are_appended_in_order(self, store: Store, worker: ScriptedWorker, clock: ManualClock) -> None:
        self.start(store)
        worker.run(worker.take(), wait_started("go"), wait_started("go"), waits=["go", "go"])
        store.raise_event("a", "go", '"é"', "r")
        leased = worker.take()
        (event,) = leased.mailbox
        worker.run(leased, event_received(2, "go", event.data), consumed_mailbox=[event.sequence], waits=["go"])
        (events,) = store.load_histories([(leased.incarnation, 1)])
        expected: list[AnyEvent] = [started(), wait_started("go"), wait_started("go"), event_received(2, "go", '"é"')]
        assert events == tuple(encoded(*expected, at_ms=clock.now_ms()))
        record = self.instance(store)
        assert (record.event_count, record.history_bytes, record.turn_sequence) == (4, size(events), 2)

    def test_a_turn_may_rename_its_instance(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        worker.run(worker.take(), name="Child")
        assert self.instance(store).name == "Child"

    def test_consumed_messages_leave_the_queue_and_the_others_stay(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        worker.run(worker.take(), activity_scheduled(), activity_scheduled())
        for activity in worker.lease(instances=0, activities=10).activities:
            worker.finish(activity, activity_succeeded_message(1, activity.event_id))
        leased = worker.take()
        first, second = leased.messages
        worker.run(leased, activity_completed(2), consumed_messages=[first.message_id])
        assert worker.take().messages == (second,)

    def test_consumed_and_cancelled_timers_leave_the_queue(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        now = clock.now_ms()
        self.start(store)
        worker.run(worker.take(), timer_created(now + 10), timer_created(now + 20), timer_created(now + 30))
        clock.advance(10)
        worker.run(worker.take(), timer_fired(2), timer_cancelled(3))
        assert [row["event_id"] for row in store.dump()["timers"]] == [4]
        assert self.instance(store).ready_at_ms == now + 30

    def test_waits_replace_the_stored_ones(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        worker.run(worker.take(), wait_started("go"), waits=["go"])
        store.raise_event("a", "go", "1", "r1")
        leased = worker.take()
        worker.run(
            leased,
            event_received(2, "go", "1"),
            wait_started("stop"),
            consumed_mailbox=[leased.mailbox[0].sequence],
            waits=["stop"],
        )
        store.raise_event("a", "go", "2", "r2")
        assert worker.is_idle()
        store.raise_event("a", "stop", "3", "r3")
        assert [event.name for event in worker.take().mailbox] == ["stop"]

    def test_a_custom_status_is_set_left_and_cleared(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        leased = worker.take()
        committed = worker.run(leased, custom_status='"half way"', keep_lease=True)
        assert self.instance(store).custom_status == '"half way"'
        leased = next_lease(leased, committed)
        committed = worker.run(leased, custom_status=None, keep_lease=True)
        assert self.instance(store).custom_status == '"half way"'
        worker.run(next_lease(leased, committed), custom_status="")
        assert self.instance(store).custom_status is None

    def test_a_custom_status_survives_the_end_and_continue_as_new(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        worker.run(worker.take(), continued_as_new(), custom_status="1")
        worker.run(worker.take(), completed())
        assert self.instance(store).custom_status == "1"

    def test_ignored_messages_are_counted(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        worker.run(worker.take(), ignored_messages=3)
        assert store.dump()["store"][0]["ignored_messages"] == 3

    def test_a_turn_without_events_is_a_turn(self, store: Store, worker: ScriptedWorker) -> None:
        """An engine that only ignored messages has nothing to record and still consumes them."""
        self.start(store)
        leased = worker.take()
        committed = worker.run(leased, keep_lease=True)
        worker.run(next_lease(leased, committed), ignored_messages=1)
        record = self.instance(store)
        assert (record.turn_sequence, record.event_count) == (2, 1)

    def test_a_kept_lease_takes_the_next_turn_without_leasing_again(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        leased = worker.take()
        committed = worker.run(leased, wait_started("go"), waits=["go"], keep_lease=True)
        record = self.instance(store)
        assert (record.lease_worker_id, record.ready_at_ms) == ("w1", None)
        worker.run(next_lease(leased, committed), completed())

    def test_a_kept_lease_is_ready_with_what_is_left_in_the_queue(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        """A message that arrived during the turn must not be forgotten by the commit."""
        self.start(store)
        worker.run(worker.take(), activity_scheduled(), wait_started("go"), waits=["go"])
        activity = worker.take_activity()
        store.raise_event("a", "go", "null", "r")
        leased = worker.take()
        worker.finish(activity, activity_succeeded_message(1, 2))
        worker.run(leased, event_received(3, "go"), consumed_mailbox=[leased.mailbox[0].sequence], keep_lease=True)
        assert self.instance(store).ready_at_ms == clock.now_ms()
        assert len(worker.take().messages) == 1

    def test_a_released_instance_is_ready_at_once_if_something_arrived_during_its_turn(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        self.start(store)
        leased = worker.take()
        store.raise_event("a", "go", "null", "r")
        worker.run(leased, wait_started("go"), waits=["go"])
        assert self.instance(store).ready_at_ms == clock.now_ms()

    def test_a_turn_of_an_older_sequence_conflicts(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        leased = worker.take()
        committed = worker.run(leased, keep_lease=True)
        before = store.dump()
        assert worker.commit(committed).turns == [TurnOutcome.CONFLICT]
        assert store.dump() == before

    def test_a_turn_of_an_older_execution_conflicts(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        self.start(store)
        leased = worker.take()
        committed = worker.run(leased, continued_as_new(), keep_lease=True)
        stale = turn(next_lease(leased, committed), at_ms=clock.now_ms())
        before = store.dump()
        assert worker.commit(msgspec.structs.replace(stale, execution_id=1)).turns == [TurnOutcome.CONFLICT]
        assert store.dump() == before

    def test_a_turn_of_an_unknown_instance_is_fenced(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        self.start(store)
        stale = msgspec.structs.replace(turn(worker.take(), at_ms=clock.now_ms()), incarnation=999)
        assert worker.commit(stale).turns == [TurnOutcome.FENCED]

    def test_a_turn_of_an_instance_nobody_holds_is_fenced(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        self.start(store)
        leased = worker.take()
        worker.release(leased)
        before = store.dump()
        assert worker.commit(turn(leased, at_ms=clock.now_ms())).turns == [TurnOutcome.FENCED]
        assert store.dump() == before

    def test_every_turn_of_a_batch_has_an_outcome_of_its_own(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        store.start_instances([start_request(name) for name in "abcd"])
        good, lost, moved, last = worker.lease().instances
        turns = [turn(leased, completed(), at_ms=clock.now_ms()) for leased in (good, lost, moved, last)]
        worker.release(lost)
        worker.run(moved, keep_lease=True)
        assert worker.commit(*turns).turns == [
            TurnOutcome.COMMITTED,
            TurnOutcome.FENCED,
            TurnOutcome.CONFLICT,
            TurnOutcome.COMMITTED,
        ]
        statuses = {row["instance_id"]: row["status"] for row in store.dump()["instances"]}
        assert statuses == {"a": "completed", "b": "pending", "c": "running", "d": "completed"}

    def test_a_batch_carries_everything_a_worker_gives_back(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        store.start_instances([start_request("a"), start_request("b")])
        for leased in worker.lease().instances:
            worker.run(leased, activity_scheduled("charge"))
        finished, retried = worker.lease(instances=0, activities=10).activities
        store.start_instances([start_request("c"), start_request("d")])
        turned, released = worker.lease().instances
        result = worker.commit(
            turn(turned, completed(), at_ms=clock.now_ms()),
            releases=[_release(released), _release(msgspec.structs.replace(released, lease_epoch=99))],
            finished=[_finish(finished), _finish(msgspec.structs.replace(finished, lease_epoch=99))],
            retries=[_retry(retried), _retry(finished)],
        )
        assert result.turns == [TurnOutcome.COMMITTED]
        assert result.releases == [TurnOutcome.COMMITTED, TurnOutcome.FENCED]
        assert result.finished == [TurnOutcome.COMMITTED, TurnOutcome.FENCED]
        assert result.retries == [TurnOutcome.COMMITTED, TurnOutcome.FENCED]
        assert result.store_time_ms == clock.now_ms()

    def test_the_last_commit_of_an_instance_can_be_looked_up(self, store: Store, worker: ScriptedWorker) -> None:
        first, second = self.start(store, "a"), self.start(store, "b")
        assert tokens(store, [first, second, 999]) == {first: None, second: None}
        leased = {instance.instance_id: instance for instance in worker.lease().instances}
        worker.commit(turn(leased["a"], at_ms=store.now_ms()), batch_id="t1")
        assert tokens(store, [first, second]) == {first: "t1", second: None}
        assert tokens(store, []) == {}

    def test_a_commit_that_ended_the_instance_can_be_looked_up(self, store: Store, worker: ScriptedWorker) -> None:
        incarnation = self.start(store)
        worker.commit(turn(worker.take(), completed(), at_ms=store.now_ms()), batch_id="last")
        assert tokens(store, [incarnation]) == {incarnation: "last"}

    def test_a_turn_that_did_not_commit_leaves_no_token(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        incarnation = self.start(store)
        stale = turn(worker.take(), at_ms=clock.now_ms())
        clock.advance(LEASE_MS)
        store.release_expired()
        worker.commit(stale, batch_id="stale")
        assert tokens(store, [incarnation]) == {incarnation: None}

    def test_only_turns_leave_a_token(self, store: Store, worker: ScriptedWorker) -> None:
        """An activity another worker finishes must not hide the commit of the worker that holds the instance."""
        incarnation = self.start(store)
        second = ScriptedWorker(store, "w2")
        leased = worker.take()
        committed = turn(leased, activity_scheduled("charge"), at_ms=store.now_ms(), keep_lease=True)
        worker.commit(committed, batch_id="mine")
        second.finish(second.take_activity(), activity_succeeded_message(1, 2))
        worker.release(worker.take())
        assert tokens(store, [incarnation]) == {incarnation: "mine"}

    def test_histories_load_in_the_order_asked_for(self, store: Store, worker: ScriptedWorker) -> None:
        incarnation = self.start(store)
        worker.run(worker.take(), continued_as_new("1"))
        worker.run(worker.take(), wait_started("go"), waits=["go"])
        first, second = (store.read_history("a", number) for number in (1, 2))
        assert first is not None
        assert second is not None
        asked = [(incarnation, 2), (999, 1), (incarnation, 1), (incarnation, 3)]
        assert store.load_histories(asked) == [second.events, (), first.events, ()]
        assert store.load_histories([]) == []
