"""The second step of a removal, as the SQLite store does it: in bounded pieces, and not looking for work in vain."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from duro.model.families import PurgeOptions
from duro.model.pruning import Hold, HoldTarget
from duro.model.status import ChildrenPolicy
from duro.stores.sqlite import SqliteStore, families, reclaiming
from duro.testing.builders import (
    child_completed,
    child_scheduled,
    completed,
    continued_as_new,
    prune_batch,
    removal_batch,
    wait_started,
)
from duro.testing.clock import ManualClock
from duro.testing.invariants import check_invariants
from tests.support.pruning import Loops, open_sqlite, steps_of, writer_connection


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def points() -> list[str]:
    """What became of the store's transactions."""
    return []


@pytest.fixture
def store(tmp_path: Path, clock: ManualClock, points: list[str]) -> Iterator[SqliteStore]:
    opened = open_sqlite(tmp_path / "duro.db", clock, points.append)
    yield opened
    check_invariants(opened)
    opened.close()


@pytest.fixture
def loops(store: SqliteStore) -> Loops:
    return Loops(store)


def mark(
    store: SqliteStore, loops: Loops, grace_ms: int = 1_000, children: ChildrenPolicy = ChildrenPolicy.KEEP
) -> None:
    batch = prune_batch(
        (loops.incarnation("a"), 1), run_id="run-1", grace_ms=1_000, children=children, executions_max=1_000
    )
    store.prune(batch)


def test_where_nothing_is_due_nothing_is_written(
    store: SqliteStore, loops: Loops, clock: ManualClock, points: list[str]
) -> None:
    loops.start("a")
    loops.go_on(3)
    mark(store, loops)
    points.clear()
    assert store.reclaim(100).executions == 0
    assert points == []
    clock.advance(1_000)
    assert store.reclaim(100).executions == 3
    assert points == ["commit.before", "commit.after"]


def test_events_of_an_execution_that_goes_in_slices_are_counted_once(
    store: SqliteStore, loops: Loops, clock: ManualClock
) -> None:
    loops.start("a")
    waits = [wait_started(f"e{number}") for number in range(9)]
    loops.worker.run(loops.worker.take(), *waits, continued_as_new())
    mark(store, loops)
    clock.advance(1_000)
    parts = [store.reclaim(4)]
    while parts[-1].more:
        parts.append(store.reclaim(4))
    assert [(part.executions, part.events) for part in parts] == [(0, 4), (0, 4), (1, 3)]


def test_a_removed_instance_that_counts_more_events_than_there_are_goes_all_the_same(
    store: SqliteStore, loops: Loops, clock: ManualClock
) -> None:
    """A count is damaged; the rows say what there is to delete."""
    loops.start("a")
    loops.worker.run(loops.worker.take(), completed())
    clock.advance(1_000)
    old = PurgeOptions(keep_within=0.001)
    assert store.remove(removal_batch((loops.incarnation("a"), old)))[0].removed
    writer_connection(store).execute("UPDATE removed_instances SET events = 1000000")
    clock.advance(1_000)
    while (part := store.reclaim(100)).more or part.instances:
        assert part.events <= 100
    assert not store.dump()["removed_instances"]
    assert not store.dump()["history"]


def test_listings_do_not_walk_over_what_is_marked(store: SqliteStore, loops: Loops) -> None:
    loops.start("a")
    loops.go_on(3)
    mark(store, loops)
    few = listing_steps(store)
    loops.go_on(300)
    mark(store, loops)
    assert store.backlog().marked_executions == 303
    assert listing_steps(store) - few < 300


def listing_steps(store: SqliteStore) -> int:
    """Of a page of one instance and one of the store: instructions of SQLite."""

    def read() -> None:
        for instance_id in ("a", None):
            page = store.list_executions(instance_id, 100, None)
            assert len(page.executions) == 1

    read()
    (reader,) = store._readers
    return steps_of(reader, read)


