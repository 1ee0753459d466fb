"""Cancelling asks, terminating does not."""

import pytest

from duro import codec
from duro.errors import InstanceFinishedError, InstanceNotFoundError
from duro.model.events import OrchestrationTerminated
from duro.model.failure import TERMINATED, FailureDetails
from duro.model.messages import ChildFailed
from duro.model.status import BlockedKind, ExecutionStatus, InstanceStatus
from duro.model.turns import TurnOutcome
from duro.stores.base import Store
from duro.testing.builders import (
    activity_scheduled,
    activity_succeeded_message,
    cancel_requested,
    cancelled,
    child_scheduled,
    completed,
    continued_as_new,
    detached_scheduled,
    timer_created,
    turn,
    wait_started,
)
from duro.testing.clock import ManualClock
from duro.testing.scripted import ScriptedWorker, tokens
from duro.testing.store_contract.suite import StoreContract


class CancellingContract(StoreContract):
    """``request_cancel``."""

    def test_a_cancel_wakes_the_instance_and_comes_with_its_lease(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        self.start(store)
        worker.run(worker.take(), wait_started("go"), waits=["go"])
        clock.advance(5)
        store.request_cancel("a", "enough", "r")
        record = self.instance(store)
        assert (record.cancel_reason, record.ready_at_ms) == ("enough", clock.now_ms())
        assert worker.take().cancel_reason == "enough"

    def test_the_first_reason_stays(self, store: Store, clock: ManualClock) -> None:
        self.start(store)
        store.request_cancel("a", "first", "r1")
        clock.advance(5)
        store.request_cancel("a", "second", "r2")
        assert self.instance(store).cancel_reason == "first"

    def test_a_child_says_when_it_was_first_asked(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        incarnation = self.start(store)
        worker.run(worker.take(), child_scheduled("c"), wait_started("go"), waits=["go"])
        (child,) = store.list_children(incarnation, 0, 0)
        assert child.cancel_requested_at_ms is None
        clock.advance(5)
        store.request_cancel("c", "first", "r1")
        asked_at_ms = clock.now_ms()
        clock.advance(5)
        store.request_cancel("c", "second", "r2")
        (child,) = store.list_children(incarnation, 0, 0)
        assert child.cancel_requested_at_ms == asked_at_ms
        assert store.get_child("c") == child

    def test_a_second_cancel_wakes_nobody(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        store.request_cancel("a", "first", "r1")
        worker.run(worker.take(), wait_started("go"), cancel_requested("first"), waits=["go"])
        store.request_cancel("a", "second", "r2")
        assert worker.is_idle()

    def test_an_undelivered_cancel_keeps_the_instance_ready(self, store: Store, worker: ScriptedWorker) -> None:
        """A turn that began before the request does not swallow it."""
        self.start(store)
        leased = worker.take()
        store.request_cancel("a", "enough", "r")
        worker.run(leased, wait_started("go"), waits=["go"])
        assert worker.take().cancel_reason == "enough"

    def test_a_cancel_returns_to_the_queue_with_the_lease(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        worker.run(worker.take(), wait_started("go"), waits=["go"])
        store.request_cancel("a", "enough", "r")
        worker.release(worker.take())
        assert worker.take().cancel_reason == "enough"

    def test_a_delivered_cancel_is_remembered_and_wakes_no_more(self, store: Store, worker: ScriptedWorker) -> None:
        """Cleanup may run durable work after it."""
        self.start(store)
        store.request_cancel("a", "enough", "r")
        worker.run(worker.take(), cancel_requested("enough"), activity_scheduled("ship"))
        assert worker.lease().instances == ()
        worker.finish(worker.take_activity(), activity_succeeded_message(1, 3))
        leased = worker.take()
        assert leased.cancel_reason == "enough"
        worker.release(leased)
        worker.run(worker.take(), cancelled("enough"))
        assert self.instance(store).status is InstanceStatus.CANCELLED
        assert self.instance(store).cancel_reason == "enough"

    def test_a_cancel_survives_continue_as_new(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        leased = worker.take()
        store.request_cancel("a", "enough", "r")
        worker.run(leased, continued_as_new(), keep_lease=True)
        again = worker.take()
        assert (again.execution_id, again.cancel_reason) == (2, "enough")

    def test_a_repeated_request_does_nothing(self, store: Store) -> None:
        self.start(store)
        store.request_cancel("a", "enough", "r")
        before = store.dump()
        store.request_cancel("a", "enough", "r")
        assert store.dump() == before

    def test_a_repeated_request_is_known_after_the_end(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        store.request_cancel("a", "enough", "r")
        worker.run(worker.take(), cancel_requested("enough"), cancelled("enough"))
        store.request_cancel("a", "enough", "r")

    def test_an_unknown_instance_is_refused_and_stops_nobody(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        before = store.dump()
        with pytest.raises(InstanceNotFoundError):
            store.request_cancel("nobody", "enough", "r")
        assert store.dump() == before
        worker.run(worker.take(), completed())

    def test_a_finished_instance_is_refused(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        worker.run(worker.take(), completed())
        before = store.dump()
        with pytest.raises(InstanceFinishedError):
            store.request_cancel("a", "enough", "r")
        assert store.dump() == before


class TerminatingContract(StoreContract):
    """``terminate_instance``."""

    def test_it_needs_neither_code_nor_worker(self, store: Store, clock: ManualClock) -> None:
        self.start(store, name="Unknown", input="5")
        clock.advance(5)
        store.terminate_instance("a", "stuck")
        record, history = self.instance(store), store.read_history("a", None)
        assert history is not None
        assert (record.status, record.completed_at_ms) == (InstanceStatus.TERMINATED, clock.now_ms())
        assert (record.updated_at_ms, record.ready_at_ms) == (clock.now_ms(), None)
        assert history.execution.status is ExecutionStatus.TERMINATED
        assert history.execution.completed_at_ms == clock.now_ms()
        assert history.input == "5"
        (event,) = history.events
        expected = OrchestrationTerminated(event_id=1, at_ms=clock.now_ms(), reason="stuck")
        assert codec.decode_event(event) == expected
        assert (record.event_count, record.history_bytes) == (1, len(event.encode()))

    def test_it_adds_its_event_to_a_running_history(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        worker.run(worker.take(), wait_started("go"), waits=["go"])
        before = self.instance(store)
        store.terminate_instance("a", "stück")
        history = store.read_history("a", None)
        assert history is not None
        assert len(history.events) == 3
        assert history.events[-1] == codec.terminated_event(3, store.now_ms(), "stück")
        record = self.instance(store)
        assert record.history_bytes == before.history_bytes + len(history.events[-1].encode())
        assert record.turn_sequence == before.turn_sequence
        assert store.read_ends(["a"])["a"].last_event == history.events[-1]

    def test_it_fences_the_worker(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        leased = worker.take()
        stale = turn(leased, completed(), at_ms=store.now_ms())
        store.terminate_instance("a", "stuck")
        before = store.dump()
        assert worker.commit(stale).turns == [TurnOutcome.FENCED]
        assert worker.release(leased) is TurnOutcome.FENCED
        assert store.dump() == before
        assert self.instance(store).lease_worker_id is None

    def test_it_keeps_nothing_queued(self, store: Store, worker: ScriptedWorker, clock: ManualClock) -> None:
        self.start(store)
        timer = timer_created(clock.now_ms() + 5)
        events = (timer, activity_scheduled(), activity_scheduled(), wait_started("go"))
        worker.run(worker.take(), *events, waits=["go"])
        first, second = worker.lease(instances=0, activities=10).activities
        worker.finish(first, activity_succeeded_message(1, first.event_id))
        store.raise_event("a", "go", "null", "r1")
        store.raise_event("a", "other", "null", "r2")
        store.request_cancel("a", "please", "r3")
        store.terminate_instance("a", "stuck")
        dump = store.dump()
        assert all(dump[table] == [] for table in ("messages", "mailbox", "timers", "activities"))
        assert worker.finish(second, activity_succeeded_message(1, second.event_id)) is TurnOutcome.FENCED
        clock.advance(10)
        assert worker.is_idle()

    def test_it_tells_the_parent(self, store: Store, worker: ScriptedWorker) -> None:
        incarnation = self.start(store)
        worker.run(worker.take(), child_scheduled("child"))
        store.terminate_instance("child", "stuck")
        (message,) = worker.take("a").messages
        failure = FailureDetails(type=TERMINATED, message="stuck")
        assert codec.decode_message(message.data) == ChildFailed(execution_id=1, scheduled_event_id=2, failure=failure)
        (child,) = store.list_children(incarnation, 0, 0)
        assert (child.completion, child.status) == ("sent", InstanceStatus.TERMINATED)

    def test_it_does_not_tell_a_parent_that_is_gone(self, store: Store, worker: ScriptedWorker) -> None:
        incarnation = self.start(store)
        worker.run(worker.take(), child_scheduled("child"), completed())
        store.terminate_instance("child", "stuck")
        (child,) = store.list_children(incarnation, 0, 0)
        assert child.completion == "ignored"
        assert store.dump()["store"][0]["ignored_messages"] == 1

    def test_nobody_is_told_of_a_detached_one(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        worker.run(worker.take(), detached_scheduled("free"))
        store.terminate_instance("free", "stuck")
        assert store.dump()["messages"] == []
        assert store.dump()["lineage"][0]["completion"] is None

    def test_it_ends_the_spawner_of_its_children(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        incarnation = self.start(store)
        worker.run(worker.take(), child_scheduled("child"))
        store.terminate_instance("a", "stuck")
        (child,) = store.list_children(incarnation, 0, 0)
        assert (child.spawner_end, child.spawner_ended_at_ms) == (ExecutionStatus.TERMINATED, clock.now_ms())
        worker.run(worker.take("child"), completed())
        assert store.dump()["messages"] == []

    def test_it_ends_the_current_execution_only(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        worker.run(worker.take(), continued_as_new("2"))
        store.terminate_instance("a", "stuck")
        page = store.list_executions("a", 0, None)
        statuses = [execution.status for execution in page.executions]
        assert statuses == [ExecutionStatus.TERMINATED, ExecutionStatus.CONTINUED_AS_NEW]
        history = store.read_history("a", None)
        assert history is not None
        assert (history.execution.execution_id, len(history.events), history.input) == (2, 1, "2")

    def test_it_unblocks_what_it_ends(self, store: Store, worker: ScriptedWorker) -> None:
        """Nothing is left for anyone to look after."""
        self.start(store)
        worker.release(worker.take(), blocked=BlockedKind.POISON, reason="crashed", count_attempt=True)
        store.terminate_instance("a", "stuck")
        record = self.instance(store)
        assert (record.blocked, record.blocked_reason, record.attempt_count) == (None, None, 0)

    def test_it_leaves_the_last_commit_to_be_looked_up(self, store: Store, worker: ScriptedWorker) -> None:
        """The worker that asks after its commit must hear of it, whatever happened since."""
        incarnation = self.start(store)
        waiting = turn(worker.take(), wait_started("go"), at_ms=store.now_ms(), waits=["go"])
        worker.commit(waiting, batch_id="t1")
        store.terminate_instance("a", "stuck")
        assert tokens(store, [incarnation]) == {incarnation: "t1"}

    def test_a_repeated_termination_does_nothing(self, store: Store, clock: ManualClock) -> None:
        self.start(store)
        store.terminate_instance("a", "enough", "r1")
        before = store.dump()
        clock.advance(5)
        store.terminate_instance("a", "enough", "r1")
        assert store.dump() == before
        with pytest.raises(InstanceFinishedError):
            store.terminate_instance("a", "enough", "r2")
        assert store.dump() == before

    def test_unknown_and_finished_instances_are_refused(self, store: Store) -> None:
        self.start(store)
        store.terminate_instance("a", "once")
        before = store.dump()
        with pytest.raises(InstanceFinishedError):
            store.terminate_instance("a", "twice")
        with pytest.raises(InstanceNotFoundError):
            store.terminate_instance("nobody", "stuck")
        assert store.dump() == before
