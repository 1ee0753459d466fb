"""An instance whose turn kills its worker is set aside, and takes nobody with it."""

from pathlib import Path
from typing import Any

import pytest

import duro
from duro.host.worker import Worker
from duro.model.status import BlockedKind
from duro.testing import check_invariants
from tests.support.simulation import Simulation, StoreKind, simulated

INSTANCES = 600
LETHAL = "i300"
WAITING = duro.InstanceFilter(statuses=(duro.InstanceStatus.PENDING,), blocked=False)


class Death(BaseException):
    """What a turn raises here instead of killing the process: the worker loses all it holds."""


@pytest.fixture
def _one_turn_is_lethal(monkeypatch: pytest.MonkeyPatch) -> None:
    run_turn = Worker._run_turn

    def run(worker: Worker, held: Any, history: Any) -> Any:
        if held.leased.instance_id == LETHAL:
            raise Death
        return run_turn(worker, held, history)

    monkeypatch.setattr(Worker, "_run_turn", run)


def statuses(simulation: Simulation) -> dict[str, str]:
    """Of every instance: how it ended, or why it is blocked, or that it runs."""
    records = simulation.client.list_instances(limit=0).instances
    return {each.instance_id: str(each.blocked or each.status) for each in records}


@pytest.mark.usefixtures("_one_turn_is_lethal")
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_an_instance_that_kills_its_workers_becomes_poison_and_all_others_complete(
    kind: StoreKind, tmp_path: Path
) -> None:
    ids = [f"i{number}" for number in range(INSTANCES)]
    starts = [duro.Start(orchestration="ends_at_once", instance_id=each) for each in ids]
    with simulated(tmp_path, kind, cache_size=1000) as simulation:
        simulation.client.start_orchestrations(starts)
        for _ in range(4 * INSTANCES):
            for worker in simulation.workers:
                simulation.clock.advance(20)
                worker.step()
                worker.renew_step()
            if not simulation.client.list_instances(WAITING, limit=1).instances:
                break
        expected = dict.fromkeys(ids, "completed") | {LETHAL: str(BlockedKind.POISON)}
        assert statuses(simulation) == expected
        assert sum(worker.counters.worker_resets for worker in simulation.workers) == 10
        check_invariants(simulation.dump())
