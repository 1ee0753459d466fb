"""A crash at every single write of everything that prunes: what is found afterwards is the state before or the state
after, and doing it again ends where it would have ended."""

import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest

import duro
from duro.model.policies import PolicyChain, PolicySources, StatedPolicy
from duro.model.removal import OrderResult, PruneBatch, PruneRun
from duro.model.retention import AutoPrune, PolicyKind, PolicyOrigin, PruneOptions
from duro.model.status import ChildrenPolicy
from duro.model.turns import TurnOutcome
from duro.retention.policy import policy_chain
from duro.stores.base import StoreDump
from duro.stores.sqlite import SqliteStore
from duro.testing.builders import (
    activity_scheduled,
    child_completed,
    child_scheduled,
    completed,
    continued_as_new,
    next_lease,
    prune_batch,
    prune_requested,
    start_request,
    turn,
)
from duro.testing.clock import ManualClock
from duro.testing.invariants import check_invariants
from duro.testing.scripted import ScriptedWorker
from tests.support.pruning import Loops, open_sqlite

EXECUTIONS: Final = 6
GRACE_MS: Final = 1_000


_workers = count(10)


class CrashError(BaseException):
    """The process ends here."""


class Crashing:
    """A connection whose process ends before its ``number``-th statement, or right after the commit."""

    def __init__(self, connection: Any, number: int) -> None:
        self._connection = connection
        self._left = number
        self.crashed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, statement: str, values: Any = ()) -> Any:
        if self.crashed or statement == "ROLLBACK":
            return self._connection.execute(statement, values)
        self._left -= 1
        if self._left == 0:
            self.crashed = True
            raise CrashError
        answer = self._connection.execute(statement, values)
        if statement == "COMMIT" and self._left == 1:
            self.crashed = True
            raise CrashError
        return answer


def open_store(path: Path, clock: ManualClock) -> SqliteStore:
    return SqliteStore.open(path, url=f"sqlite:///{path}", clock=clock, new_id=lambda: "store", synchronous="NORMAL")


def chain(policy: AutoPrune | None, options: PruneOptions | None = None) -> PolicyChain:
    origin = PolicyOrigin(PolicyKind.CODE_DEFAULT, "app.py:1")
    default = None if policy is None else StatedPolicy(policy=policy, origin=origin)
    return policy_chain(PolicySources(code_default=default), "Order", "1.0.0", turn_options=options)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A loop (1) in its sixth execution with a settled child (2) of its first one; three executions of another loop
    (3) are marked by a run."""
    path = tmp_path_factory.mktemp("template") / "duro.db"
    store = open_store(path, ManualClock())
    worker = ScriptedWorker(store)
    store.start_instances([start_request("a")])
    worker.run(worker.take("a"), child_scheduled("child", "Child"))
    worker.run(worker.take("child"), completed())
    worker.run(worker.take("a"), child_completed(2), continued_as_new())
    for _ in range(EXECUTIONS - 2):
        worker.run(worker.take("a"), continued_as_new())
    worker.run(worker.take("a"), activity_scheduled())
    store.start_instances([start_request("b")])
    for _ in range(4):
        worker.run(worker.take("b"), continued_as_new())
    worker.run(worker.take("b"), activity_scheduled())
    store.prune(prune_batch((3, 2), run_id="run-1", grace_ms=GRACE_MS))
    store.close()
    return path


def commit(store: SqliteStore, **fields: Any) -> None:
    """The instance's event arrives, and its turn continues as new and begins the next execution, in one commit."""
    instance = store.get_instance("a")
    assert instance is not None
    if instance.execution_id > EXECUTIONS:
        return  # it had happened
    worker = ScriptedWorker(store, f"w{next(_workers)}")
    leased = worker.take("a")
    requests = [prune_requested()] if fields.pop("ask", False) else []
    end = turn(leased, *requests, continued_as_new(), at_ms=store.now_ms(), keep_lease=True, **fields)
    begin = turn(next_lease(leased, end), activity_scheduled(), at_ms=store.now_ms())
    assert worker.commit(end, begin).turns == [TurnOutcome.COMMITTED, TurnOutcome.COMMITTED]


def wake(store: SqliteStore) -> None:
    store.request_cancel("a", "to wake it", "wake")


OPERATIONS: Final[dict[str, Callable[[SqliteStore], None]]] = {
    "A: prune_history": lambda store: commit(store, ask=True),
    "B: continue_as_new(prune=)": lambda store: commit(store, policies=chain(None, PruneOptions(keep_last=2))),
    "C: the automatic policy": lambda store: commit(store, policies=chain(AutoPrune(keep_last=2))),
    "an order that deletes": lambda store: _order(store, grace_ms=0),
    "an order that marks": lambda store: _order(store, grace_ms=GRACE_MS),
    "undo": lambda store: _undo(store),
    "reclaim": lambda store: _reclaim(store),
    "reclaim with children": lambda store: _reclaim_with_children(store),
}


def _order(store: SqliteStore, *, grace_ms: int) -> None:
    if len(store.list_executions("a", 0, None).executions) > 2:
        store.prune(prune_batch((1, 2), run_id="run-2", by="ada", grace_ms=grace_ms))


def _undo(store: SqliteStore) -> None:
    if not store.list_holds():
        store.undo_prune("hold-1", 10**15, run_id="run-1")


def _reclaim(store: SqliteStore) -> None:
    while store.reclaim(4).more:
        pass


