"""All of a call or nothing, and turn by turn within a batch."""

import threading
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from duro.errors import StoreClosedError, UsageError
from duro.model.turns import LeasedInstance, TurnCommit, TurnOutcome
from duro.stores.base import Store
from duro.testing.builders import (
    activity_scheduled,
    child_scheduled,
    completed,
    encoded,
    size,
    start_request,
    timer_created,
    turn,
    wait_started,
)
from duro.testing.clock import ManualClock
from duro.testing.scripted import ScriptedWorker
from duro.testing.store_contract.suite import StoreContract


def _unwritable(leased: LeasedInstance, at_ms: int) -> TurnCommit:
    """A turn that is fenced correctly and asks for everything, under event ids that history has already."""
    asking = turn(leased, child_scheduled("lost"), activity_scheduled(), timer_created(at_ms), completed(), at_ms=at_ms)
    events = encoded(wait_started("overlapping"), completed(), at_ms=at_ms)
    return msgspec.structs.replace(asking, first_event_id=1, events=events, history_bytes=size(events))


class AtomicityContract(StoreContract):
    """Transactions."""

    def _two_running(self, store: Store, worker: ScriptedWorker) -> tuple[LeasedInstance, LeasedInstance]:
        store.start_instances([start_request("a"), start_request("b")])
        for leased in worker.lease().instances:
            worker.run(leased, wait_started("go"), waits=["go"])
        for instance_id in "ab":
            store.raise_event(instance_id, "go", "null", "r")
        first, second = worker.lease().instances
        return first, second

    def test_a_turn_the_store_cannot_write_leaves_no_trace(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        first, _ = self._two_running(store, worker)
        before = store.dump()
        result = worker.commit(_unwritable(first, clock.now_ms()))
        assert result.turns == [TurnOutcome.REJECTED]
        assert list(result.errors) == [0]
        assert result.errors[0]
        assert store.dump() == before

    def test_a_turn_the_store_cannot_write_does_not_take_the_others_down(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        first, second = self._two_running(store, worker)
        result = worker.commit(
            _unwritable(first, clock.now_ms()), turn(second, completed(), at_ms=clock.now_ms(), waits=[])
        )
        assert result.turns == [TurnOutcome.REJECTED, TurnOutcome.COMMITTED]
        assert list(result.errors) == [0]
        assert self.instance(store, first.instance_id).completed_at_ms is None
        assert self.instance(store, second.instance_id).completed_at_ms == clock.now_ms()

    def test_a_rejected_turn_can_be_given_back(self, store: Store, worker: ScriptedWorker, clock: ManualClock) -> None:
        first, _ = self._two_running(store, worker)
        worker.commit(_unwritable(first, clock.now_ms()))
        assert worker.release(first) is TurnOutcome.COMMITTED

    def test_text_no_store_can_keep_is_rejected_and_not_mangled(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        """A lone surrogate is a str in Python and nothing in UTF-8."""
        self.start(store)
        broken = turn(worker.take(), at_ms=clock.now_ms(), custom_status='"\ud800"')
        before = store.dump()
        assert worker.commit(broken).turns == [TurnOutcome.REJECTED]
        assert store.dump() == before

    def test_an_empty_batch_changes_nothing(self, store: Store, worker: ScriptedWorker, clock: ManualClock) -> None:
        self.start(store)
        before = store.dump()
        result = worker.commit()
        assert result.store_time_ms == clock.now_ms()
        assert (result.turns, result.releases, result.finished, result.retries, result.errors) == ([], [], [], [], {})
        assert store.dump() == before

    def test_the_change_counter_tells_of_every_commit(self, store: Store, worker: ScriptedWorker) -> None:
        seen = {store.change_counter()}

        def changed() -> bool:
            before = len(seen)
            seen.add(store.change_counter())
            return len(seen) > before

        assert not changed()
        self.start(store)
        assert changed()
        leased = worker.take()
        assert changed()
        worker.run(leased, wait_started("go"), waits=["go"])
        assert changed()
        store.raise_event("a", "go", "null", "r")
        assert changed()
        store.request_cancel("a", "stop", "c")
        assert changed()
        store.terminate_instance("a", "now")
        assert changed()

    def test_the_change_counter_stays_while_nothing_happens(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        before = store.change_counter()
        store.get_instance("a")
        store.dump()
        worker.lease(instances=0)
        store.lookup_commit([1])
        assert store.change_counter() == before

    def test_a_closed_store_says_so(self, worker: ScriptedWorker, clock: ManualClock) -> None:
        closed = self.make_store(clock)
        closed.close()
        closed.close()
        for call in (
            closed.now_ms,
            closed.change_counter,
            closed.list_workers,
            closed.release_expired,
            closed.info,
            closed.dump,
            lambda: closed.get_instance("a"),
            lambda: closed.start_instances([start_request("a")]),
            lambda: closed.lease("w1", worker.request()),
            lambda: closed.raise_event("a", "go", "null", "r"),
        ):
            with pytest.raises(StoreClosedError):
                call()

    def test_stores_made_apart_are_apart(self, store: Store, clock: ManualClock) -> None:
        self.start(store)
        other = self.make_store(clock)
        try:
            assert other.get_instance("a") is None
            assert other.info().store_id != store.info().store_id
        finally:
            other.close()

    def test_an_error_is_a_usage_error_and_changes_nothing(self, store: Store) -> None:
        self.start(store)
        before = store.dump()
        with pytest.raises(UsageError):
            store.list_executions("a", 10, "no cursor")
        assert store.dump() == before

    def test_threads_never_get_the_same_work(self, store: Store) -> None:
        store.start_instances([start_request(f"i{number}") for number in range(60)])
        workers = [ScriptedWorker(store, f"w{number}") for number in range(6)]
        together = threading.Barrier(len(workers))

        def work(worker: ScriptedWorker) -> list[str]:
            together.wait(timeout=30)
            done = []
            while leased := worker.lease(instances=3).instances:
                worker.commit(*(turn(one, completed(), at_ms=store.now_ms()) for one in leased))
                done += [one.instance_id for one in leased]
            return done

        with ThreadPoolExecutor(len(workers)) as threads:
            done = [instance_id for ids in threads.map(work, workers) for instance_id in ids]
        assert len(done) == 60
        assert len(set(done)) == 60
        assert all(row["status"] == "completed" and row["lease_epoch"] == 1 for row in store.dump()["instances"])
