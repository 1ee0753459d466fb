"""Random families, run on both stores, against a model that remembers who may still observe whom: what is found and
what is cleaned up is exactly what the model says, and the survivors finish. ``make families`` runs many more."""

import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from duro.stores.base import Store
from duro.stores.memory import MemoryStore
from duro.stores.sqlite import SqliteStore
from duro.testing import ManualClock
from tests.support.families import ACTIONS, World

FAMILIES: Final = int(os.environ.get("DURO_FAMILIES", "300"))
STEPS: Final = 25


@contextmanager
def store_of(kind: str, clock: ManualClock) -> Iterator[Store]:
    if kind == "memory":
        yield MemoryStore(clock=clock, new_id=lambda: "store")
        return
    with tempfile.TemporaryDirectory(prefix="duro-families-") as directory:
        path = Path(directory) / "duro.db"
        store = SqliteStore.open(
            path, url=f"sqlite:///{path}", clock=clock, new_id=lambda: "store", synchronous="NORMAL"
        )
        try:
            yield store
        finally:
            store.close()


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_what_is_found_and_cleaned_up_is_what_the_model_says(kind: str) -> None:
    done: Counter[str] = Counter()
    used_again = 0
    for seed in range(FAMILIES // 2):
        clock = ManualClock()
        with store_of(kind, clock) as store:
            world = World(store, clock, seed * 2 + (kind == "sqlite"))
            try:
                world.live(STEPS)
                world.finish()
                assert [each for each in store.checkup() if each.count and each.severity == "error"] == []
            except BaseException as error:
                error.add_note(f"family {world.random!r} of seed {seed * 2 + (kind == 'sqlite')}")
                raise
            done.update(world.done)
            used_again += world.ids_used_again
    assert set(done) == set(ACTIONS), "every kind of thing happened"
    assert used_again, "and ids had several lives"
