"""The host: several workers, lost leases, wrong code, failing commits, shutdown."""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

import duro
from duro.codec import decode_event
from duro.errors import CommitUnknownError, StoreLockedError
from duro.model.status import BlockedKind
from duro.model.turns import CommitBatch, CommitResult
from duro.stores.base import Store
from tests.integration.conftest import MakeRuntime

WAIT_S = 20.0


def registry_with(
    orchestration: Callable[..., Any], *activities: Callable[..., Any], version: str = "1.0.0"
) -> duro.Registry:
    registry = duro.Registry()
    for activity in activities:
        registry.activity(activity)
    registry.orchestration(name="work", version=version)(orchestration)
    return registry


async def add_one(ctx: duro.ActivityContext, number: int) -> int:
    return number + 1


async def chain(ctx: duro.OrchestrationContext, steps: int) -> int:
    number = 0
    for _ in range(steps):
        number = await ctx.schedule_activity("add_one", number)
    return number


def test_two_runtimes_on_one_store_share_the_work(make_runtime: MakeRuntime) -> None:
    registry = registry_with(chain, add_one)
    first, second = make_runtime(registry), make_runtime(registry)
    starts = [duro.Start(orchestration="work", input=5) for _ in range(200)]
    for started in first.client.start_orchestrations(starts):
        assert first.client.wait_for_orchestration(started, WAIT_S).output == 5
    deadline_s = time.monotonic() + WAIT_S  # clients see a commit before its worker has counted its turns
    while first.counters.turns_committed + second.counters.turns_committed < 200 * 6:
        assert time.monotonic() < deadline_s
    assert first.counters.turns_committed + second.counters.turns_committed == 200 * 6
    assert first.counters.turns_fenced + second.counters.turns_fenced == 0


def test_work_given_back_by_a_stopped_runtime_is_finished_by_another(make_runtime: MakeRuntime, store: Store) -> None:
    waiting = threading.Event()
    release = threading.Event()

    def hold(ctx: duro.ActivityContext) -> str:
        waiting.set()
        release.wait(WAIT_S)
        return "held"

    async def holds(ctx: duro.OrchestrationContext) -> str:
        return await ctx.schedule_activity(hold)

    registry = registry_with(holds, hold)
    stopped = duro.Runtime(store, registry, duro.RuntimeOptions(lease_s=60.0))
    stopped.start()
    started = stopped.client.start_orchestration("work")
    assert waiting.wait(WAIT_S)
    stopped.stop(drain_s=0.0)
    assert store.list_workers() == ()
    assert store.get_instance(started) is not None
    release.set()
    assert make_runtime(registry).client.wait_for_orchestration(started, WAIT_S).output == "held"


def test_a_stop_waits_for_running_activities_and_commits_their_results(store: Store) -> None:
    begun = threading.Event()

    async def slow(ctx: duro.ActivityContext) -> str:
        begun.set()
        await asyncio.sleep(0.2)
        return "done"

    async def waits(ctx: duro.OrchestrationContext) -> str:
        return await ctx.schedule_activity(slow)

    runtime = duro.Runtime(store, registry_with(waits, slow))
    runtime.start()
    started = runtime.client.start_orchestration("work")
    assert begun.wait(WAIT_S)
    runtime.stop(drain_s=WAIT_S)
    record = store.get_instance(started)
    assert record is not None
    assert record.status == "completed"


def test_a_worker_that_lost_its_lease_begins_anew_and_the_work_is_finished(
    make_runtime: MakeRuntime, store: Store
) -> None:
    runtime = make_runtime(registry_with(chain, add_one), duro.RuntimeOptions(lease_s=0.3, poll_interval_s=0.005))
    lost = runtime.worker_id
    started = runtime.client.start_orchestration("work", 200)
    store.release_worker(lost)
    assert runtime.client.wait_for_orchestration(started, WAIT_S).output == 200
    while runtime.worker_id == lost:
        threading.Event().wait(0.01)
    again = runtime.client.start_orchestration("work", 3)
    assert runtime.client.wait_for_orchestration(again, WAIT_S).output == 3


def test_changed_code_blocks_an_instance_and_the_right_code_finishes_it(
    make_runtime: MakeRuntime, store: Store, options: duro.RuntimeOptions
) -> None:
    async def right(ctx: duro.OrchestrationContext) -> str:
        await ctx.schedule_activity(add_one, 1)
        return str(await ctx.wait_for_event("go"))

    async def wrong(ctx: duro.OrchestrationContext) -> str:
        await ctx.schedule_timer(5)
        return "wrong"

    first = duro.Runtime(store, registry_with(right, add_one), options)
    first.start()
    started = first.client.start_orchestration("work")
    while first.client.get_instance(started).event_count < 4:
        threading.Event().wait(0.005)
    first.stop()
    client = duro.Client(store)
    client.raise_event(started, "go", "on")

    second = duro.Runtime(store, registry_with(wrong, add_one), options)
    second.start()
    while (record := client.get_instance(started)).blocked is None:
        threading.Event().wait(0.005)
    assert record.blocked is BlockedKind.NONDETERMINISM
    assert record.blocked_reason is not None
    assert "history recorded ActivityScheduled 'add_one'" in record.blocked_reason
    assert "TimerCreated" in record.blocked_reason
    assert record.attempt_count <= 1
    assert [each.instance_id for each in client.list_instances(duro.InstanceFilter(blocked=True)).instances] == [
        started
    ]
    second.stop()

    make_runtime(registry_with(right, add_one))
    result = client.wait_for_orchestration(started, WAIT_S)
    assert (result.status, result.output) == ("completed", "on")
    assert client.get_instance(started).blocked is None


