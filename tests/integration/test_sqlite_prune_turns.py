"""Pruning in the commit of turns, as the SQLite store does it: what it costs, what it sees, what a failure leaves."""

import itertools
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from duro.errors import InvalidRulesError, StoreError
from duro.model.limits import TURN_PRUNE_EXECUTIONS_MAX
from duro.model.pruning import Hold, HoldTarget, PruneTrigger
from duro.model.removal import PruneView
from duro.model.retention import AutoPrune, PruneOptions
from duro.model.turns import PruneTerms, TurnOutcome
from duro.retention.plan import plan_instance
from duro.retention.transaction import choose
from duro.stores.sqlite import SqliteStore, sql, sql_pruning
from duro.testing.builders import completed, continued_as_new, next_lease, prune_batch, prune_requested, turn
from duro.testing.clock import ManualClock
from duro.testing.invariants import check_invariants
from tests.support.pruning import (
    Loops,
    Watched,
    answers,
    automatic,
    instance_row,
    open_sqlite,
    stated,
    steps_of,
    writer_connection,
)

KEEP_ONE = automatic(1)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(tmp_path: Path, clock: ManualClock) -> Iterator[SqliteStore]:
    opened = open_sqlite(tmp_path / "duro.db", clock)
    yield opened
    check_invariants(opened)
    opened.close()


@pytest.fixture
def loops(store: SqliteStore) -> Loops:
    return Loops(store)


def fail_ledger_of(store: SqliteStore, incarnation: int, trigger: str = "%") -> None:
    """Whatever is written to the ledger of this instance (for this reason) fails from here on."""
    for what in ("INSERT", "UPDATE"):
        writer_connection(store).execute(
            f"CREATE TRIGGER broken_{what} BEFORE {what} ON ledger WHEN NEW.incarnation = {incarnation} "
            f"AND NEW.trigger LIKE '{trigger}' BEGIN SELECT RAISE(ABORT, 'the ledger is broken'); END"
        )


def mend_ledger(store: SqliteStore) -> None:
    writer_connection(store).execute("DROP TRIGGER broken_INSERT; DROP TRIGGER broken_UPDATE")


# --- what it costs -------------------------------------------------------------------------------------------


def statements_of(store: SqliteStore, loops: Loops, **fields: object) -> list[str]:
    """Of the commit in which all instances continue as new. Prepared before: ids are taken in every commit."""
    ends = loops.ends(**fields)
    with Watched(store) as watched:
        loops.worker.commit(*ends)
    return watched.statements


def test_a_turn_whose_policy_is_not_due_costs_no_statement(store: SqliteStore, loops: Loops) -> None:
    loops.start("a")
    loops.go_on(3)
    usual = statements_of(store, loops)
    policy = automatic(AutoPrune(keep_last=1, every_n_executions=100))
    assert statements_of(store, loops, policies=policy) == usual


def test_a_prune_costs_five_statements_however_many_instances_prune(store: SqliteStore, loops: Loops) -> None:
    loops.start("a")
    loops.go_on(3, policies=KEEP_ONE)
    usual = len(statements_of(store, loops))
    assert len(statements_of(store, loops, policies=KEEP_ONE)) == usual + 5
    loops.start(*(f"b{number}" for number in range(20)))
    loops.go_on(3, policies=KEEP_ONE)
    usual = len(statements_of(store, loops))
    assert len(statements_of(store, loops, policies=KEEP_ONE)) == usual + 5


def test_holds_cost_one_statement_where_there_are_any(store: SqliteStore, loops: Loops) -> None:
    loops.start("a", "b")
    loops.go_on(3, policies=KEEP_ONE)
    without = statements_of(store, loops, policies=KEEP_ONE)
    assert sql_pruning.HOLDS_ON not in without
    hold = Hold(hold_id="h", target=HoldTarget(instance_id="b"), reason="kept", created_at_ms=1)
    store.add_hold(hold)
    assert statements_of(store, loops, policies=KEEP_ONE).count(sql_pruning.HOLDS_ON) == 1
    assert (loops.live("a"), len(loops.live("b"))) == ([6], 2)


