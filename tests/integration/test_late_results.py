"""Results that arrive while a commit has to be tried again."""

from pathlib import Path
from typing import Any, cast

import pytest

import duro
from duro.errors import CommitUnknownError, StoreLockedError
from duro.host.attempts import timed_out
from duro.host.scheduler import FINISHED
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


@registry.orchestration
async def waits_first(ctx: duro.OrchestrationContext) -> int:
    """Has a turn while its activity runs, and goes on to await it."""
    activity = ctx.schedule_activity(workload.add_one, 1, retry=duro.RetryPolicy(max_attempts=2, delay_s=0.1))
    await ctx.wait_for_event("go")
    return await activity


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_a_result_that_comes_before_the_lease_ends_with_a_commit_that_was_tried_again_is_not_lost(
    kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attempt was leased while its instance was not, so nothing keeps the lease of the instance for it."""
    with simulated(tmp_path, kind, cache_size=1000) as simulation:
        worker, store = simulation.workers[0], simulation.stores[0]
        simulation.client.start_orchestration("waits_first", instance_id="a")
        simulation.make(Step(0))
        simulation.make(Step(0))
        (first,) = worker._holdings.in_hand.values()
        worker._holdings.executor.cancel(first.key)
        worker.report([timed_out(first, in_total=False)])
        for _ in range(3):
            simulation.make(Step(0))
            simulation.clock.advance(200)
        assert (worker.activities_in_hand, len(worker._holdings.held)) == (1, 0)
        simulation.client.raise_event("a", "go")
        simulation.make(Step(0))
        with monkeypatch.context() as trouble:
            trouble.setattr(store, "commit", _locked)
            simulation.make(Step(0))
        cast(InlineExecutor, worker._holdings.executor).run_all()
        for _ in range(8):
            simulation.make(Renew(0))
            simulation.make(Step(0))
        assert simulation.client.get_instance("a").status is InstanceStatus.COMPLETED
        check_invariants(simulation.dump())


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


@registry.orchestration
async def goes_on_beside(ctx: duro.OrchestrationContext, ends: str) -> int:
    """Its second turn schedules an activity, goes on to its next execution or ends, while its first one runs."""
    retry = duro.RetryPolicy(max_attempts=2, delay_s=0.1)
    activity = ctx.schedule_activity(workload.add_one, 1, retry=retry)
    await ctx.schedule_activity(workload.add_one, 10)
    if ends == "continues":
        await ctx.continue_as_new("")
    if ends == "completes":
        return 11
    return await ctx.schedule_activity(workload.add_one, 100) + await activity


@pytest.mark.parametrize("ends", ["", "continues", "completes"])
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_what_a_turn_claimed_is_not_lost_with_an_attempt_that_fails_before_its_commit_is_tried_again(
    kind: Any, ends: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of the instance was in hand then but the uncommitted turn itself, and its lease was given back."""
    with simulated(tmp_path, kind, cache_size=1000) as simulation:
        worker, store = simulation.workers[0], simulation.stores[0]
        ended: list[str] = []
        simulation.client.start_orchestration("goes_on_beside", ends, instance_id="a")
        simulation.make(Step(0))
        simulation.make(Step(0))
        executor = cast(InlineExecutor, worker._holdings.executor)
        first, second = worker._holdings.in_hand.values()
        executor.cancel(first.key)
        executor.run_all()
        assert second.key != first.key
        with monkeypatch.context() as trouble:
            trouble.setattr(store, "commit", _locked)
            simulation.make(Step(0))
            worker.report([timed_out(first, in_total=False)])
            simulation.make(Step(0))
        notifier = worker._settlement._notifier
        monkeypatch.setattr(notifier, "ended", lambda ends: ended.extend(each.instance_id for each in ends))
        monkeypatch.setattr(type(notifier), "has_watchers", True)
        for _ in range(12):
            simulation.make(Renew(0))
            simulation.make(Step(0))
            executor.run_all()
            simulation.clock.advance(50)
        assert simulation.client.get_result("a") is not None
        assert ended == ["a"]
        assert (worker.activities_in_hand, len(worker._holdings.held)) == (0, 0)
        check_invariants(simulation.dump())


@registry.orchestration
async def one_activity(ctx: duro.OrchestrationContext) -> int:
    return await ctx.schedule_activity(workload.add_one, 1)


@registry.orchestration
async def begins_another(ctx: duro.OrchestrationContext) -> int:
    """An activity that waits for its next attempt; then another one, between two events."""
    ctx.schedule_activity(workload.add_one, 1, retry=duro.RetryPolicy(max_attempts=5, delay_s=3000.0))
    await ctx.wait_for_event("first")
    activity = ctx.schedule_activity(workload.add_one, 10)
    await ctx.wait_for_event("second")
    return await activity


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_a_lease_that_was_to_be_given_back_and_was_taken_up_again_is_kept(
    kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The release was still owed, and gave the lease away from under the turns that came; then a result was lost with
    the lease after it."""
    with simulated(tmp_path, kind, cache_size=1000) as simulation:
        worker, store, client = simulation.workers[0], simulation.stores[0], simulation.client
        executor = cast(InlineExecutor, worker._holdings.executor)
        client.start_orchestration("begins_another", instance_id="a")
        client.start_orchestration("remembers", 0, instance_id="other")
        simulation.make(Step(0))
        simulation.make(Step(0))

        def commit_in_vain() -> None:
            client.raise_event("other", "item")
            simulation.make(Step(0))
            with monkeypatch.context() as trouble:
                trouble.setattr(store, "commit", _locked)
                simulation.make(Step(0))

        def settle() -> None:
            simulation.clock.advance(200)
            for move in (Renew(0), Renew(1), Step(0)):
                simulation.make(move)

        commit_in_vain()
        (first,) = worker._holdings.in_hand.values()
        executor.cancel(first.key)
        worker.report([timed_out(first, in_total=False)])
        client.raise_event("a", "first")
        settle()
        settle()
        assert client.get_instance("a").lease_worker_id == worker.worker_id
        commit_in_vain()
        executor.run_all()
        client.raise_event("a", "second")
        for _ in range(10):
            settle()
        assert client.get_instance("a").status is InstanceStatus.COMPLETED
        assert worker.counters.turns_fenced == 0
        check_invariants(simulation.dump())


@pytest.mark.parametrize("how", ["event", "cancel"])
@pytest.mark.parametrize("which", ["lease", "commit"])
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_what_an_unknown_transaction_leased_for_an_instance_that_was_held_is_looked_for_again(
    kind: Any, which: str, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store had handed it out, and the worker never saw it: it came when the activity ended, or never."""
    with simulated(tmp_path, kind, cache_size=1000) as simulation:
        worker, store = simulation.workers[0], simulation.stores[0]
        simulation.client.start_orchestration("waits_first", instance_id="a")
        simulation.make(Step(0))
        simulation.make(Step(0))
        assert (worker.activities_in_hand, len(worker._holdings.held)) == (1, 1)
        if which == "commit":
            simulation.client.start_orchestration("ends_at_once", instance_id="other")
            simulation.make(Step(0))
        if how == "event":
            simulation.client.raise_event("a", "go")
        else:
            simulation.client.cancel("a", "enough")
        real = getattr(store, which)

        def happens(*arguments: Any) -> None:
            real(*arguments)
            raise CommitUnknownError("the disk does not answer")

        with monkeypatch.context() as trouble:
            trouble.setattr(store, which, happens)
            simulation.make(Step(0))
        assert worker.counters.commits_unknown == 0
        turn = simulation.client.get_instance("a").turn_sequence
        for _ in range(6):
            simulation.make(Renew(0))
            simulation.make(Step(0))
        assert worker.counters.commits_unknown == 1
        assert simulation.client.get_instance("a").turn_sequence == turn + 1
        if how == "cancel":
            assert worker.activities_in_hand == 0
            assert simulation.client.get_instance("a").status is InstanceStatus.CANCELLED
        cast(InlineExecutor, worker._holdings.executor).run_all()
        for _ in range(6):
            simulation.make(Step(0))
        ended = InstanceStatus.COMPLETED if how == "event" else InstanceStatus.CANCELLED
        assert simulation.client.get_instance("a").status is ended
        check_invariants(simulation.dump())


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_a_worker_that_stops_before_a_turn_came_to_a_result_gives_the_result_to_the_store(
    kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with simulated(tmp_path, kind, cache_size=1000) as simulation:
        worker = simulation.workers[0]
        simulation.client.start_orchestration("one_activity", instance_id="a")
        simulation.make(Step(0))
        simulation.make(Step(0))
        cast(InlineExecutor, worker._holdings.executor).run_all()
        worker.begin_stop(0.0)
        simulation.clock.advance(10)
        monkeypatch.setattr(worker, "_run_turns", list)  # of a cycle whose time for turns is over
        while worker.step() != FINISHED:
            pass
        assert simulation.dump()["activities"] == []
        simulation.make(Step(1))
        simulation.make(Step(1))
        assert simulation.client.get_instance("a").status is InstanceStatus.COMPLETED
        check_invariants(simulation.dump())


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_an_instance_that_was_terminated_while_its_activity_ran_is_forgotten(kind: Any, tmp_path: Path) -> None:
    with simulated(tmp_path, kind, cache_size=1000) as simulation:
        worker = simulation.workers[0]
        simulation.client.start_orchestration("one_activity", instance_id="a")
        simulation.make(Step(0))
        simulation.make(Step(0))
        assert (worker.activities_in_hand, len(worker._holdings.held)) == (1, 1)
        simulation.client.terminate("a", "enough")
        for _ in range(4):
            simulation.clock.advance(1_000)
            simulation.make(Renew(0))
            simulation.make(Step(0))
        assert (worker.activities_in_hand, len(worker._holdings.held)) == (0, 0)
        assert worker.counters.worker_resets == 0
        check_invariants(simulation.dump())
