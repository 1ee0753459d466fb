"""A prune of any number of instances holds one batch of them, and a page: measured as it goes, on SQLite."""

import tracemalloc
from pathlib import Path

import pytest

import duro
from duro.maintenance import pruning
from duro.testing.builders import continued_as_new, start_request, turn
from duro.testing.clock import ManualClock
from duro.testing.scripted import ScriptedWorker
from tests.support.pruning import open_sqlite

EXECUTIONS = 4


def peak_bytes(path: Path, instances: int) -> int:
    """What Python held at most while ``instances`` were pruned."""
    store = open_sqlite(path, ManualClock())
    worker = ScriptedWorker(store)
    store.start_instances([start_request(f"i{number}") for number in range(instances)])
    for _ in range(EXECUTIONS - 1):
        leased = worker.lease(instances).instances
        worker.commit(*[turn(each, continued_as_new(), at_ms=store.now_ms()) for each in leased])
    client = duro.Client(store)
    tracemalloc.start()
    try:
        done = client.prune_executions_bulk(1, grace_s=0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert done.instances_processed == instances
    assert {row["execution_id"] for row in store.dump()["executions"]} == {EXECUTIONS}
    store.close()
    return peak


def test_the_memory_of_a_bulk_prune_does_not_grow_with_the_instances(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "INSTANCES_A_PAGE", 20)
    monkeypatch.setattr(pruning, "_EXECUTIONS_AT_FIRST", 40)
    monkeypatch.setattr(pruning, "_EXECUTIONS_A_BATCH", range(20, 40))
    peak_bytes(tmp_path / "first.db", 100)  # what is loaded and remembered once
    few, many = (peak_bytes(tmp_path / f"{count}.db", count) for count in (100, 800))
    assert many < few + 50_000, f"{few:,} and {many:,} bytes"
