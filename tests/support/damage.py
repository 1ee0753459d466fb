"""A store with some of everything, to be damaged, and what the checks find in one."""

from collections.abc import Callable
from pathlib import Path

import apsw

from duro.model.checkup import CheckResult
from duro.model.families import PurgeOptions
from duro.stores.sqlite import SqliteStore
from duro.testing import ManualClock
from duro.testing.builders import (
    activity_scheduled,
    child_completed,
    child_scheduled,
    completed,
    continued_as_new,
    next_lease,
    prune_batch,
    removal_batch,
    start_request,
    timer_created,
    wait_started,
)
from duro.testing.scripted import ScriptedWorker
from tests.support.pruning import open_sqlite


def healthy_store(directory: Path, clock: ManualClock) -> SqliteStore:
    """A parent (1) that waits for a running child (3) and has observed another (2); a loop (4) with a pruned execution;
    a removed parent (5) with its child (6)."""
    store = open_sqlite(directory / "duro.db", clock)
    worker = ScriptedWorker(store)
    store.start_instances([start_request("parent")])
    leased = worker.take("parent")
    kept = next_lease(leased, worker.run(leased, child_scheduled("seen"), child_scheduled("runs"), keep_lease=True))
    children = {each.instance_id: each for each in worker.lease().instances}
    worker.run(children["seen"], completed())
    waiting = (child_completed(2), timer_created(10**14), activity_scheduled(), wait_started("go"))
    worker.run(worker.take("parent"), *waiting, waits=["go"])
    worker.run(children["runs"], wait_started("go"), waits=["go"])
    assert kept.instance_id == "parent"
    store.start_instances([start_request("loop")])
    for _ in range(2):
        worker.run(worker.take("loop"), continued_as_new())
    worker.run(worker.take("loop"), wait_started("go"), waits=["go"])
    store.prune(prune_batch((4, 2)))
    store.start_instances([start_request("gone")])
    leased = worker.take("gone")
    kept = next_lease(leased, worker.run(leased, child_scheduled("too"), keep_lease=True))
    worker.run(worker.take("too"), completed())
    worker.run(worker.take("gone"), child_completed(2), completed())
    store.start_instances([start_request("ended")])
    worker.run(worker.take("ended"), completed())
    rules = PurgeOptions(completed_before=10**14)
    assert store.remove(removal_batch((5, rules), grace_ms=10**9))[0].removed
    return store


def found(store: SqliteStore, *, deep: bool = False) -> dict[str, CheckResult]:
    return {result.name: result for result in store.checkup(deep=deep) if result.count}


def damage(*statements: str) -> Callable[[apsw.Connection], None]:
    def do(connection: apsw.Connection) -> None:
        connection.execute("PRAGMA ignore_check_constraints = 1")
        for statement in statements:
            connection.execute(statement)
            assert connection.changes(), statement

    return do
