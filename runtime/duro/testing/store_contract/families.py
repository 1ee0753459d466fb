"""Families: who is whose child, children that end with their parent, and whole instances that are removed."""

from typing import Any

import msgspec
import pytest

from duro import codec
from duro.errors import InstanceNotFoundError, NotAnOrphanError, StalePlanError
from duro.model.families import (
    Family,
    OrphanFilter,
    OrphanKind,
    OrphanRules,
    OrphanSearch,
    PurgeOptions,
    RemovalKind,
    RemovalOutcome,
    Standing,
)
from duro.model.ledger import RunSource
from duro.model.messages import ChildFailed
from duro.model.pruning import Hold, HoldTarget
from duro.model.records import ChildRecord, InstanceFilter
from duro.model.removal import Backlog, ReclaimResult
from duro.model.retention import AutoPrune
from duro.model.status import ChildrenPolicy, ExecutionStatus, InstanceStatus, ParentPolicy
from duro.model.turns import ChildTerms, LeasedInstance, PruneTerms, TurnOutcome
from duro.retention.families import as_orphan, is_wanted, place_of
from duro.stores.base import Store
from duro.testing.builders import (
    activity_scheduled,
    child_cancel_requested,
    child_completed,
    child_scheduled,
    completed,
    continued_as_new,
    detached_scheduled,
    failed,
    next_lease,
    prune_batch,
    prune_requested,
    removal_batch,
    start_request,
    turn,
    wait_started,
)
from duro.testing.clock import ManualClock
from duro.testing.invariants import check_invariants
from duro.testing.scripted import ScriptedWorker
from duro.testing.store_contract.pruning import chain
from duro.testing.store_contract.suite import StoreContract

OLD = PurgeOptions(keep_within=0.001)
ORPHANS = OrphanRules()
EVERYTHING = OrphanSearch(all_kinds=True)
ABANDON = {"on_parent_continue": ParentPolicy.ABANDON, "on_parent_end": ParentPolicy.ABANDON}


class FamilyContract(StoreContract):
    """What the topics share."""

    kept: dict[str, LeasedInstance]

    def spawn(self, store: Store, worker: ScriptedWorker, *children: str, parent: str = "a", **words: Any) -> int:
        """A parent with these children, whose first turn was to spawn them; its incarnation. Its worker keeps it."""
        incarnation = self.start(store, parent)
        leased = worker.take(parent)
        spawned = (child_scheduled(child, **words) for child in children)
        self.kept = {parent: next_lease(leased, worker.run(leased, *spawned, keep_lease=True))}
        return incarnation

    def take(self, worker: ScriptedWorker, instance_id: str) -> LeasedInstance:
        """One of several that are ready, or that is kept; the others are given back."""
        found = self.kept.pop(instance_id, None)
        for each in worker.lease().instances:
            if each.instance_id == instance_id:
                found = each
            elif each.instance_id not in self.kept:
                worker.release(each)
        assert found is not None, f"{instance_id!r} is not ready"
        return found

    def end(self, worker: ScriptedWorker, instance_id: str, *events: Any) -> None:
        worker.run(self.take(worker, instance_id), *(events or (completed(),)))

    @staticmethod
    def number(store: Store, instance_id: str) -> int:
        record = store.get_instance(instance_id)
        assert record is not None
        return record.incarnation

    @staticmethod
    def child(store: Store, instance_id: str) -> ChildRecord:
        child = store.get_child(instance_id)
        assert child is not None
        return child

    def stands(self, store: Store, instance_id: str) -> Standing | OrphanKind:
        """Its standing, or of which kind of orphan it is."""
        place = place_of(self.child(store, instance_id))
        return place.kind or place.standing

    @staticmethod
    def family(store: Store, incarnation: int) -> Family:
        (family,) = store.families([incarnation])
        return family

    @staticmethod
    def there(store: Store) -> set[str]:
        return {record.instance_id for record in store.list_instances(InstanceFilter(), 0, None).instances}

    @staticmethod
    def remove(store: Store, *orders: Any, **fields: Any) -> list[RemovalOutcome]:
        return store.remove(removal_batch(*orders, **fields))

    @staticmethod
    def reclaim(store: Store, events_max: int = 1_000) -> ReclaimResult:
        """To the end; the last answer that did something."""
        last = ReclaimResult()
        while (part := store.reclaim(events_max)).more or part.instances or part.executions:
            last = part
        return last


