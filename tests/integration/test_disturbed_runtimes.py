"""Two runtimes with their real threads on one store, whose leases are taken away all the time: instances move between
their caches under load, and everything acknowledged happens once."""

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import duro
from duro.stores.base import Store
from tests.support import workload
from tests.support.evidence import check_evidence
from tests.support.traffic import Traffic, wait_until_nothing_runs

WAIT_S = 60.0
DISTURBED_S = 1.5


@contextmanager
def leases_taken_away(store: Store, seed: int) -> Iterator[list[str]]:
    """Somebody takes the leases of a random worker away, some times a second; the ids it was done to. (Not more often:
    an instance that is leased ten times in a row without a commit is set aside as poison.)"""
    choice, over, victims = random.Random(seed), threading.Event(), list[str]()

    def disturb() -> None:
        while not over.wait(choice.uniform(0.05, 0.25)):
            if workers := store.list_workers():
                victims.append(choice.choice(workers).worker_id)
                store.release_worker(victims[-1])

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        yield victims
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("cache_size", [3, 1000])
def test_instances_move_between_runtimes_under_load_and_everything_happens_once(
    store: Store, cache_size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    effects = tmp_path / "effects.log"
    monkeypatch.setenv(workload.EFFECTS_LOG_VARIABLE, str(effects))
    options = duro.RuntimeOptions(cache_size=cache_size, lease_s=0.3, poll_interval_s=0.002)
    runtimes = [duro.Runtime(store, workload.registry, options) for _ in range(2)]
    for runtime in runtimes:
        runtime.start()
    client = duro.Client(store)
    traffic = Traffic(client, seed=cache_size)
    try:
        with leases_taken_away(store, seed=cache_size) as victims:
            time.sleep(DISTURBED_S)
    finally:
        acknowledged = traffic.stop()
    client.wait_for_orchestrations(list(acknowledged.instances), WAIT_S)
    wait_until_nothing_runs(client, WAIT_S)
    resets = [runtime.counters.worker_resets for runtime in runtimes]
    turns = [runtime.counters.turns_committed for runtime in runtimes]
    failed = [runtime.counters.turns_failed + runtime.counters.turns_blocked for runtime in runtimes]
    for runtime in runtimes:
        runtime.stop(drain_s=1.0)
    check_evidence(store.dump(), effects.read_text().splitlines(), acknowledged)
    assert min(resets) > 0
    assert min(turns) > 0
    assert failed == [0, 0]
    assert len(victims) >= 4
