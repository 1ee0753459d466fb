"""The activity queue: at least once, one holder at a time, gone when its answer is recorded."""

import msgspec

from duro.model.options import RetryPolicy
from duro.model.turns import LeasedActivity, ScheduleActivity, TurnOutcome
from duro.stores.base import Store
from duro.testing.builders import (
    activity_cancel_requested,
    activity_completed,
    activity_failed,
    activity_failed_message,
    activity_scheduled,
    activity_succeeded_message,
    event_received,
    next_lease,
    size,
    start_request,
    timer_created,
    turn,
    wait_started,
)
from duro.testing.clock import ManualClock
from duro.testing.scripted import LEASE_MS, ScriptedWorker
from duro.testing.store_contract.suite import StoreContract


def _claimed(event_id: int, name: str = "charge") -> ScheduleActivity:
    return ScheduleActivity(event_id=event_id, name=name, input="null", claimed=True)


class ActivitiesContract(StoreContract):
    """Scheduling, leasing, finishing and retrying activities."""

    def test_a_leased_activity_brings_what_its_scheduled_event_says(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        incarnation = self.start(store)
        retry = RetryPolicy(max_attempts=5, delay_s=0.5)
        event = activity_scheduled(
            "charge", '{"é": [1, 2.50]}', retry=retry, attempt_timeout_s=1.5, total_timeout_s=60.0
        )
        leased = worker.take()
        at_ms = clock.now_ms()
        clock.advance(3)
        worker.commit(turn(leased, event, at_ms=at_ms))
        assert worker.take_activity() == LeasedActivity(
            instance_id="a",
            incarnation=incarnation,
            execution_id=1,
            event_id=2,
            name="charge",
            attempt=1,
            lease_epoch=1,
            scheduled_at_ms=at_ms,
            input='{"é": [1, 2.50]}',
            retry=retry,
            attempt_timeout_s=1.5,
            total_timeout_s=60.0,
        )

    def test_nothing_starts_before_it_is_durable(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        leased = worker.take()
        assert worker.lease(activities=10).activities == ()
        worker.run(leased, activity_scheduled("charge"))
        assert len(worker.lease(activities=10).activities) == 1

    def test_an_activity_is_leased_once(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        worker.run(worker.take(), activity_scheduled("charge"))
        worker.take_activity()
        assert worker.lease(activities=10).activities == ()
        assert ScriptedWorker(store, "w2").lease(activities=10).activities == ()

    def test_only_requested_names_are_leased(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        worker.run(worker.take(), activity_scheduled("charge"), activity_scheduled("ship"))
        picky = ScriptedWorker(store, "picky", activities=["ship", "shipping"])
        assert picky.take_activity().name == "ship"

    def test_of_a_name_no_more_than_its_own_maximum_is_leased_the_oldest_first(
        self, store: Store, worker: ScriptedWorker
    ) -> None:
        """The rest of it is for others, and no reason to look again."""
        self.start(store)
        wanted = ["charge"] * 3 + ["ship"] * 2
        worker.run(worker.take(), *(activity_scheduled(name) for name in wanted))
        request = msgspec.structs.replace(worker.request(0, 100), activities_max_of={"charge": 2})
        leased = store.lease(worker.worker_id, request)
        assert sorted(activity.event_id for activity in leased.activities) == [2, 3, 5, 6]
        assert leased.next_ready_at_ms is None
        assert ScriptedWorker(store, "w2").take_activity().event_id == 4

    def test_no_more_than_the_maximum_is_leased_the_oldest_first(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        for instance_id in ("b", "a"):
            self.start(store, instance_id)
            worker.run(worker.take(), activity_scheduled("charge"), activity_scheduled("charge"))
            clock.advance(10)
        first = worker.lease(instances=0, activities=3).activities
        assert [(activity.instance_id, activity.event_id) for activity in first] == [("b", 2), ("b", 3), ("a", 2)]
        second = worker.lease(instances=0, activities=3).activities
        assert [(activity.instance_id, activity.event_id) for activity in second] == [("a", 3)]

    def test_a_crowd_of_one_activity_does_not_keep_the_others_waiting(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        self.start(store)
        worker.run(worker.take(), *(activity_scheduled("charge") for _ in range(50)))
        clock.advance(10)
        self.start(store, "b")
        worker.run(worker.take(), activity_scheduled("ship"))
        leased = worker.lease(instances=0, activities=4).activities
        assert len(leased) == 4
        assert "ship" in {activity.name for activity in leased}

    def test_activities_and_instances_have_limits_of_their_own(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        worker.run(worker.take(), activity_scheduled("charge"))
        store.start_instances([start_request("b"), start_request("c")])
        result = worker.lease(instances=1, activities=1)
        assert (len(result.instances), len(result.activities)) == (1, 1)

    def test_a_claimed_activity_is_born_leased_to_its_worker(self, store: Store, worker: ScriptedWorker) -> None:
        incarnation = self.start(store)
        worker.run(worker.take(), activity_scheduled("charge"), activities=[_claimed(2)], keep_lease=True)
        assert store.held_activities("w1") == {(incarnation, 1, 2, 1)}
        assert worker.lease(activities=10).activities == ()
        assert ScriptedWorker(store, "w2").lease(activities=10).activities == ()

    def test_a_claimed_activity_is_finished_in_the_next_turn(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        leased = worker.take()
        committed = worker.run(leased, activity_scheduled("charge"), activities=[_claimed(2)], keep_lease=True)
        worker.run(next_lease(leased, committed), activity_completed(2, "1"), finished_activities=[2])
        assert store.dump()["activities"] == []
        assert store.held_activities("w1") == frozenset()

    def test_a_claimed_activity_of_a_lost_worker_is_taken_by_another(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        self.start(store)
        worker.run(worker.take(), activity_scheduled("charge"), activities=[_claimed(2)], keep_lease=True)
        clock.advance(LEASE_MS)
        taken = ScriptedWorker(store, "w2").take_activity()
        assert (taken.attempt, taken.lease_epoch) == (1, 2)

    def test_a_finished_activity_reaches_the_queue_of_its_instance(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        self.start(store)
        worker.run(worker.take(), activity_scheduled("charge"))
        activity = worker.take_activity()
        assert worker.is_idle()
        assert worker.finish(activity, activity_succeeded_message(1, 2, "7")) is TurnOutcome.COMMITTED
        assert store.dump()["activities"] == []
        assert self.instance(store).ready_at_ms == clock.now_ms()
        assert [message.data for message in worker.take().messages] == [activity_succeeded_message(1, 2, "7")]

    def test_an_activity_can_be_finished_by_a_worker_that_does_not_hold_the_instance(
        self, store: Store, worker: ScriptedWorker
    ) -> None:
        self.start(store)
        leased = worker.take()
        second = ScriptedWorker(store, "w2")
        committed = worker.run(leased, activity_scheduled("charge"), keep_lease=True)
        activity = second.take_activity()
        assert second.finish(activity, activity_succeeded_message(1, 2)) is TurnOutcome.COMMITTED
        assert second.lease().instances == ()
        again = worker.take()
        assert again.lease_epoch == leased.lease_epoch
        assert again.turn_sequence == next_lease(leased, committed).turn_sequence
        worker.run(again, activity_completed(2))

    def test_a_finish_counts_once(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        worker.run(worker.take(), activity_scheduled("charge"))
        activity = worker.take_activity()
        assert worker.finish(activity, activity_succeeded_message(1, 2)) is TurnOutcome.COMMITTED
        assert worker.finish(activity, activity_succeeded_message(1, 2)) is TurnOutcome.FENCED
        assert len(store.dump()["messages"]) == 1

    def test_an_activity_nobody_leased_cannot_be_finished(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        worker.run(worker.take(), activity_scheduled("charge"))
        activity = worker.take_activity()
        worker.retry(activity, visible_at_ms=store.now_ms(), failed=False)
        assert worker.finish(activity, activity_succeeded_message(1, 2)) is TurnOutcome.FENCED

    def test_a_failed_attempt_is_visible_again_when_it_says(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        self.start(store)
        worker.run(worker.take(), activity_scheduled("charge"))
        visible_at_ms = clock.now_ms() + 1_000
        assert worker.retry(worker.take_activity(), visible_at_ms=visible_at_ms, failed=True) is TurnOutcome.COMMITTED
        clock.advance(999)
        assert worker.lease(activities=10).activities == ()
        clock.advance(1)
        again = ScriptedWorker(store, "w2").take_activity()
        assert (again.attempt, again.lease_epoch) == (2, 2)
        assert self.instance(store).ready_at_ms is None

    def test_an_attempt_given_back_did_not_happen(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        worker.run(worker.take(), activity_scheduled("charge"))
        worker.retry(worker.take_activity(), visible_at_ms=store.now_ms(), failed=False)
        again = worker.take_activity()
        assert (again.attempt, again.lease_epoch) == (1, 2)

    def test_attempts_count_failures_and_epochs_count_deliveries(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        self.start(store)
        worker.run(worker.take(), activity_scheduled("charge"))
        worker.retry(worker.take_activity(), visible_at_ms=clock.now_ms(), failed=True)
        worker.take_activity()
        store.release_worker("w1")
        last = ScriptedWorker(store, "w2").take_activity()
        assert (last.attempt, last.lease_epoch) == (2, 3)

    def test_a_cancelled_activity_leaves_its_queue(self, store: Store, worker: ScriptedWorker) -> None:
        """Its worker sees it gone from what it holds, and what it reports counts for nothing."""
        self.start(store)
        worker.run(worker.take(), activity_scheduled("charge"), wait_started("stop"), waits=["stop"])
        activity = worker.take_activity()
        assert len(store.held_activities("w1")) == 1
        store.raise_event("a", "stop", "null", "r")
        leased = worker.take()
        worker.run(
            leased,
            event_received(3, "stop"),
            activity_cancel_requested(2),
            consumed_mailbox=[leased.mailbox[0].sequence],
        )
        assert store.held_activities("w1") == frozenset()
        assert worker.finish(activity, activity_succeeded_message(1, 2)) is TurnOutcome.FENCED
        assert store.dump()["messages"] == []

    def test_a_failed_activity_is_recorded_like_any_answer(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        worker.run(worker.take(), activity_scheduled("charge"))
        worker.finish(worker.take_activity(), activity_failed_message(1, 2))
        worker.run(worker.take(), activity_failed(2))
        assert store.dump()["activities"] == []
        assert worker.is_idle()

    def test_held_activities_are_those_of_the_worker(self, store: Store, worker: ScriptedWorker) -> None:
        incarnation = self.start(store)
        worker.run(worker.take(), activity_scheduled("charge"), activity_scheduled("ship"))
        ScriptedWorker(store, "w2", activities=["ship"]).take_activity()
        worker.take_activity()
        assert store.held_activities("w1") == {(incarnation, 1, 2, 1)}
        assert store.held_activities("w2") == {(incarnation, 1, 3, 1)}
        assert store.held_activities("stranger") == frozenset()

    def test_held_instances_are_those_of_the_worker_under_their_epoch(
        self, store: Store, worker: ScriptedWorker
    ) -> None:
        """A worker that never learned what a commit did finds the leases it took here."""
        first = self.start(store)
        leased = worker.take()
        assert store.held_instances("w1") == {(first, leased.lease_epoch)}
        assert store.held_instances("stranger") == frozenset()
        worker.run(leased, timer_created(5))
        assert store.held_instances("w1") == frozenset()

    def test_an_activity_is_visible_from_its_commit_on(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        """Not from the time of its turn: a slow commit must not put it before what was visible earlier."""
        self.start(store)
        leased = worker.take()
        at_ms = clock.now_ms()
        clock.advance(7)
        worker.commit(turn(leased, activity_scheduled("charge"), at_ms=at_ms))
        (row,) = store.dump()["activities"]
        assert (row["scheduled_at_ms"], row["visible_at_ms"]) == (at_ms, clock.now_ms())

    def test_a_report_under_an_older_epoch_is_fenced(self, store: Store, worker: ScriptedWorker) -> None:
        """The same worker has it again: what the first delivery reports does not count for the second."""
        self.start(store)
        worker.run(worker.take(), activity_scheduled("charge"))
        stale = worker.take_activity()
        worker.retry(stale, visible_at_ms=store.now_ms(), failed=False)
        current = worker.take_activity()
        assert worker.finish(stale, activity_succeeded_message(1, 2)) is TurnOutcome.FENCED
        assert worker.retry(stale, visible_at_ms=store.now_ms(), failed=True) is TurnOutcome.FENCED
        assert worker.finish(current, activity_succeeded_message(1, 2)) is TurnOutcome.COMMITTED

    def test_events_no_store_can_read_keep_only_their_own_activities_from_running(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        """Written by a newer duro, or damaged: one activity must not stop all the others (head of line)."""
        store.start_instances([start_request(f"bad{number}") for number in range(5)])
        for leased in worker.lease().instances:
            committed = turn(leased, activity_scheduled("charge"), at_ms=clock.now_ms())
            committed.events[1] = '{"type":"WrittenByTheFuture"}'
            committed.history_bytes = size(committed.events)
            worker.commit(committed)
        clock.advance(10)
        self.start(store, "good")
        worker.run(worker.take(), activity_scheduled("charge"))
        result = worker.lease(instances=0, activities=1)
        assert [activity.instance_id for activity in result.activities] == ["good"]
        assert worker.lease(activities=1).activities == ()
        assert worker.is_idle()
