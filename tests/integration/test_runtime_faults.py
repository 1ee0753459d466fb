"""What one bad function, one slow turn or a store in trouble must not do to everything else."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import duro
from duro.errors import CommitUnknownError, StoreFullError, StoreLockedError
from duro.model.turns import CommitBatch, CommitResult, LeaseRequest, LeaseResult, TurnOutcome
from duro.stores.base import Store
from tests.integration.conftest import MakeRuntime

WAIT_S = 20.0

runs: dict[str, int] = {}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    runs.clear()
    monkeypatch.setattr("duro.host.worker._RETRY_STORE_S", 0.005)
    monkeypatch.setattr("duro.host.worker._RETRY_STORE_MAX_S", 0.02)
    monkeypatch.setattr("duro.host.activities._CLOSE_S", 0.2)


async def count(ctx: duro.ActivityContext) -> str:
    runs[ctx.idempotency_key] = runs.get(ctx.idempotency_key, 0) + 1
    return "counted"


async def counts(ctx: duro.OrchestrationContext) -> str:
    return await ctx.schedule_activity(count)


def registry_of(*functions: Callable[..., Any], activities: tuple[Callable[..., Any], ...] = ()) -> duro.Registry:
    registry = duro.Registry()
    for activity in (count, *activities):
        registry.activity(activity)
    for function in (counts, *functions):
        registry.orchestration(function)
    return registry


def assert_it_still_works(runtime: duro.Runtime) -> None:
    started = runtime.client.start_orchestration("counts")
    assert runtime.client.wait_for_orchestration(started, WAIT_S).output == "counted"


class Trouble:
    """A store whose commits and leases fail while ``on``, in one of three ways."""

    def __init__(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        self.on = threading.Event()
        self.failures = 0
        self.how = "unknown, not done"
        self._commit, self._lease = store.commit, store.lease
        monkeypatch.setattr(store, "commit", self.commit)
        monkeypatch.setattr(store, "lease", self.lease)

    def commit(self, batch: CommitBatch) -> CommitResult:
        if not self.on.is_set():
            return self._commit(batch)
        self.failures += 1
        if self.how == "unknown, done":
            self._commit(batch)
        raise self._error()

    def lease(self, worker_id: str, request: LeaseRequest) -> LeaseResult:
        if not self.on.is_set():
            return self._lease(worker_id, request)
        self.failures += 1
        if self.how == "unknown, done":
            self._lease(worker_id, request)
        raise self._error()

    def _error(self) -> duro.StoreError:
        if self.how.startswith("unknown"):
            return CommitUnknownError("planted")
        return StoreFullError("planted") if self.how == "full" else StoreLockedError("planted")


@pytest.mark.parametrize("how", ["unknown, not done", "unknown, done", "full", "locked"])
def test_a_store_in_trouble_runs_nothing_twice_and_makes_no_poison(
    make_runtime: MakeRuntime, store: Store, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """However long it lasts: dozens of failures are many more than the attempts before an instance is set aside."""
    trouble = Trouble(store, monkeypatch)
    trouble.how = how
    runtime = make_runtime(registry_of())
    assert_it_still_works(runtime)
    trouble.on.set()
    started = runtime.client.start_orchestrations([duro.Start(orchestration="counts") for _ in range(20)])
    while trouble.failures < 40:
        time.sleep(0.005)
    trouble.on.clear()
    for each in started:
        assert runtime.client.wait_for_orchestration(each, WAIT_S).output == "counted"
    assert_it_still_works(runtime)
    assert set(runs.values()) == {1}
    assert runtime.counters.worker_resets == 0


def test_activities_of_a_commit_that_waits_for_the_store_are_not_taken_for_cancelled(
    make_runtime: MakeRuntime, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    trouble = Trouble(store, monkeypatch)
    trouble.how = "locked"
    options = duro.RuntimeOptions(cancel_check_s=0.001, poll_interval_s=0.001)
    runtime = make_runtime(registry_of(), options)
    client = duro.Client(store)
    for _ in range(5):
        started = client.start_orchestration("counts")
        trouble.on.set()
        failures = trouble.failures
        while trouble.failures < failures + 3:
            client.start_orchestration("nobody has it", allow_unregistered=True)  # so that there is something to check
        trouble.on.clear()
        assert runtime.client.wait_for_orchestration(started, WAIT_S).output == "counted"
    assert runtime.counters.worker_resets == 0
    assert set(runs.values()) == {1}


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_whatever_an_orchestration_raises_ends_only_itself(
    make_runtime: MakeRuntime, error: type[BaseException]
) -> None:
    async def raises(ctx: duro.OrchestrationContext) -> None:
        raise error

    runtime = make_runtime(registry_of(raises))
    started = runtime.client.start_orchestration("raises")
    result = runtime.client.wait_for_orchestration(started, WAIT_S)
    assert result.failure is not None
    assert (result.status, result.failure.type) == ("failed", error.__name__)
    assert_it_still_works(runtime)


def test_a_finally_that_raises_while_it_is_dropped_ends_nothing(make_runtime: MakeRuntime) -> None:
    async def drops(ctx: duro.OrchestrationContext) -> None:
        try:
            await ctx.wait_for_event("go")
            await ctx.continue_as_new()
        finally:
            raise KeyboardInterrupt

    runtime = make_runtime(registry_of(drops), duro.RuntimeOptions(cache_size=0))
    runtime.client.start_orchestration("drops", instance_id="drops")
    runtime.client.raise_event("drops", "go")
    while runtime.client.get_instance("drops").execution_id < 2:
        time.sleep(0.005)
    assert_it_still_works(runtime)


def test_an_activity_that_ends_the_event_loop_ends_it_for_nobody_else(make_runtime: MakeRuntime) -> None:
    async def stops_the_loop(ctx: duro.ActivityContext) -> str:
        asyncio.get_running_loop().stop()
        return "stopped"

    async def exits_in_a_task(ctx: duro.ActivityContext) -> str:
        async def leave() -> None:
            sys.exit(3)

        task = asyncio.create_task(leave())
        try:
            await task
        except SystemExit:
            return "exited"
        return "went on"

    async def both(ctx: duro.OrchestrationContext) -> list[Any]:
        return [await ctx.schedule_activity(stops_the_loop), await ctx.schedule_activity(exits_in_a_task)]

    runtime = make_runtime(registry_of(both, activities=(stops_the_loop, exits_in_a_task)))
    started = runtime.client.start_orchestration("both")
    assert runtime.client.wait_for_orchestration(started, WAIT_S).output == ["stopped", "exited"]
    assert_it_still_works(runtime)


def test_an_activity_that_swallows_its_cancellation_keeps_nobody_from_stopping(store: Store) -> None:
    begun = threading.Event()
    enough = threading.Event()

    async def stubborn(ctx: duro.ActivityContext) -> None:
        begun.set()
        while not enough.is_set():
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue

    async def waits(ctx: duro.OrchestrationContext) -> None:
        await ctx.schedule_activity(stubborn)

    runtime = duro.Runtime(store, registry_of(waits, activities=(stubborn,)))
    runtime.start()
    runtime.client.start_orchestration("waits")
    assert begun.wait(WAIT_S)
    stopping = threading.Thread(target=runtime.stop, args=(0.05,), daemon=True)
    stopping.start()
    stopping.join(WAIT_S)
    enough.set()
    assert not stopping.is_alive()


def test_the_time_of_a_plain_attempt_begins_when_a_thread_takes_it(make_runtime: MakeRuntime) -> None:
    def naps(ctx: duro.ActivityContext) -> None:
        time.sleep(0.1)

    async def many(ctx: duro.OrchestrationContext) -> int:
        return len(await ctx.join(*[ctx.schedule_activity(naps, timeout=0.5) for _ in range(20)]))

    runtime = make_runtime(registry_of(many, activities=(naps,)), duro.RuntimeOptions(max_activity_threads=2))
    started = runtime.client.start_orchestration("many")
    assert runtime.client.wait_for_orchestration(started, WAIT_S).output == 20


def test_an_attempt_that_swallows_its_time_out_has_timed_out_all_the_same(make_runtime: MakeRuntime) -> None:
    async def swallows(ctx: duro.ActivityContext) -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return "too late"
        return "done"

    async def waits(ctx: duro.OrchestrationContext) -> Any:
        return await ctx.schedule_activity(swallows, timeout=0.02)

    runtime = make_runtime(registry_of(waits, activities=(swallows,)))
    started = runtime.client.start_orchestration("waits")
    failure = runtime.client.wait_for_orchestration(started, WAIT_S).failure
    assert failure is not None
    assert failure.cause is not None
    assert failure.cause.type == "ActivityTimeout"


def test_more_replays_than_fit_into_a_lease_still_come_to_their_end(store: Store) -> None:
    """Two workers that lose their leases to each other over and over would make poison of everything."""

    async def long(ctx: duro.OrchestrationContext) -> int:
        for _ in range(120):
            await ctx.schedule_activity(count)
        await ctx.wait_for_event("go")
        return ctx.history_event_count

    registry = registry_of(long)
    first = duro.Runtime(store, registry)
    first.start()
    started = first.client.start_orchestrations([duro.Start(orchestration="long") for _ in range(40)])
    while any(first.client.get_instance(each).event_count < 242 for each in started):
        time.sleep(0.01)
    first.stop()
    options = duro.RuntimeOptions(lease_s=0.25, poll_interval_s=0.005)
    workers = [duro.Runtime(store, registry, options) for _ in range(2)]
    for worker in workers:
        worker.start()
    for each in started:
        workers[0].client.raise_event(each, "go")
    for each in started:
        assert workers[0].client.wait_for_orchestration(each, WAIT_S).output == 243
    for worker in workers:
        worker.stop()


def test_a_slow_turn_costs_no_lease(store: Store) -> None:
    async def slow(ctx: duro.OrchestrationContext) -> str:
        time.sleep(0.8)
        return "slow"

    options = duro.RuntimeOptions(lease_s=0.3, poll_interval_s=0.005)
    workers = [duro.Runtime(store, registry_of(slow), options) for _ in range(2)]
    for worker in workers:
        worker.start()
    started = workers[0].client.start_orchestration("slow")
    assert workers[0].client.wait_for_orchestration(started, WAIT_S).output == "slow"
    assert sum(worker.counters.worker_resets for worker in workers) == 0
    for worker in workers:
        worker.stop()


def test_a_turn_that_hangs_loses_its_lease(store: Store) -> None:
    """Otherwise its instance would be held for ever by a worker that does nothing."""
    release = threading.Event()
    turns: list[int] = []

    async def hangs_once(ctx: duro.OrchestrationContext) -> str:
        turns.append(1)
        if len(turns) == 1:
            release.wait(WAIT_S)
        return "done"

    options = duro.RuntimeOptions(lease_s=0.3, poll_interval_s=0.005, turn_timeout_s=0.2)
    workers = [duro.Runtime(store, registry_of(hangs_once), options) for _ in range(2)]
    for worker in workers:
        worker.start()
    started = workers[0].client.start_orchestration("hangs_once")
    assert workers[0].client.wait_for_orchestration(started, WAIT_S).output == "done"
    release.set()
    for worker in workers:
        worker.stop()
    assert len(turns) == 2


def test_a_turn_that_hangs_is_named_and_keeps_nobody_from_stopping(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing said why nothing else ran on the worker, and its stop waited for the turn, for ever."""
    begun, release, turns = threading.Event(), threading.Event(), list[int]()

    async def hangs_once(ctx: duro.OrchestrationContext) -> int:
        turns.append(len(turns))
        begun.set()
        if turns == [0]:
            release.wait(WAIT_S)
        return turns[-1]

    options = duro.RuntimeOptions(lease_s=0.6, poll_interval_s=0.005, turn_timeout_s=0.2)
    stopped = duro.Runtime(store, registry_of(hangs_once), options)
    before = set(threading.enumerate())
    stopped.start()
    started = stopped.client.start_orchestration("hangs_once", instance_id="a")
    assert begun.wait(WAIT_S)
    (loop,) = [thread for thread in set(threading.enumerate()) - before if thread.name == "duro-worker"]
    stopped.stop(drain_s=0.1)
    assert "a turn of instance 'a' has not ended in 0.2 s" in caplog.text
    assert "stopping though a turn of instance 'a' does not end" in caplog.text
    release.set()
    loop.join(WAIT_S)
    assert not loop.is_alive()
    with duro.Runtime(store, registry_of(hangs_once), options) as other:
        assert other.client.wait_for_orchestration(started, WAIT_S).output == 1, "what hung was not committed"


