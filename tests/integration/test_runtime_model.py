"""The programming model, end to end in one process, on every store, with the coroutine cache and without."""

import asyncio
import dataclasses
import threading
import uuid
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

import pytest

import duro
from duro.codec import decode_event
from duro.model import events
from tests.integration.conftest import MakeRuntime

WAIT_S = 20.0


class Size(Enum):
    SMALL = "small"
    LARGE = "large"


@dataclasses.dataclass
class Order:
    id: uuid.UUID
    size: Size
    placed: datetime
    lines: list[str] = dataclasses.field(default_factory=list)


registry = duro.Registry()
attempts: dict[str, int] = {}


@registry.activity
async def add_one(ctx: duro.ActivityContext, number: int) -> int:
    return number + 1


@registry.activity
def double(ctx: duro.ActivityContext, number: int) -> int:
    assert threading.current_thread().name.startswith("duro-activity-")
    return number * 2


@registry.activity
async def describe(ctx: duro.ActivityContext, order: Order) -> Order:
    assert isinstance(order, Order)
    assert isinstance(order.id, uuid.UUID)
    return dataclasses.replace(order, lines=[*order.lines, order.size.value])


@registry.activity
async def flaky(ctx: duro.ActivityContext, fail_times: int) -> int:
    attempts[ctx.instance_id] = attempts.get(ctx.instance_id, 0) + 1
    assert attempts[ctx.instance_id] == ctx.attempt
    if ctx.attempt <= fail_times:
        raise ConnectionError(f"attempt {ctx.attempt}")
    return ctx.attempt


@registry.activity
async def refuse(ctx: duro.ActivityContext) -> None:
    attempts[ctx.instance_id] = attempts.get(ctx.instance_id, 0) + 1
    raise PermissionError("never")


@registry.activity
async def hang(ctx: duro.ActivityContext) -> None:
    attempts[ctx.instance_id] = attempts.get(ctx.instance_id, 0) + 1
    await asyncio.sleep(60)


@registry.activity
def hang_in_a_thread(ctx: duro.ActivityContext) -> None:
    attempts[ctx.instance_id] = attempts.get(ctx.instance_id, 0) + 1
    ctx.wait_for_cancellation(60)


@registry.orchestration
async def mixed(ctx: duro.OrchestrationContext, number: int) -> int:
    number = await ctx.schedule_activity(add_one, number)
    return await ctx.schedule_activity(double, number)


@registry.orchestration
async def typed(ctx: duro.OrchestrationContext, order: Order) -> Order:
    return await ctx.schedule_activity(describe, order)


@registry.orchestration
async def retried(ctx: duro.OrchestrationContext, fail_times: int) -> int:
    policy = duro.RetryPolicy(max_attempts=3, delay_s=0.001)
    return await ctx.schedule_activity(flaky, fail_times, retry=policy)


@registry.orchestration
async def refused(ctx: duro.OrchestrationContext) -> None:
    policy = duro.RetryPolicy(max_attempts=5, delay_s=0.001, non_retryable_errors=("OSError",))
    await ctx.schedule_activity(refuse, retry=policy)


@registry.orchestration
async def timed_out(ctx: duro.OrchestrationContext, plain: bool) -> str:
    policy = duro.RetryPolicy(max_attempts=2, delay_s=0.001)
    activity = hang_in_a_thread if plain else hang
    try:
        await ctx.schedule_activity(activity, retry=policy, timeout=0.05)
    except duro.ActivityFailedError as error:
        return error.failure.type
    return "done"


@registry.orchestration
async def timed_out_in_total(ctx: duro.OrchestrationContext) -> str:
    policy = duro.RetryPolicy(max_attempts=1000, delay_s=0.01, backoff="fixed")
    try:
        await ctx.schedule_activity(flaky, 10_000, retry=policy, total_timeout=timedelta(seconds=0.2))
    except duro.ActivityFailedError as error:
        return error.failure.type
    return "done"


@registry.orchestration
async def timed_out_untaken(ctx: duro.OrchestrationContext) -> str:
    try:
        await ctx.schedule_activity("nobody has this", total_timeout=0.1)
    except duro.ActivityFailedError as error:
        return error.failure.type
    return "done"


@registry.orchestration
async def adds_one_through_a_child(ctx: duro.OrchestrationContext, number: int) -> int:
    return await ctx.schedule_activity(add_one, number)


@registry.orchestration
async def family(ctx: duro.OrchestrationContext, count: int) -> int:
    children = [ctx.schedule_sub_orchestration(adds_one_through_a_child, number) for number in range(count)]
    return sum(await ctx.join(*children))


