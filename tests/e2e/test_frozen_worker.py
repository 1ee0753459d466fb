"""A worker that is stopped past its lease (SIGSTOP), and goes on when another one has taken its work over."""

import contextlib
import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import duro
from duro.testing import check_invariants
from tests.support.processes import WorkerProcess, effects_log_of, make_store, store_url_of
from tests.support.stalling import GATE

WAIT_S = 30.0
LEASE_S = 1


@contextlib.contextmanager
def stalling_worker(directory: Path, name: str) -> Iterator[WorkerProcess]:
    program = ("-m", "tests.support.stalling", store_url_of(directory), str(LEASE_S))
    worker = WorkerProcess(directory, name, LEASE_S, program)
    try:
        worker.wait_until_ready()
        yield worker
    finally:
        worker.send(signal.SIGCONT)
        worker.kill()


def counters_of(worker: WorkerProcess) -> dict[str, int]:
    assert worker.stop() == 0, worker.said()
    counters: dict[str, int] = json.loads(worker.said().splitlines()[-1])
    return counters


def until(is_so: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < deadline_s, f"{what} never came"
        time.sleep(0.01)


def processes_of_effects(directory: Path) -> list[int]:
    return [int(line.split()[1]) for line in effects_log_of(directory).read_text().splitlines()]


def test_a_frozen_worker_commits_nothing_of_what_was_taken_from_it_and_goes_on(tmp_path: Path) -> None:
    with duro.Client(make_store(tmp_path)) as client, stalling_worker(tmp_path, "frozen") as frozen:
        started = client.start_orchestration("stalls")
        until((tmp_path / f"arrived-{frozen.process_id}").exists, "the turn at the gate")
        frozen_id = client.list_workers()[0].worker_id
        frozen.freeze(tmp_path / "duro.db")
        (tmp_path / GATE).touch()
        with stalling_worker(tmp_path, "other") as other:
            assert client.wait_for_orchestration(started, WAIT_S).output == [other.process_id, other.process_id]
            taken_over = client.store.dump()
            assert [row["process_id"] for row in taken_over["workers"]] == [other.process_id]

            frozen.send(signal.SIGCONT)
            until(lambda: frozen.process_id in {each.process_id for each in client.list_workers()}, "the worker")
            after = client.store.dump()
            for table in ("instances", "executions", "history", "messages", "activities", "requests"):
                assert after[table] == taken_over[table], table
            # the result that the frozen turn had in hand was never committed, so its activity ran again; what the
            # frozen turn asked for never ran
            assert processes_of_effects(tmp_path) == [frozen.process_id, other.process_id, other.process_id]
            assert counters_of(other)["turns_fenced"] == 0

        again = client.start_orchestration("stalls")
        assert client.wait_for_orchestration(again, WAIT_S).output == [frozen.process_id, frozen.process_id]
        assert frozen_id not in {worker.worker_id for worker in client.list_workers()}
        counters = counters_of(frozen)
        assert (counters["turns_fenced"], counters["worker_resets"]) == (1, 1)
        assert counters["activities_succeeded"] == 3
        check_invariants(client.store)
