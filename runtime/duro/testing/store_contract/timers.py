"""Timers: armed by a commit, due once, and never early."""

from duro.model.turns import CreateTimer, DueTimer, TurnOutcome
from duro.stores.base import Store
from duro.testing.builders import (
    activity_completed,
    activity_failed,
    activity_scheduled,
    activity_succeeded_message,
    timer_created,
    timer_fired,
)
from duro.testing.clock import ManualClock
from duro.testing.scripted import ScriptedWorker
from duro.testing.store_contract.suite import StoreContract


class TimersContract(StoreContract):
    """Timers of the current execution."""

    def test_an_instance_is_ready_at_the_time_of_its_earliest_timer(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        now = clock.now_ms()
        self.start(store)
        worker.run(worker.take(), timer_created(now + 2_000), timer_created(now + 1_000))
        assert self.instance(store).ready_at_ms == now + 1_000
        clock.advance(999)
        assert worker.lease().instances == ()
        clock.advance(1)
        assert worker.take().timers == (DueTimer(3, now + 1_000),)

    def test_an_activity_may_have_a_timer_under_its_own_event_that_ends_it(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        """Its deadline: nobody has to take the activity for it to be over."""
        due_ms = clock.now_ms() + 10
        self.start(store)
        worker.run(worker.take(), activity_scheduled("charge"), timers=[CreateTimer(2, due_ms)])
        other = ScriptedWorker(store, "w2")
        running = other.take_activity()
        clock.advance(10)
        leased = worker.take()
        assert leased.timers == (DueTimer(2, due_ms),)
        worker.run(leased, activity_failed(2), consumed_timers=[2], cancelled_activities=[2])
        assert other.finish(running, activity_succeeded_message(1, 2)) is TurnOutcome.FENCED
        dump = store.dump()
        assert (dump["timers"], dump["activities"], dump["messages"]) == ([], [], [])

    def test_a_deadline_goes_with_the_answer_that_came_in_time(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        self.start(store)
        worker.run(worker.take(), activity_scheduled("charge"), timers=[CreateTimer(2, clock.now_ms() + 10)])
        worker.finish(worker.take_activity(), activity_succeeded_message(1, 2))
        worker.run(worker.take(), activity_completed(2), cancelled_timers=[2])
        assert store.dump()["timers"] == []
        assert self.instance(store).ready_at_ms is None

    def test_due_timers_come_in_the_order_they_fire(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        now = clock.now_ms()
        self.start(store)
        delays = (30, 10, 20, 10, 90)
        worker.run(worker.take(), *(timer_created(now + delay) for delay in delays))
        clock.advance(30)
        assert worker.take().timers == (
            DueTimer(3, now + 10),
            DueTimer(5, now + 10),
            DueTimer(4, now + 20),
            DueTimer(2, now + 30),
        )

    def test_a_timer_in_the_past_is_due_at_once(self, store: Store, worker: ScriptedWorker, clock: ManualClock) -> None:
        self.start(store)
        worker.run(worker.take(), timer_created(0))
        assert self.instance(store).ready_at_ms == clock.now_ms()
        assert worker.take().timers == (DueTimer(2, 0),)

    def test_a_timer_fires_once(self, store: Store, worker: ScriptedWorker, clock: ManualClock) -> None:
        now = clock.now_ms()
        self.start(store)
        worker.run(worker.take(), timer_created(now + 10), timer_created(now + 50))
        clock.advance(10)
        worker.run(worker.take(), timer_fired(2))
        assert worker.is_idle()
        clock.advance(40)
        assert worker.take().timers == (DueTimer(3, now + 50),)

    def test_a_due_timer_that_was_not_taken_is_due_again(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        self.start(store)
        worker.run(worker.take(), timer_created(clock.now_ms() + 10))
        clock.advance(10)
        worker.release(worker.take())
        assert len(worker.take().timers) == 1

    def test_a_timer_that_comes_due_during_a_turn_is_not_forgotten(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        self.start(store)
        worker.run(worker.take(), timer_created(clock.now_ms() + 10), activity_scheduled())
        worker.finish(worker.take_activity(), activity_succeeded_message(1, 3))
        leased = worker.take()
        assert leased.timers == ()
        clock.advance(10)
        worker.run(leased, activity_completed(3))
        assert len(worker.take().timers) == 1

    def test_a_message_wakes_an_instance_before_its_timer(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        now = clock.now_ms()
        self.start(store)
        worker.run(worker.take(), timer_created(now + 10_000), activity_scheduled())
        worker.finish(worker.take_activity(), activity_succeeded_message(1, 3))
        leased = worker.take()
        assert (leased.timers, len(leased.messages)) == ((), 1)
        worker.release(leased)
        assert self.instance(store).ready_at_ms == now
