"""Archives: what is marked for one waits for it, and what is restored is as it was."""

from typing import Any

import msgspec
import pytest

from duro.errors import InstanceNotFoundError, RestoreRefusedError
from duro.model.archive import (
    CONFIGURED,
    ArchivableExecution,
    ArchivableInstance,
    ArchivedHistory,
    Restoration,
    WaitingArchive,
)
from duro.model.families import OrphanKind, OrphanRules, OrphanSearch, PurgeOptions, Standing
from duro.model.ledger import RunSource
from duro.model.limits import MARK_RECLAIM_EVENTS_MAX
from duro.model.policies import PolicyChain, PolicySources, StatedPolicy
from duro.model.records import InstanceFilter
from duro.model.removal import ReclaimResult
from duro.model.retention import AutoPrune, PolicyKind, PolicyOrigin, PruneOptions
from duro.model.status import ChildrenPolicy, ExecutionStatus
from duro.model.turns import PruneTerms
from duro.retention.families import place_of
from duro.retention.policy import policy_chain
from duro.stores.base import Store, StoreDump
from duro.testing.builders import (
    child_cancel_requested,
    child_completed,
    completed,
    continued_as_new,
    next_lease,
    prune_batch,
    removal_batch,
    turn,
    wait_started,
)
from duro.testing.clock import ManualClock
from duro.testing.scripted import ScriptedWorker
from duro.testing.store_contract.families import FamilyContract

ONE = PruneOptions(keep_last=1)
OLD = PurgeOptions(keep_within=0.001)
PLACE = "/var/archive"
_OF_HISTORIES = ("executions", "history")


def _keeping_one() -> PolicyChain:
    origin = PolicyOrigin(PolicyKind.CODE_DEFAULT, "app.py:1")
    stated = StatedPolicy(policy=AutoPrune(keep_last=1), origin=origin)
    return policy_chain(PolicySources(code_default=stated), "Order", "1.0.0")


def _histories(store: Store, executions: tuple[ArchivableExecution, ...]) -> tuple[ArchivedHistory, ...]:
    events = store.load_histories([(each.incarnation, each.execution_id) for each in executions])
    return tuple(
        ArchivedHistory(execution=each, events=of_each) for each, of_each in zip(executions, events, strict=True)
    )


