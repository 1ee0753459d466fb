"""What an orderly stop leaves to other workers."""

import threading
from pathlib import Path
from typing import Any

import pytest

import duro
from duro.host.scheduler import FINISHED
from duro.model.limits import ATTEMPTS_MAX
from duro.model.status import InstanceStatus
from duro.testing import check_invariants
from tests.support.simulation import Kill, Step, simulated


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_turns_that_had_not_run_when_their_worker_stopped_cost_no_attempt(
    kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After eleven such stops instances whose code had never run were set aside as poison."""
    with simulated(tmp_path, kind, cache_size=1000) as simulation:
        for number in range(5):
            simulation.client.start_orchestration("ends_at_once", instance_id=f"a{number}")
        for _ in range(ATTEMPTS_MAX + 2):
            worker = simulation.workers[0]
            with monkeypatch.context() as busy:
                busy.setattr(worker, "_run_turns", list)
                simulation.make(Step(0))
                simulation.make(Step(0))
                assert len(worker._holdings.held) == 5
                worker.begin_stop(0.0)
                simulation.clock.advance(10)
                while worker.step() != FINISHED:
                    pass
            records = simulation.client.list_instances().instances
            assert {(each.attempt_count, each.lease_worker_id, each.blocked) for each in records} == {(0, None, None)}
            simulation.make(Kill(0))
        for _ in range(4):
            simulation.make(Step(0))
        ended = {each.status for each in simulation.client.list_instances().instances}
        assert ended == {InstanceStatus.COMPLETED}
        check_invariants(simulation.dump())


@pytest.mark.parametrize("missing", ["duro-activities", "duro-lease", "duro-sweep", "duro-config", "duro-worker"])
def test_a_start_for_which_there_is_no_thread_leaves_nothing_running(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = duro.open_store(tmp_path / "duro.db")
    registry = duro.Registry()

    @registry.orchestration
    async def any_work(ctx: duro.OrchestrationContext) -> str:
        return "done"

    begin = threading.Thread.start

    def begins(thread: threading.Thread) -> None:
        if thread.name == missing:
            raise RuntimeError("can't start new thread")
        begin(thread)

    runtime = duro.Runtime(store, registry)
    runtime.client.start_orchestration("any_work", instance_id="a")
    with monkeypatch.context() as starved:
        starved.setattr(threading.Thread, "start", begins)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            runtime.start()
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("duro-")] == []
    assert store.list_workers() == ()
    instance = store.get_instance("a")
    assert instance is not None
    assert instance.status is duro.InstanceStatus.PENDING
    with runtime:
        assert runtime.client.wait_for_orchestration("a", 20).output == "done"
    assert store.list_workers() == ()
    store.close()
