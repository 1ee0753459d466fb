"""A store with something of everything, for tests that give it wrong things."""

from pathlib import Path

import duro
from duro.model.status import ParentPolicy
from duro.stores.base import Store
from duro.stores.sqlite import SqliteStore
from duro.testing import ManualClock
from duro.testing.builders import child_scheduled, start_request
from tests.support.pruning import Loops

HOSTILE_ID = "evil\x1b[31m\u202e\x9b\nsecond line"
HOSTILE_NAME = "na\x1b]0;pwned\x07me\u2066\n"


def fill(store: Store) -> None:
    """Loops of several executions, one held; instances that have ended, one held; orphans, ended and running."""
    client = duro.Client(store)
    loops = Loops(store)
    loops.start("loop-1", "loop-2", "loop-3")
    loops.go_on(6)
    loops.ends()  # leased, and never given back
    client.add_hold("loop-2", 2, reason="evidence")
    for number in range(5):
        client.start_orchestration("Report", instance_id=f"ended-{number}", allow_unregistered=True)
        client.terminate(f"ended-{number}")
    client.add_hold("ended-1", reason="evidence")
    store.start_instances([start_request("parent")])
    spawns = [
        child_scheduled(name, on_parent_end=ParentPolicy.ABANDON) for name in ("orphan-1", "orphan-2", "orphan-3")
    ]
    loops.worker.run(loops.worker.take("parent"), *spawns)
    for name in ("parent", "orphan-1", "orphan-2"):
        client.terminate(name)
    client.start_orchestration(HOSTILE_NAME, HOSTILE_ID, instance_id=HOSTILE_ID, allow_unregistered=True)


def opened(path: Path) -> SqliteStore:
    clock = ManualClock()
    return SqliteStore.open(path, url=f"sqlite:///{path}", clock=clock, new_id=lambda: "id", synchronous="NORMAL")
