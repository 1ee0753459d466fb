"""Workers, their leases, and what happens to the work of one that stops: taken over, and fenced off."""

import pytest

from duro.model.failure import FailureDetails
from duro.model.turns import TurnOutcome
from duro.stores.base import Store
from duro.testing.builders import (
    activity_failed_message,
    activity_scheduled,
    activity_succeeded_message,
    completed,
    timer_created,
    turn,
    worker_record,
)
from duro.testing.clock import ManualClock
from duro.testing.scripted import LEASE_MS, ScriptedWorker
from duro.testing.store_contract.suite import StoreContract


class WorkersContract(StoreContract):
    """Registering, renewing, listing; the maintenance lease."""

    def test_a_worker_is_stored_as_it_registers(self, store: Store, clock: ManualClock) -> None:
        record = worker_record(
            "w", orchestrations=[("B", "2"), ("A", ""), ("A", "1")], activities=["z", "y"], started_at_ms=7
        )
        stored = store.register_worker(record, 5_000)
        assert stored.lease_until_ms == clock.now_ms() + 5_000
        assert (stored.worker_id, stored.host, stored.process_id, stored.started_at_ms) == ("w", "test", 1, 7)
        assert set(stored.orchestrations) == {("A", ""), ("A", "1"), ("B", "2")}
        assert set(stored.activities) == {"y", "z"}
        assert store.list_workers() == (stored,)

    def test_registering_again_replaces_what_was_published(self, store: Store, clock: ManualClock) -> None:
        store.register_worker(worker_record("w", orchestrations=[("A", "1")], activities=["y"]), 5_000)
        clock.advance(1_000)
        again = store.register_worker(worker_record("w", orchestrations=[("A", "2")]), 5_000)
        assert store.list_workers() == (again,)
        assert (again.orchestrations, again.activities) == ((("A", "2"),), ())
        assert again.lease_until_ms == clock.now_ms() + 5_000

    def test_registering_again_keeps_what_the_worker_holds(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        leased = worker.take()
        worker.register()
        worker.run(leased, completed())

    def test_workers_are_listed_by_their_start_expired_ones_included(self, store: Store, clock: ManualClock) -> None:
        for worker_id, started_at_ms in (("late", 3), ("early", 1), ("middle", 2)):
            store.register_worker(worker_record(worker_id, started_at_ms=started_at_ms), 1_000)
        clock.advance(2_000)
        assert [worker.worker_id for worker in store.list_workers()] == ["early", "middle", "late"]

    @pytest.mark.usefixtures("worker")
    def test_renewing_extends_the_lease_from_now(self, store: Store, clock: ManualClock) -> None:
        clock.advance(1_000)
        assert store.renew_worker("w1", 5_000)
        assert store.list_workers()[0].lease_until_ms == clock.now_ms() + 5_000

    @pytest.mark.usefixtures("worker")
    def test_a_worker_says_how_many_of_its_threads_are_stuck_with_each_renewal(self, store: Store) -> None:
        for threads_stuck in (3, 0):
            assert store.renew_worker("w1", 5_000, threads_stuck=threads_stuck)
            assert store.list_workers()[0].threads_stuck == threads_stuck
            assert [row["threads_stuck"] for row in store.dump()["workers"]] == [threads_stuck]

    def test_an_expired_lease_nobody_took_can_be_renewed(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        self.start(store)
        leased = worker.take()
        clock.advance(LEASE_MS * 2)
        assert store.renew_worker("w1", LEASE_MS)
        assert store.release_expired() == 0
        worker.run(leased, completed())

    @pytest.mark.usefixtures("worker")
    def test_a_worker_whose_row_is_gone_cannot_renew(self, store: Store, clock: ManualClock) -> None:
        clock.advance(LEASE_MS)
        assert store.release_expired() == 1
        assert not store.renew_worker("w1", LEASE_MS)
        assert store.list_workers() == ()

    def test_the_maintenance_lease_has_one_holder(self, store: Store, clock: ManualClock) -> None:
        assert store.acquire_maintenance("m1", 1_000)
        assert not store.acquire_maintenance("m2", 1_000)
        clock.advance(900)
        assert store.acquire_maintenance("m1", 1_000)
        clock.advance(900)
        assert not store.acquire_maintenance("m2", 1_000)
        clock.advance(100)
        assert store.acquire_maintenance("m2", 1_000)
        assert not store.acquire_maintenance("m1", 1_000)

    def test_the_maintenance_lease_is_given_back_by_its_holder_only(self, store: Store) -> None:
        store.acquire_maintenance("m1", 1_000)
        store.release_maintenance("m2")
        assert not store.acquire_maintenance("m2", 1_000)
        store.release_maintenance("m1")
        assert store.acquire_maintenance("m2", 1_000)


class ExpiryContract(StoreContract):
    """Expiry, takeover and fencing."""

    @pytest.mark.usefixtures("worker")
    def test_a_lease_expires_at_its_last_millisecond_and_not_before(self, store: Store, clock: ManualClock) -> None:
        clock.advance(LEASE_MS - 1)
        assert store.release_expired() == 0
        clock.advance(1)
        assert store.release_expired() == 1
        assert store.release_expired() == 0

    def test_the_work_of_an_expired_worker_is_taken_by_the_next_lease(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        self.start(store)
        first = worker.take()
        clock.advance(LEASE_MS)
        taken = ScriptedWorker(store, "w2").take()
        assert (taken.lease_epoch, taken.attempt_count) == (first.lease_epoch + 1, first.attempt_count + 1)
        assert [record.worker_id for record in store.list_workers()] == ["w2"]

    def test_a_commit_that_leases_takes_over_too(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        self.start(store)
        worker.take()
        clock.advance(LEASE_MS)
        second = ScriptedWorker(store, "w2")
        result = second.commit(lease=second.request())
        assert [instance.instance_id for instance in result.leased.instances] == ["a"]

    def test_a_worker_that_lost_its_lease_commits_nothing(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        self.start(store)
        stale = turn(worker.take(), completed(), at_ms=clock.now_ms())
        clock.advance(LEASE_MS)
        taken = ScriptedWorker(store, "w2").take()
        worker.register()
        before = store.dump()
        assert worker.commit(stale).turns == [TurnOutcome.FENCED]
        assert store.dump() == before
        ScriptedWorker(store, "w2").run(taken, completed())

    def test_a_worker_that_lost_its_lease_commits_nothing_after_the_taker_gave_it_back(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        self.start(store)
        stale = turn(worker.take(), completed(), at_ms=clock.now_ms())
        clock.advance(LEASE_MS)
        second = ScriptedWorker(store, "w2")
        second.release(second.take())
        worker.register()
        assert worker.commit(stale).turns == [TurnOutcome.FENCED]

    def test_a_lease_taken_again_does_not_revive_the_old_one(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        """The same worker, a new epoch: what it computed under the old one is void."""
        self.start(store)
        stale = turn(worker.take(), completed(), at_ms=clock.now_ms())
        clock.advance(LEASE_MS)
        store.release_expired()
        worker.register()
        worker.take()
        assert worker.commit(stale).turns == [TurnOutcome.FENCED]

    def test_a_worker_whose_expired_lease_nobody_took_still_commits(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        self.start(store)
        leased = worker.take()
        clock.advance(LEASE_MS * 10)
        worker.run(leased, completed())

    def test_an_expired_worker_takes_back_from_itself_as_from_anyone(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        self.start(store)
        leased = worker.take()
        clock.advance(LEASE_MS)
        assert worker.lease().instances == ()
        assert store.list_workers() == ()
        worker.register()
        assert worker.take().lease_epoch == leased.lease_epoch + 1

    def test_what_an_expired_worker_held_is_ready_now(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        self.start(store)
        worker.run(worker.take(), timer_created(clock.now_ms() + 10 * LEASE_MS), activity_scheduled(), keep_lease=True)
        worker.take_activity()
        clock.advance(LEASE_MS)
        store.release_expired()
        record = self.instance(store)
        assert (record.lease_worker_id, record.ready_at_ms) == (None, clock.now_ms())
        (activity,) = store.dump()["activities"]
        assert (activity["lease_worker_id"], activity["visible_at_ms"]) == (None, clock.now_ms())

    def test_only_the_expired_lose_their_work(self, store: Store, worker: ScriptedWorker, clock: ManualClock) -> None:
        self.start(store, "a")
        worker.take("a")
        clock.advance(LEASE_MS // 2)
        second = ScriptedWorker(store, "w2")
        self.start(store, "b")
        second.take("b")
        clock.advance(LEASE_MS // 2)
        assert store.release_expired() == 1
        assert self.instance(store, "a").lease_worker_id is None
        assert self.instance(store, "b").lease_worker_id == "w2"

    def test_a_released_worker_gives_back_everything(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        self.start(store, "a")
        worker.run(worker.take("a"), activity_scheduled("charge"))
        worker.take_activity()
        self.start(store, "b")
        leased = worker.take("b")
        store.release_worker("w1")
        assert store.list_workers() == ()
        assert store.dump()["capabilities"] == []
        second = ScriptedWorker(store, "w2")
        assert second.take("b").lease_epoch == leased.lease_epoch + 1
        assert second.take_activity().lease_epoch == 2
        assert worker.commit(turn(leased, completed(), at_ms=clock.now_ms())).turns == [TurnOutcome.FENCED]

    @pytest.mark.usefixtures("worker")
    def test_releasing_an_unknown_worker_does_nothing(self, store: Store) -> None:
        before = store.dump()
        store.release_worker("stranger")
        assert store.dump() == before

    def test_a_lost_activity_is_neither_finished_nor_retried(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        self.start(store)
        worker.run(worker.take(), activity_scheduled("charge"))
        stale = worker.take_activity()
        clock.advance(LEASE_MS)
        second = ScriptedWorker(store, "w2")
        taken = second.take_activity()
        worker.register()
        before = store.dump()
        assert worker.finish(stale, activity_succeeded_message(1, 2)) is TurnOutcome.FENCED
        failed = activity_failed_message(1, 2, FailureDetails(type="E", message="m"))
        assert worker.finish(stale, failed) is TurnOutcome.FENCED
        assert worker.retry(stale, visible_at_ms=0, failed=True) is TurnOutcome.FENCED
        assert store.dump() == before
        assert second.finish(taken, activity_succeeded_message(1, 2)) is TurnOutcome.COMMITTED

    def test_a_lost_instance_is_not_released(self, store: Store, worker: ScriptedWorker, clock: ManualClock) -> None:
        self.start(store)
        stale = worker.take()
        clock.advance(LEASE_MS)
        ScriptedWorker(store, "w2").take()
        worker.register()
        before = store.dump()
        assert worker.release(stale) is TurnOutcome.FENCED
        assert store.dump() == before
