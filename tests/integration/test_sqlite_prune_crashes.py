"""A failure at every statement of everything that prunes: nothing happened, or all of it did; and it goes on."""

from collections.abc import Callable
from pathlib import Path

import apsw
import msgspec
import pytest

from duro.errors import CommitUnknownError, StoreError
from duro.model.removal import PruneOrder
from duro.model.retention import PruneOptions
from duro.model.status import ChildrenPolicy
from duro.model.turns import PruneTerms
from duro.stores.base import StoreDump
from duro.stores.sqlite import SqliteStore, turn_pruning
from duro.testing.builders import child_scheduled, completed, continued_as_new, prune_batch, prune_requested, turn
from duro.testing.clock import ManualClock
from duro.testing.invariants import check_invariants
from tests.support.pruning import Loops, Watched, automatic, executions_with_rows, open_sqlite, writer_connection

Operation = Callable[[], object]
Prepare = Callable[[Loops, ManualClock], Operation]


def a_turn_with_a_policy(loops: Loops, _: ManualClock) -> Operation:
    loops.go_on(3)
    ends = loops.ends(policies=automatic(1))
    return lambda: loops.worker.commit(*ends, batch_id="token")


def a_turn_that_says_so(loops: Loops, _: ManualClock) -> Operation:
    loops.go_on(3)
    ends = loops.ends(policies=automatic(1, PruneOptions(keep_last=2)))
    return lambda: loops.worker.commit(*ends, batch_id="token")


def a_turn_that_asks(loops: Loops, _: ManualClock) -> Operation:
    loops.go_on(3)
    asks = [turn(each, prune_requested(), at_ms=5) for each in loops.worker.lease().instances]
    return lambda: loops.worker.commit(*asks, batch_id="token")


def a_turn_that_leaves_something(loops: Loops, _: ManualClock) -> Operation:
    loops.go_on(5)
    ends = loops.ends(policies=automatic(1, PruneOptions(keep_last=2)))
    return lambda: loops.worker.commit(*ends, batch_id="token")


def what_a_turn_left(loops: Loops, clock: ManualClock) -> Operation:
    a_turn_that_leaves_something(loops, clock)()
    asked = loops.store.asked_prunes(0, 0)
    assert len(asked) == 2
    made = tuple(
        PruneOrder(incarnation=each.incarnation, rules=(each.options,), origin=each.origin, asked=each)
        for each in asked
    )
    batch = msgspec.structs.replace(prune_batch(swept=True), orders=made)
    return lambda: loops.store.prune(batch)


def orders(loops: Loops, _: ManualClock) -> Operation:
    loops.go_on(3)
    batch = prune_batch(*((loops.incarnation(each), 1) for each in ("a", "b")), swept=True)
    return lambda: loops.store.prune(batch)


def a_manual_run(loops: Loops, _: ManualClock) -> Operation:
    loops.go_on(3)
    batch = prune_batch(*((loops.incarnation(each), 1) for each in ("a", "b")), run_id="run-1", grace_ms=1_000)
    return lambda: loops.store.prune(batch)


def an_undo(loops: Loops, clock: ManualClock) -> Operation:
    a_manual_run(loops, clock)()
    return lambda: loops.store.undo_prune("hold-1", 10**15, run_id="run-1")


def a_reclaim(loops: Loops, clock: ManualClock) -> Operation:
    batch = prune_batch(*((loops.incarnation(each), 1) for each in ("a", "b")), run_id="run-1", grace_ms=1)
    loops.go_on(3)
    loops.store.prune(batch)
    clock.advance(1)
    return lambda: loops.store.reclaim(1_000)


def a_reclaim_with_children(loops: Loops, _: ManualClock) -> Operation:
    first, second = sorted(loops.worker.lease().instances, key=lambda each: each.instance_id)
    loops.worker.run(first, child_scheduled("child", "Child"), continued_as_new())
    (child,) = [each for each in loops.worker.lease().instances if each.instance_id == "child"]
    loops.worker.run(child, completed())
    loops.worker.run(second, continued_as_new(), policies=automatic(1))
    loops.store.prune(prune_batch((loops.incarnation("a"), 1), children=ChildrenPolicy.SETTLED))
    return lambda: loops.store.reclaim(1_000)


EVERYTHING: list[Prepare] = [
    a_turn_with_a_policy,
    a_turn_that_says_so,
    a_turn_that_asks,
    a_turn_that_leaves_something,
    what_a_turn_left,
    orders,
    a_manual_run,
    an_undo,
    a_reclaim,
    a_reclaim_with_children,
]


