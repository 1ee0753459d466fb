"""Pruning: in the commit of turns, by orders, in two steps, and what is said about it."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from duro import codec
from duro.errors import (
    ExecutionNotFoundError,
    HoldExistsError,
    InstanceNotFoundError,
    InvalidRulesError,
    PruneRunNotFoundError,
    StalePlanError,
)
from duro.model.families import PurgeOptions
from duro.model.ledger import RunSource
from duro.model.limits import ASKED_PRUNES_MAX, LEDGER_RANGES_MAX, MARK_RECLAIM_EVENTS_MAX, TURN_PRUNE_EXECUTIONS_MAX
from duro.model.messages import HistoryPruned
from duro.model.policies import PolicyChain, PolicySources, StatedPolicy
from duro.model.pruning import Hold, HoldTarget, PruneTrigger
from duro.model.removal import AskedPrune, Backlog, PruneFilter, PruneOrder
from duro.model.retention import NEVER, AutoPrune, Policy, PolicyKind, PolicyOrigin, PruneOptions
from duro.model.status import ChildrenPolicy, RemovalState
from duro.model.turns import PruneTerms, TurnOutcome
from duro.retention.plan import plan_instance
from duro.retention.policy import policy_chain
from duro.stores.base import Store
from duro.testing.builders import (
    activity_scheduled,
    child_completed,
    child_scheduled,
    completed,
    continued_as_new,
    detached_scheduled,
    history_pruned,
    next_lease,
    prune_batch,
    prune_requested,
    removal_batch,
    turn,
    wait_started,
)
from duro.testing.clock import ManualClock
from duro.testing.scripted import ScriptedWorker
from duro.testing.store_contract.suite import StoreContract

ONE = PruneOptions(keep_last=1)


def chain(policy: AutoPrune | None = None, options: PruneOptions | None = None) -> PolicyChain:
    """What a worker says whose program has ``policy`` as its default; ``options``: the ``prune=`` of the turn."""
    origin = PolicyOrigin(PolicyKind.CODE_DEFAULT, "app.py:1")
    default = None if policy is None else StatedPolicy(policy=policy, origin=origin)
    return policy_chain(PolicySources(code_default=default), "Order", "1.0.0", turn_options=options)


def stated(policy: AutoPrune | str) -> str:
    """A policy as an instance has it for its own."""
    origin = PolicyOrigin(PolicyKind.INSTANCE, "a")
    chosen: Policy = policy if isinstance(policy, AutoPrune) else NEVER
    return msgspec.json.encode(StatedPolicy(policy=chosen, origin=origin)).decode()


def hold(hold_id: str = "hold-1", **fields: Any) -> Hold:
    target = HoldTarget(
        **{name: fields.pop(name) for name in ("instance_id", "execution_id", "name") if name in fields}
    )
    return Hold(hold_id=hold_id, target=target, reason="kept for a test", created_at_ms=1, **fields)


class PruningContract(StoreContract):
    """What the topics share."""

    def loop(self, store: Store, worker: ScriptedWorker, count: int, instance_id: str = "a", **fields: Any) -> int:
        """An instance that continued as new until it has ``count`` executions; its incarnation."""
        if store.get_instance(instance_id) is None:
            self.start(store, instance_id)
        while self.instance(store, instance_id).execution_id < count:
            worker.run(worker.take(instance_id), continued_as_new(), **fields)
        return self.instance(store, instance_id).incarnation

    @staticmethod
    def live(store: Store, instance_id: str = "a") -> list[int]:
        """The live executions, oldest first."""
        page = store.list_executions(instance_id, 0, None)
        return [execution.execution_id for execution in reversed(page.executions)]

    @staticmethod
    def rows(store: Store, incarnation: int) -> dict[str, list[int]]:
        """The executions that have rows, by table."""
        dump = store.dump()
        return {
            table: sorted({row["execution_id"] for row in dump[table] if row["incarnation"] == incarnation})
            for table in ("executions", "history")
        }


class TurnPruningContract(PruningContract):
    def test_an_automatic_policy_prunes_with_continue_as_new(self, store: Store, worker: ScriptedWorker) -> None:
        incarnation = self.loop(store, worker, 5, policies=chain(AutoPrune(keep_last=2)))
        assert self.live(store) == [4, 5]
        assert self.rows(store, incarnation) == {"executions": [4, 5], "history": [4]}
        (entry,) = store.list_ledger("a")
        assert (entry.range.first_execution_id, entry.range.last_execution_id) == (1, 3)
        assert (entry.range.executions, entry.range.events) == (3, 6)
        assert (entry.range.rule, entry.range.trigger) == ("keep_last=2", "continue_as_new")
        assert entry.range.origin == "code_default: app.py:1"
        assert entry.run is None

    def test_what_it_did_is_reported_turn_by_turn(self, store: Store, worker: ScriptedWorker) -> None:
        self.loop(store, worker, 2)
        committed = turn(worker.take(), continued_as_new(), at_ms=5, policies=chain(AutoPrune(keep_last=1)))
        (report,) = worker.commit(committed).prunes
        assert (report.position, report.name, report.trigger) == (0, "Order", PruneTrigger.CONTINUE_AS_NEW)
        assert (report.result.executions_deleted, report.result.events_deleted, report.result.remaining) == (2, 4, 0)

    def test_what_the_turn_says_replaces_the_policy(self, store: Store, worker: ScriptedWorker) -> None:
        both = chain(AutoPrune(keep_last=1), PruneOptions(keep_last=4))
        self.loop(store, worker, 6, policies=both)
        assert self.live(store) == [3, 4, 5, 6]
        assert store.dump()["instances"][0]["pruned_through"] == 0

    def test_the_instances_own_policy_replaces_the_workers(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        store.set_instance_policy("a", stated(AutoPrune(keep_last=3)))
        self.loop(store, worker, 6, policies=chain(AutoPrune(keep_last=1)))
        assert self.live(store) == [4, 5, 6]
        store.set_instance_policy("a", stated("never"))
        self.loop(store, worker, 8, policies=chain(AutoPrune(keep_last=1)))
        assert self.live(store) == [4, 5, 6, 7, 8]
        store.set_instance_policy("a", None)
        self.loop(store, worker, 9, policies=chain(AutoPrune(keep_last=1)))
        assert self.live(store) == [9]

    def test_the_instances_own_policy_needs_no_word_of_the_worker(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        store.set_instance_policy("a", stated(AutoPrune(keep_last=1)))
        self.loop(store, worker, 3)
        assert self.live(store) == [3]

    def test_a_worker_that_may_not_prune_prunes_no_instance(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        store.set_instance_policy("a", stated(AutoPrune(keep_last=1)))
        committed = turn(worker.take(), continued_as_new(), at_ms=5)
        result = worker.commit(committed, prune_terms=PruneTerms(stopped_by="enabled = false in x.toml"))
        assert (result.turns, result.prunes) == ([TurnOutcome.COMMITTED], [])
        assert self.live(store) == [1, 2]

    def test_every_n_executions_counts_from_the_last_time(self, store: Store, worker: ScriptedWorker) -> None:
        policy = chain(AutoPrune(keep_last=1, every_n_executions=3))
        seen = []
        for count in range(2, 9):
            self.loop(store, worker, count, policies=policy)
            seen.append(self.live(store)[0])
        assert seen == [1, 1, 4, 4, 4, 7, 7]

    def test_where_code_took_the_place_of_a_prune_that_was_due_it_is_due_at_the_next(
        self, store: Store, worker: ScriptedWorker
    ) -> None:
        policy = AutoPrune(keep_last=1, every_n_executions=3)
        seen = []
        for count in range(2, 8):
            asked = PruneOptions(keep_last=3) if count == 4 else None
            self.loop(store, worker, count, policies=chain(policy, asked))
            seen.append(self.live(store)[0])
        assert seen == [1, 1, 2, 5, 5, 5], "and it counts from there"

    def test_a_turn_and_the_first_of_the_next_execution_are_seen_together(
        self, store: Store, worker: ScriptedWorker
    ) -> None:
        incarnation = self.loop(store, worker, 3)
        leased = worker.take()
        end = turn(leased, continued_as_new(), at_ms=20, keep_lease=True, policies=chain(AutoPrune(keep_last=1)))
        begin = turn(next_lease(leased, end), activity_scheduled(), prune_requested(), at_ms=30)
        result = worker.commit(end, begin)
        assert result.turns == [TurnOutcome.COMMITTED, TurnOutcome.COMMITTED]
        assert [(report.position, report.result.executions_deleted) for report in result.prunes] == [(0, 3), (1, 0)]
        assert self.rows(store, incarnation) == {"executions": [4], "history": [4]}

    def test_two_ends_of_one_commit_count_from_the_prune_of_the_first(
        self, store: Store, worker: ScriptedWorker
    ) -> None:
        policy = chain(AutoPrune(keep_last=1, every_n_executions=2))
        self.loop(store, worker, 2)
        leased = worker.take()
        first = turn(leased, continued_as_new(), at_ms=20, keep_lease=True, policies=policy)
        second = turn(next_lease(leased, first), continued_as_new(), at_ms=30, policies=policy)
        result = worker.commit(first, second)
        assert [(report.position, report.result.executions_deleted) for report in result.prunes] == [(0, 2)]
        (row,) = store.dump()["instances"]
        assert (row["pruned_through"], self.live(store)) == (2, [3, 4])

    @pytest.mark.parametrize("automatic", [False, True])
    def test_a_prune_does_not_count_what_a_later_turn_of_its_commit_started(
        self, automatic: bool, store: Store, worker: ScriptedWorker
    ) -> None:
        self.loop(store, worker, 6)
        leased = worker.take()
        says = chain(AutoPrune(keep_last=3)) if automatic else chain(None, PruneOptions(keep_last=3))
        first = turn(leased, continued_as_new(), at_ms=20, keep_lease=True, policies=says)
        second = turn(next_lease(leased, first), continued_as_new(), at_ms=30)
        result = worker.commit(first, second)
        assert [(report.position, report.result.executions_deleted) for report in result.prunes] == [(0, 4)]
        assert self.live(store) == [5, 6, 7, 8]

    def test_what_was_started_by_a_turn_that_prunes_stays_though_it_has_ended_in_the_same_commit(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        self.loop(store, worker, 3)
        leased = worker.take()
        ended = PruneOptions(completed_before=datetime.fromtimestamp(clock.now_ms() / 1000 + 100, UTC))
        first = turn(leased, continued_as_new(), at_ms=20, keep_lease=True, policies=chain(None, ended))
        worker.commit(first, turn(next_lease(leased, first), continued_as_new(), at_ms=30))
        assert self.live(store) == [4, 5]

    def test_what_a_turn_leaves_to_a_sweep_is_as_of_that_turn(self, store: Store, worker: ScriptedWorker) -> None:
        count = TURN_PRUNE_EXECUTIONS_MAX + 10
        self.loop(store, worker, count)
        leased = worker.take()
        says = chain(None, PruneOptions(keep_last=2))
        first = turn(leased, continued_as_new(), at_ms=5, keep_lease=True, policies=says)
        worker.commit(first, turn(next_lease(leased, first), continued_as_new(), at_ms=6))
        (asked,) = store.asked_prunes(0, 0)
        assert asked.through == count + 1

    @pytest.mark.parametrize("size", [1, 2, 7])
    def test_versions_are_counted_beyond_what_one_transaction_looks_at(
        self, size: int, store: Store, worker: ScriptedWorker
    ) -> None:
        """Three versions, one of them used once, long ago; ``size`` executions at a time."""
        versions = ["1.0.0"] * 20 + ["1.5.0"] + ["1.0.0", "2.0.0"] * 40 + ["2.0.0"] * 20
        for count, version in enumerate(versions, start=2):
            incarnation = self.loop(store, worker, count, version=version)
        whole = store.prune_views([(incarnation, 0)], len(versions) + 1, 0)[0].executions
        rules = PruneOptions(keep_last_per_version=2, keep_versions=2)
        verdicts = plan_instance(whole, rules, (), 0)
        kept = [one.execution_id for one, verdict in zip(whole, verdicts, strict=True) if verdict.keep]
        after: int | None = 0
        while after is not None:
            order = PruneOrder(
                incarnation=incarnation, rules=(rules,), origin=PolicyOrigin(PolicyKind.CALL, ""), after=after
            )
            batch = msgspec.structs.replace(prune_batch(), orders=(order,), executions_max=size)
            after = store.prune(batch)[0].next_after
        assert self.live(store) == kept

    def test_a_turn_counts_the_versions_beyond_what_it_looks_at(self, store: Store, worker: ScriptedWorker) -> None:
        count = 3 * TURN_PRUNE_EXECUTIONS_MAX
        self.loop(store, worker, count, version="1.0.0")
        says = chain(None, PruneOptions(keep_last_per_version=2))
        worker.commit(turn(worker.take(), continued_as_new(), version="1.0.0", at_ms=5, policies=says))
        assert self.live(store)[0] == TURN_PRUNE_EXECUTIONS_MAX + 1

    def test_a_turn_looks_at_the_oldest_and_leaves_the_rest_to_a_sweep(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        count = TURN_PRUNE_EXECUTIONS_MAX + 10
        incarnation = self.loop(store, worker, count)
        committed = turn(worker.take(), continued_as_new(), at_ms=5, policies=chain(AutoPrune(keep_last=2)))
        (report,) = worker.commit(committed).prunes
        assert report.result.executions_deleted == TURN_PRUNE_EXECUTIONS_MAX
        assert report.result.remaining > 0
        assert self.live(store)[0] == TURN_PRUNE_EXECUTIONS_MAX + 1
        (row,) = store.dump()["instances"]
        assert (row["pruned_through"], row["prune_due_at_ms"]) == (0, clock.now_ms())
        due = store.prunable_instances(PruneFilter(due=True), 0, 0)
        assert [each.incarnation for each in due] == [incarnation]
        assert store.backlog() == Backlog(due_instances=1)

    def test_what_a_rule_of_time_keeps_among_the_oldest_leaves_nothing_to_a_sweep(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        count = TURN_PRUNE_EXECUTIONS_MAX + 10
        self.loop(store, worker, count)
        policy = chain(AutoPrune(keep_within=60.0))
        self.loop(store, worker, count + 3, policies=policy)
        (row,) = store.dump()["instances"]
        assert (row["pruned_through"], row["prune_due_at_ms"]) == (count + 2, None)
        clock.advance(60_001)
        worker.register()
        committed = turn(worker.take(), continued_as_new(), at_ms=store.now_ms(), policies=policy)
        (report,) = worker.commit(committed).prunes
        assert report.result.executions_deleted == TURN_PRUNE_EXECUTIONS_MAX
        (row,) = store.dump()["instances"]
        assert (row["pruned_through"], row["prune_due_at_ms"]) == (count + 2, store.now_ms())

    def test_beyond_many_that_are_held_a_sweep_looks_once_and_not_after_every_turn(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        count = TURN_PRUNE_EXECUTIONS_MAX + 10
        incarnation = self.loop(store, worker, count)
        for number in range(1, TURN_PRUNE_EXECUTIONS_MAX + 1):
            store.add_hold(hold(f"h{number}", instance_id="a", execution_id=number))
        policy = chain(AutoPrune(keep_last=2))
        self.loop(store, worker, count + 1, policies=policy)
        assert store.backlog() == Backlog(due_instances=1)
        swept = prune_batch((incarnation, 2), executions_max=30, swept=True)
        (result,) = store.prune(swept)
        while result.next_after is not None:
            order = msgspec.structs.replace(swept.orders[0], after=result.next_after)
            (result,) = store.prune(msgspec.structs.replace(swept, orders=(order,)))
        kept = list(range(1, TURN_PRUNE_EXECUTIONS_MAX + 1))
        assert self.live(store) == [*kept, count, count + 1]
        swept_at_ms = store.now_ms()
        self.loop(store, worker, count + 4, policies=policy)
        assert self.live(store) == [*kept, *range(count, count + 5)]
        assert store.backlog() == Backlog(), "it looked just now"
        assert store.prunable_instances(PruneFilter(due=True), 0, 0) == ()
        (row,) = store.dump()["instances"]
        assert (row["pruned_through"], row["prune_due_at_ms"]) == (count + 3, swept_at_ms + 10_000 + 10 * (count + 1))
        clock.advance(row["prune_due_at_ms"] - store.now_ms())
        assert store.backlog() == Backlog(due_instances=1)

    def test_a_hold_on_the_whole_instance_leaves_nothing_to_a_sweep(self, store: Store, worker: ScriptedWorker) -> None:
        self.loop(store, worker, TURN_PRUNE_EXECUTIONS_MAX + 10)
        store.add_hold(hold(name="Ord*"))
        self.loop(store, worker, TURN_PRUNE_EXECUTIONS_MAX + 12, policies=chain(AutoPrune(keep_last=2)))
        assert store.backlog() == Backlog()

    def test_a_sweep_goes_no_further_than_something_may_go(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        incarnation = self.loop(store, worker, 5)
        clock.advance(60_000)
        worker.register()
        self.loop(store, worker, 20)
        batch = prune_batch((incarnation, PruneOptions(keep_within=30.0)), executions_max=8)
        (result,) = store.prune(batch)
        assert (result.result.executions_deleted, result.next_after) == (4, 8), "who is no sweep looks at all"
        (result,) = store.prune(msgspec.structs.replace(batch, swept=True))
        assert (result.result.executions_deleted, result.next_after) == (0, None)

    def test_a_further_version_pauses_it(self, store: Store, worker: ScriptedWorker, clock: ManualClock) -> None:
        clock.advance(10_000)
        ScriptedWorker(store, "w2", orchestrations=[("Order", "9.0.0")])
        self.loop(store, worker, 3)
        terms = PruneTerms(rollout_pause_s=60.0)
        committed = turn(worker.take(), continued_as_new(), at_ms=5, policies=chain(AutoPrune(keep_last=1)))
        assert worker.commit(committed, prune_terms=terms).prunes == []
        assert self.live(store) == [1, 2, 3, 4]
        clock.advance(60_001)
        worker.register()
        committed = turn(worker.take(), continued_as_new(), at_ms=5, policies=chain(AutoPrune(keep_last=1)))
        assert worker.commit(committed, prune_terms=terms).prunes[0].result.executions_deleted == 4

    def test_a_prune_that_is_asked_for_answers_with_a_message(self, store: Store, worker: ScriptedWorker) -> None:
        incarnation = self.loop(store, worker, 4)
        leased = worker.take()
        worker.run(leased, prune_requested(PruneOptions(keep_last=2)))
        again = worker.take()
        (message,) = again.messages
        pruned = codec.decode_message(message.data)
        assert isinstance(pruned, HistoryPruned)
        assert (pruned.execution_id, pruned.scheduled_event_id) == (4, 2)
        assert (pruned.executions_deleted, pruned.events_deleted, pruned.error) == (2, 4, None)
        assert pruned.bytes_deleted > 0
        assert self.rows(store, incarnation)["executions"] == [3, 4]
        (entry,) = store.list_ledger("a")
        assert (entry.range.trigger, entry.range.origin) == ("prune_history", "call: ctx.prune_history")
        worker.run(again, history_pruned(2, 2), completed())

    def test_a_kept_lease_brings_the_answer_in_the_same_commit(self, store: Store, worker: ScriptedWorker) -> None:
        self.loop(store, worker, 2)
        leased = worker.take()
        committed = turn(leased, prune_requested(), activity_scheduled(), at_ms=5, keep_lease=True)
        result = worker.commit(committed, lease=worker.request())
        (again,) = result.leased.instances
        assert (again.lease_epoch, len(again.messages)) == (leased.lease_epoch, 1)

    def test_a_turn_that_ends_for_good_prunes_and_is_told_nothing(self, store: Store, worker: ScriptedWorker) -> None:
        incarnation = self.loop(store, worker, 3)
        worker.run(worker.take(), prune_requested(), completed())
        assert self.rows(store, incarnation)["executions"] == [3]
        assert store.dump()["messages"] == []

    def test_a_turn_that_prunes_and_continues_as_new_leaves_its_successor_no_answer(
        self, store: Store, worker: ScriptedWorker
    ) -> None:
        incarnation = self.loop(store, worker, 3)
        worker.run(worker.take(), prune_requested(), continued_as_new())
        assert self.rows(store, incarnation)["executions"] == [4]
        assert store.dump()["messages"] == []

    def asked(self, store: Store) -> list[tuple[str, int]]:
        return [(str(each.options), each.through) for each in store.asked_prunes(0, 0)]

    def answer(self, store: Store, asked: AskedPrune, executions_max: int = 30) -> None:
        """As a sweep does, to the end."""
        order = PruneOrder(incarnation=asked.incarnation, rules=(asked.options,), origin=asked.origin, asked=asked)
        batch = msgspec.structs.replace(prune_batch(), executions_max=executions_max, swept=True)
        after: int | None = 0
        while after is not None:
            going_on = msgspec.structs.replace(order, after=after)
            ((after),) = [each.next_after for each in store.prune(msgspec.structs.replace(batch, orders=(going_on,)))]

    def test_the_execution_that_was_current_when_code_asked_stays_when_a_sweep_goes_on_after_its_end(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        """Whatever the rule says of it now that it has ended."""
        count = TURN_PRUNE_EXECUTIONS_MAX + 10
        self.loop(store, worker, count)
        all_old = PruneOptions(completed_before=datetime.fromtimestamp(clock.now_ms() / 1000 + 1_000, UTC))
        worker.run(worker.take(), continued_as_new(), policies=chain(None, all_old))
        self.loop(store, worker, count + 4)
        (asked,) = store.asked_prunes(0, 0)
        self.answer(store, asked)
        assert self.live(store) == [count + 1, count + 2, count + 3, count + 4]

    def test_what_a_call_leaves_is_kept_for_a_sweep_although_no_policy_says_anything(
        self, store: Store, worker: ScriptedWorker
    ) -> None:
        count = 2 * TURN_PRUNE_EXECUTIONS_MAX + 10
        incarnation = self.loop(store, worker, count)
        worker.run(worker.take(), prune_requested(PruneOptions(keep_last=3)), activity_scheduled())
        assert self.live(store)[0] == TURN_PRUNE_EXECUTIONS_MAX + 1
        (asked,) = store.asked_prunes(0, 0)
        assert (asked.incarnation, asked.name, asked.options) == (incarnation, "Order", PruneOptions(keep_last=3))
        assert (asked.through, asked.at_ms, str(asked.origin)) == (count, store.now_ms(), "call: ctx.prune_history")
        assert store.backlog() == Backlog(due_instances=1)
        assert store.prunable_instances(PruneFilter(due=True), 0, 0) == (), "no policy is due"
        assert store.asked_prunes(0, incarnation) == ()
        self.answer(store, asked)
        assert self.live(store) == [count - 2, count - 1, count]
        assert (store.asked_prunes(0, 0), store.backlog()) == ((), Backlog())
        assert store.prunable_instances(PruneFilter(), 0, 0)[0].swept_at_ms is None, "for its interval it did not look"

    def test_what_continue_as_new_asked_for_and_left_is_done_as_of_then(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        """Nothing that came or grew old later goes."""
        count = TURN_PRUNE_EXECUTIONS_MAX + 20
        incarnation = self.loop(store, worker, 10)
        clock.advance(60_000)
        worker.register()
        self.loop(store, worker, count)
        within = PruneOptions(keep_within=30.0, keep_last=2)
        worker.run(worker.take(), continued_as_new(), policies=chain(None, within))
        assert self.asked(store) == [], "what is newer than the oldest that is kept is kept, too"
        worker.run(worker.take(), continued_as_new(), policies=chain(None, PruneOptions(keep_last=4)))
        assert self.asked(store) == [("keep_last=4", count + 2)]
        (row,) = store.dump()["instances"]
        assert (row["pruned_through"], row["prune_due_at_ms"]) == (0, None)
        (asked,) = store.asked_prunes(0, 0)
        clock.advance(60_000)
        worker.register()
        self.loop(store, worker, count + 9)
        self.answer(store, asked, executions_max=3)
        assert self.live(store) == list(range(count - 1, count + 10))
        assert self.rows(store, incarnation)["executions"][0] == count - 1

    def test_a_rule_of_time_that_code_asked_for_is_of_its_time(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        count = TURN_PRUNE_EXECUTIONS_MAX + 20
        self.loop(store, worker, count)
        clock.advance(60_000)
        worker.register()
        self.loop(store, worker, count + 5)
        worker.run(worker.take(), prune_requested(PruneOptions(keep_within=30.0)), activity_scheduled())
        (asked,) = store.asked_prunes(0, 0)
        clock.advance(60_000)
        worker.register()
        self.answer(store, asked)
        assert self.live(store) == list(range(count, count + 6)), "what was young then stays"

    def test_of_versions_that_code_asked_to_keep_those_of_then_are_kept(
        self, store: Store, worker: ScriptedWorker
    ) -> None:
        count = TURN_PRUNE_EXECUTIONS_MAX + 20
        self.loop(store, worker, count, version="1.0.0")
        options = PruneOptions(keep_last_per_version=2, keep_versions=1)
        worker.run(worker.take(), prune_requested(options), activity_scheduled(), version="1.0.0")
        (asked,) = store.asked_prunes(0, 0)
        worker.run(worker.take(), history_pruned(2, 64), continued_as_new(), version="1.0.0")
        self.loop(store, worker, count + 5, version="1.0.0")
        self.answer(store, asked, executions_max=9)
        assert self.live(store) == list(range(count - 1, count + 6))

    def test_what_is_asked_for_anew_meanwhile_is_not_done_yet(self, store: Store, worker: ScriptedWorker) -> None:
        count = 3 * TURN_PRUNE_EXECUTIONS_MAX
        self.loop(store, worker, count)
        policies = chain(None, PruneOptions(keep_last=2))
        worker.run(worker.take(), continued_as_new(), policies=policies)
        (asked,) = store.asked_prunes(0, 0)
        worker.run(worker.take(), continued_as_new(), policies=policies)
        self.answer(store, asked)
        assert self.asked(store) == [("keep_last=2", count + 2)]
        assert self.live(store) == [count, count + 1, count + 2]
        self.answer(store, store.asked_prunes(0, 0)[0])
        assert self.live(store) == [count + 1, count + 2]
        assert self.asked(store) == []

    def test_of_several_calls_with_other_rules_none_is_forgotten_and_few_are_kept(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        count = (ASKED_PRUNES_MAX + 5) * TURN_PRUNE_EXECUTIONS_MAX
        incarnation = self.loop(store, worker, count)
        seen = []
        for keep_last in range(1, ASKED_PRUNES_MAX + 1):
            clock.advance(1)
            worker.run(worker.take(), continued_as_new(), policies=chain(None, PruneOptions(keep_last=keep_last)))
            seen.append(f"keep_last={keep_last}")
        texts = [PruneOptions(**msgspec.json.decode(row["options"])) for row in store.dump()["asked_prunes"]]
        assert [str(each) for each in texts] == seen
        assert [(each.incarnation, str(each.options)) for each in store.asked_prunes(1, 0)] == [
            (incarnation, "keep_last=1")
        ], "the oldest first"
        clock.advance(1)
        worker.run(worker.take(), continued_as_new(), policies=chain(None, PruneOptions(keep_last=77)))
        assert len(store.dump()["asked_prunes"]) == ASKED_PRUNES_MAX
        assert self.asked(store) == [("keep_last=2", count + 2)]
        while asked := store.asked_prunes(0, 0):
            self.answer(store, asked[0])
        assert self.live(store)[0] == count + 1, "the second newest of its time"

    def test_a_call_that_finds_the_oldest_kept_is_looked_at_later(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        count = TURN_PRUNE_EXECUTIONS_MAX + 10
        self.loop(store, worker, count)
        for number in range(1, TURN_PRUNE_EXECUTIONS_MAX + 1):
            store.add_hold(hold(f"h{number}", instance_id="a", execution_id=number))
        worker.run(worker.take(), continued_as_new(), policies=chain(None, ONE))
        assert (store.asked_prunes(0, 0), store.backlog()) == ((), Backlog())
        clock.advance(10_000 + 10 * count)
        assert self.asked(store) == [("keep_last=1", count + 1)]
        self.answer(store, store.asked_prunes(0, 0)[0])
        assert self.live(store) == [*range(1, TURN_PRUNE_EXECUTIONS_MAX + 1), count + 1]

    def test_what_was_asked_for_goes_and_comes_with_its_instance(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        incarnation = self.loop(store, worker, TURN_PRUNE_EXECUTIONS_MAX + 10)
        worker.run(worker.take(), prune_requested(), completed())
        (asked,) = store.asked_prunes(0, 0)
        rules = PurgeOptions(keep_within=1.0)
        clock.advance(5_000)
        store.remove(removal_batch((incarnation, rules), run_id="run-1", grace_ms=60_000))
        assert store.get_instance("a") is None
        assert (store.asked_prunes(0, 0), store.backlog().due_instances) == ((), 0)
        store.undo_prune("hold-1", 10**15, run_id="run-1")
        assert store.asked_prunes(0, 0) == (asked,)
        store.remove_hold("hold-1")
        store.remove(removal_batch((incarnation, rules), run_id="run-2"))
        while store.reclaim(MARK_RECLAIM_EVENTS_MAX).more:
            pass
        assert store.dump()["asked_prunes"] == []

    def test_two_requests_of_a_turn_are_carried_out_in_order(self, store: Store, worker: ScriptedWorker) -> None:
        self.loop(store, worker, 5)
        worker.run(worker.take(), prune_requested(PruneOptions(keep_last=3)), prune_requested(ONE))
        answers = [codec.decode_message(message.data) for message in worker.take().messages]
        assert [(each.scheduled_event_id, each.executions_deleted) for each in answers] == [(2, 2), (3, 2)]  # type: ignore[union-attr]

    def test_what_waits_for_the_instance_stays(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        store.raise_event("a", "later", "1", "r1")
        self.loop(store, worker, 3, custom_status='"busy"', policies=chain(AutoPrune(keep_last=1)))
        assert self.instance(store).custom_status == '"busy"'
        assert [row["name"] for row in store.dump()["mailbox"]] == ["later"]

    def test_a_child_stays_and_knows_who_spawned_it(self, store: Store, worker: ScriptedWorker) -> None:
        incarnation = self.loop(store, worker, 1)
        worker.run(worker.take(), child_scheduled("c", "Child"))
        worker.run(worker.take("c"), completed())
        worker.run(worker.take("a"), child_completed(2), continued_as_new(), policies=chain(AutoPrune(keep_last=1)))
        (child,) = store.list_children(incarnation, 0, 0)
        assert (child.instance_id, child.parent.execution_id, child.parent.event_id) == ("c", 1, 2)
        assert (child.spawner_end, child.observed_at_ms is not None) == ("continued_as_new", True)

    def test_a_lost_lease_prunes_nothing(self, store: Store, worker: ScriptedWorker) -> None:
        self.loop(store, worker, 3)
        stale = msgspec.structs.replace(worker.take(), lease_epoch=99)
        before = store.dump()
        result = worker.commit(turn(stale, continued_as_new(), at_ms=5, policies=chain(AutoPrune(keep_last=1))))
        assert (result.turns, result.prunes) == ([TurnOutcome.FENCED], [])
        assert store.dump() == before

    def test_the_ledger_of_one_instance_is_bounded_and_loses_nothing(
        self, store: Store, worker: ScriptedWorker
    ) -> None:
        """Two policies in turn make a range each; a million prunes of an eternal loop are a few rows."""
        policies = [chain(AutoPrune(keep_last=1)), chain(AutoPrune(keep_last=1, every_n_executions=1, interval=60))]
        rules = [chain(None, PruneOptions(keep_last=1)), *policies]
        count = 2 * LEDGER_RANGES_MAX + 10
        for number in range(2, count):
            self.loop(store, worker, number, policies=rules[number % 2])
        ledger = store.list_ledger("a")
        assert len(ledger) == LEDGER_RANGES_MAX
        assert sum(entry.range.executions for entry in ledger) == count - 2
        assert ledger[0].range.origin == "several"
        assert (ledger[0].range.first_execution_id, ledger[-1].range.last_execution_id) == (1, count - 2)


class PruneOrderContract(PruningContract):
    def test_it_removes_what_the_rules_let_go(self, store: Store, worker: ScriptedWorker) -> None:
        incarnation = self.loop(store, worker, 5)
        (done,) = store.prune(prune_batch((incarnation, 2)))
        assert (done.next_after, done.result.executions_deleted, done.result.events_deleted) == (None, 3, 6)
        assert self.rows(store, incarnation) == {"executions": [4, 5], "history": [4]}
        assert store.list_ledger("a")[0].range.trigger == "interval"

    def test_the_current_execution_stays_whatever_is_asked(self, store: Store, worker: ScriptedWorker) -> None:
        incarnation = self.loop(store, worker, 2)
        worker.run(worker.take(), completed())
        options = PruneOptions(completed_before=10**13)
        (done,) = store.prune(prune_batch((incarnation, options)))
        assert done.result.executions_deleted == 1
        assert self.live(store) == [2]

    def test_many_instances_at_once_each_by_its_own_rules(self, store: Store, worker: ScriptedWorker) -> None:
        first = self.loop(store, worker, 4, "@1")
        results = store.prune(prune_batch((first, 1), (10**9, 1)))
        assert [each.result.executions_deleted for each in results] == [3, 0]
        assert results[1].result.instances_processed == 0

    def test_a_large_instance_takes_several_batches(self, store: Store, worker: ScriptedWorker) -> None:
        incarnation = self.loop(store, worker, 8)
        batch, after, removed = prune_batch((incarnation, 2), executions_max=3), 0, []
        while True:
            order = msgspec.structs.replace(batch.orders[0], after=after)
            (done,) = store.prune(msgspec.structs.replace(batch, orders=(order,)))
            removed.append(done.result.executions_deleted)
            if done.next_after is None:
                break
            after = done.next_after
        assert removed == [3, 3, 0]
        assert self.live(store) == [7, 8]

    def test_an_order_says_whether_anything_lies_beyond_and_which_run_it_belongs_to(
        self, store: Store, worker: ScriptedWorker
    ) -> None:
        incarnation = self.loop(store, worker, 6)
        (part,) = store.prune(prune_batch((incarnation, 4), executions_max=3))
        assert (part.next_after, part.result.remaining, part.result.run_id) == (3, 1, "")
        (whole,) = store.prune(prune_batch((incarnation, 3), run_id="run-1"))
        assert (whole.next_after, whole.result.remaining, whole.result.run_id) == (None, 0, "run-1")
        (nothing,) = store.prune(prune_batch((incarnation, 3), run_id="run-2"))
        assert (nothing.next_after, nothing.result.remaining, nothing.result.run_id) == (None, 0, "")

    def test_what_an_order_passes_over_stays_in_sight(self, store: Store, worker: ScriptedWorker) -> None:
        incarnation = self.loop(store, worker, 5)
        batch = prune_batch((incarnation, 1))
        (order,) = [msgspec.structs.replace(each, after=1) for each in batch.orders]
        store.prune(msgspec.structs.replace(batch, orders=(order,)))
        assert self.live(store) == [1, 5]
        (view,) = store.prune_views([(incarnation, 0)], 10, 0)
        assert [each.execution_id for each in view.executions] == [1, 5]

    def test_each_of_several_instances_remembers_where_its_live_executions_begin(
        self, store: Store, worker: ScriptedWorker
    ) -> None:
        incarnations = [self.start(store, name) for name in ("a", "b", "c", "d")]
        for _ in range(5):
            worker.commit(*[turn(each, continued_as_new(), at_ms=5) for each in worker.lease().instances])
        for number in (1, 2):
            store.add_hold(hold(f"h{number}", instance_id="d", execution_id=number))
        store.prune(prune_batch(*[(incarnation, 2) for incarnation in incarnations]))
        assert [self.live(store, name) for name in ("a", "b", "c", "d")] == [[5, 6]] * 3 + [[1, 2, 5, 6]]
        assert [row["live_from"] for row in store.dump()["instances"]] == [5, 5, 5, 1]

    def test_an_instance_with_one_execution_has_nothing_to_prune(self, store: Store) -> None:
        incarnation = self.start(store)
        (done,) = store.prune(prune_batch((incarnation, 1)))
        assert (done.next_after, done.result.executions_deleted) == (None, 0)
        assert self.live(store) == [1]

    def test_of_a_plan_only_what_may_still_go_goes(self, store: Store, worker: ScriptedWorker) -> None:
        incarnation = self.loop(store, worker, 6)
        store.prune(prune_batch((incarnation, 5)))
        store.add_hold(hold(instance_id="a", execution_id=3))
        batch = prune_batch((incarnation, 2), run_id="run-1")
        order = msgspec.structs.replace(batch.orders[0], only=frozenset({1, 2, 3}))
        (done,) = store.prune(msgspec.structs.replace(batch, orders=(order,)))
        assert self.live(store) == [3, 4, 5, 6]
        assert [(each.execution_id, each.why) for each in done.result.skipped] == [
            (3, "it is kept now: held:hold-1"),
            (1, "it was removed in the meantime"),
        ]

    def test_without_rules_what_is_named_goes_and_nothing_else(self, store: Store, worker: ScriptedWorker) -> None:
        incarnation = self.loop(store, worker, 6)
        store.add_hold(hold(instance_id="a", execution_id=3))
        batch = prune_batch((incarnation, 2), run_id="run-1")
        named = msgspec.structs.replace(batch.orders[0], rules=(), only=frozenset({2, 3, 5, 6}))
        (done,) = store.prune(msgspec.structs.replace(batch, orders=(named,)))
        assert self.live(store) == [1, 3, 4, 6]
        assert [(each.execution_id, each.why) for each in done.result.skipped] == [
            (3, "it is kept now: held:hold-1"),
            (6, "it is kept now: current, running"),
        ]
        assert [entry.range.rule for entry in store.list_ledger("a")] == ["named"]

    def test_an_order_of_another_instance_takes_nothing(self, store: Store, worker: ScriptedWorker) -> None:
        incarnation = self.loop(store, worker, 3)
        batch = prune_batch((incarnation, 1))
        before = store.dump()
        of_another = msgspec.structs.replace(batch.orders[0], instance_id="b")
        (done,) = store.prune(msgspec.structs.replace(batch, orders=(of_another,)))
        assert (done.next_after, done.result.instances_processed) == (None, 0)
        assert store.dump() == before
        of_this = msgspec.structs.replace(of_another, instance_id="a")
        (done,) = store.prune(msgspec.structs.replace(batch, orders=(of_this,)))
        assert done.result.executions_deleted == 2

    def test_a_plan_made_under_other_policies_changes_nothing(self, store: Store, worker: ScriptedWorker) -> None:
        incarnation = self.loop(store, worker, 3)
        revision = store.published_policies().revision
        store.set_instance_policy("a", stated("never"))
        before = store.dump()
        with pytest.raises(StalePlanError):
            store.prune(prune_batch((incarnation, 1), policy_revision=revision))
        assert store.dump() == before
        store.prune(prune_batch((incarnation, 1), policy_revision=revision + 1))
        assert self.live(store) == [3]

    def test_a_manual_run_has_a_row_of_its_own(self, store: Store, worker: ScriptedWorker, clock: ManualClock) -> None:
        incarnation = self.loop(store, worker, 6)
        source = RunSource(host="here", duro_version="9.9", plan_hash="abc")
        terms: dict[str, Any] = {"run_id": "run-1", "by": "ada", "reason": "cleaning", "source": source}
        store.prune(prune_batch((incarnation, 4), **terms))
        clock.advance(5)
        store.prune(prune_batch((incarnation, 2), **terms))
        store.prune(prune_batch((incarnation, 1)))
        manual, automatic = store.list_ledger("a")
        assert manual.run is not None
        assert (manual.run.run_id, manual.run.by, manual.run.reason) == ("run-1", "ada", "cleaning")
        assert manual.run.source == source
        assert (manual.run.instances, manual.run.executions, manual.run.events) == (1, 4, 8)
        assert manual.run.history_bytes == manual.range.history_bytes > 0
        assert manual.run.rule == "several"
        assert (manual.range.first_execution_id, manual.range.last_execution_id, manual.range.executions) == (1, 4, 4)
        assert automatic.run is None
        assert store.list_prune_runs(0) == (manual.run,)
        assert manual.run is not None
        assert store.get_prune_run(manual.run.run_id) == manual.run
        assert store.get_prune_run("run-0") is None

    def test_runs_are_listed_page_by_page_the_newest_first(self, store: Store, worker: ScriptedWorker) -> None:
        started = self.start(store, "a")
        for number in range(6):
            for _ in range(2):
                worker.run(worker.lease().instances[0], continued_as_new())
            store.prune(prune_batch((started, 1), run_id=f"run-{number * 5 % 6}"))
        runs = store.list_prune_runs(0)
        assert len(runs) == 6
        places = [(run.started_at_ms, run.run_id) for run in runs]
        assert places == sorted(places, reverse=True)
        for at, place in enumerate(places):
            assert store.list_prune_runs(0, place) == runs[at + 1 :]
            assert store.list_prune_runs(2, place) == runs[at + 1 : at + 3]
        assert store.list_prune_runs(0, (0, "")) == ()

    def test_a_run_names_its_rule_where_all_of_it_has_one(self, store: Store, worker: ScriptedWorker) -> None:
        first, second = self.start(store, "a"), self.start(store, "b")

        def go_on(times: int) -> None:
            for _ in range(times):
                leased = worker.lease().instances
                worker.commit(*[turn(each, continued_as_new(), at_ms=store.now_ms()) for each in leased])

        go_on(3)
        store.prune(prune_batch((first, 2), (second, 2), run_id="run-1"))
        store.prune(prune_batch((first, 1), (second, 1), run_id="run-2"))
        go_on(3)
        store.prune(prune_batch((first, 2), (second, 1), run_id="run-3"))
        runs = store.list_prune_runs(0)
        assert {run.run_id: (run.rule, run.instances, run.executions) for run in runs} == {
            "run-1": ("keep_last=2", 2, 4),
            "run-2": ("keep_last=1", 2, 2),
            "run-3": ("several", 2, 5),
        }
        sizes = dict.fromkeys(("run-1", "run-2", "run-3"), 0)
        for entry in (*store.list_ledger("a"), *store.list_ledger("b")):
            assert entry.run is not None
            sizes[entry.run.run_id] += entry.range.history_bytes
        assert {run.run_id: run.history_bytes for run in runs} == sizes

    def test_sweeping_is_remembered(self, store: Store, worker: ScriptedWorker, clock: ManualClock) -> None:
        incarnation = self.loop(store, worker, 5)
        store.prune(prune_batch((incarnation, 1), executions_max=2, swept=True))
        assert store.prunable_instances(PruneFilter(), 0, 0)[0].swept_at_ms is None
        store.prune(prune_batch((incarnation, 1), swept=True))
        assert store.prunable_instances(PruneFilter(), 0, 0)[0].swept_at_ms == clock.now_ms()
        clock.advance(7)
        store.note_swept([incarnation, 10**9])
        assert store.prunable_instances(PruneFilter(), 0, 0)[0].swept_at_ms == clock.now_ms()

    def test_views_show_the_oldest_and_count_the_newer(self, store: Store, worker: ScriptedWorker) -> None:
        incarnation = self.loop(store, worker, 7, version="1.0.0")
        whole, nothing = store.prune_views([(incarnation, 0), (10**9, 0)], 10, 5)
        assert [each.execution_id for each in whole.executions] == [1, 2, 3, 4, 5, 6, 7]
        assert (whole.newer.executions, nothing.executions) == (0, ())
        (view,) = store.prune_views([(incarnation, 2)], 2, 10, 5)
        assert [each.execution_id for each in view.executions] == [3, 4]
        assert view.newer.executions == 3
        assert view.newer.versions is not None
        assert [tuple(each) for each in view.newer.versions] == [("1.0.0", 3, 7)]
        (view,) = store.prune_views([(incarnation, 0)], 2, 3)
        assert (view.newer.executions, view.newer.versions) == (3, None)
        (view,) = store.prune_views([(incarnation, 0)], 2, 3, 4)
        assert (view.newer.executions, view.newer.versions) == (3, (("1.0.0", 4, 7),))
        first = whole.executions[0]
        assert (first.instance_id, first.name, first.version, first.event_count) == ("a", "Order", "1.0.0", 2)
        assert [each.is_current for each in whole.executions] == [False] * 6 + [True]

    def test_instances_are_found_by_what_is_asked(self, store: Store, worker: ScriptedWorker) -> None:
        first = self.loop(store, worker, 3, "@1")
        worker.run(worker.take(), completed())
        second = self.start(store, "@2", "Child")
        store.set_instance_policy("@2", stated("never"))

        def found(limit: int = 0, after: int = 0, **fields: Any) -> list[int]:
            return [each.incarnation for each in store.prunable_instances(PruneFilter(**fields), limit, after)]

        assert found() == [first, second]
        assert found(limit=1) == [first]
        assert found(after=first) == [second]
        assert found(instance_ids=("@2", "@3")) == [second]
        assert found(names=("Child",)) == [second]
        assert found(several=True) == [first]
        assert found(own_policy=True) == [second]
        assert found(due=True) == []
        assert store.orchestration_names() == ("Child", "Order")


class RemovalContract(PruningContract):
    def marked(self, store: Store, worker: ScriptedWorker, *, grace_ms: int = 1_000) -> int:
        """Of five executions the first three are marked by a run; the incarnation."""
        incarnation = self.loop(store, worker, 5)
        store.prune(prune_batch((incarnation, 2), run_id="run-1", by="ada", grace_ms=grace_ms))
        return incarnation

    def test_an_order_without_rules_is_refused_before_anything_is_pruned(
        self, store: Store, worker: ScriptedWorker
    ) -> None:
        incarnation = self.loop(store, worker, 3)
        before = store.dump()
        batch = prune_batch((incarnation, 1), (incarnation, 1))
        silent = msgspec.structs.replace(batch.orders[1], rules=())
        with pytest.raises(InvalidRulesError, match="has no rules"):
            store.prune(msgspec.structs.replace(batch, orders=(batch.orders[0], silent)))
        assert store.dump() == before

    def test_what_is_marked_is_out_of_sight(self, store: Store, worker: ScriptedWorker) -> None:
        before = store.info()
        incarnation = self.marked(store, worker)
        assert self.live(store) == [4, 5]
        assert store.get_execution("a", 2) is None
        assert store.read_history("a", 2) is None
        assert [each.execution_id for each in store.list_executions(None, 0, None).executions] == [5, 4]
        assert store.prune_views([(incarnation, 0)], 9, 9)[0].executions[0].execution_id == 4
        assert (store.info().executions, before.executions) == (2, 0)
        assert self.rows(store, incarnation)["history"] == [1, 2, 3, 4]
        assert store.backlog() == Backlog(marked_executions=3)
        left, marked = store.usage(0)[0], store.marked()
        assert (left.executions, left.events, marked.executions) == (2, store.info().events, 3)
        rows = store.dump()["executions"]
        assert marked.events == sum(row["event_count"] for row in rows) - left.events
        assert marked.history_bytes == sum(row["history_bytes"] for row in rows) - left.history_bytes

    def test_it_is_reclaimed_when_its_grace_is_over(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        incarnation = self.marked(store, worker)
        clock.advance(999)
        assert store.reclaim(100).executions == 0
        clock.advance(1)
        assert store.backlog().due_executions == 3
        reclaimed = store.reclaim(100)
        assert (reclaimed.executions, reclaimed.events, reclaimed.more) == (3, 6, False)
        assert self.rows(store, incarnation) == {"executions": [4, 5], "history": [4]}

    def test_what_is_in_its_grace_stays_when_something_beside_it_is_over(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        incarnation = self.marked(store, worker)
        clock.advance(600)
        store.prune(prune_batch((incarnation, 1), run_id="run-2", grace_ms=1_000))
        clock.advance(400)
        assert store.backlog() == Backlog(marked_executions=4, due_executions=3)
        reclaimed = store.reclaim(100)
        assert (reclaimed.executions, reclaimed.more) == (3, False)
        assert self.rows(store, incarnation) == {"executions": [4, 5], "history": [4]}
        clock.advance(600)
        assert store.reclaim(100).executions == 1
        assert self.rows(store, incarnation)["executions"] == [5]

    def test_reclaiming_goes_in_batches(self, store: Store, worker: ScriptedWorker, clock: ManualClock) -> None:
        self.marked(store, worker)
        clock.advance(1_000)
        steps = []
        while True:
            reclaimed = store.reclaim(2)
            steps.append((reclaimed.executions, reclaimed.events))
            if not reclaimed.more:
                break
        assert steps == [(1, 2), (1, 2), (1, 2)]

    def test_a_batch_takes_what_just_fits(self, store: Store, worker: ScriptedWorker, clock: ManualClock) -> None:
        incarnation = self.marked(store, worker, grace_ms=1)
        clock.advance(1)
        (part, rest) = store.reclaim(4), store.reclaim(4)
        assert (part.executions, part.events, part.more) == (2, 4, True)
        assert (rest.executions, rest.events, rest.more) == (1, 2, False)
        assert self.rows(store, incarnation) == {"executions": [4, 5], "history": [4]}

    def test_a_large_execution_goes_in_slices(self, store: Store, worker: ScriptedWorker, clock: ManualClock) -> None:
        self.start(store)
        waits = [wait_started(f"e{number}") for number in range(8)]
        worker.run(worker.take(), *waits, continued_as_new())
        incarnation = self.instance(store).incarnation
        store.prune(prune_batch((incarnation, 1), run_id="run-1", grace_ms=1))
        clock.advance(1)
        assert store.reclaim(4).more
        (row,) = [row for row in store.dump()["executions"] if row["execution_id"] == 1]
        assert row["removal"] == "reclaiming"
        assert len([row for row in store.dump()["history"] if row["execution_id"] == 1]) == 6
        assert store.undo_prune("hold-1", 10**15, run_id="run-1").executions_restored == 0
        while store.reclaim(4).more:
            pass
        assert self.rows(store, incarnation) == {"executions": [2], "history": []}

    def test_more_than_a_transaction_should_delete_is_only_marked(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        waits = [wait_started("e")] * MARK_RECLAIM_EVENTS_MAX
        worker.run(worker.take(), *waits, continued_as_new(), policies=chain(AutoPrune(keep_last=1)))
        assert self.live(store) == [2]
        assert store.backlog() == Backlog(marked_executions=1, due_executions=1)
        while store.reclaim(1_000).more:
            pass
        assert store.backlog() == Backlog()

    def test_what_a_transaction_deletes_is_counted_over_all_its_instances(
        self, store: Store, worker: ScriptedWorker
    ) -> None:
        incarnations = [self.start(store, name) for name in ("a", "b", "c")]
        waits = [wait_started("e")] * (MARK_RECLAIM_EVENTS_MAX // 2)
        for name in ("a", "b"):
            leased = {each.instance_id: each for each in worker.lease().instances}
            ends = [
                turn(each, *(waits if each.instance_id == name else ()), continued_as_new(), at_ms=5)
                for each in leased.values()
            ]
            worker.commit(*ends)
        store.prune(prune_batch(*[(incarnation, 1) for incarnation in incarnations]))
        assert [self.live(store, name) for name in ("a", "b", "c")] == [[3]] * 3
        removed = [(row["incarnation"], row["execution_id"]) for row in store.dump()["executions"]]
        a, b, c = incarnations
        assert sorted(removed) == [(a, 3), (b, 1), (b, 2), (b, 3), (c, 3)], "what is left of b is too much"

    def test_undo_brings_a_run_back_under_a_hold(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        incarnation = self.marked(store, worker)
        before = {row["execution_id"]: row for row in store.dump()["executions"]}
        source = RunSource(host="there")
        undone = store.undo_prune("hold-9", clock.now_ms() + 500, run_id="run-1", by="ada", source=source)
        assert {run.kind: run.source.host for run in store.list_prune_runs(0)} == {"prune": "", "undo": "there"}
        assert (undone.executions_restored, undone.events_restored, undone.gone) == (3, 6, 0)
        assert (undone.instances, undone.hold_ids) == (("a",), ("hold-9",))
        assert self.live(store) == [1, 2, 3, 4, 5]
        assert before[1]["removal"] == "pruned"
        assert store.list_holds()[0].target == HoldTarget(instance_id="a")
        store.prune(prune_batch((incarnation, 1)))
        assert self.live(store) == [1, 2, 3, 4, 5]
        assert [run.trigger for run in store.list_prune_runs(0)].count("undo") == 1
        assert store.list_ledger("a")[-1].range.trigger == "undo"
        clock.advance(500)
        store.prune(prune_batch((incarnation, 1)))
        assert self.live(store) == [5]

    def test_an_undo_says_what_was_undone_and_finds_the_oldest_of_every_instance(
        self, store: Store, worker: ScriptedWorker
    ) -> None:
        incarnations = [self.start(store, name) for name in ("a", "b", "c")]
        for _ in range(3):
            worker.commit(*[turn(each, continued_as_new(), at_ms=5) for each in worker.lease().instances])
        store.prune(prune_batch(*[(each, 1) for each in incarnations], run_id="run-1", grace_ms=1_000))
        store.undo_prune("hold-1", 10**15, instance_id="c")
        assert (self.live(store, "b"), self.live(store, "c")) == ([4], [1, 2, 3, 4])
        (view,) = store.prune_views([(incarnations[2], 0)], 10, 0)
        assert [each.execution_id for each in view.executions] == [1, 2, 3, 4]
        store.undo_prune("hold-2", 10**15, run_id="run-1")
        assert [self.live(store, name) for name in ("a", "b", "c")] == [[1, 2, 3, 4]] * 3
        undone = {name: store.list_ledger(name)[-1].range for name in ("a", "b", "c")}
        assert {name: (each.trigger, each.origin) for name, each in undone.items()} == {
            "a": ("undo", "run-1"),
            "b": ("undo", "run-1"),
            "c": ("undo", "c"),
        }

    def test_undo_of_an_instance_brings_back_what_is_still_there(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        incarnation = self.marked(store, worker, grace_ms=1)
        clock.advance(1)
        store.reclaim(100)
        store.prune(prune_batch((incarnation, 1), run_id="run-2", grace_ms=1_000))
        undone = store.undo_prune("hold-1", 10**15, instance_id="a")
        assert (undone.executions_restored, undone.gone) == (1, 3)
        assert self.live(store) == [4, 5]

    def test_what_another_run_took_from_the_middle_is_not_gone_of_the_run_that_is_undone(
        self, store: Store, worker: ScriptedWorker
    ) -> None:
        incarnation = self.loop(store, worker, 6)
        batch = prune_batch((incarnation, 1), run_id="run-1")
        only = msgspec.structs.replace(batch.orders[0], only=frozenset({3}))
        store.prune(msgspec.structs.replace(batch, orders=(only,)))
        while store.reclaim(100).more:
            pass
        store.prune(prune_batch((incarnation, 1), run_id="run-2", grace_ms=1_000))
        assert store.undo_prune("hold-1", 10**15, run_id="run-1").gone == 1
        undone = store.undo_prune("hold-2", 10**15, run_id="run-2")
        assert (undone.executions_restored, undone.gone) == (4, 0)
        assert self.live(store) == [1, 2, 4, 5, 6]

    def test_undo_of_nothing_changes_nothing(self, store: Store, worker: ScriptedWorker, clock: ManualClock) -> None:
        self.marked(store, worker, grace_ms=1)
        clock.advance(1)
        store.reclaim(100)
        before = store.dump()
        assert store.undo_prune("hold-1", 10**15, run_id="run-1").gone == 3
        with pytest.raises(PruneRunNotFoundError):
            store.undo_prune("hold-1", 10**15, run_id="run-7")
        with pytest.raises(InstanceNotFoundError):
            store.undo_prune("hold-1", 10**15, instance_id="nobody")
        assert store.dump() == before

    def test_a_pruned_execution_is_never_unknown(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        self.marked(store, worker)
        marked_at_ms = clock.now_ms()
        pruned = store.find_pruned("a", 2)
        assert pruned is not None
        assert (pruned.removal, pruned.pruned_at_ms) == (RemovalState.PRUNED, marked_at_ms)
        assert pruned.reclaim_at_ms == marked_at_ms + 1_000
        (entry,) = pruned.entries
        assert entry.run is not None
        assert entry.run.by == "ada"
        clock.advance(1_000)
        store.reclaim(100)
        gone = store.find_pruned("a", 2)
        assert gone is not None
        assert (gone.removal, gone.entries) == (None, pruned.entries)
        assert [store.find_pruned("a", number) for number in (0, 4, 5, 6)] == [None] * 4
        assert store.find_pruned("nobody", 1) is None

    def test_after_an_undo_a_pruned_execution_tells_of_the_run_that_took_it_for_good(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        incarnation = self.marked(store, worker)
        clock.advance(1)
        store.undo_prune("undo-1", clock.now_ms() + 10, run_id="run-1")
        clock.advance(20)
        store.prune(prune_batch((incarnation, 1), run_id="run-2", by="bob", grace_ms=1_000))
        assert self.told(store, 2) == ["run-2"]
        clock.advance(1_000)
        store.reclaim(100)
        assert self.told(store, 2) == ["run-2"]

    def test_what_a_hold_kept_from_one_run_tells_of_the_run_that_took_it(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        incarnation = self.loop(store, worker, 6)
        store.add_hold(hold(instance_id="a", execution_id=2))
        store.prune(prune_batch((incarnation, 3), run_id="run-1", grace_ms=1_000))
        store.remove_hold("hold-1")
        clock.advance(1)
        store.prune(prune_batch((incarnation, 1), run_id="run-2", grace_ms=1_000))
        assert [self.told(store, number) for number in range(1, 6)] == [
            ["run-1"],
            ["run-2"],
            ["run-1"],
            ["run-2"],
            ["run-2"],
        ]
        clock.advance(1_001)
        store.reclaim(100)
        assert self.told(store, 2) == ["run-2"], "its range begins there"
        assert self.told(store, 3) == ["run-1"]
        assert self.told(store, 5) == ["run-2"]

    @staticmethod
    def told(store: Store, execution_id: int) -> list[str]:
        pruned = store.find_pruned("a", execution_id)
        assert pruned is not None
        return ["" if each.run is None else each.run.run_id for each in pruned.entries]

    def test_settled_children_go_with_the_execution_that_spawned_them(
        self, store: Store, worker: ScriptedWorker
    ) -> None:
        incarnation = self.start(store)
        worker.run(
            worker.take(),
            child_scheduled("done", "Child"),
            child_scheduled("busy", "Child"),
            detached_scheduled("alone"),
        )
        leased = {each.instance_id: each for each in worker.lease().instances}
        worker.run(leased["done"], child_scheduled("grandchild", "Child"))
        worker.run(leased["alone"], completed())
        worker.run(worker.take("grandchild"), completed())
        leased["done"] = next(each for each in worker.lease().instances if each.instance_id == "done")
        worker.run(leased["done"], child_completed(2), completed())
        parent = next(each for each in worker.lease().instances if each.instance_id == "a")
        worker.run(parent, child_completed(2), continued_as_new())
        store.prune(prune_batch((incarnation, 1), children=ChildrenPolicy.SETTLED))
        assert store.get_instance("done") is not None
        reclaimed = store.reclaim(100)
        assert (reclaimed.executions, reclaimed.children, reclaimed.more) == (1, 1, False)
        assert [store.get_instance(each) is not None for each in ("done", "grandchild", "busy", "alone")] == [
            False,
            False,
            True,
            True,
        ]
        assert self.rows(store, incarnation)["executions"] == [2]

    def test_a_held_child_stays(self, store: Store, worker: ScriptedWorker) -> None:
        incarnation = self.start(store)
        worker.run(worker.take(), child_scheduled("c", "Child"))
        worker.run(worker.take("c"), completed())
        worker.run(worker.take("a"), child_completed(2), continued_as_new())
        store.add_hold(hold(instance_id="c"))
        store.prune(prune_batch((incarnation, 1), children=ChildrenPolicy.SETTLED))
        assert store.reclaim(100).children == 0
        assert store.get_instance("c") is not None


class HoldsContract(PruningContract):
    @pytest.mark.parametrize(
        "fields",
        [{"instance_id": "a"}, {"instance_id": "a", "execution_id": 1}, {"name": "Ord*"}],
        ids=["instance", "execution", "name"],
    )
    def test_what_is_held_stays_for_every_way_of_pruning(
        self, store: Store, worker: ScriptedWorker, fields: dict[str, Any]
    ) -> None:
        incarnation = self.loop(store, worker, 2)
        store.add_hold(hold(**fields))
        self.loop(store, worker, 3, policies=chain(AutoPrune(keep_last=1)))
        store.prune(prune_batch((incarnation, 1)))
        worker.run(worker.take(), prune_requested())
        assert self.live(store)[0] == 1

    def test_it_ends_when_it_is_removed_or_expires(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        incarnation = self.loop(store, worker, 3)
        store.add_hold(hold("hold-1", instance_id="a", execution_id=1))
        store.add_hold(hold("hold-2", instance_id="a", execution_id=2, until_ms=clock.now_ms() + 10))
        assert store.remove_hold("hold-1")
        assert not store.remove_hold("hold-1")
        store.prune(prune_batch((incarnation, 1)))
        assert self.live(store) == [2, 3]
        clock.advance(10)
        store.prune(prune_batch((incarnation, 1)))
        assert self.live(store) == [3]
        assert [each.hold_id for each in store.list_holds()] == ["hold-2"]

    def test_it_must_hold_something_that_is_there(self, store: Store, worker: ScriptedWorker) -> None:
        incarnation = self.loop(store, worker, 3)
        store.prune(prune_batch((incarnation, 2)))
        store.add_hold(hold(instance_id="a"))
        before = store.dump()
        for refused, error in (
            (hold(instance_id="a"), HoldExistsError),
            (hold("hold-2", instance_id="nobody"), InstanceNotFoundError),
            (hold("hold-2", instance_id="a", execution_id=1), ExecutionNotFoundError),
            (hold("hold-2", instance_id="a", execution_id=9), ExecutionNotFoundError),
        ):
            with pytest.raises(error):
                store.add_hold(refused)
        assert store.dump() == before

    def test_every_change_is_counted(self, store: Store) -> None:
        before = store.hold_revision()
        store.add_hold(hold(name="x"))
        store.remove_hold("hold-1")
        assert store.hold_revision() == before + 2


class PoliciesContract(PruningContract):
    def test_what_live_workers_publish_is_published_once(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        assert store.published_policies().sources == ()
        other = ScriptedWorker(store, "w2")
        store.publish(worker.worker_id, "one")
        store.publish(other.worker_id, "one")
        store.publish("nobody", "three")
        assert store.published_policies().sources == ("one",)
        store.publish(other.worker_id, "two")
        assert store.published_policies().sources == ("one", "two")
        clock.advance(1)
        store.release_worker(other.worker_id)
        assert store.published_policies().sources == ("one",)
        store.release_worker(worker.worker_id)
        assert store.published_policies().sources == ("two",)

    def test_what_was_ever_published_is_remembered_the_last_first(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        assert store.past_publications() == ()
        for text in ("one", "two", "three", "{}", "one"):
            store.publish(worker.worker_id, text)
            clock.advance(1)
        assert store.past_publications() == ("one", "three", "two")
        store.release_worker(worker.worker_id)
        assert store.past_publications() == ("one", "three", "two")

    def test_the_revision_grows_with_what_is_new(self, store: Store, worker: ScriptedWorker) -> None:
        revisions = []
        for text in ("one", "one", "two", "one", "{}"):
            store.publish(worker.worker_id, text)
            revisions.append(store.published_policies().revision)
        assert [each - revisions[0] for each in revisions] == [0, 0, 1, 2, 2]

    def test_the_revision_grows_when_a_worker_comes_back_and_says_again_what_nobody_said_meanwhile(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        """Else a plan that was made without it would be applied."""
        store.publish(worker.worker_id, "one")
        for ended in ("released", "dead"):
            other = ScriptedWorker(store, f"w2 {ended}", lease_ms=1_000)
            store.publish(other.worker_id, "two")
            if ended == "released":
                store.release_worker(other.worker_id)
            else:
                clock.advance(1_001)
            without = store.published_policies()
            assert without.sources == ("one",)
            again = ScriptedWorker(store, f"w3 {ended}")
            store.publish(again.worker_id, "two")
            assert store.published_policies().sources == ("one", "two")
            assert store.published_policies().revision == without.revision + 1
            store.release_worker(again.worker_id)

    def test_versions_are_remembered_with_the_time_they_were_first_seen(self, store: Store, clock: ManualClock) -> None:
        began_ms = clock.now_ms()
        first = ScriptedWorker(store, "w1", orchestrations=[("Order", "1.0.0")])
        clock.advance(5)
        ScriptedWorker(store, "w2", orchestrations=[("Order", "2.0.0"), ("Order", "1.0.0")])
        store.release_worker(first.worker_id)
        assert store.versions_seen("Order") == (("1.0.0", began_ms), ("2.0.0", began_ms + 5))
        assert store.versions_seen("Child") == ()

    def test_an_instance_that_is_not_there_has_no_policy(self, store: Store) -> None:
        before = store.dump()
        with pytest.raises(InstanceNotFoundError):
            store.set_instance_policy("nobody", None)
        assert store.dump() == before