# --- settled children ----------------------------------------------------------------------------------------


def spawn(loops: Loops, count: int) -> None:
    """Execution 1 of ``a`` spawns ``count`` children, sees them end, and continues as new. Their incarnations are no
    numbers of events of it."""
    for number in range(20):
        loops.start(f"before-{number}")
        loops.store.terminate_instance(f"before-{number}", "it was only here")
    loops.start("a")
    names = [f"c{number}" for number in range(count)]
    loops.worker.run(loops.worker.take(), *(child_scheduled(name, "Child") for name in names))
    for each in loops.worker.lease().instances:
        loops.worker.run(each, completed())
    seen = [child_completed(number + 2) for number in range(count)]
    loops.worker.run(loops.worker.take("a"), *seen, continued_as_new())


def children_there(store: SqliteStore, count: int) -> list[int]:
    return [number for number in range(count) if store.get_instance(f"c{number}") is not None]


def hold(store: SqliteStore, hold_id: str, target: HoldTarget) -> None:
    store.add_hold(Hold(hold_id=hold_id, target=target, reason="kept", created_at_ms=1))


@pytest.mark.parametrize("events_max", [4, 1_000])  # two events a child
def test_many_settled_children_go_in_several_transactions(
    store: SqliteStore, loops: Loops, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, events_max: int
) -> None:
    spawn(loops, 5)
    mark(store, loops, children=ChildrenPolicy.SETTLED)
    clock.advance(1_000)
    monkeypatch.setattr(families, "_CHILDREN_A_STATEMENT", 2)
    monkeypatch.setattr(reclaiming, "_CHILDREN_A_BATCH", 2)
    parts = [store.reclaim(events_max)]
    assert store.undo_prune("hold-1", 10**15, run_id="run-1").executions_restored == 0, "some of its children are gone"
    while parts[-1].more:
        parts.append(store.reclaim(events_max))
    assert [part.children for part in parts if part.children] == [2, 2, 1]
    assert sum(part.instances for part in parts) == 5
    assert max(part.events for part in parts) <= events_max
    assert sum(part.executions for part in parts) == 1
    assert children_there(store, 5) == []
    incarnations = {row["incarnation"] for row in store.dump()["executions"]}
    assert {each for each in incarnations if each > 20} == {loops.incarnation("a")}


def test_children_that_are_held_do_not_hide_those_behind_them(
    store: SqliteStore, loops: Loops, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(families, "_CHILDREN_A_STATEMENT", 2)
    spawn(loops, 6)
    for number in (0, 1, 4):
        hold(store, f"h{number}", HoldTarget(instance_id=f"c{number}"))
    mark(store, loops, children=ChildrenPolicy.SETTLED)
    clock.advance(1_000)
    reclaimed = store.reclaim(1_000)
    assert (reclaimed.children, reclaimed.executions, reclaimed.more) == (3, 1, False)
    assert children_there(store, 6) == [0, 1, 4]


def test_a_child_stays_whose_earlier_execution_ran_a_version_that_is_held(
    store: SqliteStore, loops: Loops, clock: ManualClock
) -> None:
    loops.start("a")
    loops.worker.run(loops.worker.take(), child_scheduled("c0", "Child"))
    loops.worker.run(loops.worker.take("c0"), continued_as_new(version="2.0.0"), version="1.0.0")
    loops.worker.run(loops.worker.take("c0"), completed(), version="2.0.0")
    loops.worker.run(loops.worker.take("a"), child_completed(2), continued_as_new())
    hold(store, "h", HoldTarget(name="Child", version="1.0.0"))
    mark(store, loops, children=ChildrenPolicy.SETTLED)
    clock.advance(1_000)
    assert store.reclaim(1_000).children == 0
    assert children_there(store, 1) == [0]
    assert [each.execution_id for each in store.list_executions("c0", 0, None).executions] == [2, 1]
