"""A crash at every single write of everything that removes families or ends children; see ``test_prune_crashes``."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from duro.model.families import OrphanRules, PurgeOptions
from duro.model.status import ParentPolicy
from duro.stores.sqlite import SqliteStore
from duro.testing.builders import (
    child_completed,
    child_scheduled,
    completed,
    continued_as_new,
    next_lease,
    removal_batch,
    start_request,
)
from duro.testing.clock import ManualClock
from duro.testing.invariants import check_invariants
from duro.testing.scripted import ScriptedWorker
from tests.integration.test_prune_crashes import CrashError, Crashing, _without_time, open_store, state

GRACE_MS: Final = 1_000
EVERYTHING: Final = PurgeOptions(completed_before=10**14)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished family (1, 2, 3); a loop (4) with an orphan (5); a removed family (6, 7); and a parent (8) with two
    running children, one that ends with it (9), which has one of its own (10), and one that is asked to (11)."""
    path = tmp_path_factory.mktemp("template") / "duro.db"
    store = open_store(path, ManualClock())
    worker = ScriptedWorker(store)
    _grow(store, worker, "a", "b", "c")
    store.start_instances([start_request("loop")])
    leased = worker.take("loop")
    kept = next_lease(leased, worker.run(leased, child_scheduled("orphan"), keep_lease=True))
    worker.run(worker.take("orphan"), completed())
    worker.run(kept, continued_as_new())
    worker.run(worker.take("loop"), child_scheduled("later"))
    worker.run(worker.take("later"), child_scheduled("latest"), continued_as_new())
    _grow(store, worker, "x", "y")
    number = store.get_child("y")
    assert number is not None
    store.remove(removal_batch((number.parent.incarnation, EVERYTHING), run_id="run-1", grace_ms=GRACE_MS))
    store.close()
    return path


def _grow(store: SqliteStore, worker: ScriptedWorker, *chain: str) -> None:
    """A family that has ended, each the child of the one before."""
    store.start_instances([start_request(chain[0])])
    leases = []
    for instance_id, child in zip(chain, (*chain[1:], None), strict=True):
        found = [each for each in worker.lease().instances if each.instance_id == instance_id]
        (leased,) = found
        if child is not None:
            committed = worker.run(
                leased, child_scheduled(child, on_parent_end=ParentPolicy.TERMINATE), keep_lease=True
            )
            leases.append(next_lease(leased, committed))
        else:
            worker.run(leased, completed())
    for leased in reversed(leases):
        worker.run(leased, child_completed(2), completed())


def _remove(store: SqliteStore, *, grace_ms: int = 0) -> None:
    store.remove(removal_batch((1, EVERYTHING), (5, OrphanRules()), run_id="run-2", by="ada", grace_ms=grace_ms))


def _reclaim(store: SqliteStore) -> None:
    while store.reclaim(3).more:
        pass


def _remove_and_reclaim(store: SqliteStore) -> None:
    _remove(store)
    _reclaim(store)


def _terminate(store: SqliteStore) -> None:
    if store.get_instance("loop").completed_at_ms is None:  # type: ignore[union-attr]
        store.terminate_instance("loop", "enough", "once")


OPERATIONS: Final[dict[str, Callable[[SqliteStore], object]]] = {
    "remove": lambda store: _remove(store, grace_ms=GRACE_MS),
    "adopt": lambda store: store.adopt("orphan", "ada", "it stands alone"),
    "undo": lambda store: store.undo_prune("hold-1", 10**15, run_id="run-1") if not store.list_holds() else None,
    "reclaim a family": _reclaim,
    "remove and reclaim": _remove_and_reclaim,
    "end a parent": _terminate,
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_crash_at_any_write_leaves_the_state_before_or_after(name: str, template: Path, tmp_path: Path) -> None:
    operation = OPERATIONS[name]

    def opened(number: int) -> tuple[SqliteStore, Path, ManualClock]:
        path = tmp_path / f"{number}.db"
        shutil.copy(template, path)
        clock = ManualClock()
        clock.advance(GRACE_MS if "reclaim" in name else 1)
        return open_store(path, clock), path, clock

    store, _, _ = opened(0)
    before = _without_time(state(store))
    operation(store)
    check_invariants(store)
    after = _without_time(state(store))
    store.close()
    assert after != before
    crashes = 0
    for number in range(1, 500):
        store, path, clock = opened(number)
        assert store._writer is not None
        crashing = Crashing(store._writer._connection, number)
        store._writer._connection = crashing  # type: ignore[assignment]
        try:
            operation(store)
        except CrashError:
            crashes += 1
        store.close()
        if not crashing.crashed:
            break
        store = open_store(path, clock)
        check_invariants(store)
        if "reclaim" not in name:  # which takes several transactions
            assert _without_time(state(store)) in (before, after), f"crash at statement {number}"
        operation(store)
        check_invariants(store)
        assert _without_time(state(store)) == after, f"crash at statement {number}"
        store.close()
    assert crashes > 3
    assert not crashing.crashed, "there was no end"
