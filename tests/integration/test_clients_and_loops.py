"""The same programs through the sync client and the async one, with async and with plain activities, on asyncio's own
event loop and on uvloop: what they see is the same."""

import asyncio
import importlib.util
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import duro
from duro.stores.base import Store

WAIT_S = 20.0

NewLoop = Callable[[], asyncio.AbstractEventLoop]
_NO_UVLOOP = importlib.util.find_spec("uvloop") is None
LOOPS = ["asyncio", pytest.param("uvloop", marks=pytest.mark.skipif(_NO_UVLOOP, reason="uvloop is not installed"))]


def new_loop(kind: str) -> NewLoop:
    if kind == "asyncio":
        return asyncio.new_event_loop
    import uvloop

    return uvloop.new_event_loop


async def double_async(ctx: duro.ActivityContext, number: int) -> int:
    await asyncio.sleep(0)
    return 2 * number


def double_plain(ctx: duro.ActivityContext, number: int) -> int:
    assert threading.current_thread().name.startswith("duro-activity-")
    return 2 * number


async def flaky_async(ctx: duro.ActivityContext) -> int:
    if ctx.attempt < 3:
        raise ConnectionError(f"attempt {ctx.attempt}")
    return ctx.attempt


def flaky_plain(ctx: duro.ActivityContext) -> int:
    if ctx.attempt < 3:
        raise ConnectionError(f"attempt {ctx.attempt}")
    return ctx.attempt


async def hang_async(ctx: duro.ActivityContext) -> None:
    await ctx.async_client.raise_event(ctx.instance_id, "hangs")
    await asyncio.sleep(60)


def hang_plain(ctx: duro.ActivityContext) -> None:
    ctx.client.raise_event(ctx.instance_id, "hangs")
    ctx.wait_for_cancellation(60)


async def kind_of_loop(ctx: duro.ActivityContext) -> str:
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]


def registry_with(kind: str) -> duro.Registry:
    """Orchestrations over activities of one kind, async or plain."""
    double: Callable[..., Any] = double_async if kind == "async" else double_plain
    flaky: Callable[..., Any] = flaky_async if kind == "async" else flaky_plain
    hang: Callable[..., Any] = hang_async if kind == "async" else hang_plain
    registry = duro.Registry()
    for activity in (double, flaky, hang, kind_of_loop):
        registry.activity(activity)

    @registry.orchestration
    async def fans_out(ctx: duro.OrchestrationContext, width: int) -> list[int]:
        return await ctx.join(*[ctx.schedule_activity(double, number) for number in range(width)])

    @registry.orchestration
    async def retries(ctx: duro.OrchestrationContext, attempts: int) -> str:
        policy = duro.RetryPolicy(max_attempts=attempts, delay_s=0.001)
        try:
            return f"attempt {await ctx.schedule_activity(flaky, retry=policy)}"
        except duro.ActivityFailedError as error:
            return f"{error.failure.type}: {error.failure.message}"

    @registry.orchestration
    async def collects(ctx: duro.OrchestrationContext, got: list[int]) -> list[int]:
        got.append(await ctx.schedule_activity(double, await ctx.wait_for_event("number", int)))
        if len(got) < 10:
            await ctx.continue_as_new(got)
        return got

    @registry.orchestration
    async def hangs(ctx: duro.OrchestrationContext) -> None:
        try:
            hanging = ctx.schedule_activity(hang)
            await ctx.wait_for_event("hangs")
            ctx.set_custom_status("hangs")
            await hanging
        finally:
            await ctx.schedule_activity(double, 1)

    @registry.orchestration
    async def times_out(ctx: duro.OrchestrationContext) -> str:
        try:
            await ctx.schedule_activity(hang, timeout=0.05)
        except duro.ActivityFailedError as error:
            return error.failure.type
        return "no time-out"

    @registry.orchestration
    async def tells_its_loop(ctx: duro.OrchestrationContext) -> str:
        return await ctx.schedule_activity(kind_of_loop)

    return registry


class Caller:
    """Client methods by name, through the sync client or awaited on a loop of a kind."""

    def __init__(self, runtime: duro.Runtime, kind: str) -> None:
        self._runtime = runtime
        self._runner = None if kind == "sync" else asyncio.Runner(loop_factory=new_loop(kind))

    def __call__(self, method: str, *arguments: Any, **options: Any) -> Any:
        if self._runner is None:
            return getattr(self._runtime.client, method)(*arguments, **options)
        return self._runner.run(getattr(self._runtime.async_client, method)(*arguments, **options))

    def result(self, orchestration: str, value: Any = None) -> Any:
        return self("wait_for_orchestration", self("start_orchestration", orchestration, value), WAIT_S).result()

    def close(self) -> None:
        if self._runner is not None:
            self._runner.close()


@pytest.fixture(params=LOOPS)
def activity_loop(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["async", "plain"])
def activity_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["sync", *LOOPS], ids=lambda kind: f"client-{kind}")
def call(request: pytest.FixtureRequest, store: Store, activity_loop: str, activity_kind: str) -> Iterator[Caller]:
    options = duro.RuntimeOptions(poll_interval_s=0.005)
    runtime = duro.Runtime(store, registry_with(activity_kind), options, new_event_loop=new_loop(activity_loop))
    runtime.start()
    caller = Caller(runtime, request.param)
    yield caller
    caller.close()
    runtime.stop(drain_s=1.0)