@pytest.mark.parametrize("cache_size", [0, 1000])
def test_code_that_hangs_while_its_coroutine_is_given_up_keeps_nobody_from_stopping(
    store: Store, cache_size: int, caplog: pytest.LogCaptureFixture
) -> None:
    release, runs = threading.Event(), threading.Event()

    async def hangs_at_last(ctx: duro.OrchestrationContext) -> str:
        try:
            runs.set()
            return str(await ctx.wait_for_event("go"))
        finally:
            release.wait(WAIT_S)

    options = duro.RuntimeOptions(lease_s=0.6, poll_interval_s=0.005, turn_timeout_s=0.2, cache_size=cache_size)
    runtime = duro.Runtime(store, registry_of(hangs_at_last), options)
    before = set(threading.enumerate())
    runtime.start()
    started = runtime.client.start_orchestration("hangs_at_last", instance_id="a")
    assert runs.wait(WAIT_S)
    (loop,) = [thread for thread in set(threading.enumerate()) - before if thread.name == "duro-worker"]
    runtime.stop(drain_s=0.1)
    assert "stopping though a turn of instance 'a' does not end" in caplog.text
    release.set()
    loop.join(WAIT_S)
    with duro.Runtime(store, registry_of(hangs_at_last), options) as other:
        other.client.raise_event(started, "go", "on")
        assert other.client.wait_for_orchestration(started, WAIT_S).output == "on"


