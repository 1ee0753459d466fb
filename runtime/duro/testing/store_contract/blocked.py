"""Giving work back: releases, and instances that are blocked until code matches or somebody resumes them."""

import pytest

from duro.errors import InstanceFinishedError, InstanceNotFoundError
from duro.model.records import InstanceFilter
from duro.model.status import STORED_BLOCKS, BlockedKind
from duro.model.turns import TurnOutcome
from duro.stores.base import Store
from duro.testing.builders import activity_scheduled, activity_succeeded_message, completed, timer_created, wait_started
from duro.testing.clock import ManualClock
from duro.testing.scripted import LEASE_MS, ScriptedWorker
from duro.testing.store_contract.suite import StoreContract

CODE_MAY_MATCH = pytest.mark.parametrize("kind", [BlockedKind.NONDETERMINISM, BlockedKind.HISTORY_UNREADABLE])


class ReleasesContract(StoreContract):
    """``ReleaseInstance`` without a block."""

    def test_a_release_gives_the_lease_and_the_attempt_back(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        assert worker.release(worker.take()) is TurnOutcome.COMMITTED
        record = self.instance(store)
        assert (record.lease_worker_id, record.attempt_count, record.ready_at_ms) == (None, 0, store.now_ms())
        leased = ScriptedWorker(store, "w2").take()
        assert (leased.lease_epoch, leased.attempt_count) == (2, 1)

    def test_a_release_can_count_the_attempt(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        worker.release(worker.take(), count_attempt=True)
        assert self.instance(store).attempt_count == 1

    def test_attempts_never_go_below_zero(self, store: Store, worker: ScriptedWorker) -> None:
        """A lease kept over a commit has no attempt to give back."""
        self.start(store)
        leased = worker.take()
        worker.run(leased, wait_started("go"), waits=["go"], keep_lease=True)
        worker.release(leased)
        assert self.instance(store).attempt_count == 0

    def test_crashes_count_as_attempts(self, store: Store, clock: ManualClock) -> None:
        self.start(store)
        for number in (1, 2, 3):
            crashing = ScriptedWorker(store, f"crash{number}")
            assert crashing.take().attempt_count == number
            clock.advance(LEASE_MS)

    def test_an_instance_with_nothing_to_do_sleeps(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        leased = worker.take()
        worker.run(leased, wait_started("go"), waits=["go"], keep_lease=True)
        worker.release(leased)
        assert self.instance(store).ready_at_ms is None

    def test_an_instance_with_a_timer_sleeps_until_it_fires(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        self.start(store)
        leased = worker.take()
        worker.run(leased, timer_created(clock.now_ms() + 10), keep_lease=True)
        worker.release(leased)
        assert self.instance(store).ready_at_ms == clock.now_ms() + 10

    def test_a_release_may_ask_for_a_pause(self, store: Store, worker: ScriptedWorker, clock: ManualClock) -> None:
        self.start(store)
        worker.release(worker.take(), retry_at_ms=clock.now_ms() + 10)
        assert self.instance(store).ready_at_ms == clock.now_ms() + 10
        assert worker.lease().instances == ()
        clock.advance(10)
        worker.take()

    def test_a_pause_in_the_past_is_none(self, store: Store, worker: ScriptedWorker, clock: ManualClock) -> None:
        self.start(store)
        worker.release(worker.take(), retry_at_ms=clock.now_ms() - 10)
        assert self.instance(store).ready_at_ms == clock.now_ms()

    def test_a_pause_makes_no_work(self, store: Store, worker: ScriptedWorker, clock: ManualClock) -> None:
        self.start(store)
        leased = worker.take()
        worker.run(leased, wait_started("go"), waits=["go"], keep_lease=True)
        worker.release(leased, retry_at_ms=clock.now_ms() + 10)
        assert self.instance(store).ready_at_ms is None

    def test_a_release_under_another_epoch_is_fenced(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        stale = worker.take()
        worker.release(stale)
        worker.take()
        assert worker.release(stale) is TurnOutcome.FENCED
        assert self.instance(store).lease_worker_id == "w1"

    def test_a_release_by_another_worker_is_fenced(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        leased = worker.take()
        assert ScriptedWorker(store, "w2").release(leased) is TurnOutcome.FENCED
        assert self.instance(store).lease_worker_id == "w1"


class BlockedContract(StoreContract):
    """Blocked, poison, resumed."""

    def test_a_blocked_instance_tells_why_and_rests(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        worker.release(worker.take(), blocked=BlockedKind.NONDETERMINISM, reason="event 2 was a timer")
        record = self.instance(store)
        assert (record.blocked, record.blocked_reason) == (BlockedKind.NONDETERMINISM, "event 2 was a timer")
        assert (record.lease_worker_id, record.ready_at_ms, record.attempt_count) == (None, None, 0)
        assert worker.is_idle()
        page = store.list_instances(InstanceFilter(blocked=True), 0, None)
        assert [found.instance_id for found in page.instances] == ["a"]

    @CODE_MAY_MATCH
    def test_it_is_tried_again_when_it_says(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock, kind: BlockedKind
    ) -> None:
        self.start(store)
        worker.release(worker.take(), blocked=kind, reason="r", retry_at_ms=clock.now_ms() + 10)
        assert self.instance(store).ready_at_ms == clock.now_ms() + 10
        assert worker.lease().next_ready_at_ms == clock.now_ms() + 10
        clock.advance(10)
        leased = worker.take()
        assert self.instance(store).blocked is kind
        worker.run(leased, completed())

    def test_a_commit_clears_the_mark(self, store: Store, worker: ScriptedWorker, clock: ManualClock) -> None:
        self.start(store)
        worker.release(worker.take(), blocked=BlockedKind.NONDETERMINISM, reason="r", retry_at_ms=clock.now_ms())
        worker.run(worker.take(), wait_started("go"), waits=["go"])
        record = self.instance(store)
        assert (record.blocked, record.blocked_reason) == (None, None)

    def test_a_release_leaves_the_mark(self, store: Store, worker: ScriptedWorker, clock: ManualClock) -> None:
        self.start(store)
        worker.release(worker.take(), blocked=BlockedKind.NONDETERMINISM, reason="r", retry_at_ms=clock.now_ms())
        worker.release(worker.take())
        record = self.instance(store)
        assert (record.blocked, record.blocked_reason, record.ready_at_ms) == (
            BlockedKind.NONDETERMINISM,
            "r",
            clock.now_ms(),
        )

    def test_what_arrives_is_kept_and_wakes_no_blocked_instance(self, store: Store, worker: ScriptedWorker) -> None:
        """It would be replayed in vain for every event of a busy sender."""
        self.start(store)
        worker.run(worker.take(), activity_scheduled("charge"), wait_started("go"), waits=["go"])
        activity = worker.take_activity()
        store.raise_event("a", "go", "1", "r1")
        worker.release(worker.take(), blocked=BlockedKind.NONDETERMINISM, reason="r")
        worker.finish(activity, activity_succeeded_message(1, 2))
        store.raise_event("a", "go", "2", "r2")
        store.request_cancel("a", "enough", "r3")
        assert self.instance(store).ready_at_ms is None
        assert store.resume_instance("a")
        leased = worker.take()
        assert (len(leased.messages), len(leased.mailbox), leased.cancel_reason) == (1, 1, "enough")

    def test_poison_is_never_leased(self, store: Store, worker: ScriptedWorker, clock: ManualClock) -> None:
        self.start(store)
        worker.release(worker.take(), blocked=BlockedKind.POISON, reason="crashed", retry_at_ms=clock.now_ms())
        ScriptedWorker(store, "w2")
        clock.advance(10)
        result = worker.lease()
        assert (result.instances, result.next_ready_at_ms) == ((), None)

    def test_poison_does_not_keep_the_others_waiting(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        self.start(store, "bad")
        worker.release(worker.take(), blocked=BlockedKind.POISON, reason="crashed", retry_at_ms=clock.now_ms())
        clock.advance(10)
        self.start(store, "good")
        assert [leased.instance_id for leased in worker.lease(instances=1).instances] == ["good"]

    @CODE_MAY_MATCH
    def test_new_code_gets_another_try(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock, kind: BlockedKind
    ) -> None:
        self.start(store, version="1.0.0")
        worker.release(worker.take(), blocked=kind, reason="r")
        clock.advance(5)
        ScriptedWorker(store, "other", orchestrations=[("Order", "2.0.0"), ("Child", "1.0.0")])
        assert self.instance(store).ready_at_ms is None
        fixed = ScriptedWorker(store, "fixed", orchestrations=[("Order", "1.0.0")])
        record = self.instance(store)
        assert (record.ready_at_ms, record.blocked, record.blocked_reason) == (clock.now_ms(), kind, "r")
        fixed.run(fixed.take(), completed())

    def test_new_code_does_not_wake_poison(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store, version="1.0.0")
        worker.release(worker.take(), blocked=BlockedKind.POISON, reason="r")
        ScriptedWorker(store, "fixed", orchestrations=[("Order", "1.0.0")])
        assert self.instance(store).ready_at_ms is None

    @pytest.mark.parametrize("kind", sorted(STORED_BLOCKS))
    def test_resuming_starts_over(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock, kind: BlockedKind
    ) -> None:
        self.start(store)
        worker.release(worker.take(), blocked=kind, reason="r", count_attempt=True)
        clock.advance(5)
        assert store.resume_instance("a")
        record = self.instance(store)
        assert (record.blocked, record.blocked_reason, record.attempt_count) == (None, None, 0)
        assert record.ready_at_ms == clock.now_ms()
        leased = worker.take()
        assert leased.attempt_count == 1
        worker.run(leased, completed())

    def test_an_instance_that_is_not_blocked_is_not_resumed(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        worker.release(worker.take(), count_attempt=True)
        before = store.dump()
        assert not store.resume_instance("a")
        assert store.dump() == before

    def test_unknown_and_finished_instances_are_not_resumed(self, store: Store, worker: ScriptedWorker) -> None:
        with pytest.raises(InstanceNotFoundError):
            store.resume_instance("nobody")
        self.start(store)
        worker.run(worker.take(), completed())
        with pytest.raises(InstanceFinishedError):
            store.resume_instance("a")

    def test_an_expired_lease_of_a_blocked_instance_is_ready_again(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        """A worker that died trying must not leave it behind."""
        self.start(store)
        worker.release(worker.take(), blocked=BlockedKind.NONDETERMINISM, reason="r", retry_at_ms=clock.now_ms())
        worker.take()
        clock.advance(LEASE_MS)
        leased = ScriptedWorker(store, "w2").take()
        assert leased.attempt_count == 2