def test_when_versions_were_seen_is_read_only_when_a_policy_is_due(store: SqliteStore, loops: Loops) -> None:
    loops.start("a")
    policy = automatic(AutoPrune(keep_last=1, every_n_executions=2))
    terms = PruneTerms(rollout_pause_s=0.001)
    reads = []
    for _ in range(4):
        ends = loops.ends(policies=policy)
        with Watched(store) as watched:
            loops.worker.commit(*ends, prune_terms=terms)
        reads.append(watched.statements.count(sql_pruning.VERSIONS_SEEN))
    assert reads == [0, 1, 1, 1]  # paused when it was due first, so it stays due


def test_to_keep_many_costs_no_more_than_to_keep_few_but_for_counting_them(store: SqliteStore, loops: Loops) -> None:
    loops.start("few")
    loops.go_on(5, policies=automatic(2))
    ends = loops.ends(policies=automatic(2))
    few = steps_of(writer_connection(store), lambda: loops.worker.commit(*ends))
    store.terminate_instance("few", "done")
    loops.start("many")
    loops.go_on(63, policies=automatic(60))
    ends = loops.ends(policies=automatic(60))
    many = steps_of(writer_connection(store), lambda: loops.worker.commit(*ends))
    assert len(loops.live("many")) == 60
    assert many - few < 60 * 8  # instructions of SQLite; to read them as facts takes some fifty each


def test_what_is_marked_and_not_yet_reclaimed_is_not_looked_at(store: SqliteStore, loops: Loops) -> None:
    loops.start("a")
    loops.go_on(3, policies=KEEP_ONE)
    ends = loops.ends(policies=KEEP_ONE)
    usual = steps_of(writer_connection(store), lambda: loops.worker.commit(*ends))
    loops.go_on(300)
    grace = prune_batch((loops.incarnation("a"), 1), run_id="run-1", grace_ms=10**9, executions_max=1_000)
    assert store.prune(grace)[0].result.executions_deleted == 300
    ends = loops.ends(policies=KEEP_ONE)
    assert steps_of(writer_connection(store), lambda: loops.worker.commit(*ends)) - usual < 300


# --- what it sees --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(25))
def test_a_turn_takes_what_a_plan_of_the_whole_instance_takes(store: SqliteStore, loops: Loops, seed: int) -> None:
    """With gaps from earlier manual prunes, holds in between, and rules of all kinds."""
    draw = random.Random(seed)
    loops.start("a")
    loops.go_on(draw.randint(1, 60), version=draw.choice(("1.0.0", "2.0.0")))
    incarnation = loops.incarnation("a")
    for _ in range(draw.randint(0, 3)):
        loops.go_on(draw.randint(0, 20), version=draw.choice(("1.0.0", "2.0.0")))
        batch = prune_batch((incarnation, 1), run_id="run-1", grace_ms=draw.choice((0, 1_000)))
        (order,) = batch.orders
        order = msgspec.structs.replace(order, only=frozenset(draw.sample(range(1, 80), 10)))
        store.prune(msgspec.structs.replace(batch, orders=(order,)))
        if live := loops.live("a"):
            held = HoldTarget(instance_id="a", execution_id=draw.choice(live))
            store.add_hold(Hold(hold_id=f"h{draw.random()}", target=held, reason="kept", created_at_ms=1))
    rules = draw.choice(
        [
            PruneOptions(keep_last=draw.randint(1, 90)),
            PruneOptions(keep_last=draw.randint(1, 9), keep_last_per_version=draw.randint(1, 9)),
            PruneOptions(completed_before=10**13, keep_last=draw.randint(1, 9)),
        ]
    )
    (leased,) = loops.worker.lease().instances
    before = store.prune_views([(incarnation, 0)], 1_000, 0)[0].executions
    loops.worker.commit(turn(leased, prune_requested(rules), at_ms=5))
    verdicts = plan_instance(before, rules, store.list_holds(), store.now_ms())
    planned = [each.execution_id for each, verdict in zip(before, verdicts, strict=True) if not verdict.keep]
    looked_at = {each.execution_id for each in before[:TURN_PRUNE_EXECUTIONS_MAX]}
    assert set(planned) <= looked_at, "the instance is small enough for a turn"
    after = [each.execution_id for each in before if each.execution_id not in planned]
    assert loops.live("a") == after
    assert instance_row(store, "a")["live_from"] == after[0]