@registry.orchestration
async def failing_child(ctx: duro.OrchestrationContext) -> None:
    raise ValueError("the child says no")


@registry.orchestration
async def parent_of_failing(ctx: duro.OrchestrationContext) -> str:
    try:
        await ctx.schedule_sub_orchestration(failing_child)
    except duro.SubOrchestrationFailedError as error:
        return f"{error.failure.type}: {error.failure.message}"
    return "no failure"


@registry.orchestration
async def continuing_child(ctx: duro.OrchestrationContext, left: int) -> str:
    if left:
        await ctx.continue_as_new(left - 1)
    return f"after {ctx.execution_id} executions"


@registry.orchestration
async def parent_of_continuing(ctx: duro.OrchestrationContext) -> str:
    return await ctx.schedule_sub_orchestration(continuing_child, 3)


@registry.orchestration
async def starts_detached_and_continues(ctx: duro.OrchestrationContext, first: bool) -> str:
    if first:
        ctx.schedule_orchestration(mixed, 20, instance_id=f"{ctx.instance_id}.detached")
        ctx.schedule_sub_orchestration(mixed, 30, instance_id=f"{ctx.instance_id}.child", on_parent_end="abandon")
        await ctx.continue_as_new(False)
    return "continued"


@registry.orchestration
async def sleeps(ctx: duro.OrchestrationContext, seconds: float) -> float:
    before = ctx.utc_now()
    await ctx.schedule_timer(seconds)
    return (ctx.utc_now() - before).total_seconds()


@registry.orchestration
async def collects(ctx: duro.OrchestrationContext, count: int) -> list[int]:
    return [await ctx.wait_for_event("number", int) for _ in range(count)]


@registry.orchestration
async def collects_across_executions(ctx: duro.OrchestrationContext, got: list[int]) -> list[int]:
    got.append(await ctx.wait_for_event("number", int))
    if len(got) < 20:
        await ctx.continue_as_new(got)
    return got


@registry.orchestration
async def approval(ctx: duro.OrchestrationContext, seconds: float) -> str:
    index, value = await ctx.select(ctx.wait_for_event("approve"), ctx.schedule_timer(seconds))
    return f"approved by {value}" if index == 0 else "timed out"


@registry.orchestration
async def select_between_children(ctx: duro.OrchestrationContext) -> int:
    slow = ctx.schedule_sub_orchestration(sleeps, 60.0, instance_id=f"{ctx.instance_id}.slow")
    quick = ctx.schedule_sub_orchestration(adds_one_through_a_child, 1)
    index, _ = await ctx.select(slow, quick)
    return index


@registry.orchestration
def as_generator(ctx: duro.OrchestrationContext, number: int) -> Generator[Any, Any, int]:
    number = yield ctx.schedule_activity(add_one, number)
    both = yield ctx.join(ctx.schedule_activity(add_one, number), ctx.schedule_activity(add_one, number + 1))
    return sum(both)


@registry.orchestration
async def side_by_side(ctx: duro.OrchestrationContext) -> list[Any]:
    async def branch(number: int) -> int:
        number = await ctx.schedule_activity(add_one, number)
        await ctx.schedule_timer(0.001)
        return await ctx.schedule_activity(add_one, number)

    return await ctx.join(branch(1), branch(10), ctx.join(branch(100), branch(1000)))


@registry.orchestration
async def sets_status(ctx: duro.OrchestrationContext) -> None:
    ctx.set_custom_status({"step": 1})
    await ctx.wait_for_event("go")
    ctx.set_custom_status({"step": 2})


@registry.orchestration
async def uses_asyncio(ctx: duro.OrchestrationContext) -> None:
    await asyncio.sleep(0.01)


@registry.orchestration
async def cleans_up(ctx: duro.OrchestrationContext) -> None:
    try:
        await ctx.schedule_activity(hang)
    finally:
        await ctx.schedule_activity(add_one, 1)


@registry.orchestration
async def cancelled_continuation(ctx: duro.OrchestrationContext) -> None:
    try:
        await ctx.wait_for_event("never")
    except duro.OrchestrationCancelled:
        await ctx.continue_as_new()


@registry.orchestration
async def parent_of_hanging(ctx: duro.OrchestrationContext) -> None:
    await ctx.schedule_sub_orchestration(cleans_up, instance_id=f"{ctx.instance_id}.child")


@pytest.fixture(autouse=True)
def _no_attempts_yet() -> None:
    attempts.clear()


def run(runtime: duro.Runtime, orchestration: Any, value: Any = None, instance_id: str | None = None) -> Any:
    started = runtime.client.start_orchestration(orchestration, value, instance_id=instance_id)
    return runtime.client.wait_for_orchestration(started, WAIT_S).result()