def _reclaim_with_children(store: SqliteStore) -> None:
    if store.list_executions("a", 0, None).executions[-1].execution_id == 1:
        store.prune(prune_batch((1, 1), children=ChildrenPolicy.SETTLED))
    _reclaim(store)


def state(store: SqliteStore) -> StoreDump:
    """What matters of a dump: leases, attempts and tokens are different after a crash, and so are workers."""
    dump = store.dump()
    unlike = {"lease_worker_id", "lease_epoch", "attempt_count", "last_commit_token", "ready_at_ms", "first_seen_at_ms"}
    tables = {name: rows for name, rows in dump.items() if name not in ("workers", "capabilities", "requests")}
    return {name: [{k: v for k, v in row.items() if k not in unlike} for row in rows] for name, rows in tables.items()}


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_crash_at_any_write_leaves_the_state_before_or_after(name: str, template: Path, tmp_path: Path) -> None:
    operation = OPERATIONS[name]

    def opened(number: int) -> tuple[SqliteStore, ManualClock, Path]:
        path = tmp_path / f"{number}.db"
        shutil.copy(template, path)
        clock = ManualClock()
        clock.advance(GRACE_MS if name.startswith("reclaim") else 1)
        store = open_store(path, clock)
        wake(store)
        return store, clock, path

    store, _, _ = opened(0)
    before = state(store)
    operation(store)
    after = state(store)
    store.close()
    assert_done(name, before, after)
    crashes, steps = 0, []
    for number in range(1, 500):
        store, clock, path = opened(number)
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
        clock.advance(60_000 if name[0] in "ABC" else 0)  # another worker takes over when the lease is over
        store = open_store(path, clock)
        check_invariants(store)
        steps.append(_without_time(state(store)))
        operation(store)
        check_invariants(store)
        assert _without_time(state(store)) == _without_time(after), f"crash at statement {number}"
        store.close()
    assert crashes > 5
    assert not crashing.crashed, "there was no end"
    if "reclaim" not in name:  # which takes several transactions
        assert all(step in (_without_time(before), _without_time(after)) for step in steps)


def assert_done(name: str, before: StoreDump, after: StoreDump) -> None:
    """The operation does what it is called after, and not only the rest of its commit."""
    there = {(row["incarnation"], row["execution_id"]) for row in before["executions"]}
    left = {(row["incarnation"], row["execution_id"]) for row in after["executions"]}
    live, live_after = (
        {(row["incarnation"], row["execution_id"]) for row in dump["executions"] if row["removal"] == "live"}
        for dump in (before, after)
    )
    if name == "undo":
        assert live_after > live
    elif name.startswith("reclaim"):
        assert there - left >= {(3, 1), (3, 2), (3, 3)}
    else:
        assert live - live_after >= {(1, 1), (1, 2)}


def _without_time(dump: StoreDump) -> StoreDump:
    """Times and histories (which hold times) differ where the second try is later."""

    def kept(row: dict[str, Any]) -> dict[str, Any]:
        unlike = ("data", "history_bytes", "until_ms")
        return {key: value for key, value in row.items() if not key.endswith("_at_ms") and key not in unlike}

    return {name: [kept(row) for row in rows] for name, rows in dump.items()}


def test_the_runs_of_a_crashed_order_are_those_of_one_that_was_not(template: Path, tmp_path: Path) -> None:
    path = tmp_path / "duro.db"
    shutil.copy(template, path)
    store = open_store(path, ManualClock())
    _order(store, grace_ms=0)
    newest = max(store.list_prune_runs(0), key=lambda run: run.run_id)
    assert isinstance(newest, PruneRun)
    assert (newest.run_id, newest.executions, newest.by) == ("run-2", EXECUTIONS - 2, "ada")
    store.close()


def test_a_crash_between_two_batches_of_a_prune_by_hand_leaves_what_the_ledger_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the prune, run again, ends where it would have ended."""
    clock = ManualClock()
    store = open_sqlite(tmp_path / "duro.db", clock)
    loops = Loops(store)
    loops.start("a", "b", "c")
    loops.go_on(150)
    prune, batches = SqliteStore.prune, count()

    def crashes(self: SqliteStore, batch: PruneBatch, *, durable: bool = True) -> list[OrderResult]:
        if next(batches) == 1:
            raise CrashError
        return prune(self, batch, durable=durable)

    monkeypatch.setattr(SqliteStore, "prune", crashes)
    with pytest.raises(CrashError):
        duro.Client(store, ids=lambda: "first").prune_executions_bulk(1, grace_s=60)
    monkeypatch.undo()
    found = open_sqlite(tmp_path / "duro.db", clock)
    check_invariants(found)
    (run,) = found.list_prune_runs(0)
    gone = {each: 151 - len(Loops(found).live(each)) for each in "abc"}
    assert 0 < run.executions == sum(gone.values()) < 450
    for instance_id, executions in gone.items():
        assert sum(entry.range.executions for entry in found.list_ledger(instance_id)) == executions
    again = duro.Client(found, ids=lambda: "second").prune_executions_bulk(1, grace_s=60)
    assert again.executions_deleted == 450 - run.executions
    assert [Loops(found).live(each) for each in "abc"] == [[151]] * 3
    client = duro.Client(found, ids=lambda: "third")
    assert client.undo_prune(run.run_id).executions_restored == run.executions
    check_invariants(found)
    found.close()
    store.close()