@pytest.fixture(autouse=True)
def _a_turn_does_little(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    callspec = getattr(request.node, "callspec", None)
    if callspec is not None and callspec.params["prepare"] in (a_turn_that_leaves_something, what_a_turn_left):
        monkeypatch.setattr(turn_pruning, "TURN_PRUNE_EXECUTIONS_MAX", 2)


class Faults:
    """Fails, once, at the point it is told."""

    def __init__(self) -> None:
        self.at = ""

    def __call__(self, point: str) -> None:
        if point == self.at:
            self.at = ""
            raise apsw.exception_for(apsw.SQLITE_IOERR)


def prepared(tmp_path: Path, prepare: Prepare, faults: Faults | None = None) -> tuple[SqliteStore, Operation]:
    clock = ManualClock()
    store = open_sqlite(tmp_path / "duro.db", clock, faults)
    loops = Loops(store)
    loops.start("a", "b")
    return store, prepare(loops, clock)


def undisturbed(tmp_path: Path, prepare: Prepare) -> tuple[StoreDump, list[str]]:
    """What is there afterwards, and the statements it took."""
    store, operation = prepared(tmp_path, prepare)
    with Watched(store) as watched:
        operation()
    dump = store.dump()
    check_invariants(store)
    store.close()
    return dump, watched.statements


@pytest.mark.parametrize("prepare", EVERYTHING)
def test_a_failing_disk_at_any_statement_leaves_what_was_there(tmp_path: Path, prepare: Prepare) -> None:
    (tmp_path / "whole").mkdir()
    expected, statements = undisturbed(tmp_path / "whole", prepare)
    assert len(statements) > 4
    for position, statement in enumerate(statements):
        directory = tmp_path / f"{position}"
        directory.mkdir()
        store, operation = prepared(directory, prepare)
        before = store.dump()
        with Watched(store, fail_at=position), pytest.raises(StoreError):
            operation()
        if statement != "COMMIT":
            assert store.dump() == before, statement
        operation()
        assert store.dump() == expected, statement
        store.close()


@pytest.mark.parametrize("prepare", EVERYTHING)
def test_a_statement_that_is_refused_once_is_no_failure(tmp_path: Path, prepare: Prepare) -> None:
    """What does not concern the store as a whole is tried again carefully, and comes out the same."""
    (tmp_path / "whole").mkdir()
    expected, statements = undisturbed(tmp_path / "whole", prepare)
    for position, statement in enumerate(statements):
        if statement.startswith(("BEGIN", "COMMIT")):
            continue
        directory = tmp_path / f"{position}"
        directory.mkdir()
        store, operation = prepared(directory, prepare)
        with Watched(store, fail_at=position, code=apsw.SQLITE_CONSTRAINT):
            operation()
        assert store.dump() == expected, statement
        check_invariants(store)
        store.close()


@pytest.mark.parametrize("prepare", EVERYTHING)
def test_a_crash_before_the_commit_leaves_what_was_there(tmp_path: Path, prepare: Prepare) -> None:
    (tmp_path / "whole").mkdir()
    expected, _ = undisturbed(tmp_path / "whole", prepare)
    faults = Faults()
    store, operation = prepared(tmp_path, prepare, faults)
    before = store.dump()
    faults.at = "commit.before"
    with pytest.raises(StoreError):
        operation()
    assert store.dump() == before
    operation()
    assert store.dump() == expected
    store.close()


@pytest.mark.parametrize("prepare", EVERYTHING)
def test_a_crash_after_the_commit_is_found_whole_by_whoever_opens_the_file(tmp_path: Path, prepare: Prepare) -> None:
    (tmp_path / "whole").mkdir()
    expected, _ = undisturbed(tmp_path / "whole", prepare)
    faults = Faults()
    store, operation = prepared(tmp_path, prepare, faults)
    faults.at = "commit.after"
    with pytest.raises(CommitUnknownError):
        operation()
    store.close()
    reopened = open_sqlite(tmp_path / "duro.db", ManualClock())
    assert reopened.dump() == expected
    reopened.close()


def test_what_is_gone_is_gone_from_every_table(tmp_path: Path) -> None:
    """Whatever a damaged store may have left in the queues of an ended execution included."""
    store = open_sqlite(tmp_path / "duro.db", ManualClock())
    loops = Loops(store)
    loops.start("a")
    loops.go_on(3)
    incarnation = loops.incarnation("a")
    writer = writer_connection(store)
    writer.execute(f"INSERT INTO timers VALUES ({incarnation}, 2, 7, 5)")
    writer.execute(
        "INSERT INTO activities (incarnation, execution_id, event_id, name, scheduled_at_ms, visible_at_ms) "
        f"VALUES ({incarnation}, 2, 8, 'charge', 5, 5)"
    )
    assert executions_with_rows(store.dump(), incarnation)["timers"] == [2]
    store.prune(prune_batch((incarnation, 1)))
    rows = executions_with_rows(store.dump(), incarnation)
    assert rows == {"executions": [4], "history": [], "timers": [], "activities": []}
    store.close()


def test_a_turn_takes_no_children_that_nobody_said_to_take(tmp_path: Path) -> None:
    store = open_sqlite(tmp_path / "duro.db", ManualClock())
    loops = Loops(store)
    loops.start("a")
    loops.worker.run(loops.worker.take(), child_scheduled("child", "Child"), continued_as_new())
    leased = {each.instance_id: each for each in loops.worker.lease().instances}
    loops.worker.run(leased["child"], completed())
    end = turn(leased["a"], continued_as_new(), at_ms=5, policies=automatic(1))
    loops.worker.commit(end, prune_terms=PruneTerms(children=ChildrenPolicy.KEEP))
    assert loops.live("a") == [3]
    assert store.backlog().marked_executions == 0
    assert store.get_instance("child") is not None
    store.close()
