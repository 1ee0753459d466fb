"""Leasing: who gets which instance, when, under which epoch, and what a leased instance brings along."""

import pytest

from duro.model.events import ParentLink
from duro.model.turns import LeasedInstance, LeaseRequest, TurnOutcome
from duro.stores.base import Store
from duro.testing.builders import (
    activity_scheduled,
    activity_succeeded_message,
    child_scheduled,
    continued_as_new,
    detached_scheduled,
    start_request,
    timer_created,
    turn,
    wait_started,
)
from duro.testing.clock import ManualClock
from duro.testing.scripted import ScriptedWorker
from duro.testing.store_contract.suite import StoreContract


def _ids(leased: tuple[LeasedInstance, ...]) -> list[str]:
    return [instance.instance_id for instance in leased]


class LeasingContract(StoreContract):
    """``lease`` of instances. Activities have a topic of their own."""

    def test_a_leased_instance_brings_all_a_first_turn_needs(self, store: Store, worker: ScriptedWorker) -> None:
        incarnation = self.start(store, input='{"n": 1}')
        assert worker.take() == LeasedInstance(
            instance_id="a",
            incarnation=incarnation,
            execution_id=1,
            name="Order",
            version="",
            turn_sequence=0,
            lease_epoch=1,
            attempt_count=1,
            input='{"n": 1}',
            parent=None,
            cancel_reason=None,
            event_count=0,
            history_bytes=0,
        )

    def test_a_later_turn_is_leased_without_input(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store, input="1")
        worker.run(worker.take(), wait_started("go"), waits=["go"])
        store.raise_event("a", "go", "null", "r")
        leased = worker.take()
        assert (leased.input, leased.version, leased.event_count, leased.turn_sequence) == (None, "1.0.0", 2, 1)
        (execution,) = store.dump()["executions"]
        assert leased.history_bytes == execution["history_bytes"] > 0

    def test_a_lease_is_held_by_its_worker_and_by_nobody_else(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        worker.take()
        record = self.instance(store)
        assert (record.lease_worker_id, record.ready_at_ms) == ("w1", None)
        assert ScriptedWorker(store, "w2").lease().instances == ()
        assert worker.lease().instances == ()

    def test_a_worker_without_a_row_leases_nothing(self, store: Store, worker: ScriptedWorker) -> None:
        """Its leases would never expire."""
        self.start(store)
        before = store.dump()
        result = store.lease("stranger", worker.request())
        assert (result.instances, result.activities, result.next_ready_at_ms) == ((), (), None)
        assert store.dump() == before

    def test_only_the_requested_kinds_are_leased(self, store: Store) -> None:
        self.start(store, "a", "Order", version="1.0.0")
        self.start(store, "b", "Order", version="2.0.0")
        self.start(store, "c", "Child", version="1.0.0")
        picky = ScriptedWorker(store, orchestrations=[("Order", "2.0.0"), ("Child", "9.9.9"), ("Ordering", "1.0.0")])
        assert _ids(picky.lease().instances) == ["b"]

    def test_an_unchosen_version_is_leased_under_the_empty_version(self, store: Store) -> None:
        self.start(store)
        assert ScriptedWorker(store, "w1", orchestrations=[("Order", "1.0.0")]).lease().instances == ()
        assert _ids(ScriptedWorker(store, "w2", orchestrations=[("Order", "")]).lease().instances) == ["a"]

    @pytest.mark.usefixtures("worker")
    def test_a_worker_that_requests_no_kinds_gets_nothing(self, store: Store) -> None:
        self.start(store)
        request = LeaseRequest(orchestrations=(), activities=(), instances_max=10, activities_max=10)
        result = store.lease("w1", request)
        assert (result.instances, result.next_ready_at_ms) == ((), None)

    def test_no_more_than_the_maximum_is_leased(self, store: Store, worker: ScriptedWorker, clock: ManualClock) -> None:
        store.start_instances([start_request(f"i{number}") for number in range(5)])
        result = worker.lease(instances=3)
        assert len(result.instances) == 3
        assert result.next_ready_at_ms == clock.now_ms()
        assert len(worker.lease(instances=3).instances) == 2

    def test_the_earliest_ready_comes_first(self, store: Store, worker: ScriptedWorker, clock: ManualClock) -> None:
        for instance_id in ("c", "a", "b"):
            self.start(store, instance_id)
            clock.advance(10)
        assert _ids(worker.lease(instances=2).instances) == ["c", "a"]
        assert _ids(worker.lease(instances=2).instances) == ["b"]

    def test_what_became_ready_together_comes_in_order_of_age(self, store: Store, worker: ScriptedWorker) -> None:
        store.start_instances([start_request(name) for name in "cab"])
        assert _ids(worker.lease(instances=2).instances) == ["c", "a"]

    def test_a_crowd_of_one_kind_does_not_keep_the_others_waiting(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        store.start_instances([start_request(f"order{number}") for number in range(50)])
        clock.advance(10)
        self.start(store, "child", "Child")
        self.start(store, "new", version="2.0.0")
        leased = _ids(worker.lease(instances=6).instances)
        assert len(leased) == 6
        assert {"child", "new"} < set(leased)

    def test_an_instance_that_keeps_receiving_keeps_its_place(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        """It is ready since its first event; the second does not send it to the back of the queue."""
        self.start(store, "a")
        worker.run(worker.take(), wait_started("go"), waits=["go"])
        store.raise_event("a", "go", "1", "r1")
        ready_at_ms = clock.now_ms()
        clock.advance(10)
        self.start(store, "b", version="1.0.0")
        clock.advance(10)
        store.raise_event("a", "go", "2", "r2")
        assert self.instance(store).ready_at_ms == ready_at_ms
        assert _ids(worker.lease(instances=1).instances) == ["a"]

    def test_each_lease_raises_the_epoch_and_the_attempt(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        for number in (1, 2, 3):
            leased = worker.take()
            assert (leased.lease_epoch, leased.attempt_count) == (number, number)
            worker.release(leased, count_attempt=True)

    def test_a_commit_starts_the_attempts_anew_and_not_the_epochs(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        worker.release(worker.take(), count_attempt=True)
        worker.run(worker.take(), continued_as_new())
        leased = worker.take()
        assert (leased.lease_epoch, leased.attempt_count) == (3, 1)

    def test_what_arrives_at_a_held_instance_is_leased_again_to_its_holder(
        self, store: Store, worker: ScriptedWorker
    ) -> None:
        self.start(store)
        first = worker.take()
        store.request_cancel("a", "enough", "r")
        assert ScriptedWorker(store, "w2").lease().instances == ()
        again = worker.take()
        assert (again.lease_epoch, again.attempt_count) == (first.lease_epoch, first.attempt_count)
        assert again.cancel_reason == "enough"
        assert worker.lease().instances == ()

    def test_a_held_instance_is_leased_again_with_what_arrived_since_its_turn(
        self, store: Store, worker: ScriptedWorker
    ) -> None:
        self.start(store)
        first = worker.take()
        worker.run(first, wait_started("go"), waits=["go"], keep_lease=True)
        assert worker.lease().instances == ()
        store.raise_event("a", "go", "7", "r")
        again = worker.take()
        assert again.lease_epoch == first.lease_epoch
        assert (again.turn_sequence, again.event_count, again.attempt_count) == (1, 2, 0)
        assert [event.data for event in again.mailbox] == ["7"]

    def test_a_timer_of_a_held_instance_comes_due_for_its_holder(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        self.start(store)
        fire_at_ms = clock.now_ms() + 1_000
        worker.run(worker.take(), timer_created(fire_at_ms), keep_lease=True)
        assert self.instance(store).ready_at_ms == fire_at_ms
        result = worker.lease()
        assert (result.instances, result.next_ready_at_ms) == ((), fire_at_ms)
        clock.advance(1_000)
        assert ScriptedWorker(store, "w2").lease().instances == ()
        assert [timer.event_id for timer in worker.take().timers] == [2]

    def test_nothing_ready_writes_nothing(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        worker.take()
        before, counter = store.dump(), store.change_counter()
        assert worker.lease(activities=10).instances == ()
        assert store.dump() == before
        assert store.change_counter() == counter

    def test_next_ready_is_the_earliest_further_work(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        now = clock.now_ms()
        self.start(store, "a")
        self.start(store, "b")
        for leased, delay in zip(worker.lease().instances, (5_000, 3_000), strict=True):
            worker.run(leased, timer_created(now + delay))
        assert worker.lease().next_ready_at_ms == now + 3_000
        clock.advance(3_000)
        assert _ids(worker.lease().instances) == ["b"]
        assert worker.lease().next_ready_at_ms == now + 5_000

    def test_next_ready_counts_activities_that_are_requested(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        self.start(store)
        worker.run(worker.take(), activity_scheduled("charge"))
        activity = worker.take_activity()
        assert worker.lease().next_ready_at_ms is None
        worker.retry(activity, visible_at_ms=clock.now_ms() + 700, failed=True)
        assert worker.lease(activities=10).next_ready_at_ms == clock.now_ms() + 700
        assert ScriptedWorker(store, "w2", activities=["ship"]).lease(activities=10).next_ready_at_ms is None

    def test_next_ready_is_none_without_further_work(self, store: Store, worker: ScriptedWorker) -> None:
        """Work of other kinds, or held by other workers, is nothing this worker could wait for."""
        assert worker.lease().next_ready_at_ms is None
        self.start(store, "other", "Unknown")
        self.start(store, "held")
        ScriptedWorker(store, "w2").take("held")
        store.request_cancel("held", "stop", "r")
        assert worker.lease().next_ready_at_ms is None

    def test_a_request_for_nothing_still_tells_what_is_there(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        self.start(store)
        result = worker.lease(instances=0, activities=0)
        assert (result.instances, result.next_ready_at_ms) == ((), clock.now_ms())

    def test_messages_come_in_order_of_arrival(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        worker.run(worker.take(), activity_scheduled("charge"), activity_scheduled("charge"))
        for leased in reversed(worker.lease(instances=0, activities=10).activities):
            worker.finish(leased, activity_succeeded_message(1, leased.event_id))
        leased_instance = worker.take()
        assert [message.data for message in leased_instance.messages] == [
            activity_succeeded_message(1, 3),
            activity_succeeded_message(1, 2),
        ]
        numbers = [message.message_id for message in leased_instance.messages]
        assert numbers == sorted(numbers)

    def test_a_child_knows_who_waits_for_it(self, store: Store, worker: ScriptedWorker) -> None:
        incarnation = self.start(store)
        worker.run(worker.take(), child_scheduled("child"))
        link = ParentLink(instance_id="a", incarnation=incarnation, execution_id=1, event_id=2)
        assert worker.take("child").parent == link

    def test_nobody_waits_for_a_detached_one(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        worker.run(worker.take(), detached_scheduled("free"))
        assert worker.take("free").parent is None

    def test_a_commit_can_lease_the_next_work(self, store: Store, worker: ScriptedWorker) -> None:
        """What the commit made ready can be taken by the same transaction."""
        self.start(store)
        leased = worker.take()
        spawning = turn(leased, child_scheduled("child"), activity_scheduled("charge"), at_ms=store.now_ms())
        result = worker.commit(spawning, lease=worker.request(10, 10))
        assert _ids(result.leased.instances) == ["child"]
        assert [activity.name for activity in result.leased.activities] == ["charge"]

    def test_a_commit_that_is_fenced_still_leases(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        leased = worker.take()
        store.terminate_instance("a", "gone")
        self.start(store, "b")
        result = worker.commit(turn(leased, at_ms=store.now_ms()), lease=worker.request())
        assert result.turns == [TurnOutcome.FENCED]
        assert _ids(result.leased.instances) == ["b"]