class ArchivesContract(FamilyContract):
    def loop(self, store: Store, worker: ScriptedWorker, count: int, instance_id: str = "a", **fields: Any) -> int:
        """An instance that continued as new until it has ``count`` executions; its incarnation."""
        self.kept = {}
        incarnation = self.start(store, instance_id)
        while self.instance(store, instance_id).execution_id < count:
            worker.run(self.take(worker, instance_id), continued_as_new(), **fields)
        return incarnation

    @staticmethod
    def prune(store: Store, incarnation: int, archive: str | None = PLACE, **fields: Any) -> None:
        store.prune(prune_batch((incarnation, ONE), archive=archive, **fields))

    @staticmethod
    def waiting(store: Store, *excluding: str) -> list[int]:
        return [each.execution_id for each in store.list_unarchived(100, excluding)]

    @staticmethod
    def archive(store: Store) -> tuple[ArchivedHistory, ...]:
        """Everything that waits, as an archiver would: read, kept, noted."""
        histories = _histories(store, store.list_unarchived(1_000))
        keys = [(each.execution.incarnation, each.execution.execution_id) for each in histories]
        store.note_archived(keys, [])
        return histories

    @staticmethod
    def archive_instance(store: Store) -> tuple[ArchivableInstance, tuple[ArchivedHistory, ...]]:
        """The first that waits."""
        (instance,) = store.list_unarchived_instances(1)
        histories = _histories(store, store.list_unarchived_of(instance.incarnation, 1_000, 0))
        store.note_archived([], [instance.incarnation])
        return instance, histories

    @staticmethod
    def restoration(
        histories: tuple[ArchivedHistory, ...], instance: ArchivableInstance | None = None, **fields: Any
    ) -> Restoration:
        execution = histories[0].execution
        given: dict[str, Any] = {
            "run_id": "restore-1",
            "hold_until_ms": 10**15,
            "by": "ann",
            "source": RunSource(),
        } | fields
        return Restoration(
            instance_id=execution.instance_id,
            incarnation=execution.incarnation,
            histories=histories,
            instance=instance,
            **given,
        )

    def ended_family(self, store: Store, worker: ScriptedWorker, clock: ManualClock) -> int:
        """Parent a and child c, both ended, c observed."""
        incarnation = self.spawn(store, worker, "c")
        self.end(worker, "c")
        self.end(worker, "a", child_completed(2), completed())
        clock.advance(5)
        return incarnation

    # --- waiting -----------------------------------------------------------------------------------------------

    def test_what_waits_for_its_archive_is_reclaimed_only_when_it_is_there(
        self, store: Store, worker: ScriptedWorker
    ) -> None:
        incarnation = self.loop(store, worker, 3)
        self.prune(store, incarnation)
        assert self.reclaim(store) == ReclaimResult()
        assert self.waiting(store) == [1, 2]
        assert len(store.dump()["executions"]) == 3
        store.note_archived([(incarnation, 1)], [])
        assert self.waiting(store) == [2]
        self.reclaim(store)
        assert [row["execution_id"] for row in store.dump()["executions"]] == [2, 3]

    def test_what_waits_says_where_it_goes_and_how_it_ended(self, store: Store, worker: ScriptedWorker) -> None:
        incarnation = self.loop(store, worker, 2)
        record = store.get_execution("a", 1)
        assert record is not None
        self.prune(store, incarnation, run_id="run-1")
        (waiting,) = store.list_unarchived(10)
        assert msgspec.structs.asdict(waiting) == {
            "instance_id": "a",
            "incarnation": incarnation,
            "execution_id": 1,
            "name": record.name,
            "version": record.version,
            "status": record.status,
            "started_at_ms": record.started_at_ms,
            "completed_at_ms": record.completed_at_ms,
            "event_count": record.event_count,
            "history_bytes": record.history_bytes,
            "input": None,
            "pruned_at_ms": store.now_ms(),
            "run_id": "run-1",
            "archive": PLACE,
        }
        assert [run.archive for run in store.list_prune_runs(0)] == [PLACE]

    def test_what_waits_is_handed_out_in_its_grace_and_goes_after_it(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        self.prune(store, self.loop(store, worker, 3), run_id="run-1", grace_ms=1_000)
        since_ms = store.now_ms() + 1_000
        assert store.waiting_archives() == (
            WaitingArchive(archive=PLACE, executions=2, instances=0, since_ms=since_ms),
        )
        self.archive(store)
        assert store.waiting_archives() == ()
        assert self.reclaim(store) == ReclaimResult()
        clock.advance(1_000)
        assert self.reclaim(store).executions == 2

    def test_a_turn_that_prunes_leaves_what_goes_for_the_configured_archive(
        self, store: Store, worker: ScriptedWorker
    ) -> None:
        self.loop(store, worker, 2)
        ending = turn(worker.take("a"), continued_as_new(), at_ms=store.now_ms(), policies=_keeping_one())
        result = worker.commit(ending, prune_terms=PruneTerms(archive=True))
        assert result.prunes[0].result.executions_deleted == 2
        assert [each.archive for each in store.list_unarchived(10)] == [CONFIGURED, CONFIGURED]

    def test_a_run_tells_where_the_configured_archive_was_and_what_it_marked_waits_for_whichever_is_configured(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        then = {"archive": CONFIGURED, "archive_directory": "/srv/then"}
        incarnation = self.loop(store, worker, 2)
        self.prune(store, incarnation, run_id="run-1", **then)
        assert [each.archive for each in store.list_unarchived(10)] == [CONFIGURED]
        self.end(worker, "a")
        clock.advance(5)
        self.remove(store, (incarnation, OLD), run_id="run-2", **then)
        assert [each.archive for each in store.list_unarchived_instances(10)] == [CONFIGURED]
        self.prune(store, self.loop(store, worker, 2, "b"), CONFIGURED, run_id="run-3")
        told = {run.run_id: run.archive for run in store.list_prune_runs(0)}
        assert told == {"run-1": "/srv/then", "run-2": "/srv/then", "run-3": CONFIGURED}

    def test_archives_that_cannot_be_used_stand_in_nobodys_way(self, store: Store, worker: ScriptedWorker) -> None:
        self.prune(store, self.loop(store, worker, 2, "a"), "/gone")
        self.prune(store, self.loop(store, worker, 2, "b"), PLACE)
        assert [each.instance_id for each in store.list_unarchived(1)] == ["a"]
        assert [each.instance_id for each in store.list_unarchived(1, ["/gone"])] == ["b"]
        assert store.list_unarchived(1, ["/gone", PLACE]) == ()
        assert [each.archive for each in store.waiting_archives()] == ["/gone", PLACE]

    def test_the_backlog_tells_what_waits_from_what_may_go(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        self.prune(store, self.loop(store, worker, 3), run_id="run-1", grace_ms=1_000)
        backlog = store.backlog()
        assert (backlog.marked_executions, backlog.due_executions, backlog.unarchived_executions) == (2, 0, 2)
        self.archive(store)
        clock.advance(1_000)
        backlog = store.backlog()
        assert (backlog.marked_executions, backlog.due_executions, backlog.unarchived_executions) == (2, 2, 0)

    def test_more_than_a_transaction_should_delete_waits_for_others_once_it_is_archived(
        self, store: Store, worker: ScriptedWorker
    ) -> None:
        incarnation = self.start(store)
        waits = [wait_started("e")] * (MARK_RECLAIM_EVENTS_MAX // 2)
        for _ in range(2):
            worker.run(worker.take("a"), *waits, continued_as_new())
        self.prune(store, incarnation)
        self.archive(store)
        assert {row["execution_id"] for row in store.dump()["executions"]} >= {2, 3}
        assert (self.waiting(store), store.backlog().due_executions > 0) == ([], True)
        self.reclaim(store)
        assert [row["execution_id"] for row in store.dump()["executions"]] == [3]

    def test_what_an_undo_brings_back_waits_no_more(self, store: Store, worker: ScriptedWorker) -> None:
        incarnation = self.loop(store, worker, 3)
        before = _tables(store.dump())
        self.prune(store, incarnation, run_id="run-1")
        store.undo_prune("hold-1", 10**15, run_id="run-1")
        assert _tables(store.dump()) == before
        assert self.waiting(store) == []
        store.note_archived([(incarnation, 1)], [])
        assert _tables(store.dump()) == before

    # --- whole instances ---------------------------------------------------------------------------------------

    def test_a_removed_family_waits_and_is_handed_out_from_the_leaves_up(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        incarnation = self.ended_family(store, worker, clock)
        self.remove(store, (incarnation, OLD), archive=PLACE)
        assert self.reclaim(store) == ReclaimResult()
        assert store.waiting_archives()[0].instances == 2
        assert store.list_unarchived(10) == ()
        child, histories = self.archive_instance(store)
        assert (child.instance_id, child.archive) == ("c", PLACE)
        assert child.lineage is not None
        assert child.lineage.parent.instance_id == "a"
        assert [row.range.executions for row in child.ledger] == [1]
        assert [each.execution.execution_id for each in histories] == [1]
        assert self.reclaim(store).instances == 1
        parent, _ = self.archive_instance(store)
        assert (parent.instance_id, parent.lineage) == ("a", None)
        assert self.reclaim(store).instances == 1
        assert store.dump()["executions"] == []

    def test_executions_that_wait_make_the_whole_tree_wait(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        incarnation = self.spawn(store, worker, "c")
        self.end(worker, "c")
        self.end(worker, "a", child_completed(2), continued_as_new())
        self.prune(store, incarnation)
        self.end(worker, "a")
        clock.advance(5)
        self.remove(store, (incarnation, OLD))
        assert self.waiting(store) == []
        assert {row["archive"] for row in store.dump()["removed_instances"]} == {PLACE}
        assert self.reclaim(store) == ReclaimResult()
        self.archive_instance(store)
        _, histories = self.archive_instance(store)
        assert [each.execution.execution_id for each in histories] == [1, 2]
        self.reclaim(store)
        assert store.dump()["executions"] == []

    def test_what_was_pruned_of_an_instance_that_is_archived_and_comes_back_is_archived_too(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        incarnation = self.loop(store, worker, 2)
        self.prune(store, incarnation, run_id="run-1", grace_ms=10_000)
        self.end(worker, "a")
        clock.advance(5)
        self.remove(store, (incarnation, OLD), archive=PLACE, run_id="run-2", grace_ms=1_000)
        _, histories = self.archive_instance(store)
        assert [each.execution.execution_id for each in histories] == [1, 2]
        store.undo_prune("hold-1", 10**15, run_id="run-2")
        assert (self.waiting(store), store.waiting_archives()) == ([], ())
        clock.advance(10_000)
        self.reclaim(store)
        assert [row["execution_id"] for row in store.dump()["executions"]] == [2]

    def test_an_instance_that_comes_back_is_handed_out_no_more(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        incarnation = self.ended_family(store, worker, clock)
        before = _tables(store.dump())
        self.remove(store, (incarnation, OLD), archive=PLACE, run_id="run-1")
        store.undo_prune("hold-1", 10**15, run_id="run-1")
        assert store.list_unarchived_instances(10) == ()
        assert store.list_unarchived_of(incarnation, 10, 0) == ()
        store.note_archived([], [incarnation])
        assert _tables(store.dump()) == before

    def test_children_that_go_with_an_execution_go_into_its_archive(self, store: Store, worker: ScriptedWorker) -> None:
        incarnation = self.spawn(store, worker, "c")
        self.end(worker, "c")
        self.end(worker, "a", child_completed(2), continued_as_new())
        self.prune(store, incarnation, children=ChildrenPolicy.SETTLED)
        self.archive(store)
        assert store.reclaim(1_000).children == 1
        assert [each.instance_id for each in store.list_unarchived_instances(10)] == ["c"]
        assert self.reclaim(store) == ReclaimResult()
        child, _ = self.archive_instance(store)
        assert child.archive == PLACE
        assert self.reclaim(store).instances == 1

    def test_orphans_that_are_cleaned_up_go_into_the_archive(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        self.spawn(store, worker, "c")
        self.end(worker, "a", continued_as_new())
        self.end(worker, "c")
        clock.advance(5)
        rules = OrphanRules(min_age_s=0)
        store.remove(removal_batch((self.number(store, "c"), rules), archive=PLACE, trigger="orphans"))
        assert [each.instance_id for each in store.list_unarchived_instances(10)] == ["c"]

    # --- restoring ---------------------------------------------------------------------------------------------

    def test_restored_executions_are_as_they_were_and_held(self, store: Store, worker: ScriptedWorker) -> None:
        incarnation = self.loop(store, worker, 4)
        before = _tables(store.dump())
        self.prune(store, incarnation)
        histories = self.archive(store)
        self.reclaim(store)
        result = store.restore(self.restoration(histories, archive=PLACE))
        assert (result.instances, result.executions, result.there, result.hold_ids) == (0, 3, 0, ("restore-1",))
        assert result.events == sum(len(each.events) for each in histories)
        assert _tables(store.dump()) == before
        (hold,) = store.list_holds()
        assert (hold.hold_id, hold.target.instance_id, hold.until_ms, hold.by) == ("restore-1", "a", 10**15, "ann")
        runs = store.list_prune_runs(0)
        assert [(run.run_id, run.kind, run.trigger, run.executions, run.archive) for run in runs] == [
            ("restore-1", "restore", "undo", 3, PLACE)
        ]
        self.prune(store, incarnation)
        assert _tables(store.dump()) == before

    def test_restoring_twice_changes_nothing_the_second_time(self, store: Store, worker: ScriptedWorker) -> None:
        self.prune(store, self.loop(store, worker, 3))
        histories = self.archive(store)
        self.reclaim(store)
        store.restore(self.restoration(histories))
        before = store.dump()
        result = store.restore(self.restoration(histories, run_id="restore-2"))
        assert (result.executions, result.there, result.hold_ids) == (0, 2, ())
        assert store.dump() == before

    def test_a_restoration_in_parts_is_one_run_under_one_hold(self, store: Store, worker: ScriptedWorker) -> None:
        self.prune(store, self.loop(store, worker, 3))
        first, second = self.archive(store)
        self.reclaim(store)
        store.restore(self.restoration((second,)))
        store.restore(self.restoration((first,)))
        assert [(run.run_id, run.instances, run.executions) for run in store.list_prune_runs(0)] == [
            ("restore-1", 1, 2)
        ]
        assert len(store.list_holds()) == 1
        assert [each.execution_id for each in store.list_executions("a", 0, None).executions] == [3, 2, 1]

    def test_nothing_is_restored_over_something_else(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        self.prune(store, self.loop(store, worker, 3), run_id="run-1", grace_ms=1_000)
        histories = self.archive(store)
        before = store.dump()
        with pytest.raises(RestoreRefusedError, match="a/1 is pruned and still in the store"):
            store.restore(self.restoration(histories))
        assert store.dump() == before
        clock.advance(1_000)
        self.reclaim(store)
        store.restore(self.restoration(histories))
        before = store.dump()
        changed = msgspec.structs.replace(histories[0], events=("{}",))
        with pytest.raises(RestoreRefusedError, match="a/1 is there, and not as the archive has it"):
            store.restore(self.restoration((changed, histories[1])))
        assert store.dump() == before

    def test_a_restored_instance_is_as_it_was_with_its_lineage_and_ledger(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        incarnation = self.spawn(store, worker, "c")
        self.end(worker, "c")
        self.end(worker, "a", child_completed(2), continued_as_new())
        self.prune(store, incarnation)
        self.archive(store)
        self.end(worker, "a")
        clock.advance(5)
        self.reclaim(store)
        before = store.dump()
        self.remove(store, (incarnation, OLD), archive=PLACE, run_id="run-1")
        kept = [self.archive_instance(store), self.archive_instance(store)]
        self.reclaim(store)
        assert store.dump()["instances"] == []
        assert sum(each.instances for each in store.ledger_totals()) == 2
        assert sum(each.executions for each in store.ledger_totals()) == 3
        for instance, histories in reversed(kept):
            result = store.restore(self.restoration(histories, instance))
            assert result.instances == 1
        after = store.dump()
        for table in (*_OF_HISTORIES, "instances", "lineage"):
            assert after[table] == before[table], table
        assert [
            (row["trigger"], row["executions"]) for row in after["ledger"] if row["incarnation"] == incarnation
        ] == [
            ("interval", 1),
            ("purge", 1),
            ("undo", 1),
        ]
        for totals in store.ledger_totals():
            assert (totals.instances, totals.executions, totals.events, totals.history_bytes) == (0, 0, 0, 0)
        self.remove(store, (incarnation, OLD), run_id="run-2")
        assert store.dump()["instances"] == after["instances"]

    def test_a_child_that_is_restored_without_its_parent_has_lost_it(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        incarnation = self.ended_family(store, worker, clock)
        self.remove(store, (incarnation, OLD), archive=PLACE)
        child, histories = self.archive_instance(store)
        parent, histories_of_parent = self.archive_instance(store)
        self.reclaim(store)
        store.restore(self.restoration(histories, child))
        assert self.child(store, "c").parent_removed_at_ms == store.now_ms()
        store.restore(self.restoration(histories_of_parent, parent))
        assert self.child(store, "c").parent_removed_at_ms is None
        assert [each.instance_id for each in store.list_children(incarnation, 10, 0)] == ["c"]

    def archived_before_its_spawner_ended(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock, *end: Any
    ) -> tuple[int, ArchivableInstance, tuple[ArchivedHistory, ...]]:
        """The incarnation of a parent that went on (or came to ``end``) after its child "c" had been observed, removed
        and archived; and what the archive has of the child."""
        incarnation = self.spawn(store, worker, "c")
        self.end(worker, "c")
        leased = self.take(worker, "a")
        self.kept["a"] = next_lease(leased, worker.run(leased, child_completed(2), keep_lease=True))
        clock.advance(5)
        self.remove(store, (self.number(store, "c"), OLD), archive=PLACE)
        child, histories = self.archive_instance(store)
        self.reclaim(store)
        self.end(worker, "a", *(end or (continued_as_new(),)))
        return incarnation, child, histories

    def test_a_child_that_is_restored_learns_how_its_spawner_ended_meanwhile(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        _, child, histories = self.archived_before_its_spawner_ended(store, worker, clock)
        ended_at_ms = clock.now_ms()
        clock.advance(5)
        store.restore(self.restoration(histories, child))
        back = self.child(store, "c")
        assert (back.spawner_ended_at_ms, back.spawner_end) == (ended_at_ms, ExecutionStatus.CONTINUED_AS_NEW)
        assert place_of(back).standing is Standing.OBSERVED

    def test_a_child_that_is_restored_learns_that_its_parent_has_ended_meanwhile(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        _, child, histories = self.archived_before_its_spawner_ended(store, worker, clock, completed())
        ended_at_ms = clock.now_ms()
        clock.advance(5)
        store.restore(self.restoration(histories, child))
        back = self.child(store, "c")
        assert (back.spawner_ended_at_ms, back.spawner_end) == (ended_at_ms, ExecutionStatus.COMPLETED)
        assert place_of(back).standing is Standing.OBSERVED

    def test_a_child_whose_spawner_is_gone_when_it_is_restored_knows_that_its_parent_went_on(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        incarnation, child, histories = self.archived_before_its_spawner_ended(store, worker, clock)
        ended_at_ms = clock.now_ms()
        self.prune(store, incarnation, archive=None)
        self.reclaim(store)
        clock.advance(5)
        store.restore(self.restoration(histories, child))
        back = self.child(store, "c")
        assert (back.spawner_ended_at_ms, back.spawner_end) == (ended_at_ms, ExecutionStatus.CONTINUED_AS_NEW)
        assert [each for each in store.checkup() if each.count and each.severity == "error"] == []

    @staticmethod
    def unobserved(store: Store) -> list[tuple[str, OrphanKind | None]]:
        """The same, whether those of unknown standing are asked for, too, or not."""
        found, cleanable = (store.list_unobserved(OrphanSearch(all_kinds=each), 10, 0) for each in (True, False))
        assert found == cleanable
        return [(each.instance_id, place_of(each).kind) for each in found]

    @pytest.mark.parametrize(
        ("ends", "parts", "kind"),
        [
            ((completed(),), slice(0, 1), OrphanKind.PARENT_CLOSED),
            ((continued_as_new(), completed()), slice(0, 2), OrphanKind.PARENT_CONTINUED),
            ((continued_as_new(), completed()), slice(1, 2), OrphanKind.PARENT_CONTINUED),
        ],
        ids=["closed", "continued", "spawner-pruned"],
    )
    def test_a_child_given_up_whose_parent_is_gone_when_it_is_restored_is_an_orphan_that_is_found(
        self,
        store: Store,
        worker: ScriptedWorker,
        clock: ManualClock,
        ends: tuple[Any, ...],
        parts: slice,
        kind: OrphanKind,
    ) -> None:
        """Its archive is of a time at which its spawner ran; nobody saw that end."""
        incarnation = self.spawn(store, worker, "c")
        leased = self.take(worker, "a")
        self.kept["a"] = next_lease(leased, worker.run(leased, child_cancel_requested(2), keep_lease=True))
        self.end(worker, "c")
        clock.advance(5)
        self.remove(store, (self.number(store, "c"), OLD), archive=PLACE)
        child, histories = self.archive_instance(store)
        self.reclaim(store)
        for end in ends:
            self.end(worker, "a", end)
        clock.advance(5)
        self.remove(store, (incarnation, OLD), archive=PLACE)
        parent, histories_of_parent = self.archive_instance(store)
        self.reclaim(store)
        store.restore(self.restoration(histories, child))
        assert self.unobserved(store) == [("c", OrphanKind.PARENT_MISSING)]
        assert store.count_orphans() == {child.name: 1}
        store.restore(self.restoration(histories_of_parent[parts], parent))
        assert self.unobserved(store) == [("c", kind)]
        assert [each for each in store.checkup() if each.count and each.severity == "error"] == []

    def test_an_instance_is_not_restored_while_its_id_is_used_again(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        incarnation = self.ended_family(store, worker, clock)
        self.remove(store, (incarnation, OLD), archive=PLACE)
        kept = [self.archive_instance(store), self.archive_instance(store)]
        instance, histories = kept[1]
        with pytest.raises(RestoreRefusedError, match="was removed and is still in the store"):
            store.restore(self.restoration(histories, instance))
        self.reclaim(store)
        self.start(store, "a")
        before = store.dump()
        with pytest.raises(RestoreRefusedError, match="belongs to another instance now"):
            store.restore(self.restoration(histories, instance))
        assert store.dump() == before

    def test_an_instance_comes_back_only_with_its_last_execution(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        incarnation = self.loop(store, worker, 2)
        self.end(worker, "a")
        clock.advance(5)
        self.remove(store, (incarnation, OLD), archive=PLACE)
        instance, (first, last) = self.archive_instance(store)
        self.reclaim(store)
        with pytest.raises(RestoreRefusedError, match="without its last execution, 2"):
            store.restore(self.restoration((first,), instance))
        with pytest.raises(InstanceNotFoundError, match="does not have it as a whole"):
            store.restore(self.restoration((first,)))
        assert store.dump()["instances"] == []
        assert store.restore(self.restoration((last,), instance)).instances == 1
        assert store.restore(self.restoration((first,), instance)).executions == 1
        assert [each.execution_id for each in store.list_executions("a", 0, None).executions] == [2, 1]

    def test_an_execution_the_instance_has_not_come_to_is_refused(self, store: Store, worker: ScriptedWorker) -> None:
        self.prune(store, self.loop(store, worker, 3))
        history, _ = self.archive(store)
        later = msgspec.structs.replace(history, execution=msgspec.structs.replace(history.execution, execution_id=3))
        with pytest.raises(RestoreRefusedError, match="has not come to execution 3 yet"):
            store.restore(self.restoration((later,)))

    def test_what_was_pruned_before_the_instance_was_made_is_refused(
        self, store: Store, worker: ScriptedWorker
    ) -> None:
        self.prune(store, self.loop(store, worker, 3))
        histories = self.archive(store)
        self.reclaim(store)
        created_at_ms = store.list_instances(InstanceFilter(), 1, None).instances[0].created_at_ms
        early = created_at_ms - 1
        forged = tuple(
            msgspec.structs.replace(each, execution=msgspec.structs.replace(each.execution, pruned_at_ms=early))
            for each in histories
        )
        before = store.dump()
        with pytest.raises(RestoreRefusedError, match="is of another time than the instance that is there"):
            store.restore(self.restoration(forged))
        assert store.dump() == before

    def test_an_instance_of_a_time_the_store_has_not_come_to_is_refused(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        """As after a backup was put in the place of the store: its incarnation will be given to another one."""
        incarnation = self.ended_family(store, worker, clock)
        self.remove(store, (incarnation, OLD), archive=PLACE)
        instance, (history,) = self.archive_instance(store)
        later = msgspec.structs.replace(history.execution, instance_id="later", incarnation=99)
        before = store.dump()
        with pytest.raises(RestoreRefusedError, match="of a time that this store has not come to"):
            store.restore(
                self.restoration(
                    (msgspec.structs.replace(history, execution=later),),
                    msgspec.structs.replace(instance, instance_id="later", incarnation=99),
                )
            )
        assert store.dump() == before

    def test_archives_that_were_used_are_remembered_the_last_first(self, store: Store, clock: ManualClock) -> None:
        assert store.known_archives() == ()
        store.remember_archive("/a", "one")
        clock.advance(5)
        store.remember_archive("/b", "two")
        clock.advance(5)
        store.remember_archive("/a", "three")
        assert [(each.directory, each.archive_id) for each in store.known_archives()] == [
            ("/a", "three"),
            ("/b", "two"),
        ]
        assert store.known_archives()[0].last_used_at_ms == store.now_ms()


def _tables(dump: StoreDump) -> dict[str, list[dict[str, Any]]]:
    return {table: dump[table] for table in _OF_HISTORIES}
