"""Children: spawned once, never lost, observed by exactly the execution that asked for them."""

import pytest

from duro import codec
from duro.model.events import ParentLink
from duro.model.failure import INSTANCE_EXISTS
from duro.model.messages import ChildFailed
from duro.model.records import ChildRecord
from duro.model.status import InstanceStatus, ParentPolicy
from duro.model.turns import TurnOutcome
from duro.stores.base import Store
from duro.testing.builders import (
    child_cancel_requested,
    child_completed,
    child_failed,
    child_scheduled,
    completed,
    continued_as_new,
    detached_scheduled,
    event_received,
    turn,
    wait_started,
)
from duro.testing.clock import ManualClock
from duro.testing.scripted import ScriptedWorker
from duro.testing.store_contract.suite import StoreContract


class ChildrenContract(StoreContract):
    """Starts made by turns, and lineage."""

    def test_a_child_is_an_instance_pending_and_ready(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        incarnation = self.start(store)
        leased = worker.take()
        worker.run(leased, child_scheduled("child", "Child", "[1]", version="2.0.0"))
        record = self.instance(store, "child")
        assert (record.name, record.version, record.status) == ("Child", "2.0.0", InstanceStatus.PENDING)
        assert record.created_at_ms == record.ready_at_ms == clock.now_ms()
        assert record.parent == ParentLink(instance_id="a", incarnation=incarnation, execution_id=1, event_id=2)
        assert not record.detached
        history = store.read_history("child", 1)
        assert history is not None
        assert (history.input, history.execution.version) == ("[1]", "2.0.0")

    def test_a_child_is_born_at_the_time_of_its_turn_and_ready_now(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        incarnation = self.start(store)
        leased = worker.take()
        at_ms = clock.now_ms()
        clock.advance(7)
        worker.commit(turn(leased, child_scheduled("child"), at_ms=at_ms))
        record = self.instance(store, "child")
        assert (record.created_at_ms, record.ready_at_ms) == (at_ms, clock.now_ms())
        (child,) = store.list_children(incarnation, 0, 0)
        assert child.spawned_at_ms == at_ms

    def test_lineage_tells_who_spawned_what(self, store: Store, worker: ScriptedWorker, clock: ManualClock) -> None:
        incarnation = self.start(store)
        worker.run(
            worker.take(),
            child_scheduled("child", on_parent_continue=ParentPolicy.ABANDON, on_parent_end=ParentPolicy.CANCEL),
            detached_scheduled("free"),
            version="2.0.0",
        )
        child, free = store.list_children(incarnation, 0, 0)
        link = ParentLink(instance_id="a", incarnation=incarnation, execution_id=1, event_id=2)
        assert child == ChildRecord(
            instance_id="child",
            incarnation=self.instance(store, "child").incarnation,
            name="Child",
            version="",
            status=InstanceStatus.PENDING,
            completed_at_ms=None,
            parent=link,
            detached=False,
            spawned_at_ms=clock.now_ms(),
            spawner_version="2.0.0",
            spawner_ended_at_ms=None,
            spawner_end=None,
            spawner_live=True,
            observed_at_ms=None,
            completion=None,
            parent_status=InstanceStatus.RUNNING,
            parent_execution_id=1,
        )
        assert (free.instance_id, free.detached, free.parent.event_id) == ("free", True, 3)
        rows = {row["child_incarnation"]: row for row in store.dump()["lineage"]}
        policies = [(row["on_parent_continue"], row["on_parent_end"]) for row in rows.values()]
        assert policies == [("abandon", "cancel"), (None, None)]

    def test_a_detached_one_tells_who_spawned_it(self, store: Store, worker: ScriptedWorker) -> None:
        incarnation = self.start(store)
        worker.run(worker.take(), detached_scheduled("free"))
        record = self.instance(store, "free")
        assert record.detached
        assert record.parent == ParentLink(instance_id="a", incarnation=incarnation, execution_id=1, event_id=2)

    def test_starts_get_their_incarnations_in_order(self, store: Store, worker: ScriptedWorker) -> None:
        incarnation = self.start(store)
        worker.run(worker.take(), child_scheduled("c"), detached_scheduled("a2"), child_scheduled("b"))
        children = store.list_children(incarnation, 0, 0)
        assert [child.instance_id for child in children] == ["c", "a2", "b"]

    def test_a_child_whose_id_is_taken_fails_for_its_parent(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        incarnation = self.start(store)
        taken = self.start(store, "taken", "Unknown")
        worker.run(worker.take(), child_scheduled("taken"))
        assert self.instance(store, "taken").incarnation == taken
        assert self.instance(store, "taken").parent is None
        assert store.list_children(incarnation, 0, 0) == ()
        assert self.instance(store).ready_at_ms == clock.now_ms()
        leased = worker.take("a")
        (queued,) = leased.messages
        message = codec.decode_message(queued.data)
        assert isinstance(message, ChildFailed)
        assert (message.execution_id, message.scheduled_event_id) == (1, 2)
        assert message.failure.type == INSTANCE_EXISTS
        assert "taken" in message.failure.message
        worker.run(leased, child_failed(2, message.failure), completed())

    def test_a_finished_instance_keeps_its_id_from_children(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store, "taken")
        worker.run(worker.take(), completed())
        self.start(store)
        worker.run(worker.take(), child_scheduled("taken"))
        assert len(worker.take("a").messages) == 1

    def test_a_kept_lease_learns_that_the_id_was_taken(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store, "taken", "Unknown")
        self.start(store)
        worker.run(worker.take(), child_scheduled("taken"), keep_lease=True)
        assert len(worker.take("a").messages) == 1

    def test_a_detached_start_of_a_taken_id_has_no_effect(self, store: Store, worker: ScriptedWorker) -> None:
        incarnation = self.start(store)
        self.start(store, "taken", "Unknown")
        worker.run(worker.take(), detached_scheduled("taken"), wait_started("go"), waits=["go"])
        assert store.list_children(incarnation, 0, 0) == ()
        assert worker.is_idle()
        assert store.dump()["messages"] == []

    def test_of_two_starts_of_one_id_in_a_turn_the_first_wins(self, store: Store, worker: ScriptedWorker) -> None:
        incarnation = self.start(store)
        worker.run(worker.take(), child_scheduled("twin"), child_scheduled("twin"))
        (child,) = store.list_children(incarnation, 0, 0)
        assert child.parent.event_id == 2
        leased = {instance.instance_id: instance for instance in worker.lease().instances}
        (message,) = leased["a"].messages
        assert codec.decode_message(message.data).scheduled_event_id == 3

    def test_of_two_turns_of_a_batch_that_start_one_id_the_first_wins(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        first, second = self.start(store, "a"), self.start(store, "b")
        turns = [turn(leased, child_scheduled("c"), at_ms=clock.now_ms()) for leased in worker.lease().instances]
        worker.commit(*turns)
        assert [child.instance_id for child in store.list_children(first, 0, 0)] == ["c"]
        assert store.list_children(second, 0, 0) == ()
        leased = {instance.instance_id: instance for instance in worker.lease().instances}
        assert (len(leased["b"].messages), "a" in leased) == (1, False)

    def test_an_instance_cannot_be_its_own_child(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        worker.run(worker.take(), child_scheduled("a"))
        assert len(worker.take("a").messages) == 1

    def test_a_taken_id_in_a_last_turn_leaves_no_message(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store, "taken", "Unknown")
        self.start(store)
        worker.run(worker.take(), child_scheduled("taken"), completed())
        assert store.dump()["messages"] == []

    def test_an_observed_end_is_marked_in_the_lineage(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        incarnation = self.start(store)
        worker.run(worker.take(), child_scheduled("c1"), child_scheduled("c2"))
        for leased in worker.lease().instances:
            worker.run(leased, completed())
        clock.advance(5)
        leased = worker.take("a")
        worker.run(leased, child_completed(2), consumed_messages=[leased.messages[0].message_id])
        first, second = store.list_children(incarnation, 0, 0)
        assert (first.observed_at_ms, second.observed_at_ms) == (clock.now_ms(), None)
        assert (first.status, first.completion) == (InstanceStatus.COMPLETED, "sent")

    def test_a_cancelled_child_gets_the_request(self, store: Store, worker: ScriptedWorker, clock: ManualClock) -> None:
        incarnation = self.start(store)
        worker.run(worker.take(), child_scheduled("c1"), child_scheduled("c2"), wait_started("go"), waits=["go"])
        for leased in worker.lease().instances:
            worker.run(leased, wait_started("x"), waits=["x"])
        clock.advance(5)
        store.raise_event("a", "go", "null", "r")
        leased = worker.take("a")
        worker.run(
            leased,
            event_received(4, "go"),
            child_cancel_requested(2),
            consumed_mailbox=[leased.mailbox[0].sequence],
        )
        first, second = self.instance(store, "c1"), self.instance(store, "c2")
        assert (first.cancel_reason, first.ready_at_ms) == ("nobody waits for it", clock.now_ms())
        assert (second.cancel_reason, second.ready_at_ms) == (None, None)
        assert worker.take("c1").cancel_reason == "nobody waits for it"
        assert [child.observed_at_ms for child in store.list_children(incarnation, 0, 0)] == [None, None]
        assert [child.completion for child in store.list_children(incarnation, 0, 0)] == [None, None]

    def test_a_child_that_ends_in_the_batch_that_cancels_it_is_not_cancelled(
        self, store: Store, worker: ScriptedWorker
    ) -> None:
        self.start(store)
        worker.run(worker.take(), child_scheduled("c1"), wait_started("go"), waits=["go"])
        child = worker.take("c1")
        store.raise_event("a", "go", "null", "r")
        parent = worker.take("a")
        cancelling = turn(
            parent,
            event_received(3, "go"),
            child_cancel_requested(2),
            at_ms=5,
            consumed_mailbox=[parent.mailbox[0].sequence],
        )
        result = worker.commit(turn(child, completed("1"), at_ms=5), cancelling)
        assert result.turns == [TurnOutcome.COMMITTED, TurnOutcome.COMMITTED]
        ended = self.instance(store, "c1")
        assert (ended.status, ended.cancel_reason) == (InstanceStatus.COMPLETED, None)

    def test_a_child_started_and_cancelled_in_one_turn_gets_both(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        worker.run(worker.take(), child_scheduled("child"), child_cancel_requested(2))
        assert worker.take("child").cancel_reason == "nobody waits for it"

    def test_a_finished_child_is_not_cancelled(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        worker.run(worker.take(), child_scheduled("child"))
        worker.run(worker.take("child"), completed())
        worker.run(worker.take("a"), child_cancel_requested(2), consumed_messages=[])
        record = self.instance(store, "child")
        assert (record.status, record.cancel_reason) == (InstanceStatus.COMPLETED, None)

    def test_a_cancel_reaches_only_the_child_of_this_execution(self, store: Store, worker: ScriptedWorker) -> None:
        """Event 2 of another execution spawned another child."""
        self.start(store)
        worker.run(worker.take(), child_scheduled("c1"), continued_as_new())
        leased = {instance.instance_id: instance for instance in worker.lease().instances}
        worker.run(leased["c1"], wait_started("x"), waits=["x"])
        worker.run(leased["a"], child_scheduled("c2"), child_cancel_requested(2))
        assert self.instance(store, "c1").cancel_reason is None
        assert self.instance(store, "c2").cancel_reason is not None

    def test_children_are_paged_oldest_first(self, store: Store, worker: ScriptedWorker) -> None:
        incarnation = self.start(store)
        worker.run(worker.take(), *(child_scheduled(f"c{number}") for number in range(5)))
        first = store.list_children(incarnation, 2, 0)
        second = store.list_children(incarnation, 2, first[-1].incarnation)
        third = store.list_children(incarnation, 2, second[-1].incarnation)
        assert [child.instance_id for child in (*first, *second, *third)] == [f"c{number}" for number in range(5)]
        assert store.list_children(incarnation, 2, third[-1].incarnation) == ()
        assert len(store.list_children(incarnation, 0, 0)) == 5

    @pytest.mark.parametrize("size", [1, 2, 3, 5])
    def test_pages_of_children_go_on_across_executions_and_from_any_incarnation(
        self, store: Store, worker: ScriptedWorker, size: int
    ) -> None:
        parent, other = self.start(store, "a"), self.start(store, "b")
        for generation in range(3):
            for leased in sorted(worker.lease().instances, key=lambda instance: instance.instance_id):
                if leased.instance_id not in ("a", "b"):
                    worker.release(leased)
                    continue
                names = [f"{leased.instance_id}{generation}{n}" for n in range(3)]
                worker.run(leased, *(child_scheduled(name) for name in names), continued_as_new())
        expected = [f"a{generation}{n}" for generation in range(3) for n in range(3)]
        found: list[str] = []
        after = 0
        while page := store.list_children(parent, size, after):
            found += [child.instance_id for child in page]
            after = page[-1].incarnation
        assert found == expected
        middle = store.list_children(other, 0, 0)[1].incarnation
        later = [child.instance_id for child in store.list_children(parent, 0, middle)]
        assert later == [each for each in expected if each[1] != "0"]

    def test_children_of_any_execution_are_listed(self, store: Store, worker: ScriptedWorker) -> None:
        """Not only those of the current one: what continued as new still has its children."""
        incarnation = self.start(store)
        worker.run(worker.take(), child_scheduled("c1"), continued_as_new())
        leased = {instance.instance_id: instance for instance in worker.lease().instances}
        worker.run(leased["a"], child_scheduled("c2"), completed())
        assert [child.instance_id for child in store.list_children(incarnation, 0, 0)] == ["c1", "c2"]
        assert store.list_children(999, 0, 0) == ()