def test_an_unregistered_name_waits_and_stops_nobody(make_runtime: MakeRuntime, store: Store) -> None:
    runtime = make_runtime(registry_with(chain, add_one))
    client = duro.Client(store)
    waiting = client.start_orchestration("nobody has this", allow_unregistered=True)
    with pytest.raises(duro.UnknownOrchestrationError, match="nobody has this"):
        client.start_orchestration("nobody has this")
    started = runtime.client.start_orchestration("work", 2)
    assert client.wait_for_orchestration(started, WAIT_S).output == 2
    assert client.get_instance(waiting).status == "pending"
    assert client.get_instance(waiting).attempt_count == 0


def test_a_signal_to_an_unknown_instance_is_refused_and_blocks_nobody(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime(registry_with(chain, add_one))
    with pytest.raises(duro.InstanceNotFoundError, match="nobody"):
        runtime.client.raise_event("nobody", "event")
    with pytest.raises(duro.InstanceNotFoundError, match="nobody"):
        runtime.client.cancel("nobody")
    started = runtime.client.start_orchestration("work", 2)
    assert runtime.client.wait_for_orchestration(started, WAIT_S).output == 2


def test_versions_run_side_by_side_and_continue_as_new_takes_the_newest(
    make_runtime: MakeRuntime, store: Store
) -> None:
    async def old(ctx: duro.OrchestrationContext, seen: list[str]) -> list[str]:
        seen.append(ctx.version)
        await ctx.wait_for_event("go")
        await ctx.continue_as_new(seen)
        return seen

    async def new(ctx: duro.OrchestrationContext, seen: list[str]) -> list[str]:
        seen.append(ctx.version)
        if len(seen) < 3:
            await ctx.continue_as_new(seen, version="1.0.0")
        return seen

    runtime = duro.Runtime(store, registry_with(old))
    runtime.start()
    started = runtime.client.start_orchestration("work", [])
    while runtime.client.get_instance(started).status == "pending":
        threading.Event().wait(0.005)
    runtime.stop()
    both = registry_with(old)
    both.orchestration(name="work", version="1.10.0")(new)
    runtime = make_runtime(both)
    assert runtime.client.get_instance(started).version == "1.0.0"
    runtime.client.raise_event(started, "go")
    while runtime.client.get_instance(started).execution_id < 3:
        threading.Event().wait(0.005)
    runtime.client.raise_event(started, "go")
    result = runtime.client.wait_for_orchestration(started, WAIT_S)
    assert result.output == ["1.0.0", "1.10.0", "1.0.0", "1.10.0"]
    versions = [each.version for each in runtime.client.list_executions(started).executions]
    assert versions == ["1.10.0", "1.0.0", "1.10.0", "1.0.0"]
    fresh = runtime.client.start_orchestration("work", ["a", "b"])
    assert runtime.client.wait_for_orchestration(fresh, WAIT_S).output == ["a", "b", "1.10.0"]
    asked = runtime.client.start_orchestration("work", [], version="1.0.0")
    while runtime.client.get_instance(asked).version == "":
        threading.Event().wait(0.005)
    assert runtime.client.get_instance(asked).version == "1.0.0"


class _Faulty:
    """Every so many commits: the store refuses one, loses the answer of one, or never hears of one."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._commit = store.commit
        self.count = 0
        self.faults = 0

    def commit(self, batch: CommitBatch) -> CommitResult:
        self.count += 1
        if not batch.turns:
            return self._commit(batch)
        match self.count % 20:
            case 5:
                self.faults += 1
                raise StoreLockedError("planted: locked")
            case 10:
                self.faults += 1
                self._commit(batch)
                raise CommitUnknownError("planted: the answer is lost")
            case 15:
                self.faults += 1
                raise CommitUnknownError("planted: nothing happened")
        return self._commit(batch)


def test_commits_that_fail_or_whose_answer_is_lost_lose_nothing_and_repeat_nothing(
    make_runtime: MakeRuntime, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def continues(ctx: duro.OrchestrationContext, left: int) -> int:
        await ctx.schedule_activity(add_one, left)
        if left:
            await ctx.continue_as_new(left - 1)
        return ctx.execution_id

    faulty = _Faulty(store)
    monkeypatch.setattr(store, "commit", faulty.commit)
    monkeypatch.setattr("duro.host.worker._RETRY_STORE_S", 0.001)
    runtime = make_runtime(registry_with(continues, add_one))
    started = runtime.client.start_orchestration("work", 40)
    assert runtime.client.wait_for_orchestration(started, WAIT_S).output == 41
    assert faulty.faults >= 6
    for execution in runtime.client.list_executions(started).executions:
        history = runtime.client.read_history(started, execution.execution_id)
        kinds = [type(decode_event(data)).__name__ for data in history.events]
        assert kinds[:3] == ["OrchestrationStarted", "ActivityScheduled", "ActivityCompleted"]
        assert len(kinds) == 4


def test_a_plain_activity_that_hangs_keeps_nobody_from_stopping(store: Store) -> None:
    begun = threading.Event()
    never = threading.Event()

    def hangs(ctx: duro.ActivityContext) -> None:
        begun.set()
        never.wait(WAIT_S)

    async def waits(ctx: duro.OrchestrationContext) -> None:
        await ctx.schedule_activity(hangs)

    runtime = duro.Runtime(store, registry_with(waits, hangs))
    runtime.start()
    runtime.client.start_orchestration("work")
    assert begun.wait(WAIT_S)
    runtime.stop(drain_s=0.05)
    never.set()


def test_activities_beyond_the_limit_wait_in_the_store(make_runtime: MakeRuntime) -> None:
    running = 0
    most = 0

    async def counted(ctx: duro.ActivityContext) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.005)
        running -= 1

    async def fans_out(ctx: duro.OrchestrationContext) -> int:
        return len(await ctx.join(*[ctx.schedule_activity(counted) for _ in range(50)]))

    runtime = make_runtime(registry_with(fans_out, counted), duro.RuntimeOptions(max_concurrent_activities=7))
    started = runtime.client.start_orchestration("work")
    assert runtime.client.wait_for_orchestration(started, WAIT_S).output == 50
    assert most == 7


def test_an_activity_can_use_the_client(make_runtime: MakeRuntime) -> None:
    async def signals(ctx: duro.ActivityContext) -> None:
        await ctx.async_client.raise_event(ctx.instance_id, "hello", ctx.idempotency_key)

    async def waits(ctx: duro.OrchestrationContext) -> Any:
        await ctx.schedule_activity(signals)
        return await ctx.wait_for_event("hello")

    runtime = make_runtime(registry_with(waits, signals))
    started = runtime.client.start_orchestration("work")
    assert runtime.client.wait_for_orchestration(started, WAIT_S).output.startswith(started)


def test_a_start_that_fails_leaves_nothing_behind_and_can_be_repeated(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(*arguments: object) -> None:
        raise StoreLockedError("planted: locked")

    before = threading.active_count()
    runtime = duro.Runtime(store, registry_with(chain, add_one))
    with monkeypatch.context() as patch:
        patch.setattr(store, "register_worker", locked)
        with pytest.raises(StoreLockedError):
            runtime.start()
    assert threading.active_count() <= before
    runtime.start()
    started = runtime.client.start_orchestration("work", 1)
    assert runtime.client.wait_for_orchestration(started, WAIT_S).output == 1
    runtime.stop()


def _events(histories: Sequence[str]) -> list[str]:
    return [type(decode_event(data)).__name__ for data in histories]


def test_an_activity_whose_worker_was_lost_runs_again(make_runtime: MakeRuntime, store: Store) -> None:
    runs = []
    first_begun = threading.Event()
    release = threading.Event()

    def remembers(ctx: duro.ActivityContext) -> int:
        runs.append(ctx.attempt)
        first_begun.set()
        if len(runs) == 1:
            release.wait(WAIT_S)
        return len(runs)

    async def waits(ctx: duro.OrchestrationContext) -> int:
        return await ctx.schedule_activity(remembers)

    registry = registry_with(waits, remembers)
    first = make_runtime(registry, duro.RuntimeOptions(lease_s=30.0))
    started = first.client.start_orchestration("work")
    assert first_begun.wait(WAIT_S)
    store.release_worker(first.worker_id)
    second = make_runtime(registry)
    assert second.client.wait_for_orchestration(started, WAIT_S).output == 2
    release.set()
    assert runs == [1, 1]
    history = second.client.read_history(started)
    assert _events(history.events) == [
        "OrchestrationStarted",
        "ActivityScheduled",
        "ActivityCompleted",
        "OrchestrationCompleted",
    ]


@pytest.mark.parametrize("registry", [None, [duro.Registry()], "module:registry"])
def test_what_is_no_registry_is_refused_before_the_store_is_opened(registry: Any) -> None:
    with pytest.raises(duro.UsageError, match=r"registry must be a duro\.Registry"):
        duro.Runtime("sqlite:///missing-directory/duro.db", registry)


@pytest.mark.parametrize("port", [-1, 65_536, 70_000, True])
def test_a_port_that_cannot_be_is_refused_where_the_options_are_made(port: int) -> None:
    with pytest.raises(duro.UsageError, match=r"RuntimeOptions\.metrics_port must be"):
        duro.RuntimeOptions(metrics_port=port)
    assert duro.RuntimeOptions(metrics_port=65_535).metrics_port == 65_535