def test_results_and_failures_come_back(call: Caller) -> None:
    assert call.result("fans_out", 30) == [2 * number for number in range(30)]
    assert call.result("retries", 3) == "attempt 3"
    assert call.result("retries", 2) == "ConnectionError: attempt 2"
    assert call.result("times_out") == "ActivityTimeout"


def test_many_are_started_and_waited_for_at_once(call: Caller) -> None:
    starts = [duro.Start(orchestration="fans_out", input=width) for width in range(40)]
    started = call("start_orchestrations", starts)
    results = call("wait_for_orchestrations", started, WAIT_S)
    assert [result.output for result in results] == [[2 * number for number in range(width)] for width in range(40)]


def test_events_come_in_order_over_executions(call: Caller) -> None:
    started = call("start_orchestration", "collects", [])
    for number in range(10):
        call("raise_event", started, "number", number)
    result = call("wait_for_orchestration", started, WAIT_S)
    assert (result.output, result.execution_id) == ([2 * number for number in range(10)], 10)


def test_a_cancel_reaches_the_running_activity(call: Caller) -> None:
    started = call("start_orchestration", "hangs")
    while call("get_instance", started).custom_status != '"hangs"':
        assert call("get_result", started) is None
    call("cancel", started, "enough")
    result = call("wait_for_orchestration", started, WAIT_S)
    assert (result.status, result.failure.message) == ("cancelled", "enough")


def test_what_does_not_exist_is_refused(call: Caller) -> None:
    with pytest.raises(duro.InstanceNotFoundError, match="'nobody'"):
        call("raise_event", "nobody", "number", 1)
    with pytest.raises(duro.UnknownOrchestrationError):
        call("start_orchestration", "nothing")


def test_ids_and_starts_may_come_from_an_iterator(call: Caller) -> None:
    started = call("start_orchestrations", (duro.Start(orchestration="fans_out", input=width) for width in range(3)))
    results = call("wait_for_orchestrations", iter(started), WAIT_S)
    assert [result.output for result in results] == [[], [0], [0, 2]]


def test_a_wait_for_what_cannot_be_is_refused(call: Caller) -> None:
    for ids, timeout, refusal in (
        (["a"], float("nan"), "timeout must be seconds, not nan"),
        (["a"], "1", "timeout must be seconds, not '1'"),
        (["a"], True, "timeout must be seconds, not True"),
        ([b"a"], 0, "instance id b'a' must be a string"),
        (["\ud800"], 0, "contains a lone surrogate"),
        ([[]], 0, r"instance id \[\] must be a string"),
        ("order-1", 0, "instance_ids must be several ids, not 'order-1'; wait_for_orchestration waits for one"),
        (None, 0, "instance_ids must be several ids, not None"),
    ):
        with pytest.raises(duro.UsageError, match=refusal):
            call("wait_for_orchestrations", ids, timeout)


def test_a_batch_that_is_none_is_refused(call: Caller) -> None:
    for starts in (None, duro.Start(orchestration="fans_out", input=1), "fans_out"):
        with pytest.raises(duro.UsageError, match=r"starts must be .*duro\.Start, not"):
            call("start_orchestrations", starts)


@pytest.mark.parametrize("kind", LOOPS)
def test_async_activities_run_on_the_loop_the_runtime_was_given(store: Store, kind: str) -> None:
    with duro.Runtime(store, registry_with("async"), new_event_loop=new_loop(kind)) as runtime:
        started = runtime.client.start_orchestration("tells_its_loop")
        assert runtime.client.wait_for_orchestration(started, WAIT_S).output == kind


@pytest.mark.parametrize("kind", LOOPS)
def test_a_program_on_a_loop_of_its_own_has_the_runtime_inside(store: Store, kind: str) -> None:
    async def program() -> list[Any]:
        async with duro.Runtime(store, registry_with("async"), new_event_loop=new_loop(kind)) as runtime:
            client = runtime.async_client
            started = await asyncio.gather(*[client.start_orchestration("fans_out", width) for width in range(20)])
            results = await asyncio.gather(*[client.wait_for_orchestration(each, WAIT_S) for each in started])
            return [result.output for result in results]

    with asyncio.Runner(loop_factory=new_loop(kind)) as runner:
        outputs = runner.run(program())
    assert outputs == [[2 * number for number in range(width)] for width in range(20)]


def test_an_async_client_is_made_of_a_client() -> None:
    url: Any = "memory:"
    with pytest.raises(duro.UsageError, match=r"must be a duro\.Client, not 'memory:'"):
        duro.AsyncClient(url)


@pytest.mark.parametrize("ended", ["the runtime", "the client"])
def test_an_async_client_that_was_closed_says_so(store: Store, ended: str) -> None:
    runtime = duro.Runtime(store, duro.Registry())
    runtime.start()
    client = runtime.async_client
    if ended == "the client":
        asyncio.run(client.close())
    runtime.stop()

    async def call() -> None:
        with pytest.raises(duro.StoreClosedError, match="was closed"):
            await client.get_instance("a")
        with pytest.raises(duro.StoreClosedError, match="was closed"):
            await client.wait_for_orchestration("a", 1)

    asyncio.run(call())
