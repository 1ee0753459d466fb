"""Results that arrive while a commit has to be tried again."""

from pathlib import Path
from typing import Any, cast

import pytest

import duro
from duro.errors import StoreLockedError
from duro.model.status import InstanceStatus
from duro.testing import check_invariants
from tests.support import workload
from tests.support.simulation import InlineExecutor, Renew, Step, registry, simulated


@registry.orchestration
async def gives_up(ctx: duro.OrchestrationContext, goes_on: bool) -> str:
    """Ends, or goes on to its next execution or to a further wait, without the activity that it began."""
    index, _ = await ctx.select(ctx.schedule_activity(workload.add_one, 1), ctx.wait_for_event("enough"))
    assert index == 1
    if goes_on:
        await ctx.wait_for_event("more")
    return "ended"


@pytest.mark.parametrize("goes_on", [False, True])
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_a_result_of_an_activity_that_its_turn_cancelled_does_not_disturb_the_worker(
    kind: Any, goes_on: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with simulated(tmp_path, kind, cache_size=1000) as simulation:
        worker, store = simulation.workers[0], simulation.stores[0]
        simulation.client.start_orchestration("gives_up", goes_on, instance_id="a")
        simulation.make(Step(0))
        simulation.make(Step(0))
        assert worker.activities_in_hand == 1
        simulation.client.raise_event("a", "enough")
        simulation.make(Step(0))
        with monkeypatch.context() as trouble:
            trouble.setattr(store, "commit", _locked)
            simulation.make(Step(0))
        cast(InlineExecutor, worker._holdings.executor).run_all()
        for _ in range(3):
            simulation.make(Step(0))
        if goes_on:
            simulation.client.raise_event("a", "more")
        for _ in range(5):
            simulation.make(Renew(0))
            simulation.make(Step(0))
        assert worker.counters.worker_resets == 0
        assert simulation.client.get_instance("a").status is InstanceStatus.COMPLETED
        check_invariants(simulation.dump())


def _locked(_: Any) -> Any:
    raise StoreLockedError("the store is locked")