class LineageContract(FamilyContract):
    def test_a_child_of_a_running_execution_is_attached(self, store: Store, worker: ScriptedWorker) -> None:
        self.spawn(store, worker, "c")
        child = self.child(store, "c")
        assert (child.parent_status, child.parent_execution_id, child.spawner_live) == (InstanceStatus.RUNNING, 1, True)
        assert self.stands(store, "c") is Standing.ATTACHED
        assert store.list_unobserved(EVERYTHING, 0, 0) == ()
        assert store.get_child("a") is None
        assert store.get_child("nobody") is None

    @pytest.mark.parametrize("first", ["given up", "ended"])
    def test_a_child_that_its_parent_gave_up_may_go_once_it_has_ended(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock, first: str
    ) -> None:
        """A parent that never ends would keep the losers of all its races for ever. It is no orphan meanwhile."""
        self.spawn(store, worker, "c", "d")
        if first == "ended":
            self.end(worker, "c")
        worker.run(self.take(worker, "a"), child_cancel_requested(2))
        clock.advance(1_000)
        child = self.child(store, "c")
        assert child.given_up_at_ms is not None
        assert self.stands(store, "c") is Standing.GIVEN_UP
        assert self.stands(store, "d") is Standing.ATTACHED
        with pytest.raises(NotAnOrphanError, match="waits for it no longer"):
            store.adopt("c", "somebody", "on purpose")
        number = self.number(store, "c")
        if first == "given up":
            assert store.list_finished(None, 0, 0) == ()
            assert self.remove(store, (number, OLD))[0].reasons == ("running:c",)
            self.end(worker, "c")
            clock.advance(1_000)
        assert [each.instance_id for each in store.list_finished(None, 0, 0)] == ["c"]
        assert store.list_unobserved(EVERYTHING, 0, 0) == ()
        assert self.remove(store, (number, OLD))[0].removed
        check_invariants(store)
        self.reclaim(store)
        check_invariants(store)  # although its parent's history says that it was started

    def test_a_child_that_was_given_up_is_an_orphan_when_its_parent_goes_on(
        self, store: Store, worker: ScriptedWorker
    ) -> None:
        self.spawn(store, worker, "c")
        worker.run(self.take(worker, "a"), child_cancel_requested(2), continued_as_new())
        assert self.stands(store, "c") is OrphanKind.PARENT_CONTINUED

    def test_a_child_whose_end_was_recorded_is_observed(self, store: Store, worker: ScriptedWorker) -> None:
        self.spawn(store, worker, "c")
        self.end(worker, "c")
        assert self.stands(store, "c") is Standing.ATTACHED
        self.end(worker, "a", child_completed(2), completed())
        assert self.stands(store, "c") is Standing.OBSERVED
        assert store.list_unobserved(EVERYTHING, 0, 0) == ()

    def test_a_child_is_left_by_a_parent_that_continues_as_new(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        self.spawn(store, worker, "c")
        self.end(worker, "a", continued_as_new())
        assert self.stands(store, "c") is OrphanKind.PARENT_CONTINUED
        (found,) = store.list_unobserved(OrphanSearch(), 0, 0)
        assert found == self.child(store, "c")
        assert (found.spawner_ended_at_ms, found.spawner_end) == (clock.now_ms(), ExecutionStatus.CONTINUED_AS_NEW)
        self.end(worker, "c", failed())
        assert self.child(store, "c").completion == "ignored"
        assert self.stands(store, "c") is OrphanKind.PARENT_CONTINUED

    @pytest.mark.parametrize("end", ["terminated", "continued as new", "given up"])
    def test_an_end_that_no_turn_of_the_parent_took_was_ignored(
        self, store: Store, worker: ScriptedWorker, end: str
    ) -> None:
        """It was sent while the parent ran, and thrown away with what the parent left in its queue."""
        self.spawn(store, worker, "c", **ABANDON)
        if end == "terminated":
            self.end(worker, "c")
            assert self.child(store, "c").completion == "sent"
            store.terminate_instance("a", "enough", "r")
        else:
            store.raise_event("a", "go", "null", "r")
            leased = {each.instance_id: each for each in worker.lease().instances}
            parent = leased.get("a") or self.take(worker, "a")
            worker.run(leased["c"], completed())
            assert self.child(store, "c").completion == "sent"
            worker.run(parent, *([child_cancel_requested(2)] if end == "given up" else [continued_as_new()]))
        child = self.child(store, "c")
        assert (child.completion, child.observed_at_ms) == ("ignored", None)

    def test_orphans_are_counted_by_name(self, store: Store, worker: ScriptedWorker) -> None:
        self.spawn(store, worker, "c", "d", "e", **ABANDON)
        assert store.count_orphans() == {}
        self.end(worker, "e")
        self.end(worker, "a", child_completed(4), completed())
        assert store.count_orphans() == {"Child": 2}
        store.adopt("c", "somebody", "on purpose")
        assert store.count_orphans() == {"Child": 1}

    def test_an_orphan_is_asked_to_end_only_while_it_is_one_that_may_go(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        self.spawn(store, worker, "c", **ABANDON)
        number = self.number(store, "c")
        with pytest.raises(NotAnOrphanError):
            store.request_cancel("c", "cleaned up", "r1", orphan=(number, OrphanRules(min_age_s=0)))
        self.end(worker, "a")
        for asked in ((number + 1, OrphanRules(min_age_s=0)), (number, OrphanRules(min_age_s=60))):
            with pytest.raises(NotAnOrphanError):
                store.request_cancel("c", "cleaned up", "r2", orphan=asked)
        assert store.dump()["instances"][-1]["cancel_reason"] is None
        clock.advance(60_001)
        store.request_cancel("c", "cleaned up", "r3", orphan=(number, OrphanRules(min_age_s=60)))
        worker.register()
        assert self.take(worker, "c").cancel_reason == "cleaned up"

    def test_an_orphan_that_is_held_is_not_asked_to_end(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        self.spawn(store, worker, "c", **ABANDON)
        self.end(worker, "a")
        clock.advance(60)
        asked = (self.number(store, "c"), OrphanRules(min_age_s=0))
        for target in (HoldTarget(instance_id="c"), HoldTarget(name="Chi*")):
            store.add_hold(Hold(hold_id="h", target=target, reason="look at it", created_at_ms=0))
            with pytest.raises(NotAnOrphanError):
                store.request_cancel("c", "cleaned up", "r1", orphan=asked)
            store.remove_hold("h")
        store.request_cancel("c", "cleaned up", "r1", orphan=asked)
        worker.register()
        assert self.take(worker, "c").cancel_reason == "cleaned up"

    def test_a_pruned_spawner_leaves_its_lineage(self, store: Store, worker: ScriptedWorker) -> None:
        incarnation = self.spawn(store, worker, "c")
        self.end(worker, "a", continued_as_new())
        store.prune(prune_batch((incarnation, 1)))
        child = self.child(store, "c")
        assert (child.spawner_live, child.parent.execution_id, child.spawner_version) == (False, 1, "1.0.0")
        assert place_of(child).kind is OrphanKind.PARENT_CONTINUED

    def test_a_child_is_left_by_a_parent_that_ends(self, store: Store, worker: ScriptedWorker) -> None:
        self.spawn(store, worker, "c", **ABANDON)
        self.end(worker, "a")
        assert self.stands(store, "c") is OrphanKind.PARENT_CLOSED
        assert [child.instance_id for child in store.list_unobserved(OrphanSearch(), 0, 0)] == ["c"]

    def test_a_detached_one_is_never_an_orphan(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        worker.run(worker.take(), detached_scheduled("free"), completed())
        assert self.stands(store, "free") is Standing.DETACHED
        assert store.list_unobserved(EVERYTHING, 0, 0) == ()

    def test_searches_filter_before_they_limit(self, store: Store, worker: ScriptedWorker, clock: ManualClock) -> None:
        self.spawn(store, worker, "c1", "c2", "c3", **ABANDON)
        self.end(worker, "a")
        clock.advance(10)
        self.end(worker, "c2", failed())
        found = [self.child(store, each) for each in ("c1", "c2", "c3")]
        assert store.list_unobserved(OrphanSearch(), 2, 0) == tuple(found[:2])
        assert store.list_unobserved(OrphanSearch(), 2, found[1].incarnation) == (found[2],)
        by_status = OrphanSearch(child_status=(InstanceStatus.FAILED,))
        assert store.list_unobserved(by_status, 1, 0) == (found[1],)
        assert store.list_unobserved(OrphanSearch(names=("Nobody",)), 0, 0) == ()
        assert store.list_unobserved(OrphanSearch(names=("Child", "Nobody")), 1, found[0].incarnation) == (found[1],)
        ended_ms = found[0].spawner_ended_at_ms
        assert ended_ms is not None
        assert store.list_unobserved(OrphanSearch(spawner_ended_before_ms=ended_ms), 0, 0) == ()
        assert len(store.list_unobserved(OrphanSearch(spawner_ended_before_ms=ended_ms + 1), 0, 0)) == 3

    def test_an_orphan_can_be_adopted(self, store: Store, worker: ScriptedWorker, clock: ManualClock) -> None:
        self.spawn(store, worker, "c")
        self.end(worker, "a", continued_as_new())
        clock.advance(5)
        adopted = store.adopt("c", "ada", "it is on its own")
        assert (adopted.detached, adopted.adopted_at_ms) == (True, clock.now_ms())
        assert (adopted.adopted_by, adopted.adopted_reason) == ("ada", "it is on its own")
        assert self.stands(store, "c") is Standing.DETACHED
        assert store.list_unobserved(EVERYTHING, 0, 0) == ()
        clock.advance(5)
        assert store.adopt("c", "bob", "again") == adopted
        self.end(worker, "c")
        assert self.child(store, "c").completion is None

    def test_only_orphans_are_adopted(self, store: Store, worker: ScriptedWorker) -> None:
        self.spawn(store, worker, "c", "d")
        before = store.dump()
        with pytest.raises(NotAnOrphanError, match="its spawning execution runs"):
            store.adopt("c", "ada", "")
        with pytest.raises(NotAnOrphanError, match="has no parent"):
            store.adopt("a", "ada", "")
        with pytest.raises(InstanceNotFoundError):
            store.adopt("nobody", "ada", "")
        assert store.dump() == before
        self.end(worker, "c")
        self.end(worker, "a", child_completed(2))
        with pytest.raises(NotAnOrphanError, match="recorded its end"):
            store.adopt("c", "ada", "")

    def test_a_listing_of_children_goes_on_past_those_that_were_removed(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        incarnation = self.spawn(store, worker, "c1", "c2", "c3")
        self.end(worker, "c1")
        self.end(worker, "a", child_completed(2), activity_scheduled())
        clock.advance(10)
        assert self.remove(store, (self.number(store, "c1"), OLD), grace_ms=50)[0].removed
        assert [child.instance_id for child in store.list_children(incarnation, 1, 0)] == ["c2"]
        assert [child.instance_id for child in store.list_children(incarnation, 0, 0)] == ["c2", "c3"]


class ParentEndContract(FamilyContract):
    """Children that end with their parent, or not."""

    def cancel_reason(self, store: Store, instance_id: str) -> str | None:
        return self.instance(store, instance_id).cancel_reason

    def test_a_parent_that_continues_leaves_its_children(self, store: Store, worker: ScriptedWorker) -> None:
        self.spawn(store, worker, "c")
        self.end(worker, "a", continued_as_new())
        assert self.cancel_reason(store, "c") is None
        assert self.instance(store, "c").status is InstanceStatus.PENDING

    @pytest.mark.parametrize("end", [completed, failed])
    def test_a_parent_that_ends_cancels_its_children(self, store: Store, worker: ScriptedWorker, end: Any) -> None:
        self.spawn(store, worker, "c", "d")
        self.end(worker, "d")
        self.end(worker, "a", end())
        assert self.cancel_reason(store, "c") == f"its parent 'a' is {self.instance(store).status}"
        assert self.cancel_reason(store, "d") is None
        assert [each.instance_id for each in worker.lease().instances] == ["c"]

    def test_also_those_of_earlier_executions(self, store: Store, worker: ScriptedWorker) -> None:
        self.spawn(store, worker, "c")
        self.end(worker, "a", continued_as_new())
        self.end(worker, "a")
        assert self.cancel_reason(store, "c") == "its parent 'a' is completed"

    def test_a_child_started_by_the_turn_that_ends_is_cancelled(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        worker.run(worker.take(), child_scheduled("c"), completed())
        assert self.cancel_reason(store, "c") == "its parent 'a' is completed"

    def test_detached_ones_are_left(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        worker.run(worker.take(), detached_scheduled("free"), completed())
        assert self.cancel_reason(store, "free") is None

    def test_the_words_of_a_spawn_win(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        words = (ParentPolicy.CANCEL, ParentPolicy.TERMINATE, ParentPolicy.ABANDON)
        spawned = [child_scheduled(f"c-{word}", on_parent_continue=word) for word in words]
        spawned += [child_scheduled(f"e-{word}", on_parent_end=word) for word in words]
        leased = worker.take()
        self.kept = {"a": next_lease(leased, worker.run(leased, *spawned, keep_lease=True))}
        self.end(worker, "a", continued_as_new())
        assert self.cancel_reason(store, "c-cancel") == "its parent 'a' continued as new"
        assert self.instance(store, "c-terminate").status is InstanceStatus.TERMINATED
        assert all(self.cancel_reason(store, f"e-{word}") is None for word in words)
        self.end(worker, "a")
        assert self.cancel_reason(store, "e-cancel") == "its parent 'a' is completed"
        assert self.instance(store, "e-terminate").status is InstanceStatus.TERMINATED
        assert self.cancel_reason(store, "e-abandon") is None
        assert self.instance(store, "e-abandon").status is InstanceStatus.PENDING
        assert self.cancel_reason(store, "c-cancel") == "its parent 'a' continued as new"

    def test_settings_are_for_spawns_that_say_nothing(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        terms = ChildTerms(on_parent_continue=ParentPolicy.CANCEL, on_parent_end=ParentPolicy.TERMINATE)
        spawned = (child_scheduled("c"), child_scheduled("d", **ABANDON))
        leased = worker.take()
        committed = turn(leased, *spawned, at_ms=5, keep_lease=True)
        worker.commit(committed, child_terms=terms)
        self.kept = {"a": next_lease(leased, committed)}
        self.end(worker, "a", continued_as_new())
        assert self.cancel_reason(store, "c") == "its parent 'a' continued as new"
        self.end(worker, "a")
        assert self.instance(store, "c").status is InstanceStatus.TERMINATED
        assert self.instance(store, "d").status is InstanceStatus.PENDING

    def test_terminating_goes_down_the_tree(self, store: Store, worker: ScriptedWorker) -> None:
        self.spawn(store, worker, "c", on_parent_end=ParentPolicy.TERMINATE)
        spawned = (child_scheduled("g1", on_parent_end=ParentPolicy.TERMINATE), child_scheduled("g2"))
        worker.run(self.take(worker, "c"), *spawned, activity_scheduled())
        worker.run(self.take(worker, "g1"), wait_started("go"), waits=["go"])
        store.terminate_instance("a", "enough")
        states = {each: self.instance(store, each).status for each in ("a", "c", "g1", "g2")}
        ended = InstanceStatus.TERMINATED
        assert states == {"a": ended, "c": ended, "g1": ended, "g2": InstanceStatus.PENDING}
        assert self.cancel_reason(store, "g2") == "its parent 'c' is terminated"
        read = store.read_history("g1", None)
        assert read is not None
        assert "its parent 'c' is terminated" in read.events[-1]
        assert store.dump()["activities"] == []

    def test_a_child_that_ended_in_the_same_commit_is_left(self, store: Store, worker: ScriptedWorker) -> None:
        self.spawn(store, worker, "c", on_parent_end=ParentPolicy.TERMINATE)
        parent, child = self.take(worker, "a"), worker.take("c")
        result = worker.commit(turn(parent, completed(), at_ms=5), turn(child, completed(), at_ms=5))
        assert result.turns == [TurnOutcome.COMMITTED, TurnOutcome.COMMITTED]
        assert self.instance(store, "c").status is InstanceStatus.COMPLETED

    def test_a_terminated_child_tells_a_parent_that_runs(self, store: Store, worker: ScriptedWorker) -> None:
        self.spawn(store, worker, "c")
        store.terminate_instance("c", "enough")
        (message,) = worker.take("a").messages
        told = codec.decode_message(message.data)
        assert isinstance(told, ChildFailed)
        assert told.failure.message == "enough"


class FamilyRemovalContract(FamilyContract):
    """``remove``, ``reclaim`` and undo of whole instances."""

    def grown(self, store: Store, worker: ScriptedWorker, clock: ManualClock) -> int:
        """A finished parent ``a`` with a child ``c`` (of two executions) that has a child ``g``; its incarnation."""
        incarnation = self.spawn(store, worker, "c")
        worker.run(self.take(worker, "c"), child_scheduled("g"))
        self.end(worker, "g")
        self.end(worker, "c", child_completed(2), continued_as_new())
        self.end(worker, "c")
        self.end(worker, "a", child_completed(2), completed())
        clock.advance(1_000)
        return incarnation

    def test_a_family_is_all_that_depends_on_it(self, store: Store, worker: ScriptedWorker, clock: ManualClock) -> None:
        family = self.family(store, self.grown(store, worker, clock))
        assert [(each.instance_id, each.depth, each.executions) for each in family.members] == [
            ("a", 0, 1),
            ("c", 1, 2),
            ("g", 2, 1),
        ]
        assert [each.versions for each in family.members] == [("1.0.0",)] * 3
        assert family.members[1].events == sum(
            row["event_count"]
            for row in store.dump()["executions"]
            if row["incarnation"] == family.members[1].incarnation
        )
        assert store.families([99, family.root.incarnation, 98]) == [family]
        assert (family.child, self.family(store, family.members[1].incarnation).child) == (
            None,
            self.child(store, "c"),
        )

    def test_a_family_is_out_of_sight_at_once(self, store: Store, worker: ScriptedWorker, clock: ManualClock) -> None:
        incarnation = self.grown(store, worker, clock)
        self.start(store, "other")
        (outcome,) = self.remove(store, (incarnation, OLD), grace_ms=50)
        assert outcome.removed
        assert (outcome.instance_id, outcome.instances, outcome.executions) == ("a", 3, 4)
        assert outcome.reasons == ("older-than:0.001s",)
        assert self.there(store) == {"other"}
        assert store.list_executions(None, 0, None).executions == store.list_executions("other", 0, None).executions
        assert store.get_instance("c") is None
        assert store.list_children(incarnation, 0, 0) == ()
        assert store.get_execution("a", 1) is None
        assert store.read_history("a", None) is None
        assert store.read_ends(["a", "c"]) == {}
        info = store.info()
        assert (info.instances, info.executions, info.events) == (1, 1, 0)
        assert store.list_finished(None, 0, 0) == ()
        removed = store.find_removed("c")
        assert removed is not None
        assert (removed.removed_at_ms, removed.reclaim_at_ms) == (clock.now_ms(), clock.now_ms() + 50)
        assert store.backlog() == Backlog(removed_instances=3)
        assert self.reclaim(store) == ReclaimResult()
        clock.advance(50)
        assert store.backlog() == Backlog(removed_instances=3, due_removed=3)

    def test_reclaimed_nothing_is_left_of_it(self, store: Store, worker: ScriptedWorker, clock: ManualClock) -> None:
        before = store.dump()
        incarnation = self.grown(store, worker, clock)
        self.remove(store, (incarnation, OLD))
        assert self.reclaim(store).instances == 3
        after = store.dump()
        for table in ("instances", "removed_instances", "executions", "history", "lineage", "requests", "ledger"):
            assert after[table] == before[table], table
        assert store.find_removed("a") is None
        totals = {each.name: (each.instances, each.executions) for each in store.ledger_totals()}
        assert totals == {"Child": (2, 3), "Order": (1, 1)}

    def test_leaves_go_first_and_in_batches(self, store: Store, worker: ScriptedWorker, clock: ManualClock) -> None:
        incarnation = self.grown(store, worker, clock)
        self.remove(store, (incarnation, OLD))
        part = store.reclaim(3)
        assert (part.instances, part.events, part.more) == (1, 2, True)
        assert {row["instance_id"]: row["reclaiming"] for row in store.dump()["removed_instances"]} == {"a": 1, "c": 1}
        assert store.undo_prune("hold-1", 10**15, instance_id="a").instances_restored == 0
        while store.reclaim(1).more:
            pass
        assert store.dump()["removed_instances"] == []

    def test_a_batch_deletes_no_more_than_it_may_and_counts_every_event_once(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        self.kept = {}
        orders = []
        for name, waits in (("a", 30), ("b", 5), ("c", 1)):
            orders.append((self.start(store, name), OLD))
            self.end(worker, name, *[wait_started("e")] * waits, completed())
        clock.advance(5)
        self.remove(store, *orders)
        parts = [store.reclaim(28)]
        while parts[-1].more:
            parts.append(store.reclaim(28))
        assert [(part.instances, part.events) for part in parts] == [(0, 28), (1, 8), (2, 6)]

    def test_an_unfinished_descendant_protects_all_above_it(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        incarnation = self.spawn(store, worker, "c", "d", **ABANDON)
        self.end(worker, "d")
        self.end(worker, "a", child_completed(3), completed())
        clock.advance(1_000)
        before = store.dump()
        (outcome,) = self.remove(store, (incarnation, OLD))
        assert (outcome.removed, outcome.reasons) == (False, ("running:c",))
        (outcome,) = self.remove(store, (self.number(store, "d"), OLD))
        assert (outcome.removed, outcome.reasons) == (False, ("with-parent:a",))
        assert store.dump() == before

    @pytest.mark.parametrize(
        "target", [HoldTarget(instance_id="g"), HoldTarget(name="Ch*"), HoldTarget(version="1.0.0")], ids=str
    )
    def test_a_hold_on_anyone_protects_them_all(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock, target: HoldTarget
    ) -> None:
        incarnation = self.grown(store, worker, clock)
        store.add_hold(Hold(hold_id="h", target=target, reason="to see", created_at_ms=0))
        (outcome,) = self.remove(store, (incarnation, OLD))
        assert (outcome.removed, outcome.reasons) == (False, ("held:h",))
        store.remove_hold("h")
        assert self.remove(store, (incarnation, OLD))[0].removed

    def test_what_a_parent_may_observe_stays(self, store: Store, worker: ScriptedWorker, clock: ManualClock) -> None:
        """A finished child whose parent has not run yet: the parent gets its result."""
        self.spawn(store, worker, "c")
        self.end(worker, "c")
        clock.advance(1_000)
        assert store.list_finished(None, 0, 0) == ()
        number = self.number(store, "c")
        orders = [(number, OLD), (number, ORPHANS)]
        reasons = [outcome.reasons for outcome in self.remove(store, *orders)]
        assert reasons == [("observable",), ("not-an-orphan:attached",)]
        (message,) = worker.take("a").messages
        assert codec.decode_message(message.data).scheduled_event_id == 2

    def test_a_settled_child_goes_alone(self, store: Store, worker: ScriptedWorker, clock: ManualClock) -> None:
        self.spawn(store, worker, "c", "d")
        self.end(worker, "c")
        self.end(worker, "a", child_completed(2), activity_scheduled())
        clock.advance(1_000)
        (found,) = store.list_finished(None, 0, 0)
        assert (found.instance_id, found.status) == ("c", InstanceStatus.COMPLETED)
        (outcome,) = self.remove(store, (found.incarnation, OLD))
        assert (outcome.removed, outcome.reasons) == (True, ("older-than:0.001s", "settled"))
        assert self.there(store) == {"a", "d"}

    def test_an_orphan_goes_when_it_is_old_enough(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        self.spawn(store, worker, "c", "d")
        self.end(worker, "a", continued_as_new())
        self.end(worker, "c", failed())
        number = self.number(store, "c")
        patient = OrphanRules(min_age_s=60)
        assert self.remove(store, (number, patient))[0].reasons == ("young:1m",)
        clock.advance(60_000)
        assert self.remove(store, (self.number(store, "d"), patient))[0].reasons == ("running:d",)
        only = OrphanRules(kinds=(OrphanKind.PARENT_CLOSED,), child_status=(InstanceStatus.COMPLETED,))
        kept = self.remove(store, (number, only))[0].reasons
        assert kept == ("kind:parent-continued", "status:failed")
        (outcome,) = self.remove(store, (number, patient), trigger="orphans")
        assert (outcome.removed, outcome.reasons) == (True, ("orphan:parent-continued",))
        (entry,) = [row for row in store.dump()["ledger"] if row["incarnation"] == number]
        assert (entry["trigger"], entry["rule"], entry["run_id"]) == ("orphans", "min_age=1m", None)

    def test_the_newest_ended_ones_are_kept(self, store: Store, worker: ScriptedWorker, clock: ManualClock) -> None:
        numbers = []
        for each in ("r1", "r2", "r3"):
            numbers.append(self.start(store, each))
            worker.run(worker.take(each), completed())
        self.start(store, "r4")
        clock.advance(10)
        assert [store.newest_finished("Order", count) for count in (1, 3, 4)] == [numbers[2], numbers[0], None]
        outcomes = self.remove(store, *((number, PurgeOptions(keep_last=2)) for number in numbers))
        assert [outcome.removed for outcome in outcomes] == [True, False, False]
        assert outcomes[1].reasons == ("last:2",)

    def test_whoever_removes_a_batch_at_a_time_says_where_the_newest_began(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        """It has removed newer ones since; what another root keeps is not said by that."""
        numbers = []
        for each, name in (("r1", "Order"), ("r2", "Order"), ("r3", "Order"), ("s1", "Child")):
            store.start_instances([start_request(each, name)])
            numbers.append(self.number(store, each))
            worker.run(worker.take(each), completed())
        clock.advance(10)
        batch = removal_batch(*((number, PurgeOptions(keep_last=2)) for number in numbers))
        orders = tuple(msgspec.structs.replace(order, newest_from=numbers[2]) for order in batch.orders[:2])
        outcomes = store.remove(msgspec.structs.replace(batch, orders=(*orders, *batch.orders[2:])))
        assert [outcome.removed for outcome in outcomes] == [True, True, False, False]
        assert outcomes[1].reasons == ("beyond-last:2",)

    def test_one_that_went_with_another_is_not_removed_twice(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        incarnation = self.grown(store, worker, clock)
        child = self.number(store, "c")
        whole, part, again = self.remove(
            store, (incarnation, OLD), (child, OLD), (77, OLD), run_id="run-1", source=RunSource(host="here")
        )
        assert (whole.removed, part.instance_id, again.instance_id) == (True, "", "")
        (run,) = store.list_prune_runs(0)
        assert (run.run_id, run.instances, run.executions, run.source.host) == ("run-1", 3, 4, "here")

    @pytest.mark.parametrize("kind", RemovalKind)
    def test_a_run_says_what_kind_of_removal_it_was(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock, kind: RemovalKind
    ) -> None:
        incarnation = self.grown(store, worker, clock)
        terms = {"trigger": kind, "run_id": "run-1", "grace_ms": 5_000}
        assert self.remove(store, (incarnation, OLD), **terms)[0].removed
        assert [(run.kind, run.trigger) for run in store.list_prune_runs(0)] == [(kind, "manual")]
        store.undo_prune("run-2", 10**15, run_id="run-1")
        assert sorted(run.kind for run in store.list_prune_runs(0)) == [kind, "undo"]

    def test_an_id_that_is_used_again_starts_clean(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        """What was addressed to the old life finds nobody."""
        incarnation = self.spawn(store, worker, "c", **ABANDON)
        running = self.take(worker, "c")
        self.end(worker, "a", completed())
        store.adopt("c", "ada", "for later")
        clock.advance(1_000)
        assert self.remove(store, (incarnation, OLD), grace_ms=5_000)[0].removed
        assert self.child(store, "c").parent_removed_at_ms == clock.now_ms()
        (outcome,) = store.start_instances([start_request("a", request_id="again")])
        assert (outcome.started, outcome.incarnation > incarnation) == (True, True)
        worker.run(running, completed())
        again = worker.take("a")
        assert (again.messages, again.parent, again.execution_id, again.event_count) == ((), None, 1, 0)
        assert store.list_ledger("a") == ()
        undone = store.undo_prune("hold-1", 10**15, instance_id="a")
        assert (undone.instances_restored, undone.hold_ids) == (0, ())

    def test_who_is_terminated_by_the_commit_of_a_turn_that_asked_for_a_prune_gets_no_answer(
        self, store: Store, worker: ScriptedWorker
    ) -> None:
        self.spawn(store, worker, "c", on_parent_end=ParentPolicy.TERMINATE)
        parent, child = self.take(worker, "a"), self.take(worker, "c")
        asks = turn(child, prune_requested(), at_ms=store.now_ms())
        ends = turn(parent, completed(), at_ms=store.now_ms())
        result = worker.commit(asks, ends)
        assert result.turns == [TurnOutcome.COMMITTED, TurnOutcome.COMMITTED]
        assert self.instance(store, "c").status is InstanceStatus.TERMINATED
        assert store.dump()["messages"] == []
        check_invariants(store)

    def test_a_run_is_undone_tree_by_tree(self, store: Store, worker: ScriptedWorker, clock: ManualClock) -> None:
        incarnation = self.grown(store, worker, clock)
        other = self.start(store, "other")
        worker.run(worker.take("other"), completed())
        clock.advance(1_000)
        before = store.dump()
        self.remove(store, (incarnation, OLD), (other, OLD), run_id="run-1", grace_ms=5_000, by="ada")
        store.start_instances([start_request("other", request_id="again")])
        undone = store.undo_prune("hold-1", clock.now_ms() + 500, run_id="run-1", by="bob")
        assert (undone.instances_restored, undone.executions_restored) == (3, 4)
        assert (undone.instances, undone.taken, undone.gone) == (("a",), ("other",), 0)
        after = store.dump()
        there = [row for row in after["instances"] if row["incarnation"] <= other]
        assert there == [row for row in before["instances"] if row["incarnation"] != other]
        assert [row["incarnation"] for row in after["removed_instances"]] == [other]
        for table in ("executions", "history", "lineage"):
            rows = [row for row in after[table] if row.get("incarnation", 0) <= other]
            assert rows == before[table], table
        (hold,) = store.list_holds()
        assert (hold.target.instance_id, hold.by) == ("a", "bob")
        assert self.remove(store, (incarnation, OLD))[0].reasons == ("held:hold-1",)
        clock.advance(10_000)
        assert self.remove(store, (incarnation, OLD))[0].removed
        self.reclaim(store)
        totals = {each.name: (each.instances, each.executions) for each in store.ledger_totals()}
        assert totals == {"Child": (2, 3), "Order": (2, 2)}
        assert store.undo_prune("hold-2", 10**15, run_id="run-1").gone == 5

    def test_what_came_back_may_be_removed_again_by_the_same_run(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        """Somebody undoes a run that is not done yet."""
        other = self.start(store, "other")
        worker.run(worker.take("other"), completed())
        clock.advance(1_000)
        assert self.remove(store, (other, OLD), run_id="run-1", grace_ms=5_000)[0].removed
        store.undo_prune("hold-1", clock.now_ms(), run_id="run-1")
        clock.advance(1)
        assert self.remove(store, (other, OLD), run_id="run-1", grace_ms=5_000)[0].removed
        rows = [(row["run_id"], row["executions"]) for row in store.dump()["ledger"] if row["run_id"] == "run-1"]
        assert rows == [("run-1", 2)]
        check_invariants(store)

    def test_of_a_run_and_an_instance_it_is_the_run_that_is_undone(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        numbers = []
        for each in ("one", "two"):
            numbers.append(self.start(store, each))
            worker.run(worker.take(each), completed())
        clock.advance(1_000)
        for number in numbers:
            assert self.remove(store, (number, OLD), run_id=f"run-{number}", grace_ms=5_000)[0].removed
        undone = store.undo_prune("hold-1", 10**15, run_id=f"run-{numbers[0]}", instance_id="two")
        assert (undone.instances, undone.taken) == (("one",), ())
        assert store.get_instance("two") is None

    def test_an_instance_whose_id_is_used_again_does_not_come_back_and_the_undo_says_so(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        incarnation = self.orphaned(store, worker, clock)
        assert self.remove(store, (incarnation, OLD), grace_ms=5_000)[0].instances == 2
        self.start(store, "c")
        before = store.dump()
        undone = store.undo_prune("hold-1", 10**15, instance_id="c")
        assert (undone.instances, undone.taken) == ((), ("a",)), "it was removed with that one"
        assert store.undo_prune("hold-1", 10**15, instance_id="a").taken == ("a",)
        assert store.dump() == before
        clock.advance(5_000)
        self.reclaim(store)
        assert store.undo_prune("hold-1", 10**15, instance_id="c").taken == ()

    def test_what_a_run_pruned_of_an_instance_that_was_removed_since_waits_for_the_undo_of_that(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        incarnation = self.start(store, "a")
        for _ in range(4):
            worker.run(worker.take("a"), continued_as_new())
        worker.run(worker.take("a"), completed())
        store.prune(prune_batch((incarnation, 2), run_id="run-1", grace_ms=5_000))
        clock.advance(1_000)
        assert self.remove(store, (incarnation, OLD), run_id="run-2", grace_ms=5_000)[0].removed
        before = store.dump()
        undone = store.undo_prune("hold-1", 10**15, run_id="run-1")
        assert (undone.executions_restored, undone.gone, undone.taken, undone.removed) == (0, 0, (), ("a",))
        assert store.dump() == before
        assert store.undo_prune("hold-1", 10**15, run_id="run-2").removed == ()
        undone = store.undo_prune("hold-2", 10**15, run_id="run-1")
        assert (undone.executions_restored, undone.removed) == (3, ())

    def test_an_orphan_below_one_that_came_back_is_held_as_well(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        """It hangs below the root and would go with it, but a clean-up may remove it alone."""
        incarnation = self.orphaned(store, worker, clock)
        assert self.remove(store, (incarnation, OLD), grace_ms=5_000)[0].instances == 2
        undone = store.undo_prune("hold-1", 10**15, instance_id="a")
        assert (undone.instances, undone.gone, undone.hold_ids) == (("a",), 0, ("hold-1", "hold-1-2"))
        assert [hold.target.instance_id for hold in store.list_holds()] == ["a", "c"]
        (kept,) = self.remove(store, (self.number(store, "c"), ORPHANS))
        assert (kept.removed, kept.reasons) == (False, ("held:hold-1-2",))
        assert self.there(store) == {"a", "c"}

    def test_of_two_lives_of_an_id_that_one_run_removed_the_older_comes_back(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        """And the rest of the run with it."""
        for instance_id, request_id in (("twice", "one"), ("twice", "two"), ("once", "three")):
            store.start_instances([start_request(instance_id, request_id=request_id)])
            worker.run(worker.take(instance_id), completed())
            clock.advance(1_000)
            number = self.number(store, instance_id)
            assert self.remove(store, (number, OLD), run_id="run-1", grace_ms=50_000)[0].removed
        undone = store.undo_prune("hold-1", 10**15, run_id="run-1")
        assert (undone.instances, undone.instances_restored, undone.taken) == (("twice", "once"), 2, ("twice",))
        assert [self.number(store, each) for each in ("twice", "once")] == [1, 3]
        check_invariants(store)

    def test_one_that_comes_back_knows_what_became_of_its_parent_meanwhile(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        self.spawn(store, worker, "c")
        self.end(worker, "c")
        leased = self.take(worker, "a")
        self.kept["a"] = next_lease(leased, worker.run(leased, child_completed(2), keep_lease=True))
        clock.advance(1_000)
        assert self.remove(store, (self.number(store, "c"), OLD), grace_ms=5_000)[0].removed
        self.end(worker, "a", continued_as_new())
        store.undo_prune("hold-1", 10**15, instance_id="c")
        back = self.child(store, "c")
        assert (back.spawner_ended_at_ms, back.spawner_end) == (clock.now_ms(), ExecutionStatus.CONTINUED_AS_NEW)

    def test_one_that_comes_back_knows_what_its_parent_made_of_it_meanwhile(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        self.spawn(store, worker, "c")
        self.end(worker, "c")
        leased = self.take(worker, "a")
        leased = next_lease(leased, worker.run(leased, child_cancel_requested(2), keep_lease=True))
        clock.advance(1_000)
        assert self.remove(store, (self.number(store, "c"), OLD), grace_ms=5_000)[0].removed
        worker.run(leased, child_completed(2), keep_lease=True)
        store.undo_prune("hold-1", 10**15, instance_id="c")
        assert self.child(store, "c").observed_at_ms == clock.now_ms()

    @pytest.mark.parametrize("reclaimed", [False, True])
    def test_one_that_comes_back_knows_that_its_parent_was_removed_meanwhile(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock, reclaimed: bool
    ) -> None:
        """Else nobody could tell whether it is an orphan, and it would stay for ever."""
        incarnation = self.orphaned(store, worker, clock)
        self.remove(store, (self.number(store, "c"), ORPHANS), grace_ms=50_000)
        clock.advance(1_000)
        removed_at_ms = clock.now_ms()
        self.remove(store, (incarnation, OLD), grace_ms=0 if reclaimed else 50_000)
        if reclaimed:
            self.reclaim(store)
        clock.advance(1_000)
        store.undo_prune("hold-1", 10**15, instance_id="c")
        back = self.child(store, "c")
        assert back.parent_removed_at_ms == (clock.now_ms() if reclaimed else removed_at_ms)
        assert place_of(back).kind is OrphanKind.PARENT_MISSING
        orphan, ended_ms = as_orphan(back), back.spawner_ended_at_ms
        assert orphan is not None
        assert ended_ms is not None
        for before_ms, found in ((ended_ms, ()), (ended_ms + 1, (back,))):  # not by when its parent was removed
            assert store.list_unobserved(OrphanSearch(spawner_ended_before_ms=before_ms), 0, 0) == found
            assert is_wanted(orphan, OrphanFilter(parent_completed_before=before_ms)) is bool(found)
        check_invariants(store)
        assert [each for each in store.checkup() if each.count and each.severity == "error"] == []

    def test_one_that_comes_back_knows_that_its_parent_is_back(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        incarnation = self.start(store)
        worker.run(worker.take(), detached_scheduled("d"), completed())
        worker.run(worker.take("d"), completed())
        clock.advance(1_000)
        self.remove(store, (incarnation, OLD), grace_ms=50_000)
        self.remove(store, (self.number(store, "d"), OLD), grace_ms=50_000)
        store.undo_prune("hold-1", 10**15, instance_id="a")
        store.undo_prune("hold-2", 10**15, instance_id="d")
        assert self.child(store, "d").parent_removed_at_ms is None

    def orphaned(self, store: Store, worker: ScriptedWorker, clock: ManualClock) -> int:
        """A parent that has ended without observing the end of its child "c", which has ended too; its incarnation."""
        incarnation = self.spawn(store, worker, "c", **ABANDON)
        self.end(worker, "a")
        self.end(worker, "c")
        clock.advance(1_000)
        return incarnation

    def test_a_child_that_stands_alone_knows_whether_its_parent_is_removed_or_back(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        incarnation = self.start(store)
        worker.run(worker.take(), detached_scheduled("d"), completed())
        clock.advance(1_000)
        assert self.remove(store, (incarnation, OLD), grace_ms=5_000)[0].removed
        assert self.child(store, "d").parent_removed_at_ms == clock.now_ms()
        store.undo_prune("hold-1", 10**15, instance_id="a")
        assert self.child(store, "d").parent_removed_at_ms is None

    def test_an_instance_is_brought_back_by_its_id(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        incarnation = self.grown(store, worker, clock)
        self.remove(store, (incarnation, OLD), grace_ms=5_000)
        undone = store.undo_prune("hold-1", 10**15, instance_id="g")
        assert (undone.instances, undone.instances_restored) == (("a",), 3)
        assert self.there(store) == {"a", "c", "g"}
        with pytest.raises(InstanceNotFoundError):
            store.undo_prune("hold-2", 10**15, instance_id="nobody")

    def test_a_stale_revision_changes_nothing(self, store: Store, worker: ScriptedWorker, clock: ManualClock) -> None:
        incarnation = self.grown(store, worker, clock)
        before = store.dump()
        with pytest.raises(StalePlanError):
            self.remove(store, (incarnation, OLD), policy_revision=99)
        assert store.dump() == before
        store.add_hold(Hold(hold_id="h", target=HoldTarget(name="Nothing"), reason="kept", created_at_ms=1))
        store.remove_hold("h")
        revision = store.published_policies().revision
        self.remove(store, (incarnation, OLD), policy_revision=revision, run_id="run-1")
        assert self.there(store) == set()

    def test_a_run_that_removes_nothing_and_a_removal_without_a_run_are_no_runs(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        incarnation = self.grown(store, worker, clock)
        self.remove(store, (incarnation, PurgeOptions(keep_within=3_600)), run_id="run-1")
        self.remove(store, (incarnation, OLD))
        assert self.there(store) == set()
        assert store.list_prune_runs(0) == ()

    def test_marked_executions_of_a_removed_instance_are_reclaimed_with_it(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        incarnation = self.grown(store, worker, clock)
        child = self.number(store, "c")
        store.prune(prune_batch((child, 1), run_id="run-1", grace_ms=9_000))
        self.remove(store, (incarnation, OLD), grace_ms=50)
        assert store.info().executions == 0
        clock.advance(50)
        assert self.reclaim(store).instances == 3
        assert (store.dump()["executions"], store.dump()["history"]) == ([], [])
        assert store.undo_prune("hold-1", 10**15, run_id="run-1").gone == 1

    def test_settled_children_go_with_what_a_turn_prunes(self, store: Store, worker: ScriptedWorker) -> None:
        self.spawn(store, worker, "c")
        self.end(worker, "c")
        policies = chain(AutoPrune(keep_last=1))
        ending = turn(
            self.take(worker, "a"), child_completed(2), continued_as_new(), at_ms=store.now_ms(), policies=policies
        )
        result = worker.commit(ending, prune_terms=PruneTerms(children=ChildrenPolicy.SETTLED))
        assert result.prunes[0].result.executions_deleted == 1
        assert store.reclaim(1_000).children == 1
        assert self.there(store) == {"a"}

    def test_settled_children_go_with_the_execution_that_spawned_them(
        self, store: Store, worker: ScriptedWorker
    ) -> None:
        """Also those nobody observed: their spawner has ended. One that runs, or is held below, stays."""
        incarnation = self.spawn(store, worker, "c", "d", "e", "f")
        worker.run(self.take(worker, "f"), child_scheduled("below"))
        self.end(worker, "below")
        self.end(worker, "f", child_completed(2), completed())
        self.end(worker, "c")
        self.end(worker, "d", failed())
        self.end(worker, "a", child_completed(2), continued_as_new())
        store.add_hold(Hold(hold_id="h", target=HoldTarget(instance_id="below"), reason="see", created_at_ms=0))
        store.prune(prune_batch((incarnation, 1), children=ChildrenPolicy.SETTLED))
        assert self.there(store) == {"a", "c", "d", "e", "f", "below"}
        done = store.reclaim(1_000)
        assert (done.children, done.instances) == (2, 2)
        (settled,) = done.settled
        assert (settled.name, settled.families, settled.instances) == ("Child", 2, 2)
        assert (settled.executions, settled.events) == (2, 4)
        assert settled.history_bytes > 0
        assert self.there(store) == {"a", "e", "f", "below"}
        totals = {each.name: (each.instances, each.executions) for each in store.ledger_totals()}
        assert totals == {"Child": (2, 2)}