def test_answers_arrive_in_the_order_of_the_requests(store: SqliteStore, loops: Loops) -> None:
    loops.start("a", "b")
    loops.go_on(4)
    leased = sorted(loops.worker.lease().instances, key=lambda each: each.instance_id)
    asked = (prune_requested(PruneOptions(keep_last=3)), prune_requested())
    loops.worker.commit(*(turn(each, *asked, at_ms=5) for each in leased))
    rows = sorted(store.dump()["messages"], key=lambda row: int(row["message_id"]))
    assert [row["incarnation"] for row in rows] == [each.incarnation for each in leased for _ in asked]
    assert [answer["executions_deleted"] for answer in answers(rows)] == [2, 2, 2, 2]


def test_a_request_that_finds_the_oldest_held_leaves_the_rest_to_a_sweep(store: SqliteStore, loops: Loops) -> None:
    loops.start("a")
    loops.go_on(TURN_PRUNE_EXECUTIONS_MAX + 10)
    for number in range(1, TURN_PRUNE_EXECUTIONS_MAX + 1):
        held = HoldTarget(instance_id="a", execution_id=number)
        store.add_hold(Hold(hold_id=f"h{number}", target=held, reason="kept", created_at_ms=1))
    (leased,) = loops.worker.lease().instances
    (asked,) = loops.worker.commit(turn(leased, prune_requested(), at_ms=5)).prunes
    assert (asked.result.executions_deleted, asked.result.remaining > 0) == (0, True)
    assert instance_row(store, "a")["prune_due_at_ms"] is None, "no policy is to be applied"
    (waiting,) = store.dump()["asked_prunes"]
    assert (waiting["incarnation"], waiting["through"]) == (leased.incarnation, leased.execution_id)
    assert int(waiting["due_at_ms"]) > store.now_ms(), "what is held now will be for a while"


def test_an_instance_that_ends_in_a_later_turn_of_the_batch_is_told_nothing(store: SqliteStore, loops: Loops) -> None:
    loops.start("a")
    loops.go_on(2)
    (leased,) = loops.worker.lease().instances
    asks = turn(leased, prune_requested(), at_ms=5, keep_lease=True)
    ends = turn(next_lease(leased, asks), completed(), at_ms=5)
    result = loops.worker.commit(asks, ends)
    assert result.turns == [TurnOutcome.COMMITTED] * 2
    assert [report.result.executions_deleted for report in result.prunes] == [2]
    assert store.dump()["messages"] == []


# --- one that fails ------------------------------------------------------------------------------------------


def test_a_prune_that_fails_is_undone_alone_and_stays_due(store: SqliteStore, loops: Loops, clock: ManualClock) -> None:
    loops.start("a", "b")
    loops.go_on(3)
    fail_ledger_of(store, loops.incarnation("a"))
    result = loops.worker.commit(*loops.ends(policies=KEEP_ONE))
    assert result.turns == [TurnOutcome.COMMITTED] * 2
    (failed, done) = result.prunes
    assert (failed.position, failed.trigger) == (0, PruneTrigger.CONTINUE_AS_NEW)
    assert failed.result.error is not None
    assert "the ledger is broken" in failed.result.error
    assert failed.result.executions_deleted == 0
    assert (done.position, done.result.error, done.result.executions_deleted) == (1, None, 4)
    assert (loops.live("a"), loops.live("b")) == ([1, 2, 3, 4, 5], [5])
    row = instance_row(store, "a")
    assert (row["pruned_through"], row["prune_due_at_ms"], row["live_from"]) == (0, clock.now_ms(), 1)
    mend_ledger(store)
    loops.go_on(policies=KEEP_ONE)
    assert loops.live("a") == [6]