def test_results_that_do_not_fit_their_annotation_are_failures_where_they_are_made(
    make_runtime: MakeRuntime,
) -> None:
    async def wrong_activity(ctx: duro.ActivityContext) -> int:
        return "text"  # type: ignore[return-value]

    async def wrong(ctx: duro.OrchestrationContext) -> int:
        return "text"  # type: ignore[return-value]

    async def catches(ctx: duro.OrchestrationContext) -> str:
        try:
            await ctx.schedule_activity(wrong_activity)
        except duro.ActivityFailedError as error:
            return error.failure.type
        return "no failure"

    runtime = make_runtime(registry_of(wrong, catches, activities=(wrong_activity,)))
    caught = runtime.client.start_orchestration("catches")
    assert runtime.client.wait_for_orchestration(caught, WAIT_S).output == "InvalidResult"
    started = runtime.client.start_orchestration("wrong")
    failure = runtime.client.wait_for_orchestration(started, WAIT_S).failure
    assert failure is not None
    assert failure.type == "InvalidResult"
    assert "Expected `int`, got `str`" in failure.message


def test_a_start_repeated_under_its_request_id_starts_once(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime(registry_of())
    first = runtime.client.start_orchestration("counts", request_id="r")
    assert runtime.client.start_orchestration("counts", request_id="r") == first
    assert runtime.client.start_orchestration("counts", request_id="s") != first
    assert len(runtime.client.list_instances().instances) == 2
    for instance in runtime.client.list_instances().instances:
        runtime.client.wait_for_orchestration(instance.instance_id, WAIT_S)


def test_an_activity_nobody_has_is_said_once(make_runtime: MakeRuntime, caplog: pytest.LogCaptureFixture) -> None:
    async def asks(ctx: duro.OrchestrationContext) -> None:
        ctx.schedule_activity("nope")
        ctx.schedule_activity("nope")
        ctx.set_custom_status("asked")
        await ctx.wait_for_event("go")

    runtime = make_runtime(registry_of(asks))
    runtime.client.start_orchestration("asks", instance_id="asker")
    while runtime.client.get_instance("asker").custom_status is None:
        time.sleep(0.005)
    said = [record.getMessage() for record in caplog.records if "nope" in record.getMessage()]
    assert len(said) == 1
    assert "instance 'asker' asks for activity 'nope', which is not registered here" in said[0]


async def ten_times(ctx: duro.OrchestrationContext, left: int) -> int:
    await ctx.schedule_activity(count)
    if left:
        await ctx.continue_as_new(left - 1)
    return ctx.execution_id


def test_an_eternal_loop_costs_one_transaction_an_execution(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime(registry_of(ten_times), duro.RuntimeOptions())
    before = runtime.counters.commits
    started = runtime.client.start_orchestration("ten_times", 100)
    assert runtime.client.wait_for_orchestration(started, WAIT_S).output == 101
    assert runtime.counters.turns_committed == 202
    assert 102 <= runtime.counters.commits - before <= 110
    assert set(runs.values()) == {1}


class SecondOfPair:
    """A store that, every other time, writes the first turn of a pair and not the second."""

    def __init__(self, store: Store) -> None:
        self._commit = store.commit
        self.pairs = 0

    def commit(self, batch: CommitBatch) -> CommitResult:
        turns = batch.turns
        if len(turns) != 2 or turns[0].incarnation != turns[1].incarnation:
            return self._commit(batch)
        self.pairs += 1
        if self.pairs % 2:
            return self._commit(batch)
        batch.turns = turns[:1]
        result = self._commit(batch)
        batch.turns = turns
        result.turns.append(TurnOutcome.REJECTED)
        return result


def test_a_next_execution_whose_first_turn_is_rejected_begins_again(
    make_runtime: MakeRuntime, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("duro.host.settling.FAILED_TURN_DELAY_S", 0.005)
    faulty = SecondOfPair(store)
    monkeypatch.setattr(store, "commit", faulty.commit)
    runtime = make_runtime(registry_of(ten_times))
    started = runtime.client.start_orchestration("ten_times", 10)
    assert runtime.client.wait_for_orchestration(started, WAIT_S).output == 11
    assert faulty.pairs >= 10
    assert set(runs.values()) == {1}
    assert len(runs) == 11


NEVER_STOPS = """
import duro

registry = duro.Registry()
log = []

@registry.orchestration
async def never_stops(ctx: duro.OrchestrationContext) -> None:
    while True:
        try:
            await ctx.wait_for_event("never")
        except BaseException:
            log.append("swallowed")

with duro.Runtime("memory:", registry) as runtime:
    runtime.client.start_orchestration(never_stops, instance_id="i")
    while runtime.client.get_instance("i").status == "pending":
        pass
"""


def test_code_that_swallows_everything_for_ever_does_not_keep_its_process_from_ending() -> None:
    done = subprocess.run([sys.executable, "-c", NEVER_STOPS], capture_output=True, text=True, timeout=WAIT_S)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