def history(runtime: duro.Runtime, instance_id: str) -> list[events.AnyEvent]:
    return [decode_event(data) for data in runtime.client.read_history(instance_id).events]


def test_async_and_plain_activities_run(make_runtime: MakeRuntime) -> None:
    assert run(make_runtime(registry), mixed, 20) == 42


def test_values_keep_their_types_on_the_way(make_runtime: MakeRuntime) -> None:
    order = Order(uuid.uuid4(), Size.LARGE, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    assert run(make_runtime(registry), typed, order) == dataclasses.replace(order, lines=["large"])


def test_a_failed_activity_is_tried_again_as_often_as_its_policy_says(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime(registry)
    assert run(runtime, retried, 2) == 3
    started = runtime.client.start_orchestration(retried, 3)
    result = runtime.client.wait_for_orchestration(started, WAIT_S)
    assert result.failure is not None
    assert result.failure.cause is not None
    assert (result.failure.type, result.failure.cause.type) == ("ActivityFailedError", "ConnectionError")
    assert attempts[started] == 3
    kinds = [type(event).__name__ for event in history(runtime, started)]
    assert kinds == ["OrchestrationStarted", "ActivityScheduled", "ActivityFailed", "OrchestrationFailed"]


def test_an_error_that_is_not_to_be_retried_ends_the_activity_at_once(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime(registry)
    started = runtime.client.start_orchestration(refused)
    assert runtime.client.wait_for_orchestration(started, WAIT_S).status == "failed"
    assert attempts[started] == 1


@pytest.mark.parametrize("plain", [False, True])
def test_each_attempt_has_its_time_out(make_runtime: MakeRuntime, plain: bool) -> None:
    runtime = make_runtime(registry)
    started = runtime.client.start_orchestration(timed_out, plain)
    assert runtime.client.wait_for_orchestration(started, WAIT_S).output == "ActivityTimeout"
    assert attempts[started] == 2


def test_a_total_timeout_ends_an_activity_that_no_worker_takes(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime(registry)
    started = runtime.client.start_orchestration(timed_out_untaken)
    assert runtime.client.wait_for_orchestration(started, WAIT_S).output == "ActivityTimeout"
    dump = runtime.store.dump()
    assert (dump["activities"], dump["timers"]) == ([], [])


def test_all_attempts_together_have_a_time_out(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime(registry)
    started = runtime.client.start_orchestration(timed_out_in_total)
    assert runtime.client.wait_for_orchestration(started, WAIT_S).output in ("ActivityTimeout", "ConnectionError")
    assert 1 < attempts[started] < 100


def test_a_parent_gets_the_results_of_its_children(make_runtime: MakeRuntime) -> None:
    assert run(make_runtime(registry), family, 20) == sum(range(1, 21))


def test_a_parent_gets_the_failure_of_its_child(make_runtime: MakeRuntime) -> None:
    assert run(make_runtime(registry), parent_of_failing) == "ValueError: the child says no"


def test_a_child_that_continues_as_new_still_reports_to_its_parent(make_runtime: MakeRuntime) -> None:
    assert run(make_runtime(registry), parent_of_continuing) == "after 4 executions"


def test_what_a_turn_starts_is_started_although_it_continues_as_new(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime(registry)
    assert run(runtime, starts_detached_and_continues, True, "p") == "continued"
    assert runtime.client.wait_for_orchestration("p.detached", WAIT_S).output == 42
    assert runtime.client.wait_for_orchestration("p.child", WAIT_S).output == 62
    children = runtime.client.list_children("p")
    assert [(child.instance_id, child.detached) for child in children] == [("p.detached", True), ("p.child", False)]


def test_a_timer_fires_when_its_time_has_come(make_runtime: MakeRuntime) -> None:
    assert 0.05 <= run(make_runtime(registry), sleeps, 0.05) < 5


def test_events_arrive_in_order_whenever_they_were_raised(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime(registry)
    for orchestration, value in ((collects, 20), (collects_across_executions, [])):
        started = runtime.client.start_orchestration(orchestration, value)
        for number in range(20):
            runtime.client.raise_event(started, "number", number)
        assert runtime.client.wait_for_orchestration(started, WAIT_S).output == list(range(20))


def test_the_first_of_an_event_and_a_timer_wins(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime(registry)
    started = runtime.client.start_orchestration(approval, 60.0)
    runtime.client.raise_event(started, "approve", "ann")
    assert runtime.client.wait_for_orchestration(started, WAIT_S).output == "approved by ann"
    assert run(runtime, approval, 0.01) == "timed out"


def test_the_loser_of_a_select_is_cancelled(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime(registry)
    assert run(runtime, select_between_children, None, "race") == 1
    assert runtime.client.wait_for_orchestration("race.slow", WAIT_S).status == "cancelled"


def test_generators_are_orchestrations_too(make_runtime: MakeRuntime) -> None:
    assert run(make_runtime(registry), as_generator, 1) == 7


def test_helper_coroutines_run_side_by_side(make_runtime: MakeRuntime) -> None:
    assert run(make_runtime(registry), side_by_side) == [3, 12, [102, 1002]]


def test_the_custom_status_shows_while_the_orchestration_waits(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime(registry)
    started = runtime.client.start_orchestration(sets_status)
    seen: list[str | None] = []
    while not seen or seen[-1] is None:
        seen.append(runtime.client.get_instance(started).custom_status)
    assert seen[-1] == '{"step":1}'
    runtime.client.raise_event(started, "go")
    runtime.client.wait_for_orchestration(started, WAIT_S)
    assert runtime.client.get_instance(started).custom_status == '{"step":2}'


def test_awaiting_asyncio_fails_with_a_sentence_that_says_what_to_do(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime(registry)
    started = runtime.client.start_orchestration(uses_asyncio)
    failure = runtime.client.wait_for_orchestration(started, WAIT_S).failure
    assert failure is not None
    assert failure.type == "NonDurableAwaitError"
    assert "ctx.schedule_timer" in failure.message


def wait_for_attempt(instance_id: str, runtime: duro.Runtime) -> None:
    """Until an activity of the instance runs: its first mark is its attempt count."""
    while not attempts.get(instance_id):
        runtime.client.list_workers()


def test_cancel_reaches_a_running_activity_and_cleanup_may_be_durable(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime(registry)
    started = runtime.client.start_orchestration(cleans_up)
    wait_for_attempt(started, runtime)
    runtime.client.cancel(started, "no longer wanted")
    result = runtime.client.wait_for_orchestration(started, WAIT_S)
    assert result.failure is not None
    assert (result.status, result.failure.message) == ("cancelled", "no longer wanted")
    kinds = [type(event).__name__ for event in history(runtime, started)]
    assert kinds == [
        "OrchestrationStarted",
        "ActivityScheduled",
        "OrchestrationCancelRequested",
        "ActivityCancelRequested",
        "ActivityScheduled",
        "ActivityCompleted",
        "OrchestrationCancelled",
    ]


def test_cancel_reaches_the_children(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime(registry)
    started = runtime.client.start_orchestration(parent_of_hanging, instance_id="family")
    wait_for_attempt("family.child", runtime)
    runtime.client.cancel(started)
    assert runtime.client.wait_for_orchestration(started, WAIT_S).status == "cancelled"
    assert runtime.client.wait_for_orchestration("family.child", WAIT_S).status == "cancelled"


def test_continuing_as_new_after_a_cancel_ends_as_cancelled(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime(registry)
    started = runtime.client.start_orchestration(cancelled_continuation)
    runtime.client.cancel(started)
    assert runtime.client.wait_for_orchestration(started, WAIT_S).status == "cancelled"


def test_terminate_ends_an_instance_whatever_it_does(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime(registry)
    started = runtime.client.start_orchestration(cleans_up)
    wait_for_attempt(started, runtime)
    runtime.client.terminate(started, "enough")
    result = runtime.client.wait_for_orchestration(started, WAIT_S)
    assert result.failure is not None
    assert (result.status, result.failure.message) == ("terminated", "enough")
    with pytest.raises(duro.InstanceFinishedError):
        runtime.client.raise_event(started, "late")


async def _through_asyncio(runtime: duro.Runtime) -> list[Any]:
    client = runtime.async_client
    started = [await client.start_orchestration(mixed, number) for number in range(10)]
    results = await asyncio.gather(*[client.wait_for_orchestration(each, WAIT_S) for each in started])
    return [result.output for result in results]


def test_the_async_client_does_the_same(make_runtime: MakeRuntime) -> None:
    assert asyncio.run(_through_asyncio(make_runtime(registry))) == [(n + 1) * 2 for n in range(10)]


def test_a_wait_that_takes_too_long_says_so_and_changes_nothing(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime(registry)
    started = runtime.client.start_orchestration(approval, 60.0)
    with pytest.raises(duro.WaitTimeoutError, match="still"):
        runtime.client.wait_for_orchestration(started, 0.05)
    runtime.client.raise_event(started, "approve")
    assert runtime.client.wait_for_orchestration(started, WAIT_S).status == "completed"