def test_a_prune_that_fails_when_it_has_deleted_brings_back_what_it_deleted(store: SqliteStore, loops: Loops) -> None:
    """The range of the ledger that is made longer is the last thing it writes."""
    loops.start("a", "b")
    loops.go_on(2, policies=KEEP_ONE)
    loops.go_on(2)
    first = loops.incarnation("a")
    before = [row for row in store.dump()["history"] if row["incarnation"] == first]
    fail_ledger_of(store, first)
    (failed, done) = loops.worker.commit(*loops.ends(policies=KEEP_ONE)).prunes
    assert (failed.result.error is None, done.result.error) == (False, None)
    assert (loops.live("a"), loops.live("b")) == ([3, 4, 5, 6], [6])
    after = [row for row in store.dump()["history"] if row["incarnation"] == first]
    assert after[: len(before)] == before
    assert {row["execution_id"] for row in before} == {3, 4}
    mend_ledger(store)


def test_a_request_that_failed_is_answered_all_the_same(store: SqliteStore, loops: Loops) -> None:
    loops.start("a")
    loops.go_on(3)
    fail_ledger_of(store, loops.incarnation("a"))
    (leased,) = loops.worker.lease().instances
    result = loops.worker.commit(turn(leased, prune_requested(), prune_requested(PruneOptions(keep_last=9)), at_ms=5))
    assert [report.result.error is None for report in result.prunes] == [False, True]
    broken, nothing = answers(store.dump()["messages"])
    assert "the ledger is broken" in broken["error"]
    assert (broken["scheduled_event_id"], nothing["scheduled_event_id"], nothing.get("error")) == (2, 3, None)
    assert len(loops.worker.take().messages) == 2


def test_what_a_failed_prune_says_of_itself_is_forgotten_with_it(store: SqliteStore, loops: Loops) -> None:
    """The automatic prune of a turn fails; what the first turn of the next execution asks for finds the instance as it
    was."""
    loops.start("a")
    loops.go_on(3)
    fail_ledger_of(store, loops.incarnation("a"), trigger=PruneTrigger.CONTINUE_AS_NEW)
    (leased,) = loops.worker.lease().instances
    end = turn(leased, continued_as_new(), at_ms=5, keep_lease=True, policies=KEEP_ONE)
    begin = turn(next_lease(leased, end), prune_requested(PruneOptions(keep_last=2)), at_ms=5)
    result = loops.worker.commit(end, begin)
    assert [(each.result.error is None, each.result.executions_deleted) for each in result.prunes] == [
        (False, 0),
        (True, 3),
    ]
    assert loops.live("a") == [4, 5]
    row = instance_row(store, "a")
    assert (row["pruned_through"], row["live_from"]) == (0, 4)


def test_a_policy_nobody_can_read_fails_its_own_prune_and_nothing_else(
    store: SqliteStore, loops: Loops, clock: ManualClock
) -> None:
    loops.start("a", "b")
    loops.go_on(2)
    store.set_instance_policy("a", '{"policy": "of a release to come"}')
    commits = store.change_counter()[1]
    result = loops.worker.commit(*loops.ends(policies=KEEP_ONE))
    assert store.change_counter()[1] == commits + 2  # the lease, and one commit: the batch was written once
    assert result.turns == [TurnOutcome.COMMITTED] * 2
    assert [(each.position, each.result.error is None) for each in result.prunes] == [(0, False), (1, True)]
    assert (loops.live("a"), loops.live("b")) == ([1, 2, 3, 4], [4])
    row = instance_row(store, "a")
    assert (row["pruned_through"], row["prune_due_at_ms"]) == (0, clock.now_ms())
    store.set_instance_policy("a", stated(AutoPrune(keep_last=2)))
    loops.go_on()
    assert loops.live("a") == [4, 5]


def test_what_waited_for_a_policy_nobody_can_read_is_told_of_before_it(store: SqliteStore, loops: Loops) -> None:
    loops.start("a", "b", "c")
    loops.go_on(2)
    store.set_instance_policy("b", '{"policy": "of a release to come"}')
    result = loops.worker.commit(*loops.ends(policies=KEEP_ONE))
    assert [(each.position, each.result.error is None) for each in result.prunes] == [(0, True), (1, False), (2, True)]


def test_a_turn_that_cannot_be_written_leaves_the_prunes_of_the_others(store: SqliteStore, loops: Loops) -> None:
    loops.start("a", "b")
    loops.go_on(2)
    bad, good = loops.ends(policies=KEEP_ONE)
    bad.custom_status = "\ud800"
    result = loops.worker.commit(bad, good)
    assert result.turns == [TurnOutcome.REJECTED, TurnOutcome.COMMITTED]
    assert [(each.position, each.result.executions_deleted) for each in result.prunes] == [(1, 3)]
    assert (loops.live("a"), loops.live("b")) == ([1, 2, 3], [4])


# --- a disk that fails is nobody's prune that failed -----------------------------------------------------------


def test_a_disk_that_fails_while_a_prune_is_decided_or_undone_fails_the_commit(
    store: SqliteStore, loops: Loops
) -> None:
    """And leaves everything as it was: it is not counted as a prune that failed, and its turn is not lost."""
    loops.start("a", "b")
    loops.go_on(3)
    terms = PruneTerms(rollout_pause_s=0.001)
    reads_versions = loops.ends(policies=KEEP_ONE)
    with Watched(store) as watched:
        loops.worker.commit(*reads_versions, prune_terms=terms)
    deciding = watched.statements.index(sql_pruning.VERSIONS_SEEN)
    fail_ledger_of(store, loops.incarnation("a"))
    careful = loops.ends(policies=KEEP_ONE)
    with Watched(store) as watched:
        assert [bool(each.result.error) for each in loops.worker.commit(*careful).prunes] == [True, False]
    one_by_one = watched.statements.index(sql.SAVEPOINT)
    ends = loops.ends(policies=KEEP_ONE)
    before = store.dump()
    with Watched(store, fail_at=deciding), pytest.raises(StoreError):
        loops.worker.commit(*ends, prune_terms=terms)
    assert store.dump() == before
    for fail_at in itertools.count(one_by_one):
        try:
            with Watched(store, fail_at=fail_at):
                result = loops.worker.commit(*ends)
        except StoreError:
            assert store.dump() == before
        else:
            break
    assert set(result.turns) == {TurnOutcome.COMMITTED}
    assert fail_at > one_by_one + 20, "at many places"
    mend_ledger(store)


def test_a_prune_that_is_refused_fails_alone(store: SqliteStore, loops: Loops, monkeypatch: pytest.MonkeyPatch) -> None:
    loops.start("a", "b")
    loops.go_on(3)

    def refuses_a(view: PruneView, *given: Any, **named: Any) -> Any:
        if view.executions and view.executions[0].instance_id == "a":
            raise InvalidRulesError("rules of another time")
        return choose(view, *given, **named)

    with monkeypatch.context() as patched:
        patched.setattr("duro.stores.sqlite.turn_pruning.choose", refuses_a)
        result = loops.worker.commit(*loops.ends(policies=KEEP_ONE))
    assert result.turns == [TurnOutcome.COMMITTED] * 2
    assert [each.result.error for each in result.prunes] == ["InvalidRulesError: rules of another time", None]
    assert (loops.live("a"), loops.live("b")) == ([1, 2, 3, 4, 5], [5])
